"""Archives that are unpacked while they arrive, on volumes that can hold the archive beside the tree and on such that cannot."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from typing import TYPE_CHECKING

import pytest

from tests.support.media import noise
from tests.support.program import wait_until
from tests.support.volume import files_under

if TYPE_CHECKING:
    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume

MIB = 1 << 20
FILES = {f"songs/{number:02}.wav": noise(f"song {number}", MIB) for number in range(24)}
SIZE = 24 * MIB
ROOM = f"{(SIZE + 2 * MIB) / 1e9:.6f}"
"""MAX_STORAGE_GB: enough for the tree, but not for the archive beside it."""


def zipped() -> bytes:
    """Pack the files as a zip with stored members."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in FILES.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return target.getvalue()


@pytest.fixture(params=["tar.gz", "zip"])
def songs(request: pytest.FixtureRequest, shelf: Shelf, volume: Volume) -> Volume:
    """Return an empty volume, and a catalog of one large archive."""
    file = shelf.raw("songs.zip", zipped(), unpack="zip") if request.param == "zip" else shelf.file("songs.tar.gz", FILES)
    shelf.add("songs", file, unpacked_size=SIZE)
    volume.settings |= {"CATALOG_PATH": str(shelf.path), "CONNECTIONS": "2"}
    return volume


def staged_members(volume: Volume) -> list[str]:
    """Return what has been unpacked so far."""
    return sorted(path.name for path in files_under(volume.private / "staging" / "trees") if path.suffix == ".wav")


def archives_on(volume: Volume) -> list[str]:
    """Return the archives, or parts of them, that lie in staging."""
    return sorted(path.name for path in files_under(volume.private / "staging") if path.suffix == ".part")


@pytest.mark.parametrize("limit", [None, ROOM])
def test_it_is_unpacked_before_its_last_byte_has_arrived(songs: Volume, hub: HubServer, limit: str | None) -> None:
    """While the archive's second half is held back, members of the first are unpacked; the published tree is right in the end."""
    last = hub.faults.add("gate", path="*/songs.*", after=0, nth=4, gate="rest")
    running = songs.start(MAX_STORAGE_GB=limit)
    assert hub.faults.gate("rest").wait_reached()
    wait_until(lambda: staged_members(songs), "members are there")
    assert songs.published == []
    assert bool(archives_on(songs)) is (limit is None)
    hub.faults.clear()
    outcome = running.wait()
    assert outcome.code == 0, outcome.err
    assert last.fired == 1
    songs.check("songs", FILES)
    assert songs.staged() == []


def test_without_room_a_death_starts_the_archive_again(songs: Volume, hub: HubServer) -> None:
    """Where the volume cannot hold the archive, it starts again after a kill, as the plan says; the tree is right in the end."""
    plan = songs.ready("plan", "--json", MAX_STORAGE_GB=ROOM)
    assert '"streamed"' in plan.out
    gate = hub.faults.add("gate", path="*/songs.*", after=0, nth=4, gate="rest")
    running = songs.start(MAX_STORAGE_GB=ROOM)
    assert hub.faults.gate("rest").wait_reached()
    wait_until(lambda: staged_members(songs), "members are there")
    running.end()
    assert gate.fired == 1
    hub.faults.clear()
    assert songs.published == []
    hub.log.clear()
    songs.ready(MAX_STORAGE_GB=ROOM)
    assert sum(entry.bytes_sent for entry in hub.log.entries("*/songs.*")) >= SIZE
    songs.check("songs", FILES)
    assert songs.staged() == []


def test_what_a_death_left_in_the_tree_does_not_count(songs: Volume, hub: HubServer) -> None:
    """Files of an unfinished attempt are removed before the next: they will be written again, and count once."""
    gate = hub.faults.add("gate", path="*/songs.*", after=0, nth=4, gate="rest")
    running = songs.start(MAX_STORAGE_GB=ROOM)
    assert hub.faults.gate("rest").wait_reached()
    wait_until(lambda: staged_members(songs), "members are there")
    running.end()
    assert gate.fired == 1
    hub.faults.clear()
    (version,) = (songs.private / "staging" / "trees" / "songs").iterdir()
    (version / "tree" / "of an earlier attempt").write_bytes(bytes(8 * MIB))
    songs.ready(MAX_STORAGE_GB=ROOM)
    songs.check("songs", FILES)


def journalled(volume: Volume) -> tuple[int, int]:
    """Return the bytes that the journal in staging records, and those of the whole archive."""
    for path in (volume.private / "staging" / "blobs").glob("*.journal"):
        header, end, records = path.read_bytes().partition(b"\n")
        if not end:
            break  # opened, and nothing is written yet
        size = int(json.loads(header)["size"])
        whole = records[: len(records) - len(records) % 8]
        return sum(min(MIB, size - number * MIB) for number, _ in struct.iter_unpack("<II", whole)), size
    return 0, 0


def test_with_room_a_death_costs_little(songs: Volume, hub: HubServer) -> None:
    """Where the volume can hold the archive, what the journal records before a kill is not fetched again."""
    gate = hub.faults.add("gate", path="*/songs.*", after=0, nth=4, gate="rest")
    running = songs.start()
    assert hub.faults.gate("rest").wait_reached()
    wait_until(lambda: journalled(songs)[0] >= 8 * MIB and staged_members(songs), "pieces and members are there")
    running.end()
    assert gate.fired == 1
    hub.faults.clear()
    hub.log.entries("*/songs.*")
    hub.log.clear()
    kept, size = journalled(songs)
    songs.ready()
    assert sum(entry.bytes_sent for entry in hub.log.entries("*/songs.*")) == size - kept
    songs.check("songs", FILES)


@pytest.mark.parametrize("limit", [None, ROOM])
def test_no_archive_ever_lies_on_a_volume_without_room(songs: Volume, limit: str | None) -> None:
    """A data set is filled even if no file may be larger than two of its members: its archive is never on the volume."""
    songs.under = ("prlimit", f"--fsize={2 * MIB}")
    outcome = songs.run(MAX_STORAGE_GB=limit)
    if limit is None:
        assert outcome.code == 74, outcome.err
        assert songs.published == []
        songs.under = ()
        songs.ready()
    else:
        assert outcome.code == 0, outcome.err
    songs.check("songs", FILES)
    assert songs.staged() == []


@pytest.mark.parametrize("offset", [20 * MIB, 23 * MIB + MIB // 2])
@pytest.mark.parametrize("limit", [None, ROOM])
def test_a_wrong_byte_publishes_nothing(songs: Volume, hub: HubServer, limit: str | None, offset: int) -> None:
    """Nothing is published of an archive with a wrong byte, though members were unpacked; the next run fetches it right."""
    fault = hub.faults.add("flip", path="*/songs.*", offset=offset)
    gate = hub.faults.add("gate", path="*/songs.*", after=0, nth=4, gate="rest")
    running = songs.start(MAX_STORAGE_GB=limit)
    assert hub.faults.gate("rest").wait_reached()
    wait_until(lambda: len(staged_members(songs)) >= 8, "members are there")
    hub.faults.gate("rest").release()
    outcome = running.wait()
    assert outcome.code == 65, outcome.err
    assert (fault.fired, gate.fired) == (2, 1)
    assert songs.published == []
    hub.faults.clear()
    songs.ready(MAX_STORAGE_GB=limit)
    songs.check("songs", FILES)


def test_a_server_without_ranges_and_no_room(songs: Volume, hub: HubServer) -> None:
    """With neither ranges nor space for it a tar is unpacked as it arrives; a zip cannot be, and the error says what to do."""
    fault = hub.faults.add("ignore_range", path="*/songs.*")
    outcome = songs.run(MAX_STORAGE_GB=ROOM)
    assert fault.fired >= 1
    if outcome.code == 0:
        songs.check("songs", FILES)
        return
    assert outcome.code == 69
    assert "not enough free space for the whole archive" in outcome.err
    assert songs.published == []
