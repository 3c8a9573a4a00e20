"""The miniature collection on the test server: under the real names, at the addresses that the catalog's rules lead to."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

import pytest

from tests.support import miniature
from tests.support.hub_server import HubServer
from tests.support.program import REAL_CATALOG

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.shelf import Miniature


@pytest.fixture(scope="module")
def server(mini: Miniature) -> Iterator[HubServer]:
    """Serve the collection."""
    with HubServer() as server:
        server.load(mini.collection.root)
        yield server


def test_every_direct_url_after_rewriting(server: HubServer, mini: Miniature) -> None:
    """Each URL and mirror of the catalog gives the bytes that the catalog promises."""
    collection = mini.collection
    small = miniature.miniature_catalog(miniature.read_catalog(REAL_CATALOG), collection)
    rules = [rule.split("=", 1) for rule in server.url_rewrite().split(";")]
    assert server.url_rewrite() == miniature.url_rewrite(collection, server.static_url)
    files = [
        file
        for entry in small["datasets"].values()
        for source in entry["sources"]
        if source["kind"] == "url"
        for file in source["files"]
    ]
    assert len(files) > 20
    for file in files:
        for url in (file["url"], *file.get("mirrors", [])):
            prefix, target = next(rule for rule in rules if url.startswith(f"{rule[0]}/"))
            with urlopen(target + url.removeprefix(prefix)) as reply:
                content = reply.read()
            assert len(content) == file["size"]
            algorithm, _, digest = file["digest"].partition(":")
            assert hashlib.new(algorithm, content).hexdigest() == digest


def test_repositories_at_the_pinned_commit(server: HubServer) -> None:
    """The repositories have the commit that the catalog pins, and files in LFS where the real ones have them."""
    urmp = server.hub.repos["dataset", "Eredis02/URMP"]
    assert urmp.head.commit == miniature.URMP_COMMIT
    assert {Path(file.path).suffix for file in urmp.head.files.values() if file.lfs} == {".mp4", ".pdf", ".wav"}
    assert "LJSpeech-1.1.tar.bz2" in server.hub.repos["dataset", "Subuday/lj_speech"].head.files
