"""Peers that hold several states of one source: the wanted one is taken, whichever is published there."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

from provisioner.volume.store.inventory import StoreReader
from tests.support.direct_calls import ready
from tests.support.media import noise
from tests.support.shelf import some_files
from tests.support.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.hub_model import Repo
    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf

STATES: Final = tuple({"a.csv": b"x\n1\n", "b.csv": b"%d\n" % state} for state in range(3))
NOTES: Final = "https://files.example.org/notes.csv"


@dataclass
class Site:
    """A peer that has fetched each state of a source, and a volume for the same catalog."""

    peer: Volume
    volume: Volume
    hub: HubServer
    repo: Repo
    address: str = ""

    def pins(self, name: str) -> str:
        """Write the pins of what the peer has published, and return their path."""
        path = str(self.volume.root.parent / f"{name}.yaml")
        ready(self.peer, "catalog", "pin", "--output", path)
        return path

    def next_state(self, state: int) -> None:
        """Change the repository and the file without a digest to the next state."""
        self.repo.commit({"b.csv": STATES[state]["b.csv"]})
        self.hub.add_static(NOTES, STATES[state]["b.csv"] * 100 * (state + 1))

    def from_peer(self, state: int, **settings: str | None) -> None:
        """Fill the volume from the peer alone, and check that it then has this state."""
        self.hub.log.clear()
        ready(self.volume, PEERS=self.address, **settings)
        self.check(state)
        assert self.from_sources() == []
        before = self.volume.snapshot()
        ready(self.volume, PEERS=self.address, **settings)
        assert self.volume.snapshot() == before

    def from_sources(self) -> list[str]:
        """Return which files were requested from the sources since the log was cleared."""
        return [each.path for each in (*self.hub.log.entries("*/resolve/*"), *self.hub.log.entries("/files.example.org/*"))]

    def check(self, state: int) -> None:
        """Compare what the volume has with a state of the source."""
        self.volume.check("table", STATES[state])
        self.volume.check("notes", {"notes.csv": STATES[state]["b.csv"] * 100 * (state + 1)})
        ready(self.volume, "verify", "--deep")


@pytest.fixture(params=["directory", "export"])
def site(request: pytest.FixtureRequest, shelf: Shelf, volume: Volume, hub: HubServer, tmp_path: Path) -> Site:
    """Return a site whose peer has the first state of a repository and of a file without a digest."""
    repo = hub.hub.add_repo("ann/table", STATES[0])
    shelf.add("table", sources=[{"kind": "hub", "repo": "ann/table", "revision": "main"}])
    hub.add_static(NOTES, STATES[0]["b.csv"] * 100)
    shelf.add("notes", {"url": NOTES, "digest": "none"})
    peer = Volume(tmp_path / "peer", volume.settings, hub)
    ready(peer)
    site = Site(peer, volume, hub, repo)
    if request.param == "directory":
        site.address = str(peer.root)
    else:
        (tmp_path / "sites").mkdir()
        hub.add_archives(tmp_path / "sites")
        site.address = f"{hub.static_url}/export.example.org"
    return site


def publish(site: Site) -> None:
    """Copy the peer's data to where the volume asks for it."""
    if "://" in site.address:
        ready(site.peer, "export", str(site.peer.root.parent / "sites" / "export.example.org"))


def pinned_forward(site: Site) -> None:
    """Pins arrive with each delivery while the volume has an earlier state, as on a site without a network."""
    for state in range(3):
        if state:
            site.next_state(state)
            ready(site.peer, UPDATE="auto")
        publish(site)
        site.from_peer(state, PINS=site.pins(f"pins-{state}"))


def pinned_back(site: Site) -> None:
    """Pins name a state that was replaced on the peer, and the volume has nothing of it."""
    first = site.pins("pins-0")
    publish(site)
    for state in (1, 2):
        site.next_state(state)
        ready(site.peer, UPDATE="auto")
        publish(site)
    site.from_peer(0, PINS=first)
    site.from_peer(2, PINS=site.pins("pins-2"))
    site.from_peer(0, PINS=first)


def updated(site: Site) -> None:
    """The peer had the newer state first, so that it has another name there."""
    ready(site.volume)
    site.next_state(1)
    shutil.rmtree(site.peer.root)
    ready(site.peer)
    publish(site)
    site.hub.log.clear()
    ready(site.volume, PEERS=site.address, UPDATE="auto")
    site.check(1)
    assert not [path for path in site.from_sources() if "/resolve/" in path]  # of a file without a digest only the source knows


def repaired(site: Site) -> None:
    """A file is damaged on the volume, and its state was replaced on the peer."""
    publish(site)
    site.from_peer(0)
    site.next_state(1)
    ready(site.peer, UPDATE="auto")
    publish(site)
    for path in (site.volume.tree("table") / "b.csv", site.volume.tree("notes") / "notes.csv"):
        path.unlink()
        path.write_bytes(b"wrong")
    site.hub.log.clear()
    ready(site.volume, "repair", PEERS=site.address)
    site.check(0)
    assert site.from_sources() == []


def beside_a_damaged_one(site: Site) -> None:
    """The published state has lost its manifest on the peer, and the wanted one is complete."""
    first = site.pins("pins-0")
    publish(site)
    site.next_state(1)
    ready(site.peer, UPDATE="auto")
    publish(site)
    root = site.peer.root if "://" not in site.address else site.peer.root.parent / "sites" / "export.example.org"
    volume = Volume(root, site.peer.settings)
    for dataset in ("table", "notes"):
        (volume.records("manifests", dataset) / f"{volume.version(dataset)}.json").unlink()
    site.from_peer(0, PINS=first)


@pytest.mark.parametrize("scenario", [pinned_forward, pinned_back, updated, repaired, beside_a_damaged_one])
def test_the_wanted_state(site: Site, scenario: Callable[[Site], None]) -> None:
    """A peer provides every version that it holds, not only the published one, so that no source is needed."""
    scenario(site)


@pytest.mark.parametrize("was_from", ["pins", "peer", "sources"])
@pytest.mark.parametrize("kind", ["directory", "export"])
def test_a_repair_of_what_pins_proved(  # noqa: PLR0917
    shelf: Shelf, volume: Volume, hub: HubServer, tmp_path: Path, kind: str, was_from: str
) -> None:
    """A peer replaces a damaged file of an archive, wherever the version came from; manifest and receipt stay unchanged."""
    files = some_files("songs", 50_000)
    shelf.add("songs", shelf.file("songs.tar.gz", files))
    (tmp_path / "sites").mkdir()
    peer = Volume(tmp_path / "peer", volume.settings, hub)
    ready(peer)
    ready(peer, "export", str(tmp_path / "sites" / "export.example.org"))
    ready(peer, "catalog", "pin", "--output", str(tmp_path / "pins.yaml"))
    hub.add_archives(tmp_path / "sites")
    peers = {"PEERS": str(peer.root) if kind == "directory" else f"{hub.static_url}/export.example.org"}
    pins = {"PINS": str(tmp_path / "pins.yaml")}
    ready(volume, **{"pins": peers | pins, "peer": peers, "sources": {}}[was_from])
    manifest = next(volume.records("manifests", "songs").glob("*.json"))
    before = manifest.read_bytes(), volume.current_receipt("songs").read_bytes()
    path = volume.tree("songs") / "songs/data/noise.bin"
    path.unlink()
    path.write_bytes(b"wrong")
    hub.log.clear()
    ready(volume, "repair", **peers)
    volume.check("songs", files)
    assert hub.log.entries("/files.example.org/*") == ()
    assert (manifest.read_bytes(), volume.current_receipt("songs").read_bytes()) == before
    ready(volume, "verify", "--deep")


@pytest.mark.parametrize("site", ["directory"], indirect=True)
def test_a_list_of_checksums_without_end(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer's list of checksums that is too large for its number of files is not hashed to find the right version."""
    pins = site.pins("pins-0")
    (path,) = site.peer.records("manifests", "table").glob("*.sha256")
    with path.open("r+b") as file:
        file.truncate(1 << 40)
    hashed = []
    original = StoreReader.checksums_digest

    def digest(self: StoreReader, dataset: str, version: str) -> str:
        hashed.append(dataset)
        return original(self, dataset, version)

    monkeypatch.setattr(StoreReader, "checksums_digest", digest)
    ready(site.volume, PEERS=site.address, PINS=pins)
    site.check(0)
    assert "notes" in hashed
    assert "table" not in hashed


GROWING: Final = tuple({"README.md": b"---\nlicense: cc-by-4.0\n---\n", "b.bin": noise("b", size)} for size in (300, 90_000, 20))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2, 1)])
@pytest.mark.parametrize("kind", ["sources", "directory", "export"])
def test_a_reference_at_pins(volume: Volume, hub: HubServer, tmp_path: Path, kind: str, order: tuple[int, ...]) -> None:
    """Facts about one state of a reference, such as its size, are not applied to another state that pins name."""
    settings: dict[str, str | None] = {"DATASETS": "hf://datasets/ann/grows"}
    del volume.settings["CATALOG_PATH"]
    (tmp_path / "sites").mkdir()
    peer, export = (
        Volume(tmp_path / "peer", volume.settings, hub),
        Volume(tmp_path / "sites" / "export.example.org", volume.settings, hub),
    )
    repo = hub.hub.add_repo("ann/grows", GROWING[0])
    for state, files in enumerate(GROWING):
        if state:
            repo.commit({"b.bin": files["b.bin"]})
        ready(peer, **settings, UPDATE="auto")
        ready(peer, "catalog", "pin", "hf://datasets/ann/grows", "--output", str(tmp_path / f"pins-{state}.yaml"), **settings)
        ready(peer, "export", str(export.root), **settings)
    hub.add_archives(tmp_path / "sites")
    if kind != "sources":
        settings["PEERS"] = str(peer.root) if kind == "directory" else f"{hub.static_url}/export.example.org"
    for state in order:
        hub.log.clear()
        ready(volume, **settings, PINS=str(tmp_path / f"pins-{state}.yaml"))
        volume.check("ann/grows", GROWING[state])
        if kind != "sources":
            assert hub.log.entries("*/resolve/*b.bin") == ()
        ready(volume, "gc")
    ready(volume, "verify", "--deep")
