"""Connections to hosts that are reached without a proxy: kept alive, one request at a time on each.

On :mod:`http.client`, since for a small file the general client around it costs more than the request itself (the figures
are in ``docs/adr/0017-transfer.md``). Whatever goes through a proxy is :mod:`urllib3`'s; the answers look the same.
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

from provisioner.remote.trouble import NoConnectionError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

_STALE: Final = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError, ConnectionAbortedError)
"""How a connection that the server has closed in the meantime answers."""
_FORBIDDEN: Final = frozenset(map(chr, range(33))) | {"\x7f"}


class DirectResponse:
    """An answer; its body is read in pieces. Closing it gives the connection back if the body was read to its end."""

    def __init__(
        self,
        inner: http.client.HTTPResponse,
        connection: http.client.HTTPConnection,
        sock: socket.socket,
        keep: Callable[[], None],
    ) -> None:
        """Wrap ``inner``, which comes over ``connection`` and its socket; ``keep`` is called when that can be used again."""
        self.status = inner.status
        # All of a mapping that anybody uses is there: ``get``, ``in``, and what ``dict`` asks for.
        self.headers = cast("Mapping[str, str]", inner.headers)
        self._sock = sock
        self._inner = inner
        self._connection = connection
        self._keep = keep

    def read1(self, amt: int, *, decode_content: bool = False) -> bytes:  # noqa: ARG002 - as it came, always
        """Give what is there, at most ``amt`` bytes; none at the end.

        Raises:
            OSError, http.client.HTTPException: the connection failed.
        """
        return self._inner.read1(amt)

    def read(self, amt: int, *, decode_content: bool = False) -> bytes:  # noqa: ARG002 - as it came, always
        """Give ``amt`` bytes, fewer at the end.

        Raises:
            OSError, http.client.HTTPException: the connection failed.
        """
        return self._inner.read(amt)

    def drain_conn(self) -> None:
        """Read the rest."""
        try:
            self._inner.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()

    def shutdown(self) -> None:
        """End a read that another thread is waiting in."""
        self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of it."""
        inner, keep = self._inner, self._keep
        # Nothing left to come, and the server means to stay.
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
    """The connection was dealt with already."""


class DirectPool:
    """Connections to one host; safe for several threads."""

    def __init__(self, origin: str, context: ssl.SSLContext, *, connect_seconds: float, stall_seconds: float) -> None:
        """Open nothing yet.

        Args:
            origin: scheme, host and port.
            context: for ``https``.
            connect_seconds: how long a connection may take.
            stall_seconds: how long it may bring nothing.

        Raises:
            ValueError: no such address.
        """
        parts = urlsplit(origin)
        self._scheme = parts.scheme
        self._host = parts.hostname or ""
        self._port = parts.port
        self._context = context
        self._connect_seconds = connect_seconds
        self._stall_seconds = stall_seconds
        self._idle: deque[http.client.HTTPConnection] = deque()
        self._lock = threading.Lock()
        weakref.finalize(self, _close_all, self._idle)

    def request(self, target: str, headers: Mapping[str, str]) -> DirectResponse:
        """Ask for ``target`` (path and query).

        Raises:
            OSError, http.client.HTTPException: the connection failed.
            ValueError: this is nothing that can be asked for.
        """
        if not _FORBIDDEN.isdisjoint(target):
            raise http.client.InvalidURL(f"{target!r} has a blank or a control character")
        while True:
            connection, is_fresh = self._take()
            try:
                connection.request("GET", target, headers=headers)
                sock = connection.sock
                response = connection.getresponse()
            except BaseException as error:
                connection.close()
                # Nothing of an answer had come: the server had closed it before it saw the question.
                if is_fresh or not isinstance(error, _STALE):
                    raise
                continue
            return DirectResponse(response, connection, sock, partial(self._keep, connection))

    def _take(self) -> tuple[http.client.HTTPConnection, bool]:
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return self._connect(), True
            if not _has_something_to_read(connection.sock):
                return connection, False
            # An end, or an answer that nobody asked for.
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        timeout = self._connect_seconds
        connection: http.client.HTTPConnection
        if self._scheme == "https":
            connection = http.client.HTTPSConnection(self._host, self._port, timeout=timeout, context=self._context)
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout)
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            raise NoConnectionError(error) from error
        connection.sock.settimeout(self._stall_seconds)
        return connection

    def _keep(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._idle.append(connection)


def _close_all(idle: deque[http.client.HTTPConnection]) -> None:
    while idle:
        idle.pop().close()


def _has_something_to_read(sock: Any) -> bool:  # noqa: ANN401 - a socket, or what TLS makes of it
    poll = getattr(select, "poll", None)
    if poll is None:
        return bool(select.select([sock], [], [], 0)[0])
    poller = poll()
    poller.register(sock, select.POLLIN)
    return bool(poller.poll(0))
