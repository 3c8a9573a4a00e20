"""The Hub client's cache: its own calls find what was provisioned, offline and without a copy; nothing else is touched."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.media import noise
from tests.support.program import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.hub_server import HubServer
    from tests.support.volume import Volume

DATA, MODEL = "hf://datasets/acme/sounds", "hf://acme/tiny"
SOUNDS = {
    "README.md": b"---\nlicense: cc-by-4.0\n---\n",
    "data/train/a.csv": b"file,text\na.wav,hello\n",
    "audio/a.wav": noise("a", 300_000),
    "audio/same.wav": noise("a", 300_000),
}
WORDS = {"[UNK]": 0, "hello": 1, "world": 2}
TOKENIZER = {
    "version": "1.0",
    "added_tokens": [],
    "pre_tokenizer": {"type": "Whitespace"},
    "model": {"type": "WordLevel", "vocab": WORDS, "unk_token": "[UNK]"},
}
WEIGHTS = {
    "config.json": b'{"model_type": "bert", "hidden_size": 24, "num_attention_heads": 2}',
    "tokenizer.json": json.dumps(TOKENIZER).encode(),
    "tokenizer_config.json": b'{"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"}',
    "model.safetensors": noise("st", 200_000),
}
PRETRAINED = ["bert", 24, [2, 1]]
"""What the configuration and the tokenizer of the model say: its kind, a size, and two words as numbers."""

CLIENT = """
import json, sys
from huggingface_hub import hf_hub_download, scan_cache_dir, snapshot_download
question, arguments = json.loads(sys.argv[1])

def pretrained(name):
    from transformers import AutoConfig, AutoTokenizer
    config = AutoConfig.from_pretrained(name)
    return [config.model_type, config.hidden_size, AutoTokenizer.from_pretrained(name)("world hello")["input_ids"]]

def scan():
    return [[repo.repo_type, repo.repo_id, repo.size_on_disk, len(repo.revisions)] for repo in scan_cache_dir().repos]

answer = {"pretrained": pretrained, "snapshot": snapshot_download, "file": hf_hub_download, "scan": scan}[question]
print(json.dumps(answer(**arguments)))
"""


@pytest.fixture
def volume(volume: Volume, hub: HubServer) -> Volume:
    """Return an empty volume for the shipped catalog, and a Hub with a data set and a model."""
    hub.hub.add_repo("acme/sounds", SOUNDS)
    hub.hub.add_repo("acme/tiny", WEIGHTS, kind="model")
    del volume.settings["CATALOG_PATH"]
    return volume


def cache_of(volume: Volume) -> Path:
    """Return the cache that an app is told of."""
    lines = (volume.root / "provision.env").read_text("utf-8").splitlines()
    return volume.root.__class__(next(line for line in lines if line.startswith("HF_HUB_CACHE=")).partition("=")[2])


def ask(cache: Path, question: str, under: tuple[str, ...] = (), **arguments: Any) -> Any:
    """Return what the Hub client answers in a process of its own that is offline; ``None``: it raises an error."""
    environ = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    command = [*under, sys.executable, "-c", CLIENT, json.dumps([question, arguments])]
    done = subprocess.run(command, env=environ, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


def check(folder: str | None, volume: Volume, expected: dict[str, bytes]) -> None:
    """Compare a snapshot with what it must be."""
    assert folder is not None
    root = volume.root.__class__(folder)
    found = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert found == expected


def used(root: Path) -> int:
    """Return the bytes that a directory takes, each file once."""
    return sum({facts.st_ino: facts.st_size for path in root.rglob("*") if (facts := path.lstat()) and path.is_file()}.values())


def test_unchanged_calls_find_repositories_offline(volume: Volume) -> None:
    """Offline, downloads answer by branch and by commit, for data sets and models, and ``from_pretrained`` loads a model."""
    volume.ready(DATASETS=f"{DATA},{MODEL}")
    cache = cache_of(volume)
    assert cache == volume.root / ".cache" / "huggingface" / "hub"
    check(ask(cache, "snapshot", repo_id="acme/sounds", repo_type="dataset"), volume, SOUNDS)
    commit = volume.status["datasets"][MODEL]["source"]["pin"]
    check(ask(cache, "snapshot", repo_id="acme/tiny", revision=commit), volume, WEIGHTS)
    file = ask(cache, "file", repo_id="acme/sounds", repo_type="dataset", filename="data/train/a.csv")
    assert volume.root.__class__(file).read_bytes() == SOUNDS["data/train/a.csv"]
    assert ask(cache, "snapshot", repo_id="acme/tiny", revision="v9") is None
    assert ask(cache, "pretrained", name="acme/tiny") == PRETRAINED
    assert ask(cache, "pretrained", name="acme/other") is None
    # The client itself counts each file once, and finds nothing wrong with its cache.
    assert sorted(ask(cache, "scan")) == [
        ["dataset", "acme/sounds", sum(map(len, SOUNDS.values())) - 300_000, 1],
        ["model", "acme/tiny", sum(map(len, WEIGHTS.values())), 1],
    ]


def test_no_byte_is_there_twice(volume: Volume) -> None:
    """With its view in the cache a data set takes the space of one copy."""
    volume.ready("--dataset", DATA, HUB_CACHE="off")
    before = used(volume.root / ".provisioner" / "store")
    volume.ready("--dataset", DATA)
    view = used(volume.root / ".cache")
    both = used(volume.root)
    assert view > 300_000
    # Records and the reference are all that is new.
    assert both - before < 20_000


def test_a_second_start_writes_nothing_and_a_lost_view_is_made_again(volume: Volume, hub: HubServer) -> None:
    """A start with the view in place changes nothing; one that finds it gone makes it without a request."""
    volume.ready("--dataset", DATA)
    before = volume.snapshot()
    volume.ready("--dataset", DATA)
    assert volume.snapshot() == before
    shutil.rmtree(volume.root / ".cache")
    hub.log.clear()
    volume.ready("--dataset", DATA)
    assert hub.log.entries() == ()
    check(ask(cache_of(volume), "snapshot", repo_id="acme/sounds", repo_type="dataset"), volume, SOUNDS)


@pytest.mark.root
def test_read_only_and_as_another_user(volume: Volume, tmp_path: Path) -> None:
    """On a read-only mount at another place, as a user who may write nothing, the client's calls work all the same."""
    volume.ready(DATASETS=f"{DATA},{MODEL}")
    place = tmp_path / "read-only"
    place.mkdir()
    # The interpreter may be where only root may read.
    reads = "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *reads)
    subprocess.run(["mount", "--bind", str(volume.root), str(place)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(place)], check=True)
        cache = place / ".cache" / "huggingface" / "hub"
        check(ask(cache, "snapshot", nobody, repo_id="acme/sounds", repo_type="dataset"), volume, SOUNDS)
        assert ask(cache, "file", nobody, repo_id="acme/tiny", filename="config.json").startswith(str(place))
        assert ask(cache, "pretrained", nobody, name="acme/tiny") == PRETRAINED
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_several_revisions(volume: Volume, hub: HubServer) -> None:
    """Each revision on the volume is in the cache; what versions share is there once, and stays while one needs it."""
    repo = hub.hub.repos["dataset", "acme/sounds"]
    repo.tags["v1"] = repo.head.commit
    changed = {**SOUNDS, "data/train/a.csv": b"new\n"}
    repo.commit({"data/train/a.csv": b"new\n"})
    volume.ready("--dataset", f"{DATA}@v1")
    volume.ready("--dataset", DATA)
    cache = cache_of(volume)
    check(ask(cache, "snapshot", repo_id="acme/sounds", repo_type="dataset", revision="v1"), volume, SOUNDS)
    check(ask(cache, "snapshot", repo_id="acme/sounds", repo_type="dataset"), volume, changed)
    volume.ready("gc")
    assert ask(cache, "snapshot", repo_id="acme/sounds", repo_type="dataset", revision="v1") is None
    check(ask(cache, "snapshot", repo_id="acme/sounds", repo_type="dataset"), volume, changed)
    blobs = cache / "datasets--acme--sounds" / "blobs"
    assert len(list(blobs.iterdir())) == len(set(changed.values()))


def test_parts_of_one_commit(volume: Volume) -> None:
    """Two versions with other files of one commit complete each other; removing one leaves the other whole."""
    volume.ready("--dataset", f"{DATA}/audio/")
    volume.ready("--dataset", f"{DATA}#exclude=*.csv")
    cache = cache_of(volume)
    volume.ready("gc")
    expected = {path: content for path, content in SOUNDS.items() if not path.endswith(".csv")}
    check(ask(cache, "snapshot", repo_id="acme/sounds", repo_type="dataset"), volume, expected)


def test_removed_with_the_data_set_and_the_rest_is_untouched(volume: Volume) -> None:
    """``remove`` takes the view away and leaves what came from elsewhere, also in the same repository's directory."""
    elsewhere = volume.root / ".cache" / "huggingface" / "hub"
    mine = elsewhere / "datasets--acme--sounds"
    other = "f" * 40
    for place in (mine / "blobs", mine / "snapshots" / other, mine / "refs", elsewhere / "models--x--y" / "blobs"):
        place.mkdir(parents=True)
    (mine / "blobs" / "abc").write_bytes(b"mine")
    (mine / "snapshots" / other / "x.txt").symlink_to("../../blobs/abc")
    (mine / "refs" / "main").write_text(other)
    (elsewhere / "models--x--y" / "blobs" / "z").write_bytes(b"z")
    before = volume.snapshot(elsewhere)
    volume.ready("--dataset", DATA)
    commit = volume.status["datasets"][DATA]["source"]["pin"]
    check(ask(elsewhere, "snapshot", repo_id="acme/sounds", repo_type="dataset", revision=commit), volume, SOUNDS)
    assert (mine / "refs" / "main").read_text() == other
    volume.ready("remove", DATA)
    after = volume.snapshot(elsewhere)
    assert set(after) == set(before)
    files = [path for path in before if volume.root.__class__(path).is_file()]
    assert {path: after[path] for path in files} == {path: before[path] for path in files}


def test_what_the_client_links_for_itself_stays(volume: Volume) -> None:
    """A revision that the client completed with our blobs is its own afterwards: its bytes outlive our data set."""
    volume.ready("--dataset", DATA)
    cache = cache_of(volume) / "datasets--acme--sounds"
    (ours,) = (cache / "snapshots").iterdir()
    (cache / "snapshots" / ("e" * 40)).mkdir()
    (cache / "snapshots" / ("e" * 40) / "README.md").symlink_to(os.readlink(ours / "README.md"))
    volume.ready("remove", DATA)
    assert (cache / "snapshots" / ("e" * 40) / "README.md").read_bytes() == SOUNDS["README.md"]
    assert [path.name for path in (cache / "snapshots").iterdir()] == ["e" * 40]
    assert len(list((cache / "blobs").iterdir())) == 1


def test_repaired_bytes_are_those_of_the_cache(volume: Volume) -> None:
    """After ``repair`` the cache has the right bytes too, although it shared the file that was wrong."""
    volume.ready("--dataset", DATA)
    broken = volume.tree("acme/sounds") / "audio" / "a.wav"
    broken.chmod(0o644)
    with broken.open("r+b") as stream:
        stream.write(b"wrong")
    volume.ready("repair")
    check(ask(cache_of(volume), "snapshot", repo_id="acme/sounds", repo_type="dataset"), volume, SOUNDS)


def test_a_lost_tree(volume: Volume) -> None:
    """After its tree was lost and made again a data set takes the space of one copy, and nothing of it outlives ``remove``."""
    volume.ready("--dataset", DATA)
    shutil.rmtree(volume.records("store", "acme/sounds"))
    volume.ready("--dataset", DATA)
    cache = cache_of(volume)
    check(ask(cache, "snapshot", repo_id="acme/sounds", repo_type="dataset"), volume, SOUNDS)
    for path, blob in ((path, path.resolve()) for path in (cache / "datasets--acme--sounds" / "snapshots").rglob("*")):
        assert path.is_dir() or blob.stat().st_nlink == 2
    volume.ready("remove", DATA)
    assert list(cache.iterdir()) == []


def test_the_client_verifies_what_it_finds(volume: Volume, hub: HubServer) -> None:
    """The client's own check of a cached snapshot against the Hub finds every file, and nothing wrong."""
    volume.ready("--dataset", DATA)
    script = (
        "import json, sys; from huggingface_hub import HfApi; found = HfApi().verify_repo_checksums("
        "'acme/sounds', repo_type='dataset', cache_dir=sys.argv[1]);"
        "print(json.dumps([found.checked_count, found.mismatches, list(found.missing_paths), list(found.extra_paths)]))"
    )
    environ = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "HF_ENDPOINT": hub.endpoint}
    command = [sys.executable, "-c", script, str(cache_of(volume))]
    done = subprocess.run(command, env=environ, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [len(SOUNDS), [], [], []]


def test_switched_off(volume: Volume) -> None:
    """``HUB_CACHE=off`` makes no view, and takes one away that is there."""
    volume.ready("--dataset", DATA)
    assert (volume.root / ".cache").is_dir()
    volume.ready("--dataset", DATA, HUB_CACHE="off")
    assert list((volume.root / ".cache" / "huggingface" / "hub").iterdir()) == []
    assert "HF_HUB_CACHE" not in (volume.root / "provision.env").read_text("utf-8")


def test_a_cache_that_the_user_set(volume: Volume, tmp_path: Path) -> None:
    """``HF_HOME`` and ``HF_HUB_CACHE`` say where the view is; what is set is told the app as it is."""
    home = tmp_path / "hf"
    volume.ready("--dataset", DATA, HF_HOME=str(home))
    check(ask(home / "hub", "snapshot", repo_id="acme/sounds", repo_type="dataset"), volume, SOUNDS)
    assert not (volume.root / ".cache").exists()
    volume.ready("--dataset", DATA, HF_HUB_CACHE=str(tmp_path / "other"))
    check(ask(tmp_path / "other", "snapshot", repo_id="acme/sounds", repo_type="dataset"), volume, SOUNDS)
    assert list((home / "hub").iterdir()) == []
    assert cache_of(volume) == tmp_path / "other"


def test_a_cache_on_another_file_system(volume: Volume) -> None:
    """Where no links are possible the view is left out, which is said once; the data are there all the same."""
    elsewhere = volume.root.__class__("/dev/shm") / f"hub-{os.getpid()}"  # noqa: S108 - another file system
    if not os.access("/dev/shm", os.W_OK) or os.stat("/dev/shm").st_dev == os.stat(volume.root.parent).st_dev:  # noqa: S108, PTH116
        pytest.skip("no other file system")
    try:
        outcome = volume.ready("--dataset", DATA, HF_HUB_CACHE=str(elsewhere))
        assert "not shown in the Hub client's cache" in outcome.err
        volume.check("acme/sounds", SOUNDS)
        assert not (elsewhere / "datasets--acme--sounds").exists()
        before = volume.snapshot()
        assert "not shown" not in volume.ready("--dataset", DATA, HF_HUB_CACHE=str(elsewhere)).err
        assert volume.snapshot() == before
    finally:
        shutil.rmtree(elsewhere, ignore_errors=True)


def test_on_an_object_store(volume: Volume) -> None:
    """On a bucket, whose links do not last, the view is left out, and said so."""
    bucket = {"VOLUME_KIND": "object", "LOCK": "external"}
    outcome = volume.ready("--dataset", DATA, **bucket)
    assert f"Not shown in the Hub client's cache, since links on an object store's mount do not last: {DATA}" in outcome.err
    assert not (volume.root / ".cache").exists()
    assert "HF_HUB_CACHE" not in (volume.root / "provision.env").read_text("utf-8")
    before = volume.snapshot()
    volume.ready("--dataset", DATA, **bucket)
    assert volume.snapshot() == before


def test_a_directory_of_the_cache_that_leads_elsewhere(volume: Volume, tmp_path: Path) -> None:
    """A link in the place of a repository's directory in the cache is not followed."""
    outside = tmp_path / "outside"
    outside.mkdir()
    hub_dir = volume.root / ".cache" / "huggingface" / "hub"
    hub_dir.mkdir(parents=True)
    (hub_dir / "datasets--acme--sounds").symlink_to(outside)
    assert "not shown in the Hub client's cache" in volume.ready("--dataset", DATA).err
    assert list(outside.iterdir()) == []


def test_published_as_directories(volume: Volume) -> None:
    """``PUBLISH=dir`` moves trees; the view holds, because it has no path to them."""
    volume.ready("--dataset", DATA, PUBLISH="dir")
    assert not volume.tree("acme/sounds").is_symlink()
    check(ask(cache_of(volume), "snapshot", repo_id="acme/sounds", repo_type="dataset"), volume, SOUNDS)
    volume.ready("remove", DATA)
    assert list((volume.root / ".cache" / "huggingface" / "hub").iterdir()) == []
