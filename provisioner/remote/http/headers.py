"""The size of a file and its range, as stated in the status and headers of a response."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple

from provisioner.remote.http.fields import number_in

if TYPE_CHECKING:
    from provisioner.remote.http.connections import Response

_CONTENT_RANGE: Final = re.compile(r"bytes\s+([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)\s*", re.IGNORECASE)
_UNSATISFIED: Final = re.compile(r"bytes\s+\*/([0-9]{1,18})\s*", re.IGNORECASE)


def declared_length(response: Response) -> int | None:
    """Return the body's length in bytes, or ``None`` if the server does not say."""
    return number_in(response.headers.get("Content-Length", ""))


def total_size(response: Response) -> int | None:
    """Return the size of the whole file in bytes, or ``None`` if the server does not say."""
    if response.status != HTTPStatus.PARTIAL_CONTENT:
        return declared_length(response)
    found = _content_range(response)
    return int(found[3]) if found and found[3] != "*" else None


def total_size_of_unsatisfied(response: Response) -> int | None:
    """Return the size of the whole file, as stated in the refusal of a range (416); ``None`` if the server does not say."""
    found = _UNSATISFIED.fullmatch(response.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


class ContentRange(NamedTuple):
    """The bytes of the file that a response has."""

    start: int
    end: int
    """Offset after the last byte."""
    total: int | None
    """Bytes of the whole file, or ``None`` if the server does not say."""


def range_of(response: Response) -> ContentRange | None:
    """Return which bytes of the file a partial response has; ``None`` if it is not partial, or does not say."""
    if response.status != HTTPStatus.PARTIAL_CONTENT or (found := _content_range(response)) is None:
        return None
    start, end, total = int(found[1]), int(found[2]) + 1, None if found[3] == "*" else int(found[3])
    return ContentRange(start, end, total) if start < end and (total is None or end <= total) else None


def _content_range(response: Response) -> re.Match[str] | None:
    return _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
