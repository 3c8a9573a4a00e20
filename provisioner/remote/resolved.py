"""What asking a source brings: the artifacts that it holds at one moment."""

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
    """A source after it was asked what it holds."""

    kind: str
    url: str
    """The page where a person finds it."""
    pin: str
    """What the source was at that moment: a commit, or the digest of its files."""
    artifacts: tuple[Artifact, ...]
    warnings: tuple[str, ...] = ()
    """About what the catalog says of files that the source does not have."""
    repository: Repository | None = None
    """The repository, if all that is taken of it is published as it is."""
    parts: tuple[CardPart, ...] = ()
    """The parts that the source describes, where it was asked for them."""

    @property
    def key(self) -> str:
        """A name for this source at this pin, usable as a directory's name."""
        text = "\n".join([self.kind, self.pin, *(artifact.content_id for artifact in self.artifacts)])
        return hashlib.sha256(text.encode()).hexdigest()[:12]
