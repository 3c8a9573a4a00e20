"""Storage buckets of the Hub by one line: listed once, each file checked by its Xet hash, and all that holds for repositories."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.media import noise
from tests.support.miniature import gzip_bytes, pack_tar
from tests.support.program import TOKEN
from tests.support.shelf import some_files

if TYPE_CHECKING:
    from tests.support.hub_model import Repo
    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume

BUCKET = "hf://buckets/acme/box"
FILES = {
    "README.md": b"# Not a card\n",
    "audio/a.wav": noise("a", 300_000),
    "audio/b #1.wav": noise("b", 3000),
    "large.bin": noise("large", 1 << 20) * 9,
    "empty": b"",
}


@pytest.fixture
def bucket(volume: Volume, hub: HubServer) -> Repo:
    """Return a bucket; the volume is for the shipped catalog."""
    del volume.settings["CATALOG_PATH"]
    return hub.hub.add_repo("acme/box", FILES, kind="bucket")


@pytest.mark.usefixtures("bucket")
def test_a_bucket_by_one_line(volume: Volume, hub: HubServer) -> None:
    """It is published under its name, listed once, and checked by its hashes; a second start asks nobody and writes nothing."""
    volume.ready("--dataset", BUCKET)
    volume.check("acme/box", FILES)
    assert [entry.path for entry in hub.log.entries("/api/*")] == ["/api/buckets/acme/box", "/api/buckets/acme/box/tree"]
    record = volume.status["datasets"][BUCKET]
    assert (record["state"], record["path"], record["verified_against"]) == ("ready", "datasets/acme/box", "listing")
    assert record["source"]["pin"].startswith("sha256:")
    # The library that computes the hashes keeps no log.
    assert list(volume.root.parent.joinpath("home").iterdir()) == []
    hub.log.clear()
    before = volume.snapshot()
    volume.ready("--dataset", BUCKET)
    assert (hub.log.entries(), volume.snapshot()) == ((), before)


@pytest.mark.parametrize("path", ["audio/a.wav", "audio/b #1.wav", "large.bin"])
@pytest.mark.usefixtures("bucket")
def test_a_wrong_byte_is_found(volume: Volume, hub: HubServer, path: str) -> None:
    """In a file that is held in memory, that comes by one connection, or in ranges: 65, and nothing is published."""
    fault = hub.faults.add("flip", path=f"*{path.rpartition('/')[2].replace('#', '*')}", offset=2000)
    outcome = volume.run("--dataset", f"{BUCKET}#include={path.replace('#', '%23').replace(' ', '%20')}")
    assert fault.fired
    assert (outcome.code, volume.published) == (65, []), outcome.err
    assert "expected xet:" in outcome.err


def test_some_files_beside_a_data_set_of_the_same_name(volume: Volume, hub: HubServer, bucket: Repo) -> None:
    """Globs, a web address and options mean files of the bucket; who comes second has a path of its own, and both stay."""
    hub.hub.add_repo("acme/box", {"data.csv": b"a\n1\n"})
    volume.ready("--dataset", "hf://datasets/acme/box")
    volume.ready("--dataset", f"{hub.endpoint}/buckets/acme/box/tree/audio#exclude=*b*")
    volume.check("buckets/acme/box", {"audio/a.wav": FILES["audio/a.wav"]})
    volume.check("acme/box", {"data.csv": b"a\n1\n"})
    bucket.commit({"audio/a.wav": b"changed"})
    # What was published counts: a bucket that changes changes nothing by itself.
    hub.log.clear()
    volume.ready("--dataset", f"{BUCKET}/audio/#exclude=*b*")
    assert hub.log.entries() == ()
    assert volume.run("outdated", "--check", BUCKET).code == 3
    volume.ready("--dataset", f"{BUCKET}/audio/#exclude=*b*", UPDATE="auto")
    volume.check("buckets/acme/box", {"audio/a.wav": b"changed"})
    assert volume.run("outdated", "--check", BUCKET).code == 0


@pytest.mark.usefixtures("bucket")
def test_repair_fetches_what_is_wrong(volume: Volume, hub: HubServer) -> None:
    """Only the file with a wrong byte is fetched again."""
    volume.ready("--dataset", BUCKET)
    broken = volume.tree("acme/box") / "audio" / "a.wav"
    broken.chmod(0o644)
    broken.write_bytes(b"wrong")
    hub.log.clear()
    volume.ready("repair", BUCKET)
    assert [entry.path for entry in hub.log.entries("*/resolve/*")] == ["/buckets/acme/box/resolve/audio/a.wav"]
    volume.check("acme/box", FILES)


def test_a_catalog_with_a_bucket(volume: Volume, hub: HubServer, shelf: Shelf, bucket: Repo) -> None:
    """A catalog may name a bucket as a source, unpack its archives, and divide it into splits."""
    bucket.commit({"songs.tar.gz": gzip_bytes(pack_tar(some_files("songs")))})
    source = {
        "kind": "bucket",
        "bucket": "acme/box",
        "include": ["*.tar.gz", "*.wav"],
        "unpack": {"*.tar.gz": "tar.gz"},
        "splits": {"*.wav": "audio", "*.tar.gz": "songs"},
    }
    shelf.add("songs", sources=[source])
    settings = {"CATALOG_PATH": str(shelf.path)}
    assert ": 3 files, " in volume.ready("catalog", "check", "--online", **settings).out
    volume.ready("--dataset", "songs:songs", **settings)
    volume.check("songs", some_files("songs"))
    assert volume.status["datasets"]["songs"]["verified_against"] == "listing"
    assert not hub.log.entries("*.wav")


WRONG = {
    "hf://buckets/acme": (78, "it names no bucket"),
    "hf://buckets/acme/box@main/x": (78, "a bucket has no revisions"),
    "hf://buckets/acme/b--x": (78, "is not the name of a bucket"),
    "hf://buckets/acme/other": (77, "the bucket acme/other"),
    f"{BUCKET}/*.mp3": (66, "*.mp3"),
}


@pytest.mark.parametrize("reference", WRONG)
@pytest.mark.usefixtures("bucket")
def test_wrong_ones(volume: Volume, reference: str) -> None:
    """Malformed, not there, or without such files: each has its message and code."""
    code, words = WRONG[reference]
    outcome = volume.run("--dataset", reference)
    assert outcome.code == code, outcome.err
    assert words in outcome.err


def test_a_private_bucket(volume: Volume, hub: HubServer, bucket: Repo) -> None:
    """It is as good as not there without a token; with one it is fetched, and the token goes to the Hub alone."""
    bucket.private = True
    bucket.members = frozenset({"ann"})
    assert volume.run("--dataset", BUCKET).code == 77
    hub.log.clear()
    volume.ready("--dataset", BUCKET, HF_TOKEN=TOKEN, DATASET_REPO="none")
    volume.check("acme/box", FILES)
    assert {entry.authorization for entry in hub.log.entries(origin="cdn")} == {False}
