"""What others keep beside our files, what cannot be removed, and what a newer version wrote: nothing of it is touched."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from provisioner import DatasetManager
from provisioner.volume.fs.remove import remove_tree
from provisioner.volume.fs.tree_size import used_bytes
from tests.support.media import noise
from tests.support.shelf import some_files
from tests.support.tally import count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume

DAYS = 86_400


@pytest.fixture
def pair(shelf: Shelf) -> Shelf:
    """Return a catalog of two data sets, one archive each."""
    shelf.add("alpha", shelf.file("alpha.tar.gz", some_files("alpha")), priority=5)
    shelf.add("beta", shelf.file("beta.tar.gz", some_files("beta")))
    return shelf


def change(shelf: Shelf, dataset: str, name: str = "other") -> None:
    """Make the catalog describe another version of a data set."""
    entry = shelf.file(f"{dataset}-{name}.tar.gz", some_files(name))
    shelf.document["datasets"][dataset]["sources"] = [{"kind": "url", "files": [entry]}]
    shelf.write()


# --- other people's files -------------------------------------------------------------------------------------------------

FOREIGN = (
    ".env.new",
    ".settings.new/notes.txt",
    ".tmp-1-0123456789abcdef",
    ".tmp-notes",
    ".incoming-0123456789abcdef/a",
    "datasets/.alpha.new",
    "datasets/.tmp-1-0123456789abcdef/a",
    "datasets/mine/a",
    "staging/a",
    "blobs/my-model.safetensors",
    "trees/oak/leaf.txt",
)
"""Names that programs and people use, some of them like those that an earlier version of this program used."""


@pytest.mark.parametrize("command", [("provision",), ("gc",), ("repair",), ("remove", "alpha")])
@pytest.mark.parametrize("place", ["volume", "staging"])
def test_files_of_others(pair: Shelf, volume: Volume, tmp_path: Path, place: str, command: tuple[str, ...]) -> None:
    """In the volume's root, in `datasets` and in STAGING_DIR they stay as they are, however old, whatever a command clears."""
    volume.settings["STAGING_DIR"] = str(tmp_path / "scratch")
    volume.ready()
    change(pair, "alpha")
    volume.ready()
    (volume.tree("beta") / "beta" / "README").write_bytes(b"wrong")
    top = volume.root if place == "volume" else tmp_path / "scratch"
    old = time.time() - 30 * DAYS
    for name in FOREIGN:
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(b"mine")
        os.utime(top / name, (old, old))
        os.utime((top / name).parent, (old, old))
    if command != ("repair",):
        change(pair, "beta", "more")
    volume.ready(*command)
    count("faults", len(FOREIGN))
    assert [name for name in FOREIGN if not (top / name).is_file() or (top / name).read_bytes() != b"mine"] == []


def test_a_member_with_the_name_of_a_probe(shelf: Shelf, volume: Volume) -> None:
    """What is tried out on the volume has names that no source can have: all members arrive, also with names like ours."""
    files = {
        name: name.encode() for name in (".tmp-case-probe", ".tmp-CASE-PROBE", ".provisioner-tmp-1-0", ".tmp-1-0123456789abcdef")
    }
    shelf.add("alpha", shelf.file("alpha.tar.gz", files))
    shelf.add("beta", sources=[{"kind": "hub", "repo": "ann/clips"}])
    shelf.server.hub.add_repo("ann/clips", files)
    volume.ready()
    volume.ready("doctor", HF_HUB_OFFLINE="1")
    for dataset in ("alpha", "beta"):
        volume.check(dataset, files)


# --- one STAGING_DIR, several volumes -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("pair")
@pytest.mark.parametrize("second", ["another volume", "a copy of the first"])
def test_volumes_that_share_a_staging_directory(volume: Volume, tmp_path: Path, second: str) -> None:
    """They do not meet, though they fetch the same at the same time; nothing of either is left, and what was there stays."""
    scratch = tmp_path / "scratch"
    (scratch / "lost+found").mkdir(parents=True)
    (scratch / "lost+found" / "mine").write_bytes(b"mine")
    volume.settings["STAGING_DIR"] = str(scratch)
    other = tmp_path / "other"
    if second == "a copy of the first":
        volume.ready(DATASETS="beta")
        subprocess.run(["cp", "-a", str(volume.root), str(other)], check=True)
    runs = [volume.start(), volume.start(DATA_DIR=str(other))]
    assert [run.wait().code for run in runs] == [0, 0]
    for root in (str(volume.root), str(other)):
        assert volume.run("verify", "--deep", DATA_DIR=root).code == 0
    assert [str(path.relative_to(scratch)) for path in scratch.rglob("*")] == ["lost+found", "lost+found/mine"]


@pytest.mark.usefixtures("pair")
def test_bytes_of_others_in_a_staging_directory(volume: Volume, tmp_path: Path) -> None:
    """They are not counted as ours, and a directory that cannot be listed does no harm."""
    scratch = tmp_path / "scratch"
    (scratch / "closed").mkdir(parents=True)
    (scratch / "closed").chmod(0)
    (scratch / "somebody.iso").write_bytes(bytes(3_000_000))
    volume.settings["STAGING_DIR"] = str(scratch)
    assert volume.ready("plan", "--json").json["volume"]["staged_bytes"] == 0
    volume.ready()
    (scratch / "closed").chmod(0o700)
    assert sorted(os.listdir(scratch)) == ["closed", "somebody.iso"]


# --- what cannot be removed -----------------------------------------------------------------------------------------------


def _make_mutable(volume: Volume) -> None:
    subprocess.run(["find", str(volume.root), "-type", "f", "-exec", "chattr", "-i", "{}", "+"], check=True)


@pytest.fixture
def stuck(pair: Shelf, volume: Volume, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Return the tree of a superseded version that cannot be removed as a whole."""
    volume.ready()
    old = volume.tree("alpha").resolve()
    change(pair, "alpha")
    volume.ready()
    inner = old / "alpha" / "data"
    if request.param == "immutable":
        subprocess.run(["chattr", "+i", str(inner / "noise.bin")], check=True)
        yield old
        _make_mutable(volume)
    else:
        elsewhere = volume.root.parent / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "precious").write_bytes(b"mine")
        subprocess.run(["mount", "--bind", str(elsewhere), str(inner)], check=True)
        yield old
        assert (elsewhere / "precious").read_bytes() == b"mine"
        mounts = subprocess.run(["findmnt", "-rno", "TARGET"], check=True, capture_output=True, text=True).stdout
        for mount in mounts.splitlines():
            if mount.startswith(str(volume.root)):
                subprocess.run(["umount", mount], check=True)


@pytest.mark.root
@pytest.mark.parametrize("stuck", ["immutable", "mounted"], indirect=True)
@pytest.mark.parametrize("command", ["gc", "remove"])
def test_a_version_that_cannot_be_removed(pair: Shelf, volume: Volume, stuck: Path, command: str) -> None:
    """It is reported once in each run and passed over; no later run, gc, remove or repair is kept from its work by it."""
    outcome = volume.ready(command, *(["alpha"] if command == "remove" else []))
    assert outcome.err.count("is left there") == 1, outcome.err
    assert not stuck.exists()
    change(pair, "beta", "more")
    assert volume.ready().err.count("is left there") == 1
    volume.check("beta", some_files("more"))
    volume.check("alpha", some_files("other"))
    (volume.tree("alpha") / "other" / "README").write_bytes(b"wrong")
    volume.ready("repair")
    volume.check("alpha", some_files("other"))
    for arguments in (("gc",), ("remove", "alpha"), ("provision",)):
        volume.ready(*arguments)
    volume.check("alpha", some_files("other"))
    assert "Nothing to do" in volume.ready().err


@pytest.mark.root
def test_a_staged_tree_that_cannot_be_removed(pair: Shelf, volume: Volume) -> None:
    """It gets another name, and the data set is built where it was, at once."""
    volume.ready()
    change(pair, "alpha")
    plan = volume.ready("plan", "--json").json
    version = next(step["version"] for step in plan["steps"] if step["dataset"] == "alpha")
    left = volume.private / "staging" / "trees" / "alpha" / version / "tree" / "extra"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"left")
    subprocess.run(["chattr", "+i", str(left)], check=True)
    try:
        outcome = volume.ready()
        assert "the tree is begun again" in outcome.err
        volume.check("beta", some_files("beta"))
        volume.check("alpha", some_files("other"))
        volume.ready()
    finally:
        _make_mutable(volume)


DEPTHS = [100, 3000]


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_tree_of_any_depth(volume: Volume, pair: Shelf, depth: int) -> None:
    """A path longer than the system accepts is measured and removed, with few open descriptors."""
    volume.ready()
    top = volume.private / "store" / "alpha" / ".discarded-0123456789abcdef"
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d" * 20, dir_fd=here)
        below = os.open("d" * 20, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=here))
    os.close(here)
    count("faults")
    assert used_bytes(top) >= used_bytes(volume.private / "receipts")
    change(pair, "alpha")
    volume.ready()
    assert not top.exists()
    volume.check("alpha", some_files("other"))
    remove_tree(top)


# --- records of a newer version -------------------------------------------------------------------------------------------


def _raise_schema(path: Path) -> None:
    document = json.loads(path.read_bytes())
    document["schema_version"] = 2
    document["provisioner_version"] = "9.0.0"
    path.write_text(json.dumps(document))


def _raise_manifest(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"schema_version":1', b'"schema_version":2', 1))


def _records(volume: Volume, kind: str) -> list[Path]:
    version = volume.version("alpha")
    receipt = volume.private / "receipts" / "alpha" / f"{version}.json"
    manifest = volume.private / "manifests" / "alpha" / f"{version}.json"
    match kind:
        case "receipt":
            _raise_schema(receipt)
            return [receipt]
        case "receipt and manifest":
            _raise_schema(receipt)
            _raise_manifest(manifest)
            return [receipt, manifest]
        case "manifest without receipt":
            receipt.unlink()
            _raise_manifest(manifest)
            return [manifest]
        case _:
            receipt.unlink()
            _raise_schema(manifest.with_suffix(".origin"))
            return [manifest.with_suffix(".origin")]


@pytest.mark.parametrize("kind", ["receipt", "receipt and manifest", "manifest without receipt", "origin without receipt"])
def test_a_version_that_a_newer_program_recorded(pair: Shelf, volume: Volume, hub: HubServer, kind: str) -> None:
    """Whatever is run over it, record and tree stay, and the record is named; the other data set is served as always."""
    volume.ready()
    tree = volume.tree("alpha").resolve()
    records = _records(volume, kind)
    before = [path.read_bytes() for path in records]
    files = volume.snapshot(tree)
    change(pair, "beta")
    hub.log.clear()
    known = kind.startswith("receipt")
    outcomes = [volume.run(*words) for words in ((), ("gc",), ("verify",), ("repair",), ("remove", "alpha"), ())]
    assert [outcome.code for outcome in outcomes][:2] == [0 if known else 74, 0]
    assert outcomes[4].code == 74
    assert "newer version" in outcomes[0].err
    assert "newer version" in outcomes[4].err
    assert [entry.path for entry in hub.log.entries() if "alpha" in entry.path] == []
    assert ([path.read_bytes() for path in records], volume.snapshot(tree)) == (before, files)
    volume.check("beta", some_files("other"))
    # The catalog moves on, and a version of ours comes beside it; its space is not taken back.
    change(pair, "alpha", "third")
    volume.ready()
    volume.ready("gc")
    volume.check("alpha", some_files("third"))
    assert ([path.read_bytes() for path in records], volume.snapshot(tree)) == (before, files)


@pytest.mark.parametrize("name", ["dataset_status.json", ".provisioner/repository.json"])
def test_a_record_that_a_newer_program_wrote(pair: Shelf, volume: Volume, name: str) -> None:
    """It is not replaced, and named where it would have been; the data come all the same."""
    path = volume.root / name
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"schema_version": 2, "state": "splendid"}))
    before = path.read_bytes()
    outcome = volume.ready(DATASET_REPO="experiments", HF_TOKEN=None if "status" in name else volume.settings.get("HF_TOKEN"))
    assert path.read_bytes() == before
    assert "newer version" in outcome.err or name.startswith(".")
    volume.check("alpha", some_files("alpha"))
    change(pair, "alpha")
    volume.ready("remove", "beta")
    assert path.read_bytes() == before


@pytest.mark.usefixtures("pair")
def test_keys_that_a_newer_program_added(volume: Volume, hub: HubServer) -> None:
    """A receipt and a manifest with more keys, of the same schema, are understood: nothing is fetched, nothing is wrong."""
    volume.ready()
    receipt = volume.current_receipt("alpha")
    receipt.write_text(json.dumps(json.loads(receipt.read_bytes()) | {"signed_by": "somebody"}))
    manifest = volume.private / "manifests" / "alpha" / receipt.name
    manifest.write_bytes(manifest.read_bytes().replace(b'"kind":"file"', b'"kind":"file","colour":"red"'))
    before = receipt.read_bytes(), manifest.read_bytes()
    hub.log.clear()
    for words in ((), ("verify", "--deep"), ("repair",), ("gc",)):
        volume.ready(*words)
    assert ((receipt.read_bytes(), manifest.read_bytes()), hub.log.entries()) == (before, ())


# --- who edits a published file -------------------------------------------------------------------------------------------


def _shared_with_an_old_version(shelf: Shelf, volume: Volume) -> tuple[str, str]:
    repo = shelf.server.hub.add_repo("ann/clips", {"a.bin": b"the same" * 100, "b.bin": b"old"})
    shelf.add("clips", sources=[{"kind": "hub", "repo": "ann/clips", "revision": repo.branches["main"]}])
    volume.ready()
    old = f".provisioner/store/clips/{volume.version('clips')}/a.bin"
    repo.commit({"b.bin": b"new"})
    shelf.document["datasets"]["clips"]["sources"][0]["revision"] = repo.branches["main"]
    shelf.write()
    volume.ready()
    return "datasets/clips/a.bin", old


def _shared_with_another_data_set(shelf: Shelf, volume: Volume) -> tuple[str, str]:
    entry = shelf.raw("a.bin", noise("a", 1_500_000))
    shelf.add("one", entry)
    volume.ready()
    shelf.add("two", entry)
    volume.ready()
    return "datasets/one/a.bin", "datasets/two/a.bin"


@pytest.mark.parametrize("share", [_shared_with_an_old_version, _shared_with_another_data_set])
def test_an_edited_file(shelf: Shelf, volume: Volume, share: Callable[[Shelf, Volume], tuple[str, str]]) -> None:
    """What another version or data set shares cannot be written by accident, or is a file of its own; both can be removed."""
    one, two = (volume.root / name for name in share(shelf, volume))
    facts = one.stat()
    assert one.read_bytes() == two.read_bytes()
    if one.samefile(two):
        assert not stat.S_IMODE(facts.st_mode) & 0o222
    volume.ready("verify", "--deep")
    for dataset in volume.published:
        volume.ready("remove", dataset)
    assert not one.exists()
    assert not two.exists()


@pytest.mark.parametrize("umask", [0o077, 0o027, 0o777])
def test_a_umask(shelf: Shelf, volume: Volume, umask: int) -> None:
    """By the Python API, which leaves the process's umask alone, files and directories have the modes of the command line."""
    sizes = {"small.bin": 100, "middle.bin": 2_000_000, "large.bin": 20_000_000}
    files = [shelf.raw(name, noise(name, size)) for name, size in sizes.items()]
    shelf.add("songs", *files, shelf.file("t.tar.gz", some_files("t")))
    volume.root.mkdir(mode=0o755)
    before = os.umask(umask)
    try:
        DatasetManager(volume.root, environ=volume.environ()).download_dataset("songs")
    finally:
        assert os.umask(before) == umask
    for top, folders, names in os.walk(volume.root):
        for name in (*folders, *names):
            facts = os.lstat(f"{top}/{name}")
            if not stat.S_ISLNK(facts.st_mode):
                assert stat.S_IMODE(facts.st_mode) == (0o775 if stat.S_ISDIR(facts.st_mode) else 0o664), f"{top}/{name}"
