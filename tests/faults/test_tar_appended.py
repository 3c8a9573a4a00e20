"""Members of one name, and archives that were joined: the last member counts where a digest proves the bytes, as for GNU tar.

``tar -r`` and ``tar -u`` append a new version of a file; ``cat a.tar b.tar`` and tools that write parts join archives.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import os
import random
import shutil
import subprocess
import tarfile
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from provisioner.errors import BrokenArchiveError, IntegrityError, UnsafeArchiveError
from provisioner.volume.archive import workers
from provisioner.volume.staging.incoming import LocalFile
from tests.support import tally
from tests.support.incoming import Arriving
from tests.support.tar_members import file, folder, hard, link, tar
from tests.support.unpacking import unpack_into

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from provisioner.catalog.artifact import UnpackFormat
    from provisioner.volume.archive.target import Unpacked

MIXTURES: Final = int(os.environ.get("TAR_MIXTURES", "100"))
"""Examples of the property test."""
SEED: Final = int(os.environ.get("SEED", "1"))

Tree = dict[str, bytes | None]
"""What a tree holds, by path: a file's content, ``-> target`` for a link, nothing for an empty directory."""


def unpack(directory: Path, data: bytes, form: UnpackFormat = "tar", *, arriving: bool = False, proven: bool = True) -> Unpacked:
    """Unpack into a new tree."""
    tally.count("archives")
    if arriving:
        with Arriving(data) as source:
            return unpack_into(directory, source, form, proven=proven)
    archive = directory.parent / "archive"
    archive.write_bytes(data)
    with LocalFile(archive) as source:
        return unpack_into(directory, source, form, proven=proven)


def recorded(directory: Path, done: Unpacked) -> Tree:
    """Return what the entries say, and assert that the disk says the same."""
    tree: Tree = {}
    for entry in done.entries:
        path = directory / entry.path
        assert entry.path not in tree
        if entry.kind == "file":
            tree[entry.path] = path.read_bytes()
            assert not path.is_symlink()
            assert len(tree[entry.path] or b"") == entry.size
        elif entry.kind == "link":
            tree[entry.path] = b"-> " + entry.target.encode()
        else:
            assert path.is_dir()
            assert not path.is_symlink()
            tree[entry.path] = None
    files = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file() and not path.is_symlink()}
    assert files == {entry.path for entry in done.entries if entry.kind == "file"}
    return tree


APPENDED: dict[str, tuple[list[bytes], Tree]] = {
    "file over file": ([file("a", b"1"), file("b", b"2"), file("a", b"newer")], {"a": b"newer", "b": b"2"}),
    "shorter over longer": ([file("a", b"x" * 5000), file("a", b"1")], {"a": b"1"}),
    "nothing over something": ([file("a", b"x" * 5000), file("a", b"")], {"a": b""}),
    "three times": ([file("a", b"1"), file("a", b"2"), file("a", b"1")], {"a": b"1"}),
    "by another spelling": ([file("d/a", b"1"), file("./d//a", b"2")], {"d/a": b"2"}),
    "file over link": ([link("a", "b"), file("b", b"1"), file("a", b"2")], {"a": b"2", "b": b"1"}),
    "file over link to a directory": ([folder("d"), link("a", "d"), file("a", b"2")], {"a": b"2", "d": None}),
    "link over file": ([file("a", b"1"), file("b", b"2"), link("a", "b")], {"a": b"-> b", "b": b"2"}),
    "link over link": ([link("a", "b"), file("b", b"1"), link("a", "c")], {"a": b"-> c", "b": b"1"}),
    "link out, replaced by a file": ([link("a", "../x"), file("a", b"1")], {"a": b"1"}),
    "directory over file": ([file("d", b"1"), folder("d"), file("d/a", b"2")], {"d/a": b"2"}),
    "directory over link": ([folder("e"), link("d", "e"), folder("d"), file("d/a", b"2")], {"d/a": b"2", "e": None}),
    "file over empty directory": ([folder("d"), file("d", b"1")], {"d": b"1"}),
    "link over empty directory": ([folder("d"), file("a", b"1"), link("d", "a")], {"d": b"-> a", "a": b"1"}),
    "directory over file over directory": ([folder("d"), file("d", b"1"), folder("d"), file("d/a", b"2")], {"d/a": b"2"}),
    "hard link over file": ([file("a", b"1"), file("b", b"2"), hard("b", "a")], {"a": b"1", "b": b"1"}),
    "hard link over link": ([file("a", b"1"), link("b", "a"), hard("b", "a")], {"a": b"1", "b": b"1"}),
    "file over hard link": ([file("a", b"1"), hard("b", "a"), file("b", b"2")], {"a": b"1", "b": b"2"}),
    "file over the target of a hard link": ([file("a", b"1"), hard("b", "a"), file("a", b"2")], {"a": b"2", "b": b"1"}),
    "hard link to the newer one": ([file("a", b"1"), file("a", b"2"), hard("b", "a")], {"a": b"2", "b": b"2"}),
}


@pytest.mark.parametrize("arriving", [False, True])
@pytest.mark.parametrize("row", APPENDED)
def test_what_was_appended_replaces_what_was_there(tmp_path: Path, row: str, *, arriving: bool) -> None:
    """With a digest the last member of a name is there, with one warning; without one the archive is refused."""
    members, expected = APPENDED[row]
    done = unpack(tmp_path / "root", tar(*members), arriving=arriving)
    assert recorded(tmp_path / "root", done) == expected
    assert "the last one counts" in done.oddities
    with pytest.raises(UnsafeArchiveError, match=r"twice, and different|and also a"):
        unpack(tmp_path / "refused", tar(*members), arriving=arriving, proven=False)


NOT_REPLACED: dict[str, tuple[list[bytes], str]] = {
    "file over a directory with content": ([file("d/a"), file("d", b"1")], "twice, and different"),
    "link over a directory with content": ([file("d/a"), link("d", "x")], "twice, and different"),
    "hard link over a directory with content": ([file("a"), file("d/a"), hard("d", "a")], "twice, and different"),
    "file below a link": ([link("d", "e"), folder("e"), file("d/a")], "also a link"),
    "directory below a link": ([link("d", "e"), folder("e"), folder("d/a")], "also a link"),
    "file below a file": ([file("a"), file("a/b")], "also a file"),
    "file below a link, then a directory in its place": ([link("d", ".."), file("d/a"), folder("d")], "also a link"),
    "directory, then a link out in its place": ([folder("d"), link("d", "../x")], "out of its directory"),
    "a link to itself in the end": ([link("a", "b"), file("b"), link("b", "a")], "through more than"),
}


@pytest.mark.parametrize("row", NOT_REPLACED)
def test_what_would_be_lost_or_led_astray_is_not_replaced(tmp_path: Path, row: str) -> None:
    """A digest proves whose bytes they are; nothing is followed and no directory with content is removed for that."""
    members, reason = NOT_REPLACED[row]
    with pytest.raises(UnsafeArchiveError, match=reason):
        unpack(tmp_path / "root", tar(*members))


def test_replaced_files_do_not_count_against_the_planned_size(tmp_path: Path) -> None:
    """The limit is what comes out in the end: old versions of a file are not in it."""
    data = tar(*(file("a", b"x" * 1000) for _ in range(9)), file("a", b"y" * 1000))
    (tmp_path / "archive").write_bytes(data)
    with LocalFile(tmp_path / "archive") as source:
        done = unpack_into(tmp_path / "root", source, "tar", proven=True, max_bytes=1000)
    assert [entry.size for entry in done.entries] == [1000]
    with LocalFile(tmp_path / "archive") as source, pytest.raises(IntegrityError, match="unpacks to more than"):
        unpack_into(tmp_path / "root", source, "tar", proven=True, max_bytes=999)


@pytest.mark.skipif(shutil.which("tar") is None, reason="needs GNU tar")
def test_an_archive_that_gnu_tar_has_appended_to(tmp_path: Path) -> None:
    """``tar -r`` and ``tar -u`` lead to the tree that ``tar -x`` makes of it."""
    source, archive = tmp_path / "source", tmp_path / "a.tar"
    source.mkdir()
    (source / "a").write_bytes(b"old")
    (source / "l").symlink_to("a")

    def run(*words: str) -> None:
        subprocess.run(["tar", *words], cwd=source, check=True)

    run("-cf", str(archive), "a", "l")
    (source / "a").write_bytes(b"newer")
    os.utime(source / "a", (2_000_000_000, 2_000_000_000))
    run("-uf", str(archive), "a")
    (source / "l").unlink()
    (source / "l").write_bytes(b"a file now")
    run("-rf", str(archive), "l")
    (tmp_path / "reference").mkdir()
    subprocess.run(["tar", "-xf", str(archive)], cwd=tmp_path / "reference", check=True)
    done = unpack(tmp_path / "root", archive.read_bytes())
    expected = {path.name: path.read_bytes() for path in (tmp_path / "reference").iterdir()}
    assert recorded(tmp_path / "root", done) == expected == {"a": b"newer", "l": b"a file now"}


# --- any mixture --------------------------------------------------------------------------------------------------------

COMPRESS: Final[dict[UnpackFormat, Callable[[bytes], bytes]]] = {
    "tar": lambda data: data,
    "tar.gz": gzip.compress,
    "tar.bz2": bz2.compress,
    "tar.xz": lambda data: lzma.compress(data, preset=0),
}
NAMES: Final = ("a", "b", "d/a", "d/e/a", "./b", "d")
Member = tuple[str, str, bytes]
"""Kind, name, and content or target."""


def packed(members: list[Member]) -> bytes:
    """Return members in any of the formats that tools write."""
    out = io.BytesIO()
    formats = random.Random(repr(members))  # noqa: S311 - no secret
    with tarfile.open(fileobj=out, mode="w", format=formats.choice([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])) as written:
        for kind, name, data in members:
            info = tarfile.TarInfo(name)
            if kind == "file":
                info.size = len(data)
            elif kind == "folder":
                info.type = tarfile.DIRTYPE
            else:
                info.type, info.linkname = (tarfile.SYMTYPE if kind == "link" else tarfile.LNKTYPE), data.decode()
            written.addfile(info, io.BytesIO(data) if kind == "file" else None)
        return out.getvalue()[: written.offset]


def last_of_each(members: list[Member]) -> Tree | None:
    """Return the tree that extracting all members in turn makes; ``None`` if a member needs what is not there."""
    tree: Tree = {}

    def below(path: str) -> bool:
        return any(other.startswith(f"{path}/") for other in tree)

    for kind, name, data in members:
        path = name.removeprefix("./")
        above = path.rpartition("/")[0]
        while above:
            if tree.get(above, None) is not None:
                return None
            tree[above] = None
            above = above.rpartition("/")[0]
        if kind == "folder":
            tree[path] = None
            continue
        if path in tree and tree[path] is None and below(path):
            return None
        if kind == "hard":
            if tree.get(data.decode()) is None:
                return None
            tree[path] = tree[data.decode()]
        else:
            tree[path] = data if kind == "file" else b"-> " + data
    return {path: value for path, value in tree.items() if value is not None or not below(path)}


members = st.one_of(
    st.tuples(st.just("file"), st.sampled_from(NAMES), st.sampled_from([b"1", b"22", b"3" * 700, b""])),
    st.tuples(st.just("folder"), st.sampled_from(("d", "d/e", "x")), st.just(b"")),
    st.tuples(st.just("link"), st.sampled_from(("l", "a", "d/l")), st.sampled_from([b"b", b"x"])),
    st.tuples(st.just("hard"), st.sampled_from(("h", "a", "b", "d/h")), st.sampled_from([b"a", b"b"])),
)
ends = st.sampled_from([b"", bytes(512), bytes(1024), bytes(10240), bytes(5120)])


@seed(SEED)
@settings(max_examples=MIXTURES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None)
@given(
    archives=st.lists(st.tuples(st.lists(members, max_size=5), ends), min_size=1, max_size=4),
    form=st.sampled_from(list(COMPRESS)),
    cuts=st.lists(st.integers(0, 60), max_size=3),
    cores=st.sampled_from([1, 2]),
)
def test_any_archives_that_were_joined(  # noqa: PLR0917 - Hypothesis draws them
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    archives: list[tuple[list[Member], bytes]],
    form: UnpackFormat,
    cuts: list[int],
    cores: int,
) -> None:
    """Any archives in a row, in any number of streams cut anywhere: all members count, in their order, or it is refused.

    Never is a tree accepted that lacks a member. Without a digest only what leaves no doubt is accepted, with the same tree.
    """
    monkeypatch.setattr(workers, "usable_cores", lambda: cores)
    data = b"".join(packed(some) + end for some, end in archives)
    places = sorted({0, *(min(512 * cut, len(data)) for cut in cuts), len(data)})
    streams = [data[start:end] for start, end in zip(places, [*places[1:], len(data)], strict=True)]
    whole = data if form == "tar" else b"".join(COMPRESS[form](stream) for stream in streams)
    everything = [member for some, _ in archives for member in some]
    expected = last_of_each(everything)
    for proven in (True, False):
        root = tmp_path / f"root-{proven}"
        shutil.rmtree(root, ignore_errors=True)
        tree: Tree | None = None
        with contextlib.suppress(BrokenArchiveError, UnsafeArchiveError):
            tree = recorded(root, unpack(root, whole, form, proven=proven))
        assert tree == expected or (tree is None and not proven)
