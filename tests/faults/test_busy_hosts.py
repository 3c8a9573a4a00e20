"""Hosts that answer few requests at once, with `CONNECTIONS=auto`: what they take is learned, and nothing waits for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.support.media import noise
from tests.support.program import wait_until
from tests.support.shelf import some_files

if TYPE_CHECKING:
    from tests.support.faults import Kind
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


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("status", {"status": 503, "headers": {"Retry-After": "200"}}),
        ("status", {"status": 429, "headers": {"Retry-After": "200"}}),
        ("stall", {"after": 1000}),
    ],
)
@pytest.mark.parametrize("size", [3 * MIB, 18 * MIB])
def test_what_is_of_no_use_any_more_is_not_waited_for(  # noqa: PLR0917 - fixtures and a table
    shelf: Shelf, volume: Volume, hub: HubServer, kind: Kind, fields: dict[str, Any], size: int
) -> None:
    """If one file of a source waits for a host and another turns out to be missing, the next source is asked immediately."""
    content = {"a.bin": noise("a", size), "b.bin": noise("b", 3 * MIB)}
    sources = [
        {"kind": "url", "files": [shelf.raw(name, data, host=f"{host}.example.org") for name, data in content.items()]}
        for host in ("one", "two")
    ]
    shelf.add("alpha", sources=sources)
    # A refusal holds up all later requests to the host, so both must be on their way before it.
    hub.faults.add("hold", path="*/one.example.org/a.bin", gate="a")
    busy = hub.faults.add(kind, path="*/one.example.org/a.bin", **fields)
    held = hub.faults.add("hold", path="*/one.example.org/b.bin", gate="b")
    missing = hub.faults.add("status", path="*/one.example.org/b.bin", status=404)
    run = volume.start()
    assert hub.faults.gate("a").wait_reached()
    assert hub.faults.gate("b").wait_reached()
    hub.faults.gate("a").release()
    wait_until(lambda: busy.fired, "the first file waits")
    hub.faults.gate("b").release()
    outcome = run.wait()
    assert outcome.code == 0, outcome.err
    assert (held.fired, missing.fired) == (1, 1)
    assert "b.bin: not found (404 Not Found); trying the next source" in outcome.err
    volume.check("alpha", content)
