"""Connections through a proxy, by :mod:`urllib3`, which is imported only if one is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import urllib3
from urllib3 import connection, connectionpool, exceptions

from provisioner.remote.http.fields import Fields, body_length, is_chunked
from provisioner.remote.http.framing import FramedResponse
from provisioner.remote.urls import login_headers

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Mapping

    from provisioner.remote.dialing import Dialer


class ProxiedResponse:
    """A response whose body is read as it was sent."""

    def __init__(self, inner: urllib3.BaseHTTPResponse) -> None:
        """Wrap a response.

        Raises:
            http.client.HTTPException: its header fields contradict each other about the length of the body.
        """
        self.status = inner.status
        fields = Fields()
        for name, value in inner.headers.items():
            fields.add(name.lower(), value)
        if not is_chunked(fields):
            body_length(fields)
        self.headers: Mapping[str, str] = fields
        self._inner = inner

    def read_into(self, view: memoryview) -> int:
        """Read what has arrived into ``view`` and return the number of bytes; 0 at the end of the body."""
        data = self._inner.read1(len(view), decode_content=False)
        view[: len(data)] = data
        return len(data)

    def read(self, count: int) -> bytes:
        """Return ``count`` bytes, or fewer at the end of the body."""
        data = b""
        # Only this way does it stop at the end of the body if the length was stated twice.
        while len(data) < count and (part := self._inner.read1(count - len(data), decode_content=False)):
            data += part
        return data

    def drain(self) -> None:
        """Read the rest, so that the connection can be used again."""
        self._inner.drain_conn()

    def shutdown(self) -> None:
        """Interrupt a read in which another thread is waiting."""
        self._inner.shutdown()

    def close(self) -> None:
        """Close the connection, unless the body was read to its end."""
        self._inner.close()


class ProxiedPool:
    """Connections to any host through one proxy; safe for several threads."""

    def __init__(
        self,
        proxy: str | None,
        context: ssl.SSLContext,
        dialer: Dialer,
        *,
        per_host: int,
        connect_seconds: float,
        stall_seconds: float,
    ) -> None:
        """Open no connection yet.

        Args:
            proxy: the proxy's URL, which may hold user and password, or ``None`` to connect directly.
            context: TLS settings for ``https``, which are changed.
            dialer: makes the connections.
            per_host: connections that are kept for each host.
            connect_seconds: how long making a connection may take.
            stall_seconds: how long a connection may deliver nothing.
        """
        timeout = urllib3.Timeout(connect=connect_seconds, read=stall_seconds)
        if proxy is None:
            self._manager = urllib3.PoolManager(maxsize=per_host, ssl_context=context, timeout=timeout)
            self._manager.pool_classes_by_scheme = _pool_classes(dialer)
            return
        login = login_headers(proxy).get("authorization")
        self._manager = urllib3.ProxyManager(
            proxy,
            maxsize=per_host,
            ssl_context=context,
            timeout=timeout,
            proxy_headers={"proxy-authorization": login} if login else None,
        )
        self._manager.pool_classes_by_scheme = _pool_classes(dialer)

    def request(self, url: str, headers: Mapping[str, str]) -> ProxiedResponse:
        """Send a GET request and return its response; no redirect is followed.

        Raises:
            urllib3.exceptions.HTTPError, http.client.HTTPException: the request failed.
        """
        response = self._manager.request("GET", url, headers=headers, preload_content=False, redirect=False, retries=False)
        try:
            return ProxiedResponse(response)
        except BaseException:
            response.close()
            raise


def _pool_classes(dialer: Dialer) -> dict[str, type[connectionpool.HTTPConnectionPool]]:
    """Return the library's pools by scheme, with connections that ``dialer`` makes and strictly framed bodies."""

    def dial(self: connection.HTTPConnection) -> socket.socket:
        """Connect, raising the library's own errors."""
        seconds = float(self.timeout)  # type: ignore[arg-type]  # it is set for every connection
        try:
            return dialer.dial(self._dns_host.rstrip("."), self.port, seconds)
        except TimeoutError as error:
            raise exceptions.ConnectTimeoutError(self, f"no connection within {seconds:.0f} s") from error
        except OSError as error:
            raise exceptions.NewConnectionError(self, str(error)) from error

    ours = {"_new_conn": dial, "response_class": FramedResponse}
    plain = type("DialedConnection", (connection.HTTPConnection,), ours)
    tls = type("DialedTlsConnection", (connection.HTTPSConnection,), ours)
    return {
        "http": type("DialedPool", (connectionpool.HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("DialedTlsPool", (connectionpool.HTTPSConnectionPool,), {"ConnectionCls": tls}),
    }
