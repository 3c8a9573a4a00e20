"""Servers that misbehave during a transfer: what each fault costs in requests, and whether bytes or an error come out.

Every row fetches one file of 100,000 bytes whose size and digest are known, with the real client into the real staging area.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
import threading
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import pytest
import trustme

from provisioner.cancellation import Cancellation
from provisioner.catalog.artifact import Artifact
from provisioner.catalog.digest import Digest
from provisioner.catalog.size import Size
from provisioner.errors import (
    AccessDeniedError,
    DigestMismatchError,
    InterruptedBySignal,
    NotFoundError,
    ProvisionerError,
    RemoteRefusedError,
    RemoteUnavailableError,
    SizeMismatchError,
)
from provisioner.remote.http import connections
from provisioner.remote.http.client import HttpClient
from provisioner.remote.network import Network
from provisioner.remote.proxies import Proxies
from provisioner.remote.retry import Retry, RetryPolicy
from provisioner.remote.transfers import Transfers
from provisioner.volume.staging.blob import Blob
from tests.support.fake_time import FakeTime
from tests.support.hub_server import HubServer
from tests.support.media import noise
from tests.support.program import PATIENCE
from tests.support.proxy import ProxyServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.support.faults import Kind

CONTENT = noise("the file", 100_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
STALL = 0.15
"""Seconds of silence after which the client gives a connection up; 30 in real life."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the time without data after which the client gives up a connection."""
    monkeypatch.setattr(connections, "STALL_SECONDS", STALL)


@dataclass
class Fetch:
    """One transfer: client, staging area and the time that passes for retries."""

    folder: Path
    time: FakeTime = field(default_factory=FakeTime)
    stop: Cancellation = field(default_factory=Cancellation)
    counted: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    authorization: Mapping[str, str] = field(default_factory=dict)

    def client(self) -> HttpClient:
        """Return the client."""
        network = Network(**{"retry": self.time.retry(), "cancellation": self.stop, **self.settings})
        return HttpClient(network, authorization=lambda _url: self.authorization)

    def artifact(self, *urls: str, size: int | None = len(CONTENT), authorized: bool = False) -> Artifact:
        """Return an artifact for the file."""
        return Artifact(
            name="f.bin",
            urls=urls,
            size=None if size is None else Size(size),
            digest=Digest("sha256", SHA256),
            unpack="none",
            into="",
            verified_against="catalog",
            authorized=authorized,
        )

    def put(self, artifact: Artifact, content: bytes) -> None:
        """Write the first bytes to staging, as a run that was killed does."""
        with Blob(self.folder, artifact, check_cancelled=self.stop.raise_if_requested) as blob:
            blob.write(content)

    def run(self, artifact: Artifact) -> bytes:
        """Fetch the file and return what is in staging; the count of bytes agrees with it, whatever happens."""

        def advance(count: int) -> None:
            self.counted += count

        with Blob(self.folder, artifact, check_cancelled=self.stop.raise_if_requested) as blob:
            self.counted = blob.have
            try:
                Transfers(self.client()).fetch(artifact, blob, advance)
            finally:
                assert self.counted == blob.have == blob.path.stat().st_size
            return blob.path.read_bytes()


@pytest.fixture
def fetch(tmp_path: Path) -> Fetch:
    """Return a file to be fetched."""
    return Fetch(tmp_path / "blobs")


@pytest.fixture
def url(hub: HubServer) -> str:
    """Return the file's address."""
    return hub.add_static("https://files.example.org/f.bin", CONTENT)


def ranges(hub: HubServer) -> list[str | None]:
    """Return the ranges that were requested, in their order; empty: none."""
    return [entry.range for entry in hub.log.entries("*/f.bin")]


# --- faults that pass ----------------------------------------------------------------------------------------------------


def _status_twice(status: int) -> tuple[Kind, dict[str, Any], list[str | None]]:
    return "status", {"status": status, "first": 2}, [None, None, None]


REST = "bytes=40000-"
PASSING: list[tuple[Kind, dict[str, Any], list[str | None]]] = [
    ("reset", {"after": None, "first": 1}, [None, None]),
    ("reset", {"after": 0, "first": 1}, [None, None]),
    ("reset", {"after": 40_000, "first": 1}, [None, REST]),
    ("close", {"after": None, "first": 1}, [None, None]),
    ("close", {"after": 0, "first": 1}, [None, None]),
    ("close", {"after": 1, "first": 1}, [None, "bytes=1-"]),
    ("close", {"after": 40_000, "first": 1}, [None, REST]),
    ("close", {"after": 99_999, "first": 1}, [None, "bytes=99999-"]),
    ("stall", {"after": None, "first": 1}, [None, None]),
    ("stall", {"after": 0, "first": 1}, [None, None]),
    ("stall", {"after": 40_000, "first": 1}, [None, REST]),
    ("throttle", {"rate": 500_000}, [None]),
    ("delay", {"seconds": 0.01}, [None]),
    ("gzip", {}, [None]),
    ("flip", {"offset": 70_000, "first": 1}, [None, None]),
    ("change", {"first": 1}, [None, None]),
    ("status", {"status": 416, "first": 1}, [None, None]),
    *[_status_twice(status) for status in (408, 425, 429, 500, 502, 503, 504, 599)],
    ("status", {"status": 429, "first": 1, "headers": {"Retry-After": "7"}}, [None, None]),
    ("status", {"status": 503, "first": 1, "headers": {"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}}, [None, None]),
    ("redirect", {"location": "/files.example.org/f.bin", "first": 2}, [None, None, None]),
]


@pytest.mark.parametrize(("kind", "fields", "expected"), PASSING)
def test_what_passes(  # noqa: PLR0917 - fixtures and a table
    fetch: Fetch, url: str, hub: HubServer, kind: Kind, fields: dict[str, Any], expected: list[str | None]
) -> None:
    """A temporary fault costs one more request, for the missing bytes alone."""
    fault = hub.faults.add(kind, path="*/f.bin", **fields)
    assert fetch.run(fetch.artifact(url)) == CONTENT
    assert fault.fired >= 1
    hub.faults.clear()
    assert ranges(hub) == expected


def test_a_connection_that_breaks_again_and_again(fetch: Fetch, url: str, hub: HubServer) -> None:
    """A transfer that makes progress is not given up: twenty breaks cost twenty-one requests and no byte twice."""
    fault = hub.faults.add("close", path="*/f.bin", after=4_800, first=20)
    assert fetch.run(fetch.artifact(url)) == CONTENT
    assert fault.fired == 20
    entries = hub.log.entries("*/f.bin")
    assert len(entries) == 21
    assert sum(entry.bytes_sent for entry in entries) == len(CONTENT)


def test_the_wait_that_the_server_asks_for(fetch: Fetch, url: str, hub: HubServer) -> None:
    """The wait of Retry-After is kept, with a little jitter added."""
    fault = hub.faults.add("status", path="*/f.bin", status=429, first=1, headers={"Retry-After": "7"})
    fetch.run(fetch.artifact(url))
    assert (fault.fired, fetch.time.waits[0]) == (1, 7.5)


@pytest.mark.parametrize(
    ("status", "headers"),
    [(429, {"Retry-After": "7"}), (503, {"Retry-After": "7"}), (429, {}), (429, {"RateLimit": '"files";r=0;t=7'})],
)
def test_a_host_that_redirects_led_to_asks_to_wait(
    fetch: Fetch, url: str, hub: HubServer, status: int, headers: dict[str, str]
) -> None:
    """Nobody sends that host requests meanwhile, not even directly; the host that redirected to it still serves others."""
    led = hub.faults.add("redirect", path="/front/f.bin", location=url)
    fault = hub.faults.add("status", path="/files.example.org/f.bin", status=status, first=1, headers=headers)
    front, node = (urlsplit(each).netloc for each in (hub.endpoint, url))
    held: list[tuple[bool, bool]] = []

    def pause(seconds: float) -> None:
        held.append((retry.is_held(front), retry.is_held(node)))
        fetch.time.pause(seconds)

    retry = Retry(RetryPolicy(), pause=pause, clock=fetch.time.clock, random=lambda: 0.5)
    fetch.settings["retry"] = retry
    assert fetch.run(fetch.artifact(f"{hub.endpoint}/front/f.bin")) == CONTENT
    assert held == [(False, True)]
    assert (led.fired, fault.fired) == (2, 1)


# --- beginnings that are there -------------------------------------------------------------------------------------------

BEGINNING = CONTENT[:40_000]


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        (None, {}, [REST]),
        ("reset", {"after": None, "first": 1}, [REST, REST]),
        ("close", {"after": 10_000, "first": 1}, [REST, "bytes=50000-"]),
        ("ignore_range", {}, [REST]),
        ("content_range", {"offset": 5, "first": 1}, [REST, None]),
        ("status", {"status": 416, "first": 1}, [REST, None]),
        ("status", {"status": 503, "first": 1}, [REST, REST]),
        ("change", {"first": 1}, [REST, None]),
        ("flip", {"offset": 60_000, "first": 1}, [REST, None]),
    ],
)
def test_a_rest(  # noqa: PLR0917 - fixtures and a table
    fetch: Fetch, url: str, hub: HubServer, kind: Kind | None, fields: dict[str, Any], expected: list[str | None]
) -> None:
    """A file that an earlier run began is resumed; if the server does not support that, it is fetched from its beginning."""
    artifact = fetch.artifact(url)
    fetch.put(artifact, BEGINNING)
    fault = hub.faults.add(kind, path="*/f.bin", **fields) if kind else None
    assert fetch.run(artifact) == CONTENT
    assert fault is None or fault.fired >= 1
    assert ranges(hub) == expected


def test_a_wrong_beginning(fetch: Fetch, url: str, hub: HubServer) -> None:
    """A beginning with wrong bytes fails the digest, is dropped, and the whole file is requested once."""
    artifact = fetch.artifact(url)
    fetch.put(artifact, bytes(40_000))
    assert fetch.run(artifact) == CONTENT
    assert ranges(hub) == [REST, None]


def test_all_is_there(fetch: Fetch, url: str, hub: HubServer) -> None:
    """A file that arrived whole before the run was killed costs no request."""
    artifact = fetch.artifact(url)
    fetch.put(artifact, CONTENT)
    assert fetch.run(artifact) == CONTENT
    assert ranges(hub) == []


def test_more_than_all_is_there(fetch: Fetch, url: str, hub: HubServer) -> None:
    """A partial file that is longer than the file is dropped."""
    artifact = fetch.artifact(url)
    fetch.put(artifact, CONTENT + b"and more")
    assert fetch.run(artifact) == CONTENT
    assert ranges(hub) == [None]


def test_all_is_there_of_unknown_size(fetch: Fetch, url: str, hub: HubServer) -> None:
    """If the size is unknown, the server is asked and says that nothing is missing."""
    artifact = fetch.artifact(url, size=None)
    fetch.put(artifact, CONTENT)
    assert fetch.run(artifact) == CONTENT
    entries = hub.log.entries("*/f.bin")
    assert [(entry.range, entry.status) for entry in entries] == [("bytes=100000-", 416)]


def test_the_file_changes_between_two_ranges(fetch: Fetch, url: str, hub: HubServer) -> None:
    """Bytes of two versions are never mixed: the server is asked whether the file is still the same."""
    broken = hub.faults.add("close", path="*/f.bin", after=40_000, first=1)
    changed = hub.faults.add("change", path="*/f.bin", nth=2)
    assert fetch.run(fetch.artifact(url)) == CONTENT
    assert (broken.fired, changed.fired) == (1, 1)
    entries = hub.log.entries("*/f.bin")
    # The whole new version is not what the catalog means, so the file is fetched once more.
    assert [(entry.range, entry.status) for entry in entries] == [(None, 200), (REST, 200), (None, 200)]


# --- faults that stay ----------------------------------------------------------------------------------------------------

LASTING: list[tuple[Kind, dict[str, Any], type[ProvisionerError], int]] = [
    ("reset", {"after": None}, RemoteUnavailableError, 6),
    ("reset", {"after": 0}, RemoteUnavailableError, 6),
    ("close", {"after": None}, RemoteUnavailableError, 6),
    ("stall", {"after": None}, RemoteUnavailableError, 6),
    *[("status", {"status": status}, RemoteUnavailableError, 6) for status in (408, 429, 500, 502, 503, 504)],
    ("status", {"status": 503, "headers": {"Retry-After": "3600"}}, RemoteUnavailableError, 1),
    ("status", {"status": 429, "headers": {"RateLimit": '"resolvers";r=0;t=900'}}, RemoteUnavailableError, 1),
    ("status", {"status": 401}, AccessDeniedError, 1),
    ("status", {"status": 403}, AccessDeniedError, 1),
    ("status", {"status": 404}, NotFoundError, 1),
    ("status", {"status": 410}, NotFoundError, 1),
    *[("status", {"status": status}, RemoteRefusedError, 1) for status in (204, 304, 400, 402, 405, 451, 501)],
    ("status", {"status": 302}, RemoteRefusedError, 1),
    ("status", {"status": 416}, RemoteUnavailableError, 6),
    ("html", {}, SizeMismatchError, 1),
    ("content_length", {"offset": 100}, SizeMismatchError, 1),
    ("content_length", {"offset": -100}, SizeMismatchError, 1),
    ("flip", {"offset": 0}, DigestMismatchError, 2),
    ("flip", {"offset": 99_999}, DigestMismatchError, 2),
    ("change", {}, DigestMismatchError, 2),
    ("redirect", {"location": "/files.example.org/f.bin"}, RemoteRefusedError, 11),
    ("redirect", {"location": "file:///etc/passwd"}, RemoteRefusedError, 1),
    ("redirect", {"location": "ftp://example.org/f.bin"}, RemoteRefusedError, 1),
    ("redirect", {"location": "https:///nowhere"}, RemoteRefusedError, 1),
    ("redirect", {"location": "http://["}, RemoteRefusedError, 1),
    ("redirect", {"location": "http://127.0.0.1:99999/"}, RemoteRefusedError, 1),
]


@pytest.mark.parametrize(("kind", "fields", "error", "requests"), LASTING)
def test_what_stays(  # noqa: PLR0917 - fixtures and a table
    fetch: Fetch, url: str, hub: HubServer, kind: Kind, fields: dict[str, Any], error: type[ProvisionerError], requests: int
) -> None:
    """Each permanent fault raises its error after a bounded number of requests, and none hangs."""
    fault = hub.faults.add(kind, path="*/f.bin", **fields)
    begun = monotonic()
    with pytest.raises(error) as caught:
        fetch.run(fetch.artifact(url))
    assert monotonic() - begun < PATIENCE
    assert type(caught.value) is error
    assert "f.bin" in caught.value.message
    assert fault.fired == requests
    hub.faults.clear()
    assert len(ranges(hub)) == requests


@pytest.mark.parametrize("kind", ["flip", "change", "html"])
def test_wrong_bytes_leave_nothing(fetch: Fetch, url: str, hub: HubServer, kind: Kind) -> None:
    """After wrong bytes the staging area is empty, so that they are not resumed."""
    fault = hub.faults.add(kind, path="*/f.bin")
    artifact = fetch.artifact(url)
    with pytest.raises((DigestMismatchError, SizeMismatchError)):
        fetch.run(artifact)
    assert fault.fired == (1 if kind == "html" else 2)
    with Blob(fetch.folder, artifact, check_cancelled=fetch.stop.raise_if_requested) as blob:
        assert blob.have == 0


@pytest.mark.parametrize("kind", ["html", "content_length"])
def test_wrong_lengths_of_a_file_of_unknown_size(fetch: Fetch, url: str, hub: HubServer, kind: Kind) -> None:
    """Where only the digest is known, it alone decides, once more after the file was fetched anew."""
    fault = hub.faults.add(kind, path="*/f.bin", offset=-100)
    with pytest.raises(DigestMismatchError):
        fetch.run(fetch.artifact(url, size=None))
    assert fault.fired == 2


def test_a_length_that_is_too_long_of_a_file_of_unknown_size(fetch: Fetch, url: str, hub: HubServer) -> None:
    """When the server says that the announced rest does not exist, the digest shows that the file is whole."""
    fault = hub.faults.add("content_length", path="*/f.bin", offset=100, first=1)
    assert fetch.run(fetch.artifact(url, size=None)) == CONTENT
    assert fault.fired == 1
    assert ranges(hub) == [None, "bytes=100000-"]


def test_both_bounds_hold(fetch: Fetch, url: str, hub: HubServer) -> None:
    """Attempts and time are both bounded."""
    fault = hub.faults.add("status", path="*/f.bin", status=503)
    fetch.settings["retry"] = fetch.time.retry(RetryPolicy(attempts=1000, total_seconds=60))
    with pytest.raises(RemoteUnavailableError, match="asked"):
        fetch.run(fetch.artifact(url))
    assert sum(fetch.time.waits) <= 60
    assert fault.fired < 20


# --- mirrors -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "fields", "error", "requests"), [row for row in LASTING if row[0] != "stall"])
def test_the_mirror_helps(  # noqa: PLR0917 - fixtures and a table
    fetch: Fetch, url: str, hub: HubServer, kind: Kind, fields: dict[str, Any], error: type[ProvisionerError], requests: int
) -> None:
    """Whatever one URL does wrong, the same bytes are taken from its mirror."""
    mirror = hub.add_static("https://mirror.example.org/copy.bin", CONTENT)
    fault = hub.faults.add(kind, path="*/f.bin", **fields)
    assert fetch.run(fetch.artifact(url, mirror)) == CONTENT
    # Wrong bytes are fetched once more only where nobody else has them.
    expected = 1 if error is DigestMismatchError else requests
    assert (fault.fired, len(hub.log.entries("*/copy.bin"))) == (expected, 1)


def test_the_mirror_goes_on_where_the_first_stopped(fetch: Fetch, url: str, hub: HubServer) -> None:
    """With a known digest the mirror is asked for the missing bytes alone."""
    mirror = hub.add_static("https://mirror.example.org/copy.bin", CONTENT)
    broken = hub.faults.add("close", path="*/f.bin", after=40_000, first=1)
    gone = hub.faults.add("status", path="*/f.bin", status=404, nth=2)
    assert fetch.run(fetch.artifact(url, mirror)) == CONTENT
    assert (broken.fired, gone.fired) == (1, 1)
    assert [entry.range for entry in hub.log.entries("*/copy.bin")] == [REST]


# --- servers that hardly speak HTTP --------------------------------------------------------------------------------------


class RawServer:
    """A server that answers each connection with the next prepared response, whatever was requested, and closes it."""

    def __init__(self, *answers: bytes) -> None:
        """Listen."""
        self._answers = list(answers)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.requests: list[bytes] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def url(self) -> str:
        """The file's address."""
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}/f.bin"

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                head = b""
                while b"\r\n\r\n" not in head and (data := connection.recv(1 << 16)):
                    head += data
                self.requests.append(head)
                connection.sendall(self._answers.pop(0) if len(self._answers) > 1 else self._answers[0])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()

    def ranges(self) -> list[str]:
        """Return the ranges that were requested, in their order; empty: none."""
        lines = [[line for line in head.decode().split("\r\n") if line.lower().startswith("range:")] for head in self.requests]
        return [line[0].partition("=")[2] if line else "" for line in lines]


def partial(start: int, stop: int, total: str = "100000", *, length: bool = True) -> bytes:
    """Return a response with one range."""
    head = f"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {start}-{stop - 1}/{total}\r\n"
    head += f"Content-Length: {stop - start}\r\n" if length else ""
    return head.encode() + b"Connection: close\r\n\r\n" + CONTENT[start:stop]


WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\nConnection: close\r\n\r\n" + CONTENT
UNTOLD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
HALF = b"C350\r\n" + CONTENT[:50_000] + b"\r\n"


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([UNTOLD + CONTENT], [""]),
        ([UNTOLD + CONTENT[:40_000], partial(40_000, 100_000)], ["", "40000-"]),
        ([CHUNKED + HALF + b"C350\r\n" + CONTENT[50_000:] + b"\r\n0\r\n\r\n"], [""]),
        ([CHUNKED + HALF, partial(50_000, 100_000)], ["", "50000-"]),
        ([WHOLE[:50_000], partial(49_938, 100_000)], ["", "49938-"]),
        ([partial(0, 100_000)], [""]),
        ([partial(0, 30_000), partial(30_000, 60_000), partial(60_000, 100_000)], ["", "30000-", "60000-"]),
        ([partial(0, 30_000, "*"), partial(30_000, 100_000, "*")], ["", "30000-"]),
        ([partial(0, 30_000, length=False), partial(30_000, 100_000, length=False)], ["", "30000-"]),
        ([b"garbage\r\n\r\n", WHOLE], ["", ""]),
        ([b"HTTP/1.1 200 OK\r\nContent-Le", WHOLE], ["", ""]),
        ([b"", WHOLE], ["", ""]),
    ],
)  # fmt: skip
def test_unusual_answers(fetch: Fetch, answers: list[bytes], expected: list[str]) -> None:
    """Bodies without a length, in chunks, in shorter ranges than requested, or cut anywhere are put together correctly."""
    with RawServer(*answers) as server:
        assert fetch.run(fetch.artifact(server.url)) == CONTENT
        assert server.ranges() == expected


@pytest.mark.parametrize(
    "answer",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"",
        b"HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
        CHUNKED + b"zz\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\nConnection: close\r\n\r\n" + CONTENT,
    ],
)  # fmt: skip
def test_answers_that_never_make_sense(fetch: Fetch, answer: bytes) -> None:
    """A server that only sends nonsense is asked a bounded number of times."""
    with RawServer(answer) as server:
        with pytest.raises(RemoteUnavailableError):
            fetch.run(fetch.artifact(server.url))
        assert len(server.requests) == 6


def test_more_bytes_than_there_are(fetch: Fetch) -> None:
    """A body that does not end is cut off where the file must end."""
    with RawServer(UNTOLD + CONTENT + b"more") as server, pytest.raises(SizeMismatchError, match="more than the expected"):
        fetch.run(fetch.artifact(server.url))


# --- the way there -------------------------------------------------------------------------------------------------------


def test_a_name_that_nobody_knows(fetch: Fetch) -> None:
    """A host name that cannot be resolved may work later: exit code 75 after all attempts."""
    with pytest.raises(RemoteUnavailableError, match=r"asked 6 times"):
        fetch.run(fetch.artifact("http://files.invalid/f.bin"))


def test_nobody_listens(fetch: Fetch) -> None:
    """A refused connection may work later as well."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(RemoteUnavailableError, match=r"asked 6 times"):
        fetch.run(fetch.artifact(f"http://127.0.0.1:{port}/f.bin"))


def test_a_proxy_that_dies(fetch: Fetch, url: str) -> None:
    """A failing proxy is named as the cause, and it is never bypassed."""
    with ProxyServer() as proxy:
        address = proxy.url
    fetch.settings["proxies"] = Proxies(address)
    with pytest.raises(RemoteUnavailableError, match=r"the proxy .* no connection") as caught:
        fetch.run(fetch.artifact(url))
    assert "HTTP_PROXY" in caught.value.hint


def test_a_proxy_that_dies_in_the_middle(fetch: Fetch, url: str, hub: HubServer) -> None:
    """Bytes that arrived before the proxy failed are kept for a later run."""
    rule = hub.faults.add("gate", path="*/f.bin", after=80_000, first=1)
    artifact = fetch.artifact(url)
    proxy = ProxyServer().start()
    fetch.settings["proxies"] = Proxies(proxy.url)

    def kill() -> None:
        assert hub.faults.gate(rule.gate).wait_reached()
        proxy.stop()

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(RemoteUnavailableError):
        fetch.run(artifact)
    killer.join()
    hub.faults.clear()
    hub.log.clear()
    with Blob(fetch.folder, artifact, check_cancelled=fetch.stop.raise_if_requested) as blob:
        have = blob.have
    del fetch.settings["proxies"]
    assert fetch.run(artifact) == CONTENT
    assert have > 0
    assert ranges(hub) == [f"bytes={have}-"]


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[HubServer, Path]]:
    """Return a TLS server and the file of its private authority."""
    authority = trustme.CA()
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with HubServer(ssl_context=context) as server:
        yield server, ca_file


def test_a_private_authority(fetch: Fetch, secure: tuple[HubServer, Path]) -> None:
    """A private certificate authority is trusted if it is configured, and a permanent error if not."""
    server, ca_file = secure
    url = server.add_static("https://files.example.org/f.bin", CONTENT)
    with pytest.raises(RemoteRefusedError, match="certificate is not trusted") as caught:
        fetch.run(fetch.artifact(url))
    assert "SSL_CERT_FILE" in caught.value.hint
    assert server.log.entries() == ()
    fetch.settings["ca_file"] = ca_file
    assert fetch.run(fetch.artifact(url)) == CONTENT


def test_no_way_down_from_https(fetch: Fetch, secure: tuple[HubServer, Path], url: str, hub: HubServer) -> None:
    """A redirect from https to http is not followed."""
    server, ca_file = secure
    fetch.settings["ca_file"] = ca_file
    safe = server.add_static("https://files.example.org/f.bin", CONTENT)
    fault = server.faults.add("redirect", path="*/f.bin", location=url)
    with pytest.raises(RemoteRefusedError, match="from https to http"):
        fetch.run(fetch.artifact(safe))
    assert fault.fired == 1
    assert hub.log.entries() == ()


def test_tls_with_a_server_that_has_none(fetch: Fetch, url: str) -> None:
    """A server without TLS behind an https URL is a TLS error, not a certificate error."""
    with pytest.raises(ProvisionerError, match="TLS failed") as caught:
        fetch.run(fetch.artifact(url.replace("http://", "https://")))
    assert caught.value.exit_code in {69, 75}


# --- credentials and stopping --------------------------------------------------------------------------------------------


def test_credentials_stay_with_the_first_host(fetch: Fetch, hub: HubServer, url: str) -> None:
    """A redirect to another origin is followed without credentials, one within the origin with them."""
    fetch.authorization = {"Authorization": "Bearer nobody"}
    other = hub.add_static("https://files.example.org/other.bin", CONTENT)
    first = hub.faults.add("redirect", path="*/f.bin", location=other)
    with pytest.raises(AccessDeniedError):
        fetch.run(fetch.artifact(f"{hub.endpoint}/anything", authorized=True))
    fetch.run(fetch.artifact(url, authorized=True))
    assert first.fired == 1
    assert [entry.authorization for entry in hub.log.entries(origin="cdn")] == [True, True]
    hub.log.clear()
    hub.faults.add("redirect", path="/elsewhere", location=other)
    with Blob(fetch.folder, fetch.artifact(url), check_cancelled=fetch.stop.raise_if_requested) as blob:
        blob.restart()
    fetch.run(fetch.artifact(f"{hub.endpoint}/elsewhere", authorized=True))
    assert [(entry.origin, entry.authorization) for entry in hub.log.entries()] == [("hub", True), ("cdn", False)]


def test_no_credentials_unless_asked(fetch: Fetch, hub: HubServer, url: str) -> None:
    """A request for a direct URL has no token."""
    fetch.authorization = {"Authorization": "Bearer nobody"}
    fetch.run(fetch.artifact(url))
    assert [entry.authorization for entry in hub.log.entries()] == [False]


def test_a_request_to_stop_wakes_a_transfer(fetch: Fetch, url: str, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transfer that waits for bytes ends at once on a request to stop; what had arrived is kept."""
    monkeypatch.setattr(connections, "STALL_SECONDS", 60)
    rule = hub.faults.add("gate", path="*/f.bin", after=40_000)
    artifact = fetch.artifact(url)
    gate = hub.faults.gate(rule.gate)

    def stop() -> None:
        assert gate.wait_reached()
        fetch.stop.request(InterruptedBySignal(15))

    stopper = threading.Thread(target=stop)
    begun = monotonic()
    stopper.start()
    with pytest.raises(InterruptedBySignal):
        fetch.run(artifact)
    stopper.join()
    assert monotonic() - begun < 10
    assert rule.fired == 1


def test_offline(fetch: Fetch, url: str, hub: HubServer) -> None:
    """Offline, no request is sent."""
    fetch.settings["offline"] = True
    with pytest.raises(RemoteUnavailableError, match="HF_HUB_OFFLINE"):
        fetch.run(fetch.artifact(url))
    assert hub.log.entries() == ()
