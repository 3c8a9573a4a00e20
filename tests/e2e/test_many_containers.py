"""Containers that are killed at any moment, and eight at once on one volume."""

from __future__ import annotations

import os
import random
import shutil
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest

from tests.e2e.test_fill import ALL
from tests.faults.test_byte_kills import places
from tests.support.program import wait_until
from tests.support.volume import files_under, size_or_zero

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Station
    from tests.support.containers import Box
    from tests.support.hub_server import HubServer
    from tests.support.shelf import Miniature

pytestmark = pytest.mark.docker

KILLS: Final = int(os.environ.get("CONTAINER_DEATHS", "12"))
SEED: Final = int(os.environ.get("SEED", "1"))
MANY: Final = 8
PHASES: Final = ("comprehensive", "minimal", "balanced")
HELD: Final = "nsynth-train.jsonwav.tar.gz"
SENT: Final = 100_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a volume that the image's user may write, and that can be looked at from here."""
    folder = tmp_path / "volume"
    folder.mkdir()
    os.chown(folder, 1000, 0)
    folder.chmod(0o2775)
    return folder


def staged(folder: Path) -> list[Path]:
    """Return all files in staging."""
    return files_under(folder / ".provisioner" / "staging")


def check_whole(station: Station, folder: Path) -> set[str]:
    """Show that each name under ``datasets/`` leads to the whole tree; give the names."""
    place = folder / "datasets"
    names = set(os.listdir(place)) if place.is_dir() else set()
    for name in names:
        expected = station.trees / name
        found = {path.relative_to(place / name): path for path in (place / name).rglob("*") if path.is_file()}
        assert set(found) == {path.relative_to(expected) for path in expected.rglob("*") if path.is_file()}
        for path, copy in found.items():
            assert copy.read_bytes() == (expected / path).read_bytes(), path
    return names


def test_eight_of_different_phases(station: Station, hub: HubServer, mini: Miniature, folder: Path) -> None:
    """The holder and a waiter are killed: all others exit 0, what had arrived is not sent again, each archive comes once."""
    digest = next(each.info.sha256 for each in mini.collection.artifacts if each.info.path.endswith(HELD))
    blob = folder / ".provisioner" / "staging" / "blobs" / f"sha256-{digest}.part"
    rule = hub.faults.add("gate", path=f"*/{HELD}", after=SENT, first=1)
    boxes = [station.engine.start(volume=folder, env={"PHASE": "comprehensive"})]
    assert hub.faults.gate(rule.gate).wait_reached()
    wait_until(lambda: size_or_zero(blob) >= SENT, "it is on the volume")
    boxes += [station.engine.start(volume=folder, env={"PHASE": PHASES[number % 3]}) for number in range(1, MANY)]
    for box in boxes[1:]:
        box.wait_line("Waiting for")
    for box in (boxes[4], boxes[0]):
        box.kill()
        assert box.wait().code == 137
    hub.faults.clear()
    living = [box for box in boxes if box not in {boxes[0], boxes[4]}]
    assert [box.wait().code for box in living] == [0] * (MANY - 2)
    assert rule.fired == 1
    asked = [(entry.path.rpartition("/")[2], entry.range) for entry in hub.log.entries(origin="cdn", method="GET")]
    first = [name for name, span in asked if span is None or span.startswith("bytes=0-")]
    assert len(first) == len(set(first))
    again = [int((span or "bytes=0-")[6:].partition("-")[0]) for name, span in asked if name == HELD]
    assert again[0] == 0
    assert [start >= SENT for start in again[1:]] == [True]
    assert staged(folder) == []
    assert check_whole(station, folder) == set(ALL)


def test_killed_at_random_byte_counts(station: Station, hub: HubServer, mini: Miniature, folder: Path) -> None:
    """`docker kill` at any byte: what is published is whole and not asked for again, and the next one goes on."""
    source = random.Random(f"{SEED}, containers")  # noqa: S311 - the same moments for the same seed
    assert station.engine.run(volume=folder).code == 0
    total = sum(entry.bytes_sent for entry in hub.log.entries())
    shutil.rmtree(folder / ".provisioner")
    shutil.rmtree(folder / "datasets")
    wanted = places(mini)
    kills = 0
    while True:
        whole = check_whole(station, folder)
        hub.log.clear()
        if kills < KILLS:
            hub.quota.hold_after(source.randrange(1, total // 3))
        box = station.engine.start(volume=folder)
        killed = kills < KILLS and hub.quota.wait_reached(partial(_has_ended, box))
        if killed:
            box.kill()
            kills += 1
        hub.quota.lift()
        assert box.wait().code == (137 if killed else 0)
        missing = set().union(*(wanted[name] for name in ALL if name not in whole))
        done = set().union(*(wanted[name] for name in whole)) - missing
        assert not [entry.path for entry in hub.log.entries() if entry.path.startswith(tuple(done))]
        if not killed:
            assert check_whole(station, folder) == set(ALL)
            assert staged(folder) == []
            hub.log.clear()
            assert station.engine.run(volume=folder).code == 0
            assert not hub.log.entries()
            if kills == KILLS:
                return
            shutil.rmtree(folder / ".provisioner")
            shutil.rmtree(folder / "datasets")


def _has_ended(box: Box) -> bool:
    box.docker.reload()
    return bool(box.docker.status == "exited")
