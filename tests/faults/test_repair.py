"""``repair`` fetches only what is wrong, as the server's log shows, and a repair that fails loses nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.damage import DAMAGES, flip
from tests.support.media import noise
from tests.support.shelf import some_files

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.damage import Damage
    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume

CLIPS = {f"clips/{number:03}.bin": noise(f"clip {number}", 300) for number in range(20)}


@pytest.fixture
def pair(shelf: Shelf) -> Shelf:
    """Return a catalog of two data sets: two archives that share a file, and one archive."""
    other = {"alpha/README": b"alpha\n", "other/more.bin": noise("more", 4000)}
    shelf.add("alpha", shelf.file("alpha.tar.gz", some_files("alpha")), shelf.file("other.tar.gz", other), priority=5)
    shelf.add("beta", shelf.file("beta.tar.gz", some_files("beta")))
    return shelf


ALPHA = some_files("alpha") | {"other/more.bin": noise("more", 4000)}


def asked(hub: HubServer) -> list[str]:
    """Return the names of all files that were requested."""
    return sorted(entry.path.rpartition("/")[2] for entry in hub.log.entries())


@pytest.mark.usefixtures("pair")
@pytest.mark.parametrize("publish", ["link", "dir"])
@pytest.mark.parametrize("damage", DAMAGES, ids=str)
def test_an_archive(volume: Volume, hub: HubServer, damage: Damage, publish: str) -> None:
    """At most the archive with a wrong file is fetched; all other files keep their inodes, and the next run has nothing to do."""
    volume.settings["PUBLISH"] = publish
    volume.ready()
    kept = [volume.tree("alpha") / "other" / "more.bin", volume.tree("beta") / "beta" / "README"]
    before = [path.stat().st_ino for path in kept]
    damage.do(volume.tree("alpha").resolve())
    hub.log.clear()
    report = volume.ready("repair", "--json").json
    # The file that both archives have belongs to whichever was unpacked first.
    either = [["alpha.tar.gz"], ["other.tar.gz"]] if damage.path == "alpha/README" else [["alpha.tar.gz"]]
    assert asked(hub) in (either if damage.fetches else [[]])
    assert (report["repaired"], report["failed"]) == (1, 0)
    volume.check("alpha", ALPHA)
    volume.check("beta", some_files("beta"))
    assert [path.stat().st_ino for path in kept] == before or damage.path == "alpha/README"
    assert volume.ready("verify", "--deep").code == 0
    assert not (volume.private / "staging" / "trees").exists()
    hub.log.clear()
    still = volume.snapshot()
    assert "Nothing to do" in volume.ready().err
    assert "nothing to repair" in volume.ready("repair").out
    assert (asked(hub), volume.snapshot()) == ([], still)


def test_plain_files(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """Exactly the wrong files of a repository are fetched, from the commit that they came from."""
    repo = hub.hub.add_repo("ann/clips", dict(CLIPS))
    shelf.add("clips", sources=[{"kind": "hub", "repo": "ann/clips"}])
    volume.ready()
    repo.commit({"clips/007.bin": b"another"})
    flip(volume.tree("clips") / "clips" / "003.bin")
    (volume.tree("clips") / "clips" / "011.bin").unlink()
    hub.log.clear()
    report = volume.ready("repair", "--json").json
    assert sorted(entry.path.rpartition("/")[2] for entry in hub.log.entries("*/resolve/*")) == ["003.bin", "011.bin"]
    assert sorted(report["trees"][0]["fetched"]) == ["clips/003.bin", "clips/011.bin"]
    volume.check("clips", CLIPS)


@pytest.mark.usefixtures("pair")
def test_without_a_network(volume: Volume, hub: HubServer) -> None:
    """Without a network 75, and everything stays as it was; an extra file needs none; the next repair succeeds."""
    volume.ready()
    flip(volume.tree("alpha") / "alpha" / "data" / "noise.bin")
    (volume.tree("beta") / "extra").write_bytes(b"x")
    tree = volume.tree("alpha").resolve()
    before = volume.snapshot(tree)
    outcome = volume.run("repair", HF_HUB_OFFLINE="1")
    assert outcome.code == 75
    assert "it stays as it was" in outcome.err
    kept = {path: facts[:4] for path, facts in before.items()}
    assert {path: facts[:4] for path, facts in volume.snapshot(tree).items()} == kept
    volume.check("beta", some_files("beta"))
    volume.ready("repair")
    volume.check("alpha", ALPHA)
    assert asked(hub).count("beta.tar.gz") == 1


@pytest.mark.usefixtures("pair")
def test_killed_while_it_fetches(volume: Volume, hub: HubServer) -> None:
    """After a kill the old tree is still published, no receipt is lost, and the next repair fetches no archive that was right."""
    volume.ready()
    flip(volume.tree("alpha") / "alpha" / "data" / "noise.bin")
    shown = os.readlink(volume.tree("alpha"))
    rule = hub.faults.add("gate", path="*/alpha.tar.gz", after=1000, first=1)
    gate = hub.faults.gate(rule.gate)
    run = volume.start("repair")
    assert gate.wait_reached()
    run.send(signal.SIGKILL)
    assert run.wait().code == -signal.SIGKILL
    gate.release()
    assert os.readlink(volume.tree("alpha")) == shown
    assert (volume.tree("alpha") / "other" / "more.bin").read_bytes() == ALPHA["other/more.bin"]
    assert volume.run("verify", "--deep").code == 65
    hub.faults.clear()
    hub.log.clear()
    volume.ready("repair")
    assert asked(hub) == ["alpha.tar.gz"]
    volume.check("alpha", ALPHA)


def test_a_file_that_versions_share(pair: Shelf, volume: Volume, hub: HubServer) -> None:
    """A file that versions share is repaired in each of them and fetched once; the same version stays published."""
    volume.ready()
    pair.document["datasets"]["alpha"]["sources"][0]["files"].append(pair.file("third.tar.gz", some_files("third")))
    pair.write()
    volume.ready()
    version = volume.version("alpha")
    flip(volume.tree("alpha") / "alpha" / "data" / "noise.bin")
    hub.log.clear()
    volume.ready("repair")
    assert asked(hub) == ["alpha.tar.gz"]
    assert volume.version("alpha") == version
    volume.check("alpha", ALPHA | some_files("third"))
    assert volume.ready("verify", "--deep").code == 0


def test_another_catalogs_data_set(pair: Shelf, volume: Volume, tmp_path: Path) -> None:
    """A damaged version that today's catalog does not describe cannot be fetched: 65, and it stays as it is."""
    volume.ready()
    document = json.loads(json.dumps(pair.document))
    del document["datasets"]["alpha"]
    document["phases"]["minimal"]["datasets"] = ["beta"]
    (tmp_path / "other.yaml").write_text(json.dumps(document))
    flip(volume.tree("alpha") / "alpha" / "README")
    (volume.tree("beta") / "beta" / "README").unlink()
    outcome = volume.run("repair", CATALOG_PATH=str(tmp_path / "other.yaml"))
    assert outcome.code == 65
    assert "--catalog" in outcome.err
    volume.check("beta", some_files("beta"))
    assert volume.version("alpha")
    volume.ready("repair")
    volume.check("alpha", ALPHA)


@pytest.mark.usefixtures("pair")
def test_another_writer(volume: Volume, hub: HubServer) -> None:
    """While another process holds the lock, repair waits no longer than LOCK_TIMEOUT, and changes nothing."""
    volume.ready()
    flip(volume.tree("alpha") / "alpha" / "data" / "noise.bin")
    gate = hub.faults.gate(hub.faults.add("gate", path="*/alpha.tar.gz", first=1).gate)
    first = volume.start("repair")
    assert gate.wait_reached()
    assert volume.run("repair", LOCK_TIMEOUT="0").code == 75
    gate.release()
    assert first.wait().code == 0
    volume.check("alpha", ALPHA)


@pytest.mark.root
@pytest.mark.usefixtures("pair")
def test_a_read_only_mount(volume: Volume) -> None:
    """On a read-only mount repair ends with 0 if all is right, and with 73 if something is wrong."""
    volume.ready()
    mount = volume.root.parent / "mount"
    mount.mkdir()
    for code in (0, 73):
        subprocess.run(["mount", "--bind", "-o", "ro", str(volume.root), str(mount)], check=True)
        try:
            assert volume.run("repair", DATA_DIR=str(mount)).code == code
        finally:
            subprocess.run(["umount", str(mount)], check=True)
        flip(volume.tree("beta") / "beta" / "README")


@pytest.mark.root
@pytest.mark.usefixtures("pair")
def test_what_a_death_left_on_a_read_only_mount(volume: Volume) -> None:
    """Leftovers of a killed repair on a read-only mount are no error if all is right; a later repair that can removes them."""
    volume.ready()
    mount = volume.root.parent / "mount"
    mount.mkdir()
    staged = volume.private / "staging" / "trees" / "alpha" / volume.version("alpha") / "tree"
    staged.mkdir(parents=True)
    (staged / "half").write_bytes(b"x")
    # What has arrived of a version to come is not the repair's to take.
    coming = staged.parents[1] / "0123456789abcdef" / "tree"
    coming.mkdir(parents=True)
    (coming / "kept").write_bytes(b"x")
    subprocess.run(["mount", "--bind", "-o", "ro", str(volume.root), str(mount)], check=True)
    try:
        outcome = volume.ready("repair", DATA_DIR=str(mount))
    finally:
        subprocess.run(["umount", str(mount)], check=True)
    assert "the next run tries again" in outcome.err
    assert volume.staged() == ["half", "kept"]
    volume.ready("repair")
    assert volume.staged() == ["kept"]
