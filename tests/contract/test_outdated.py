"""``outdated``: what sources say now against what receipts recorded, by one request a repository or file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.in_process import ready, run
from tests.support.shelf import some_files

if TYPE_CHECKING:
    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume

NOTES = "https://files.example.org/notes.csv"


def found(volume: Volume, dataset: str, *options: str, code: int = 0) -> dict[str, Any]:
    """Return what ``outdated`` finds of one data set."""
    outcome = run(volume, "outdated", "--json", *options)
    assert outcome.code == code, outcome.err
    (record,) = (one for one in outcome.json["datasets"] if one["dataset"] == dataset)
    return dict(record)


def change_receipt(volume: Volume, dataset: str, **fields: Any) -> None:
    """Replace keys of the receipt of the published version; ``None`` takes one away."""
    path = volume.current_receipt(dataset)
    document = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({name: value for name, value in document.items() if value is not None}))


def test_a_branch_that_moved(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """One request tells whether a branch has moved; a commit is not asked about; ``--check`` exits with 3."""
    repo = hub.hub.add_repo("ann/songs", {"a.txt": b"one", "b.txt": b"two"})
    fixed = hub.hub.add_repo("ann/fixed", {"c.txt": b"three"})
    then = repo.head.commit
    shelf.add("songs", sources=[{"kind": "hub", "repo": "ann/songs"}])
    shelf.add("fixed", sources=[{"kind": "hub", "repo": "ann/fixed", "revision": fixed.head.commit}])
    ready(volume)
    before = volume.snapshot()
    hub.log.clear()
    assert found(volume, "songs", "--check")["state"] == "current"
    assert [each.path for each in hub.log.entries()] == ["/api/datasets/ann/songs/revision/main"]
    now = repo.commit({"a.txt": b"other"}).commit
    fixed.commit({"c.txt": b"other"})
    record = found(volume, "songs")
    assert (record["state"], record["recorded"], record["found"]) == ("outdated", then, now)
    found(volume, "songs", "--check", code=3)
    assert found(volume, "fixed", "--check", "fixed")["state"] == "current"
    text = ready(volume, "outdated").out
    assert f"main has moved to another commit: {then[:12]} then, {now[:12]} now" in " ".join(text.split())
    assert "2 data sets: 1 outdated, 1 current" in text
    assert volume.snapshot() == before


@pytest.mark.parametrize(
    ("now", "state", "why"),
    [
        (b"one\n", "current", "the same"),
        (b"two\n", "outdated", "ETag"),
        (b"three\n", "outdated", "4 bytes then, 6 now"),
    ],
)
def test_a_file_behind_a_url(shelf: Shelf, volume: Volume, now: bytes, state: str, why: str) -> None:
    """What the server said when a file was fetched is in the receipt, and compared by one request for each file."""
    hub = shelf.server
    shelf.raw("notes.csv", b"one\n")
    shelf.add("notes", {"url": NOTES, "digest": "none"})
    ready(volume)
    hub.add_static(NOTES, now)
    hub.log.clear()
    record = found(volume, "notes")
    assert (record["state"], why in record["why"]) == (state, True), record
    assert len(hub.log.entries()) == 1


def test_dates_and_what_is_not_known(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """Without an ETag the date decides; without both, and where nothing was recorded, it is said."""
    entry = shelf.file("songs.tar.gz", some_files("songs"))
    shelf.add("songs", entry)
    ready(volume)
    receipt = json.loads(volume.current_receipt("songs").read_text())
    ((key, state),) = receipt["origins"].items()
    assert (state["etag"][:1], state["modified"], state["size"]) == ('"', "Tue, 14 Nov 2023 22:13:20 GMT", entry["size"])
    for recorded, wanted in (("Tue, 14 Nov 2023 22:13:20 GMT", "current"), ("Mon, 13 Nov 2023 00:00:00 GMT", "outdated")):
        change_receipt(volume, "songs", origins={key: state | {"etag": "", "modified": recorded}})
        assert found(volume, "songs")["state"] == wanted
    change_receipt(volume, "songs", origins=None)
    record = found(volume, "songs", "--check")
    assert (record["state"], "an earlier version of the program" in record["why"]) == ("unknown", True)
    change_receipt(volume, "songs", origins={key: state})
    hub.faults.add("no_validator", path="*/songs.tar.gz")
    record = found(volume, "songs")
    assert (record["state"], "neither ETag nor Last-Modified" in record["why"]) == ("unknown", True)


def test_a_digest_that_the_catalog_states(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """A file whose digest is in the catalog is outdated when its server has another one, and the message says who must act."""
    shelf.add("songs", shelf.file("songs.tar.gz", some_files("songs")))
    ready(volume)
    hub.add_static("https://files.example.org/songs.tar.gz", b"another one")
    record = found(volume, "songs", "--check", code=3)
    assert record["why"].endswith("the catalog states what the old file is, and must be corrected")


def test_sources_that_cannot_be_asked(shelf: Shelf, volume: Volume) -> None:
    """Offline, or when a repository is gone, nothing is known; the reason is said, and the exit code is that of the error."""
    repo = shelf.server.hub.add_repo("ann/songs", {"a.txt": b"one"})
    shelf.add("songs", sources=[{"kind": "hub", "repo": "ann/songs"}])
    ready(volume)
    outcome = run(volume, "outdated", HF_HUB_OFFLINE="1")
    assert (outcome.code, "unknown" in outcome.out) == (75, True)
    del shelf.server.hub.repos["dataset", repo.id]
    assert found(volume, "songs", "--check", code=77)["state"] == "unknown"


def test_what_the_catalog_says_of_a_version(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """Where the catalog describes another version, or none, nobody is asked."""
    shelf.add("songs", shelf.file("songs.tar.gz", some_files("songs")))
    shelf.add("gone", shelf.file("gone.tar.gz", some_files("gone")))
    ready(volume)
    shelf.document["datasets"]["songs"]["sources"][0]["files"][0] |= shelf.file("songs-2.tar.gz", some_files("other"))
    del shelf.document["datasets"]["gone"]
    shelf.document["phases"]["minimal"]["datasets"].remove("gone")
    shelf.write()
    hub.log.clear()
    record = found(volume, "songs", "--check", code=3)
    assert (record["state"], "another version" in record["why"]) == ("outdated", True)
    assert found(volume, "gone")["why"] == "the catalog does not describe it"
    assert hub.log.entries() == ()
    assert run(volume, "outdated", "nobody").code == 66
