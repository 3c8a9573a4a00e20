"""Removal of secrets from every text that leaves the process: known secrets, and everything that has the form of one.

A text from a library or a server passes through :func:`redact_line` when it becomes part of a message, and every message
passes through a :class:`Redactor` when it leaves the process.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, quote_plus, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

MASK: Final = "***"
_SHORTEST_SECRET: Final = 4
"""Length in characters. Replacing a shorter secret everywhere would make a text unreadable, and reveal the secret."""

# A user and a password, or only a token, before the host of a URL.
_USER: Final = re.compile(r"(?<=://)[^/\s\"'<>?#]+@")
# Parameters that sign a URL or contain a credential (S3, CloudFront, GCS, Azure, the Hub), even in a query without a host,
# since libraries print only the path of a request.
_PARAMETER: Final = re.compile(
    r"""([?&;](?:x-(?:amz|goog|ms|xet)-[a-z0-9-]+|(?:aws|google)access(?:key)?id|signature|sig|(?:access_|refresh_|id_|auth_)?token|jwt
        |api[_-]?key|key|secret|password|auth|authorization|credential|key-pair-id|policy|expires|hdnea|hdnts|hmac|s[evprt]|sk[a-z]+)=)
        [^&;\s"'<>]*""",
    re.IGNORECASE | re.VERBOSE,
)
# Hosts that the Hub and others redirect to, where every query is a signature, whatever its parameters are called.
_SIGNED_HOST: Final = re.compile(
    r"""(https?://(?:[^/\s"'<>?#]*\.)?(?:amazonaws\.com|cloudfront\.net|googleapis\.com|core\.windows\.net|r2\.cloudflarestorage\.com
        |xethub\.hf\.co|cdn-lfs[a-z0-9.-]*|cdn\.hf\.co)(?::\d+)?(?:/[^\s"'<>?#]*)?\?)[^\s"'<>]+""",
    re.IGNORECASE | re.VERBOSE,
)
_AUTHORITY_END: Final = re.compile(r"[/?#]")
_BEARER: Final = re.compile(
    r"""\b((?:proxy-)?authorization['"]?\s*[:=]\s*['"]?(?:bearer|basic|token)|bearer)\s+[^\s'",;]+""", re.IGNORECASE
)
_HUB_TOKEN: Final = re.compile(r"\b(hf_|api_org_)(?:[A-Za-z0-9]{16,}|(?:oauth|jwt|app)_[A-Za-z0-9_.-]{8,})")
_URL: Final = re.compile(
    r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)(?:[^\s/@]*@)?(?P<rest>[^\s?#'\"<>]*)(?P<query>[?#][^\s'\"<>]*)?", re.IGNORECASE
)


def redact_urls(text: str) -> str:
    """Return ``text`` without everything that has the form of a secret."""
    if "://" in text:
        text = _USER.sub(f"{MASK}@", text)
        text = _SIGNED_HOST.sub(rf"\1{MASK}", text)
    if "=" in text:
        text = _PARAMETER.sub(rf"\1{MASK}", text)
    text = _BEARER.sub(rf"\1 {MASK}", text)
    return _HUB_TOKEN.sub(rf"\1{MASK}", text)


def redact_line(text: str, *secrets: str | None) -> str:
    """Return a text on one line, without ``secrets``, without tokens, and without the users and queries of URLs."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, MASK)
    text = _URL.sub(lambda found: f"{found['scheme']}{found['rest']}{'?…' if found['query'] else ''}", text)
    return " ".join(redact_urls(_HUB_TOKEN.sub(MASK, text)).split())


def user_of(url: str) -> str | None:
    """Return the user and password of a URL as written in it, or ``None`` if it has none."""
    if "@" not in url:
        return None
    scheme, separator, rest = url.partition("://")
    user, at, _ = _AUTHORITY_END.split(rest, maxsplit=1)[0].rpartition("@")
    return user if separator and at and user and scheme else None


def without_user(url: str) -> str:
    """Return a URL without user and password."""
    if "@" not in url:
        return url
    scheme, separator, rest = url.partition("://")
    authority = _AUTHORITY_END.split(rest, maxsplit=1)[0]
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{rest[len(authority) :]}" if separator else url


def with_user(url: str, user: str) -> str:
    """Return a URL with user and password, in the form that :func:`user_of` returns."""
    scheme, separator, rest = without_user(url).partition("://")
    return f"{scheme}{separator}{user}@{rest}"


def show_url(url: str) -> str:
    """Return a URL for a message: without user and password, and without the query, which may be a signature."""
    parts = urlsplit(url)
    host = parts.netloc.rsplit("@", 1)[-1]
    return f"{parts.scheme}://{host}{parts.path}"


class Redactor:
    """A filter that removes known secrets, and everything that has the form of one, from texts."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._known: re.Pattern[str] | None = None
        self._forms: set[str] = set()
        self.add(*secrets)

    def add(self, *secrets: str) -> None:
        """Add secrets to remove, including their form in a URL; those shorter than 4 characters are ignored."""
        for secret in secrets:
            if len(secret) >= _SHORTEST_SECRET:
                self._forms.update((secret, quote(secret, safe=""), quote_plus(secret)))
        # The longest first, because one secret may begin with another.
        forms = sorted(self._forms, key=lambda form: (-len(form), form))
        self._known = re.compile("|".join(map(re.escape, forms))) if forms else None

    def redact(self, text: str) -> str:
        """Return ``text`` without secrets."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        return redact_urls(text)

    def redact_value(self, value: Any) -> Any:  # noqa: ANN401 - any JSON
        """Return a JSON value without secrets in its keys and texts, at every depth; other objects become text."""
        match value:
            case None | bool() | int() | float():
                return value
            case str():
                return self.redact(value)
            case dict():
                return {self.redact(str(key)): self.redact_value(item) for key, item in value.items()}
            case list() | tuple() | set() | frozenset():
                return [self.redact_value(item) for item in value]
            case _:
                return self.redact(str(value))
