"""What the status and headers of a response say about the file: its size, its range and its version."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from provisioner.remote.http.connections import Response

_CONTENT_RANGE: Final = re.compile(r"bytes\s+(\d+)-(\d+)/(\d+|\*)\s*", re.IGNORECASE)
_UNSATISFIED: Final = re.compile(r"bytes\s+\*/(\d+)\s*", re.IGNORECASE)


def declared_length(response: Response) -> int | None:
    """Return the body's length in bytes; ``None``: the server does not say."""
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


def total_size(response: Response) -> int | None:
    """Return the size of the whole file in bytes; ``None``: the server does not say."""
    if response.status != HTTPStatus.PARTIAL_CONTENT:
        return declared_length(response)
    found = _content_range(response)
    return int(found[3]) if found and found[3] != "*" else None


def total_size_of_unsatisfied(response: Response) -> int | None:
    """Return the size of the whole file, from the refusal of a range (416); ``None``: the server does not say."""
    found = _UNSATISFIED.fullmatch(response.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def is_range(response: Response) -> bool:
    """Return whether a response is a range of the file, and says which."""
    return response.status == HTTPStatus.PARTIAL_CONTENT and _content_range(response) is not None


def continues_at(response: Response, start: int) -> bool:
    """Return whether the range of a response begins at ``start``."""
    found = _content_range(response)
    return found is not None and int(found[1]) == start


def validator_of(response: Response) -> str | None:
    """Return what ``If-Range`` may carry: a strong ETag, else the date (RFC 9110, section 13.1.5)."""
    etag = response.headers.get("ETag")
    if etag and not etag.startswith("W/"):
        return etag
    return response.headers.get("Last-Modified")


def _content_range(response: Response) -> re.Match[str] | None:
    return _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
