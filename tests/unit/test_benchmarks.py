"""The benchmarks' own parts: what is generated is what is claimed, what is measured is what is shown."""

from __future__ import annotations

import hashlib
import sys
import tarfile
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks import measure, ours, plot, report
from benchmarks.data import Store
from benchmarks.work import WrongResultError, check_sizes

if TYPE_CHECKING:
    from pathlib import Path


def _entrant(name: str, wall: float, *, failure: str | None = None, requests: int = 0) -> dict[str, Any]:
    facts = {"wall_seconds": wall, "cpu_seconds": wall, "anonymous_bytes": 30 * 2**20, "resident_bytes": 0}
    return {"name": name, "failure": failure, "requests": requests, "work_bytes": 10**9, "runs": 1, "samples": [facts], **facts}


def _target(**wanted: Any) -> dict[str, Any]:
    return {"at_most": 0, "peer": "", "ours": "provisioner", "at_least_rate": 0, "at_most_seconds": 0, **wanted}


def _row(entrants: list[dict[str, Any]], *targets: dict[str, Any]) -> dict[str, Any]:
    return {"id": "x", "title": "work", "place": "memory", "note": "", "targets": list(targets), "entrants": entrants}


def test_generated_files_are_the_same_again(tmp_path: Path) -> None:
    """The same seed gives the same bytes, and the index says what they are."""
    first, second = (Store(tmp_path / name).blobs("small", 3, 5000) for name in ("one", "two"))
    assert first == second
    for file in first.files:
        content = (tmp_path / "one" / "files" / "small" / file.path).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (file.sha256, file.size)
        assert hashlib.sha1(b"blob 5000\0" + content).hexdigest() == file.blob  # noqa: S324 - as Git does


def test_an_archive_holds_its_members(tmp_path: Path) -> None:
    """What an archive is said to hold is in it, and the archive's own digest is right."""
    store = Store(tmp_path)
    archive = store.small_tar(5, 100)
    path = store.path_of(archive)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == archive.file.sha256
    with tarfile.open(path) as opened:
        # Not as an argument: Debian's 3.11 does not know it yet, and newer ones warn where there is no filter.
        opened.extraction_filter = getattr(tarfile, "data_filter", None)
        opened.extractall(tmp_path / "tree")  # noqa: S202 - our own archive
    ours.check_tree(tmp_path / "tree", archive.members)


def test_a_result_that_is_wrong_is_seen(tmp_path: Path) -> None:
    """Another byte, another size or a missing file fails; so does a file too many."""
    corpus = Store(tmp_path).blobs("small", 2, 500)
    tree = tmp_path / "files" / "small"
    check_sizes(tree, corpus.files)
    path = tree / corpus.files[0].path
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    check_sizes(tree, corpus.files)
    with pytest.raises(WrongResultError, match="other bytes"):
        ours.check_tree(tree, corpus.files)
    path.write_bytes(b"short")
    with pytest.raises(WrongResultError, match="5 bytes, not 500"):
        check_sizes(tree, corpus.files)
    path.unlink()
    with pytest.raises(WrongResultError, match="missing"):
        check_sizes(tree, corpus.files)
    with pytest.raises(WrongResultError, match="files, not"):
        ours.check_tree(tree, corpus.files[1:] * 2)


def test_a_command_is_measured_with_its_children(tmp_path: Path) -> None:
    """Memory and processor time of a process that the command starts count too."""
    child = "data = bytearray(64 << 20); sum(range(3_000_000)); import time; time.sleep(0.2)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    measured = measure.run(measure.Command((sys.executable, "-c", parent)), tmp_path, tmp_path / "log")
    assert measured.code == 0
    assert measured.anonymous_bytes > 64 << 20
    assert measured.wall_seconds > 0.2
    assert measured.cpu_seconds > 0.02


def test_a_command_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    """Nothing that it started goes on."""
    measured = measure.run(measure.Command(("sleep", "60")), tmp_path, tmp_path / "log", limit_seconds=0.1)
    assert measured.code == -9


@pytest.mark.parametrize(
    ("entrants", "target", "found", "kept"),
    [
        ([_entrant("provisioner", 1), _entrant("peer", 4)], _target(at_most=0.5, peer="peer"), "0.25 ×", True),
        ([_entrant("provisioner", 3), _entrant("peer", 4)], _target(at_most=0.5, peer="peer"), "0.75 ×", False),
        (
            [_entrant("provisioner", 1), _entrant("peer", 0, failure="no")],
            _target(at_most=1, peer="peer"),
            "the peer failed",
            None,
        ),
        ([_entrant("provisioner", 0, failure="no"), _entrant("peer", 1)], _target(at_most=1, peer="peer"), "failed", False),
        ([_entrant("provisioner", 1), _entrant("curl | tar xz", 4)], _target(at_most=1, peer="curl | tar xz"), "0.25 ×", True),
        (
            [_entrant("provisioner", 4), _entrant("the wire", 2), _entrant("the processor", 4)],
            _target(at_most=1.15, peer="the wire | the processor"),
            "1.00 ×",
            True,
        ),
        ([_entrant("provisioner", 5)], _target(at_least_rate=144e6), "200 MB/s", True),
        ([_entrant("provisioner", 0.1)], _target(at_most_seconds=0.15), "0.10 s, no request", True),
        ([_entrant("provisioner", 0.1, requests=1)], _target(at_most_seconds=0.15), "0.10 s, 1 request", False),
    ],
)
def test_verdicts(entrants: list[dict[str, Any]], target: dict[str, Any], found: str, kept: bool | None) -> None:
    """What was aimed at is compared with the medians; a peer that failed is nobody's victory."""
    ((_, shown, verdict),) = report.verdicts(_row(entrants, target))
    assert (shown, verdict) == (found, kept)


def test_the_page_is_filled_between_its_marks() -> None:
    """All parts are put in their places, twice the same; a page without a place is refused."""
    row = _row([_entrant("provisioner", 1), _entrant("peer", 4)], _target(at_most=0.5, peer="peer"))
    document = {
        "machine": {
            "cores": 2,
            "processor": "a",
            "memory_bytes": 2**30,
            "kernel": "6",
            "system": "Debian",
            "file_systems": {"memory": "tmpfs", "disk": "ext4"},
        },
        "versions": {"provisioner": "1"},
        "repeat": 3,
        "seconds": 60,
        "quick": False,
        "commit": "abc",
        "date": "2026-01-01",
        "rows": [row],
        "curves": {},
        "limits": [{"part": "room", "title": "zip", "wanted": "little", "found": "less", "kept": True, "values": {}}],
    }
    page = "\n".join(f"<!-- {name}:begin -->\n<!-- {name}:end -->" for name in report.PLACES)
    once = report.with_tables(page, document)
    assert "| work | at most 0.5 × peer | 0.25 × | kept |" in once
    assert "room for the tree alone: zip" in once
    assert "measured at" not in once
    row["commit"] = "earlier"
    assert "- measured at commit `earlier`: x" in report.with_tables(page, document)
    row["commit"] = "abc"
    assert report.with_tables(once, document) == once
    with pytest.raises(ValueError, match="no one place for machine"):
        report.with_tables("", document)


def test_a_plot_is_wellformed_and_its_text_is_text() -> None:
    """Each tool has its line, and its name can be read and searched."""
    points = [
        {"at": at, "name": name, "wall_seconds": at / 50, "cpu_seconds": 1}
        for at in (100, 1000)
        for name in ("curl -Z", "provisioner")
    ]
    for drawn in (plot.by_files(points), plot.by_bytes(points)):
        root = ET.fromstring(drawn)  # noqa: S314 - written here
        texts = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
        assert texts.count("curl -Z") == texts.count("provisioner") == 2
        assert len(list(root.iter("{http://www.w3.org/2000/svg}polyline"))) == 4
