"""Transfers of artifacts: from the first of their URLs that delivers the right bytes."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioner.errors import TRY_NEXT_AFTER, DigestMismatchError, error_to_report
from provisioner.redaction import show_url
from provisioner.remote.http.local_files import is_local, local_size, read_local
from provisioner.remote.http.ranges import RangedFetch

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.catalog.artifact import Artifact
    from provisioner.errors import ProvisionerError
    from provisioner.remote.http.client import HttpClient
    from provisioner.remote.http.ranges import HelperThreads
    from provisioner.remote.http.targets import SealedTarget, Sink

_LOGGER = logging.getLogger(__name__)


class Transfers:
    """Fetches artifacts with one HTTP client, each by the way that suits its size."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http

    def connections_for_small_files(self) -> int:
        """Return how many small files are worth fetching at once."""
        return self._http.connections_for_small_files()

    def fetch(self, artifact: Artifact, sink: Sink, advance: Callable[[int], None]) -> str:
        """Fetch the rest of an artifact into its sink.

        Args:
            artifact: what to fetch; its URLs are tried in their order.
            sink: where the bytes go.
            advance: told each number of bytes that arrived; negative when some were dropped.

        Returns:
            The SHA-256 of the whole, in hexadecimal.

        Raises:
            ProvisionerError: every URL failed; the error that :func:`provisioner.errors.error_to_report` chooses.
        """
        exact = artifact.exact_size

        def transfer(url: str) -> None:
            self._http.fetch(
                url, sink, size=exact, verifiable=artifact.digest is not None, authorized=artifact.authorized, advance=advance
            )

        return _fetch_from_any(artifact, _Transfer(transfer, sink.seal, lambda: sink.have, lambda: sink.have > 0, advance))

    def fetch_ranges(
        self, artifact: Artifact, target: SealedTarget, helpers: HelperThreads, advance: Callable[[int], None]
    ) -> str:
        """Fetch the rest of a large artifact by several connections at once; otherwise as :meth:`fetch`.

        Raises:
            ProvisionerError: as :meth:`fetch`.
        """

        def transfer(url: str) -> None:
            target.recover()
            requested = self._http.rewritten(url)
            if is_local(requested):
                self._copy(requested, target, advance)
                return
            verifiable = artifact.digest is not None
            fetch = RangedFetch(self._http, url, target, verifiable=verifiable, authorized=artifact.authorized, advance=advance)
            fetch.run(helpers)

        return _fetch_from_any(artifact, _Transfer(transfer, target.seal, lambda: target.have, lambda: target.resumed, advance))

    def fetch_small(self, artifact: Artifact, size: int, accept: Callable[[bytes], str], advance: Callable[[int], None]) -> str:
        """Fetch a whole small artifact into memory; otherwise as :meth:`fetch`.

        Args:
            artifact: what to fetch.
            size: its exact number of bytes.
            accept: checks the bytes, writes them to the tree, and returns their SHA-256.
            advance: as for :meth:`fetch`.

        Raises:
            ProvisionerError: as :meth:`fetch`.
        """
        data = b""

        def transfer(url: str) -> None:
            nonlocal data
            data = self._http.get(url, size=size, authorized=artifact.authorized)
            advance(size)

        return _fetch_from_any(artifact, _Transfer(transfer, lambda: accept(data), lambda: size, lambda: False, advance))

    def _copy(self, requested: str, target: SealedTarget, advance: Callable[[int], None]) -> None:
        advance(-(target.restart(None) or 0))
        claim = target.claim_all()
        local_size(requested, target.size)
        for data in read_local(requested, self._http.check_cancelled):
            claim.write(data)
            advance(len(data))


@dataclass(frozen=True, slots=True)
class _Transfer:
    """One way to fetch an artifact from a URL."""

    run: Callable[[str], None]
    """Fetches from this URL what is missing."""
    seal: Callable[[], str]
    have: Callable[[], int]
    """Returns the number of bytes that are there."""
    is_resumed: Callable[[], bool]
    """Returns whether some of these bytes are from an earlier attempt."""
    advance: Callable[[int], None]

    def sealed(self) -> str:
        """Check the whole and return its SHA-256; bytes that turn out to be wrong are counted back."""
        arrived = self.have()
        try:
            return self.seal()
        except DigestMismatchError:
            self.advance(-arrived)
            raise


def _fetch_from_any(artifact: Artifact, transfer: _Transfer) -> str:
    """Try the URLs one after the other; a resumed file that turns out to be wrong is fetched once more from its beginning."""
    errors: list[ProvisionerError] = []
    for index, url in enumerate(artifact.urls):
        try:
            return _fetch_from(url, transfer)
        except TRY_NEXT_AFTER as error:
            errors.append(error)
            if index + 1 < len(artifact.urls):
                _LOGGER.warning("%s; asking the mirror %s", error.message, show_url(artifact.urls[index + 1]))
    raise error_to_report(errors)


def _fetch_from(url: str, transfer: _Transfer) -> str:
    was_resumed = transfer.is_resumed()
    try:
        transfer.run(url)
        # A change upstream may have dropped the resumed bytes in the meantime: then they are not what is wrong.
        was_resumed = was_resumed and transfer.is_resumed()
        return transfer.sealed()
    except DigestMismatchError as error:
        if not was_resumed:
            raise
        # The bytes of an earlier run may be the wrong ones: a power cut loses what was not synced.
        _LOGGER.warning("%s; it had been resumed, so it is fetched from its beginning", error.message)
        transfer.run(url)
        return transfer.sealed()
