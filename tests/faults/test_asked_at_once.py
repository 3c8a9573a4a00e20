"""The sources of many references are asked at once, and what is said of them does not depend on who answers first."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.direct_calls import ready
from tests.support.program import PATIENCE

if TYPE_CHECKING:
    from tests.support.hub_server import HubServer
    from tests.support.volume import Volume

COUNT, AT_ONCE = 12, 8
MISSING = (3, 9)
NAMES = [f"acme/set-{number:02}" for number in range(COUNT)]
WANTED = ",".join(f"hf://datasets/{name}" for name in NAMES)


@pytest.fixture
def volume(volume: Volume, hub: HubServer) -> Volume:
    """Return an empty volume, and a Hub with all but two of the repositories."""
    for number, name in enumerate(NAMES):
        if number not in MISSING:
            hub.hub.add_repo(name, {"data.csv": f"number\n{number}\n".encode()})
    del volume.settings["CATALOG_PATH"]
    return volume


def test_eight_at_once(volume: Volume, hub: HubServer) -> None:
    """As many questions are on their way before the first answer, and the first failure by the references' order is reported.

    The source that was asked first answers last here.
    """
    hub.faults.add("hold", path="/api/datasets/acme/set-*/revision/main", gate="questions")
    run = volume.start(DATASETS=WANTED)
    gate = hub.faults.gate("questions")
    assert gate.wait_reached(PATIENCE, AT_ONCE)
    assert len(hub.log.entries("/api/datasets/acme/set-*")) == AT_ONCE
    hub.faults.add("hold", path="/api/datasets/acme/set-00/tree/*", gate="first")
    gate.release()
    hub.log.wait_count(COUNT - len(MISSING) - 1, "/api/datasets/acme/set-*/tree/*", timeout=PATIENCE)
    hub.faults.gate("first").release()
    outcome = run.wait()
    assert outcome.code == 77, outcome.err
    assert ["set-03" in line for line in outcome.errors()] == [True]
    states = [record["state"] for record in volume.status["datasets"].values()]
    assert (states.count("ready"), len(states)) == (COUNT - len(MISSING), COUNT), states


def test_eight_at_once_whether_they_have_changed(volume: Volume, hub: HubServer) -> None:
    """``outdated`` has eight questions on their way before the first answer; its findings are in the order of the names."""
    there = [name for number, name in enumerate(NAMES) if number not in MISSING]
    volume.settings["DATASETS"] = ",".join(f"hf://datasets/{name}" for name in there)
    ready(volume)
    hub.log.clear()
    hub.faults.add("hold", path="/api/datasets/acme/set-*/revision/main", gate="questions")
    run = volume.start("outdated", "--json")
    gate = hub.faults.gate("questions")
    assert gate.wait_reached(PATIENCE, AT_ONCE)
    assert len(hub.log.entries("/api/datasets/acme/set-*")) == AT_ONCE
    gate.release()
    outcome = run.wait()
    assert outcome.code == 0, outcome.err
    assert [one["dataset"] for one in outcome.json["datasets"]] == [f"hf://datasets/{name}" for name in there]


def test_a_signal_while_they_are_asked(volume: Volume, hub: HubServer) -> None:
    """A signal ends all questions at once, and nothing is on the volume."""
    hub.faults.add("hold", path="/api/datasets/acme/set-*/revision/main", gate="questions")
    run = volume.start(DATASETS=WANTED)
    assert hub.faults.gate("questions").wait_reached(PATIENCE, AT_ONCE)
    run.send(signal.SIGTERM)
    outcome = run.wait()
    assert outcome.code == 143, outcome.err
    assert volume.published == []
