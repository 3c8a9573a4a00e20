"""The result of resolving a source: the artifacts that it holds at one moment."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provisioner.catalog.artifact import Artifact
    from provisioner.catalog.card_parts import CardPart
    from provisioner.catalog.hub_source import Repository


@dataclass(frozen=True, slots=True)
class Resolved:
    """A source that has been resolved."""

    kind: str
    url: str
    """The page of the source for users."""
    pin: str
    """The state of the source at that moment: a commit, or the digest of its files."""
    artifacts: tuple[Artifact, ...]
    warnings: tuple[str, ...] = ()
    """Warnings about files that the catalog mentions but the source does not have."""
    repository: Repository | None = None
    """The repository, if everything that is taken from it is published unchanged."""
    parts: tuple[CardPart, ...] = ()
    """The parts that the source describes, if it was asked for them."""

    @property
    def key(self) -> str:
        """A name for this source at this pin, usable as the name of a directory."""
        text = "\n".join([self.kind, self.pin, *(artifact.content_id for artifact in self.artifacts)])
        return hashlib.sha256(text.encode()).hexdigest()[:12]
