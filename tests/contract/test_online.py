"""``catalog check --online``: every claim of a catalog against what servers say."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.support.shelf import some_files

if TYPE_CHECKING:
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume


def findings(volume: Volume) -> tuple[int, list[dict[str, Any]]]:
    """Run the check; give its exit code and what it found."""
    outcome = volume.run("catalog", "check", "--online", "--json")
    return outcome.code, outcome.json["findings"]


def test_a_true_catalog_passes(shelf: Shelf, volume: Volume) -> None:
    """Size, ETag and ranges are asked by one byte each; nothing is written."""
    file = shelf.file("songs.tar.gz", some_files("songs"))
    shelf.add("songs", file)
    code, found = findings(volume)
    assert (code, [finding["error"] for finding in found]) == (0, [None])
    assert f"{file['size']:,} bytes" in found[0]["facts"]
    assert "ranges" in found[0]["facts"]
    assert sum(entry.bytes_sent for entry in shelf.server.log.entries("*songs*")) <= 1
    assert not volume.root.exists()


def test_the_miniature_catalog_is_true_but_for_what_is_not_served(mini_volume: Volume) -> None:
    """Every URL and mirror is there; of the repositories those of other layouts have no miniature, and that is found out."""
    code, found = findings(mini_volume)
    fine = {finding["where"] for finding in found if not finding["error"]}
    wrong = {finding["where"] for finding in found if finding["error"]}
    catalog = yaml.safe_load(Path(mini_volume.settings["CATALOG_PATH"]).read_text("utf-8"))
    sources = [
        (source, dataset.get("layout", "raw")) for dataset in catalog["datasets"].values() for source in dataset["sources"]
    ]
    served = {
        f"{source['repo']}@{source.get('revision', 'main')}"
        for source, layout in sources
        if source["kind"] == "hub" and source.get("layout", "raw") == layout
    }
    urls = {url for source, _ in sources for file in source.get("files", ()) for url in (file["url"], *file.get("mirrors", ()))}
    assert (served | urls) == fine
    assert {
        f"{source['repo']}@{source.get('revision', 'main')}" for source, _ in sources if source["kind"] == "hub"
    } - served == wrong
    assert code == 66


def wrong_size(shelf: Shelf) -> None:
    """Serve another size than the catalog says."""
    shelf.add("songs", {**shelf.file("songs.tar.gz", some_files("songs")), "size": 7})


def dead_link(shelf: Shelf) -> None:
    """Name a file that is not there."""
    shelf.add("songs", {**shelf.file("songs.tar.gz", some_files("songs")), "url": "https://files.example.org/gone.tar.gz"})


def dead_mirror(shelf: Shelf) -> None:
    """Name a mirror that is not there."""
    shelf.add("songs", shelf.file("songs.tar.gz", some_files("songs"), mirrors=["https://files.example.org/gone.tar.gz"]))


def missing_repository(shelf: Shelf) -> None:
    """Name a repository that is not there."""
    shelf.add("songs", sources=[{"kind": "hub", "repo": "ann/gone"}])


def missing_file(shelf: Shelf) -> None:
    """Name a file that the repository does not hold."""
    shelf.server.hub.add_repo("ann/songs", {"a.txt": b"a"})
    shelf.add("songs", sources=[{"kind": "hub", "repo": "ann/songs", "include": ["*.wav"]}])


def other_copy(shelf: Shelf) -> None:
    """Name a repository whose listing says that its copy is not the publisher's file."""
    shelf.server.hub.add_repo("ann/songs", {"songs.tar": b"\0" * 20_000_000})
    digest = f"sha256:{hashlib.sha256(b'the original').hexdigest()}"
    shelf.add("songs", sources=[{"kind": "hub", "repo": "ann/songs", "digests": {"songs.tar": digest}}])


@pytest.mark.parametrize(
    ("prepare", "code", "reference"),
    [
        (wrong_size, 65, "size-mismatch"),
        (dead_link, 66, "not-found"),
        (dead_mirror, 66, "not-found"),
        (missing_repository, 77, "access-denied"),  # what the Hub says to somebody without a token
        (missing_file, 66, "not-found"),
        (other_copy, 65, "digest-mismatch"),
    ],
)
def test_what_is_wrong_is_found(shelf: Shelf, volume: Volume, prepare: Any, code: int, reference: str) -> None:
    """A dead link, a dead mirror, another size or another copy is named, with the exit code of its kind."""
    prepare(shelf)
    answered, found = findings(volume)
    assert code == answered
    assert [reference] == [finding["error"]["reference"] for finding in found if finding["error"]]


def test_one_dead_link_does_not_hide_the_others(shelf: Shelf, volume: Volume) -> None:
    """Everything is asked, whatever failed before."""
    dead_link(shelf)
    shelf.add("more", shelf.file("more.tar.gz", some_files("more")))
    _, found = findings(volume)
    assert [bool(finding["error"]) for finding in found] == [True, False]


def test_a_server_without_ranges_is_worth_a_word(shelf: Shelf, volume: Volume) -> None:
    """It is no mistake of the catalog, and a kill costs the whole file."""
    shelf.add("songs", shelf.file("songs.tar.gz", some_files("songs")))
    rule = shelf.server.faults.add("ignore_range", path="*songs*")
    code, found = findings(volume)
    assert rule.fired
    assert code == 0
    assert "starts from zero" in found[0]["warning"]


def test_offline_the_catalog_is_only_read(shelf: Shelf, volume: Volume) -> None:
    """Without ``--online`` no request is made."""
    shelf.add("songs", shelf.file("songs.tar.gz", some_files("songs")))
    assert "well formed, 1 data set\n" in volume.ready("catalog", "check").out
    assert shelf.server.log.entries() == ()
