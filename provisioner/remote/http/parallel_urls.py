"""Further URLs of the same bytes, so that the ranges of one large file come from several hosts at once.

A digest must be known, which finally shows whether the ranges belong together. If one of the URLs fails, that is logged, and
its range is fetched from elsewhere.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from http import HTTPStatus
from typing import TYPE_CHECKING

from provisioner.errors import TRY_NEXT_AFTER, IntegrityError, RemoteRefusedError, UpstreamChangedError
from provisioner.redaction import show_url
from provisioner.remote.http.headers import range_of
from provisioner.remote.http.local_files import is_local
from provisioner.remote.retry import Transient
from provisioner.remote.urls import host_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from provisioner.remote.http.client import HttpClient
    from provisioner.remote.http.targets import RangeClaim

_LOGGER = logging.getLogger(__name__)


class ParallelUrls:
    """The other URLs of a file besides the first one; safe for several threads."""

    def __init__(self, client: HttpClient, urls: Sequence[str], size: int) -> None:
        """Make no request yet.

        Args:
            client: sends the requests.
            urls: URLs of the same bytes; those of files on this machine are not used.
            size: exact number of bytes of the whole file.
        """
        self._client = client
        self._size = size
        self._lock = threading.Lock()
        self._in_use: dict[str, int] = {requested: 0 for url in urls if not is_local(requested := client.rewritten(url))}
        """The number of threads that fetch from each URL."""

    @contextlib.contextmanager
    def turn(self, others: int) -> Iterator[str | None]:
        """Yield the URL for a range that is fetched in the block; ``None`` means the first URL, if it has least to do.

        Args:
            others: how many threads fetch from any of the URLs, including the calling one.
        """
        with self._lock:
            url = min(self._in_use, key=self._in_use.__getitem__, default=None)
            if url is not None and self._in_use[url] >= others - sum(self._in_use.values()):
                url = None
            if url is not None:
                self._in_use[url] += 1
        try:
            yield url
        finally:
            with self._lock:
                if url in self._in_use:
                    self._in_use[url] -= 1

    def fetch(self, url: str, claim: RangeClaim, write: Callable[[RangeClaim, memoryview], None]) -> None:
        """Fetch a range from one URL; if it fails, that URL is not used again, and the range stays incomplete.

        Args:
            url: as returned by :meth:`turn`.
            claim: the range.
            write: receives the bytes.

        Raises:
            ProvisionerError: the volume failed, or the run must end.
        """
        retry = self._client.retry
        try:
            retry.call(
                lambda: show_url(url),
                lambda: self._attempt(url, claim, write),
                host=host_of(url),
                progress=lambda: claim.position,
            )
        except UpstreamChangedError:
            raise
        except (*TRY_NEXT_AFTER, IntegrityError) as error:
            self._client.check_cancelled()
            with self._lock:
                lost = self._in_use.pop(url, None) is not None
            if lost:
                _LOGGER.info("%s; the others send the rest of this file", error.message)

    def _attempt(self, url: str, claim: RangeClaim, write: Callable[[RangeClaim, memoryview], None]) -> None:
        start, end = claim.position, claim.end
        response = self._client.open(url, {"Range": f"bytes={start}-{end - 1}"}, authorized=False).response
        try:
            found = range_of(response)
            is_plain = response.headers.get("Content-Encoding", "identity").lower() == "identity"
            if response.status != HTTPStatus.PARTIAL_CONTENT or found is None or not is_plain:
                raise RemoteRefusedError(f"{show_url(url)}: it sends no ranges")
            if found.start != start or found.end > end or found.total != self._size:
                raise RemoteRefusedError(f"{show_url(url)}: it does not send the range that was asked for")
            for data in self._client.parts(response, url):
                write(claim, data[: min(found.end, claim.end) - claim.position])
                if claim.position >= min(found.end, claim.end):
                    break
        finally:
            response.close()
        if claim.position < claim.end:
            raise Transient(f"the connection ended after {claim.position:,} of {claim.end:,} bytes")
