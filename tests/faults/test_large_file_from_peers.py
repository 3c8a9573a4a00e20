"""One large file that several peers hold: its ranges come from all of them, and what is wrong with one is made good."""

from __future__ import annotations

import json
import logging
import shutil
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.support.direct_calls import ready
from tests.support.media import noise
from tests.support.volume import Volume

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf

BIG: Final = noise("big", 24 << 20)
NAMES: Final = ("one", "two", "three")


@pytest.fixture
def peers(shelf: Shelf, volume: Volume, hub: HubServer, tmp_path: Path) -> dict[str, Path]:
    """Return, by name, where each of three peers has its copy of a large file, which the volume is to get."""
    shelf.add("big", shelf.raw("big.bin", BIG))
    volume.settings["DATASETS"] = "big"
    first = Volume(tmp_path / "sites" / "one.example.org", volume.settings, hub)
    ready(first)
    version = first.version("big")
    for name in NAMES[1:]:
        shutil.copytree(first.root, tmp_path / "sites" / f"{name}.example.org", symlinks=True)
    hub.add_archives(tmp_path / "sites")
    hub.log.clear()
    volume.settings |= {"PEERS": ";".join(f"{hub.static_url}/{name}.example.org" for name in NAMES), "CONNECTIONS": "6"}
    return {name: tmp_path / "sites" / f"{name}.example.org/.provisioner/store/big" / version / "big.bin" for name in NAMES}


def sent(hub: HubServer) -> dict[str, int]:
    """Return how many bytes of the file each peer has sent."""
    return {name: sum(entry.bytes_sent for entry in hub.log.entries(f"*/{name}.example.org/*/big.bin")) for name in NAMES}


def check(volume: Volume, hub: HubServer, *, proof: str = "peer") -> None:
    """Show that the file is right, and where it is from."""
    volume.check("big", {"big.bin": BIG})
    assert json.loads(volume.current_receipt("big").read_bytes())["verified_against"] == proof
    assert bool(hub.log.entries("*files.example.org*")) == (proof == "catalog")
    ready(volume, "verify", "--deep")


@pytest.mark.usefixtures("peers")
def test_all_of_them_send_ranges(volume: Volume, hub: HubServer) -> None:
    """Each peer sends some of it, and no byte is sent twice."""
    hub.faults.add("throttle", path="*/big.bin", rate=20_000_000)
    ready(volume)
    counts = sent(hub)
    assert sum(counts.values()) == len(BIG), counts
    assert min(counts.values()) > 0, counts
    check(volume, hub)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("close", {"after": 1000}),
        ("reset", {"after": 300_000}),
        ("status", {"status": 404}),
        ("status", {"status": 403}),
        ("status", {"status": 500}),
        ("status", {"status": 429, "headers": {"Retry-After": "3600"}}),
        ("ignore_range", {}),
    ],
)
@pytest.mark.parametrize("which", ["one", "two"])
@pytest.mark.usefixtures("peers")
def test_one_of_them_fails(  # noqa: PLR0917
    volume: Volume,
    hub: HubServer,
    monkeypatch: pytest.MonkeyPatch,
    kind: Any,
    fields: dict[str, Any],
    which: str,
) -> None:
    """Whichever of them fails, and however: the others send the rest, and no source is asked."""
    monkeypatch.setattr("provisioner.engine.clients.PEER_WAIT_SECONDS", 0.01)
    hub.faults.add("throttle", path="*/big.bin", rate=20_000_000)
    rule = hub.faults.add(kind, path=f"*/{which}.example.org/*/big.bin", **fields)
    ready(volume)
    assert rule.fired
    check(volume, hub)


@pytest.mark.parametrize("liars", [("one",), ("two",), ("one", "two"), NAMES])
def test_some_of_them_lie(
    peers: dict[str, Path], volume: Volume, hub: HubServer, caplog: pytest.LogCaptureFixture, liars: tuple[str, ...]
) -> None:
    """Wrong bytes of the right number cost a second transfer from one peer, or the source where all of them lie."""
    hub.faults.add("throttle", path="*/big.bin", rate=20_000_000)
    for name in liars:
        peers[name].write_bytes(bytes(len(BIG)))
    ready(volume)
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert any("it came from several places, so it is fetched once more from one" in line for line in said)
    check(volume, hub, proof="catalog" if liars == NAMES else "peer")


def test_one_of_them_has_another_size(peers: dict[str, Path], volume: Volume, hub: HubServer) -> None:
    """Nothing of it is taken."""
    hub.faults.add("throttle", path="*/big.bin", rate=20_000_000)
    peers["two"].write_bytes(BIG + b"x")
    ready(volume)
    check(volume, hub)
