"""Which proxy a request goes through."""

from __future__ import annotations

import ipaddress
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from provisioner.remote.urls import DEFAULT_PORTS


class Proxies(NamedTuple):
    """The proxies for each scheme; empty or ``None`` means none. The environment is not consulted."""

    http: str | None = None
    """Proxy for ``http`` URLs, such as ``http://proxy:3128``."""
    https: str | None = None
    """Proxy for ``https`` URLs."""
    no_proxy: str = ""
    """Comma-separated hosts to reach directly: ``host``, ``.domain``, ``host:port``, addresses, networks, or ``*``."""

    def for_url(self, url: str) -> str | None:
        """Return the proxy for ``url``; ``None`` means connect directly."""
        parts = urlsplit(url)
        proxy = {"http": self.http, "https": self.https}.get(parts.scheme)
        if not proxy or self._is_direct((parts.hostname or "").rstrip("."), parts.port or DEFAULT_PORTS[parts.scheme]):
            return None
        # Most tools accept a proxy without a scheme, so people write it that way.
        return proxy if "://" in proxy else f"http://{proxy}"

    def _is_direct(self, host: str, port: int) -> bool:
        entries = [entry.strip().lower() for entry in (self.no_proxy or "").split(",")]
        return any(_matches(entry, host, port) for entry in entries if entry)


NO_PROXIES: Final = Proxies()


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
    if name and digits.isascii() and digits.isdigit():
        if digits.lstrip("0") != str(port):
            return False
        entry = name
    entry = entry.strip("[]").removeprefix("*").removeprefix(".")
    return host == entry or (address is None and host.endswith(f".{entry}"))
