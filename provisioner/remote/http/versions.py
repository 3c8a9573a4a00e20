"""The version of a file that a response is of, so that only bytes of one version are joined (RFC 9110, sections 8.8 and 14).

Only strong validators show that two responses are of the same version: a strong ETag or, if there is none, a
``Last-Modified`` that is clearly older than the response, since a file may change twice within one second. They apply to one
URL only: if redirects led to a different place, the same validator says nothing.

We compare dates ourselves and never send them as ``If-Range``: a response to that may leave the date out, and a server that
ignores the condition would look like one that has checked it.
"""

from __future__ import annotations

import hashlib
import re
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from provisioner.redaction import show_url, without_user
from provisioner.remote.http.codings import codings_of
from provisioner.remote.retry import parse_date

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.remote.http.redirects import Answer

_STRONG: Final = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')
_WEAK: Final = re.compile(r'[Ww]/"[\x21\x23-\x7e\x80-\xff]*"')
_RECORDED: Final = re.compile(r"(?:as (?P<coding>\S+) )?(?:at (?P<place>[0-9a-f]+) )?(?P<validator>.+)")
_CLEARLY_OLDER: Final = 60.0
"""Seconds between the last change and the response after which no second change can have the same date, even if two clocks of
the server differ."""


class Agreement(Enum):
    """Whether two responses are of the same version."""

    SAME = auto()
    OTHER = auto()
    UNKNOWN = auto()
    """Not stated, so their bytes must not be joined unless a digest is checked in the end."""


class Version(NamedTuple):
    """The version of a file, as stated by a response."""

    place: str
    """Identifies where redirects led; empty if the response came from the requested URL."""
    etag: str | None
    """A strong ETag."""
    weak_etag: str | None
    modified: str | None
    is_dated: bool
    """Whether ``modified`` is a strong validator."""
    coding: str
    """The content codings, joined; empty if there are none, or the response leaves them out."""

    @property
    def recorded(self) -> str | None:
        """The text with which later responses are compared; ``None`` if nothing could show that they are of this version."""
        validator = self.etag or (self.modified if self.is_dated else None)
        if validator is None:
            return None
        return f"{f'as {self.coding} ' if self.coding else ''}{f'at {self.place} ' if self.place else ''}{validator}"

    def agreement(self, recorded: str) -> Agreement:
        """Return whether this response is of the recorded version."""
        found = _RECORDED.fullmatch(recorded)
        if found is None or (found["place"] or "") != self.place:
            return Agreement.UNKNOWN
        validator, coding = found["validator"], found["coding"] or ""
        if self.coding and self.coding != coding:
            return Agreement.OTHER
        if validator.startswith('"'):
            if self.etag is not None:
                return Agreement.SAME if self.etag == validator else Agreement.OTHER
            is_like = self.weak_etag is None or self.weak_etag[2:] == validator
            return Agreement.UNKNOWN if is_like else Agreement.OTHER
        if self.modified is None:
            return Agreement.UNKNOWN
        return Agreement.SAME if self.modified == validator else Agreement.OTHER


def version_of(answer: Answer, requested: str, now: float) -> Version:
    """Return what a response says of its version.

    Args:
        answer: the response, and where redirects led.
        requested: the URL that was first requested.
        now: seconds since the epoch, for a response that does not state its date.
    """
    headers = answer.response.headers
    etag = headers.get("ETag", "")
    modified = headers.get("Last-Modified")
    return Version(
        place=_place(answer.url) if answer.url != requested else "",
        etag=etag if _STRONG.fullmatch(etag) else None,
        weak_etag=etag if _WEAK.fullmatch(etag) else None,
        modified=modified,
        is_dated=modified is not None and _is_strong_date(modified, headers, now),
        coding="+".join(codings_of(headers)),
    )


def condition_for(recorded: str) -> dict[str, str]:
    """Return the header that requests a range of the recorded version only; empty if there is no reliable one."""
    found = _RECORDED.fullmatch(recorded)
    return {"If-Range": found["validator"]} if found is not None and found["validator"].startswith('"') else {}


def record_key(url: str, requested: str) -> str:
    """Return the text that identifies the URL of bytes in a record beside them, which must hold no secret.

    Args:
        url: the URL in the catalog.
        requested: the URL requested in its place (``URL_REWRITE``), which may hold a password.
    """
    plain = without_user(url)
    mirror = without_user(requested)
    query = urlsplit(plain).query
    # The query may be a signature, but another query may also lead to another file.
    shown = f"{show_url(plain)}?{_hash(query)}" if query else plain
    return shown if mirror == plain else f"{shown} by {_hash(mirror)}"


def _place(url: str) -> str:
    """Return an identifier of a URL without its query, which may be a signature that changes with each redirect."""
    parts = urlsplit(without_user(url))
    return _hash(f"{parts.scheme}://{parts.netloc}{parts.path}")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _is_strong_date(modified: str, headers: Mapping[str, str], now: float) -> bool:
    """Return whether a file changed at ``modified`` cannot have been changed again at that time (section 8.8.2.2)."""
    changed = parse_date(modified)
    if changed is None:
        return False
    sent = parse_date(headers.get("Date", ""))
    return (now if sent is None else min(sent, now)) - changed >= _CLEARLY_OLDER
