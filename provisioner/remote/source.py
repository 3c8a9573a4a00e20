"""Sources: what the catalog names becomes artifacts that can be fetched, whatever the kind of source."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from provisioner.catalog.hub_source import HubSource
from provisioner.errors import TRY_NEXT_AFTER, DigestMismatchError, error_to_report
from provisioner.remote.http.errors import show_url
from provisioner.remote.http.ranges import RangedFetch, RangeTarget

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.catalog.artifact import Artifact
    from provisioner.catalog.source import Source
    from provisioner.errors import ProvisionerError
    from provisioner.remote.http.client import HttpClient, Sink
    from provisioner.remote.http.ranges import Crew
    from provisioner.remote.hub.client import HubClient

_LOGGER = logging.getLogger(__name__)


class SealedTarget(RangeTarget, Protocol):
    """Where a large artifact goes, and where it is checked."""

    @property
    def resumed(self) -> bool:
        """Whether some of it was there before."""
        ...

    def recover(self) -> None:
        """Take up the work after a failure."""
        ...

    def seal(self) -> str:
        """Check the whole, and give its SHA-256; wrong bytes are dropped."""
        ...


@dataclass(frozen=True, slots=True)
class Resolved:
    """A source after it was asked what it holds."""

    kind: str
    url: str
    """Where a person finds it."""
    pin: str
    """A commit, or the digest of the files: what it was just then."""
    artifacts: tuple[Artifact, ...]

    @property
    def key(self) -> str:
        """A name for this source at this pin, fit for a directory's name."""
        text = "\n".join([self.kind, self.pin, *(artifact.content_id for artifact in self.artifacts)])
        return hashlib.sha256(text.encode()).hexdigest()[:12]


class Remote:
    """All sources behind one face; the Hub's client is made when the first Hub source is asked."""

    def __init__(self, http: HttpClient, hub: Callable[[], HubClient]) -> None:
        self._http = http
        self._hub = hub

    def small_at_once(self) -> int:
        """Return how many small files are worth fetching at once."""
        return self._http.connections_for_small_files()

    def resolve(self, source: Source) -> Resolved:
        """Ask what a source holds now.

        Raises:
            ProvisionerError: the source cannot be used; the next one may.
        """
        if (artifacts := source.artifacts) is not None:
            pins = [str(artifact.digest) if artifact.digest else f"unverified:{artifact.name}" for artifact in artifacts]
            pin = pins[0] if len(pins) == 1 else f"sha256:{hashlib.sha256(' '.join(pins).encode()).hexdigest()}"
            return Resolved("url", show_url(artifacts[0].urls[0]), pin, artifacts)
        assert isinstance(source, HubSource)  # noqa: S101 - the only kind that must be asked
        hub = self._hub()
        commit = hub.resolve(source.repo, source.revision)
        listing = ((file.path, file.size, file.digest) for file in hub.listing(source.repo, commit))
        artifacts = source.select(listing, lambda path: hub.file_url(source.repo, commit, path))
        return Resolved("hub", hub.page_url(source.repo), commit, artifacts)

    def fetch(self, artifact: Artifact, sink: Sink, advance: Callable[[int], None]) -> str:
        """Bring the rest of an artifact into its sink, from the first of its URLs that gives the right bytes.

        Args:
            artifact: what to bring.
            sink: where to.
            advance: told of each number of bytes that arrived; negative when some were dropped.

        Returns:
            The SHA-256 of the whole.

        Raises:
            ProvisionerError: no URL did; the error that :func:`provisioner.errors.error_to_report` chooses.
        """
        exact = artifact.exact_size

        def bring(url: str) -> None:
            self._http.fetch(
                url, sink, size=exact, verifiable=artifact.digest is not None, authorized=artifact.authorized, advance=advance
            )

        return self._first_of(artifact, _Bringing(bring, sink.seal, lambda: sink.have, lambda: sink.have > 0, advance))

    def fetch_ranges(self, artifact: Artifact, target: SealedTarget, crew: Crew, advance: Callable[[int], None]) -> str:
        """Bring the rest of a large artifact by several connections at once; otherwise as :meth:`fetch`.

        Raises:
            ProvisionerError: as :meth:`fetch`.
        """

        def bring(url: str) -> None:
            target.recover()
            if url.startswith("file:"):
                self._copy(url, target, advance)
                return
            verifiable = artifact.digest is not None
            fetch = RangedFetch(self._http, url, target, verifiable=verifiable, authorized=artifact.authorized, advance=advance)
            fetch.run(crew)

        return self._first_of(artifact, _Bringing(bring, target.seal, lambda: target.have, lambda: target.resumed, advance))

    def fetch_small(self, artifact: Artifact, size: int, accept: Callable[[bytes], str], advance: Callable[[int], None]) -> str:
        """Bring a whole small artifact at once; otherwise as :meth:`fetch`.

        Args:
            artifact: what to bring.
            size: its bytes; exact.
            accept: checks the bytes, puts them in their place, and gives their SHA-256.
            advance: as for :meth:`fetch`.

        Raises:
            ProvisionerError: as :meth:`fetch`.
        """
        data = b""

        def bring(url: str) -> None:
            nonlocal data
            data = self._http.get(url, size=size, authorized=artifact.authorized)
            advance(size)

        return self._first_of(artifact, _Bringing(bring, lambda: accept(data), lambda: size, lambda: False, advance))

    def _copy(self, url: str, target: SealedTarget, advance: Callable[[int], None]) -> None:
        asked = self._http.rewritten(url)
        advance(-(target.restart(None) or 0))
        claim = target.claim_all()
        for data in self._http.blocks_of(asked, target.size):
            claim.write(data)
            advance(len(data))

    @staticmethod
    def _first_of(artifact: Artifact, way: _Bringing) -> str:
        """Ask the URLs one after the other; what had been resumed and turns out wrong is fetched once more, from zero."""
        errors: list[ProvisionerError] = []
        for place, url in enumerate(artifact.urls):
            try:
                suspicious = way.resumed()
                try:
                    way.bring(url)
                    # What a change upstream has dropped meanwhile is not what is wrong.
                    suspicious = suspicious and way.resumed()
                    return way.sealed()
                except DigestMismatchError as error:
                    if not suspicious:
                        raise
                    # What an earlier run left may be what is wrong (a power cut loses what was not synced).
                    _LOGGER.warning("%s; it had been resumed, so it is fetched from its beginning", error.message)
                    way.bring(url)
                    return way.sealed()
            except TRY_NEXT_AFTER as error:
                errors.append(error)
                if place + 1 < len(artifact.urls):
                    _LOGGER.warning("%s; asking the mirror %s", error.message, show_url(artifact.urls[place + 1]))
        raise error_to_report(errors)


@dataclass(frozen=True, slots=True)
class _Bringing:
    """One way of bringing an artifact."""

    bring: Callable[[str], None]
    seal: Callable[[], str]
    have: Callable[[], int]
    resumed: Callable[[], bool]
    """Something of it was there before, and is still."""
    advance: Callable[[int], None]

    def sealed(self) -> str:
        """Check the whole; what turns out to be wrong is not counted."""
        arrived = self.have()
        try:
            return self.seal()
        except DigestMismatchError:
            self.advance(-arrived)
            raise
