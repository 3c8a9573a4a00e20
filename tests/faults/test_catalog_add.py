"""``catalog add``: an entry that needs no more work, from a repository or a file, into a catalog that people wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from tests.support.media import noise
from tests.support.shelf import some_files

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume

FILES = {"README.md": b"---\nlicense: cc-by-4.0\npretty_name: 'Acme: \"Sounds\"'\n---\n", "a.csv": b"1\n", "b.txt": b"2\n"}


def test_a_repository_becomes_an_entry(volume: Volume, hub: HubServer, tmp_path: Path) -> None:
    """The entry is pinned to the commit, has size and licence, and a run with the new catalog fetches the data set."""
    repo = hub.hub.add_repo("acme/Sounds.v1", FILES)
    del volume.settings["CATALOG_PATH"]
    file = tmp_path / "new.yaml"
    outcome = volume.ready("catalog", "add", "hf://datasets/acme/Sounds.v1#exclude=*.txt", "--to", str(file))
    assert "added acme_sounds_v1" in outcome.out
    entry = yaml.safe_load(file.read_text("utf-8"))["datasets"]["acme_sounds_v1"]
    size = len(FILES["README.md"]) + len(FILES["a.csv"])
    assert (entry["title"], entry["license"]["spdx"], entry["unpacked_size"]) == ('Acme: "Sounds"', "CC-BY-4.0", size)
    assert entry["sources"] == [
        {"kind": "hub", "repo": "acme/Sounds.v1", "revision": repo.head.commit, "exclude": ["*.txt"], "size": size}
    ]
    assert not volume.root.exists()
    volume.ready("--catalog", str(file))
    volume.check("acme_sounds_v1", {path: FILES[path] for path in ("README.md", "a.csv")})


def test_a_file_is_fetched_once(volume: Volume, shelf: Shelf, tmp_path: Path) -> None:
    """The digest of a file of which nobody states one is learnt from its bytes, which the next run uses."""
    for name, size, requests in (("small.csv", 3000, 1), ("middle.csv", 3 << 20, 0), ("large.csv", 20 << 20, 0)):
        shelf.raw(name, noise(name, size))
        file = tmp_path / f"{name}.yaml"
        volume.ready("catalog", "add", f"https://files.example.org/{name}", "--id", "it", "--to", str(file))
        (entry,) = yaml.safe_load(file.read_text("utf-8"))["datasets"]["it"]["sources"][0]["files"]
        assert entry["digest"].startswith("sha256:")
        assert entry["size"] == size
        shelf.server.log.clear()
        volume.ready("--catalog", str(file))
        # Fetching a small file again costs less than looking for it.
        assert len(shelf.server.log.entries(f"*{name}")) == requests
        volume.check("it", {name: noise(name, size)})
        volume.ready("remove", "it", "--catalog", str(file))


def test_a_catalog_that_people_wrote_keeps_its_comments(volume: Volume, shelf: Shelf, hub: HubServer) -> None:
    """The entry is added to the data sets, everything else stays; an id that is taken is refused, and nothing is written."""
    hub.hub.add_repo("acme/tiny", FILES, kind="model")
    shelf.add("songs", shelf.file("songs.tar.gz", some_files("songs")))
    text = shelf.path.read_text("utf-8").replace("datasets:\n  songs:", "# ours\ndatasets:   # by name\n  songs:", 1)
    shelf.path.write_text(text, "utf-8")
    volume.ready("catalog", "add", "hf://acme/tiny", "--to", str(shelf.path))
    added = shelf.path.read_text("utf-8")
    assert set(text.splitlines()) <= set(added.splitlines())
    assert "2 data sets" in volume.ready("catalog", "check").out
    assert yaml.safe_load(added)["datasets"]["acme_tiny"]["sources"][0]["repo_type"] == "model"
    outcome = volume.run("catalog", "add", "hf://acme/tiny", "--to", str(shelf.path))
    assert (outcome.code, "--id" in outcome.err) == (78, True)
    assert shelf.path.read_text("utf-8") == added


def test_a_catalog_on_top_of_the_shipped_one(volume: Volume, hub: HubServer, tmp_path: Path) -> None:
    """The file of a site may have nothing but phases with data sets of the shipped catalog; a reference is added to it."""
    hub.hub.add_repo("acme/tiny", FILES)
    archive = tmp_path / "local.csv"
    archive.write_bytes(b"1\n")
    site = tmp_path / "site.yaml"
    site.write_text("# ours\nversion: 1\nphases:\n  mine: {datasets: [ljspeech]}", "utf-8")
    volume.settings["CATALOG_PATH"] = f":{site}"
    volume.ready("catalog", "add", "hf://datasets/acme/tiny", f"file://{archive}", "--to", str(site))
    assert site.read_text("utf-8").startswith("# ours\nversion: 1\nphases:\n  mine: {datasets: [ljspeech]}\ndatasets:\n")
    assert list(volume.ready("list", "--json").json["phases"]) == ["minimal", "balanced", "comprehensive", "mine"]
    assert "10 data sets" in volume.ready("catalog", "check").out
    volume.ready(DATASETS="acme_tiny,local")
    volume.check("acme_tiny", FILES)
    volume.check("local", {"local.csv": b"1\n"})
    outcome = volume.run("--phase", "mien", "--dry-run")
    assert (outcome.code, "Did you mean 'mine'? Its phases: minimal, " in outcome.err) == (78, True)


def test_splits_of_a_card(volume: Volume, hub: HubServer, tmp_path: Path) -> None:
    """The parts that a card describes are splits of the entry: one of them is provisioned as ``ID:SPLIT``."""
    card = (
        b"---\nconfigs:\n- config_name: default\n  data_files: [{split: train, path: a.csv}, {split: test, path: b.txt}]\n---\n"
    )
    hub.hub.add_repo("acme/tiny", {**FILES, "README.md": card})
    del volume.settings["CATALOG_PATH"]
    file = tmp_path / "new.yaml"
    volume.ready("catalog", "add", "hf://datasets/acme/tiny", "--id", "tiny", "--to", str(file))
    (source,) = yaml.safe_load(file.read_text("utf-8"))["datasets"]["tiny"]["sources"]
    assert source["splits"] == {"a.csv": "train", "b.txt": "test"}
    volume.ready("--catalog", str(file), "--dataset", "tiny:test")
    volume.check("tiny", {"README.md": card, "b.txt": FILES["b.txt"]})


def test_on_standard_output(volume: Volume, hub: HubServer) -> None:
    """Without a file the entry is shown, to be pasted below ``datasets:``."""
    hub.hub.add_repo("acme/sounds", FILES)
    del volume.settings["CATALOG_PATH"]
    out = volume.ready("catalog", "add", "hf://datasets/acme/sounds").out
    assert list(yaml.safe_load(f"datasets:\n{out}")["datasets"]) == ["acme_sounds"]
    document = volume.ready("catalog", "add", "hf://datasets/acme/sounds", "--json").json
    assert list(document["entries"]) == ["acme_sounds"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((), 64),
        (("hf://datasets/acme/a", "hf://datasets/acme/b", "--id", "x"), 64),
        (("hf://datasets/acme",), 78),
        (("hf://datasets/acme/sounds", "--id", "Not an id"), 78),
        (("hf://datasets/acme/nothing",), 77),
        (("https://files.example.org/a.csv?sig=0123",), 78),
    ],
)
def test_wrong_ones(volume: Volume, shelf: Shelf, arguments: tuple[str, ...], code: int) -> None:
    """What cannot be an entry is refused; a signed URL has no place in a catalog."""
    shelf.server.hub.add_repo("acme/sounds", FILES)
    shelf.raw("a.csv", b"1\n")
    del volume.settings["CATALOG_PATH"]
    outcome = volume.run("catalog", "add", *arguments)
    assert outcome.code == code, outcome.err
    assert "0123" not in outcome.err + outcome.out
