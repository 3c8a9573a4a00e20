"""Servers that misbehave during a transfer in ranges: what each fault costs in requests and bytes, and what comes out.

Every row fetches one file of a little more than 20 MiB over four connections, with the real client into the real staging area.
It has six ranges: five of 4 MiB and a shorter one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from provisioner.cancellation import Cancellation
from provisioner.catalog.artifact import Artifact
from provisioner.catalog.digest import Digest
from provisioner.catalog.size import Size
from provisioner.engine.fetch_threads import FetchThreads, FileJob
from provisioner.errors import (
    AccessDeniedError,
    DigestMismatchError,
    NotFoundError,
    ProvisionerError,
    RemoteRefusedError,
    RemoteUnavailableError,
    SizeMismatchError,
)
from provisioner.remote.http import connections
from provisioner.remote.http.bandwidth import RateLimiter
from provisioner.remote.http.client import HttpClient
from provisioner.remote.http.codings import FileForm
from provisioner.remote.http.ranges import RangedFetch
from provisioner.remote.hub.client import HubClient
from provisioner.remote.network import Network
from provisioner.remote.transfers import Transfers
from provisioner.volume.staging.pieces import PIECE
from provisioner.volume.staging.ranged_file import RangedFile
from tests.support.fake_time import FakeTime
from tests.support.media import noise
from tests.support.program import PATIENCE, TOKEN, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tests.support.faults import Kind
    from tests.support.hub_server import HubServer
    from tests.support.request_log import Entry

CONTENT = noise("a large file", 1 << 20) * 20 + noise("its end", 12_345)
CHANGED = bytes(byte ^ 0x55 for byte in range(256))
"""What the test server makes of each byte of a file that changed upstream."""
SHA256 = hashlib.sha256(CONTENT).hexdigest()
RANGES = 6
CONNECTIONS = 4
MIB = 1 << 20


@pytest.fixture(autouse=True)
def patience(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the time without data after which a connection is given up, where a stall is the fault."""
    params = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    monkeypatch.setattr(connections, "STALL_SECONDS", 0.5 if params.get("kind") == "stall" else PATIENCE)


@dataclass
class Fetch:
    """One transfer of a large file."""

    folder: Path
    time: FakeTime = field(default_factory=FakeTime)
    stop: Cancellation = field(default_factory=Cancellation)
    counted: int = 0
    bytes_per_second: float | None = None
    authorization: Mapping[str, str] = field(default_factory=dict)
    connections: int = CONNECTIONS

    def artifact(self, *urls: str, size: int = len(CONTENT), digest: bool = True, authorized: bool = False) -> Artifact:
        """Return an artifact for the file."""
        return Artifact(
            name="f.bin",
            urls=urls,
            size=Size(size),
            digest=Digest("sha256", SHA256) if digest else None,
            unpack="none",
            into="",
            verified_against="catalog" if digest else "none",
            authorized=authorized,
        )

    def run(self, artifact: Artifact) -> bytes:
        """Fetch the file and return what is in staging; the count of bytes agrees with it, whatever happens."""
        client = HttpClient(
            Network(self.time.retry(), self.stop),
            connections=self.connections,
            authorization=lambda _url: self.authorization,
        )
        if self.bytes_per_second:
            client._bodies.rate = RateLimiter(self.bytes_per_second, pause=self.time.pause, clock=self.time.clock)
        threads = FetchThreads(lambda: self.connections, label="test", check_cancelled=self.stop.raise_if_requested)
        assert artifact.size
        with RangedFile.on_disk(
            self.folder,
            artifact,
            artifact.size.value,
            check_cancelled=threads.check_cancelled,
            connections=lambda: self.connections,
        ) as file:
            self.counted = file.have
            partial = 0

            def advance(count: int) -> None:
                nonlocal partial
                partial += count

            def fetch() -> None:
                Transfers(client).fetch_ranges(artifact, file, threads, advance)

            try:
                threads.run([FileJob(fetch, is_large=True)], files_at_once=lambda: 1)
            finally:
                self.counted += partial
                assert self.counted == file.have
            return (self.folder / f"{artifact.key}.part").read_bytes()

    def recorded(self) -> int:
        """Return how many bytes the journal has of whole pieces, while the file arrives."""
        for path in self.folder.glob("*.journal"):
            _, end, records = path.read_bytes().partition(b"\n")
            return len(records) // 8 * PIECE if end else 0
        return 0

    def kept(self, artifact: Artifact) -> int:
        """Return how many bytes the next run finds."""
        assert artifact.size
        with RangedFile.on_disk(
            self.folder, artifact, artifact.size.value, check_cancelled=self.stop.raise_if_requested, connections=lambda: 1
        ) as file:
            return file.have


@pytest.fixture
def fetch(tmp_path: Path) -> Fetch:
    """Return a file to be fetched."""
    return Fetch(tmp_path / "blobs")


@pytest.fixture
def url(hub: HubServer) -> str:
    """Return the file's address."""
    return hub.add_static("https://files.example.org/f.bin", CONTENT)


@pytest.fixture
def mirror(hub: HubServer) -> str:
    """Return another URL of the same bytes."""
    return hub.add_static("https://mirror.example.org/f.bin", CONTENT)


def entries(hub: HubServer, path: str = "*/files.example.org/f.bin") -> tuple[Entry, ...]:
    """Return the requests for the file."""
    return hub.log.entries(path)


def sent(hub: HubServer, path: str = "*/files.example.org/f.bin") -> int:
    """Return how many bytes of the file were sent; bodies of refusals do not count."""
    return sum(entry.bytes_sent for entry in entries(hub, path) if entry.status in {200, 206})


@contextlib.contextmanager
def alongside(steer: Callable[[], None]) -> Iterator[None]:
    """Run a function that controls the server on a thread of its own while the block runs."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            steer()
        except BaseException as error:  # noqa: BLE001 - raised again below
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield
    thread.join(PATIENCE)
    assert not failures
    assert not thread.is_alive()


def test_no_fault(fetch: Fetch, url: str, hub: HubServer) -> None:
    """Six ranges are requested, each byte once, and all but the first with If-Range."""
    assert fetch.run(fetch.artifact(url)) == CONTENT
    found = entries(hub)
    assert [entry.status for entry in found] == [206] * RANGES
    assert found[0].range == f"bytes=0-{4 * MIB - 1}"
    assert [entry.if_range is not None for entry in found] == [False] + [True] * (RANGES - 1)
    assert sent(hub) == len(CONTENT)


# --- faults that pass ----------------------------------------------------------------------------------------------------

HALF = 3 * MIB // 2
PASSING: list[tuple[Kind, dict[str, Any], int]] = [
    ("reset", {"after": None, "first": 1}, 1),
    ("reset", {"after": None, "nth": 3}, 1),
    ("reset", {"after": 0, "nth": 3}, 1),
    ("reset", {"after": HALF, "nth": 3}, 1),
    ("close", {"after": None, "nth": 3}, 1),
    ("close", {"after": 0, "first": 1}, 1),
    ("close", {"after": 1, "nth": 3}, 1),
    ("close", {"after": HALF, "nth": 3}, 1),
    ("close", {"after": MIB, "nth": 3}, 1),
    ("stall", {"after": None, "nth": 3}, 1),
    ("stall", {"after": HALF, "nth": 3}, 1),
    ("throttle", {"rate": 100_000_000}, 0),
    ("status", {"status": 416, "nth": 3}, 1),
    ("content_range", {"offset": 5, "nth": 3}, 1),
    ("ignore_range", {"nth": 3}, 1),
    *[("status", {"status": status, "nth": 3}, 1) for status in (408, 425, 429, 500, 502, 503, 504)],
    ("status", {"status": 429, "nth": 3, "headers": {"Retry-After": "7"}}, 1),
    ("status", {"status": 503, "nth": 3, "headers": {"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}}, 1),
    ("redirect", {"location": "/files.example.org/f.bin", "nth": 3}, 1),
]


@pytest.mark.parametrize(("kind", "fields", "more"), PASSING)
def test_what_passes(  # noqa: PLR0917 - fixtures and a table
    fetch: Fetch, url: str, hub: HubServer, kind: Kind, fields: dict[str, Any], more: int
) -> None:
    """A temporary fault of one range costs one more request, for the missing bytes of that range alone."""
    fault = hub.faults.add(kind, path="*/f.bin", **fields)
    assert fetch.run(fetch.artifact(url)) == CONTENT
    assert fault.fired >= 1
    hub.faults.clear()
    # Where silence is the fault, a busy machine may be silent too.
    assert len(entries(hub)) == RANGES + more or (kind == "stall" and len(entries(hub)) > RANGES)
    # What was sent and never read: at a reset, and of an answer that is not what was asked for.
    assert len(CONTENT) <= sent(hub) <= len(CONTENT) + (21 if kind == "ignore_range" else 4) * MIB


def test_no_byte_twice_over_broken_connections(fetch: Fetch, url: str, hub: HubServer) -> None:
    """A transfer that makes progress is not given up, and bytes of a range that arrived are not requested again."""
    fault = hub.faults.add("close", path="*/f.bin", after=700_000, first=20)
    assert fetch.run(fetch.artifact(url)) == CONTENT
    assert fault.fired == 20
    assert len(entries(hub)) == RANGES + 20
    assert sent(hub) == len(CONTENT)


@pytest.mark.parametrize("headers", [{"Retry-After": "7"}, {"RateLimit": '"resolvers";r=0;t=7'}])
def test_the_wait_that_the_server_asks_for(fetch: Fetch, url: str, hub: HubServer, headers: dict[str, str]) -> None:
    """When one connection is asked to wait, all wait."""
    fault = hub.faults.add("status", path="*/f.bin", status=429, nth=1, headers=headers)
    assert fetch.run(fetch.artifact(url)) == CONTENT
    assert fault.fired == 1
    assert 7 <= sum(fetch.time.waits) < 10


def test_a_limit_that_is_nearly_reached(fetch: Fetch, url: str, hub: HubServer) -> None:
    """When a successful response says that nothing is left of the limit, no request is sent until the limit is renewed."""
    headers = {"RateLimit": '"resolvers";r=0;t=7'}
    fault = hub.faults.add("redirect", path="*/f.bin", location="/files.example.org/f.bin", nth=1, headers=headers)
    assert fetch.run(fetch.artifact(url)) == CONTENT
    assert fault.fired == 1
    assert 7 <= sum(fetch.time.waits) <= CONNECTIONS * 8
    assert fetch.time.waits[0] == 7.5


# --- servers that give less than is asked for --------------------------------------------------------------------------


def test_a_server_without_ranges(fetch: Fetch, url: str, hub: HubServer) -> None:
    """The whole file is taken over one connection."""
    fault = hub.faults.add("ignore_range", path="*/f.bin")
    assert fetch.run(fetch.artifact(url)) == CONTENT
    assert fault.fired >= 1
    assert [entry.status for entry in entries(hub)] == [200] * 2


def test_a_server_that_allows_one_connection(fetch: Fetch, url: str, hub: HubServer) -> None:
    """Refused connections end, and the one that is served fetches everything."""
    held = hub.faults.add("gate", path="*/f.bin", after=2 * MIB, nth=1, gate="first")
    refused = hub.faults.add("status", path="*/f.bin", status=503, since=2)

    def release() -> None:
        # Whoever is refused asks as often as the policy says, and leaves; those who have not begun then never do.
        wait_until(lambda: refused.fired >= 6, "another one was refused")
        hub.faults.clear()

    waiting = threading.Thread(target=release)
    waiting.start()
    assert fetch.run(fetch.artifact(url)) == CONTENT
    waiting.join()
    assert held.fired == 1
    assert 6 <= refused.fired <= 3 * 6


@pytest.mark.parametrize("most", [1, 2])
@pytest.mark.parametrize("status", [503, 429, 0])
def test_a_server_that_serves_few_at_once(fetch: Fetch, url: str, hub: HubServer, most: int, status: int) -> None:
    """Connections beyond the server's limit end, and the others fetch the file, no byte twice."""
    hub.faults.add("throttle", path="*/f.bin", rate=40_000_000)
    crowd = hub.faults.add("crowd", path="*/f.bin", most=most, status=status)
    assert fetch.run(fetch.artifact(url)) == CONTENT
    assert crowd.fired >= 1
    assert sent(hub) == len(CONTENT)
    assert crowd.fired <= 6 * CONNECTIONS * RANGES


def test_the_last_helper_leaves_its_range_to_the_one_that_left_before(fetch: Fetch, url: str, hub: HubServer) -> None:
    """A leading connection that was refused tries again after the last helper has ended."""
    fetch.connections = 2
    hub.faults.add("gate", path="*/f.bin", after=2 * MIB, nth=1, gate="leader")
    hub.faults.add("gate", path="*/f.bin", after=2 * MIB, nth=2, gate="helper")
    refused = [hub.faults.add("status", path="*/f.bin", status=403, nth=nth) for nth in (3, 4)]

    def steer() -> None:
        assert hub.faults.gate("helper").wait_reached()
        hub.faults.gate("leader").release()
        wait_until(lambda: refused[0].fired, "the leader was sent away")
        hub.faults.gate("helper").release()

    with alongside(steer):
        assert fetch.run(fetch.artifact(url)) == CONTENT
    assert [rule.fired for rule in refused] == [1, 1]
    assert sent(hub) == len(CONTENT)


@pytest.mark.parametrize("digest", [True, False])
def test_a_server_without_ranges_whose_connections_break(fetch: Fetch, url: str, hub: HubServer, *, digest: bool) -> None:
    """Each attempt begins with the first byte, since there are no ranges; the third one succeeds."""
    hub.faults.add("ignore_range", path="*/f.bin")
    fault = hub.faults.add("close", path="*/f.bin", after=7 * MIB + 1, first=3)
    assert fetch.run(fetch.artifact(url, digest=digest)) == CONTENT
    assert fault.fired >= 2
    assert {entry.status for entry in entries(hub)} == {200}


def test_a_server_without_ranges_whose_connections_break_for_ever(fetch: Fetch, url: str, hub: HubServer) -> None:
    """It ends after the policy's attempts, and the count of bytes is right."""
    hub.faults.add("ignore_range", path="*/f.bin")
    fault = hub.faults.add("close", path="*/f.bin", after=7 * MIB + 1)
    with pytest.raises(RemoteUnavailableError):
        fetch.run(fetch.artifact(url))
    assert 6 <= fault.fired <= 7


def test_ranges_of_which_nothing_says_that_they_belong_together(fetch: Fetch, url: str, hub: HubServer) -> None:
    """With neither digest nor validator the file is taken from one response, from its first byte to its last."""
    fault = hub.faults.add("no_validator", path="*/f.bin")
    assert fetch.run(fetch.artifact(url, digest=False)) == CONTENT
    assert fault.fired == 2
    assert entries(hub)[-1].range is None


def test_no_validator_where_the_digest_is_known(fetch: Fetch, url: str, hub: HubServer) -> None:
    """With a digest, ranges are fetched over all connections: the digest shows whether they belong together."""
    fault = hub.faults.add("no_validator", path="*/f.bin")
    assert fetch.run(fetch.artifact(url)) == CONTENT
    assert fault.fired == RANGES
    assert sent(hub) == len(CONTENT)


@pytest.mark.parametrize("offset", [-1000, 1000])
def test_a_length_of_one_answer_that_is_wrong(fetch: Fetch, url: str, hub: HubServer, offset: int) -> None:
    """Missing bytes of the range are requested again, and nothing is awaited beyond the end of the range."""
    fault = hub.faults.add("content_length", path="*/f.bin", offset=offset, nth=3)
    assert fetch.run(fetch.artifact(url)) == CONTENT
    assert fault.fired == 1
    assert len(entries(hub)) <= RANGES + 1
    assert len(CONTENT) <= sent(hub) <= len(CONTENT) + 1000


def test_endless_truncation(fetch: Fetch, url: str, hub: HubServer) -> None:
    """If no response has a body, every connection gives up, and with the last one the URL."""
    fault = hub.faults.add("close", path="*/f.bin", after=0, since=2)
    artifact = fetch.artifact(url)
    with pytest.raises(RemoteUnavailableError):
        fetch.run(artifact)
    assert 6 <= fault.fired <= 6 * (CONNECTIONS + 1)
    assert fetch.kept(artifact) == 4 * MIB


# --- faults that stay ----------------------------------------------------------------------------------------------------

LASTING: list[tuple[Kind, dict[str, Any], type[ProvisionerError], int]] = [
    ("reset", {"after": None}, RemoteUnavailableError, 6),
    # The head of the first answer says that there are ranges: the others come as well, and none gets on.
    ("reset", {"after": 0}, RemoteUnavailableError, CONNECTIONS * 6),
    ("close", {"after": 0}, RemoteUnavailableError, CONNECTIONS * 6),
    ("stall", {"after": None}, RemoteUnavailableError, 6),
    *[("status", {"status": status}, RemoteUnavailableError, 6) for status in (408, 416, 429, 500, 502, 503, 504)],
    ("status", {"status": 503, "headers": {"Retry-After": "3600"}}, RemoteUnavailableError, 1),
    ("status", {"status": 429, "headers": {"RateLimit": '"resolvers";r=0;t=900'}}, RemoteUnavailableError, 1),
    ("status", {"status": 403}, AccessDeniedError, 1),
    ("status", {"status": 404}, NotFoundError, 1),
    ("status", {"status": 410}, NotFoundError, 1),
    *[("status", {"status": status}, RemoteRefusedError, 1) for status in (204, 304, 400, 451, 501)],
    ("html", {}, SizeMismatchError, 1),
    ("content_range", {"offset": 5}, RemoteUnavailableError, 6),
    ("redirect", {"location": "/files.example.org/f.bin"}, RemoteRefusedError, 11),
    ("redirect", {"location": "file:///etc/passwd"}, RemoteRefusedError, 1),
]


@pytest.mark.parametrize(("kind", "fields", "error", "requests"), LASTING)
def test_what_stays(  # noqa: PLR0917 - fixtures and a table
    fetch: Fetch, url: str, hub: HubServer, kind: Kind, fields: dict[str, Any], error: type[ProvisionerError], requests: int
) -> None:
    """Each permanent fault raises its error after a bounded number of requests; no connection joins before the first response."""
    fault = hub.faults.add(kind, path="*/f.bin", **fields)
    with pytest.raises(error) as caught:
        fetch.run(fetch.artifact(url))
    assert type(caught.value) is error
    assert "f.bin" in caught.value.message
    found = fault.fired
    assert 6 <= found <= requests if requests > CONNECTIONS * 5 else found == requests
    hub.faults.clear()
    assert len(entries(hub)) == found


@pytest.mark.parametrize("status", [503, 404, 403])
def test_what_has_arrived_when_it_fails_for_good_is_kept(fetch: Fetch, url: str, hub: HubServer, status: int) -> None:
    """If nothing arrives after two ranges the run fails, and the next run requests the rest alone."""
    artifact = fetch.artifact(url)
    fault = hub.faults.add("status", path="*/f.bin", status=status, since=3)
    with pytest.raises(ProvisionerError):
        fetch.run(artifact)
    assert fault.fired >= 1
    hub.faults.clear()
    assert sent(hub) == 8 * MIB
    assert fetch.kept(artifact) == 8 * MIB
    hub.log.clear()
    assert fetch.run(artifact) == CONTENT
    assert sent(hub) == len(CONTENT) - 8 * MIB
    assert all(entry.if_range for entry in entries(hub))


def test_a_mirror_takes_over_what_has_arrived(fetch: Fetch, url: str, mirror: str, hub: HubServer) -> None:
    """When the first URL stops responding, the mirror is asked for the missing bytes alone."""
    fault = hub.faults.add("status", path="*/files.example.org/f.bin", status=404, since=3)
    assert fetch.run(fetch.artifact(url, mirror)) == CONTENT
    assert fault.fired >= 1
    assert sent(hub) == 8 * MIB
    assert sent(hub, "*/mirror.example.org/f.bin") == len(CONTENT) - 8 * MIB


def test_a_flipped_byte(fetch: Fetch, url: str, hub: HubServer) -> None:
    """The digest finds it twice, the bytes are dropped, and nothing is left to be resumed."""
    artifact = fetch.artifact(url)
    fault = hub.faults.add("flip", path="*/f.bin", offset=9 * MIB + 1)
    with pytest.raises(DigestMismatchError):
        fetch.run(artifact)
    assert fault.fired == 2
    assert sent(hub) == 2 * len(CONTENT)
    assert fetch.kept(artifact) == 0


def test_a_byte_that_is_flipped_once(fetch: Fetch, url: str, hub: HubServer) -> None:
    """The file is fetched once more before anybody gives up."""
    fault = hub.faults.add("flip", path="*/f.bin", offset=9 * MIB + 1, first=1)
    assert fetch.run(fetch.artifact(url)) == CONTENT
    assert fault.fired == 1
    assert sent(hub) == 2 * len(CONTENT)


def test_a_flipped_byte_and_a_mirror(fetch: Fetch, url: str, mirror: str, hub: HubServer) -> None:
    """The mirror is asked for the whole file, since it is unknown which byte was wrong."""
    fault = hub.faults.add("flip", path="*/files.example.org/f.bin", offset=9 * MIB + 1)
    assert fetch.run(fetch.artifact(url, mirror)) == CONTENT
    assert fault.fired == 1
    assert sent(hub, "*/mirror.example.org/f.bin") == len(CONTENT)


def test_a_flipped_byte_that_an_earlier_run_left(fetch: Fetch, url: str, hub: HubServer) -> None:
    """It is found at the end, since its CRC is that of the wrong byte: then the file is fetched once more, and only once."""
    artifact = fetch.artifact(url)
    flip = hub.faults.add("flip", path="*/f.bin", offset=MIB + 1)
    fault = hub.faults.add("status", path="*/f.bin", status=503, since=3)
    with pytest.raises(RemoteUnavailableError):
        fetch.run(artifact)
    assert fault.fired >= 1
    assert flip.fired == 1
    hub.faults.clear()
    hub.log.clear()
    assert fetch.run(artifact) == CONTENT
    assert sent(hub) == 2 * len(CONTENT) - 8 * MIB


@pytest.mark.parametrize("digest", [True, False])
def test_a_mirror_of_what_an_earlier_run_left(fetch: Fetch, url: str, mirror: str, hub: HubServer, *, digest: bool) -> None:
    """With a digest, bytes of any URL are resumed; without one, bytes of two URLs are never mixed."""
    artifact = fetch.artifact(url, mirror, digest=digest)
    fault = hub.faults.add("status", path="*/f.bin", status=503, since=3)
    with pytest.raises(RemoteUnavailableError):
        fetch.run(artifact)
    assert fault.fired >= 1
    hub.faults.clear()
    gone = hub.faults.add("status", path="*/files.example.org/f.bin", status=404)
    hub.log.clear()
    assert fetch.run(artifact) == CONTENT
    assert gone.fired >= 1
    assert sent(hub, "*/mirror.example.org/f.bin") == len(CONTENT) - (8 * MIB if digest else 0)


@pytest.mark.parametrize("content", [CONTENT, CONTENT[:-1], CONTENT[:-1] + b"?", None])
def test_a_file_on_this_machine_and_a_mirror(fetch: Fetch, mirror: str, hub: HubServer, content: bytes | None) -> None:
    """A local file is copied if it is right; if it is wrong or missing, the mirror is asked."""
    path = fetch.folder.parent / "f.bin"
    if content is not None:
        path.write_bytes(content)
    assert fetch.run(fetch.artifact(path.as_uri(), mirror)) == CONTENT
    assert sent(hub, "*/mirror.example.org/f.bin") == (0 if content == CONTENT else len(CONTENT))


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("html", {}),
        ("status", {"status": 403}),
        ("status", {"status": 404}),
        ("status", {"status": 400}),
        ("status", {"status": 503}),
        ("reset", {"after": 0}),
        ("ignore_range", {}),
        ("change", {}),
    ],
)
@pytest.mark.parametrize("finder", ["leader", "helper"])
def test_a_mirror_helps_whoever_found_out(  # noqa: PLR0917 - fixtures and a table
    fetch: Fetch, url: str, mirror: str, hub: HubServer, kind: Kind, fields: dict[str, Any], finder: str
) -> None:
    """Whether the leading connection or a helper gets the error, the next URL is asked for the missing bytes alone."""
    hold = hub.faults.add("hold", path="*/files.example.org/f.bin", since=2, gate="others")
    fault = hub.faults.add(kind, path="*/files.example.org/f.bin", since=2, **fields)
    gate = hub.faults.add("gate", path="*/files.example.org/f.bin", after=3 * MIB, nth=1, gate="leader")

    def steer() -> None:
        wait_until(lambda: fetch.recorded() >= 2 * MIB, "two pieces are recorded")
        hub.faults.gate("others").release()
        if finder == "helper":
            wait_until(lambda: fault.fired, "a helper found out")
        hub.faults.gate("leader").release()

    with alongside(steer):
        assert fetch.run(fetch.artifact(url, mirror)) == CONTENT
    assert fault.fired >= 1
    assert gate.fired == 1
    assert hold.fired >= 1
    # Two pieces had arrived when the others were answered, unless another version of the file made them worthless.
    kept = 0 if kind == "change" else 2 * MIB
    assert sent(hub, "*/mirror.example.org/f.bin") <= len(CONTENT) - kept


def test_whoever_comes_too_late_to_help(fetch: Fetch, url: str, hub: HubServer) -> None:
    """A helper that comes after its URL was given up does nothing: another URL is being used."""
    fault = hub.faults.add("status", path="*/f.bin", status=404, since=2)
    client = HttpClient(Network(fetch.time.retry(), fetch.stop))
    threads = FetchThreads(lambda: 1, label="test", check_cancelled=fetch.stop.raise_if_requested)
    artifact = fetch.artifact(url)
    with RangedFile.on_disk(
        fetch.folder, artifact, len(CONTENT), check_cancelled=fetch.stop.raise_if_requested, connections=lambda: 1
    ) as file:
        form = FileForm("f.bin", size=len(CONTENT), verifiable=True)
        ranged = RangedFetch(client, url, file, form=form, verifiable=True, authorized=False, advance=lambda _count: None)
        with pytest.raises(NotFoundError):
            ranged.run(threads)
        file.recover()
        assert file.wants_connection
        ranged.help()
        assert file.claim(wait=False) is not None
    assert fault.fired == len(entries(hub)) - 1 == 1


def test_another_size(fetch: Fetch, url: str, hub: HubServer) -> None:
    """A file of another size than the catalog says costs one request, and bytes that have arrived are kept."""
    artifact = fetch.artifact(url)
    fault = hub.faults.add("status", path="*/f.bin", status=503, since=3)
    with pytest.raises(RemoteUnavailableError):
        fetch.run(artifact)
    assert fault.fired >= 1
    hub.faults.clear()
    hub.log.clear()
    hub.add_static("https://files.example.org/f.bin", CONTENT + b"and more")
    with pytest.raises(SizeMismatchError):
        fetch.run(artifact)
    assert len(entries(hub)) <= CONNECTIONS
    assert fetch.kept(artifact) == 8 * MIB


# --- files that change -----------------------------------------------------------------------------------------------------


def changed() -> bytes:
    """Return what the server sends after the file changed."""
    return CONTENT.translate(CHANGED)


def test_one_answer_of_another_version(fetch: Fetch, url: str, hub: HubServer) -> None:
    """When one response is of another version, everything is dropped, and the file is fetched anew."""
    fault = hub.faults.add("change", path="*/f.bin", nth=3)
    assert fetch.run(fetch.artifact(url)) == CONTENT
    assert fault.fired == 1
    assert len(entries(hub)) <= 2 * RANGES + CONNECTIONS


def test_it_changes_while_it_arrives_and_no_digest_is_known(fetch: Fetch, url: str, hub: HubServer) -> None:
    """The new version arrives whole, never a mixture."""
    fault = hub.faults.add("change", path="*/f.bin", since=3)
    assert fetch.run(fetch.artifact(url, digest=False)) == changed()
    assert fault.fired >= RANGES


def test_it_changes_while_it_arrives(fetch: Fetch, url: str, hub: HubServer) -> None:
    """The new version is refused, since the catalog's digest is that of the old one."""
    fault = hub.faults.add("change", path="*/f.bin", since=3)
    with pytest.raises(DigestMismatchError):
        fetch.run(fetch.artifact(url))
    assert fault.fired >= RANGES


@pytest.mark.parametrize("digest", [True, False])
def test_it_changes_between_two_runs(fetch: Fetch, url: str, hub: HubServer, *, digest: bool) -> None:
    """Bytes that the first run left are of the old version, and are dropped."""
    artifact = fetch.artifact(url, digest=digest)
    fault = hub.faults.add("status", path="*/f.bin", status=503, since=3)
    with pytest.raises(RemoteUnavailableError):
        fetch.run(artifact)
    assert fault.fired >= 1
    assert fetch.kept(artifact) == 8 * MIB
    hub.faults.clear()
    fault = hub.faults.add("change", path="*/f.bin")
    if digest:
        with pytest.raises(DigestMismatchError):
            fetch.run(artifact)
    else:
        assert fetch.run(artifact) == changed()
    assert fault.fired >= RANGES


def test_each_answer_of_its_own_version(fetch: Fetch, url: str, hub: HubServer) -> None:
    """If every response has another ETag, the digest decides that the file is right."""
    fault = hub.faults.add("etag", path="*/f.bin")
    assert fetch.run(fetch.artifact(url)) == CONTENT
    assert fault.fired > RANGES


@pytest.mark.parametrize("size", [len(CONTENT), 16 * MIB])
def test_each_answer_of_its_own_version_and_no_digest_is_known(fetch: Fetch, url: str, hub: HubServer, size: int) -> None:
    """Nobody can say that the ranges belong together: after some tries one answer brings the whole."""
    hub.add_static("https://files.example.org/f.bin", CONTENT[:size])
    fault = hub.faults.add("etag", path="*/f.bin")
    assert fetch.run(fetch.artifact(url, size=size, digest=False)) == CONTENT[:size]
    assert 4 <= fault.fired <= 8 * CONNECTIONS
    assert (entries(hub)[-1].range, entries(hub)[-1].status) == (None, 200)


def test_a_change_between_two_runs_costs_the_new_version_twice(fetch: Fetch, url: str, hub: HubServer) -> None:
    """What the first run left was dropped when the change was seen; the new version is fetched once more, and no oftener."""
    artifact = fetch.artifact(url)
    fault = hub.faults.add("status", path="*/f.bin", status=503, since=3)
    with pytest.raises(RemoteUnavailableError):
        fetch.run(artifact)
    assert fault.fired >= 1
    hub.faults.clear()
    fault = hub.faults.add("change", path="*/f.bin")
    hub.log.clear()
    with pytest.raises(DigestMismatchError):
        fetch.run(artifact)
    assert fault.fired >= RANGES
    assert len(entries(hub)) <= 2 * RANGES + CONNECTIONS


# --- what lies in staging ---------------------------------------------------------------------------------------------------


def test_a_piece_that_a_power_cut_took_is_fetched_alone(fetch: Fetch, url: str, hub: HubServer) -> None:
    """A piece whose bytes do not have the CRC of the journal is requested again, and only that piece."""
    artifact = fetch.artifact(url)
    fault = hub.faults.add("status", path="*/f.bin", status=503, since=3)
    with pytest.raises(RemoteUnavailableError):
        fetch.run(artifact)
    assert fault.fired >= 1
    hub.faults.clear()
    with (fetch.folder / f"{artifact.key}.part").open("r+b") as file:
        file.seek(5 * PIECE + 17)
        file.write(b"\0\0\0\0")
    hub.log.clear()
    assert fetch.run(artifact) == CONTENT
    assert sent(hub) == len(CONTENT) - 7 * MIB


@pytest.mark.parametrize("journal", [b"", b"{", b"[]\n", b'{"version": 1}\n', b"\xff" * 100, None])
def test_a_journal_that_says_nothing(fetch: Fetch, url: str, hub: HubServer, journal: bytes | None) -> None:
    """With any content of the journal the result is right."""
    artifact = fetch.artifact(url)
    fault = hub.faults.add("status", path="*/f.bin", status=503, since=3)
    with pytest.raises(RemoteUnavailableError):
        fetch.run(artifact)
    assert fault.fired >= 1
    hub.faults.clear()
    path = fetch.folder / f"{artifact.key}.journal"
    assert json.loads(path.read_bytes().partition(b"\n")[0])["size"] == len(CONTENT)
    path.unlink() if journal is None else path.write_bytes(journal)
    assert fetch.run(artifact) == CONTENT


# --- two origins ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def authorized(fetch: Fetch, hub: HubServer) -> Artifact:
    """Return a file of a repository whose bytes are at another origin behind signed URLs."""
    repo = hub.hub.add_repo("ann/large", {"f.bin": CONTENT}, private=True)
    fetch.authorization = {"authorization": f"Bearer {TOKEN}"}
    client = HubClient(hub.endpoint, TOKEN, Network(fetch.time.retry(), fetch.stop))
    return fetch.artifact(client.file_url("ann/large", repo.head.commit, "f.bin"), authorized=True)


def test_a_redirect_is_asked_for_once(fetch: Fetch, authorized: Artifact, hub: HubServer) -> None:
    """The target of a redirect is remembered, since the Hub limits requests; only the Hub gets the token."""
    assert fetch.run(authorized) == CONTENT
    asked = hub.log.entries("*f.bin", origin="hub")
    served = hub.log.entries("*f.bin", origin="cdn")
    assert [entry.authorization for entry in asked] == [True]
    assert [entry.authorization for entry in served] == [False] * RANGES


def test_no_credentials_where_a_redirect_led(fetch: Fetch, url: str, hub: HubServer) -> None:
    """Requests to another origin have no credentials, whether they were redirected or use the remembered target."""
    fetch.authorization = {"authorization": f"Bearer {TOKEN}"}
    fault = hub.faults.add("redirect", path="/elsewhere", location=url)
    assert fetch.run(fetch.artifact(f"{hub.endpoint}/elsewhere", authorized=True)) == CONTENT
    assert fault.fired == 1
    assert [entry.authorization for entry in hub.log.entries("/elsewhere")] == [True]
    assert [entry.authorization for entry in entries(hub)] == [False] * RANGES


def test_a_remembered_address_of_the_same_origin_is_still_asked_with_credentials(fetch: Fetch, url: str, hub: HubServer) -> None:
    """Credentials are for the origin, not for a path."""
    fetch.authorization = {"authorization": f"Bearer {TOKEN}"}
    first = url.replace("files.example.org/f.bin", "files.example.org/old.bin")
    fault = hub.faults.add("redirect", path="*/old.bin", location="/files.example.org/f.bin")
    assert fetch.run(fetch.artifact(first, authorized=True)) == CONTENT
    assert fault.fired == 1
    assert [entry.authorization for entry in entries(hub)] == [True] * RANGES


def test_a_signed_address_that_ends_is_asked_for_anew(fetch: Fetch, authorized: Artifact, hub: HubServer) -> None:
    """When a signed URL expires during a transfer, a new one is requested."""
    held = hub.faults.add("gate", path="*f.bin", origin="cdn", after=0, nth=1, gate="first")

    def expire() -> None:
        assert hub.faults.gate("first").wait_reached()
        hub.expire_links()
        hub.faults.clear()

    waiting = threading.Thread(target=expire)
    waiting.start()
    assert fetch.run(authorized) == CONTENT
    waiting.join()
    assert held.fired == 1
    asked = hub.log.entries("*f.bin", origin="hub")
    assert 2 <= len(asked) <= 1 + CONNECTIONS
    assert {entry.status for entry in hub.log.entries("*f.bin", origin="cdn")} == {206, 403}


# --- budgets ----------------------------------------------------------------------------------------------------------------


def test_one_budget_for_all_connections(fetch: Fetch, url: str, hub: HubServer) -> None:
    """A file of 21 MB at 1 MB/s takes 21 s, over any number of connections."""
    fetch.bytes_per_second = 1_000_000.0
    begun = fetch.time.clock()
    assert fetch.run(fetch.artifact(url)) == CONTENT
    assert len(entries(hub)) == RANGES
    assert fetch.time.clock() - begun >= 0.95 * len(CONTENT) / 1_000_000
