"""The network configuration of this process: one value for all clients, so that the Hub's API, files and ranges agree."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from provisioner.remote.dialing import Dialer
from provisioner.remote.proxies import NO_PROXIES, Proxies
from provisioner.remote.tally import RequestTally
from provisioner.remote.tls import SharedTlsContext

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from pathlib import Path

    from provisioner.cancellation import Cancellation
    from provisioner.remote.retry import Retry

CONNECT_SECONDS: Final = 10.0
"""A connection that is not established within this time has failed."""
STALL_SECONDS: Final = 30.0
"""A connection that delivers nothing for this time has failed."""


def unchanged(url: str) -> str:
    """Return the URL itself."""
    return url


@dataclass(frozen=True, slots=True)
class Network:
    """The configuration that all clients of a run share."""

    retry: Retry
    """The policy that decides how often and how long a request is tried."""
    cancellation: Cancellation
    """Ends every request and every wait."""
    proxies: Proxies = NO_PROXIES
    ca_file: Path | None = None
    """Certificates to trust instead of the system's; see :func:`provisioner.remote.tls.tls_context`."""
    rewrite: Callable[[str], str] = unchanged
    """Returns the URL that is requested in place of the given one (``URL_REWRITE``)."""
    offline: bool = False
    """Whether to refuse every request except those for ``file:`` URLs."""
    dialer: Dialer = field(default_factory=Dialer)
    """Makes the connections of all clients."""
    tls: SharedTlsContext = field(default_factory=SharedTlsContext)
    """The TLS settings of all clients; use :meth:`tls_context`."""
    tally: RequestTally = field(default_factory=RequestTally)
    """Counts the requests of all clients."""

    def for_flow(self, cancellation: Cancellation) -> Network:
        """Return the same configuration for some of the requests, which another cancellation ends as well."""
        return replace(self, cancellation=cancellation, retry=self.retry.pausing(cancellation.wait))

    def tls_context(self) -> ssl.SSLContext:
        """Return the TLS settings that clients share; they must not be changed.

        Raises:
            ConfigurationError: see :func:`provisioner.remote.tls.tls_context`.
        """
        return self.tls.get(self.ca_file, self.dialer.pace)
