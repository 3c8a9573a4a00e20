"""The query of a URL is not recorded: ``repair`` says so, takes the whole reference, and never loses a right file."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from tests.support.media import noise
from tests.support.shelf import some_files

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume

ADDRESS = "https://files.example.org/sounds.tar.gz"
TABLE = "https://files.example.org/table.csv"
CONTENT = noise("table", 3000)


@pytest.fixture
def volume(volume: Volume, hub: HubServer, shelf: Shelf) -> Volume:
    """Return an empty volume for the shipped catalog; an archive and a file can be fetched."""
    shelf.file("sounds.tar.gz", some_files("sounds"))
    hub.add_static(TABLE, CONTENT)
    del volume.settings["CATALOG_PATH"]
    return volume


def damage(volume: Volume, name: str, path: str) -> Path:
    """Change one file of a published tree."""
    broken = volume.tree(name) / path
    broken.chmod(0o644)
    broken.write_bytes(b"wrong")
    return broken


@pytest.mark.parametrize("query", ["token=s3cret", "download=1", "X-Goog-Signature=abc&X-Goog-Credential=c0ffee"])
def test_the_whole_reference_is_asked_for(volume: Volume, hub: HubServer, query: str) -> None:
    """Without the query nothing is fetched, 65, and the tree stays; the whole reference repairs it, whatever its signature."""
    volume.ready("--dataset", f"{ADDRESS}?{query}")
    broken = damage(volume, "sounds", "sounds/README")
    hub.log.clear()
    outcome = volume.run("repair")
    assert outcome.code == 65
    assert "its address had a query" in outcome.err
    assert f"DATASETS='{ADDRESS}?…'" in outcome.err
    assert query not in outcome.err + outcome.out
    assert (hub.log.entries(), broken.read_bytes()) == ((), b"wrong")
    volume.ready("repair", DATASETS=f"{ADDRESS}?{query.replace('abc', 'def')}")
    volume.check("sounds", some_files("sounds"))


def test_a_digest_shows_whether_the_address_is_enough(volume: Volume, hub: HubServer) -> None:
    """With a digest the address alone is tried; if it brings something else, the message is the same."""
    reference = f"{TABLE}?download=1#sha256={hashlib.sha256(CONTENT).hexdigest()}"
    volume.ready("--dataset", reference)
    damage(volume, "table", "table.csv")
    volume.ready("repair")
    volume.check("table", {"table.csv": CONTENT})
    damage(volume, "table", "table.csv")
    hub.add_static(TABLE, b"log in first")
    outcome = volume.run("repair")
    assert outcome.code == 65
    assert "its address had a query" in outcome.err


def test_another_signature_of_the_same_file(volume: Volume, hub: HubServer) -> None:
    """A file without a digest whose URL was signed anew is fetched again, and is not taken for one that is there."""
    volume.ready("--dataset", f"{TABLE}?X-Goog-Signature=abc")
    damage(volume, "table", "table.csv")
    hub.log.clear()
    volume.ready("repair", DATASETS=f"{TABLE}?X-Goog-Signature=def")
    assert [entry.path for entry in hub.log.entries()] == ["/files.example.org/table.csv"]
    volume.check("table", {"table.csv": CONTENT})


WRONG = {
    "lj-speech": "'lj-speech' is not in the catalog",
    "hf://a": "'hf://a': it names no repository",
    "a:b:c": "'a:b:c' is not",
    "maestro": "maestro (",
}


@pytest.mark.parametrize("word", WRONG)
def test_what_the_command_line_names_is_not_called_by_a_variable(volume: Volume, word: str) -> None:
    """A mistake in ``--dataset`` or behind ``info`` names the word alone; one in a variable names that variable."""
    for arguments in (("plan", "--dataset", word), ("info", word)):
        outcome = volume.run(*arguments)
        assert f"] {WRONG[word]}" in outcome.err
        assert "DATASETS" not in outcome.err
    assert f"] STORAGE_URI: {WRONG[word]}" in volume.run("plan", STORAGE_URI=word).err
