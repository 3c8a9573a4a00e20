"""Connections to every host behind one interface: direct ones of our own, and those of urllib3 if a proxy is used.

Code above this interface (redirects, limits, ranges, header checks) does not depend on which of the two is used.
"""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Final, Protocol

from provisioner.errors import ProvisionerError
from provisioner.remote.http.concurrency import MOST_OF_HOST
from provisioner.remote.http.flow import CountedResponse
from provisioner.remote.network import CONNECT_SECONDS, STALL_SECONDS
from provisioner.remote.tally import FAILED
from provisioner.remote.tls import tls_context

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.cancellation import Cancellation
    from provisioner.remote.http.flow import Flow
    from provisioner.remote.network import Network

_AUTHORITY_END: Final = re.compile(r"[/?#]")
_PLAIN_HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
"""A plain host and port that need no interpretation; a URL with any other host is left to urllib3."""


class Response(Protocol):
    """A response whose body has not been read; bytes are as they were sent, never decoded."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Header fields; ``get`` finds a name in any case."""
        ...

    def read_into(self, view: memoryview) -> int:
        """Read what has arrived into ``view`` and return the number of bytes; 0 at the end of the body."""
        ...

    def read(self, count: int) -> bytes:
        """Return ``count`` bytes, or fewer at the end of the body."""
        ...

    def drain(self) -> None:
        """Read the rest, so that the connection can be used again."""
        ...

    def shutdown(self) -> None:
        """Interrupt a read in which another thread is waiting."""
        ...

    def close(self) -> None:
        """Keep the connection if the body was read to its end, else close it."""
        ...


class Pool(Protocol):
    """Persistent connections of one kind; safe for several threads."""

    def request(self, url: str, headers: Mapping[str, str]) -> Response:
        """Send a GET request and return its response; no redirect is followed."""
        ...


class Connections:
    """Persistent connections to every host; safe for several threads, and shared by all flows of a client."""

    def __init__(self, network: Network) -> None:
        """Open nothing yet.

        Args:
            network: the proxies and certificates.
        """
        self._network = network
        self._lock = threading.Lock()
        self._bare: dict[str, Pool] = {}
        """Pools of direct connections, by origin."""
        self._proxied: dict[str | None, Pool] = {}
        """Pools by proxy; ``None`` for unusual URLs without a proxy."""

    def request(
        self, url: str, headers: Mapping[str, str], flow: Flow, cancellation: Cancellation, *, urgent: bool = False
    ) -> CountedResponse:
        """Send a GET request as soon as its host may be sent one more, through the proxy for the URL, if any.

        Args:
            url: the URL, without user and password.
            headers: all header fields to send.
            flow: decides when it is sent.
            cancellation: ends the wait.
            urgent: send it immediately, because running requests may be waiting for what it brings.

        Returns:
            The response; until it is closed, the request counts as running.

        Raises:
            ProvisionerError: the run must end.
            Exception: the library that sends it failed; see :func:`provisioner.remote.http.errors.transport_error`.
        """
        scheme, _, rest = url.partition("://")
        host = _AUTHORITY_END.split(rest, maxsplit=1)[0]
        origin = f"{scheme}://{host}"
        pool = self._bare.get(origin)
        if pool is None:
            proxy = self._network.proxies.for_url(url)
            is_bare = proxy is None and _PLAIN_HOST.fullmatch(host)
            pool = self._bare_pool(origin) if is_bare else self._proxied_pool(proxy)
        request = flow.enter(origin, cancellation.raise_if_requested, waits=not urgent)
        try:
            response = pool.request(url, headers)
            self._network.tally.count(host, response.status)
            return CountedResponse(response, request)
        except BaseException as error:
            self._network.tally.count(host, FAILED)
            if isinstance(error, ConnectionRefusedError):
                request.refused()
            elif not isinstance(error, ProvisionerError):
                request.failed()
            request.end(answered=False)
            raise

    def _bare_pool(self, origin: str) -> Pool:
        from provisioner.remote.http.pool import BarePool  # noqa: PLC0415 - a start with nothing to do must not pay for it

        with self._lock:
            pool = BarePool(
                origin,
                self._network.tls_context,
                self._network.dialer,
                connect_seconds=CONNECT_SECONDS,
                stall_seconds=STALL_SECONDS,
            )
            return self._bare.setdefault(origin, pool)

    def _proxied_pool(self, proxy: str | None) -> Pool:
        from provisioner.remote.http.proxied import ProxiedPool  # noqa: PLC0415 - as above

        with self._lock:
            if proxy not in self._proxied:
                self._proxied[proxy] = ProxiedPool(
                    proxy,
                    # Not the context of the direct connections, because urllib3 changes the one that it is given.
                    tls_context(self._network.ca_file, self._network.dialer.pace),
                    self._network.dialer,
                    per_host=MOST_OF_HOST,
                    connect_seconds=CONNECT_SECONDS,
                    stall_seconds=STALL_SECONDS,
                )
            return self._proxied[proxy]
