"""Files that the kernel sends: the same bytes as any other way, and an end for every connection that cannot have them."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from provisioner.web import server as page_server
from provisioner.web.server import PageServer, listen
from provisioner.web.zero_copy import ZERO_COPY
from tests.support.media import noise
from tests.support.program import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import Receive, Scope, Send

CONTENT: Final = noise("sent by the kernel", 9_000_001)


class FileServer:
    """A server that sends one file by the kernel: the part that the query names."""

    def __init__(self, path: Path) -> None:
        """Take the file; :meth:`running` serves it."""
        self.path = path
        self.sent = threading.Event()
        """Set when a response has ended, whatever became of it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        assert ZERO_COPY in scope["extensions"]
        start, end = (int(each) for each in scope["query_string"].split(b"-"))
        headers = [(b"content-length", str(end - start).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        file = os.open(self.path, os.O_RDONLY)
        try:
            await send({"type": ZERO_COPY, "file": file, "offset": start, "count": end - start, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            os.close(file)
            self.sent.set()

    @contextlib.contextmanager
    def running(self) -> Iterator[int]:
        """Serve, and yield the port; it must stop at once in the end."""
        sock = listen("127.0.0.1", 0)
        server = PageServer(self, sock, _nothing)
        thread = threading.Thread(target=server.run, daemon=True)
        port = sock.getsockname()[1]
        thread.start()
        yield port
        server.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()


async def _nothing() -> None:
    """Do nothing when the server stops."""


@pytest.fixture
def served(tmp_path: Path) -> FileServer:
    """Return a server of a file."""
    path = tmp_path / "sent.bin"
    path.write_bytes(CONTENT)
    return FileServer(path)


@pytest.fixture
def port(served: FileServer) -> Iterator[int]:
    """Yield the port of the server while it runs."""
    with served.running() as port:
        yield port


def asked(port: int, start: int, end: int) -> socket.socket:
    """Return a connection on which a part of the file was asked for."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
    sock.sendall(f"GET /?{start}-{end} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return sock


def rest_of(sock: socket.socket) -> int:
    """Read to the end of a connection, and return how many bytes came."""
    count = 0
    with contextlib.suppress(ConnectionError):
        while data := sock.recv(1 << 20):
            count += len(data)
    return count


def test_parts_of_a_file(port: int) -> None:
    """Each is sent exactly, one after the other over one connection, whether it is a byte or all of it."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    with contextlib.closing(client):
        for start, end in ((0, len(CONTENT)), (0, 1), (len(CONTENT) - 1, len(CONTENT)), (4096, 8_000_000), (0, len(CONTENT))):
            client.request("GET", f"/?{start}-{end}")
            answer = client.getresponse()
            assert answer.read() == CONTENT[start:end]


def test_requests_one_behind_the_other(port: int) -> None:
    """What a header has to wait for is sent before it: the reader is slower than the server, which has all requests at once."""
    asked_for = [(0, 700_000), (5, 6), (1_000_000, 4_000_000), (0, len(CONTENT))]
    with asked(port, *asked_for[0]) as sock:
        for start, end in asked_for[1:]:
            sock.sendall(f"GET /?{start}-{end} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        stream = sock.makefile("rb")
        for start, end in asked_for:
            assert stream.readline() == b"HTTP/1.1 200 OK\r\n"
            while stream.readline() != b"\r\n":
                pass
            assert stream.read(end - start) == CONTENT[start:end]


def test_several_readers_at_once(port: int) -> None:
    """One that reads slowly holds up nobody else."""
    with asked(port, 0, len(CONTENT)) as slow:
        assert slow.recv(1000)
        for _ in range(4):
            with asked(port, 0, len(CONTENT)) as other:
                other.sendall(b"GET /?0-0 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                assert rest_of(other) > len(CONTENT)


def test_a_reader_that_takes_nothing(served: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection is closed after a while, in the middle of the file."""
    monkeypatch.setattr(page_server, "STALL_SECONDS", 0.2)
    with served.running() as port, asked(port, 0, len(CONTENT)) as sock:
        assert served.sent.wait(PATIENCE)
        assert rest_of(sock) < len(CONTENT)


def test_a_reader_that_goes(served: FileServer, port: int) -> None:
    """A response to a client that has gone ends, long before it is given up for its silence."""
    for _ in range(3):
        served.sent.clear()
        sock = asked(port, 0, len(CONTENT))
        assert sock.recv(1)
        sock.close()
        assert served.sent.wait(5)


def test_the_server_stops_although_nobody_reads(served: FileServer) -> None:
    """Files that wait for their readers do not keep it; the fixture checks that it stops."""
    with contextlib.ExitStack() as opened, served.running() as port:
        for _ in range(5):
            assert opened.enter_context(asked(port, 0, len(CONTENT))).recv(1)
    assert served.sent.wait(5)


def test_a_file_that_becomes_shorter(served: FileServer, port: int) -> None:
    """The connection ends before the announced length: whoever reads notices, and nothing else is sent in its place."""
    os.truncate(served.path, 5_000_000)
    with asked(port, 0, len(CONTENT)) as sock:
        assert 4_000_000 < rest_of(sock) < 5_001_000


def test_a_file_that_the_kernel_cannot_send() -> None:
    """Where a file system does not offer it, the bytes are read and written."""
    path = Path("/proc/self/status")
    near, far = socket.socketpair()
    with path.open("rb") as file, near, far, pytest.raises(OSError, match="Invalid argument"):
        os.sendfile(near.fileno(), file.fileno(), 0, 10)
    served = FileServer(path)
    with served.running() as port, asked(port, 0, 60) as sock:
        text = b""
        while b"\r\n\r\n" not in text or len(text.partition(b"\r\n\r\n")[2]) < 60:
            text += sock.recv(1 << 16)
    assert text.partition(b"\r\n\r\n")[2].startswith(b"Name:\t")
    wait_until(served.sent.is_set, "it has ended")
