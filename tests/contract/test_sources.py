"""One suite for every kind of source: the same bytes arrive, a broken transfer is resumed, and the digest decides."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Never, cast

import pytest

from provisioner.cancellation import Cancellation
from provisioner.catalog.digest import Digest
from provisioner.catalog.hub_source import HubSource
from provisioner.catalog.size import Size
from provisioner.catalog.url_source import UrlFile, UrlSource
from provisioner.errors import DigestMismatchError, InterruptedBySignal, NotFoundError
from provisioner.remote.http.client import HttpClient
from provisioner.remote.hub.client import HubClient
from provisioner.remote.hub.library import HubLibrary
from provisioner.remote.network import Network
from provisioner.remote.sources import Sources
from provisioner.remote.transfers import Transfers
from provisioner.volume.staging.blob import Blob
from tests.support.fake_time import FakeTime
from tests.support.media import noise
from tests.support.program import TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from provisioner.catalog.source import Source
    from tests.support.hub_server import HubServer

FILES = {"songs/a.wav": noise("a", 40_000), "songs/b.wav": noise("b", 20_000), "notes.txt": b"small, in Git itself"}


@dataclass
class Kind:
    """One kind of source that holds the files."""

    source: Source
    sources: Sources
    transfers: Transfers
    stop: Cancellation


@pytest.fixture(autouse=True)
def _the_library_is_put_back() -> Iterator[None]:
    """Give the Hub's library its own HTTP client back: other tests use it."""
    yield
    if HubLibrary._active is not None:
        HubLibrary._active.close()


@pytest.fixture(params=["hub", "http", "file"])
def kind(request: pytest.FixtureRequest, hub: HubServer, tmp_path: Path) -> Kind:
    """Return the same files behind each kind of source."""
    stop = Cancellation()
    retry = FakeTime().retry()
    network = Network(retry, stop)
    client = HubClient(hub.endpoint, TOKEN, network)
    http = HttpClient(network, authorization=lambda _url: client.auth_headers())
    sources, transfers = Sources(lambda: client, lambda: http), Transfers(http)
    if request.param == "hub":
        hub.hub.add_repo("ann/songs", FILES)
        return Kind(HubSource("ann/songs"), sources, transfers, stop)
    files = []
    for path, content in FILES.items():
        if request.param == "http":
            url = hub.add_static(f"https://files.example.org/{path}", content)
        else:
            place = tmp_path / "local" / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
            url = place.as_uri()
        digest = Digest("sha256", hashlib.sha256(content).hexdigest())
        files.append(UrlFile(url, size=Size(len(content)), digest=digest, into=path.rpartition("/")[0]))
    return Kind(UrlSource(tuple(files)), sources, transfers, stop)


def test_the_same_bytes(kind: Kind, tmp_path: Path) -> None:
    """Every file arrives whole at its path, and its SHA-256 is returned, for every kind of source."""
    resolved = kind.sources.resolve(kind.source)
    assert {artifact.path for artifact in resolved.artifacts} == set(FILES)
    for artifact in resolved.artifacts:
        arrived: list[int] = []
        with Blob(tmp_path / "blobs", artifact, check_cancelled=kind.stop.raise_if_requested) as blob:
            sha256 = kind.transfers.fetch(artifact, blob, arrived.append)
            assert blob.path.read_bytes() == FILES[artifact.path]
        assert sha256 == hashlib.sha256(FILES[artifact.path]).hexdigest()
        assert sum(arrived) == len(FILES[artifact.path])


def test_a_beginning_is_gone_on_with(kind: Kind, hub: HubServer, tmp_path: Path) -> None:
    """Bytes that an interrupted run left are not fetched again."""
    artifact = max(kind.sources.resolve(kind.source).artifacts, key=lambda artifact: artifact.size.value if artifact.size else 0)
    content = FILES[artifact.path]
    with Blob(tmp_path / "blobs", artifact, check_cancelled=kind.stop.raise_if_requested) as blob:
        blob.write(content[:30_000])
    hub.log.clear()
    arrived: list[int] = []
    with Blob(tmp_path / "blobs", artifact, check_cancelled=kind.stop.raise_if_requested) as blob:
        kind.transfers.fetch(artifact, blob, arrived.append)
        assert blob.path.read_bytes() == content
    assert sum(arrived) == 10_000
    assert sum(entry.bytes_sent for entry in hub.log.entries(origin="cdn")) in {0, 10_000}


def test_a_wrong_digest(kind: Kind, tmp_path: Path) -> None:
    """Bytes with a wrong digest are dropped, and the count of bytes that arrived is reduced by them."""
    for artifact in kind.sources.resolve(kind.source).artifacts:
        assert artifact.digest is not None
        wrong = replace(artifact, digest=Digest(artifact.digest.algorithm, "0" * len(artifact.digest.hex)))
        arrived: list[int] = []
        with Blob(tmp_path / "blobs", wrong, check_cancelled=kind.stop.raise_if_requested) as blob:
            with pytest.raises(DigestMismatchError, match="the bytes were dropped"):
                kind.transfers.fetch(wrong, blob, arrived.append)
            assert blob.have == 0
        assert sum(arrived) == 0


def test_a_missing_file(kind: Kind, hub: HubServer, tmp_path: Path) -> None:
    """A file that was removed after its source was resolved is not found."""
    resolved = kind.sources.resolve(kind.source)
    hub.hub.repos.pop(("dataset", "ann/songs"), None)
    hub.static_files.clear()
    for path in (tmp_path / "local").rglob("*.*"):
        path.unlink()
    artifact = resolved.artifacts[0]
    with Blob(tmp_path / "blobs", artifact, check_cancelled=kind.stop.raise_if_requested) as blob, pytest.raises(NotFoundError):
        kind.transfers.fetch(artifact, blob, lambda _count: None)


def test_told_to_stop(kind: Kind, tmp_path: Path) -> None:
    """No transfer begins after a request to stop."""
    artifact = kind.sources.resolve(kind.source).artifacts[0]
    kind.stop.request(InterruptedBySignal(15))
    with (
        pytest.raises(InterruptedBySignal),
        Blob(tmp_path / "blobs", artifact, check_cancelled=kind.stop.raise_if_requested) as blob,
    ):
        kind.transfers.fetch(artifact, blob, lambda _count: None)


def test_the_pin(kind: Kind, hub: HubServer) -> None:
    """The pin is the commit or the digests; it stays the same until the source changes."""
    first = kind.sources.resolve(kind.source)
    assert kind.sources.resolve(kind.source).pin == first.pin
    if kind.source.kind == "hub":
        repo = hub.hub.repos["dataset", "ann/songs"]
        assert first.pin == repo.head.commit
        repo.commit({"songs/c.wav": noise("c", 2000)})
        changed: Source = kind.source
    else:
        changed = UrlSource(cast("UrlSource", kind.source).files[:-1])
        assert first.pin.startswith("sha256:")
    assert kind.sources.resolve(changed).pin != first.pin
    assert "@" not in first.url
    assert "?" not in first.url


def test_how_it_was_verified(kind: Kind) -> None:
    """A file with a digest in the catalog is verified against the catalog, any other against the listing."""
    words = {artifact.verified_against for artifact in kind.sources.resolve(kind.source).artifacts}
    assert words == ({"listing"} if kind.source.kind == "hub" else {"catalog"})


@pytest.mark.parametrize("algorithm", ["sha256", "sha1", "md5"])
def test_an_official_digest_beats_the_listing(hub: HubServer, tmp_path: Path, algorithm: str) -> None:
    """A copy by a third party that was changed, its listing included, fails the publisher's digest."""
    stop = Cancellation()
    network = Network(FakeTime().retry(), stop)
    client = HubClient(hub.endpoint, None, network)
    transfers = Transfers(HttpClient(network))
    hub.hub.add_repo("third/copy", {"a.bin": b"changed"})

    def fetch(official: bytes) -> str:
        digest = Digest(algorithm, hashlib.new(algorithm, official, usedforsecurity=False).hexdigest())
        (artifact,) = (
            Sources(lambda: client, lambda: HttpClient(network))
            .resolve(HubSource("third/copy", digests=(("a.bin", digest),)))
            .artifacts
        )
        assert artifact.verified_against == "catalog"
        with Blob(tmp_path, artifact, check_cancelled=stop.raise_if_requested) as blob:
            return transfers.fetch(artifact, blob, lambda _count: None)

    assert fetch(b"changed") == hashlib.sha256(b"changed").hexdigest()
    with pytest.raises(DigestMismatchError):
        fetch(b"original")


def test_direct_urls_are_resolved_without_a_request(hub: HubServer) -> None:
    """A source that the catalog determines is resolved without a request."""

    def nobody() -> Never:
        raise AssertionError("no client is needed")

    begun = time.monotonic()
    Sources(nobody, nobody).resolve(UrlSource((UrlFile(f"{hub.static_url}/a"),)))
    assert time.monotonic() - begun < 1
    assert hub.log.entries() == ()
