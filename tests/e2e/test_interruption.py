"""Containers that are killed, stopped, or started side by side, and what the next one makes of it."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.e2e.test_fill import ALL
from tests.support.program import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.e2e.conftest import Station
    from tests.support.containers import Box
    from tests.support.hub_server import HubServer

pytestmark = pytest.mark.docker

LAST = "fma_large.zip"
"""The last archive of the phase; every other data set is published when it is asked for."""
SENT = 1_000_000
"""Bytes of it that go out before the server holds the rest: most of it, and several of the client's writes."""
STOPPED = [r"\[interrupted\] stopped by signal 15", "Start again"]
ARRIVED = f"find /data/.provisioner/staging -name '*.part' -size +{SENT // 1024 - 64}k"


def hold_at_the_last(station: Station, hub: HubServer, volume: str, *, expect: Sequence[str] = ()) -> Box:
    """Start a container, and give it when nearly all is on the volume and the server keeps back the end."""
    gate = station.gate(hub, LAST, after=SENT)
    box = station.engine.start(volume=volume, expect=expect)
    assert hub.faults.gate(gate).wait_reached()
    wait_until(lambda: box.call("sh", "-c", ARRIVED).out, "the client writes down what was sent")
    return box


def check_resumed(station: Station, hub: HubServer, volume: str) -> None:
    """Start again, and see that only the bytes that are missing are asked for."""
    (rule,) = hub.faults.rules
    assert rule.fired == 1
    size = station.engine.shell(f"stat -c %s $({ARRIVED})", volume=volume, read_only_volume=True)
    have = int(size.out)
    assert have > SENT // 2
    hub.faults.clear()
    hub.log.clear()
    ended = station.engine.run(volume=volume)
    assert ended.code == 0, ended.err
    asked = hub.log.entries(origin="cdn", method="GET")
    assert [(entry.path.rpartition("/")[2], entry.range) for entry in asked] == [(LAST, f"bytes={have}-")]
    assert asked[0].status == 206
    assert not hub.log.entries(origin="hub")
    station.check(volume, *ALL)


def test_killed_in_the_middle(station: Station, hub: HubServer) -> None:
    """After `docker kill` in the middle, the next start asks for nothing that had arrived, and for the rest by its range."""
    volume = station.engine.volume()
    box = hold_at_the_last(station, hub, volume)
    box.kill()
    assert box.wait().code == 137
    assert box.status()["state"] == "provisioning"
    check_resumed(station, hub, volume)


def test_stopped_in_the_middle(station: Station, hub: HubServer) -> None:
    """`docker stop` on a run gives 143 within two seconds and the state `interrupted`; the next start resumes."""
    volume = station.engine.volume()
    box = hold_at_the_last(station, hub, volume, expect=STOPPED)
    ended, seconds = box.stop()
    assert ended.code == 143
    assert seconds < 2
    status = box.status()
    assert (status["state"], status["error"]["reference"]) == ("interrupted", "interrupted")
    assert status["datasets"]["fma_large"]["state"] == "fetching"
    assert status["datasets"]["nsynth"]["state"] == "ready"
    check_resumed(station, hub, volume)


def test_two_at_once(station: Station, hub: HubServer) -> None:
    """Two containers on one volume fill different data sets; the second waits for the last of the first, and says for whom."""
    volume = station.engine.volume()
    gate = station.gate(hub, "nsynth-train.jsonwav.tar.gz")
    first = station.engine.start(volume=volume)
    assert hub.faults.gate(gate).wait_reached()
    second = station.engine.start(volume=volume)
    line = second.wait_line("Waiting for")
    assert first.status()["run_id"] in line
    hub.faults.gate(gate).release()
    assert [first.wait().code, second.wait().code] == [0, 0]
    assert "nsynth: another run has published it" in second.logs[1]
    assert re.search(r"Ready .*; published: .*fma_large; published by another run: nsynth$", second.logs[1], re.MULTILINE)
    asked = Counter(entry.path for entry in hub.log.entries(origin="cdn", method="GET"))
    assert asked
    assert set(asked.values()) == {1}
    station.check(volume, *ALL)


def test_stopped_while_it_waits(station: Station, hub: HubServer) -> None:
    """A container that waits for another one answers `docker stop` as fast, and does not disturb the other's work."""
    volume = station.engine.volume()
    gate = station.gate(hub, "nsynth-train.jsonwav.tar.gz")
    first = station.engine.start(volume=volume, env={"PHASE": "minimal"})
    assert hub.faults.gate(gate).wait_reached()
    second = station.engine.start(volume=volume, env={"PHASE": "minimal"}, expect=STOPPED)
    second.wait_line("Waiting for")
    ended, seconds = second.stop()
    assert ended.code == 143
    assert seconds < 2
    assert first.status()["state"] == "provisioning"
    hub.faults.gate(gate).release()
    assert first.wait().code == 0
    assert first.status()["state"] == "ready"
