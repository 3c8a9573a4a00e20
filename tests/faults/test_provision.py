"""Real processes fill a real volume: what it holds afterwards, and what a second run does."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.hub_model import StoredFile
from tests.support.media import noise
from tests.support.miniature import gzip_bytes, pack_tar
from tests.support.miniature_rows import expected_rows
from tests.support.program import TOKEN
from tests.support.shelf import some_files
from tests.support.volume import files_under

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.hub_server import HubServer
    from tests.support.shelf import Miniature, Shelf
    from tests.support.volume import Volume

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
STATUS_KEYS = [
    "schema_version", "provisioner_version", "run_id", "host", "state", "phase", "started_at", "updated_at", "finished_at",
    "volume", "datasets", "dataset_repo", "error",
]  # fmt: skip
DATASET_KEYS = [
    "state", "reason", "path", "layout", "source", "verified_against", "license", "bytes_done", "bytes_total", "files",
    "published_at", "error",
]  # fmt: skip


def sourced(path: Path) -> dict[str, str]:
    """Return the variables that a POSIX shell gets from a file."""
    script = f"set -a; . '{path}'; env"
    shell = subprocess.run(["sh", "-c", script], env={}, capture_output=True, text=True, check=True)
    return {name: value for name, _, value in (line.partition("=") for line in shell.stdout.splitlines())}


@pytest.fixture
def pair(shelf: Shelf) -> Shelf:
    """Return a catalog of two data sets, one archive each."""
    shelf.add("alpha", shelf.file("alpha.tar.gz", some_files("alpha")), priority=5)
    shelf.add("beta", shelf.file("beta.tar.gz", some_files("beta")))
    return shelf


# --- the whole collection ------------------------------------------------------------------------------------------------


def test_the_whole_collection(mini_volume: Volume, mini: Miniature, hub: HubServer) -> None:
    """One command makes all eight trees, byte for byte, each with a manifest that sha256sum accepts, and leaves no leftovers."""
    volume, collection = mini_volume, mini.collection
    volume.ready(PHASE="comprehensive")
    assert volume.published == collection.datasets
    assert len(volume.published) == 8
    for dataset in collection.datasets:
        volume.check(dataset, collection.expected(dataset))
        assert not os.readlink(volume.tree(dataset)).startswith("/")
    assert volume.staged() == []
    # The metadata archive of FMA belongs to two data sets and is fetched once; nothing at all is fetched twice.
    assert len(hub.log.entries("*/fma_metadata.zip")) == 1
    bodies = [entry.path for entry in hub.log.entries(origin="cdn")]
    assert sorted(bodies) == sorted(set(bodies))


def test_status_and_records_after_the_whole_collection(mini_volume: Volume, mini: Miniature, hub: HubServer) -> None:
    """The status file has exactly the contract's keys and values; ATTRIBUTION.md and provision.env are there."""
    volume, collection = mini_volume, mini.collection
    volume.ready(PHASE="comprehensive")
    status = volume.status
    assert list(status) == STATUS_KEYS
    assert (status["schema_version"], status["state"], status["phase"], status["error"]) == (1, "ready", "comprehensive", None)
    assert all(TIME.fullmatch(status[name]) for name in ("started_at", "updated_at", "finished_at"))
    assert sorted(status["volume"]) == ["free_bytes", "limit_bytes", "used_bytes"]
    assert sorted(status["datasets"]) == collection.datasets
    for name, record in status["datasets"].items():
        assert list(record) == [*DATASET_KEYS, "index", "index_rows"]
        assert record["index"] == f"index/{name}"
        assert record["index_rows"] == {split: len(rows) for split, rows in expected_rows(name).items()}
        size = collection.tree_size(name)
        assert (record["state"], record["path"], record["error"]) == ("ready", f"datasets/{name}", None)
        assert (record["bytes_done"], record["bytes_total"]) == (size, size)
        assert record["files"] == len(collection.expected(name))
        assert sorted(record["source"]) == ["kind", "pin", "url"]
        assert record["verified_against"] == ("listing" if name == "urmp" else "catalog")
        assert TIME.fullmatch(record["published_at"])
    indexes = sum(path.stat().st_size for path in files_under(volume.root / "index"))
    assert status["volume"]["used_bytes"] == sum(map(collection.tree_size, collection.datasets)) + indexes
    assert status["dataset_repo"] == {
        "state": "ready",
        "repo_id": "ann/trackio-experiments",
        "url": f"{hub.endpoint}/datasets/ann/trackio-experiments",
        "created": True,
        "error": None,
    }
    given = sourced(volume.root / "provision.env")
    assert given["DATASETS_DIR"] == str(volume.root / "datasets")
    assert (given["TRACKIO_DATASET_REPO"], given["TRACKIO_DATASET_ID"]) == ("ann/trackio-experiments",) * 2
    attribution = (volume.root / "ATTRIBUTION.md").read_text("utf-8")
    assert all(f"datasets/{name}" in attribution for name in collection.datasets)


def test_a_second_run_asks_nobody_and_writes_nothing(mini_volume: Volume, hub: HubServer) -> None:
    """When all data are there, no request is made, not for the repository either, and no inode of the volume changes."""
    mini_volume.ready()
    hub.log.clear()
    before = mini_volume.snapshot()
    outcome = mini_volume.ready()
    assert hub.log.entries() == ()
    assert mini_volume.snapshot() == before
    assert "Nothing to do" in outcome.err


def test_a_second_run_loads_no_client(mini_volume: Volume) -> None:
    """When all data are there, a start imports no HTTP client, no TLS and no progress bars, and so it is quick."""
    mini_volume.ready(PHASE="comprehensive")
    outcome = mini_volume.ready(PHASE="comprehensive", PYTHONPROFILEIMPORTTIME="1")
    imported = {line.rpartition("|")[2].strip() for line in outcome.err.splitlines() if line.startswith("import time:")}
    assert "provisioner.engine.run" in imported
    assert not imported & {"huggingface_hub", "httpx2", "urllib3", "ssl", "http.client", "tqdm"}


@pytest.mark.parametrize("change", ["token", "name", "owner"])
def test_the_repository_is_asked_for_again_when_the_question_changed(mini_volume: Volume, hub: HubServer, change: str) -> None:
    """With another token, name or owner the Hub is asked for the repository again; no data are requested."""
    other = f"hf_{'z' * 30}"
    hub.hub.add_token(other, "ann")
    hub.hub.add_user("ann", orgs={"lab": "write"})
    mini_volume.ready(DATASETS="lakh_midi")
    hub.log.clear()
    changes = {"token": {"HF_TOKEN": other}, "name": {"DATASET_REPO": "runs"}, "owner": {"DATASET_REPO_ORG": "lab"}}[change]
    mini_volume.ready(DATASETS="lakh_midi", **changes)
    asked = [entry.path for entry in hub.log.entries()]
    assert "/api/whoami-v2" in asked
    assert all(path.startswith("/api/") and "tree" not in path for path in asked)
    hub.log.clear()
    mini_volume.ready(DATASETS="lakh_midi", **changes)
    assert hub.log.entries() == ()


# --- what is missing is made again, and nothing else -----------------------------------------------------------------------


@pytest.mark.usefixtures("pair")
def test_a_deleted_tree_is_fetched_again(volume: Volume, hub: HubServer) -> None:
    """A data set whose tree is gone is fetched again despite its receipt, and only that one is."""
    volume.ready()
    shutil.rmtree(volume.tree("alpha").resolve())
    untouched = volume.snapshot(volume.tree("beta").resolve())
    hub.log.clear()
    volume.ready()
    assert [entry.path for entry in hub.log.entries()] == ["/files.example.org/alpha.tar.gz"]
    volume.check("alpha", some_files("alpha"))
    assert volume.snapshot(volume.tree("beta").resolve()) == untouched


@pytest.mark.usefixtures("pair")
@pytest.mark.parametrize("damage", ["deleted", "dangling"])
def test_a_lost_link_is_made_again(volume: Volume, hub: HubServer, damage: str) -> None:
    """A published link that is gone or leads to an unknown version is created again, without a request."""
    volume.ready()
    link = volume.tree("alpha")
    target = os.readlink(link)
    link.unlink()
    if damage == "dangling":
        link.symlink_to(str(Path(target).with_name("0" * 16)))
    hub.log.clear()
    volume.ready()
    assert os.readlink(link) == target
    assert hub.log.entries() == ()
    volume.check("alpha", some_files("alpha"))


@pytest.mark.usefixtures("pair")
def test_a_tree_without_its_receipt_is_adopted(volume: Volume, hub: HubServer) -> None:
    """A tree with a manifest and no receipt is hashed and published again; nothing is fetched."""
    volume.ready()
    (receipt,) = volume.receipts("alpha")
    original = json.loads(receipt.read_bytes())
    receipt.unlink()
    hub.log.clear()
    volume.ready()
    assert hub.log.entries() == ()
    assert json.loads(receipt.read_bytes()) == original
    volume.check("alpha", some_files("alpha"))


@pytest.mark.usefixtures("pair")
def test_a_wrong_tree_without_its_receipt_is_made_anew(volume: Volume, hub: HubServer) -> None:
    """A tree without a receipt in which one bit is flipped is not adopted: the data set is fetched."""
    volume.ready()
    (receipt,) = volume.receipts("alpha")
    receipt.unlink()
    victim = volume.tree("alpha") / "alpha" / "data" / "noise.bin"
    content = bytearray(victim.read_bytes())
    content[100] ^= 1
    victim.write_bytes(content)
    hub.log.clear()
    volume.ready()
    assert [entry.path for entry in hub.log.entries()] == ["/files.example.org/alpha.tar.gz"]
    volume.check("alpha", some_files("alpha"))


def damage_receipt(volume: Volume) -> Path:
    """Return the path of a receipt."""
    return volume.receipts("alpha")[0]


@pytest.mark.usefixtures("pair")
@pytest.mark.parametrize(
    "victim",
    [damage_receipt, lambda volume: volume.root / "dataset_status.json", lambda volume: volume.private / "repository.json"],
    ids=["receipt", "status", "repository"],
)
def test_damaged_records_are_survived(volume: Volume, hub: HubServer, victim: Callable[[Volume], Path]) -> None:
    """A record that cannot be read counts as missing: it is written again, and no data are fetched for it."""
    volume.settings["HF_TOKEN"] = TOKEN
    volume.ready()
    path = victim(volume)
    hub.log.clear()
    for content in (b"", b'{"schema_version": 1, "datasets": []}', b"[" * 5000):
        path.write_bytes(content)
        volume.ready()
        assert len(json.loads(path.read_bytes())) > 5
        assert volume.status["state"] == "ready"
    assert not hub.log.entries(origin="cdn")
    volume.check("alpha", some_files("alpha"))


# --- selections and versions -----------------------------------------------------------------------------------------------


def test_a_split_first_then_all_of_it(mini_volume: Volume, mini: Miniature, hub: HubServer) -> None:
    """When the whole data set follows one of its splits, the split's archive is not requested again."""
    volume = mini_volume
    volume.ready(DATASETS="nsynth:test")
    volume.check("nsynth", mini.collection.expected("nsynth", "test"))
    assert [entry.path.rpartition("/")[2] for entry in hub.log.entries(origin="cdn")] == ["nsynth-test.jsonwav.tar.gz"]
    hub.log.clear()
    volume.ready(DATASETS="nsynth")
    volume.check("nsynth", mini.collection.expected("nsynth"))
    fetched = {entry.path.rpartition("/")[2] for entry in hub.log.entries(origin="cdn")}
    assert fetched == {"nsynth-train.jsonwav.tar.gz", "nsynth-valid.jsonwav.tar.gz"}
    assert len(volume.receipts("nsynth")) == 2


def test_a_changed_recipe_is_a_new_version_and_going_back_is_a_link(pair: Shelf, volume: Volume, hub: HubServer) -> None:
    """Another digest makes a new tree beside the old one; going back to the old recipe needs no request and no new tree."""
    volume.ready()
    first = volume.version("alpha")
    old = json.loads(json.dumps(pair.document["datasets"]["alpha"]["sources"]))
    entry = pair.file("alpha-2.tar.gz", some_files("other"))
    pair.document["datasets"]["alpha"]["sources"] = [{"kind": "url", "files": [entry]}]
    pair.write()
    volume.ready()
    second = volume.version("alpha")
    assert second != first
    volume.check("alpha", some_files("other"))
    assert (volume.private / "store" / "alpha" / first).is_dir()
    trees = volume.snapshot(volume.private / "store")
    pair.document["datasets"]["alpha"]["sources"] = old
    pair.write()
    hub.log.clear()
    volume.ready()
    assert volume.version("alpha") == first
    assert hub.log.entries() == ()
    assert volume.snapshot(volume.private / "store") == trees
    volume.check("alpha", some_files("alpha"))


def test_a_moved_url_or_another_text_is_the_same_version(pair: Shelf, volume: Volume, hub: HubServer) -> None:
    """A change of URLs, mirrors or texts makes no new version and needs no request."""
    volume.ready()
    entry = pair.document["datasets"]["alpha"]["sources"][0]["files"][0]
    entry |= {"url": "https://elsewhere.example.org/alpha.tar.gz", "mirrors": ["https://third.example.org/alpha.tar.gz"]}
    pair.document["datasets"]["alpha"]["description"] = "another text"
    pair.write()
    hub.log.clear()
    volume.ready()
    assert hub.log.entries() == ()


@pytest.mark.usefixtures("pair")
def test_a_data_set_of_another_phase_stays_and_is_reported(volume: Volume) -> None:
    """A data set that this run was not asked for is neither removed nor hidden, and the status names it."""
    volume.ready()
    volume.ready(DATASETS="beta")
    volume.check("alpha", some_files("alpha"))
    record = volume.status["datasets"]["alpha"]
    assert (record["state"], record["reason"], record["path"]) == ("skipped", "not_in_phase", "datasets/alpha")


# --- bytes that are here already -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("pair")
@pytest.mark.parametrize("folder", ["", "old-tool"])
def test_an_archive_beside_the_data_sets_is_used(volume: Volume, hub: HubServer, folder: str) -> None:
    """An archive that an older tool left on the volume is used by its digest, not fetched, and stays where it is."""
    place = volume.root / folder
    place.mkdir(parents=True)
    archive = place / "alpha.tar.gz"
    archive.write_bytes(gzip_bytes(pack_tar(some_files("alpha"))))
    volume.ready()
    assert [entry.path for entry in hub.log.entries()] == ["/files.example.org/beta.tar.gz"]
    volume.check("alpha", some_files("alpha"))
    assert archive.is_file()


@pytest.mark.usefixtures("pair")
def test_a_wrong_archive_beside_the_data_sets_is_not_used(volume: Volume, hub: HubServer) -> None:
    """An archive that has the right name and other bytes is not used."""
    volume.root.mkdir()
    content = bytearray(gzip_bytes(pack_tar(some_files("alpha"))))
    content[-20] ^= 1
    (volume.root / "alpha.tar.gz").write_bytes(content)
    volume.ready()
    assert len(hub.log.entries("*/alpha.tar.gz")) == 1
    volume.check("alpha", some_files("alpha"))


@pytest.mark.parametrize(("use", "requests"), [("true", 0), ("false", 1)])
def test_the_hub_clients_cache_is_used(shelf: Shelf, volume: Volume, hub: HubServer, use: str, requests: int) -> None:
    """A blob in the Hub client's cache is used by its digest, unless USE_HF_CACHE=false."""
    content = noise("cached", 3000)
    hub.hub.add_repo("ann/songs", {"songs/a.wav": content})
    shelf.add("songs", sources=[{"kind": "hub", "repo": "ann/songs", "include": ["*.wav"]}])
    cache = Path(volume.settings["HOME"]) / ".cache" / "huggingface" / "hub" / "datasets--ann--songs" / "blobs"
    cache.mkdir(parents=True)
    (cache / hashlib.sha256(content).hexdigest()).write_bytes(content)
    volume.ready(USE_HF_CACHE=use)
    assert len(hub.log.entries("*/a.wav", origin="cdn")) == requests
    volume.check("songs", {"songs/a.wav": content})
    assert volume.status["datasets"]["songs"]["verified_against"] == "listing"


def test_a_git_blob_in_the_hub_clients_cache_is_used(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """A small file in the Hub client's cache is recognized by the hash of its Git blob."""
    stored = StoredFile.of("notes.txt", b"a small file")
    hub.hub.add_repo("ann/songs", {"notes.txt": b"a small file"})
    shelf.add("songs", sources=[{"kind": "hub", "repo": "ann/songs"}])
    cache = Path(volume.settings["HOME"]) / ".cache" / "huggingface" / "hub" / "datasets--other--name" / "blobs"
    cache.mkdir(parents=True)
    (cache / stored.blob_id).write_bytes(b"a small file")
    volume.ready()
    assert not hub.log.entries("*/resolve/*")
    volume.check("songs", {"notes.txt": b"a small file"})


# --- other ways to stage and publish ---------------------------------------------------------------------------------------


def test_published_as_folders(pair: Shelf, volume: Volume, hub: HubServer) -> None:
    """PUBLISH=dir publishes real directories, for tools that do not follow links; going back to a version fetches nothing."""
    volume.settings["PUBLISH"] = "dir"
    volume.ready()
    assert not volume.tree("alpha").is_symlink()
    volume.check("alpha", some_files("alpha"))
    hub.log.clear()
    before = volume.snapshot()
    volume.ready()
    assert (hub.log.entries(), volume.snapshot()) == ((), before)
    old = json.loads(json.dumps(pair.document["datasets"]["alpha"]["sources"]))
    pair.document["datasets"]["alpha"]["sources"] = [{"kind": "url", "files": [pair.file("alpha-2.tar.gz", some_files("other"))]}]
    pair.write()
    volume.ready()
    volume.check("alpha", some_files("other"))
    pair.document["datasets"]["alpha"]["sources"] = old
    pair.write()
    hub.log.clear()
    volume.ready()
    volume.check("alpha", some_files("alpha"))
    assert hub.log.entries() == ()


@pytest.mark.usefixtures("pair")
@pytest.mark.parametrize(("first", "second"), [("link", "dir"), ("dir", "link")])
def test_the_form_of_publishing_may_change(volume: Volume, hub: HubServer, first: str, second: str) -> None:
    """PUBLISH=dir turns links into directories, which stay when it changes back; nothing is fetched, nor done at the next run."""
    volume.ready(PUBLISH=first)
    hub.log.clear()
    changed = volume.ready(PUBLISH=second)
    volume.check("alpha", some_files("alpha"))
    volume.check("beta", some_files("beta"))
    assert hub.log.entries() == ()
    assert "another run" not in changed.err
    assert not any(volume.tree(name).is_symlink() for name in ("alpha", "beta"))
    assert "Nothing to do" in volume.ready(PUBLISH=second).err


@pytest.mark.usefixtures("pair")
def test_what_is_published_in_the_other_form(volume: Volume) -> None:
    """A run with PUBLISH=dir that is asked for one data set loses none that is there as a link, and reading commands know all."""
    volume.ready()
    volume.ready(PUBLISH="dir", DATASETS="alpha")
    assert volume.status["datasets"]["beta"]["reason"] == "not_in_phase"
    assert all(f"datasets/{name}`" in (volume.root / "ATTRIBUTION.md").read_text("utf-8") for name in ("alpha", "beta"))
    assert [volume.tree(name).is_symlink() for name in ("alpha", "beta")] == [False, True]
    assert volume.ready("outdated", "--json", PUBLISH="dir").json["current"] == 2
    volume.ready("export", str(volume.root.parent / "export"), PUBLISH="dir")


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a directory on a file system of its own."""
    folder = tmp_path / "other-disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.root
def test_staging_on_another_disk(mini_volume: Volume, mini: Miniature, other_disk: Path) -> None:
    """With STAGING_DIR on another file system, trees are copied to the volume and published whole; the directory stays, empty."""
    volume = mini_volume
    volume.ready(STAGING_DIR=str(other_disk))
    for dataset in ("nsynth", "ljspeech", "urmp", "fma_small"):
        volume.check(dataset, mini.collection.expected(dataset))
    assert os.listdir(other_disk) == []
    assert not (volume.private / "staging").exists()


# --- for programs --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("pair")
def test_every_command_speaks_json(volume: Volume) -> None:
    """With --json every command writes exactly one document to standard output; logs go to standard error."""
    plan = volume.ready("plan", "--json").json
    assert [(step["dataset"], step["action"]) for step in plan["steps"]] == [("alpha", "fetch"), ("beta", "fetch")]
    assert not volume.root.exists()
    dry = volume.ready("provision", "--dry-run", "--json").json
    assert [step["action"] for step in dry["steps"]] == ["fetch", "fetch"]
    done = volume.ready("--json").json
    assert (done["state"], done["fetched"]) == ("ready", True)
    assert volume.ready("provision", "--json").json["fetched"] is False
    assert volume.ready("status", "--json").json == volume.status
    listed = volume.ready("list", "--json").json
    assert listed["datasets"]["alpha"]["on_volume"] == volume.version("alpha")
    assert volume.ready("catalog", "check", "--json").json["findings"] == []
    failure = volume.run("--phase", "minimum", "--json")
    assert failure.code == failure.json["exit_code"] == 78
    assert sorted(failure.json["error"]) == ["hint", "message", "reference"]


def test_a_plan_needs_nobody(mini_volume: Volume, hub: HubServer) -> None:
    """`plan` makes no request and writes nothing, not even the volume's directory."""
    outcome = mini_volume.ready("plan", "--phase", "comprehensive")
    assert hub.log.entries() == ()
    assert not mini_volume.root.exists()
    for name in ("nsynth", "ljspeech", "urmp", "fma_small", "libritts", "musicnet", "fma_large", "lakh_midi"):
        assert name in outcome.out


def test_the_real_plan_offline(volume: Volume, hub: HubServer) -> None:
    """The real catalog is planned without a request: eight data sets, estimates are marked, and what fits three volumes."""
    outcome = volume.ready("plan", "--phase", "comprehensive", CATALOG_PATH=None)
    assert hub.log.entries() == ()
    assert "2.75 GB" in outcome.out
    assert "~" in outcome.out
    for size in ("5 GB", "50 GB", "150 GB"):
        assert size in outcome.out
    document = volume.ready("plan", "--phase", "comprehensive", "--json", CATALOG_PATH=None).json
    assert len(document["steps"]) == 8


@pytest.mark.usefixtures("pair")
def test_status_tells_how_it_is(volume: Volume) -> None:
    """`status` shows every data set; with --check its exit code tells whether all is ready; before the first run: none."""
    before = volume.run("status")
    assert (before.code, len(before.errors())) == (66, 1)
    volume.ready()
    assert "alpha" in volume.ready("status", "--check").out
    document: Any = volume.status
    (volume.root / "dataset_status.json").write_text(json.dumps({**document, "state": "failed"}))
    assert volume.run("status", "--check").code == 66
    (volume.root / "dataset_status.json").write_text(json.dumps({**document, "state": "interrupted"}))
    assert volume.run("status", "--check").code == 75
    (volume.root / "dataset_status.json").write_text(json.dumps({**document, "state": [], "datasets": {"x": {"state": {}}}}))
    assert volume.run("status", "--check").code == 66
