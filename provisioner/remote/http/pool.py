"""Direct connections to hosts, without a proxy: persistent, with one request at a time on each.

They use :mod:`http.client` directly, because for a small file, a general client around it costs more than the request itself
(see ``docs/adr/0017-ranges-pieces-and-bare-connections.md`` for the measurements).
"""

from __future__ import annotations

import http.client
import select
import socket
import threading
import weakref
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

from provisioner.remote.http.errors import NoConnectionError
from provisioner.remote.http.fields import Fields, body_length, is_chunked
from provisioner.remote.http.framing import FramedResponse
from provisioner.remote.sockets import PacedSocket

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from provisioner.remote.dialing import Dialer

_STALE: Final = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError, ConnectionAbortedError)
"""The errors of a connection that the server has closed meanwhile."""
_FIRST_STATUS: Final = 100
_FIRST_FINAL: Final = 200
"""Responses with a lower status are interim responses, which the final one follows."""
_SWITCHING: Final = 101
"""The interim status that switches to a protocol other than HTTP, which was not requested."""
_MAX_INTERIM: Final = 32
_HTTP_1_0: Final = 10
_MAX_LINE: Final = 65_536
_MAX_FIELDS: Final = 100
_FORBIDDEN: Final = frozenset(map(chr, range(33))) | {"\x7f"}


class _Response(FramedResponse):
    """The library's response with our own parser for headers; the library's, made for mail, costs more than a small file."""

    def begin(self) -> None:
        """Read the status line and the header fields (RFC 9112, sections 4 and 5).

        Raises:
            http.client.HTTPException: this is not an HTTP response.
            OSError: the connection failed.
        """
        for _ in range(_MAX_INTERIM):
            status = self._read_status_line()
            fields = self._read_fields()
            if status >= _FIRST_FINAL or status == _SWITCHING:
                break
        if status < _FIRST_FINAL:
            raise http.client.HTTPException(f"no final response, but {status} again and again")
        self.code = self.status = status
        self.headers = self.msg = cast("http.client.HTTPMessage", fields)
        self.chunked = is_chunked(fields)
        self.chunk_left = None
        self.length = None if self.chunked else body_length(fields)
        if status in {http.client.NO_CONTENT, http.client.NOT_MODIFIED}:
            self.length = 0
        connection = fields.get("connection", "").lower()
        self.will_close = (
            "close" in connection
            or (self.version == _HTTP_1_0 and "keep-alive" not in connection)
            or (self.length is None and not self.chunked)
        )
        self.expect_end()

    def read_some(self, view: memoryview) -> int:
        """Read what has arrived into ``view`` and return the number of bytes; 0 at the end of the body.

        The library's own ``read1`` allocates a buffer for all that might come, each time; for a large file, that costs more
        than reading.

        Raises:
            OSError, http.client.HTTPException: the connection failed.
        """
        if self.fp is None:
            return 0
        if self.chunked or self.length is None:
            data = self.read1(len(view))
            view[: len(data)] = data
            return len(data)
        count = self.fp.readinto1(view[: self.length])
        self.length -= count
        if not count or not self.length:
            self._close_conn()  # type: ignore[attr-defined]
        return count

    def _read_status_line(self) -> int:
        line = self.fp.readline(_MAX_LINE + 1)
        if not line:
            raise http.client.RemoteDisconnected("the connection was closed without a response")
        version, _, rest = line.decode("latin-1").strip().partition(" ")
        digits = rest.strip()[:3]
        if not version.startswith("HTTP/1.") or not (digits.isdecimal() and digits.isascii() and int(digits) >= _FIRST_STATUS):
            raise http.client.BadStatusLine(repr(line[:80]))
        self.version = _HTTP_1_0 if version == "HTTP/1.0" else _HTTP_1_0 + 1
        self.reason = rest.strip()[4:]
        return int(digits)

    def _read_fields(self) -> Fields:
        fields, name = Fields(), ""
        for _ in range(_MAX_FIELDS):
            line = self.fp.readline(_MAX_LINE + 1)
            if len(line) > _MAX_LINE:
                raise http.client.LineTooLong("header line")
            text = line.decode("latin-1").rstrip("\r\n")
            if not text:
                if not line:
                    raise http.client.RemoteDisconnected("the connection ended within the header")
                return fields
            if text[0] in " \t":
                if name:
                    fields[name] += f" {text.strip()}"
                continue
            name, colon, value = text.partition(":")
            # A line without a name or a colon is not a field, and its continuation lines are ignored with it.
            name = name.strip().lower() if colon else ""
            if name and fields.setdefault(name, value := value.strip()) is not value:
                fields.add(name, value)
        raise http.client.HTTPException(f"more than {_MAX_FIELDS} header fields")


class BareResponse:
    """A response whose body is read as it was sent."""

    def __init__(
        self,
        inner: _Response,
        connection: http.client.HTTPConnection,
        sock: socket.socket,
        keep: Callable[[], None],
    ) -> None:
        """Wrap ``inner``, which comes over ``connection`` and its socket; ``keep`` is called when that can be used again."""
        self.status = inner.status
        self.headers = cast("Mapping[str, str]", inner.headers)
        self._sock = sock
        self._inner = inner
        self._connection = connection
        self._keep = keep

    def read_into(self, view: memoryview) -> int:
        """Read what has arrived into ``view`` and return the number of bytes; 0 at the end of the body.

        Raises:
            OSError, http.client.HTTPException: the connection failed.
        """
        return self._inner.read_some(view)

    def read(self, count: int) -> bytes:
        """Return ``count`` bytes, or fewer at the end of the body.

        Raises:
            OSError, http.client.HTTPException: the connection failed.
        """
        inner = self._inner
        if inner.chunked or inner.length is None or not isinstance(self._sock, PacedSocket):
            return inner.read(count)
        data = bytearray(min(count, inner.length))
        view, have = memoryview(data), 0
        self._sock.fill_buffers(on=True)
        try:
            while have < len(data) and (more := inner.read_some(view[have:])):
                have += more
        finally:
            self._sock.fill_buffers(on=False)
        return bytes(view[:have])

    def drain(self) -> None:
        """Read the rest, so that the connection can be used again."""
        try:
            self._inner.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()

    def shutdown(self) -> None:
        """Interrupt a read in which another thread is waiting."""
        self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Keep the connection if the body was read to its end, else close it."""
        inner, keep = self._inner, self._keep
        # The body is complete, and the server keeps the connection open.
        reusable = (inner.length == 0 or inner.isclosed()) and not inner.will_close and self._connection.sock is not None
        inner.close()
        self._keep = _nothing
        if keep is _nothing:
            return
        if reusable:
            keep()
        else:
            self._connection.close()


def _nothing() -> None:
    """Do nothing, because the connection has already been kept or closed."""


class BarePool:
    """Connections to one origin; safe for several threads."""

    def __init__(
        self,
        origin: str,
        tls_context: Callable[[], ssl.SSLContext],
        dialer: Dialer,
        *,
        connect_seconds: float,
        stall_seconds: float,
    ) -> None:
        """Open no connection yet.

        Args:
            origin: scheme, host and port, as at the beginning of its URLs.
            tls_context: returns the TLS settings; called only for ``https``.
            dialer: makes the connections.
            connect_seconds: how long making a connection may take.
            stall_seconds: how long a connection may deliver nothing.

        Raises:
            ValueError: the origin is not valid.
        """
        parts = urlsplit(origin)
        self._origin = origin
        self._scheme = parts.scheme
        self._host = parts.hostname or ""
        self._port = parts.port
        self._authority = parts.netloc
        self._tls_context = tls_context
        self._dialer = dialer
        self._connect_seconds = connect_seconds
        self._stall_seconds = stall_seconds
        self._idle: deque[http.client.HTTPConnection] = deque()
        self._lock = threading.Lock()
        weakref.finalize(self, _close_all, self._idle)

    def request(self, url: str, headers: Mapping[str, str]) -> BareResponse:
        """Send a GET request and return its response; no redirect is followed.

        Raises:
            OSError, http.client.HTTPException: the connection failed.
            ValueError: this cannot be requested.
        """
        target = url[len(self._origin) :].partition("#")[0]
        if not target.startswith("/"):
            target = f"/{target}"
        if not _FORBIDDEN.isdisjoint(target):
            raise http.client.InvalidURL(f"{target!r} has a blank or a control character")
        lines = [f"GET {target} HTTP/1.1", f"Host: {self._authority}", *(f"{name}: {value}" for name, value in headers.items())]
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("a header with a line break")
        message = "\r\n".join((*lines, "", "")).encode("latin-1")
        while True:
            connection, is_fresh = self._take()
            sock = connection.sock
            response = _Response(sock, method="GET")
            try:
                sock.sendall(message)
                response.begin()
            except BaseException as error:
                response.close()
                connection.close()
                # No part of a response had arrived: the server had closed the connection before it saw the request.
                if is_fresh and isinstance(error, (TimeoutError, *_STALE)):
                    self._dialer.avoid(connection.host, connection.port)
                if is_fresh or not isinstance(error, _STALE):
                    raise
                continue
            return BareResponse(response, connection, sock, partial(self._keep, connection))

    def _take(self) -> tuple[http.client.HTTPConnection, bool]:
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return self._connect(), True
            if not _has_something_to_read(connection.sock):
                return connection, False
            # The server has closed it, or sent something that was not requested.
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        timeout = self._connect_seconds
        connection: http.client.HTTPConnection
        if self._scheme == "https":
            connection = http.client.HTTPSConnection(self._host, self._port, timeout=timeout, context=self._tls_context())
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout)
        # This is what the library calls to connect; there is no public way to replace it.
        connection._create_connection = self._dial  # type: ignore[attr-defined]  # noqa: SLF001
        try:
            connection.connect()
        except OSError as error:
            if connection.sock is not None:  # it failed above TCP
                self._dialer.avoid(connection.host, connection.port)
            connection.close()
            raise NoConnectionError(error) from error
        sock = connection.sock
        if isinstance(sock, PacedSocket):
            sock.wait_at_most(self._stall_seconds)
        else:
            sock.settimeout(self._stall_seconds)
        return connection

    def _dial(self, address: tuple[str, int], seconds: float, _source: object = None) -> socket.socket:
        return self._dialer.dial(*address, seconds)

    def _keep(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._idle.append(connection)


def _close_all(idle: deque[http.client.HTTPConnection]) -> None:
    while idle:
        idle.pop().close()


def _has_something_to_read(sock: Any) -> bool:  # noqa: ANN401 - a plain or a TLS socket
    poll = getattr(select, "poll", None)
    if poll is None:
        return bool(select.select([sock], [], [], 0)[0])
    poller = poll()
    poller.register(sock, select.POLLIN)
    return bool(poller.poll(0))
