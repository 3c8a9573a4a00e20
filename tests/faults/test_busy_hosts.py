"""Hosts that answer few requests at once, with `CONNECTIONS=auto`: what they take is learned, and nothing waits for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.support.media import noise
from tests.support.shelf import some_files

if TYPE_CHECKING:
    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume

MIB: Final = 1 << 20
PLAIN: Final = {f"small/{number:03}.bin": noise(f"small {number}", 20_000) for number in range(60)}
SONGS: Final = some_files("songs", 20 * MIB)
BIG: Final = noise("big", 18 * MIB)
ROOM: Final = f"{(sum(map(len, SONGS.values())) + len(BIG) + 4 * MIB) / 1e9:.6f}"
"""MAX_STORAGE_GB: enough for the trees, but not for the archive beside them."""


@pytest.fixture
def mixed(shelf: Shelf, volume: Volume, hub: HubServer) -> Volume:
    """Return an empty volume, and a catalog of an archive, a large file and many small ones."""
    shelf.add("songs", shelf.file("songs.tar.gz", SONGS), unpacked_size=sum(map(len, SONGS.values())))
    shelf.add("big", shelf.raw("big.bin", BIG))
    hub.hub.add_repo("ann/plain", PLAIN)
    shelf.add("plain", sources=[{"kind": "hub", "repo": "ann/plain"}])
    return volume


@pytest.mark.parametrize(
    ("status", "most", "limit"),
    [(429, 1, None), (429, 2, ROOM), (503, 1, ROOM), (503, 2, None), (503, 3, ROOM), (0, 1, None), (0, 2, ROOM), (0, 3, None)],
)
def test_a_host_that_takes_few_requests(mixed: Volume, hub: HubServer, status: int, most: int, limit: str | None) -> None:
    """Everything arrives, whether requests beyond the limit are refused or hung up on, and little is refused after the first."""
    files = hub.faults.add("crowd", path="*/files.example.org/*", most=most, status=status, headers={"Retry-After": "1"})
    plain = hub.faults.add("crowd", path="*/ann/plain/resolve/*", most=most, status=status, headers={"Retry-After": "1"})
    mixed.ready(MAX_STORAGE_GB=limit)
    assert files.fired + plain.fired >= 1
    assert files.fired + plain.fired <= 60
    mixed.check("songs", SONGS)
    mixed.check("big", {"big.bin": BIG})
    mixed.check("plain", PLAIN)
