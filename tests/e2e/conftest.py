"""The image under test, a Hub that its containers reach on loopback, and volumes."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.support.browser import chromium
from tests.support.containers import Engine
from tests.support.hub_server import HubServer
from tests.support.program import TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

    from tests.support.containers import Box, Ended
    from tests.support.shelf import Miniature

CHECK_TREES = """
cd /data/datasets
for id in *; do
    diff -r "/expected/$id" "$id/"
    manifest="/data/.provisioner/manifests/$id/$(basename "$(readlink "$id")").sha256"
    test "$(find "$id/" -type f | wc -l)" = "$(wc -l <"$manifest")"
    (cd "$id/" && sha256sum --check --strict --quiet "$manifest")
    echo "$id"
done
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return a browser without a window."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="package")
def hub_of_all() -> Iterator[HubServer]:
    """Return one server for all tests: what is remembered on a volume holds for one address of the Hub."""
    with HubServer() as server:
        server.hub.add_token(TOKEN, "ann")
        yield server


@pytest.fixture
def hub(hub_of_all: HubServer) -> HubServer:
    """Return the server without faults and with an empty log."""
    hub_of_all.faults.clear()
    hub_of_all.log.clear()
    return hub_of_all


@dataclass
class Station:
    """Where containers are started, and what they are compared with."""

    engine: Engine
    trees: Path

    def check(self, volume: str | Path, *datasets: str) -> None:
        """Let a user who owns nothing compare what is published with what was generated, and run ``sha256sum -c``."""
        ended = self.engine.shell(
            CHECK_TREES, volume=volume, read_only_volume=True, mounts={self.trees: "/expected"}, user="4711:4711"
        )
        assert ended.code == 0, ended.out + ended.err
        assert ended.out.split() == sorted(datasets)

    def gate(self, hub: HubServer, name: str, after: int = 0) -> str:
        """Let the server hold whoever asks for a file, ``after`` so many bytes."""
        return hub.faults.add("gate", path=f"*/{name}", after=after, first=1).gate


@pytest.fixture(scope="package")
def config(mini: Miniature, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the miniature's catalog that any user may read."""
    folder = tmp_path_factory.mktemp("config")
    folder.chmod(0o755)
    shutil.copy(mini.catalog, folder / "catalog.yaml")
    return folder


@pytest.fixture(scope="package")
def settings(hub_of_all: HubServer, mini: Miniature) -> dict[str, str]:
    """Return the environment in which a container finds the miniature and its catalog, and asks for the repository."""
    hub_of_all.load(mini.collection.root)
    return {
        "PHASE": "comprehensive",
        "CATALOG_PATH": "/config/catalog.yaml",
        "HF_ENDPOINT": hub_of_all.endpoint,
        "URL_REWRITE": hub_of_all.url_rewrite(),
        "HF_TOKEN": TOKEN,
    }


@pytest.fixture
def engine(settings: dict[str, str], config: Path) -> Iterator[Engine]:
    """Return an engine whose containers fill ``comprehensive`` of the miniature unless told otherwise."""
    with Engine(settings, {config: "/config"}) as engine:
        yield engine


@pytest.fixture
def station(engine: Engine, mini: Miniature) -> Station:
    """Return the engine together with what must come out."""
    return Station(engine, mini.collection.trees)


@dataclass(frozen=True)
class Filled:
    """A volume that one container has filled."""

    volume: str
    ended: Ended
    box: Box
    first_requests: int


@pytest.fixture(scope="package")
def filled(hub_of_all: HubServer, settings: dict[str, str], config: Path) -> Iterator[Filled]:
    """Return a volume that uid 1000 filled with ``comprehensive``, the user's repository included; to be left as it is."""
    with Engine(settings, {config: "/config"}) as engine:
        hub_of_all.log.clear()
        volume = engine.volume()
        box = engine.start(volume=volume)
        ended = box.wait()
        assert ended.code == 0, ended.err
        yield Filled(volume, ended, box, len(hub_of_all.log.entries()))
