"""``gc`` and ``remove``: what is removed, what stays, and what an open reader keeps."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.shelf import some_files

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume


@pytest.fixture
def pair(shelf: Shelf) -> Shelf:
    """Return a catalog of two data sets, one archive each."""
    shelf.add("alpha", shelf.file("alpha.tar.gz", some_files("alpha")), priority=5)
    shelf.add("beta", shelf.file("beta.tar.gz", some_files("beta")))
    return shelf


def supersede(shelf: Shelf, volume: Volume, dataset: str = "alpha") -> str:
    """Publish another version of a data set, and return the one that it replaced."""
    old = volume.tree(dataset).resolve() if not volume.tree(dataset).is_symlink() else volume.version(dataset)
    entry = shelf.file(f"{dataset}-2.tar.gz", some_files("other"))
    shelf.document["datasets"][dataset]["sources"] = [{"kind": "url", "files": [entry]}]
    shelf.write()
    volume.ready()
    return str(old)


def without(shelf: Shelf, dataset: str, path: Path) -> str:
    """Write another catalog, without a data set."""
    document = json.loads(json.dumps(shelf.document))
    del document["datasets"][dataset]
    document["phases"]["minimal"]["datasets"].remove(dataset)
    path.write_text(json.dumps(document))
    return str(path)


@pytest.mark.parametrize("publish", ["link", "dir"])
def test_gc(pair: Shelf, volume: Volume, hub: HubServer, publish: str) -> None:
    """Superseded versions and leftovers are listed with their sizes and removed; what is published stays, also in a second gc."""
    volume.settings["PUBLISH"] = publish
    volume.ready()
    supersede(pair, volume)
    (volume.private / ".tmp-1-0123456789abcdef").write_bytes(b"left")
    before = volume.snapshot()
    dry = volume.ready("gc", "--dry-run", "--json").json
    assert (volume.snapshot(), dry["dry_run"]) == (before, True)
    assert [item["dataset"] for item in dry["items"]] == ["alpha", None]
    assert all(item["bytes"] > 0 for item in dry["items"])
    outcome = volume.ready("gc")
    assert "Removing alpha" in outcome.err
    assert "removed alpha" in outcome.out
    assert len(volume.receipts("alpha")) == 1
    volume.check("alpha", some_files("other"))
    volume.check("beta", some_files("beta"))
    hub.log.clear()
    still = volume.snapshot()
    assert "nothing to remove" in volume.ready("gc").out
    volume.ready()
    assert (volume.snapshot(), hub.log.entries()) == (still, ())


def test_gc_of_a_tree_that_nothing_speaks_of(pair: Shelf, volume: Volume) -> None:
    """A tree without receipt and manifest can be neither used nor adopted: it is removed, unless it is published."""
    volume.ready()
    old = supersede(pair, volume)
    tree = volume.private / "store" / "alpha" / old
    kept = tree.rename(tree.with_name("0123456789abcdef"))
    for records in ("receipts", "manifests"):
        shutil.rmtree(volume.private / records / "beta")
    items = volume.ready("gc", "--json").json["items"]
    assert ("alpha", kept.name) in [(item["dataset"], item["version"]) for item in items]
    assert "beta" not in [item["dataset"] for item in items]
    assert not kept.exists()
    volume.check("alpha", some_files("other"))
    assert (volume.tree("beta") / "beta" / "README").read_bytes() == b"beta\n"


def test_gc_while_a_reader_has_the_old_version_open(pair: Shelf, volume: Volume) -> None:
    """A file that is open stays readable to its end after its version was removed."""
    volume.ready()
    with (volume.tree("alpha") / "alpha" / "data" / "noise.bin").open("rb") as reader:
        head = reader.read(100)
        old = supersede(pair, volume)
        volume.ready("gc")
        assert not (volume.private / "store" / "alpha" / old).exists()
        assert head + reader.read() == some_files("alpha")["alpha/data/noise.bin"]


def test_gc_leaves_another_catalogs_data_sets(pair: Shelf, volume: Volume, tmp_path: Path) -> None:
    """Of a data set that today's catalog does not describe, no version with a receipt is removed, published or superseded."""
    volume.ready()
    supersede(pair, volume)
    other = without(pair, "alpha", tmp_path / "other.yaml")
    before = volume.snapshot(volume.private / "receipts")
    assert "nothing to remove" in volume.ready("gc", CATALOG_PATH=other).out
    assert volume.snapshot(volume.private / "receipts") == before
    assert len(volume.receipts("alpha")) == 2
    volume.check("alpha", some_files("other"))


def test_gc_does_not_choose(pair: Shelf, volume: Volume) -> None:
    """Where the link was lost, it is not known which version is superseded: all stay."""
    volume.ready()
    supersede(pair, volume)
    volume.tree("alpha").unlink()
    assert "nothing to remove" in volume.ready("gc").out
    assert len(volume.receipts("alpha")) == 2


@pytest.mark.root
def test_gc_on_a_read_only_mount(pair: Shelf, volume: Volume) -> None:
    """On a read-only mount the exit code is 0 with nothing to remove and 73 with something; --dry-run works in both cases."""
    volume.ready()
    mount = volume.root.parent / "mount"
    mount.mkdir()
    for code in (0, 73):
        subprocess.run(["mount", "--bind", "-o", "ro", str(volume.root), str(mount)], check=True)
        try:
            assert os.statvfs(mount).f_flag & os.ST_RDONLY
            assert volume.run("gc", DATA_DIR=str(mount)).code == code
            assert volume.run("gc", "--dry-run", DATA_DIR=str(mount)).code == 0
        finally:
            subprocess.run(["umount", str(mount)], check=True)
        if not code:
            supersede(pair, volume)


@pytest.mark.usefixtures("pair")
@pytest.mark.parametrize("publish", ["link", "dir"])
def test_remove(volume: Volume, hub: HubServer, publish: str) -> None:
    """All versions of a data set are removed, and its record in the status; its phase is named, and fetches it again."""
    volume.settings["PUBLISH"] = publish
    volume.ready()
    before = volume.snapshot()
    assert "would remove alpha" in volume.ready("remove", "--dry-run", "alpha").out
    assert volume.snapshot() == before
    outcome = volume.ready("remove", "alpha")
    assert outcome.err.count("alpha belongs to minimal") == 1
    assert volume.published == ["beta"]
    assert volume.receipts("alpha") == []
    assert (list(volume.status["datasets"]), volume.status["state"]) == (["beta"], "partial")
    volume.check("beta", some_files("beta"))
    assert volume.ready("verify").code == 0
    hub.log.clear()
    volume.ready()
    assert [entry.path for entry in hub.log.entries()] == ["/files.example.org/alpha.tar.gz"]
    volume.check("alpha", some_files("alpha"))


@pytest.mark.usefixtures("pair")
def test_remove_refuses(volume: Volume) -> None:
    """No name is exit code 64, an unknown name 66, and what the provisioner did not put there 74; nothing is removed."""
    volume.ready()
    assert volume.run("remove").code == 64
    assert volume.run("remove", "beta", "gamma").code == 66
    assert volume.published == ["alpha", "beta"]
    volume.tree("alpha").unlink()
    volume.tree("alpha").mkdir()
    (volume.tree("alpha") / "mine").write_bytes(b"mine")
    assert volume.run("remove", "alpha").code == 74
    assert (volume.tree("alpha") / "mine").read_bytes() == b"mine"
