"""How this process reaches the network: proxies, trusted certificates, and what of a URL may be shown. For every client alike.

Imports no HTTP library: whoever makes a client asks here, so that the API, ranges and everything else agree.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from provisioner.errors import ConfigurationError

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class Proxies(NamedTuple):
    """Which proxy to use; empty or ``None`` means none. The environment is not consulted."""

    http: str | None = None
    """Proxy for ``http`` URLs, such as ``http://proxy:3128``."""
    https: str | None = None
    """Proxy for ``https`` URLs."""
    no_proxy: str = ""
    """Comma-separated hosts to reach directly: ``host``, ``.domain``, ``host:port``, addresses, networks, or ``*``."""

    def for_url(self, url: str) -> str | None:
        """Return the proxy for ``url``; ``None``: connect directly."""
        parts = urlsplit(url)
        proxy = {"http": self.http, "https": self.https}.get(parts.scheme)
        if not proxy or self._is_direct((parts.hostname or "").rstrip("."), parts.port or _DEFAULT_PORTS[parts.scheme]):
            return None
        # Most tools accept a proxy without a scheme, so people write it that way.
        return proxy if "://" in proxy else f"http://{proxy}"

    def _is_direct(self, host: str, port: int) -> bool:
        entries = [entry.strip().lower() for entry in (self.no_proxy or "").split(",")]
        return any(_matches(entry, host, port) for entry in entries if entry)


def _matches(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    if address is not None:
        try:
            return address in ipaddress.ip_network(entry.strip("[]"), strict=False)
        except ValueError:
            pass
    name, _, digits = entry.rpartition(":")
    if name and digits.isdigit():
        if int(digits) != port:
            return False
        entry = name
    entry = entry.strip("[]").removeprefix("*").removeprefix(".")
    return host == entry or (address is None and host.endswith(f".{entry}"))


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Make the TLS settings of a client.

    Args:
        ca_file: a file of trusted certificates in PEM form that replaces the system's, as ``SSL_CERT_FILE`` does in
            OpenSSL; ``None``: the system's.

    Raises:
        ConfigurationError: the file cannot be read or holds no certificate.
    """
    import ssl  # noqa: PLC0415 - a start with nothing to do must not pay for it

    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"SSL_CERT_FILE: {ca_file}: {error.strerror or 'holds no certificate'}",
            hint="Name a readable file with the trusted certificates in PEM form.",
        ) from error
