"""``info``: what is known of one data set, of the catalog or behind a reference, and what the volume has of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.shelf import some_files

if TYPE_CHECKING:
    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume

CARD = b"---\nlicense: cc-by-4.0\npretty_name: Acme sounds\n---\n"


@pytest.fixture
def filled(shelf: Shelf, volume: Volume, hub: HubServer) -> Volume:
    """Return an empty volume, a catalog of one data set, and a Hub with a repository."""
    shelf.add("songs", shelf.file("songs.tar.gz", some_files("songs")), unpacked_size=10_000)
    hub.hub.add_repo("acme/sounds", {"README.md": CARD, "a.bin": bytes(5000)})
    return volume


def test_of_the_catalog(filled: Volume, hub: HubServer) -> None:
    """Everything that the catalog says is shown within 80 columns, without a request; and what is on the volume."""
    before = filled.ready("info", "songs").out
    assert hub.log.entries() == ()
    for words in ("songs: ", "Phases: minimal", "Licence: ", "Evidence: ", "songs.tar.gz: ", "sha256:", "On the volume: no"):
        assert words in before
    assert max(map(len, before.splitlines())) <= 80 or "sha256:" in max(before.splitlines(), key=len)
    assert filled.published == []
    filled.ready()
    assert "On the volume: datasets/songs, 2 files, " in filled.ready("info", "songs").out
    found = filled.ready("info", "songs", "--json").json
    (source,) = found["sources"]
    assert (found["id"], found["reference"], source["files"][0]["unpack"]) == ("songs", None, "tar.gz")
    assert found["on_volume"]["path"] == "datasets/songs"
    assert found["on_volume"]["verified_against"] == "catalog"


def test_of_a_reference(filled: Volume, hub: HubServer) -> None:
    """Its source is asked for what it is, and nothing is written or fetched."""
    reference = "hf://datasets/acme/sounds"
    text = filled.ready("info", reference).out
    for words in ("Acme sounds", "CC-BY-4.0", "Commercial use: allowed", "Source 1 (hub): acme/sounds@main", "5.05 kB"):
        assert words in text, text
    assert not any("/resolve/" in entry.path and entry.path.endswith("a.bin") for entry in hub.log.entries())
    assert not filled.private.exists()
    assert filled.ready("info", reference, "--json").json["reference"] == reference


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("song", 78, "'songs'"),
        ("hf://datasets/acme/nothing", 77, "Did you mean 'acme/sounds'"),
        ("hf://datasets/acme", 78, "owner and a name"),
        ("file:///nowhere/x.tar", 66, "no such file"),
    ],
)
def test_what_is_not_there(filled: Volume, name: str, code: int, says: str) -> None:
    """A wrong name is an error with its reason, and the nearest one where there is one."""
    outcome = filled.run("info", name)
    assert outcome.code == code
    assert says in outcome.err
