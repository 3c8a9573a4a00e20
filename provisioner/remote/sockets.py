"""Sockets that give up a connection that is too slow, and the race between a host's addresses.

Every client uses them, and they read status lines, headers, interim responses, responses of proxies and bodies alike, so one
rule applies to all of them.
"""

from __future__ import annotations

import errno
import io
import os
import selectors
import socket
import ssl
import struct
import sys
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from provisioner.remote.pace import TooSlowError

if TYPE_CHECKING:
    from provisioner.remote.pace import Pace

_STAGGER: Final = 0.25
"""Seconds after which the next address is tried as well, while others have not answered (RFC 8305, section 5)."""
_UNDER_WAY: Final = frozenset({errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY, getattr(errno, "WSAEWOULDBLOCK", 0)} - {0})


_KERNEL_TIMES: Final = sys.platform == "linux" and struct.calcsize("l") == 8  # noqa: PLR2004 - bytes of a 64-bit timeval's member
"""Whether the kernel can be told how long a call may wait; without that, Python asks :manpage:`poll(2)` before each call."""

_now: Final = time.monotonic
_recv_into: Final = socket.socket.recv_into
_sendall: Final = socket.socket.sendall


class Address(NamedTuple):
    """One address of a host."""

    family: int
    address: Any


class _Paced:
    """Counts what a socket brings while it is waited for, starting with each request."""

    pace: Pace | None = None
    _waited = 0.0
    _mark = 0

    def recv(self, *arguments: Any) -> bytes:  # noqa: ANN401 - as the method of a socket
        """Receive as the base class does.

        Raises:
            TooSlowError: next to nothing arrived for a long time.
        """
        begun = _now()
        data: bytes = super().recv(*arguments)  # type: ignore[misc]
        self._waited += _now() - begun
        self._count(len(data))
        return data

    def recv_into(self, *arguments: Any) -> int:  # noqa: ANN401 - as above
        """Receive as the base class does.

        Raises:
            TooSlowError: next to nothing arrived for a long time.
        """
        begun = _now()
        count: int = super().recv_into(*arguments)  # type: ignore[misc]
        self._waited += _now() - begun
        self._count(count)
        return count

    def send(self, *arguments: Any) -> int:  # noqa: ANN401 - as above
        """Send as the base class does; this is the beginning of a request."""
        self._begin()
        sent: int = super().send(*arguments)  # type: ignore[misc]
        return sent

    def sendall(self, *arguments: Any) -> None:  # noqa: ANN401 - as above
        """Send as the base class does; this is the beginning of a request."""
        self._begin()
        super().sendall(*arguments)  # type: ignore[misc]

    def _begin(self) -> None:
        self._waited = 0.0
        if self.pace is not None:
            self._mark = self.pace.total

    def _count(self, count: int) -> None:
        pace = self.pace
        if pace is None:
            return
        pace.total += count
        if count and self._waited >= pace.seconds:
            self._check(pace)

    def _check(self, pace: Pace) -> None:
        """Judge what arrived while the connection was waited for."""
        if pace.total - self._mark < pace.least:
            raise TooSlowError(f"{pace.total - self._mark:,} bytes within {self._waited:.0f} s of waiting")
        self._begin()


class PacedSocket(_Paced, socket.socket):
    """A plain socket that gives up a connection that is too slow."""

    pace: Pace
    _flags = 0

    def wait_at_most(self, seconds: float) -> None:
        """Let each call wait that long, in the kernel where it can: one system call for each, and one lock of the interpreter.

        Raises:
            OSError: the socket is closed.
        """
        if not _KERNEL_TIMES:
            self.settimeout(seconds)
            return
        whole, part = divmod(round(seconds * 1_000_000), 1_000_000)
        interval = struct.pack("@ll", whole, part)
        self.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, interval)
        self.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, interval)
        self.settimeout(None)

    def fill_buffers(self, *, on: bool) -> None:
        """Let :meth:`recv_into` wait until a large buffer is full, the connection ends, or the time is over; or no longer do so.

        While this is on, only a body may be read of which at least as much is still to come as the buffer holds. Buffers of
        the size that buffered readers use do not count: a reader asks for more than the body has left, and would wait for it.
        """
        self._flags = socket.MSG_WAITALL if on and _KERNEL_TIMES else 0

    # The two methods that every small file uses, without the overhead of the general form.

    def recv_into(self, buffer: Any, size: int = 0, flags: int = 0) -> int:  # noqa: ANN401 - as the method of a socket
        """Receive as the base class does.

        Raises:
            TooSlowError: next to nothing arrived for a long time.
        """
        begun, pace = _now(), self.pace
        try:
            count = _recv_into(self, buffer, size, flags or (self._flags if len(buffer) > io.DEFAULT_BUFFER_SIZE else 0))
        except BlockingIOError as error:
            raise TimeoutError("timed out") from error
        self._waited += _now() - begun
        pace.total += count
        if count and self._waited >= pace.seconds:
            self._check(pace)
        return count

    def sendall(self, data: Any, flags: int = 0) -> None:  # noqa: ANN401 - as above
        """Send as the base class does; this is the beginning of a request."""
        self._waited = 0.0
        self._mark = self.pace.total
        try:
            _sendall(self, data, flags)
        except BlockingIOError as error:
            raise TimeoutError("timed out") from error


def tls_socket_class(pace: Pace) -> type[ssl.SSLSocket]:
    """Return the class of TLS sockets that give up a connection that is too slow."""
    return type("PacedTlsSocket", (_Paced, ssl.SSLSocket), {"pace": pace})


def addresses_of(host: str, port: int) -> list[Address]:
    """Return a host's addresses in the order in which they are tried, with families alternating (RFC 8305, section 4).

    Raises:
        OSError: the name has no address.
    """
    found = [Address(entry[0], entry[4]) for entry in socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)]
    if not found:
        raise OSError("the name has no address")
    unique = list(dict.fromkeys(found))
    first = [address for address in unique if address.family == unique[0].family]
    other = [address for address in unique if address.family != unique[0].family]
    turns = [address for pair in zip(first, other, strict=False) for address in pair]
    return turns + first[len(other) :] + other[len(first) :]


def connect_any(addresses: list[Address], seconds: float, pace: Pace) -> tuple[socket.socket, Address]:
    """Return a connection to the first address that answers, and that address.

    Args:
        addresses: the addresses in the order in which they are tried.
        seconds: time limit for all of them together.
        pace: counts what the connections of the run bring.

    Raises:
        OSError: no address answers in time.
    """
    if len(addresses) == 1:
        sock, address = _connect(addresses[0], seconds), addresses[0]
    else:
        race = _Race(addresses, seconds)
        try:
            sock, address = race.winner()
        finally:
            race.close()
        sock.settimeout(seconds)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.pace = pace
    return sock, address


def _connect(address: Address, seconds: float) -> PacedSocket:
    sock = PacedSocket(address.family, socket.SOCK_STREAM)
    try:
        sock.settimeout(seconds)
        sock.connect(address.address)
    except BaseException:
        sock.close()
        raise
    return sock


class _Race:
    """Connections to several addresses, of which the first one established is used."""

    def __init__(self, addresses: list[Address], seconds: float) -> None:
        self._waiting = list(reversed(addresses))
        self._under_way: dict[PacedSocket, Address] = {}
        self._selector = selectors.DefaultSelector()
        self._end = time.monotonic() + seconds
        self._error: OSError | None = None

    def winner(self) -> tuple[PacedSocket, Address]:
        """Wait for the first connection."""
        next_start = time.monotonic()
        while True:
            now = time.monotonic()
            if self._waiting and (now >= next_start or not self._under_way):
                if (won := self._start(self._waiting.pop())) is not None:
                    return won
                next_start = now + (_STAGGER if self._under_way else 0)
                continue
            if not self._under_way:
                raise self._error or OSError("no address answers")
            if now >= self._end:
                raise TimeoutError("timed out")
            until = min(self._end, next_start) if self._waiting else self._end
            for key, _ in self._selector.select(max(0.0, until - now)):
                assert isinstance(key.fileobj, PacedSocket)  # noqa: S101 - nothing else is registered
                if (won := self._ended(key.fileobj)) is not None:
                    return won
                next_start = now

    def close(self) -> None:
        """Close the connections that are not used."""
        for sock in self._under_way:
            sock.close()
        self._selector.close()

    def _start(self, address: Address) -> tuple[PacedSocket, Address] | None:
        """Begin a connection; return it if it is established immediately."""
        try:
            sock = PacedSocket(address.family, socket.SOCK_STREAM)
        except OSError as error:
            self._error = self._error or error
            return None
        try:
            sock.settimeout(0)
            code = sock.connect_ex(address.address)
        except BaseException as error:
            sock.close()
            if not isinstance(error, OSError):
                raise
            self._error = self._error or error
            return None
        if not code:
            return sock, address
        if code in _UNDER_WAY:
            self._under_way[sock] = address
            self._selector.register(sock, selectors.EVENT_WRITE)
        else:
            self._failed(sock, code)
        return None

    def _ended(self, sock: PacedSocket) -> tuple[PacedSocket, Address] | None:
        """Return a connection if it was established."""
        self._selector.unregister(sock)
        address = self._under_way.pop(sock)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not code:
            return sock, address
        self._failed(sock, code)
        return None

    def _failed(self, sock: PacedSocket, code: int) -> None:
        sock.close()
        self._error = self._error or OSError(code, os.strerror(code))
