"""Files sent by the kernel: ASGI's extension ``http.response.zerocopysend``, which the server in use does not implement.

https://asgi.readthedocs.io/en/latest/extensions.html#zero-copy-send
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
from typing import TYPE_CHECKING, Any, Final

import h11

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send
    from uvicorn.protocols.http.h11_impl import H11Protocol

ZERO_COPY: Final = "http.response.zerocopysend"
"""The extension's name, and the type of its message."""

_AT_ONCE: Final = 8 << 20
"""Bytes that are sent before the event loop checks whether the connection still exists."""
_SOCKET_BUFFER: Final = 1 << 20
"""Bytes that the kernel buffers for a client of a file: a smaller buffer would have to be refilled more often."""
_PATIENCE_SECONDS: Final = 0.005
"""How long a thread waits for space in that buffer before the event loop does; a client on this machine is faster."""
_UNSUPPORTED: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EOVERFLOW})
_READ_AT_ONCE: Final = 1 << 18


class _Length:
    """Stands for bytes that are sent separately, since h11 needs to know their number."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count


class ZeroCopyApp:
    """An application on one connection, which may have the kernel send files."""

    def __init__(self, app: ASGIApp, protocol: H11Protocol, stall_seconds: float) -> None:
        """Wrap ``app``.

        Args:
            app: answers the requests.
            protocol: the connection.
            stall_seconds: a client that accepts no bytes for this time is not waited for.
        """
        self._app = app
        self._protocol = protocol
        self._stall_seconds = stall_seconds
        self._room: asyncio.Future[None] | None = None
        """Done when the kernel accepts more, or when the connection is lost."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or not hasattr(os, "sendfile"):
            await self._app(scope, receive, send)
            return
        scope.setdefault("extensions", {})[ZERO_COPY] = {}

        async def send_or_copy(message: Message) -> None:
            if self._protocol.transport.is_closing():
                return  # The client is gone; and after a request that was refused meanwhile, this must not be sent.
            if message["type"] == ZERO_COPY:
                await self._copy(message["file"], message.get("offset", 0), message["count"])
            else:
                await send(message)

        await self._app(scope, receive, send_or_copy)

    @property
    def is_stalled(self) -> bool:
        """Whether bytes are waiting for the client to read."""
        return self._room is not None

    def connection_lost(self) -> None:
        """Stop waiting for the client."""
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    async def _copy(self, file: int, offset: int, count: int) -> None:
        """Send bytes of an open file as part of the body; if the file ends early, abort the connection.

        Args:
            file: descriptor of the file.
            offset: offset of the first byte.
            count: number of bytes.
        """
        protocol, transport = self._protocol, self._protocol.transport
        # h11 counts the bytes; they themselves are sent separately.
        protocol.conn.send_with_data_passthrough(h11.Data(data=_Length(count)))  # type: ignore[arg-type]
        if not await self._flushed():
            return
        connection: socket.socket = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
        # A separate descriptor: the event loop does not let others wait for that of a transport.
        handle = os.dup(connection.fileno())
        try:
            end = offset + count
            while offset < end and not transport.is_closing():
                sent, is_over = await asyncio.to_thread(_send_some, handle, file, offset, min(_AT_ONCE, end - offset))
                offset += sent
                if is_over or (offset < end and not await self._has_room(handle)):
                    break
            if offset < end:
                # A different length was announced; only the end of the connection tells the client.
                transport.abort()
        finally:
            os.close(handle)

    async def _flushed(self) -> bool:
        """Wait until earlier writes have been passed to the kernel; return ``False`` if the connection is lost."""
        protocol, transport = self._protocol, self._protocol.transport
        low, high = transport.get_write_buffer_limits()
        # The transport pauses the protocol as soon as anything waits, and resumes it when nothing does.
        transport.set_write_buffer_limits(high=0)
        try:
            if protocol.flow.write_paused:
                await protocol.flow.drain()
        finally:
            transport.set_write_buffer_limits(high=high, low=low)
        return not transport.is_closing()

    async def _has_room(self, handle: int) -> bool:
        """Wait until the kernel accepts more; return ``False`` if the client does not read, or the connection is lost."""
        loop = asyncio.get_running_loop()
        self._room = loop.create_future()
        loop.add_writer(handle, self.connection_lost)
        try:
            await asyncio.wait_for(self._room, self._stall_seconds)
        except TimeoutError:
            return False
        finally:
            loop.remove_writer(handle)
            self._room = None
        return not self._protocol.transport.is_closing()


def _send_some(connection: int, file: int, offset: int, count: int) -> tuple[int, bool]:
    """Send bytes of a file until the client accepts no more at once.

    Returns:
        How many bytes were sent; and whether it has ended, because the file has become shorter or the connection is lost.
    """
    sent = 0
    waiting: Any = None
    while sent < count:
        try:
            done = _send(connection, file, offset + sent, count - sent)
        except BlockingIOError:
            waiting = waiting or _waiting_for(connection)
            if not waiting.poll(_PATIENCE_SECONDS * 1000):
                return sent, False
            continue
        except OSError:
            return sent, True
        if not done:
            return sent, True
        sent += done
    return sent, False


def _waiting_for(connection: int) -> Any:  # noqa: ANN401 - the type has no public name
    poll = select.poll()
    poll.register(connection, select.POLLOUT)
    return poll


def _send(connection: int, file: int, offset: int, count: int) -> int:
    """Send bytes of a file immediately, and return their number.

    Raises:
        OSError: the system reported it.
    """
    try:
        return os.sendfile(connection, file, offset, count)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    # Some file systems in user space do not support sendfile.
    return os.write(connection, os.pread(file, min(count, _READ_AT_ONCE), offset))
