"""A repository of many files of which few changed: the others are taken over by their digests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.media import noise

if TYPE_CHECKING:
    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume

FILES = {f"clips/{number:03}.bin": noise(f"clip {number}", 300) for number in range(120)}
CHANGED = "clips/007.bin"


def source(revision: str) -> list[dict[str, Any]]:
    """Return a catalog's source at one commit."""
    return [{"kind": "hub", "repo": "ann/clips", "revision": revision}]


@pytest.fixture
def commits(shelf: Shelf, hub: HubServer) -> tuple[str, str]:
    """Serve a repository with two commits that differ in one file, and a catalog that names the first."""
    repo = hub.hub.add_repo("ann/clips", dict(FILES))
    first = repo.branches["main"]
    repo.commit({CHANGED: b"another clip"})
    shelf.add("clips", sources=source(first))
    return first, repo.branches["main"]


def point_to(shelf: Shelf, revision: str) -> None:
    """Make the catalog name another commit."""
    shelf.document["datasets"]["clips"]["sources"] = source(revision)
    shelf.write()


def test_only_what_changed_is_fetched(shelf: Shelf, volume: Volume, hub: HubServer, commits: tuple[str, str]) -> None:
    """For another commit only its listing and the one new file are fetched; the old tree stays as it was."""
    volume.ready()
    first = volume.version("clips")
    volume.check("clips", FILES)
    old = volume.snapshot(volume.private / "store" / "clips" / first)
    point_to(shelf, commits[1])
    hub.log.clear()
    volume.ready()
    volume.check("clips", FILES | {CHANGED: b"another clip"})
    assert [entry.path.rpartition("/")[2] for entry in hub.log.entries("*/resolve/*")] == ["007.bin"]
    now = volume.snapshot(volume.private / "store" / "clips" / first)
    # A link more to a file, and that it cannot be written any more, is no change of it: inode, size and time of its content are.
    assert {path: (inode, *rest[:2]) for path, (inode, _, *rest) in now.items()} == {
        path: (inode, *rest[:2]) for path, (inode, _, *rest) in old.items()
    }


def test_a_damaged_file_is_not_taken_over(shelf: Shelf, volume: Volume, hub: HubServer, commits: tuple[str, str]) -> None:
    """A file that was changed on the volume is not taken over into the new version, but fetched."""
    volume.ready()
    damaged = volume.tree("clips") / "clips" / "011.bin"
    damaged.write_bytes(b"not what it was".ljust(300, b"!"))
    point_to(shelf, commits[1])
    hub.log.clear()
    volume.ready()
    volume.check("clips", FILES | {CHANGED: b"another clip"})
    assert {entry.path.rpartition("/")[2] for entry in hub.log.entries("*/resolve/*")} == {"007.bin", "011.bin"}


@pytest.mark.usefixtures("commits")
def test_a_receipt_does_not_grow_with_the_number_of_files(volume: Volume) -> None:
    """The receipt of 120 files is as short as that of one file, since receipts are read at every start."""
    volume.ready()
    [receipt] = volume.receipts("clips")
    assert len(receipt.read_bytes()) < 1024
