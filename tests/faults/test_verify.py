"""What ``verify`` finds in published trees: each kind of damage, by name, and without changing anything."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.support.damage import DAMAGES, flip
from tests.support.shelf import some_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.damage import Damage
    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume


@pytest.fixture
def pair(shelf: Shelf) -> Shelf:
    """Return a catalog of two data sets, one archive each."""
    shelf.add("alpha", shelf.file("alpha.tar.gz", some_files("alpha")), priority=5)
    shelf.add("beta", shelf.file("beta.tar.gz", some_files("beta")))
    return shelf


def findings(document: Any) -> list[tuple[str, str, str]]:
    """Return data set, problem and path of all that a report names."""
    return [(tree["dataset"], each["problem"], each["path"]) for tree in document["trees"] for each in tree["findings"]]


@pytest.mark.usefixtures("pair")
@pytest.mark.parametrize("publish", ["link", "dir"])
@pytest.mark.parametrize("deep", [[], ["--deep"]], ids=["plain", "deep"])
def test_all_right(volume: Volume, hub: HubServer, publish: str, deep: list[str]) -> None:
    """Exit code 0, one line for each tree, no request, and no inode of the volume changes."""
    volume.settings["PUBLISH"] = publish
    volume.ready()
    hub.log.clear()
    before = volume.snapshot()
    outcome = volume.ready("verify", *deep, CATALOG_PATH="/nowhere")
    assert [line.split()[:2] for line in outcome.out.splitlines()[:2]] == [["ok", "alpha:"], ["ok", "beta:"]]
    assert "2 trees checked" in outcome.out
    assert (hub.log.entries(), volume.snapshot()) == ((), before)


@pytest.mark.usefixtures("pair")
@pytest.mark.parametrize("publish", ["link", "dir"])
@pytest.mark.parametrize("damage", DAMAGES, ids=str)
def test_damage_is_found(volume: Volume, damage: Damage, publish: str) -> None:
    """Exit code 65, one line for each finding, in text and as JSON; changed bytes need --deep; nothing is written."""
    volume.settings["PUBLISH"] = publish
    volume.ready()
    damage.do(volume.tree("alpha").resolve())
    before = volume.snapshot()
    for deep in (False, True):
        arguments = ["verify", *(["--deep"] if deep else [])]
        outcome, report = volume.run(*arguments), volume.run(*arguments, "--json")
        seen = deep or not damage.needs_deep
        assert (outcome.code, report.code) == ((65, 65) if seen else (0, 0))
        assert findings(report.json) == ([("alpha", damage.problem, damage.path)] if seen else [])
        lines = [line for line in outcome.out.splitlines() if line.startswith("WRONG")]
        assert len(lines) == (1 if seen else 0)
        assert all(f"alpha: {damage.path}: " in line and damage.word in line for line in lines)
        assert ("[tree-damaged]" in outcome.err) is seen
        assert not seen or "'repair alpha'" in outcome.err
    # The time of the last access may change; the snapshot does not hold it.
    assert volume.snapshot() == before


@dataclass(frozen=True)
class Lost:
    """Something that belongs to a data set besides its tree."""

    problem: str
    take: Callable[[Volume], object]

    def __str__(self) -> str:
        return self.problem


def _lose_manifest(volume: Volume) -> None:
    (volume.private / "manifests" / "alpha" / f"{volume.version('alpha')}.json").write_bytes(b"{")


def _change_checksums(volume: Volume) -> None:
    path = volume.private / "manifests" / "alpha" / f"{volume.version('alpha')}.sha256"
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])


def _occupy(volume: Volume) -> None:
    volume.tree("alpha").unlink()
    volume.tree("alpha").mkdir()
    (volume.tree("alpha") / "mine").write_bytes(b"mine")


@pytest.mark.usefixtures("pair")
@pytest.mark.parametrize(
    "lost",
    [
        Lost("no-tree", lambda volume: shutil.rmtree(volume.tree("alpha").resolve())),
        Lost("no-manifest", _lose_manifest),
        Lost("checksums", _change_checksums),
        Lost("no-receipt", lambda volume: volume.receipts("alpha")[0].write_bytes(b"{}")),
        Lost("not-shown", lambda volume: volume.tree("alpha").unlink()),
        Lost("foreign", _occupy),
    ],
    ids=str,
)
def test_what_belongs_to_a_tree(volume: Volume, lost: Lost) -> None:
    """A tree, manifest, list of checksums, receipt or link that is missing or damaged is a finding too."""
    volume.ready()
    lost.take(volume)
    report = volume.run("verify", "--json")
    assert report.code == 65
    assert lost.problem in [problem for _, problem, _ in findings(report.json)]
    assert {dataset for dataset, _, _ in findings(report.json)} == {"alpha"}


@pytest.mark.usefixtures("pair")
def test_by_name(volume: Volume) -> None:
    """Only the named data sets are checked; a name that is not on the volume, and an empty volume, are exit code 66."""
    empty = volume.run("verify")
    assert (empty.code, volume.root.exists()) == (66, False)
    for command in (["verify"], ["verify", "alpha"], ["repair", "alpha"], ["remove", "alpha"]):
        assert "Run 'provision' first, or give the volume with --data-dir." in volume.run(*command).err, command
    volume.ready()
    flip(volume.tree("alpha") / "alpha" / "README")
    assert volume.run("verify", "--deep", "beta").code == 0
    assert volume.run("verify", "--deep", "beta", "alpha").code == 65
    unknown = volume.run("verify", "alfa")
    assert unknown.code == 66
    assert "Did you mean 'alpha'" in unknown.err
    for part in ("alpha:test", "alpha:test?limit=3", "alpha?limit=3"):
        assert "leave out the split, part and rules, and write 'alpha'" in volume.run("verify", part).err
    assert "its path below datasets/" in volume.run("verify", "https://files.example.org/other.tar.gz").err


def test_a_shared_file_is_wrong_in_each_version(pair: Shelf, volume: Volume) -> None:
    """Versions share files by hard links: a changed file is found in each of them, and each is named."""
    volume.ready()
    first = volume.version("alpha")
    more = pair.file("more.tar.gz", some_files("more"))
    pair.document["datasets"]["alpha"]["sources"][0]["files"].append(more)
    pair.write()
    volume.ready()
    assert volume.version("alpha") != first
    flip(volume.tree("alpha") / "alpha" / "README")
    report = volume.run("verify", "--deep", "--json").json
    assert findings(report) == [("alpha", "digest", "alpha/README")] * 2
    assert {(tree["version"], tree["shown"]) for tree in report["trees"] if tree["findings"]} == {
        (first, False),
        (volume.version("alpha"), True),
    }
    assert f"alpha {first} (superseded): alpha/README: changed" in volume.run("verify", "--deep").out


def test_names_that_are_no_text(shelf: Shelf, volume: Volume) -> None:
    """A name of any bytes is printed on one line, and as JSON that can be read back."""
    name = os.fsdecode(b"a\xff\nb")
    shelf.add("alpha", shelf.file("alpha.tar.gz", {"plain": b"plain"}))
    volume.ready()
    (volume.tree("alpha") / name).write_bytes(b"extra")
    assert volume.run("verify", "--json").json["trees"][0]["findings"][0]["path"] == name
    (line,) = [line for line in volume.run("verify").out.splitlines() if line.startswith("WRONG")]
    assert "extra" in line


@pytest.mark.root
@pytest.mark.usefixtures("pair")
def test_a_read_only_mount(volume: Volume) -> None:
    """Checking needs neither a lock nor a write, whether the trees are right or wrong."""
    volume.ready()
    flip(volume.tree("beta") / "beta" / "README")
    mount = volume.root.parent / "mount"
    mount.mkdir()
    subprocess.run(["mount", "--bind", "-o", "ro", str(volume.root), str(mount)], check=True)
    try:
        assert os.statvfs(mount).f_flag & os.ST_RDONLY
        assert volume.run("verify", "--deep", "alpha", DATA_DIR=str(mount)).code == 0
        assert volume.run("verify", "--deep", DATA_DIR=str(mount)).code == 65
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_two_catalogs_on_one_volume(pair: Shelf, volume: Volume, tmp_path: Path) -> None:
    """Data sets that are not in the catalog are still verified by their own manifests."""
    volume.ready()
    other = tmp_path / "other.yaml"
    document = json.loads(json.dumps(pair.document))
    document["datasets"] = {"beta": document["datasets"]["beta"]}
    document["phases"]["minimal"]["datasets"] = ["beta"]
    other.write_text(json.dumps(document))
    flip(volume.tree("alpha") / "alpha" / "README")
    report = volume.run("verify", "--deep", "--json", CATALOG_PATH=str(other))
    assert (report.code, findings(report.json)) == (65, [("alpha", "digest", "alpha/README")])


@pytest.mark.usefixtures("pair")
def test_while_another_run_holds_the_lock(volume: Volume, hub: HubServer) -> None:
    """A volume can be checked while another run writes to it."""
    volume.ready()
    shutil.rmtree(volume.tree("beta").resolve())
    gate = hub.faults.gate("beta")
    hub.faults.add("gate", path="*/beta.tar.gz", gate="beta")
    writer = volume.start()
    assert gate.wait_reached()
    assert volume.run("verify", "--deep", "alpha", LOCK_TIMEOUT="0").code == 0
    gate.release()
    assert writer.wait().code == 0
    assert volume.run("verify", "--deep").code == 0


RECORDS: Final = ("receipt", "manifest", "status", "environment")
COMMANDS: Final = (["verify"], ["verify", "--deep"], ["status"], ["gc", "--dry-run"], ["plan"], ["healthcheck"])


def path_of(volume: Volume, record: str) -> Path:
    """Return the path of one of the volume's records."""
    if record in {"receipt", "manifest"}:
        return next((volume.private / f"{record}s" / "alpha").glob("*.json"))
    return volume.root / {"status": "dataset_status.json", "environment": "provision.env"}[record]


def read_with_all_commands(volume: Volume) -> None:
    """Run all commands that only read records, and check that none of them crashes."""
    for command in COMMANDS:
        outcome = volume.run(*command)
        assert outcome.code != 70, outcome.err
        assert "Traceback" not in outcome.err


@pytest.mark.usefixtures("pair")
@pytest.mark.parametrize("record", RECORDS)
def test_a_fifo_in_place_of_a_record(volume: Volume, record: str) -> None:
    """No command waits for a writer; the next run, or repair, writes the record again."""
    volume.ready()
    place = path_of(volume, record)
    place.unlink()
    os.mkfifo(place)
    read_with_all_commands(volume)
    volume.ready()
    volume.ready("repair")
    assert place.is_file()
    volume.ready("verify", "--deep")


@pytest.mark.usefixtures("pair")
@pytest.mark.parametrize("record", RECORDS)
def test_a_directory_in_place_of_a_record(volume: Volume, record: str) -> None:
    """A directory in place of a record is named with what to do, and never removed; once it is gone, a run writes the record."""
    volume.ready()
    place = path_of(volume, record)
    place.unlink()
    place.mkdir()
    (place / "precious").write_bytes(b"precious")
    read_with_all_commands(volume)
    outcome = volume.run("repair" if record == "manifest" else "provision")
    assert (outcome.code, str(place) in outcome.err) == (0 if record == "status" else 74, True), outcome.err
    assert record == "status" or "move it away" in outcome.err
    assert (place / "precious").read_bytes() == b"precious"
    shutil.rmtree(place)
    volume.ready()
    volume.ready("repair")
    assert place.is_file()
    volume.ready("verify", "--deep")
