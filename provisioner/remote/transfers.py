"""Transfers of artifacts, from the first of their URLs that delivers the right bytes."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioner.errors import (
    NOT_THE_FILE,
    TRY_NEXT_AFTER,
    DigestMismatchError,
    OfflineError,
    RemoteRefusedError,
    UnexpectedContentError,
    UpstreamChangedError,
    error_to_report,
)
from provisioner.redaction import show_url
from provisioner.remote.http.codings import FileForm
from provisioner.remote.http.local_files import is_local, local_size, read_local
from provisioner.remote.http.ranges import RangedFetch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from provisioner.catalog.artifact import Artifact
    from provisioner.catalog.file_state import FileState
    from provisioner.errors import ProvisionerError
    from provisioner.remote.http.client import HttpClient
    from provisioner.remote.http.ranges import HelperThreads
    from provisioner.remote.http.targets import SealedTarget, Sink

_LOGGER = logging.getLogger(__name__)


def _accept() -> None:
    """Accept bytes that need no further check."""


class Locations:
    """The URLs from which artifacts are fetched, in the order of attempts."""

    @contextlib.contextmanager
    def of(self, artifact: Artifact) -> Iterator[Sequence[str]]:
        """Yield the URLs of an artifact that is fetched in the block.

        Raises:
            ProvisionerError: there are none any more.
        """
        yield artifact.locations

    def parallel_urls(self, artifact: Artifact, url: str) -> Sequence[str]:  # noqa: ARG002
        """Return the URLs that can also send ranges of a large file while it is fetched from ``url``."""
        return ()

    def failed(self, artifact: Artifact, url: str, error: ProvisionerError, following: str | None) -> None:  # noqa: ARG002
        """Take note that one URL did not deliver, and which one is tried next."""
        if following is not None and not isinstance(error, OfflineError):
            _LOGGER.warning("%s; asking the mirror %s", error.message, show_url(following))


class Transfers:
    """Fetches artifacts with one HTTP client, each in the way that suits its size."""

    def __init__(self, http: HttpClient, locations: Locations | None = None) -> None:
        """Prepare.

        Args:
            http: sends the requests.
            locations: where artifacts are; ``None`` means at their own URLs.
        """
        self._http = http
        self._locations = locations or Locations()

    def requests_at_once(self) -> int:
        """Return how many requests at once are worth while now."""
        return self._http.flow.requests_at_once

    def small_files_at_once(self) -> int:
        """Return how many small files are worth fetching at once now."""
        return self._http.flow.small_files_at_once

    def size_of(self, artifact: Artifact) -> int:
        """Return how many bytes an artifact has; if that is not stated, ask the first of its URLs.

        Raises:
            RemoteRefusedError: it is not on an HTTP server, or the server does not say.
            ProvisionerError: depends on the server's response.
        """
        url = artifact.locations[0]
        if is_local(self._http.rewritten(url)):
            raise RemoteRefusedError(f"{show_url(url)}: it is on this machine, and read as a whole")
        size = artifact.exact_size
        if size is None:
            size = self._http.facts(url, authorized=artifact.authorized).size
        if size is None:
            raise RemoteRefusedError(f"{show_url(url)}: the server does not say its size")
        return size

    def fetch_range(self, artifact: Artifact, start: int, end: int, total: int) -> bytes:
        """Return one range of an artifact from the first of its URLs; see :meth:`HttpClient.get_range`."""
        return self._http.get_range(artifact.locations[0], start, end, total, authorized=artifact.authorized)

    def offers_bundles(self) -> bool:
        """Return whether many files can be fetched by one request."""
        return False

    def fetch_bundle(self, start: int, end: int) -> bytes | None:
        """Return a range of the concatenation of all files, or ``None`` if that is not available."""
        raise NotImplementedError

    def delivered(self, artifact: Artifact) -> FileState | None:
        """Return what the server said of an artifact when it was fetched; ``None`` if it was not, or is in a repository."""
        return self._http.delivered(artifact.urls) if artifact.urls else None

    def fetch(self, artifact: Artifact, sink: Sink, advance: Callable[[int], None], accept: Callable[[], None] = _accept) -> str:
        """Fetch the rest of an artifact into its sink.

        Args:
            artifact: the artifact to fetch; its URLs are tried in order.
            sink: where the bytes go.
            advance: called with each number of bytes that arrived; negative if some were dropped.
            accept: called when the whole file has arrived and its digest, if known, is right. It raises one of
                ``NOT_THE_FILE`` if the bytes are of no use; if no digest proves them, the next URL is then tried.

        Returns:
            The SHA-256 of the whole file, in hexadecimal.

        Raises:
            ProvisionerError: every URL failed; the error is chosen by :func:`provisioner.errors.error_to_report`.
        """
        form, verifiable = _form_of(artifact), artifact.digest is not None

        def transfer(url: str) -> None:
            self._http.fetch(
                url,
                sink,
                size=artifact.exact_size,
                form=form,
                verifiable=verifiable,
                authorized=artifact.authorized,
                advance=advance,
            )

        def drop() -> None:
            advance(-sink.have)
            sink.restart()

        return self._fetch_from_any(
            artifact,
            _Transfer(
                run=transfer,
                seal=sink.seal,
                accept=accept,
                drop=drop,
                have=lambda: sink.have,
                is_resumed=lambda: sink.have > 0,
                advance=advance,
                form=form,
                is_proven=verifiable,
                is_unpacked=artifact.unpack != "none",
            ),
        )

    def fetch_ranges(
        self,
        artifact: Artifact,
        target: SealedTarget,
        helpers: HelperThreads,
        advance: Callable[[int], None],
        accept: Callable[[], None] = _accept,
    ) -> str:
        """Fetch the rest of a large artifact over several connections; otherwise the same as :meth:`fetch`.

        Raises:
            ProvisionerError: see :meth:`fetch`.
        """
        verifiable = target.is_proven
        form = _form_of(artifact, verifiable=verifiable)
        parallel_urls: Sequence[str] = ()
        is_wrong, latest = False, ""

        def transfer(url: str) -> None:
            nonlocal parallel_urls, latest
            latest = url
            target.recover()
            requested = self._http.rewritten(url)
            if is_local(requested):
                self._copy(requested, target, advance)
                return
            parallel_urls = () if is_wrong else self._locations.parallel_urls(artifact, url)
            fetch = RangedFetch(
                self._http,
                url,
                target,
                form=form,
                verifiable=verifiable,
                authorized=artifact.authorized,
                advance=advance,
                parallel_urls=parallel_urls,
            )
            fetch.run(helpers)

        def seal() -> str:
            nonlocal is_wrong
            arrived = target.have
            try:
                return target.seal()
            except DigestMismatchError as error:
                is_wrong = True
                if not parallel_urls:
                    raise
                # It is not known who sent the wrong bytes, so from now on a single host is asked.
                advance(-arrived)
                _LOGGER.warning("%s; it came from several places, so it is fetched once more from one", error.message)
                transfer(latest)
                return target.seal()

        def drop() -> None:
            advance(-(target.restart(None) or 0))

        return self._fetch_from_any(
            artifact,
            _Transfer(
                run=transfer,
                seal=seal,
                accept=accept,
                drop=drop,
                have=lambda: target.have,
                is_resumed=lambda: target.resumed,
                advance=advance,
                form=form,
                is_proven=verifiable,
                is_unpacked=artifact.unpack != "none",
            ),
        )

    def fetch_small(self, artifact: Artifact, size: int, accept: Callable[[bytes], str], advance: Callable[[int], None]) -> str:
        """Fetch a whole small artifact into memory; otherwise the same as :meth:`fetch`.

        Args:
            artifact: the artifact to fetch.
            size: its exact number of bytes.
            accept: checks the bytes, writes them to the tree, and returns their SHA-256.
            advance: see :meth:`fetch`.

        Raises:
            ProvisionerError: see :meth:`fetch`.
        """
        data, form = b"", _form_of(artifact)

        def transfer(url: str) -> None:
            nonlocal data
            data = self._http.get(url, size=size, form=form, authorized=artifact.authorized)
            advance(size)

        return self._fetch_from_any(
            artifact,
            _Transfer(
                run=transfer,
                seal=lambda: accept(data),
                accept=_accept,
                drop=lambda: None,
                have=lambda: size,
                is_resumed=lambda: False,
                advance=advance,
                form=form,
                is_proven=artifact.digest is not None,
                is_unpacked=False,
            ),
        )

    def _fetch_from_any(self, artifact: Artifact, transfer: _Transfer) -> str:
        """Try the URLs one after the other."""
        errors: list[ProvisionerError] = []
        with self._locations.of(artifact) as urls:
            for index, url in enumerate(urls):
                following = urls[index + 1] if index + 1 < len(urls) else None
                try:
                    return _fetch_from(url, transfer, has_mirrors=following is not None)
                except TRY_NEXT_AFTER as error:
                    if isinstance(error, NOT_THE_FILE):
                        if transfer.is_proven:
                            raise  # every URL has the same bytes
                        # A later run cannot use any of it, and its origin is not that of the file.
                        transfer.drop()
                    errors.append(error)
                    self._locations.failed(artifact, url, error, following)
        raise error_to_report(errors)

    def _copy(self, requested: str, target: SealedTarget, advance: Callable[[int], None]) -> None:
        advance(-(target.restart(None) or 0))
        claim = target.claim_all()
        local_size(requested, target.size)
        try:
            for data in read_local(requested, self._http.check_cancelled):
                claim.write(data)
                advance(len(data))
        except UpstreamChangedError:
            advance(-(target.restart(None) or 0))
            raise


@dataclass(frozen=True, slots=True)
class _Transfer:
    """One way to fetch an artifact from a URL."""

    run: Callable[[str], None]
    """Fetches what is missing from this URL."""
    seal: Callable[[], str]
    accept: Callable[[], None]
    drop: Callable[[], None]
    """Drops what has arrived, and takes it back from the count."""
    have: Callable[[], int]
    """Returns the number of bytes that are there."""
    is_resumed: Callable[[], bool]
    """Returns whether some of these bytes are from an earlier attempt."""
    advance: Callable[[int], None]
    form: FileForm
    is_proven: bool
    """Whether a digest shows if the bytes are right; another URL then has the same bytes."""
    is_unpacked: bool
    """Whether it is an archive, so that its different forms can be told apart."""

    def sealed(self) -> str:
        """Check the whole file and return its SHA-256; bytes that turn out to be wrong are taken back from the count."""
        arrived = self.have()
        try:
            sha256 = self.seal()
        except (DigestMismatchError, UnexpectedContentError):
            self.advance(-arrived)
            raise
        self.accept()
        return sha256


def _form_of(artifact: Artifact, *, verifiable: bool | None = None) -> FileForm:
    # The format says the same as the name's ending, and more reliably.
    name = artifact.name if artifact.unpack == "none" else f"{artifact.name}.{artifact.unpack}"
    is_verifiable = artifact.digest is not None if verifiable is None else verifiable
    return FileForm(name, size=artifact.exact_size, verifiable=is_verifiable)


def _fetch_from(url: str, transfer: _Transfer, *, has_mirrors: bool) -> str:
    """Fetch from one URL; fetch a file that turns out to be wrong once more if that may help."""
    was_resumed = transfer.is_resumed()
    try:
        transfer.run(url)
        # A change upstream may have dropped the resumed bytes meanwhile; then they are not the wrong ones.
        was_resumed = was_resumed and transfer.is_resumed()
        return transfer.sealed()
    except DigestMismatchError as error:
        # The bytes of an earlier run may be the wrong ones, since a power cut loses what was not synced.
        why = "it had been resumed" if was_resumed else "a byte may have changed on the way"
        transfer.form.doubt()
        if has_mirrors and not (was_resumed or transfer.form.is_encoded):
            raise
        _LOGGER.warning("%s; %s, so it is fetched once more from its beginning", error.message, why)
        transfer.run(url)
        return transfer.sealed()
    except NOT_THE_FILE as error:
        if transfer.is_proven or not (was_resumed or (transfer.form.is_encoded and transfer.is_unpacked)):
            raise
        transfer.form.doubt()
        transfer.drop()
        _LOGGER.warning("%s; so it is fetched once more from its beginning", error.message)
        transfer.run(url)
        return transfer.sealed()
