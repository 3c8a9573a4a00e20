"""The request for a repository and its outcome, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from provisioner.errors import ProvisionerError

ASKED_BY_SETTING: Final = "DATASET_REPO"

Gate = Literal["none", "auto", "manual"]
Kind = Literal["dataset", "bucket"]
WORDS: Final[dict[Kind, str]] = {"dataset": "data-set repository", "bucket": "bucket"}
"""The words with which messages refer to each kind of repository."""


@dataclass(frozen=True, slots=True)
class RepositoryRequest:
    """A repository that the user wants."""

    endpoint: str
    """Address of the Hub."""
    token: str | None = field(repr=False)
    """``None`` if there is none; the step is then skipped."""
    name: str | None
    """``NAME`` in the user's or the organization's namespace, or a full ``owner/name``; ``None`` if turned off."""
    org: str | None = None
    """Organization that owns a plain ``NAME``, or ``None`` if the user does."""
    private: bool | None = False
    """Visibility of a new repository; ``None`` means the owner's default."""
    asked: bool = False
    """Whether the user named the repository; the caller then ends the run if it cannot be used."""
    user_hints: tuple[str, ...] = ()
    """Probable names of the user (``HF_USERNAME``, ``SPACE_AUTHOR_NAME``), for when the Hub cannot be asked."""
    offline: bool = False
    """Whether the Hub must not be asked; the step is then skipped."""
    gate: Gate | None = None
    """Whether readers must ask for access; ``None`` means not specified."""
    declared: bool = False
    """Whether the config file describes it: readers of an existing one are restricted accordingly, but never added."""
    files: Callable[[], Mapping[str, bytes]] = field(default=dict, repr=False, compare=False)
    """Returns the first files of a new repository, by path."""
    called: str = ASKED_BY_SETTING
    """The place where the name was given, for messages: a setting, or a line of the config file."""
    kind: Kind = "dataset"
    """A bucket has no first files and no gate."""

    @property
    def word(self) -> str:
        """The words with which messages refer to the requested kind."""
        return WORDS[self.kind]


@dataclass(frozen=True, slots=True)
class RepositoryOutcome:
    """The outcome of a request."""

    state: Literal["ready", "failed", "skipped"]
    repo_id: str | None = None
    """``owner/name``, if known."""
    url: str | None = None
    """Its page for users."""
    created: bool = False
    """Whether it was created by us, in this run or in the recorded one."""
    error: ProvisionerError | None = None
    """The error with which it failed."""
    note: str = ""
    """A sentence for the log about what happened."""
    warnings: tuple[str, ...] = ()
    """Differences from the request in a repository that can be used; one sentence each."""
    export: bool = False
    """Whether the app is told the name."""
    kind: Kind = "dataset"

    def as_record(self) -> dict[str, Any]:
        """Return the form in which the status file carries it."""
        error = self.error.as_record() if self.error else None
        return {"state": self.state, "repo_id": self.repo_id, "url": self.url, "created": self.created, "error": error}


def environment(outcome: RepositoryOutcome) -> dict[str, str]:
    """Return the variables that tell the app its repository; empty if it is not told."""
    if not outcome.export or outcome.repo_id is None:
        return {}
    if outcome.kind == "bucket":
        return {"TRACKIO_BUCKET_ID": outcome.repo_id}
    return {"TRACKIO_DATASET_REPO": outcome.repo_id, "TRACKIO_DATASET_ID": outcome.repo_id}


def outcome_of(
    request: RepositoryRequest,
    state: Literal["ready", "failed", "skipped"],
    repo_id: str | None,
    *,
    created: bool = False,
    error: ProvisionerError | None = None,
    note: str = "",
    warnings: tuple[str, ...] = (),
    export: bool = True,
) -> RepositoryOutcome:
    """Return an outcome with the repository's page; ``export`` applies only if the name is known."""
    url = f"{request.endpoint.rstrip('/')}/{request.kind}s/{repo_id}" if repo_id else None
    return RepositoryOutcome(state, repo_id, url, created, error, note, warnings, export and repo_id is not None, request.kind)
