"""What the source of a published data set says now, compared with what its receipt recorded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.catalog.file_state import FileState
    from provisioner.catalog.model import DataSet
    from provisioner.catalog.source import Source
    from provisioner.errors import ProvisionerError

UpstreamState = Literal["current", "outdated", "unknown"]


@dataclass(frozen=True, slots=True)
class News:
    """What one source says."""

    state: UpstreamState
    recorded: str
    """What the source was when the version was built."""
    found: str
    """What it is now; empty: that is not known."""
    why: str
    """One sentence: by what that is known, or why it is not."""
    pin: str = ""
    """Identifies the newer state; empty: there is none, or it cannot be fetched."""
    error: ProvisionerError | None = None
    """Why the source could not be asked."""
    states: Mapping[str, FileState] = field(default_factory=dict)
    """What servers say of files behind URLs, by the artifacts' keys."""


@dataclass(frozen=True, slots=True)
class Newer:
    """A newer state of a source that a published version is from."""

    pin: str
    dataset: DataSet
    """With what the source says of itself now."""
    source: Source
    """At that state."""
    states: Mapping[str, FileState] = field(default_factory=dict)
    """See :attr:`News.states`: the files that are fetched must be in these."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What the source of one published data set says now."""

    dataset: str
    """Its id."""
    label: str
    version: str
    """The published one."""
    published_at: str
    news: News
    newer: Newer | None = None
    """What can be fetched instead."""

    def as_record(self) -> dict[str, Any]:
        """Return the form in which ``--json`` carries it."""
        news = self.news
        return {
            "dataset": self.label,
            "state": news.state,
            "version": self.version,
            "published_at": self.published_at,
            "recorded": news.recorded,
            "found": news.found or None,
            "why": news.why,
            "error": news.error.as_record() if news.error else None,
        }

    def as_status(self) -> dict[str, Any]:
        """Return the form in which the status of a data set carries it."""
        news = self.news
        return {"state": news.state, "recorded": news.recorded, "found": news.found or None, "why": news.why}
