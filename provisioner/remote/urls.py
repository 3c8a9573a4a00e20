"""Facts about URLs that every client needs."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote, urlsplit

from provisioner.redaction import user_of

DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def origin_of(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port; credentials for one origin must not be sent to another.

    Raises:
        ValueError: the URL has no valid host or port.
    """
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or DEFAULT_PORTS.get(parts.scheme)


def host_of(url: str) -> str:
    """Return the host of an absolute URL, with its port if that is written, and without a user."""
    return url.split("/", 3)[2].rpartition("@")[2]


def login_headers(url: str) -> dict[str, str]:
    """Return the headers with the user and password of a URL; empty if it has none."""
    user = user_of(url)
    if user is None:
        return {}
    import base64  # noqa: PLC0415 - few URLs have a user

    name, _, password = user.partition(":")
    text = f"{unquote(name)}:{unquote(password)}"
    return {"authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}
