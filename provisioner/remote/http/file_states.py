"""The states of files as servers reported them during the fetch, for receipts."""

from __future__ import annotations

import threading
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from provisioner.catalog.file_state import FileState
from provisioner.redaction import show_url
from provisioner.remote.http.codings import codings_of
from provisioner.remote.http.headers import range_of, total_size

if TYPE_CHECKING:
    from provisioner.remote.http.connections import Response

_MOST: Final = 10_000
"""Files whose states are kept; if a catalog names more files by URL, the states of the others are not recorded."""
_LONGEST: Final = 300
"""Characters of a header value that is kept."""
_DELIVERING: Final = frozenset({HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT})


class FileStates:
    """The states of files by the URLs that were requested; safe for several threads."""

    def __init__(self) -> None:
        """Begin empty."""
        self._lock = threading.Lock()
        self._states: dict[str, tuple[int, FileState]] = {}
        self._count = 0

    def record(self, url: str, response: Response) -> None:
        """Keep the facts in a response that delivers a file; the last one for a URL counts."""
        if response.status not in _DELIVERING:
            return
        with self._lock:
            if url in self._states or len(self._states) < _MOST:
                self._count += 1
                self._states[url] = self._count, state_of(url, response)

    def latest(self, urls: list[str]) -> FileState | None:
        """Return the state from the one of several URLs that delivered last, or ``None`` if none did."""
        with self._lock:
            found = [self._states[url] for url in urls if url in self._states]
        return max(found, key=lambda one: one[0])[1] if found else None


def state_of(url: str, response: Response) -> FileState:
    """Return the state of a file as stated in a response."""
    # The size of a form that was not requested says nothing about the file.
    is_encoded = bool(codings_of(response.headers)) and range_of(response) is None
    return FileState(
        url=show_url(url),
        etag=_plain(response.headers.get("ETag")),
        modified=_plain(response.headers.get("Last-Modified")),
        size=None if is_encoded else total_size(response),
    )


def _plain(header: str | None) -> str:
    """Return a header value that may be shown and stored; empty if there is none, or if it is not plain text."""
    text = (header or "").strip()
    return text if text.isprintable() and len(text) <= _LONGEST else ""
