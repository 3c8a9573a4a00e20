"""A tree on the disk is compared with its manifest entry by entry; what differs is a finding."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from provisioner.volume import parallel
from provisioner.volume.store.entry import Entry
from provisioner.volume.store.finding import Finding
from provisioner.volume.store.manifest import Manifest
from provisioner.volume.store.tree_check import check_tree, is_right
from provisioner.volume.tree.reader import TreeReader

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def nothing() -> None:
    """Do not cancel."""


def entry_of(path: str, data: bytes) -> Entry:
    """Return the entry of a file."""
    return Entry(path, "file", len(data), hashlib.sha256(data).hexdigest())


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a small tree with one of each kind."""
    root = tmp_path / "tree"
    (root / "folder" / "empty").mkdir(parents=True)
    (root / "folder" / "file").write_bytes(b"abc")
    (root / "\udcff").write_bytes(b"defg")
    (root / "link").symlink_to("folder/file")
    return root


THERE = Manifest.of(
    [
        entry_of("folder/file", b"abc"),
        entry_of("\udcff", b"defg"),
        Entry("folder/empty", "folder"),
        Entry("link", "link", target="folder/file"),
    ]
)


@pytest.mark.parametrize("deep", [False, True])
def test_a_tree_as_it_should_be(tree: Path, *, deep: bool) -> None:
    """A tree that is what its manifest says has no findings."""
    assert check_tree(tree, THERE, deep=deep, check_cancelled=nothing) == []


def test_names_without_end(tree: Path) -> None:
    """Where no other names may be, the walk ends soon after the first of them, however many there are."""
    for number in range(1_000):
        (tree / f"other{number}").mkdir()
    seen = 0

    def count() -> None:
        nonlocal seen
        seen += 1

    found = check_tree(tree, THERE, deep=False, check_cancelled=count, most_extras=0)
    assert {finding.problem for finding in found} == {"extra"}
    assert seen < 600


def test_a_tree_that_is_not_there_misses_everything(tmp_path: Path) -> None:
    """A tree that does not exist has a finding for each entry; it is not an error."""
    found = check_tree(tmp_path / "no", THERE, deep=False, check_cancelled=nothing)
    assert [finding.problem for finding in found] == ["missing"] * 4


def _flip(root: Path) -> None:
    (root / "folder/file").write_bytes(b"abd")


def _replace_file_by_link(root: Path) -> None:
    (root / "folder/file").unlink()
    (root / "folder/file").symlink_to("/etc/hostname")


def _replace_folder_by_file(root: Path) -> None:
    (root / "folder/empty").rmdir()
    (root / "folder/empty").touch()


def _replace_file_by_fifo(root: Path) -> None:
    (root / "folder/file").unlink()
    os.mkfifo(root / "folder/file")


def _retarget(root: Path) -> None:
    (root / "link").unlink()
    (root / "link").symlink_to("elsewhere")


@pytest.mark.parametrize(
    ("damage", "shallow", "deep"),
    [
        (lambda root: (root / "folder/file").unlink(), "missing", "missing"),
        (lambda root: (root / "folder/file").write_bytes(b"ab"), "size", "size"),
        (_flip, None, "digest"),
        (lambda root: (root / "extra").touch(), "extra", "extra"),
        (lambda root: (root / "folder/empty/more").mkdir(), "extra", "extra"),
        (_replace_file_by_link, "kind", "kind"),
        (_replace_file_by_fifo, "kind", "kind"),
        (_replace_folder_by_file, "kind", "kind"),
        (_retarget, "target", "target"),
    ],
    ids=["gone", "shorter", "changed", "one more", "folder more", "a link", "a FIFO", "folder a file", "retargeted"],
)
def test_each_difference_is_found(tree: Path, damage: Callable[[Path], object], shallow: str | None, deep: str) -> None:
    """Each kind of difference is one finding; only changed bytes of the right length need a deep check."""
    damage(tree)
    found = check_tree(tree, THERE, deep=False, check_cancelled=nothing)
    assert ([] if shallow is None else [shallow]) == [finding.problem for finding in found]
    found = check_tree(tree, THERE, deep=True, check_cancelled=nothing)
    assert [deep] == [finding.problem for finding in found]
    assert found[0].path in str(found[0])


def test_a_finding_says_both_sides() -> None:
    """A finding names what was expected and what is there."""
    assert str(Finding("a", "size", "3", "2")) == "a: 2 bytes, expected 3, truncated"


def test_checking_can_be_ended(tree: Path) -> None:
    """A large file is not read to its end after a cancellation."""
    (tree / "large").write_bytes(bytes(8 << 20))
    calls = 0

    def cancel_within_the_file() -> None:
        nonlocal calls
        calls += 1
        if calls > 15:
            raise KeyboardInterrupt

    manifest = Manifest.of([*THERE, entry_of("large", bytes(8 << 20))])
    with pytest.raises(KeyboardInterrupt):
        check_tree(tree, manifest, deep=True, check_cancelled=cancel_within_the_file)


def _damaged(root: Path) -> Manifest:
    """Make a tree of 600 files, several for each thread, with every tenth one wrong, and return what it should be."""
    entries = []
    for number in range(600):
        path = f"{number % 7}/{number:04}"
        data = b"%d" % number * (number % 50 + 1)
        entries.append(entry_of(path, data))
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if number % 40 == 0:
            continue
        (root / path).write_bytes(data[::-1] + b"x" * (number % 30 == 0) if number % 10 == 0 else data)
    entries.append(entry_of("large", bytes(9 << 20)))
    (root / "large").write_bytes(bytes((9 << 20) - 1) + b"1")
    (root / "0/extra").touch()
    return Manifest.of(entries)


@pytest.mark.parametrize("cores", [2, 5])
def test_all_cores_find_what_one_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int) -> None:
    """The findings and their order do not depend on the number of cores, and every byte is counted once."""
    manifest = _damaged(tmp_path)
    threads: set[str] = set()
    counts: list[int] = []

    def count(number: int) -> None:
        threads.add(threading.current_thread().name)
        counts.append(number)

    monkeypatch.setattr(parallel, "usable_cores", lambda: 1)
    alone = check_tree(tmp_path, manifest, deep=True, check_cancelled=nothing, advance=count)
    one_by_one, before = sum(counts), threading.active_count()
    assert threads == {threading.current_thread().name}
    assert [finding.path for finding in alone[:-1]] == sorted(finding.path for finding in alone[:-1])
    assert {finding.problem for finding in alone} == {"missing", "size", "digest", "extra"}
    monkeypatch.setattr(parallel, "usable_cores", lambda: cores)
    counts.clear()
    threads.clear()
    assert check_tree(tmp_path, manifest, deep=True, check_cancelled=nothing, advance=count) == alone
    assert threads <= {f"hash-{number}" for number in range(cores)}
    assert threads
    assert sum(counts) == one_by_one
    assert threading.active_count() == before


def test_a_file_that_cannot_be_read_is_a_finding_on_all_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the disk for one file is reported for that file, with the others checked."""
    manifest = _damaged(tmp_path)
    expected = check_tree(tmp_path, manifest, deep=True, check_cancelled=nothing)
    read, failures = TreeReader.sha256, 0

    def fail(reader: TreeReader, path: str, *rest: Any) -> str:
        nonlocal failures
        if path == "3/0003":
            failures += 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(reader, path, *rest)

    monkeypatch.setattr(TreeReader, "sha256", fail)
    monkeypatch.setattr(parallel, "usable_cores", lambda: 3)
    found = check_tree(tmp_path, manifest, deep=True, check_cancelled=nothing)
    assert failures == 1
    assert set(found) - set(expected) == {Finding("3/0003", "unreadable", "", os.strerror(errno.EIO))}
    assert len(found) == len(expected) + 1


def test_a_part_of_a_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of a tree is right if none of its files differs, whichever thread reads it."""
    manifest = _damaged(tmp_path)
    wrong = {finding.path for finding in check_tree(tmp_path, manifest, deep=True, check_cancelled=nothing)}
    right = [entry for entry in manifest if entry.path not in wrong]
    for cores in (1, 3):
        monkeypatch.setattr(parallel, "usable_cores", lambda cores=cores: cores)
        with TreeReader(tmp_path) as tree:
            assert is_right(tree, right, check_cancelled=nothing)
            assert is_right(tree, right[:1], check_cancelled=nothing)
            assert not is_right(tree, manifest.entries, check_cancelled=nothing)
            assert not is_right(tree, [entry for entry in manifest if entry.path == "large"], check_cancelled=nothing)
