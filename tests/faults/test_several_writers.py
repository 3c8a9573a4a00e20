"""Several runs fill one volume at the same time: each data set has one writer, and the end is that of one run."""

from __future__ import annotations

import fcntl
import json
import os
import random
import re
import shutil
import signal
import sys
from collections import Counter
from typing import TYPE_CHECKING, Final

import pytest

from tests.faults.test_death import MORTAL
from tests.support.media import noise
from tests.support.program import Running, wait_until
from tests.support.shelf import some_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.faults import Gate
    from tests.support.hub_server import HubServer
    from tests.support.program import Outcome
    from tests.support.shelf import Miniature, Shelf
    from tests.support.volume import Volume

ROUNDS: Final = int(os.environ.get("WRITER_ROUNDS", "6"))
"""How often one of two runs is killed; 30 take a minute."""
EIGHT: Final = tuple("abcdefgh")


def fetched(hub: HubServer) -> Counter[str]:
    """Return how often each file was asked for."""
    return Counter(entry.path for entry in hub.log.entries(origin="cdn") if entry.method == "GET")


def published_by(outcome: Outcome) -> set[str]:
    """Return the data sets that a run says it has made ready."""
    return set(re.findall(r"(\w+): ready, \d+ file", outcome.err))


def held(hub: HubServer, path: str, after: int | None = None) -> Gate:
    """Hold the first request for a path."""
    return hub.faults.gate(hub.faults.add("gate", path=path, after=after, first=1).gate)


def all_end_well(*runs: Running) -> list[Outcome]:
    """Wait for the end of all runs, which must be a success."""
    outcomes = [run.wait() for run in runs]
    assert [outcome.code for outcome in outcomes] == [0] * len(outcomes), "\n".join(outcome.err for outcome in outcomes)
    return outcomes


@pytest.fixture
def eight(shelf: Shelf, volume: Volume) -> Volume:
    """Return a volume for eight small data sets."""
    for name in EIGHT:
        shelf.add(name, shelf.file(f"{name}.tar.gz", some_files(name)), unpacked_size=5002)
    return volume


def check_eight(volume: Volume) -> None:
    """Check that all is published and nothing is left over, and that the next run has nothing to do."""
    assert volume.published == sorted(EIGHT)
    for name in EIGHT:
        volume.check(name, some_files(name))
    assert volume.staged() == []
    assert volume.status["state"] == "ready"
    assert "writers" not in volume.status
    assert {record["state"] for record in volume.status["datasets"].values()} == {"ready"}
    attribution = (volume.root / "ATTRIBUTION.md").read_text("utf-8")
    assert all(f"datasets/{name}`" in attribution for name in EIGHT)
    assert f"DATASETS_DIR={volume.root}/datasets" in (volume.root / "provision.env").read_text("utf-8")
    before = volume.snapshot()
    volume.ready()
    assert volume.snapshot() == before


def test_the_whole_collection_by_two(mini_volume: Volume, mini: Miniature, hub: HubServer) -> None:
    """Two runs that start together divide the data sets: both publish some, each file is fetched once, one repository is made."""
    volume, collection = mini_volume, mini.collection
    volume.settings["PHASE"] = "comprehensive"
    gate = held(hub, "*lj*")
    first = volume.start()
    assert gate.wait_reached()
    second = volume.start()
    second.wait_line("ready,")
    assert volume.status["state"] == "provisioning"
    wait_until(lambda: len(volume.status.get("writers", ())) == 2, "both are named in the status")
    gate.release()
    by_first, by_second = map(published_by, all_end_well(first, second))
    assert by_first
    assert by_second
    assert not by_first & by_second
    assert by_first | by_second == set(collection.datasets)
    assert set(fetched(hub).values()) == {1}
    assert len(hub.log.entries("/api/repos/create")) == 1
    for dataset in collection.datasets:
        volume.check(dataset, collection.expected(dataset))
    assert volume.staged() == []
    assert volume.status["state"] == "ready"
    assert "writers" not in volume.status
    before = volume.snapshot()
    volume.ready()
    assert volume.snapshot() == before


def test_what_the_other_has_comes_last(eight: Volume, hub: HubServer) -> None:
    """What another run is at work on is waited for at the end, by its name; it is found published, and not fetched."""
    gate = held(hub, "*/a.tar.gz", 1000)
    first = eight.start(DATASETS="a")
    assert gate.wait_reached()
    second = eight.start()
    second.wait_line(rf"Waiting for run \S+ on host \S+, process {first.pid}, since .*; a$")
    assert eight.published == list(EIGHT[1:])
    assert eight.status["datasets"]["a"]["state"] in {"pending", "fetching"}
    gate.release()
    outcomes = all_end_well(first, second)
    assert published_by(outcomes[1]) == set(EIGHT[1:])
    assert "a: another run has published it" in outcomes[1].err or "nothing to do" in outcomes[1].err
    assert set(fetched(hub).values()) == {1}
    check_eight(eight)


def test_another_writer_keeps_one_for_too_long(eight: Volume, hub: HubServer) -> None:
    """After LOCK_TIMEOUT a run ends with 75 and says who has what; all else is published, and the other run goes on."""
    gate = held(hub, "*/a.tar.gz", 1000)
    first = eight.start(DATASETS="a")
    assert gate.wait_reached()
    outcome = eight.run(LOCK_TIMEOUT="0")
    assert outcome.code == 75
    assert f"another writer has a: run {eight.status['run_id']} on host" in outcome.err
    assert f"process {first.pid}" in outcome.err
    assert eight.published == list(EIGHT[1:])
    assert eight.status["state"] == "provisioning"
    assert eight.status["datasets"]["b"]["state"] == "ready"
    gate.release()
    all_end_well(first)
    eight.ready()
    check_eight(eight)


def test_one_of_two_is_killed(eight: Volume, hub: HubServer) -> None:
    """At whatever change of the volume one of two runs dies, the other one does all of the work, and a file more at most."""
    chosen, kills = random.Random(18), 0  # noqa: S311 - the same moments each time
    said = eight.root.parent / "said"
    for _ in range(ROUNDS):
        change = chosen.randrange(20, 400)
        command = [sys.executable, "-c", MORTAL, str(eight.root), str(change), str(said), "", ""]
        mortal = Running(command, eight.environ())
        eight.running.append(mortal)
        second = eight.start()
        code = mortal.wait().code
        assert code in {0, -signal.SIGKILL}
        kills += code != 0
        all_end_well(second)
        asked = fetched(hub)
        assert set(asked) == {f"/files.example.org/{name}.tar.gz" for name in EIGHT}
        # Up to four data sets are built at once, and what had arrived of each is not asked for again from its start.
        assert sum(asked.values()) <= len(EIGHT) + (4 if code else 0), change
        if code:
            # It may have been the last one at work, and then nobody has written how it ended.
            eight.ready()
        check_eight(eight)
        hub.log.clear()
        shutil.rmtree(eight.root)
    assert kills >= ROUNDS // 3


# --- the lock of the whole volume ----------------------------------------------------------------------------------------


def test_who_needs_the_whole_volume(eight: Volume, hub: HubServer) -> None:
    """A program that takes the lock for itself, as older versions do, and runs that share it exclude each other."""
    gate = held(hub, "*/a.tar.gz", 1000)
    run = eight.start()
    assert gate.wait_reached()
    with (eight.private / "lock").open("r+b") as lock:
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        removed = eight.run("remove", "b", LOCK_TIMEOUT="0")
        if "b" in eight.published:
            assert removed.code == 75
        gate.release()
        all_end_well(run)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        eight.tree("a").unlink()
        assert eight.run(LOCK_TIMEOUT="0").code == 75
    eight.ready()
    check_eight(eight)


@pytest.mark.parametrize("settings", [{"LOCK": "external"}, {"STAGING_DIR": "staging"}], ids=["external", "staging elsewhere"])
def test_where_one_writer_is_enough(eight: Volume, settings: dict[str, str]) -> None:
    """Where several writers are not safe, a run takes the lock of the whole volume, and makes no other."""
    if "STAGING_DIR" in settings:
        settings = {"STAGING_DIR": str(eight.root.parent / "staging")}
    eight.ready(**settings)
    assert not (eight.private / "locks").exists()
    assert eight.published == sorted(EIGHT)


# --- space and staged files ----------------------------------------------------------------------------------------------


def two_that_do_not_fit_together(shelf: Shelf) -> None:
    """Make two data sets, each of which needs 200 kB while it is built, and 100 kB afterwards."""
    for name in ("one", "two"):
        shelf.add(name, shelf.file(f"{name}.tar.gz", some_files(name, 100_000)), unpacked_size=100_004)


@pytest.mark.parametrize("end", ["published", "killed"])
def test_space_that_another_needs(shelf: Shelf, volume: Volume, hub: HubServer, end: str) -> None:
    """What another run may need is not used: a data set waits until that is published, or its run has died."""
    two_that_do_not_fit_together(shelf)
    # Not enough for both at once, in whatever way archives are kept.
    volume.settings["MAX_STORAGE_GB"] = "0.000305" if end == "published" else "0.000205"
    gate = held(hub, "*/one.tar.gz", 1000)
    first = volume.start(DATASETS="one")
    assert gate.wait_reached()
    second = volume.start(DATASETS="two")
    second.wait_line("Waiting for the space that other writers may need: .*; two$")
    assert set(fetched(hub)) == {"/files.example.org/one.tar.gz"}
    if end == "killed":
        first.send(signal.SIGKILL)
        assert first.wait().code == -signal.SIGKILL
        hub.faults.clear()
        all_end_well(second)
        assert volume.published == ["two"]
        return
    gate.release()
    all_end_well(first, second)
    assert volume.published == ["one", "two"]
    assert set(fetched(hub).values()) == {1}


def test_space_that_another_has_used(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """What does not fit any more when the other run has ended is refused before its first byte, and said so."""
    two_that_do_not_fit_together(shelf)
    volume.settings["MAX_STORAGE_GB"] = "0.000205"
    gate = held(hub, "*/one.tar.gz", 1000)
    first = volume.start(DATASETS="one")
    assert gate.wait_reached()
    second = volume.start(DATASETS="two")
    second.wait_line("Waiting for the space")
    volume_limit = 205_000
    gate.release()
    all_end_well(first)
    outcome = second.wait()
    assert outcome.code == 74
    assert "other runs have used the space" in outcome.err
    assert set(fetched(hub)) == {"/files.example.org/one.tar.gz"}
    assert sum(path.stat().st_size for path in (volume.private / "store").rglob("*") if path.is_file()) < volume_limit


def test_sizes_that_are_wrong(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """What gets larger than was planned, beside another run, is put back and tried again alone; the limit holds."""
    shelf.add("one", shelf.file("one.tar.gz", some_files("one", 100_000)), unpacked_size=100_004)
    # Of an estimate no more is believed than that it is one.
    shelf.add("two", shelf.file("two.tar.gz", some_files("two", 100_000)), unpacked_size={"value": 1000, "estimate": True})
    volume.settings["MAX_STORAGE_GB"] = "0.000320"
    gate = held(hub, "*/one.tar.gz", 99_000)
    first = volume.start(DATASETS="one")
    assert gate.wait_reached()
    second = volume.start(DATASETS="two")
    wait_until(lambda: "/files.example.org/two.tar.gz" in fetched(hub), "the second is fetched")
    gate.release()
    all_end_well(first, second)
    assert volume.published == ["one", "two"]


@pytest.mark.parametrize("end", ["published", "killed"])
def test_one_file_of_two_data_sets(shelf: Shelf, volume: Volume, hub: HubServer, end: str) -> None:
    """A file that two data sets have in common is fetched by one run; the other waits for it, and takes over what there is."""
    content = noise("shared", 3_000_000)
    shared = shelf.raw("shared.bin", content)
    shelf.add("one", shared)
    shelf.add("two", shared, shelf.file("two.tar.gz", some_files("two")))
    gate = held(hub, "*/shared.bin", 1_000_000)
    first = volume.start(DATASETS="one")
    assert gate.wait_reached()
    wait_until(lambda: volume.staged_bytes() == 1_000_000, "what has arrived is on the disk")
    second = volume.start(DATASETS="two")
    second.wait_line("two: waiting for files that another run is fetching")
    assert "/files.example.org/two.tar.gz" not in fetched(hub)
    if end == "killed":
        first.send(signal.SIGKILL)
        assert first.wait().code == -signal.SIGKILL
        hub.faults.clear()
        all_end_well(second)
        assert [entry.range for entry in hub.log.entries("*/shared.bin")] == [None, "bytes=1000000-"]
    else:
        gate.release()
        all_end_well(first, second)
        assert set(fetched(hub).values()) == {1}
    volume.check("two", {"shared.bin": content} | some_files("two"))
    volume.ready()
    volume.check("one", {"shared.bin": content})
    assert len(hub.log.entries("*/shared.bin")) == (2 if end == "killed" else 1)
    assert volume.staged() == []


def test_one_file_that_another_keeps_for_too_long(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """A run that needs a file which another run fetches for another data set names that run, and gives up after LOCK_TIMEOUT."""
    shared = shelf.raw("shared.bin", noise("shared", 3_000_000))
    shelf.add("one", shared)
    shelf.add("two", shared, shelf.file("two.tar.gz", some_files("two")))
    gate = held(hub, "*/shared.bin", 1_000_000)
    first = volume.start(DATASETS="one")
    assert gate.wait_reached()
    outcome = volume.run(DATASETS="two", LOCK_TIMEOUT="1")
    assert outcome.code == 75
    assert f"process {first.pid}" in outcome.err
    assert "another writer kept files that two needs for 1 s" in outcome.err
    assert volume.status["state"] == "provisioning"
    gate.release()
    all_end_well(first)
    volume.ready()
    assert volume.published == ["one", "two"]
    assert set(fetched(hub).values()) == {1}


# --- what belongs to the volume ------------------------------------------------------------------------------------------


def states(document: dict[str, dict[str, dict[str, str]]], names: Sequence[str]) -> list[str]:
    """Return the states of some data sets by a status."""
    return [document["datasets"][name]["state"] for name in names]


def test_two_that_end_at_the_same_time(eight: Volume, hub: HubServer) -> None:
    """Two runs with different data sets: both are in each file of the volume, and the last one's view is the status."""
    gates = [held(hub, f"*/{name}.tar.gz", 1000) for name in "ab"]
    runs = [eight.start(DATASETS=name) for name in "ab"]
    assert all(gate.wait_reached() for gate in gates)
    wait_until(lambda: len(eight.status.get("writers", ())) == 2, "both are at work")
    assert set(states(eight.status, "ab")) <= {"pending", "fetching"}
    for gate in gates:
        gate.release()
    all_end_well(*runs)
    document = eight.status
    assert document["state"] == "ready"
    assert "writers" not in document
    assert sorted(states(document, "ab")) == ["ready", "skipped"]
    assert all(f"datasets/{name}`" in (eight.root / "ATTRIBUTION.md").read_text("utf-8") for name in "ab")
    assert sorted(os.listdir(eight.private / "writers")) == ["changes.json"]
    assert json.loads(eight.ready("status", "--json").out)["state"] == "ready"
    eight.ready()
    check_eight(eight)


def test_one_fails_while_another_works(eight: Volume, hub: HubServer) -> None:
    """While another run works, the volume is being filled, whatever has become of the first; the other's end is the volume's."""
    gate = held(hub, "*/a.tar.gz", 1000)
    first = eight.start(DATASETS="a")
    assert gate.wait_reached()
    run_id = eight.status["run_id"]
    hub.faults.add("status", path="*/b.tar.gz", status=404)
    assert eight.run(DATASETS="b").code == 66
    assert (eight.status["state"], eight.status["run_id"]) == ("provisioning", run_id)
    assert eight.status["error"] is None
    assert eight.status["datasets"]["a"]["state"] in {"pending", "fetching"}
    gate.release()
    all_end_well(first)
    assert (eight.status["state"], eight.status["run_id"]) == ("ready", run_id)
