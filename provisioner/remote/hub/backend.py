"""Connect the Hub client's HTTP library through our own connections, which remember which address of a host answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpcore2
from httpcore2._backends.sync import SyncStream

from provisioner.remote.network import CONNECT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from provisioner.remote.dialing import Dialer


class DialedBackend(httpcore2.SyncBackend):
    """The library's network, with connections that a :class:`~provisioner.remote.dialing.Dialer` makes."""

    def __init__(self, dialer: Dialer) -> None:
        """Open no connection yet."""
        self._dialer = dialer

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002 - the library's signature
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002 - as above
    ) -> httpcore2.NetworkStream:
        """Return a connection.

        Raises:
            httpcore2.ConnectTimeout, httpcore2.ConnectError: no address answers.
        """
        try:
            sock = self._dialer.dial(host, port, timeout or CONNECT_SECONDS)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout(str(error)) from error
        except OSError as error:
            raise httpcore2.ConnectError(str(error)) from error
        return SyncStream(sock)
