"""Connections through a proxy, by :mod:`urllib3`; imported only where one is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import urllib3

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping


class ProxiedResponse:
    """A response whose body is read as it was sent."""

    def __init__(self, inner: urllib3.BaseHTTPResponse) -> None:
        self.status = inner.status
        self.headers: Mapping[str, str] = inner.headers
        self._inner = inner

    def read_into(self, view: memoryview) -> int:
        """Read what has arrived into ``view`` and return the number of bytes; 0 at the end of the body."""
        data = self._inner.read1(len(view), decode_content=False)
        view[: len(data)] = data
        return len(data)

    def read(self, count: int) -> bytes:
        """Return ``count`` bytes, fewer at the end of the body."""
        return self._inner.read(count, decode_content=False)

    def drain(self) -> None:
        """Read the rest, so that the connection can be used again."""
        self._inner.drain_conn()

    def shutdown(self) -> None:
        """End a read in which another thread waits."""
        self._inner.shutdown()

    def close(self) -> None:
        """Close the connection, unless the body was read to its end."""
        self._inner.close()


class ProxiedPool:
    """Connections to any host through one proxy; safe for several threads."""

    def __init__(
        self, proxy: str | None, context: ssl.SSLContext, *, per_host: int, connect_seconds: float, stall_seconds: float
    ) -> None:
        """Open nothing yet.

        Args:
            proxy: the proxy's URL, which may hold user and password; ``None``: connect directly.
            context: for ``https``; it is changed.
            per_host: connections that are kept for each host.
            connect_seconds: how long making a connection may take.
            stall_seconds: how long a connection may deliver nothing.
        """
        timeout = urllib3.Timeout(connect=connect_seconds, read=stall_seconds)
        if proxy is None:
            self._manager = urllib3.PoolManager(maxsize=per_host, ssl_context=context, timeout=timeout)
            return
        parts = urlsplit(proxy)
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else None
        self._manager = urllib3.ProxyManager(
            proxy,
            maxsize=per_host,
            ssl_context=context,
            timeout=timeout,
            proxy_headers=urllib3.make_headers(proxy_basic_auth=user) if user else None,
        )

    def request(self, url: str, headers: Mapping[str, str]) -> ProxiedResponse:
        """Send a GET request and return its response; no redirect is followed.

        Raises:
            urllib3.exceptions.HTTPError: the request failed.
        """
        response = self._manager.request("GET", url, headers=headers, preload_content=False, redirect=False, retries=False)
        return ProxiedResponse(response)
