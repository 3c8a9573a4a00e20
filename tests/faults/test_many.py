"""Many at once on one volume: each artifact is fetched once, everybody ends as the contract says, readers see whole trees."""

from __future__ import annotations

import json
import threading
from functools import partial
from typing import TYPE_CHECKING

from tests.support.program import wait_until
from tests.support.shelf import some_files

if TYPE_CHECKING:
    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume

NAMES = ("alpha", "beta", "gamma", "delta")
MANY = 32


def test_thirty_two_processes_of_different_phases(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """They start while the first is held in the middle of its first archive; every archive is sent once."""
    trees = {name: some_files(name, 40_000) for name in NAMES}
    for name, files in trees.items():
        shelf.add(name, shelf.file(f"{name}.tar.gz", files))
    shelf.document["phases"] = {
        "minimal": {"description": "one", "datasets": ["alpha"]},
        "balanced": {"description": "three", "extends": "minimal", "datasets": ["beta", "gamma"]},
        "comprehensive": {"description": "all", "extends": "balanced", "datasets": ["delta"]},
    }
    shelf.write()
    held = hub.faults.add("gate", path="*/alpha.tar.gz", after=20_000, nth=1, gate="first")
    phases = ("minimal", "balanced", "comprehensive")
    processes = [volume.start(PHASE="comprehensive", CONNECTIONS="1")]
    assert hub.faults.gate("first").wait_reached()
    processes += [volume.start(PHASE=phases[number % 3]) for number in range(1, MANY)]
    for process in processes[1:]:
        process.wait_line("Waiting for run")
    hub.faults.clear()
    outcomes = [process.wait() for process in processes]
    assert held.fired == 1
    assert [outcome.code for outcome in outcomes] == [0] * MANY, [outcome.err for outcome in outcomes if outcome.code]
    assert sorted(entry.path.rpartition("/")[2] for entry in hub.log.entries(origin="cdn")) == sorted(
        f"{n}.tar.gz" for n in NAMES
    )
    for name, files in trees.items():
        volume.check(name, files)
    assert volume.staged() == []


def test_holders_that_are_killed_one_after_the_other(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """Each dies with the lock in its hands, the next one has it at once, and what had arrived is not sent again."""
    files = some_files("alpha", 400_000)
    shelf.add("alpha", shelf.file("alpha.tar.gz", files))
    steps = [
        hub.faults.add("gate", path="*/alpha.tar.gz", after=40_000, nth=number, gate=f"at-{number}") for number in range(1, 6)
    ]
    living = {process.pid: process for process in (volume.start() for _ in range(6))}
    for number in range(1, 6):
        assert hub.faults.gate(f"at-{number}").wait_reached()
        wait_until(partial(_has, volume, number * 40_000), "it is on the disk")
        living.pop(json.loads((volume.private / "locks" / "datasets" / "alpha").read_bytes())["pid"]).end()
        hub.faults.gate(f"at-{number}").release()
    assert len(living) == 1
    assert living.popitem()[1].wait().code == 0
    assert [step.fired for step in steps] == [1] * 5
    starts = [int((entry.range or "bytes=0-")[6:].partition("-")[0]) for entry in hub.log.entries("*/alpha.tar.gz")]
    assert len(starts) == 6
    assert all(start >= number * 40_000 for number, start in enumerate(starts))
    volume.check("alpha", files)


def _has(volume: Volume, count: int) -> bool:
    return volume.staged_bytes() >= count


def test_readers_during_a_switch(shelf: Shelf, volume: Volume) -> None:
    """While versions change under them, every look through one open directory is of one version."""
    old = {f"{number}.txt": b"old" for number in range(20)}
    new = {f"{number}.txt": b"new" for number in range(20)}
    shelf.add("alpha", shelf.file("old.tar.gz", old))
    volume.ready()
    ended = threading.Event()
    seen: list[set[bytes]] = []

    def read() -> None:
        while not ended.is_set():
            tree = volume.tree("alpha").resolve()
            seen.append({(tree / name).read_bytes() for name in old})

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for name, content in (("new", new), ("old", old), ("new", new)):
            entry = shelf.file(f"{name}.tar.gz", content)
            shelf.document["datasets"]["alpha"]["sources"] = [{"kind": "url", "files": [entry]}]
            shelf.write()
            volume.ready()
    finally:
        ended.set()
        reader.join()
    assert {frozenset(each) for each in seen} == {frozenset({b"old"}), frozenset({b"new"})}
