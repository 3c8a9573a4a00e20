"""Repositories whose large files are in Xet storage: they come as plain bytes, whole, checked, and without its protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from huggingface_hub import HfApi

from tests.support.media import noise
from tests.support.program import TOKEN

if TYPE_CHECKING:
    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume

FILES = {
    "audio/small.wav": noise("small", 300_000),
    "audio/large.wav": noise("large", 1 << 20) * 18,
    "README.md": b"# In Git itself\n",
}
LARGE_RANGES = 5
"""For 18 MiB over four connections."""


@pytest.fixture
def stored(hub: HubServer, shelf: Shelf, volume: Volume) -> Volume:
    """Return an empty volume, and a catalog that wants such a repository."""
    hub.hub.add_repo("ann/recordings", FILES, private=True, xet=True)
    shelf.add("recordings", sources=[{"kind": "hub", "repo": "ann/recordings", "revision": "main"}])
    volume.settings |= {"CATALOG_PATH": str(shelf.path), "HF_TOKEN": TOKEN, "DATASET_REPO": "none", "CONNECTIONS": "4"}
    return volume


@pytest.mark.usefixtures("stored")
def test_the_server_speaks_as_the_hub_does(hub: HubServer) -> None:
    """The Hub's own client takes these files for ones in Xet storage, so that what follows shows something."""
    api = HfApi(hub.endpoint, token=TOKEN)
    listed = {item.path: item for item in api.list_repo_tree("ann/recordings", recursive=True, repo_type="dataset")}
    assert {path for path, item in listed.items() if getattr(item, "xet_hash", None)} == {"audio/small.wav", "audio/large.wav"}


def test_they_come_as_plain_bytes(hub: HubServer, stored: Volume) -> None:
    """Whole and checked against the listing; the large one in ranges; the token goes to the Hub alone, and buys no other one."""
    stored.ready()
    stored.check("recordings", FILES)
    assert stored.status["datasets"]["recordings"]["verified_against"] == "listing"
    assert hub.log.entries("*xet-read-token*") == ()
    served = hub.log.entries("*.wav", origin="cdn")
    assert [entry.authorization for entry in served] == [False] * len(served)
    assert len([entry for entry in served if entry.path.endswith("large.wav")]) == LARGE_RANGES
    assert sum(entry.bytes_sent for entry in served) == sum(len(FILES[path]) for path in FILES if path.endswith(".wav"))
    # Where it leads is asked for once a file, however many ranges follow.
    assert len(hub.log.entries("*.wav", origin="hub")) == 2


def test_a_wrong_byte_is_found(hub: HubServer, stored: Volume) -> None:
    """The listing has the SHA-256 of the content as well as its name in Xet storage: that is what decides."""
    fault = hub.faults.add("flip", path="*large.wav", offset=5_000_000)
    outcome = stored.run()
    assert fault.fired >= 1
    assert outcome.code == 65
    assert stored.published == []
