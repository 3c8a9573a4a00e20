"""The present state of a published data set's source, compared with the one in its receipt."""

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
    """The current state of one source."""

    state: UpstreamState
    recorded: str
    """The state of the source when the version was built."""
    found: str
    """Its present state; empty if that is not known."""
    why: str
    """One sentence: how that is known, or why it is not."""
    pin: str = ""
    """Identifies the newer state; empty if there is none, or if it cannot be fetched."""
    error: ProvisionerError | None = None
    """The error because of which the source could not be asked."""
    states: Mapping[str, FileState] = field(default_factory=dict)
    """By the keys of artifacts, what servers say of files behind URLs."""


@dataclass(frozen=True, slots=True)
class Newer:
    """A newer state of the source of a published version."""

    pin: str
    dataset: DataSet
    """With the present description that the source gives."""
    source: Source
    """The source in that state."""
    states: Mapping[str, FileState] = field(default_factory=dict)
    """See :attr:`News.states`: the files that are fetched must have these states."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The present state of one published data set's source."""

    dataset: str
    """Id of the data set."""
    label: str
    version: str
    """The published version."""
    published_at: str
    news: News
    newer: Newer | None = None
    """The newer state that can be fetched, if there is one."""

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
