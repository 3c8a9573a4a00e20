"""A server whose responses a test writes byte by byte; it also serves as a forward proxy, since it accepts absolute URLs."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from typing import TYPE_CHECKING, Final, NamedTuple, Self
from urllib.parse import urlsplit

from tests.support import tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LINE: Final = re.compile(rb"(?P<method>[A-Z]+) (?P<target>\S+) HTTP/1\.[01]\r\n")


class Asked(NamedTuple):
    """A request."""

    method: str
    host: str
    """Host and port as in the client's request."""
    target: str
    """Path and query, as they were sent."""
    headers: dict[str, str]
    """Header values by name in lower case."""

    @property
    def start(self) -> int:
        """Return the offset of the first requested byte."""
        found = re.match(r"bytes=(\d+)-", self.headers.get("range", ""))
        return int(found[1]) if found else 0


class ScriptedServer:
    """Answers each request with the pieces that a function yields; the connection stays open when the function ends."""

    def __init__(self, script: Callable[[Asked], Iterator[bytes]], *, port: int = 0, host: str = "127.0.0.1") -> None:
        """Listen."""
        self._script = script
        self._listener = socket.create_server((host, port), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        """The port on which it listens."""
        self._open: list[socket.socket] = []
        self.asked: list[Asked] = []
        self.done = threading.Event()
        """Set when the server stops, for scripts that wait."""

    @property
    def url(self) -> str:
        """Scheme, host and port."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        for connection in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._open.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while (asked := _read(connection)) is not None:
                self.asked.append(asked)
                tally.count("inputs")
                for piece in self._script(asked):
                    if not piece:  # the end of the connection
                        connection.shutdown(socket.SHUT_RDWR)
                    connection.sendall(piece)


def _read(connection: socket.socket) -> Asked | None:
    head = b""
    while b"\r\n\r\n" not in head:
        data = connection.recv(1 << 16)
        if not data:
            return None
        head += data
    found = _LINE.match(head)
    assert found, head
    lines = head[found.end() :].decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    target = found["target"].decode()
    if target.startswith("http"):
        parts = urlsplit(target)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    return Asked(found["method"].decode(), headers.get("host", ""), target, headers)


def response(status: str, *fields: str | bytes, body: bytes = b"", length: bool = True) -> bytes:
    """Return a response; fields are complete header lines."""
    lines = [f"HTTP/1.1 {status}".encode(), *(field if isinstance(field, bytes) else field.encode() for field in fields)]
    if length:
        lines.append(f"Content-Length: {len(body)}".encode())
    return b"\r\n".join((*lines, b"", body))


def delivery(asked: Asked, content: bytes, *fields: str) -> bytes:
    """Return a response with a file, or with the requested range of it."""
    found = re.match(r"bytes=(\d+)-(\d*)", asked.headers.get("range", ""))
    if not found:
        return response("200 OK", *fields, body=content)
    start, end = int(found[1]), min(int(found[2] or len(content)) + 1, len(content))
    span = f"Content-Range: bytes {start}-{end - 1}/{len(content)}"
    return response("206 Partial Content", span, *fields, body=content[start:end])
