"""A Hub that misbehaves: what is retried, what is given up, and that nothing incomplete is taken for complete."""

from __future__ import annotations

import json
import socket
import threading
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from provisioner.cancellation import Cancellation
from provisioner.errors import InterruptedBySignal, ProvisionerError, RemoteRefusedError, RemoteUnavailableError
from provisioner.remote.hub import transport as hub_transport
from provisioner.remote.hub.client import HubClient
from provisioner.remote.network import Network
from provisioner.remote.retry import Retry, RetryPolicy
from tests.support.fake_time import FakeTime
from tests.support.hub_server import HubServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.faults import Kind

FILES = {name: name.encode() for name in ("a.txt", "b.txt", "c.txt", "d.txt", "e.txt")}
COMMIT = "c" * 40


@pytest.fixture
def server() -> Iterator[HubServer]:
    """Return a Hub whose listings come in three pages."""
    with HubServer(page_size=2) as server:
        server.hub.add_token("ann-token", "ann")
        server.hub.add_repo("ann/songs", FILES, commit_id=COMMIT)
        yield server


@pytest.fixture
def time() -> FakeTime:
    """Return time that does not pass by itself."""
    return FakeTime()


@pytest.fixture
def hub(server: HubServer, time: FakeTime) -> Iterator[HubClient]:
    """Return a client that uses this time."""
    with HubClient(server.endpoint, "ann-token", Network(time.retry(), Cancellation())) as hub:
        yield hub


QUESTIONS: list[tuple[str, Callable[[HubClient], object]]] = [
    ("*/revision/*", lambda hub: hub.resolve("ann/songs", "main")),
    ("*/tree/*", lambda hub: hub.listing("ann/songs", COMMIT)),
    ("*/whoami-v2", lambda hub: hub.whoami()),
    ("*/repos/create", lambda hub: hub.create_repository("ann/new", private=False)),
    ("*/auth-check/write", lambda hub: hub.may_write("ann/songs")),
]


@pytest.mark.parametrize(("path", "question"), QUESTIONS)
@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_trouble_that_passes(  # noqa: PLR0917 - fixtures and a table
    server: HubServer, time: FakeTime, hub: HubClient, status: int, path: str, question: Callable[[HubClient], object]
) -> None:
    """Two failures of any request are retried by our policy alone, not by the library's as well."""
    fault = server.faults.add("status", path=path, status=status, first=2)
    question(hub)
    assert fault.fired == 2
    assert time.waits == [0.75, 1.5]


@pytest.mark.parametrize(("path", "question"), QUESTIONS)
def test_trouble_that_stays(
    server: HubServer, time: FakeTime, hub: HubClient, path: str, question: Callable[[HubClient], object]
) -> None:
    """The attempts of each request are bounded, and the message says how often it was tried."""
    fault = server.faults.add("status", path=path, status=503)
    with pytest.raises(RemoteUnavailableError, match=r"asked 6 times over 23 s, at last: .*503 Service Unavailable") as caught:
        question(hub)
    assert (fault.fired, caught.value.exit_code) == (6, 75)
    assert time.waits == [0.75, 1.5, 3.0, 6.0, 12.0]


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry-After": "20"}, 20.5),
        ({"RateLimit": '"api";r=0;t=55'}, 55.5),
        ({"Retry-After": "20", "RateLimit": '"api";r=9;t=55'}, 20.5),
    ],
)
def test_too_many_requests_waits_as_long_as_the_hub_says(
    server: HubServer, time: FakeTime, hub: HubClient, headers: dict[str, str], wait: float
) -> None:
    """The wait of the standard header and of the Hub's own header is kept."""
    fault = server.faults.add("status", path="*/revision/main", status=429, headers=headers, first=1)
    assert hub.resolve("ann/songs", "main") == COMMIT
    assert (fault.fired, time.waits) == (1, [wait])


def test_the_hub_cannot_park_us(server: HubServer, time: FakeTime, hub: HubClient) -> None:
    """A wait of an hour for a page of a listing is refused, although the library would sleep that long."""
    fault = server.faults.add("status", path="*/tree/*", status=429, headers={"Retry-After": "3600"}, nth=2)
    with pytest.raises(RemoteUnavailableError, match="3600 s"):
        hub.listing("ann/songs", COMMIT)
    assert (fault.fired, time.waits) == (1, [])


def test_too_many_requests_slows_down_the_next_question_too(server: HubServer, time: FakeTime, hub: HubClient) -> None:
    """The wait that was asked of one request applies to the next one."""
    begin = time.clock()
    fault = server.faults.add("status", path="*/whoami-v2", status=429, headers={"Retry-After": "250"})
    with pytest.raises(RemoteUnavailableError):
        hub.whoami()
    assert fault.fired == 2
    hub.resolve("ann/songs", "main")
    assert time.clock() - begin >= 250


def test_only_the_failing_page_is_asked_again(server: HubServer, time: FakeTime, hub: HubClient) -> None:
    """A listing whose page fails is continued with that page."""
    fault = server.faults.add("status", path="*/tree/*", status=502, nth=2)
    assert len(hub.listing("ann/songs", COMMIT)) == len(FILES)
    assert fault.fired == 1
    assert len(time.waits) == 1
    assert len(server.log.entries("*/tree/*")) == 3 + 1


@pytest.mark.parametrize("kind", ["reset", "close"])
@pytest.mark.parametrize("after", [None, 10])
def test_broken_connections(server: HubServer, time: FakeTime, hub: HubClient, kind: Kind, after: int | None) -> None:
    """A response that breaks off, at its start or in the middle, is requested again; no part of it is used."""
    fault = server.faults.add(kind, path="*/tree/*", after=after, first=2)
    assert [file.path for file in hub.listing("ann/songs", COMMIT)] == sorted(FILES)
    assert (fault.fired, len(time.waits)) == (2, 2)


def test_a_connection_that_always_breaks(server: HubServer, hub: HubClient) -> None:
    """It is given up, and the message says why."""
    fault = server.faults.add("reset", path="*/tree/*", after=10)
    with pytest.raises(RemoteUnavailableError, match=r"asked 6 times .* the connection broke"):
        hub.listing("ann/songs", COMMIT)
    assert fault.fired == 6


def test_a_listing_without_its_last_page_is_not_taken(server: HubServer, time: FakeTime, hub: HubClient) -> None:
    """A missing page is noticed, and the listing is requested again."""
    fault = server.faults.add("short_listing", path="*/tree/*", first=1)
    assert len(hub.listing("ann/songs", COMMIT)) == len(FILES)
    assert (fault.fired, len(time.waits)) == (1, 1)


def test_a_listing_that_stays_short_is_an_error(server: HubServer, hub: HubClient) -> None:
    """Files of the repository that the listing lacks are never left out silently."""
    fault = server.faults.add("short_listing", path="*/tree/*")
    with pytest.raises(RemoteUnavailableError, match=r"the listing lacks 3 of the repository's files, c\.txt for one"):
        hub.listing("ann/songs", COMMIT)
    assert fault.fired == 6


@pytest.mark.parametrize(
    "body",
    [
        "<html>Log in to this network</html>",
        "",
        "[",
        "null",
        "[]",
        "{}",
        '"words"',
        '{"id": "ann/songs"}',
        pytest.param("[" * 100_000, id="nested without end"),
        pytest.param(f'{{"id": {"9" * 5000}}}', id="a number without end"),
        pytest.param(f'{{"id": "ann/songs", "sha": "{COMMIT}", "lastModified": "yesterday"}}', id="no date"),
        pytest.param(f'{{"id": "ann/songs", "sha": "{COMMIT}", "createdAt": "2024-99-99T99:99:99.000Z"}}', id="no real date"),
        pytest.param(f'{{"id": "ann/songs", "sha": "{COMMIT}", "siblings": [7]}}', id="no file"),
        pytest.param(f'{{"id": "ann/songs", "sha": "{COMMIT}", "tags": 7}}', id="no tags"),
        pytest.param(f'{{"id": "ann/songs", "sha": "{COMMIT}", "cardData": 7}}', id="no card"),
    ],
)
def test_an_answer_that_is_not_the_hubs(server: HubServer, hub: HubClient, body: str) -> None:
    """A login page or a broken filter is reported as not being a Hub, not as an internal error."""
    fault = server.faults.add("status", path="*/revision/main", status=200, body=body)
    with pytest.raises(RemoteUnavailableError, match="is not a Hub's") as caught:
        hub.resolve("ann/songs", "main")
    assert (fault.fired, "HF_ENDPOINT" in caught.value.hint) == (6, True)


@pytest.mark.parametrize(
    "body",
    [
        "<html></html>",
        "{}",
        "[7]",
        '[{"type": "file"}]',
        '[{"path": "a"}]',
        pytest.param("[" * 100_000, id="nested without end"),
        pytest.param(f'[{{"type": "file", "path": "a", "size": {"9" * 5000}}}]', id="a number without end"),
    ],
)
def test_a_listing_that_is_none(server: HubServer, hub: HubClient, body: str) -> None:
    """The same holds for listings."""
    fault = server.faults.add("status", path="*/tree/*", status=200, body=body)
    with pytest.raises(RemoteUnavailableError):
        hub.listing("ann/songs", COMMIT)
    assert fault.fired == 6


@pytest.mark.parametrize("entries", [2, 0], ids=["with files", "empty"])
def test_pages_in_a_circle(server: HubServer, hub: HubClient, entries: int) -> None:
    """A page that names an earlier one as the next is a permanent error, and is not followed forever."""
    page = [{"type": "file", "path": f"{number}.txt", "size": 1, "oid": "a" * 40} for number in range(entries)]
    there = f"{server.endpoint}/api/datasets/ann/songs/tree/{COMMIT}?recursive=true&cursor=1"
    link = {"Link": f'<{there}>; rel="next"'}
    fault = server.faults.add("status", path="*/tree/*", status=200, body=json.dumps(page), headers=link)
    with pytest.raises(RemoteRefusedError, match="its pages lead in a circle"):
        hub.listing("ann/songs", COMMIT)
    assert fault.fired == 2


def test_redirects_without_end(server: HubServer, hub: HubClient) -> None:
    """A circle of redirects is a permanent error."""
    location = f"{server.endpoint}/api/datasets/ann/songs/revision/main"
    fault = server.faults.add("redirect", path="*/revision/main", location=location)
    with pytest.raises(RemoteRefusedError, match="without end"):
        hub.resolve("ann/songs", "main")
    assert fault.fired > 10


def test_one_repository_at_a_time(server: HubServer, time: FakeTime, hub: HubClient) -> None:
    """A 409 that means "not now" is retried after a wait; the library would retry at once, without end."""
    body = '{"error": "Cannot create repo: another conflicting operation is in progress"}'
    fault = server.faults.add("status", path="*/repos/create", status=409, body=body, first=3)
    hub.create_repository("ann/new", private=False)
    assert (fault.fired, len(time.waits)) == (3, 3)


def test_nobody_listens(time: FakeTime) -> None:
    """A refused connection is retried, then given up."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with (
        HubClient(f"http://127.0.0.1:{port}", None, Network(time.retry(), Cancellation())) as hub,
        pytest.raises(RemoteUnavailableError, match=r"asked 6 times .* no connection") as caught,
    ):
        hub.resolve("ann/songs", "main")
    assert "network" in caught.value.hint
    assert len(time.waits) == 5


def test_a_silent_hub_is_given_up(server: HubServer, time: FakeTime, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library has no time limit; ours applies to every request."""
    monkeypatch.setattr(hub_transport, "_TIMEOUTS", {"connect": 5.0, "read": 0.05, "write": 5.0, "pool": 5.0})
    fault = server.faults.add("stall", path="*/revision/main", after=None)
    retry = time.retry(RetryPolicy(attempts=2))
    with (
        HubClient(server.endpoint, None, Network(retry, Cancellation())) as hub,
        pytest.raises(RemoteUnavailableError, match=r"asked 2 times .* silent"),
    ):
        hub.resolve("ann/songs", "main")
    assert fault.fired == 2


def test_a_dripping_hub_is_given_up(server: HubServer, time: FakeTime, monkeypatch: pytest.MonkeyPatch) -> None:
    """A response that arrives byte by byte exceeds the time limit for a whole response."""
    monkeypatch.setattr(hub_transport, "ANSWER_SECONDS", 0.5)
    fault = server.faults.add("throttle", path="*/revision/main", rate=20)
    retry = time.retry(RetryPolicy(attempts=2))
    with (
        HubClient(server.endpoint, None, Network(retry, Cancellation())) as hub,
        pytest.raises(RemoteUnavailableError, match=r"asked 2 times .* no whole answer"),
    ):
        hub.resolve("ann/songs", "main")
    assert fault.fired == 2


def test_a_request_to_stop_ends_a_request_at_once(server: HubServer) -> None:
    """A request to a silent Hub ends at once on a signal, and raises that as its reason."""
    stop = Cancellation()
    fault = server.faults.add("stall", path="*/revision/main", after=None)
    retry = Retry(RetryPolicy(), pause=stop.wait, clock=monotonic, random=lambda: 0.5)
    caught: list[ProvisionerError] = []

    def ask(hub: HubClient) -> None:
        try:
            hub.resolve("ann/songs", "main")
        except ProvisionerError as error:
            caught.append(error)

    with HubClient(server.endpoint, None, Network(retry, stop)) as hub:
        thread = threading.Thread(target=ask, args=(hub,))
        thread.start()
        assert server.faults.gate(fault.gate).wait_reached()
        begin = monotonic()
        reason = InterruptedBySignal(15)
        stop.request(reason)
        thread.join(10)
        assert monotonic() - begin < 1
        assert caught == [reason]
        # And nothing is asked from then on.
        with pytest.raises(InterruptedBySignal):
            hub.whoami()
    assert fault.fired == 1
