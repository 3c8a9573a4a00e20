"""``catalog pin`` and ``PINS``: what sources were, in a file; nothing else is accepted."""

from __future__ import annotations

import hashlib
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.support.in_process import ready, run
from tests.support.shelf import some_files

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.hub_model import Repo
    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume

FILES = {"a.txt": b"one\n", "b.txt": b"two\n", "clips.bin": bytes(5000)}
CHANGED = FILES | {"a.txt": b"other\n"}
NOTES = "https://files.example.org/notes.csv"


@pytest.fixture
def repo(shelf: Shelf) -> Repo:
    """Return a repository of which the catalog has the branch, beside an archive."""
    shelf.add("songs", sources=[{"kind": "hub", "repo": "ann/songs"}])
    shelf.add("drums", shelf.file("drums.tar.gz", some_files("drums")))
    return shelf.server.hub.add_repo("ann/songs", dict(FILES))


@pytest.fixture
def pins(tmp_path: Path) -> str:
    """Return where pins are written."""
    return str(tmp_path / "pins.yaml")


def read(pins: str) -> dict[str, Any]:
    """Return what a file of pins has of each data set."""
    with open(pins) as file:  # noqa: PTH123 - it is an environment's text
        return dict(yaml.safe_load(file)["datasets"])


def change(pins: str, old: str, new: str) -> None:
    """Replace a text in the file."""
    with open(pins) as file:  # noqa: PTH123
        text = file.read()
    assert old in text
    with open(pins, "w") as file:  # noqa: PTH123
        file.write(text.replace(old, new))


def empty(volume: Volume) -> None:
    """Take everything off the volume."""
    shutil.rmtree(volume.root)


def test_the_file(repo: Repo, shelf: Shelf, volume: Volume, pins: str) -> None:
    """It has commits, sizes and digests, what is published by its manifest, and is the same whenever it is written."""
    ready(volume, "catalog", "pin", "--output", pins)
    unpublished = read(pins)
    ready(volume)
    outcome = ready(volume, "catalog", "pin")
    ready(volume, "catalog", "pin", "--output", pins)
    found = read(pins)
    assert yaml.safe_load(outcome.out)["datasets"] == found
    (source,) = found["songs"]["sources"]
    assert (source["kind"], source["name"], source["pin"]) == ("hub", "ann/songs@main", repo.head.commit)
    assert source["files"]["clips.bin"] == f"5000 sha256:{hashlib.sha256(FILES['clips.bin']).hexdigest()}"
    assert source["files"]["a.txt"].startswith("4 gitsha1:")
    manifest = volume.records("manifests", "songs") / f"{volume.version('songs')}.sha256"
    assert found["songs"]["manifest"] == f"sha256:{hashlib.sha256(manifest.read_bytes()).hexdigest()}"
    digest = shelf.document["datasets"]["drums"]["sources"][0]["files"][0]["digest"]
    assert found["drums"]["sources"][0]["pin"] == digest
    for name, dataset in found.items():
        del dataset["manifest"]
        assert dataset == unpublished[name]


def test_a_branch_that_moved(repo: Repo, volume: Volume, hub: HubServer, pins: str) -> None:
    """An empty volume gets the pinned commit, a filled one that has another commit gets it too, and what is there is linked."""
    ready(volume)
    ready(volume, "catalog", "pin", "--output", pins)
    first = volume.version("songs")
    repo.commit({"a.txt": b"other\n"})
    hub.log.clear()
    before = volume.snapshot()
    assert "Nothing to do" in ready(volume, PINS=pins).err
    assert (hub.log.entries(), volume.snapshot()) == ((), before)
    ready(volume, PINS=pins, UPDATE="auto")
    volume.check("songs", FILES)
    ready(volume, UPDATE="auto")
    volume.check("songs", CHANGED)
    # What is published is pinned as it is; the older pins lead back, without a request.
    plan = ready(volume, "plan", PINS=pins).out
    assert "link" in plan
    hub.log.clear()
    ready(volume, PINS=pins)
    assert (volume.version("songs"), hub.log.entries()) == (first, ())
    volume.check("songs", FILES)
    empty(volume)
    ready(volume, PINS=pins)
    volume.check("songs", FILES)
    assert volume.version("songs") == first


def test_another_commit_is_there(repo: Repo, volume: Volume, hub: HubServer, pins: str) -> None:
    """Where the volume has another state, ``plan`` says so, and the pinned one is built beside it from what both share."""
    ready(volume, "catalog", "pin", "--output", pins)
    then = repo.head.commit
    now = repo.commit({"a.txt": b"other\n"}).commit
    ready(volume)
    plan = " ".join(ready(volume, "plan", PINS=pins).out.split())
    assert f"songs: is not what the pins name: {now} is here, {then} is pinned" in plan
    hub.log.clear()
    ready(volume, PINS=pins)
    assert [each.path for each in hub.log.entries("*/resolve/*")] == [f"/datasets/ann/songs/resolve/{then}/a.txt"]
    volume.check("songs", FILES)
    assert "Nothing to do" in ready(volume, PINS=pins).err
    assert "Nothing to do" in ready(volume).err


@pytest.mark.parametrize(
    ("old", "new", "code", "says"),
    [
        ("4 gitsha1:", "5 gitsha1:", 65, "as 4 gitsha1:"),
        ("a.txt: 4", "c.txt: 4", 65, "which the pins do not name"),
        ("manifest: sha256:", "manifest: sha256:0", 65, "songs: its manifest is sha256:"),
        ('name: "ann/songs@main"', "name: ann/others", 65, "the catalog names ann/songs@main, and"),
        ("\n  songs:", "\n  other:", 78, "songs has no pin in"),
        ("version: 1", "version: 2", 78, "version 2 of the format is not known"),
        ("count: 3", "count: -1", 78, "pins.yaml:"),
        ("a.txt: 4 ", "a.txt: four ", 78, "is no size and digest"),
    ],
)
@pytest.mark.usefixtures("repo")
def test_what_differs(volume: Volume, pins: str, old: str, new: str, code: int, says: str) -> None:  # noqa: PLR0917
    """Another listing, tree or source is refused, both are named, and nothing of it is published; so is what has no pin."""
    ready(volume)
    ready(volume, "catalog", "pin", "--output", pins)
    empty(volume)
    if "sha256:0" in new:
        digest = read(pins)["songs"]["manifest"]
        old, new = digest, f"sha256:{'0' * 64}"
    change(pins, old, new)
    outcome = run(volume, PINS=pins)
    assert (outcome.code, says in outcome.err) == (code, True), outcome.err
    assert "songs" not in volume.published
    if code == 65:
        volume.check("drums", some_files("drums"))


@pytest.mark.usefixtures("repo")
def test_what_the_catalog_states_differs(shelf: Shelf, volume: Volume, pins: str) -> None:
    """A digest in the catalog that is not the pinned one is refused before the first byte, and both are named."""
    ready(volume, "catalog", "pin", "--output", pins)
    old = shelf.document["datasets"]["drums"]["sources"][0]["files"][0]["digest"]
    shelf.document["datasets"]["drums"]["sources"][0]["files"][0] |= shelf.file("drums.tar.gz", some_files("other"))
    new = shelf.document["datasets"]["drums"]["sources"][0]["files"][0]["digest"]
    shelf.write()
    shelf.server.log.clear()
    outcome = run(volume, PINS=pins, DATASETS="drums")
    assert (outcome.code, f"the catalog states {new} for drums.tar.gz" in outcome.err, old in outcome.err) == (65, True, True)
    assert shelf.server.log.entries() == ()


def test_a_file_without_a_digest(shelf: Shelf, volume: Volume, hub: HubServer, pins: str) -> None:
    """Once it was published, its digest is pinned; before, there is nothing that could be held, which is said."""
    shelf.raw("notes.csv", b"one\n")
    shelf.add("notes", {"url": NOTES, "digest": "none"})
    ready(volume, "catalog", "pin", "--output", pins)
    outcome = run(volume, PINS=pins)
    assert (outcome.code, "nobody states a digest" in outcome.err) == (78, True)
    ready(volume)
    ready(volume, "catalog", "pin", "--output", pins)
    assert read(pins)["notes"]["sources"][0]["files"]["notes.csv"].endswith(hashlib.sha256(b"one\n").hexdigest())
    assert "Nothing to do" in ready(volume, PINS=pins).err
    empty(volume)
    ready(volume, PINS=pins)
    volume.check("notes", {"notes.csv": b"one\n"})
    empty(volume)
    hub.add_static(NOTES, b"two\n")
    outcome = run(volume, PINS=pins)
    assert outcome.code == 65, outcome.err
    assert volume.published == []


@pytest.mark.parametrize("published", [False, True])
def test_a_split(shelf: Shelf, volume: Volume, hub: HubServer, pins: str, published: bool) -> None:
    """Pins hold for the splits of a data set too, whether the whole was published when they were written, or not."""
    files = [shelf.file(f"{split}.tar.gz", some_files(split), split=split) for split in ("train", "test")]
    shelf.add("songs", *files)
    hub.hub.add_repo("ann/texts", {"train/a.txt": b"one", "test/b.txt": b"two"})
    shelf.add("texts", sources=[{"kind": "hub", "repo": "ann/texts", "splits": {"train/*": "train", "test/*": "test"}}])
    if published:
        ready(volume)
    ready(volume, "catalog", "pin", "--output", pins)
    empty(volume) if published else None
    settings = {"PINS": pins, "DATASETS": "songs:test,texts:test"}
    ready(volume, **settings)
    volume.check("songs", some_files("test"))
    volume.check("texts", {"test/b.txt": b"two"})
    hub.log.clear()
    assert "Nothing to do" in ready(volume, **settings).err
    assert hub.log.entries() == ()
    change(pins, files[1]["digest"], f"sha256:{'0' * 64}")
    assert run(volume, "plan", **settings).code == 65


def test_a_reference(repo: Repo, volume: Volume, pins: str) -> None:
    """A reference is pinned by its text, and is had at its commit, described as it was then."""
    volume.settings["DATASETS"] = "hf://datasets/ann/songs"
    ready(volume)
    ready(volume, "catalog", "pin", "hf://datasets/ann/songs", "--output", pins)
    assert list(read(pins)) == ["hf://datasets/ann/songs"]
    repo.commit({"a.txt": b"much more than before\n"})
    empty(volume)
    ready(volume, PINS=pins)
    volume.check("ann/songs", FILES)
    assert run(volume, PINS=pins, DATASETS="drums").code == 78


def test_pinning_one_more(repo: Repo, volume: Volume, pins: str) -> None:
    """What a message says pins the data set that had no pin, a reference too, and no other pin is lost."""
    ready(volume, "catalog", "pin", "songs", "--output", pins)
    first = read(pins)["songs"]
    for name in ("drums", "hf://datasets/ann/songs"):
        outcome = run(volume, PINS=pins, DATASETS=name)
        assert outcome.code == 78
        assert f"catalog pin {name} --output {pins}" in outcome.err
        ready(volume, "catalog", "pin", name, "--output", pins)
        ready(volume, PINS=pins, DATASETS=name)
    assert set(read(pins)) == {"drums", "songs", "hf://datasets/ann/songs"}
    assert read(pins)["songs"] == first
    repo.commit({"a.txt": b"other\n"})
    ready(volume, "catalog", "pin", "songs", "--output", pins)
    assert read(pins)["songs"] != first
    ready(volume, "catalog", "pin", "--output", pins)
    assert set(read(pins)) == {"drums", "songs", "hf://datasets/ann/songs"}  # all of the catalog, and what is on the volume


def test_names_that_yaml_could_misread(shelf: Shelf, volume: Volume, pins: str) -> None:
    """Whatever files are called, they are the same when the pins are read."""
    names = ["yes", "1e3", "ab: c", "#x", "'", '"', "- x", "{a}", "ä/ö.txt", " x ", "0x1f", "~", "2026-01-01"]
    shelf.server.hub.add_repo("ann/odd", {name: name.encode() for name in names})
    shelf.add("odd", sources=[{"kind": "hub", "repo": "ann/odd"}])
    ready(volume, "catalog", "pin", "--output", pins)
    ready(volume, PINS=pins)
    volume.check("odd", {name: name.encode() for name in names})
