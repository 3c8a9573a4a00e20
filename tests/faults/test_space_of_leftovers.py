"""Staged leftovers that are no longer needed: they are removed before a data set fails that the plan has space for."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.support.media import noise
from tests.support.program import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume

MIB: Final = 1 << 20
SIZE: Final = 3 * MIB
LARGE: Final = 17 * MIB


def tree_of(number: int, size: int = SIZE) -> dict[str, bytes]:
    """Return the content of one archive."""
    return {f"part{number}/noise.bin": noise(f"leftovers {number}", size)}


def records(volume: Volume) -> list[Path]:
    """Return the records of archives that are unpacked in staging."""
    return list((volume.private / "staging" / "trees").glob("*/*/parts/*.json"))


def archive(shelf: Shelf, number: int, *, host: str, name: str = "", **fields: Any) -> dict[str, Any]:
    """Serve an archive of known sizes."""
    files = tree_of(number, fields.pop("each", SIZE))
    size = sum(map(len, files.values()))
    return shelf.file(name or f"part{number}.tar.gz", files, host=host, unpacked_size=size, **fields)


def limited_to_peak(volume: Volume, more: int = 0, **settings: str) -> Volume:
    """Limit the volume to the peak that the plan states, plus ``more`` bytes."""
    peak = volume.ready("plan", "--json", **settings).json["peak_bytes"]
    volume.settings["MAX_STORAGE_GB"] = f"{(peak + more) / 1e9:.9f}"
    assert volume.ready("plan", "--json", **settings).json["peak_bytes"] == peak
    return volume


@pytest.mark.parametrize("fault", [{"kind": "status", "status": 404}, {"kind": "status", "status": 403}, {"kind": "flip"}])
def test_of_a_source_that_was_given_up(shelf: Shelf, volume: Volume, hub: HubServer, fault: dict[str, Any]) -> None:
    """The last file of the first source fails; the archives fetched from it make way for those of the second source."""
    first = [archive(shelf, number, host="one.example.org", name=f"first{number}.tar.gz") for number in range(2)]
    first.append(shelf.raw("last.bin", noise("last", 2 * MIB), host="one.example.org"))
    # The same tree, packed differently.
    second = [
        shelf.file(
            f"second{number}.tar.gz",
            {"empty.txt": b"", **tree_of(number)},
            host="two.example.org",
            unpacked_size=SIZE,
        )
        for number in range(2)
    ]
    second.append(shelf.raw("last.bin", noise("last", 2 * MIB), host="two.example.org"))
    sources = [{"kind": "url", "files": files} for files in (first, second)]
    shelf.add("alpha", sources=sources, unpacked_size=2 * SIZE + 2 * MIB)
    limited_to_peak(volume, 1024)
    held = hub.faults.add("hold", path="*/one.example.org/last.bin", gate="last", first=1)
    failing = hub.faults.add(fault.pop("kind"), path="*/one.example.org/last.bin", **fault)
    run = volume.start()
    wait_until(lambda: volume.staged_bytes() >= 2 * SIZE, "the archives of the first source are there")
    hub.faults.gate("last").release()
    outcome = run.wait()
    assert (outcome.code, held.fired) == (0, 1), outcome.err
    assert failing.fired >= 1
    assert "trying the next source" in outcome.err
    volume.check("alpha", {"empty.txt": b"", "last.bin": noise("last", 2 * MIB), **tree_of(0), **tree_of(1)})
    assert volume.staged() == []


def test_of_another_version(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """After a killed run left the unpacked tree of one split, a run for another split has the space that the plan counts on."""
    files = [archive(shelf, number, host="one.example.org", split=split) for number, split in ((0, "a"), (1, "a"), (2, "b"))]
    shelf.add("alpha", *files, unpacked_size=3 * SIZE)
    held = hub.faults.add("hold", path="*/part1.tar.gz", gate="one")
    run = volume.start("--dataset", "alpha:a")
    wait_until(lambda: records(volume), "a part is recorded")
    assert hub.faults.gate("one").wait_reached()
    run.send(signal.SIGKILL)
    assert run.wait().code == -9
    assert held.fired == 1
    hub.faults.clear()
    limited_to_peak(volume, DATASETS="alpha:b").ready("--dataset", "alpha:b")
    volume.check("alpha", tree_of(2))


@pytest.mark.parametrize(("size", "room"), [(SIZE, "one_by_one"), (LARGE, "streamed")])
def test_of_a_run_that_had_more_space(shelf: Shelf, volume: Volume, hub: HubServer, size: int, room: str) -> None:
    """A killed run kept all archives; with less space, the next run must remove those that are not in use."""
    files = [archive(shelf, number, host="one.example.org", each=size) for number in range(3)]
    shelf.add("alpha", *files, unpacked_size=3 * size)
    packed = sum(file["size"] for file in files)
    stuck = hub.faults.add("gate", path="*/part2.tar.gz", after=MIB, gate="two")
    run = volume.start()
    wait_until(lambda: volume.staged_bytes() >= packed - size, "two archives are there, and a part of the third")
    wait_until(lambda: len(records(volume)) >= 2, "two are unpacked")
    run.send(signal.SIGKILL)
    assert run.wait().code == -9
    assert stuck.fired >= 1
    hub.faults.clear()
    most = 3 * size + (files[0]["size"] if room == "one_by_one" else 0)
    volume.settings["MAX_STORAGE_GB"] = f"{(most + 100) / 1e9:.9f}"
    (step,) = volume.ready("plan", "--json").json["steps"]
    assert step["room"] == room
    outcome = volume.run()
    assert outcome.code == 0, outcome.err
    volume.check("alpha", {name: data for number in range(3) for name, data in tree_of(number, size).items()})
    assert volume.staged() == []


def test_records_take_no_space_of_the_limit(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """The records of many small files are larger than the files; the limit, like the plan, counts only the files."""
    small = {f"small/{number:04}.txt": b"%d" % number for number in range(5000)}
    size = sum(map(len, small.values()))
    files = [shelf.file("small.tar.gz", small, unpacked_size=size), archive(shelf, 1, host="one.example.org")]
    shelf.add("alpha", *files, unpacked_size=size + SIZE)
    held = hub.faults.add("hold", path="*/part1.tar.gz", gate="one")
    limited_to_peak(volume)
    run = volume.start()
    wait_until(lambda: records(volume), "a part is recorded")
    hub.faults.gate("one").release()
    outcome = run.wait()
    assert (outcome.code, held.fired) == (0, 1), outcome.err
    volume.check("alpha", {**small, **tree_of(1)})


@pytest.mark.parametrize(("size", "room"), [(SIZE, "one_by_one"), (LARGE, "streamed")])
def test_of_a_tree_that_is_wrong(shelf: Shelf, volume: Volume, size: int, room: str) -> None:
    """A tree without a receipt that turns out to be damaged is removed, and its replacement is built as the space allows."""
    files = [archive(shelf, number, host="one.example.org", each=size) for number in range(3)]
    shelf.add("alpha", *files, unpacked_size=3 * size)
    most = 3 * size + (files[0]["size"] if room == "one_by_one" else 0)
    volume.settings["MAX_STORAGE_GB"] = f"{(most + 100) / 1e9:.9f}"
    assert [step["room"] for step in volume.ready("plan", "--json").json["steps"]] == [room]
    volume.ready()
    (receipt,) = volume.receipts("alpha")
    receipt.unlink()
    (noisy, *_) = volume.tree("alpha").rglob("noise.bin")
    noisy.chmod(0o644)
    noisy.write_bytes(b"wrong")
    assert [step["action"] for step in volume.ready("plan", "--json").json["steps"]] == ["adopt"]
    outcome = volume.run()
    assert outcome.code == 0, outcome.err
    volume.check("alpha", {name: data for number in range(3) for name, data in tree_of(number, size).items()})


@pytest.mark.parametrize("by_name", [True, False])
def test_of_what_turns_out_not_to_fit(shelf: Shelf, volume: Volume, hub: HubServer, by_name: bool) -> None:
    """Everything that was fetched is removed, as the message says, including the archives."""
    first = archive(shelf, 0, host="one.example.org")
    bulky = shelf.file("bulky.tar.gz", {"zeros.bin": bytes(9 * MIB)}, host="one.example.org")
    shelf.add("alpha", first, bulky, unpacked_size={"value": 2 * SIZE, "estimate": True})
    shelf.add("beta", shelf.raw("beta.bin", b"beta"), priority=1)
    volume.settings["MAX_STORAGE_GB"] = f"{(3 * SIZE + MIB) / 1e9:.9f}"
    held = hub.faults.add("hold", path="*/bulky.tar.gz", gate="bulky", first=1)
    run = volume.start(*(["--dataset", "alpha,beta"] if by_name else []))
    wait_until(lambda: records(volume), "the first archive is unpacked")
    hub.faults.gate("bulky").release()
    outcome = run.wait()
    assert (outcome.code, held.fired) == (74 if by_name else 0, 1), outcome.err
    assert "what had come of it was removed" in outcome.err
    assert volume.staged() == []
    volume.check("beta", {"beta.bin": b"beta"})
