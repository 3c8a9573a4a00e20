"""The page's server on a separate thread, with limits on what readers can cost the run."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from provisioner.web.zero_copy import ZeroCopyApp

if TYPE_CHECKING:
    from asyncio import Transport
    from collections.abc import Awaitable, Callable

    from starlette.types import ASGIApp

MOST_CONNECTIONS: Final = 128
HEAD_SECONDS: Final = 10.0
"""A connection is closed if no request has arrived after this time."""
STALL_SECONDS: Final = 20.0
"""A connection is closed if its client accepts no bytes for this time."""
_LARGEST_HEAD: Final = 16 << 10
"""Bytes of a request's line and headers."""
_BUFFERED: Final = 32 << 10
"""Bytes that wait for one client, in addition to the event that is being sent."""
_KERNEL_BUFFER: Final = 64 << 10
"""Bytes that the kernel buffers for one client."""
_GRACE_SECONDS: Final = 1
"""How long responses may take to end once the server stops."""


class BoundedProtocol(H11Protocol):
    """One connection, which is closed if its client sends no request, or does not read."""

    transport: Transport
    _timer: asyncio.TimerHandle | None = None
    _zero_copy: ZeroCopyApp

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Begin; if there are too many connections, close the one that reads slowest, or else this one."""
        super().connection_made(transport)
        self.app = self._zero_copy = ZeroCopyApp(self.app, self, STALL_SECONDS)
        transport.set_write_buffer_limits(high=_BUFFERED)
        self._abort_after(HEAD_SECONDS)
        if len(self.connections) > MOST_CONNECTIONS:
            stalled = (each for each in self.connections if isinstance(each, BoundedProtocol) and each.is_stalled)
            next(stalled, self).abort()

    def data_received(self, data: bytes) -> None:
        """Accept data from the client; once its first request is complete, it has no more deadline for that."""
        super().data_received(data)
        if self.cycle is not None and not self.is_stalled:
            self._cancel_timer()

    @property
    def is_stalled(self) -> bool:
        """Whether bytes are waiting for the client to read."""
        return (self.flow is not None and self.flow.write_paused) or self._zero_copy.is_stalled

    def pause_writing(self) -> None:
        """Stop writing, and abort the connection if the client does not read in time."""
        super().pause_writing()
        self._abort_after(STALL_SECONDS)

    def resume_writing(self) -> None:
        """Resume writing, since the client has read."""
        self._cancel_timer()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Clean up after the end of the connection."""
        self._cancel_timer()
        super().connection_lost(exc)
        self._zero_copy.connection_lost()

    def abort(self) -> None:
        """Close the connection immediately, dropping what waits for its client."""
        self.transport.abort()

    def _abort_after(self, seconds: float) -> None:
        self._cancel_timer()
        self._timer = self.loop.call_later(seconds, self.abort)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Server(uvicorn.Server):
    """A server that leaves no connection behind."""

    def __init__(self, config: uvicorn.Config, on_stop: Callable[[], Awaitable[None]]) -> None:
        super().__init__(config)
        self._on_stop = on_stop

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._on_stop()
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            if isinstance(connection, BoundedProtocol):
                connection.abort()
        await asyncio.sleep(0)  # lets the transports close their sockets


def listen(address: str, port: int) -> socket.socket:
    """Return a listening socket.

    Args:
        address: an IP address, or ``*`` for all addresses of this machine.
        port: the port; 0 means any.

    Raises:
        OSError: the port is taken, or this user may not use it.
    """
    if address == "*":
        if socket.has_dualstack_ipv6():
            try:
                return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
            except OSError:
                pass  # a machine without IPv6; if the port is taken, the next call says so
        return socket.create_server(("0.0.0.0", port))  # noqa: S104 - as requested
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, port), family=family)


class PageServer:
    """Serves an application until it is stopped; :meth:`run` and :meth:`stop` are called on different threads."""

    def __init__(self, app: ASGIApp, listener: socket.socket, on_stop: Callable[[], Awaitable[None]]) -> None:
        """Prepare.

        Args:
            app: answers the requests.
            listener: the listening socket, which is closed at the end.
            on_stop: awaited on the server's event loop when it stops; ends responses that would never end.
        """
        # Errors of clients do not belong in the log.
        for name in ("uvicorn", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        # Connections inherit this; otherwise, the kernel would buffer megabytes for each slow client.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_BUFFER)
        self._listener = listener
        self._server = _Server(
            uvicorn.Config(
                app,
                http=BoundedProtocol,
                ws="none",
                lifespan="on",
                loop="asyncio",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                h11_max_incomplete_event_size=_LARGEST_HEAD,
                timeout_keep_alive=5,
                timeout_graceful_shutdown=_GRACE_SECONDS,
            ),
            on_stop,
        )

    def run(self) -> None:
        """Serve until :meth:`stop` is called; after that, the port is free."""
        try:
            self._server.run(sockets=[self._listener])
        finally:
            self._listener.close()

    def stop(self) -> None:
        """Stop soon: accept no new connections, and finish the responses that are being sent."""
        self._server.should_exit = True
