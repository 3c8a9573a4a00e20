"""Whether the run that a status file describes is still alive, according to the time of the last write."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from provisioner.reporting.status import STALE_SECONDS
from provisioner.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECONDS_UNTIL: Final = 120.0
"""Up to this age, seconds are easier to compare than minutes."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The age of a run's last sign of life."""

    host: str
    """The host on which the run was started."""
    age_seconds: float | None
    """``None`` if the status does not say when it was written. Negative if that time is in the future by this clock."""

    @property
    def is_recent(self) -> bool:
        """Whether the run has just written its status."""
        return self.age_seconds is not None and abs(self.age_seconds) <= STALE_SECONDS

    @property
    def problem(self) -> str:
        """The problem with the run; empty if it is alive."""
        if self.is_recent:
            return ""
        if self.age_seconds is None:
            return f"the status does not say when it was written: nobody can tell whether the run on {self.host} is alive"
        if self.age_seconds < 0:
            return (
                f"the status is dated {format_duration(-self.age_seconds)} in the future: the clocks here and on {self.host}"
                " differ, and nobody can tell whether the run is alive"
            )
        age = self.age_seconds
        shown = f"{age:.0f} s" if age < _SECONDS_UNTIL else format_duration(age)
        return f"no heartbeat for {shown}: the run on {self.host} has probably ended"

    def as_record(self) -> dict[str, Any]:
        """Return the form in which ``--json`` carries it."""
        age = None if self.age_seconds is None else round(self.age_seconds)
        return {"age_seconds": age, "recent": self.is_recent, "problem": self.problem or None}


def heartbeat_of(document: Mapping[str, Any], now: float) -> Heartbeat:
    """Return the heartbeat in a status document, whose content may be anything.

    Args:
        document: the status.
        now: the time, in seconds since the epoch.
    """
    host = document.get("host")
    return Heartbeat(host if isinstance(host, str) and host else "an unknown host", _age(document.get("updated_at"), now))


def _age(text: object, now: float) -> float | None:
    moment = moment_of(text)
    return None if moment is None else now - moment


def moment_of(text: object) -> float | None:
    """Return a time in a status document in seconds since the epoch, or ``None`` if it is not valid."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
        # A time without a zone is taken as UTC, which is what this program writes.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
