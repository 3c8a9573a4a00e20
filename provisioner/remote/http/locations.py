"""The targets of redirects: a ``Location`` as servers really send it, turned into a URL that can be requested."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from provisioner.errors import RemoteRefusedError
from provisioner.redaction import show_url
from provisioner.remote.urls import origin_of

_KEPT: Final = "!#$%&'()*+,/:;=?@[]~-._"
"""Characters that have a meaning in a URL, or stand for themselves. Percent signs are handled before."""
_LONE_PERCENT: Final = re.compile("%(?![0-9A-Fa-f]{2})")


def encoded(location: str) -> str:
    """Return a URL in which all characters that are not allowed in a request are percent-encoded, as curl and browsers do.

    Args:
        location: a header's value, in which each character stands for a byte (ISO 8859-1), or text.
    """
    text = location.strip()
    try:
        raw = text.encode("latin-1")
    except UnicodeEncodeError:
        raw = text.encode()
    return quote(_LONE_PERCENT.sub("%25", raw.decode("latin-1")).encode("latin-1"), safe=_KEPT)


def redirect_target(current: str, location: str) -> str:
    """Return the URL that a redirect leads to, without a fragment.

    Args:
        current: the URL that was requested.
        location: the value of the header, not empty.

    Raises:
        RemoteRefusedError: it must not be followed.
    """
    try:
        target = urljoin(current, _checked_host(encoded(location))).partition("#")[0]
        scheme, host, _ = origin_of(target)
    except ValueError:  # no such address, or no such port
        scheme = host = ""
    if scheme in {"http", "https"} and not host:
        scheme = ""
    if scheme not in {"http", "https"}:
        raise RemoteRefusedError(
            f"{show_url(current)}: redirects to {f'a {scheme}: URL' if scheme else 'what is no URL'}; not followed",
            hint="Only http and https are followed. The server is set up wrongly; try a mirror.",
        )
    if urlsplit(current).scheme == "https" and scheme == "http":
        raise RemoteRefusedError(
            f"{show_url(current)}: redirects from https to {show_url(target)}; not followed",
            hint="If that is what you want, ask for the plain URL itself.",
        )
    return target


def _checked_host(url: str) -> str:
    """Return a URL, or part of one, with its host (if any) in the form that name servers know (IDNA).

    Raises:
        ValueError: the host is missing, or has no such form.
    """
    parts = urlsplit(url)
    if parts.scheme in {"http", "https"} and not parts.netloc:
        raise ValueError("no host")
    if "%" not in parts.netloc:
        return url
    from urllib.parse import unquote_to_bytes  # noqa: PLC0415 - hardly ever needed

    user, at, host = parts.netloc.rpartition("@")
    name, colon, port = host.partition(":")
    name = unquote_to_bytes(name).decode().encode("idna").decode("ascii")
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise ValueError("no such host")
    return urlunsplit(parts._replace(netloc=f"{user}{at}{name}{colon}{port}"))
