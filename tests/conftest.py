"""Fixtures that many tests share: the test server, small catalogs, volumes and the miniature collection."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.support import miniature
from tests.support.command_lines import CommandLines
from tests.support.hub_server import HubServer
from tests.support.program import CANARY, REAL_CATALOG, SIGNATURE, TOKEN
from tests.support.shelf import Miniature, Shelf
from tests.support.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The same examples in every run, and no verdict by a clock.
hypothesis.settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
hypothesis.settings.load_profile("repeatable")

# A process that was started in the background ignores Ctrl-C, and so would all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let one process run all tests of containers: they share an image and a Hub, and each is many processes by itself."""
    for item in items:
        if item.get_closest_marker("docker"):
            item.add_marker(pytest.mark.xdist_group("docker"))


@pytest.fixture(scope="session", autouse=True)
def command_lines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLines]:
    """Look at all command lines while tests run: no secret may ever be on one."""
    look = CommandLines(tmp_path_factory.mktemp("command-lines") / "report.json", TOKEN, SIGNATURE, CANARY)
    yield look
    look.end()
    for secret in (TOKEN, SIGNATURE):
        assert look.found(secret) is None


@pytest.fixture(scope="session")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Miniature:
    """Return the collection that stands in for the eight real data sets, and a catalog for it."""
    out = tmp_path_factory.mktemp("collection")
    real = miniature.read_catalog(REAL_CATALOG)
    collection = miniature.generate(out, real)
    catalog = out / "catalog.yaml"
    miniature.write_catalog(miniature.miniature_catalog(real, collection), catalog)
    return Miniature(collection, catalog)


@pytest.fixture
def hub() -> Iterator[HubServer]:
    """Return a server with one account, whose token is :data:`TOKEN`."""
    with HubServer() as server:
        server.hub.add_token(TOKEN, "ann")
        yield server


@pytest.fixture
def shelf(hub: HubServer, tmp_path: Path) -> Shelf:
    """Return a catalog to be filled."""
    return Shelf(hub, tmp_path / "catalog.yaml")


@pytest.fixture
def volume(hub: HubServer, tmp_path: Path) -> Iterator[Volume]:
    """Return an empty volume for the catalog of :func:`shelf`; without a token nobody asks the Hub for a repository."""
    home = tmp_path / "home"
    home.mkdir()
    volume = Volume(
        tmp_path / "volume",
        {
            "HOME": str(home),
            "CATALOG_PATH": str(tmp_path / "catalog.yaml"),
            "TERMINATION_LOG": str(tmp_path / "termination-log"),
            "GC_GRACE": "0",  # what is superseded is removed at once
        },
        hub,
    )
    yield volume
    volume.close()


@pytest.fixture
def mini_volume(volume: Volume, hub: HubServer, mini: Miniature) -> Volume:
    """Return an empty volume for the miniature collection, with a token."""
    hub.load(mini.collection.root)
    volume.settings |= {"CATALOG_PATH": str(mini.catalog), "HF_TOKEN": TOKEN}
    return volume
