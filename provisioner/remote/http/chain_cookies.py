"""Cookies within one chain of redirects (RFC 6265): some hosts set one, redirect, and refuse clients that do not return it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

_MAX_COOKIES: Final = 20
_MAX_LENGTH: Final = 4096
"""Characters of a cookie's name and value."""
_PAIR: Final = re.compile(r"[\x21-\x3a\x3c\x3e-\x7e]+=[\x20-\x3a\x3c-\x7e]*")
"""A name and a value that may be sent back."""


@dataclass(frozen=True, slots=True)
class _Cookie:
    host: str
    """The host that set the cookie, or the domain that it names."""
    has_domain: bool
    """Whether subdomains of ``host`` get it as well."""
    path: str
    secure: bool
    pair: str

    def is_for(self, scheme: str, host: str, path: str) -> bool:
        """Return whether a request may carry it."""
        if self.secure and scheme != "https":
            return False
        if host != self.host and not (self.has_domain and host.endswith(f".{self.host}")):
            return False
        return path == self.path or (path.startswith(self.path) and (self.path.endswith("/") or path[len(self.path)] == "/"))


class ChainCookies:
    """The cookies that the hosts of one chain of redirects have set; they are forgotten with the chain."""

    def __init__(self) -> None:
        """Begin without cookies."""
        self._cookies: dict[tuple[str, str, str], _Cookie] = {}

    def __bool__(self) -> bool:
        return bool(self._cookies)

    def take(self, url: str, fields: str) -> None:
        """Keep the cookies that a response sets.

        Args:
            url: the URL that was requested.
            fields: the values of its ``Set-Cookie`` fields, one per line.
        """
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
        for field in fields.split("\n"):
            if (cookie := _parsed(field, parts.scheme, host, parts.path)) is None:
                continue
            key = (cookie.host, cookie.path, cookie.pair.partition("=")[0])
            self._cookies.pop(key, None)
            if len(self._cookies) < _MAX_COOKIES:
                self._cookies[key] = cookie

    def header(self, url: str) -> str:
        """Return the value of the ``Cookie`` field for a request; empty if there are no cookies for it."""
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
        return "; ".join(cookie.pair for cookie in self._cookies.values() if cookie.is_for(parts.scheme, host, parts.path or "/"))


def _parsed(field: str, scheme: str, host: str, path: str) -> _Cookie | None:
    """Return the cookie in a field; ``None`` if it is not for this host, or deletes a cookie."""
    pair, *rest = (part.strip() for part in field.split(";"))
    if len(pair) > _MAX_LENGTH or not _PAIR.fullmatch(pair):
        return None
    attributes: dict[str, str] = {}
    for part in rest:
        name, _, value = part.partition("=")
        attributes[name.strip().lower()] = value.strip()
    secure = "secure" in attributes
    if attributes.get("max-age", "").startswith(("0", "-")) or (secure and scheme != "https"):
        return None
    domain = attributes.get("domain", "").lower().removeprefix(".")
    if domain and host != domain:
        # A domain of one label is a top-level domain, whose cookies would reach unrelated hosts.
        if "." not in domain or not host.endswith(f".{domain}") or host.replace(".", "").isdecimal():
            return None
    elif not domain:
        domain = host
    where = attributes.get("path", "")
    if not where.startswith("/"):
        where = path[: path.rfind("/")] or "/"
    return _Cookie(domain, bool(attributes.get("domain")), where, secure, pair)
