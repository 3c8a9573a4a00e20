"""A container fills a volume: as several users, with little allowed, on volumes of several kinds."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import time
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.support.containers import IMAGE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Filled, Station
    from tests.support.containers import Engine
    from tests.support.hub_server import HubServer
    from tests.support.shelf import Miniature

pytestmark = pytest.mark.docker

MEMORY: Final = {"mem_limit": "256m", "memswap_limit": "256m"}
NOTHING_ALLOWED: Final = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"], "pids_limit": 64}
ALL: Final = ("fma_large", "fma_small", "lakh_midi", "libritts", "ljspeech", "musicnet", "nsynth", "urmp")
MINIMAL: Final = ("fma_small", "ljspeech", "nsynth", "urmp")


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="uid 1000"),
        pytest.param({"read_only": True}, id="read-only"),
        pytest.param(MEMORY, id="256 MB"),
        pytest.param({"user": "123456:0"}, id="uid 123456"),
        pytest.param({"user": "123456:0", **MEMORY, **NOTHING_ALLOWED}, id="all of it"),
    ],
)
def test_volume_is_filled(station: Station, hub: HubServer, mini: Miniature, options: dict[str, Any]) -> None:
    """Every one of the eight trees on a fresh named volume is what was generated, and `sha256sum -c` agrees with its manifest."""
    assert mini.collection.datasets == list(ALL)
    volume = station.engine.volume()
    box = station.engine.start(volume=volume, **options)
    ended = box.wait()
    assert ended.code == 0, ended.err
    assert not box.docker.attrs["State"]["OOMKilled"]
    assert box.status()["state"] == "ready"
    assert hub.log.entries(method="GET")
    station.check(volume, *ALL)


def test_volume_of_another_user(station: Station, hub: HubServer) -> None:
    """What uid 1000 began, uid 123456 of group 0 carries on, and then uid 1000 again: neither fetches what the other has."""
    volume = station.engine.volume()
    assert station.engine.run(volume=volume, env={"PHASE": "minimal"}).code == 0
    station.check(volume, *MINIMAL)
    first = {entry.path for entry in hub.log.entries(origin="cdn")}
    hub.log.clear()
    assert station.engine.run(volume=volume, user="123456:0", env={"PHASE": "balanced"}).code == 0
    assert station.engine.run(volume=volume, env={"PHASE": "comprehensive"}).code == 0
    rest = [entry.path for entry in hub.log.entries(origin="cdn")]
    assert rest
    assert not first & set(rest)
    station.check(volume, *ALL)


def make_root_owned(engine: Engine, folder: Path) -> None:
    """Make a directory what Docker makes of a bind mount that does not exist: root's, and nobody else's to write."""
    folder.mkdir()
    assert engine.shell("chown 0:0 /data && chmod 755 /data", volume=folder, user="0:0").code == 0


def test_bind_mount_that_belongs_to_root(station: Station, hub: HubServer, tmp_path: Path) -> None:
    """A directory that uid 1000 cannot write gives 73 before any request, and the command that the message names mends it."""
    folder, engine = tmp_path / "volume", station.engine
    make_root_owned(engine, folder)
    refused = engine.run(volume=folder, expect=[r"\[volume-not-writable\]", r"chown"])
    assert refused.code == 73
    assert not hub.log.entries()
    assert list(folder.iterdir()) == []
    advice = re.search(r"'(chown .*?)'", refused.err)
    assert advice, refused.err
    try:
        assert engine.shell(advice[1].replace("DIR", "/data"), volume=folder, user="0:0").code == 0
        assert engine.run(volume=folder, env={"PHASE": "minimal"}).code == 0
        station.check(folder, *MINIMAL)
    finally:
        engine.shell("find /data -mindepth 1 -delete", volume=folder, user="0:0")


@pytest.mark.parametrize("app", [(), ("--", "sh", "-c", "ls $DATASETS_DIR")], ids=["exit", "app"])
@pytest.mark.parametrize("options", [{}, {"user": "123456:0", **NOTHING_ALLOWED}], ids=["uid 1000", "all of it"])
def test_satisfied_volume_read_only(
    engine: Engine, hub: HubServer, filled: Filled, app: tuple[str, ...], options: dict[str, Any]
) -> None:
    """A volume that has everything may be mounted read-only: exit 0, or the app, and no request at all."""
    ended = engine.run(*app, volume=filled.volume, read_only_volume=True, **options)
    assert ended.code == 0
    assert ended.out.split() == (list(ALL) if app else [])
    assert not hub.log.entries()


def test_volume_that_misses_something_read_only(engine: Engine, hub: HubServer) -> None:
    """A volume that misses something and cannot be written gives 73, before any request."""
    volume = engine.volume()
    ended = engine.run(volume=volume, read_only_volume=True, expect=[r"\[volume-not-writable\]", "chown"])
    assert ended.code == 73
    assert not hub.log.entries()


def test_second_run(engine: Engine, hub: HubServer, filled: Filled) -> None:
    """A second run makes no request and costs less than a second more than a container that does nothing."""
    mounts = [part for source, place in engine.mounts.items() for part in ("-v", f"{source}:{place}:ro")]
    environ = os.environ | engine.defaults
    values = [part for name in engine.defaults for part in ("-e", name)]
    common = ["docker", "run", "--rm", "--network", "host", "-v", f"{filled.volume}:/data", *mounts, *values]
    assert filled.first_requests
    empty: list[float] = []
    warm: list[float] = []
    for _ in range(3):
        for command, seconds in (([*common, "--entrypoint", "/bin/true", IMAGE], empty), ([*common, IMAGE], warm)):
            begun = time.perf_counter()
            done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
            seconds.append(time.perf_counter() - begun)
            assert done.returncode == 0, done.stderr
    assert "Nothing to do" in done.stderr
    assert not hub.log.entries()
    overhead = statistics.median(warm) - statistics.median(empty)
    assert overhead < 1.0


def test_folder_that_is_no_volume(engine: Engine, hub: HubServer) -> None:
    """Without a volume the data are fetched all the same, and the run warns that they will not last."""
    ended = engine.run(env={"DATASETS": "nsynth:test"}, expect=["not a mounted volume"])
    assert ended.code == 0
    assert hub.log.entries("*/nsynth-test.*")
