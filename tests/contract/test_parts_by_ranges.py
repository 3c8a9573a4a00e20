"""A part of a data set whose tables are an archive of their own: of the large archive only the chosen members are fetched."""

from __future__ import annotations

import hashlib
import signal
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.support import media, miniature
from tests.support.program import PATIENCE
from tests.support.zips import Part, packed_zip

if TYPE_CHECKING:
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume

FREE: Final = {"where": "license in ('CC-BY', 'CC-BY-SA', 'CC0')"}


def tracks_in(volume: Volume) -> set[str]:
    """Return the paths of the tracks in the tree."""
    tree = volume.tree("tracks")
    return {path.relative_to(tree).as_posix() for path in tree.rglob("*.mp3")}


TRACKS: Final = {f"fma_large/{track // 1000:03}/{track:06}.mp3": track for track in miniature.FMA_TRACKS}
UNLISTED: Final = "fma_large/009/009999.mp3"
"""A track that no table has: nobody knows its licence."""


@pytest.fixture(scope="module")
def archives() -> dict[str, bytes]:
    """Return an archive of 18 MB with audio, and the one with its tables."""
    audio = {path: media.mp3(360, str(track)) for path, track in TRACKS.items()} | {UNLISTED: media.mp3(360, "unlisted")}
    files = {**audio, "fma_large/README.txt": b"FMA\n"}
    packed = packed_zip(*(Part(name.encode(), content) for name, content in files.items()))
    assert len(packed) > 17 << 20
    return {"fma_large.zip": packed, "fma_metadata.zip": miniature.pack_zip(miniature._fma_metadata())}


@pytest.fixture
def large(shelf: Shelf, volume: Volume, archives: dict[str, bytes]) -> Volume:
    """Return an empty volume for a data set like FMA large."""
    entries: list[dict[str, Any]] = [
        shelf.raw(name, content, unpack="zip") | {"digest": f"sha1:{hashlib.sha1(content, usedforsecurity=False).hexdigest()}"}
        for name, content in archives.items()
    ]
    shelf.add("tracks", *entries, parts={"free": FREE})
    return volume


def expected_tracks() -> set[str]:
    """Return what the part is made of."""
    facts = {path: miniature.fma_track(track) for path, track in TRACKS.items()}
    return {path for path, known in facts.items() if known["license"] in {"CC-BY", "CC-BY-SA", "CC0"}}


def audio_sent(shelf: Shelf) -> int:
    """Return how many bytes of the archive with audio were served."""
    return sum(entry.bytes_sent for entry in shelf.server.log.entries("*/fma_large.zip"))


def test_only_the_chosen_members_are_fetched(large: Volume, shelf: Shelf, archives: dict[str, bytes]) -> None:
    """The tables come first, and then of the large archive the index and what the condition takes."""
    large.ready("--dataset", "tracks:free")
    found = tracks_in(large)
    assert found == expected_tracks()
    assert UNLISTED not in found
    assert (large.tree("tracks") / "fma_large" / "README.txt").is_file()
    share = len(found) / len(TRACKS)
    assert audio_sent(shelf) < (1.15 * share + 0.01) * len(archives["fma_large.zip"])
    requests = [entry.path.rpartition("/")[2] for entry in shelf.server.log.entries("*.zip")]
    assert requests == sorted(requests, reverse=True)
    assert large.status["datasets"]["tracks"]["verified_against"] == "archive"
    large.ready("verify", "--deep")


def test_one_percent(large: Volume, shelf: Shelf, archives: dict[str, bytes]) -> None:
    """Of a part of 1 % less than 3 % of the archive is served."""
    large.ready("--dataset", "tracks?limit=1")
    assert len(tracks_in(large)) == 1
    assert audio_sent(shelf) < 0.03 * len(archives["fma_large.zip"])


def test_the_same_without_ranges(large: Volume, shelf: Shelf) -> None:
    """Where the host gives no ranges, the whole is fetched, and the same tracks are published."""
    fault = shelf.server.faults.add("ignore_range", path="*/fma_large.zip")
    large.ready("--dataset", "tracks?limit=7&seed=2")
    assert fault.fired
    found = tracks_in(large)
    large.ready("remove", "tracks")
    shelf.server.faults.clear()
    large.ready("--dataset", "tracks?limit=7&seed=2")
    assert tracks_in(large) == found
    assert len(found) == 7


def test_resumed_after_a_kill(large: Volume, shelf: Shelf, archives: dict[str, bytes]) -> None:
    """What a killed run fetched of the chosen tracks is not fetched again."""
    rule = shelf.server.faults.add("gate", path="*/fma_large.zip", after=1000, nth=12)
    running = large.start("--dataset", "tracks:free", CONNECTIONS="2")
    assert shelf.server.faults.gate(rule.gate).wait_reached(PATIENCE)
    running.send(signal.SIGKILL)
    running.wait()
    shelf.server.faults.clear()
    before = audio_sent(shelf)
    large.ready("--dataset", "tracks:free", CONNECTIONS="2")
    found = tracks_in(large)
    assert found == expected_tracks()
    whole = len(found) / len(TRACKS) * len(archives["fma_large.zip"])
    assert before > 1_000_000
    assert audio_sent(shelf) - before < whole - 500_000


def test_repaired(large: Volume, shelf: Shelf) -> None:
    """A damaged track of a part is fetched again, and not the archive."""
    large.ready("--dataset", "tracks:free")
    path = large.tree("tracks") / sorted(tracks_in(large))[3]
    right = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(right[:-1] + b"x")
    before = audio_sent(shelf)
    large.ready("repair")
    assert path.read_bytes() == right
    assert audio_sent(shelf) - before < 0.5 * 18_000_000
    large.ready("verify", "--deep")


def test_a_zip_of_a_repository(shelf: Shelf, volume: Volume, archives: dict[str, bytes]) -> None:
    """Of a ZIP in a repository on the Hub, which redirects to another host, the chosen paths alone are fetched."""
    shelf.server.hub.add_repo("acme/tracks", {"README.md": b"# Tracks\n", "fma_large.zip": archives["fma_large.zip"]})
    source = {"kind": "hub", "repo": "acme/tracks", "revision": "main", "unpack": {"*.zip": "zip"}}
    shelf.add("tracks", sources=[source], parts={"few": {"include": ["*/000/00001*.mp3", "README.md"]}})
    volume.ready("--dataset", "tracks:few")
    expected = {path for path in TRACKS if path.startswith("fma_large/000/00001")}
    assert tracks_in(volume) == expected
    assert expected
    assert (volume.tree("tracks") / "README.md").is_file()
    sent = sum(entry.bytes_sent for entry in shelf.server.log.entries("*") if entry.range)
    assert 0 < sent < 0.05 * len(archives["fma_large.zip"])
    assert all(entry.bytes_sent < 1_000_000 for entry in shelf.server.log.entries("*"))


def test_shares_leave_the_archive_to_who_publishes(large: Volume, shelf: Shelf, archives: dict[str, bytes]) -> None:
    """Workers do not fetch a large archive of which a part needs some members; the run that publishes fetches these."""
    for index in (0, 1):
        large.ready("--dataset", "tracks:free", SHARD=f"{index}/2")
    large.ready("provision", "--finish", "--dataset", "tracks:free")
    assert tracks_in(large) == expected_tracks()
    assert audio_sent(shelf) < 0.4 * len(archives["fma_large.zip"])
