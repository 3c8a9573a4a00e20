"""The result of a run, and the rules by which a failed data set makes it fail."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from provisioner.units import format_bytes, format_count

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioner.errors import ProvisionerError
    from provisioner.planning.model import Plan, Step
    from provisioner.reporting.status import RunState
    from provisioner.settings.settings import Settings

    Failure = tuple[Step, ProvisionerError]
    """A data set that could not be provisioned, and why."""


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a run."""

    state: RunState
    plan: Plan
    status: Mapping[str, Any]
    """The content of the status file."""
    error: ProvisionerError | None = None
    """The error with which the run failed, or ``None`` if it did not."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """The app's environment variables."""
    worked: bool = False
    """Whether something was written."""


@dataclass(frozen=True, slots=True)
class ShareResult:
    """The result of a worker's share, while shares of others are missing."""

    index: int
    count: int
    files: int
    size: int
    missing: tuple[int, ...]
    """The shares that are not complete yet."""

    def as_record(self) -> dict[str, Any]:
        """Return the values that ``--json`` prints."""
        return {
            "share": {"index": self.index, "count": self.count, "files": self.files, "bytes": self.size},
            "missing": list(self.missing),
        }

    @property
    def text(self) -> str:
        """One sentence for people."""
        others = ", ".join(f"{index}/{self.count}" for index in self.missing)
        return (
            f"Share {self.index}/{self.count} is complete: {format_count(self.files, 'file')}, {format_bytes(self.size)}."
            f" Still missing: {others}. The last one publishes, or 'provision --finish'."
        )


def state_of(plan: Plan, failures: Sequence[Failure] = ()) -> RunState:
    """Return the state of a run that has not failed: ``partial`` if a data set was left out or has failed."""
    left_out = failures or any(step.action in {"skip", "refuse"} for step in plan.steps)
    return "partial" if left_out else "ready"


def failed_state(settings: Settings) -> RunState:
    """Return the state of a run that has failed: ``degraded`` if the app starts in spite of that."""
    return "degraded" if settings.on_failure == "degraded" else "failed"


def fatal_failure(plan: Plan, failures: Sequence[Failure], settings: Settings) -> ProvisionerError | None:
    """Return the error of the failed data set with the highest priority, or ``None`` if the run has not failed.

    An optional data set's failure leaves a run ``partial``, unless it was asked for by name.
    """
    errors = {step.id: error for step, error in failures if settings.datasets or not step.recipe.dataset.optional}
    return next((errors[step.id] for step in plan.steps if step.id in errors), None)
