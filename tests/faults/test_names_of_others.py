"""Names that belong to another data set, or lie in its directory: collisions of catalogs, references and volumes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from provisioner.errors import ProvisionerError, VolumeError
from tests.support.direct_calls import call, ready
from tests.support.page import PageClient, free_port
from tests.support.program import wait_until
from tests.support.shelf import some_files
from tests.support.volume import Volume

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf

TREE: Final = some_files("ann", 5000)
DATA: Final = {"README.md": b"---\nlicense: cc-by-4.0\n---\n", "a.txt": b"data\n"}
MODEL: Final = {"README.md": b"---\nlicense: cc-by-4.0\n---\n", "m.bin": b"model\n"}
FILE: Final = b"of a URL\n"
REQUESTS: Final[dict[str, dict[str, str | None]]] = {
    "entry": {"DATASETS": "ann"},
    "data": {"DATASETS": "hf://datasets/ann/x", "CATALOG_PATH": None},
    "model": {"DATASETS": "hf://ann/x", "CATALOG_PATH": None},
    "both": {"DATASETS": "hf://datasets/ann/x,hf://ann/x", "CATALOG_PATH": None},
    "file": {"DATASETS": "https://files.example.org/ann.txt", "CATALOG_PATH": None},
}
TREES: Final[dict[str, dict[str, bytes]]] = {"entry": TREE, "data": DATA, "model": MODEL, "file": {"ann.txt": FILE}}


@pytest.fixture(params=["link", "dir"])
def volumes(request: pytest.FixtureRequest, shelf: Shelf, volume: Volume, hub: HubServer, tmp_path: Path) -> list[Volume]:
    """Return three empty volumes; the data sets that the tests request belong at ``datasets/ann`` or below it."""
    shelf.add("ann", shelf.file("ann.tar.gz", TREE))
    hub.hub.add_repo("ann/x", DATA)
    hub.hub.add_repo("ann/x", MODEL, kind="model")
    hub.add_static("https://files.example.org/ann.txt", FILE)
    volume.settings["PUBLISH"] = request.param
    return [volume, *(Volume(tmp_path / name, volume.settings, hub) for name in ("second", "third"))]


def check(volume: Volume, what: str) -> None:
    """Check that a data set is complete somewhere on a volume, and that nothing on the volume is wrong."""
    ready(volume, "verify", "--deep")
    receipts = list((volume.private / "receipts").rglob("*.json"))
    found = []
    for receipt in receipts:
        tree = volume.tree(receipt.parent.name.replace("+", "/"))
        found.append({path.relative_to(tree).as_posix(): path.read_bytes() for path in tree.rglob("*") if path.is_file()})
    assert TREES[what] in found


PAIRS: Final = [
    ("entry", "data"),
    ("data", "entry"),
    ("file", "data"),
    ("data", "file"),
    ("file", "entry"),
    ("entry", "file"),
    ("data", "model"),
    ("model", "data"),
]


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_on_a_volume(volumes: list[Volume], first: str, second: str) -> None:
    """The second data set gets another name, or is refused before a byte is fetched; the first one stays as it is."""
    volume = volumes[0]
    ready(volume, **REQUESTS[first])
    try:
        error = call(volume, **REQUESTS[second]).error
    except ProvisionerError as raised:
        error = raised
    check(volume, first)
    if error is None:
        check(volume, second)
    else:
        assert "datasets/ann" in error.message
        assert list((volume.private / "staging").rglob("*.part")) == []


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_exports_of_two_volumes(volumes: list[Volume], first: str, second: str) -> None:
    """The second export reports that the name belongs to the first and writes nothing; ``gc`` finds nothing to remove."""
    one, other, target = volumes
    ready(one, **REQUESTS[first])
    ready(other, **REQUESTS[second])
    ready(one, "export", str(target.root), **REQUESTS[first])
    before = target.snapshot(target.private / "store"), target.snapshot(target.root / "datasets")
    result = call(other, "export", str(target.root), **REQUESTS[second])
    assert isinstance(result.error, VolumeError)
    assert "it has no place in" in result.error.message
    assert (target.snapshot(target.private / "store"), target.snapshot(target.root / "datasets")) == before
    ready(target, "gc")
    check(target, first)


def test_a_reference_that_a_catalog_describes_later(volumes: list[Volume], shelf: Shelf) -> None:
    """A file has the same place on the volume and in its export, whether a reference or a catalog names it."""
    one, _, target = volumes
    ready(one, **REQUESTS["file"])
    ready(one, "export", str(target.root), **REQUESTS["file"])
    shelf.document["phases"]["minimal"]["datasets"].clear()
    shelf.add("ann", shelf.raw("ann.txt", FILE))
    ready(one)
    ready(one, "export", str(target.root))
    for volume in (one, target):
        check(volume, "file")


def test_something_else_in_the_directory(volumes: list[Volume]) -> None:
    """Somebody else's file at the name of a data set is left alone, and nothing is written that could not be published."""
    one, _, target = volumes
    ready(one, **REQUESTS["entry"])
    (target.root / "datasets" / "ann").mkdir(parents=True)
    (target.root / "datasets" / "ann" / "mine.txt").write_bytes(b"mine")
    result = call(one, "export", str(target.root))
    assert isinstance(result.error, VolumeError)
    assert list((target.private / "store").rglob("*")) == []
    assert (target.root / "datasets" / "ann" / "mine.txt").read_bytes() == b"mine"


@pytest.mark.parametrize("kind", ["directory", "web", "serve"])
@pytest.mark.parametrize(("had", "wanted"), [("both", "model"), ("both", "both"), ("model", "both"), ("both", "data")])
def test_a_peer_has_it_under_another_name(  # noqa: PLR0917
    volumes: list[Volume], hub: HubServer, tmp_path: Path, kind: str, had: str, wanted: str
) -> None:
    """The name of a reference depends on what else the volume holds, so a peer is asked for each of its names."""
    one, other, target = volumes
    (tmp_path / "sites").mkdir()
    target.root = tmp_path / "sites" / "export.example.org"
    ready(one, **REQUESTS[had])
    ready(one, "export", str(target.root), **REQUESTS[had])
    hub.add_archives(tmp_path / "sites")
    address = {"directory": str(target.root), "web": f"{hub.static_url}/export.example.org"}.get(kind, "")
    if kind == "serve":
        port = free_port()
        one.start("serve", "--port", str(port))
        wait_until(PageClient(port).is_up, "the page is up")
        address = f"http://127.0.0.1:{port}"
    hub.log.clear()
    ready(other, PEERS=address, **REQUESTS[wanted])
    asked = {each.path.partition("/resolve/")[0] for each in hub.log.entries("*/resolve/*") if "README" not in each.path}
    assert asked == ({"/datasets/ann/x"} if (had, wanted) == ("model", "both") else set())
    one.close()
    for what in ("data", "model"):
        if wanted in {what, "both"}:
            check(other, what)


def test_an_export_has_a_reference_once(volumes: list[Volume], hub: HubServer) -> None:
    """A reference with another name on its volume becomes the next version under the name it has in the directory."""
    one, other, target = volumes
    ready(one, **REQUESTS["both"])
    ready(one, "export", str(target.root), **REQUESTS["both"])
    changed = MODEL | {"m.bin": b"another model\n"}
    hub.hub.add_repo("ann/x", changed, kind="model")
    ready(other, **REQUESTS["model"])
    assert other.published == ["ann"]
    for _ in range(2):
        ready(other, "export", str(target.root), **REQUESTS["model"])
        target.check("models/ann/x", changed)
        target.check("ann/x", DATA)
        ready(target, "verify", "--deep")
    pins = yaml.safe_load((target.private / "pins.yaml").read_text())["datasets"]
    ready(target, "gc")
    lists = {name: target.records("manifests", name).glob("*.sha256") for name in ("ann/x", "models/ann/x")}
    digests = {name: [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths] for name, paths in lists.items()}
    assert {name: pin["manifest"] for name, pin in pins.items()} == {
        "hf://datasets/ann/x": f"sha256:{digests['ann/x'][0]}",
        "hf://ann/x": f"sha256:{digests['models/ann/x'][0]}",
    }


def test_the_phase_of_all(volumes: list[Volume], hub: HubServer) -> None:
    """The records still name what an export from another volume brought, including references."""
    one, other, target = volumes
    hub.hub.add_repo("bob/y", DATA)
    ready(one, **REQUESTS["data"])
    ready(one, "export", str(target.root), **REQUESTS["data"])
    settings: dict[str, Any] = {"DATASETS": "hf://datasets/bob/y", "CATALOG_PATH": None}
    ready(other, **settings)
    ready(other, "export", str(target.root), **settings)
    catalog = yaml.safe_load((target.private / "catalog.yaml").read_text())
    assert sorted(catalog["phases"]["exported"]["datasets"]) == ["hf://datasets/ann/x", "hf://datasets/bob/y"]
    assert len(yaml.safe_load((target.private / "pins.yaml").read_text())["datasets"]) == 2
