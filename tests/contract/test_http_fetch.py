"""What the HTTP client promises beside transfers: facts of a file, local files, bandwidth, and what it shows of a URL."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from provisioner.cancellation import Cancellation
from provisioner.errors import AccessDeniedError, NotFoundError, RemoteRefusedError, SizeMismatchError, UpstreamChangedError
from provisioner.redaction import show_url
from provisioner.remote.http.bandwidth import RateLimiter
from provisioner.remote.http.client import HttpClient
from provisioner.remote.http.pool import BarePool
from provisioner.remote.network import Network
from tests.support.fake_time import FakeTime
from tests.support.media import noise

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.hub_server import HubServer

CONTENT = noise("the file", 50_000)


class Memory:
    """A sink in memory."""

    def __init__(self, content: bytes = b"", origin: tuple[str, str] | None = None) -> None:
        """Begin with what is there."""
        self.content = bytearray(content)
        self.origin = origin

    @property
    def have(self) -> int:
        return len(self.content)

    def restart(self) -> None:
        self.content.clear()
        self.origin = None

    def record_origin(self, url: str, validator: str | None) -> None:
        self.origin = (url, validator) if validator else None

    def write(self, data: bytes | memoryview, /) -> None:
        self.content += data

    def seal(self) -> str:
        return ""


def client(time: FakeTime | None = None, **settings: object) -> HttpClient:
    """Return a client."""
    network = Network((time or FakeTime()).retry(), Cancellation(), **settings)  # type: ignore[arg-type]
    return HttpClient(network)


@pytest.fixture
def url(hub: HubServer) -> str:
    """Return the file's address."""
    return hub.add_static("https://files.example.org/a file.bin", CONTENT)


def test_a_file(url: str, hub: HubServer) -> None:
    """One request is sent, the bytes arrive as they are, and the validator is recorded for a later run."""
    sink = Memory()
    client().fetch(url, sink, size=len(CONTENT), verifiable=True)
    assert bytes(sink.content) == CONTENT
    assert sink.origin is not None
    assert sink.origin[0] == url
    (entry,) = hub.log.entries()
    assert entry.user_agent.startswith("data-volume-provisioner/")


@pytest.mark.parametrize(("verifiable", "asked"), [(True, "bytes=1000-"), (False, None)])
def test_a_beginning_of_unknown_origin(url: str, hub: HubServer, verifiable: bool, asked: str | None) -> None:
    """It is resumed only if a digest can show later whether it was right."""
    sink = Memory(CONTENT[:1000])
    client().fetch(url, sink, size=len(CONTENT), verifiable=verifiable)
    assert bytes(sink.content) == CONTENT
    assert [entry.range for entry in hub.log.entries()] == [asked]


def test_a_beginning_of_known_origin(url: str, hub: HubServer) -> None:
    """With the server's validator it is resumed even without a digest."""
    first = Memory()
    client().fetch(url, first, size=None, verifiable=False)
    sink = Memory(CONTENT[:1000], first.origin)
    client().fetch(url, sink, size=None, verifiable=False)
    assert bytes(sink.content) == CONTENT
    assert [entry.bytes_sent for entry in hub.log.entries()] == [50_000, 49_000]


def test_an_empty_file(hub: HubServer) -> None:
    """A file of zero bytes is fetched like any other."""
    url = hub.add_static("https://files.example.org/empty", b"")
    sink = Memory()
    client().fetch(url, sink, size=0, verifiable=True)
    assert sink.have == 0


def test_an_address_is_rewritten_before_it_is_asked(url: str, hub: HubServer) -> None:
    """URLs and redirect targets are rewritten; no request is sent to a replaced URL."""
    sink = Memory()
    hub.faults.add("redirect", path="/first", location="https://replaced.invalid/second")
    rewrites = {"https://original.invalid/a": f"{hub.static_url}/first", "https://replaced.invalid/second": url}
    client(rewrite=lambda given: rewrites.get(given, given)).fetch("https://original.invalid/a", sink, size=None, verifiable=True)
    assert bytes(sink.content) == CONTENT
    assert [entry.path for entry in hub.log.entries()] == ["/first", "/files.example.org/a file.bin"]


def test_connections_are_kept(url: str, hub: HubServer) -> None:
    """A second file of the same host is fetched over the same connection."""
    http = client()
    for _ in range(3):
        http.fetch(url, Memory(), size=len(CONTENT), verifiable=True)
    (pool,) = http._requester._connections._bare.values()
    assert isinstance(pool, BarePool)
    assert len(pool._idle) == 1
    assert len(hub.log.entries()) == 3


# --- facts ---------------------------------------------------------------------------------------------------------------


def test_facts(url: str, hub: HubServer) -> None:
    """Size, ETag and support of ranges are found out with one byte of traffic."""
    facts = client().facts(url)
    assert (facts.url, facts.size, facts.ranges) == (url, len(CONTENT), True)
    assert facts.etag
    assert [(entry.range, entry.bytes_sent) for entry in hub.log.entries()] == [("bytes=0-0", 1)]


def test_facts_of_a_server_without_ranges(url: str, hub: HubServer) -> None:
    """The size is reported, and that ranges are not supported."""
    fault = hub.faults.add("ignore_range", path="*.bin")
    facts = client().facts(url)
    assert (facts.size, facts.ranges, fault.fired) == (len(CONTENT), False, 1)


def test_facts_of_what_is_not_there(hub: HubServer) -> None:
    """A missing file raises the same error as its transfer; temporary errors are retried."""
    with pytest.raises(NotFoundError):
        client().facts(f"{hub.static_url}/nothing")
    url = hub.add_static("https://files.example.org/b", b"12345")
    fault = hub.faults.add("status", path="*/b", status=503, first=2)
    time = FakeTime()
    assert client(time).facts(url).size == 5
    assert (fault.fired, len(time.waits)) == (2, 2)


# --- local files ---------------------------------------------------------------------------------------------------------


def test_a_local_file(tmp_path: Path) -> None:
    """Files of `file:` URLs are resumed where the sink stands, also offline."""
    path = tmp_path / "a file%20.bin"
    path.write_bytes(CONTENT)
    sink = Memory(CONTENT[:1000])
    arrived: list[int] = []
    client(offline=True).fetch(path.as_uri(), sink, size=len(CONTENT), verifiable=True, advance=arrived.append)
    assert bytes(sink.content) == CONTENT
    assert sum(arrived) == 49_000
    assert client().facts(path.as_uri()).size == len(CONTENT)


@pytest.mark.parametrize("digest", [True, False])
def test_a_local_file_that_is_written_to_meanwhile(tmp_path: Path, digest: bool) -> None:
    """Nothing of it is kept, since it may be of two versions."""
    path = tmp_path / "f.bin"
    path.write_bytes(CONTENT)
    os.utime(path, (1, 1))
    sink = Memory()

    def change(_count: int) -> None:
        path.write_bytes(CONTENT[::-1])

    with pytest.raises(UpstreamChangedError):
        client().fetch(path.as_uri(), sink, size=len(CONTENT), verifiable=digest, advance=change)
    assert sink.have == 0


def test_local_files_that_are_wrong(tmp_path: Path) -> None:
    """A missing file, a wrong size and a directory each raise their own error."""
    with pytest.raises(NotFoundError, match="no such file"):
        client().fetch((tmp_path / "nothing").as_uri(), Memory(), size=None, verifiable=True)
    (tmp_path / "short").write_bytes(b"12")
    with pytest.raises(SizeMismatchError, match="expected 5 bytes, it has 2"):
        client().fetch((tmp_path / "short").as_uri(), Memory(), size=5, verifiable=True)
    with pytest.raises((RemoteRefusedError, AccessDeniedError)):
        client().fetch(tmp_path.as_uri(), Memory(), size=None, verifiable=True)
    with pytest.raises(NotFoundError):
        client().facts((tmp_path / "nothing").as_uri())


# --- bandwidth -----------------------------------------------------------------------------------------------------------


def test_the_budget_is_shared() -> None:
    """All transfers together keep the rate: 1000 kB at 100 kB/s take ten seconds."""
    time = FakeTime()
    limiter = RateLimiter(100_000, pause=time.pause, clock=time.clock)
    begun = time.clock()

    def transfer() -> None:
        for _ in range(20):
            limiter.spend(10_000)

    threads = [threading.Thread(target=transfer) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.clock() - begun >= 9.9


def test_small_budgets_are_spent_evenly() -> None:
    """A read takes at most an eighth of a second's budget, and at least 1 KiB."""
    time = FakeTime()
    chunks = [RateLimiter(rate, pause=time.pause, clock=time.clock).chunk for rate in (10, 80_000, 10**9)]
    assert chunks == [1024, 10_000, 1 << 20]


# --- what is shown -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:secret@host.example:8443/a/b?X-Amz-Signature=abc#x", "https://host.example:8443/a/b"),
        ("http://host/?token=secret", "http://host/"),
        ("file:///data/a.bin", "file:///data/a.bin"),
    ],
)
def test_what_is_shown_of_an_address(url: str, shown: str) -> None:
    """A URL in a message has neither credentials nor a query."""
    assert show_url(url) == shown
