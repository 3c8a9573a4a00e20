"""Data sets that are fetched and unpacked at the same time: real runs against a server that holds back what the test says."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.support.media import noise
from tests.support.program import wait_until
from tests.support.shelf import some_files

if TYPE_CHECKING:
    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume

MIB: Final = 1 << 20
SIZE: Final = 3 * MIB
NAMES: Final = ("alpha", "beta", "gamma")
TREES: Final = {name: some_files(name, SIZE) for name in NAMES}


def add(shelf: Shelf, name: str, priority: int, **fields: Any) -> None:
    """Add a data set of one archive, whose sizes are known."""
    size = sum(map(len, TREES[name].values()))
    archive = shelf.file(f"{name}.tar.gz", TREES[name], unpacked_size=size)
    shelf.add(name, archive, priority=priority, **{"unpacked_size": size, **fields})


@pytest.fixture
def three(shelf: Shelf, volume: Volume) -> Volume:
    """Return an empty volume, and a catalog of three archives from the most important to the least."""
    for priority, name in zip((5, 4, 3), NAMES, strict=True):
        add(shelf, name, priority)
    return volume


def state_of(volume: Volume, name: str) -> str:
    """Return what the status file says of a data set."""
    return str(volume.status["datasets"][name]["state"])


def check_all(volume: Volume) -> None:
    """Compare everything that is published."""
    for name in NAMES:
        volume.check(name, TREES[name])
    assert volume.staged() == []


def test_the_next_ones_are_fetched_while_one_waits(three: Volume, hub: HubServer) -> None:
    """While the first host is silent, the other data sets are published; the status says of each where it is."""
    held = hub.faults.add("hold", path="*/alpha.tar.gz", gate="alpha")
    run = three.start()
    wait_until(lambda: three.published == ["beta", "gamma"], "the others are published")
    wait_until(lambda: state_of(three, "beta") == state_of(three, "gamma") == "ready", "the status says so")
    assert state_of(three, "alpha") == "fetching"
    hub.faults.gate("alpha").release()
    assert run.wait().code == 0
    assert held.fired == 1
    check_all(three)


def test_without_space_one_after_the_other(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """Where the limit has no space for two at their peaks, nothing runs ahead; the plan says so."""
    add(shelf, "alpha", 5)
    add(shelf, "beta", 4)
    # Either of them needs twice its size at its peak, and once afterwards.
    volume.settings["MAX_STORAGE_GB"] = f"{3.5 * SIZE / 1e9:.6f}"
    assert [step["beside"] for step in volume.ready("plan", "--json").json["steps"]] == [0, 0]
    held = hub.faults.add("hold", path="*/alpha.tar.gz", gate="alpha")
    run = volume.start()
    assert hub.faults.gate("alpha").wait_reached()
    assert [entry.path.rpartition("/")[2] for entry in hub.log.entries()] == ["alpha.tar.gz"]
    hub.faults.gate("alpha").release()
    assert run.wait().code == 0
    assert held.fired == 1
    assert [entry.path.rpartition("/")[2] for entry in hub.log.entries()] == ["alpha.tar.gz", "beta.tar.gz"]
    volume.check("alpha", TREES["alpha"])
    volume.check("beta", TREES["beta"])


def test_an_estimate_that_was_too_small(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """The important one needs more than was planned: what ran ahead of it makes way, and is left out in the end."""
    silence = {"alpha/silence.raw": bytes(5 * MIB)}
    shelf.add("alpha", shelf.file("alpha.tar.gz", silence), priority=5, unpacked_size={"value": 100_000, "estimate": True})
    add(shelf, "beta", 4)
    limit = len_of(shelf, "alpha") + 100_000 + len_of(shelf, "beta") + SIZE + 100_000
    assert 5 * MIB + len_of(shelf, "alpha") < limit < 5 * MIB + 2 * MIB
    volume.settings["MAX_STORAGE_GB"] = f"{limit / 1e9:.6f}"
    assert [step["beside"] for step in volume.ready("plan", "--json").json["steps"]] == [0, 1]
    held = hub.faults.add("hold", path="*/alpha.tar.gz", gate="alpha")
    stuck = hub.faults.add("gate", path="*/beta.tar.gz", after=2 * MIB, gate="beta", first=1)
    run = volume.start()
    wait_until(lambda: volume.staged_bytes() >= 2 * MIB, "beta is in the middle")
    hub.faults.gate("alpha").release()
    outcome = run.wait()
    assert (outcome.code, held.fired, stuck.fired) == (0, 2, 1)
    assert "the data sets that are left are built one after the other" in outcome.err
    assert [state_of(volume, name) for name in ("alpha", "beta")] == ["ready", "skipped"]
    volume.check("alpha", silence)


def len_of(shelf: Shelf, name: str) -> int:
    """Return the bytes of an archive."""
    return int(shelf.document["datasets"][name]["sources"][0]["files"][0]["size"])


def test_what_two_data_sets_have_in_common(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """A large file of both is fetched once: the second one waits for it, and takes it over."""
    common = noise("common", 2 * MIB)
    shelf.add("alpha", shelf.raw("common.bin", common), shelf.raw("a.bin", b"a"), priority=5)
    shelf.add("beta", shelf.raw("common.bin", common), shelf.raw("b.bin", b"b"), priority=4)
    held = hub.faults.add("hold", path="*/a.bin", gate="a")
    run = volume.start()
    assert hub.faults.gate("a").wait_reached()
    hub.faults.gate("a").release()
    assert run.wait().code == 0
    assert held.fired == 1
    assert sorted(entry.path.rpartition("/")[2] for entry in hub.log.entries()) == ["a.bin", "b.bin", "common.bin"]
    volume.check("alpha", {"common.bin": common, "a.bin": b"a"})
    volume.check("beta", {"common.bin": common, "b.bin": b"b"})


def test_requests_at_once_over_all_data_sets(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """With ``CONNECTIONS=2`` there are never more, however many data sets are fetched; and two are used."""
    files = {name: {f"{name}/{number:02}.bin": noise(f"{name} {number}", 5000) for number in range(20)} for name in NAMES}
    for name in NAMES:
        hub.hub.add_repo(f"ann/{name}", files[name])
        shelf.add(name, *(shelf.raw(path, data) for path, data in files[name].items()))
    crowd = hub.faults.add("crowd", path="*/files.example.org/*", most=2, status=429)
    volume.ready(CONNECTIONS="2")
    assert crowd.fired == 0
    assert crowd.matched == 60
    for name in NAMES:
        volume.check(name, {path.rpartition("/")[2]: data for path, data in files[name].items()})


def test_listings_of_several_repositories(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """While the Hub is silent about one repository, another one whose size is known is listed, fetched and published."""
    for priority, name in zip((5, 4), NAMES, strict=False):
        hub.hub.add_repo(f"ann/{name}", TREES[name])
        size = sum(map(len, TREES[name].values()))
        shelf.add(name, sources=[{"kind": "hub", "repo": f"ann/{name}", "size": size}], priority=priority, unpacked_size=size)
    held = hub.faults.add("hold", path="*/ann/alpha/tree/*", gate="alpha")
    run = volume.start()
    wait_until(lambda: volume.published == ["beta"], "the other one is published")
    assert hub.faults.gate("alpha").wait_reached()
    hub.faults.gate("alpha").release()
    assert run.wait().code == 0
    assert held.fired == 1
    volume.check("alpha", TREES["alpha"])
    volume.check("beta", TREES["beta"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_end_in_the_middle_of_several(three: Volume, shelf: Shelf, hub: HubServer, number: signal.Signals) -> None:
    """Whatever ends the run, the next one fetches only the rest of each data set."""
    rules = [hub.faults.add("gate", path=f"*/{name}.tar.gz", after=2 * MIB, gate=name, first=1) for name in NAMES]
    run = three.start()
    wait_until(lambda: three.staged_bytes() >= 6 * MIB, "all are in the middle")
    run.send(number)
    code = run.wait().code
    assert code == (128 + 15 if number == signal.SIGTERM else -9)
    if number == signal.SIGTERM:
        assert [state_of(three, name) for name in NAMES] == ["fetching"] * 3
        assert three.status["state"] == "interrupted"
    assert [rule.fired for rule in rules] == [1, 1, 1]
    hub.faults.clear()
    hub.log.clear()
    three.ready()
    total = sum(len_of(shelf, name) for name in NAMES)
    assert sum(entry.bytes_sent for entry in hub.log.entries()) <= total - 6 * MIB + 3 * 1024
    check_all(three)


@pytest.mark.parametrize(("status", "code"), [(404, 66), (403, 77)])
def test_failures_are_reported_by_priority(three: Volume, hub: HubServer, status: int, code: int) -> None:
    """The run's code is that of the most important failure, whichever came first; what does not fail is published."""
    held = hub.faults.add("hold", path="*/alpha.tar.gz", gate="alpha")
    failing = hub.faults.add("status", path="*/alpha.tar.gz", status=status)
    gone = hub.faults.add("status", path="*/beta.tar.gz", status=410)
    run = three.start()
    wait_until(lambda: three.published == ["gamma"], "the last one is published")
    wait_until(lambda: state_of(three, "beta") == "failed", "the second one has failed")
    hub.faults.gate("alpha").release()
    assert run.wait().code == code
    assert (held.fired, failing.fired, gone.fired) == (1, 1, 1)
    assert [state_of(three, name) for name in NAMES] == ["failed", "failed", "ready"]
