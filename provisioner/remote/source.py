"""Sources: what the catalog names becomes artifacts that can be fetched, whatever the kind of source."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioner.catalog.model import HubSource
from provisioner.errors import (
    AccessDeniedError,
    DigestMismatchError,
    IntegrityError,
    NotFoundError,
    RemoteRefusedError,
    TryAgainError,
    gravest,
)
from provisioner.planning.recipe import hub_artifacts, url_artifacts
from provisioner.remote.http import show_url

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provisioner.catalog.model import Source
    from provisioner.errors import ProvisionerError
    from provisioner.planning.recipe import Artifact
    from provisioner.remote.http import HttpClient, Sink
    from provisioner.remote.hub import HubClient

_LOGGER = logging.getLogger(__name__)

ANOTHER_MAY_HELP = (NotFoundError, AccessDeniedError, IntegrityError, RemoteRefusedError, TryAgainError)
"""Errors of one URL or source after which the next one is worth asking."""


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
        """A name for this source at this pin, fit for a folder's name."""
        text = "\n".join([self.kind, self.pin, *(artifact.shape for artifact in self.artifacts)])
        return hashlib.sha256(text.encode()).hexdigest()[:12]


class Remote:
    """All sources behind one face; the Hub's client is made when the first Hub source is asked."""

    def __init__(self, http: HttpClient, hub: Callable[[], HubClient]) -> None:
        self._http = http
        self._hub = hub

    def resolve(self, source: Source, splits: Sequence[str]) -> Resolved:
        """Ask what a source holds now.

        Raises:
            ProvisionerError: the source cannot be used; the next one may.
        """
        if not isinstance(source, HubSource):
            artifacts = url_artifacts(source)
            pins = [str(artifact.digest) if artifact.digest else f"unverified:{artifact.name}" for artifact in artifacts]
            pin = pins[0] if len(pins) == 1 else f"sha256:{hashlib.sha256(' '.join(pins).encode()).hexdigest()}"
            return Resolved("url", show_url(artifacts[0].urls[0]), pin, artifacts)
        hub = self._hub()
        commit = hub.resolve(source.repo, source.revision)
        listing = ((file.path, file.size, file.digest) for file in hub.listing(source.repo, commit))
        artifacts = hub_artifacts(source, splits, listing, lambda path: hub.file_url(source.repo, commit, path))
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
            ProvisionerError: no URL did; the most telling of their errors (:func:`provisioner.errors.gravest`).
        """
        errors: list[ProvisionerError] = []
        for place, url in enumerate(artifact.urls):
            try:
                return self._fetch_from(url, artifact, sink, advance)
            except ANOTHER_MAY_HELP as error:
                errors.append(error)
                if place + 1 < len(artifact.urls):
                    _LOGGER.warning("%s; asking the mirror %s", error.message, show_url(artifact.urls[place + 1]))
        raise gravest(errors)

    def _fetch_from(self, url: str, artifact: Artifact, sink: Sink, advance: Callable[[int], None]) -> str:
        exact = artifact.size.value if artifact.size and not artifact.size.estimate else None
        resumed = sink.have > 0
        while True:
            self._http.fetch(
                url, sink, size=exact, verifiable=artifact.digest is not None, authorized=artifact.authorized, advance=advance
            )
            arrived = sink.have
            try:
                return sink.seal()
            except DigestMismatchError as error:
                advance(-arrived)
                if not resumed:
                    raise
                # What an earlier run left may be what is wrong (a power cut loses what was not synced): once from zero.
                _LOGGER.warning("%s; it had been resumed, so it is fetched from its beginning", error.message)
                resumed = False
