"""Readers of the progress page that misbehave: the run goes on, memory stays bounded, and others are answered."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from provisioner.web import server as page_server
from provisioner.web.server import MOST_CONNECTIONS, PageServer, listen
from tests.support.media import noise
from tests.support.page import PageClient, free_port
from tests.support.program import PATIENCE, wait_until
from tests.support.readable import readable
from tests.support.tally import count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import Receive, Scope, Send

    from tests.support.faults import Gate
    from tests.support.hub_server import HubServer
    from tests.support.program import Running
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume

MB: Final = 10**6
READERS: Final = 200
MOST_MEMORY: Final = 24 * MB
"""How much the run may grow by with that many readers: what waits for each of them is bounded by 100 kB or so."""


class HeldRun:
    """A run in the middle of a file, with its page."""

    def __init__(self, run: Running, page: PageClient, gate: Gate) -> None:
        """Know its parts."""
        self.run, self.page, self.gate = run, page, gate

    @property
    def most_memory(self) -> int:
        """The most memory that it has used so far, in bytes."""
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.run.pid}/status").read_text("ascii"))
        assert found is not None
        return int(found[1]) * 1024

    @property
    def connections(self) -> int:
        """How many sockets it has open."""
        names = []
        for name in Path(f"/proc/{self.run.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                names.append(os.readlink(name))
        return sum(name.startswith("socket:") for name in names)

    def connect(self) -> socket.socket:
        """Connect to its page, as a client that takes in as little as possible."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(PATIENCE)
        sock.connect(("127.0.0.1", self.page.port))
        return sock

    def finish(self) -> str:
        """Let it go on; it must end well, and must not have said anything of its readers."""
        self.gate.release()
        outcome = self.run.wait()
        assert outcome.code == 0, outcome.err
        assert "uvicorn" not in outcome.err
        assert "Traceback" not in outcome.err
        assert "failed to answer" not in outcome.err
        return outcome.err


@pytest.fixture
def held(shelf: Shelf, volume: Volume, hub: HubServer) -> Iterator[HeldRun]:
    """Return such a run."""
    shelf.add("big", shelf.raw("big.bin", noise("big", 4 * MB)))
    gate = hub.faults.gate(hub.faults.add("gate", path="*big.bin", after=2 * MB, gate="half").gate)
    port = free_port()
    run = volume.start(PROGRESS_PORT=str(port))
    assert gate.wait_reached()
    page = PageClient(port)
    page.wait_up()
    yield HeldRun(run, page, gate)
    gate.release()


# --- many, and slow ------------------------------------------------------------------------------------------------------

ASKING: Final = {
    "the page, a thousand times": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000,
    "events": b"GET /events?as=page HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "half a head": b"GET / HTTP/1.1\r\nHost: loc",
    "nothing": b"",
}


@pytest.mark.parametrize("asked", ASKING)
def test_many_readers_that_never_read(held: HeldRun, asked: str) -> None:
    """Two hundred clients that ask and never read: memory is bounded, who reads gets every event, and the run ends well."""
    before = held.most_memory
    attentive = held.page.events()
    assert attentive.next() is not None
    readers = []
    for _ in range(READERS):
        with contextlib.suppress(OSError):  # what is too much is turned away
            sock = held.connect()
            readers.append(sock)
            sock.setblocking(False)
            sock.send(ASKING[asked])
    wait_until(lambda: held.connections >= MOST_CONNECTIONS, "all places are taken")
    if ASKING[asked].endswith(b"\r\n\r\n"):
        wait_until(lambda: len(readable(readers, 0)) >= MOST_CONNECTIONS, "they are answered")
    count("faults", len(readers))
    for _ in range(3):
        assert (attentive.next() or ("", ""))[0] == "status"
    grown = held.most_memory - before
    held.finish()
    attentive.close()
    for sock in readers:
        sock.close()
    assert grown < MOST_MEMORY, f"{grown:,} bytes"


def test_a_person_gets_in_although_many_do_not_read(held: HeldRun) -> None:
    """When all places are taken by clients that do not read, one of them makes room for who comes."""
    readers = [held.connect() for _ in range(MOST_CONNECTIONS)]
    for sock in readers:
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError, ConnectionError):
            sock.send(ASKING["the page, a thousand times"])

    def is_answered() -> bool:
        with contextlib.suppress(OSError):
            return held.page.get("/").status == 200
        return False

    wait_until(is_answered, "an answer")
    count("faults", len(readers))
    held.finish()
    for sock in readers:
        sock.close()


# --- strange requests ----------------------------------------------------------------------------------------------------

_HOST: Final = b"Host: localhost\r\n"
REQUESTS: Final[dict[str, tuple[bytes, frozenset[int]]]] = {
    "a URL of 1 MB": (b"GET /%s HTTP/1.1\r\n%s\r\n" % (b"a" * MB, _HOST), frozenset({0, 400})),
    "a header of 1 MB": (b"GET / HTTP/1.1\r\n%sX: %s\r\n\r\n" % (_HOST, b"a" * MB), frozenset({0, 400})),
    "100,000 headers": (b"GET / HTTP/1.1\r\n%s%s\r\n" % (_HOST, b"a: b\r\n" * 100_000), frozenset({0, 400})),
    "a body of 1 MB": (b"POST / HTTP/1.1\r\n%sContent-Length: 1000000\r\n\r\n%s" % (_HOST, b"a" * MB), frozenset({405})),
    "a body of 1 MB where none belongs": (
        b"GET / HTTP/1.1\r\n%sContent-Length: 1000000\r\n\r\n%s" % (_HOST, b"a" * MB),
        frozenset({200}),
    ),
    "a body in chunks": (
        b"POST /events HTTP/1.1\r\n%sTransfer-Encoding: chunked\r\n\r\n%s" % (_HOST, b"F4240\r\n" + b"a" * MB + b"\r\n0\r\n\r\n"),
        frozenset({405}),
    ),
    "a chunk that is none": (b"GET / HTTP/1.1\r\n%sTransfer-Encoding: chunked\r\n\r\nZZ\r\n" % _HOST, frozenset({400})),
    "a chunk that is none, to what never ends": (
        b"GET /events HTTP/1.1\r\n%sTransfer-Encoding: chunked\r\n\r\nZZ\r\n" % _HOST,
        frozenset({400}),
    ),
    "a request behind one that is none": (
        b"GET / HTTP/1.1\r\n%s\r\nGET\r\n\r\n" % _HOST,
        frozenset({200, 400}),
    ),
    "a length that is none": (b"GET / HTTP/1.1\r\n%sContent-Length: x\r\n\r\n" % _HOST, frozenset({400})),
    "a body of which nothing comes": (b"POST / HTTP/1.1\r\n%sContent-Length: 1000000\r\n\r\n" % _HOST, frozenset({405})),
    "two lengths": (b"POST / HTTP/1.1\r\n%sContent-Length: 1\r\nContent-Length: 2\r\n\r\n" % _HOST, frozenset({400})),
    "..": (b"GET /../../../../etc/passwd HTTP/1.1\r\n%s\r\n" % _HOST, frozenset({404})),
    "encoded ..": (b"GET /%%2e%%2e/%%2e%%2e/etc/passwd HTTP/1.1\r\n%s\r\n" % _HOST, frozenset({404})),
    ".. below a file": (b"GET /provisioner.css/../../application.py HTTP/1.1\r\n%s\r\n" % _HOST, frozenset({404})),
    "a NUL": (b"GET /%%00 HTTP/1.1\r\n%s\r\n" % _HOST, frozenset({404})),
    "two slashes": (b"GET //etc/passwd HTTP/1.1\r\n%s\r\n" % _HOST, frozenset({404})),
    "bytes that are no text": (b"GET /\xff\xfe HTTP/1.1\r\n%s\r\n" % _HOST, frozenset({400, 404})),
    "a whole URL": (b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n", frozenset({421, 404})),
    "no host": (b"GET / HTTP/1.0\r\n\r\n", frozenset({421})),
    "two hosts": (b"GET / HTTP/1.1\r\n%sHost: evil.example\r\n\r\n" % _HOST, frozenset({400})),
    "a proxy's request": (b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n", frozenset({400, 404, 405, 421})),
    "a web socket": (
        b"GET /events HTTP/1.1\r\n%sConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: MTIzNDU2Nzg5MDEyMzQ1Ng==\r\n\r\n" % _HOST,
        frozenset({200}),
    ),
    "another protocol": (bytes.fromhex("160301020001fc0303"), frozenset({0, 400})),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", frozenset({0, 400, 404, 421, 505})),
}
"""What is sent, and which statuses may come; 0: the connection is closed without one."""


def test_strange_requests(held: HeldRun) -> None:
    """Whatever is sent, the answer is a refusal or a page, never a file of this machine, and the log says nothing."""
    before = held.most_memory
    for name, (request, statuses) in REQUESTS.items():
        with held.connect() as sock, contextlib.suppress(ConnectionError):
            answer = b""
            sending = threading.Thread(target=_send, args=(sock, request))
            sending.start()
            with contextlib.suppress(ConnectionError):
                answer = sock.recv(1 << 16)
            sock.close()
            sending.join(PATIENCE)
            status = int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0
            assert status in statuses, (name, answer[:200])
            assert b"root:" not in answer
            count("faults")
        assert held.page.get("/healthz").status == 200, name
    assert held.most_memory - before < MOST_MEMORY
    held.finish()


def _send(sock: socket.socket, request: bytes) -> None:
    with contextlib.suppress(OSError):
        sock.sendall(request)


# --- the bounds themselves -----------------------------------------------------------------------------------------------


async def _endless(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with bytes that never end, or take part in the life of the server."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    gone = asyncio.ensure_future(_until_gone(receive))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while not gone.done():
        await send({"type": "http.response.body", "body": bytes(1 << 16), "more_body": True})
        await asyncio.sleep(0)


async def _until_gone(receive: Receive) -> None:
    """Wait until the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _nothing() -> None:
    """Do nothing when the server stops."""


@pytest.fixture
def endless() -> Iterator[int]:
    """Serve bytes without end on a port, and stop in bounded time."""
    sock = listen("127.0.0.1", 0)
    port = sock.getsockname()[1]
    server = PageServer(_endless, sock, _nothing)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield port
    server.stop()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))


def read_to_the_end(sock: socket.socket) -> None:
    """Read until the server closes the connection, which it must."""
    with contextlib.suppress(ConnectionError):
        while sock.recv(1 << 20):
            pass


def test_a_client_that_does_not_read_is_cut_off(endless: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection whose reader takes nothing is closed after a while, with what waited for it."""
    monkeypatch.setattr(page_server, "STALL_SECONDS", 0.2)
    cut = []

    def abort(self: page_server.BoundedProtocol) -> None:
        cut.append(self)
        self.transport.abort()

    monkeypatch.setattr(page_server.BoundedProtocol, "abort", abort)
    with socket.create_connection(("127.0.0.1", endless), timeout=PATIENCE) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: cut, "it is cut off")
        read_to_the_end(sock)
    count("faults")


def test_a_client_that_asks_nothing_is_cut_off(endless: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection on which no request comes, or half of one, is closed after a while."""
    monkeypatch.setattr(page_server, "HEAD_SECONDS", 0.2)
    for sent in (b"", b"GET / HTTP/1.1\r\nHo"):
        with socket.create_connection(("127.0.0.1", endless), timeout=PATIENCE) as sock:
            sock.sendall(sent)
            read_to_the_end(sock)
            count("faults")


def test_the_server_stops_although_nobody_reads(endless: int) -> None:
    """Connections that do not read are closed when the server stops; the fixture checks that it stops."""
    for _ in range(5):
        sock = socket.create_connection(("127.0.0.1", endless), timeout=PATIENCE)
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert sock.recv(1)
        sock.close()
        count("faults")
