"""The outcome of repairing one version, or the published name of one data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provisioner.units import format_bytes, format_count

if TYPE_CHECKING:
    from provisioner.engine.verification import Checked
    from provisioner.errors import ProvisionerError


@dataclass(frozen=True, slots=True)
class Outcome:
    """The findings about a version, and what was done about them."""

    checked: Checked
    done: str = ""
    """A description of the repair, for people; empty if nothing was wrong, or if it could not be repaired."""
    fetched: tuple[str, ...] = ()
    """Names of the artifacts that were fetched."""
    error: ProvisionerError | None = None
    """The error because of which it could not be repaired."""
    is_withdrawn: bool = False
    """It could not be repaired, and no longer counts as a version."""

    def as_record(self) -> dict[str, Any]:
        """Return the form in which ``--json`` carries it."""
        return self.checked.as_record() | {
            "repaired": bool(self.done) and not self.is_withdrawn,
            "done": self.done or None,
            "fetched": list(self.fetched),
            "error": self.error.as_record() if self.error else None,
        }

    @property
    def line(self) -> str:
        """One line for people."""
        checked = self.checked
        if self.error is not None:
            return f"WRONG  {checked.label}: not repaired: {self.error.message}"
        if not self.done:
            return f"ok     {checked.label}: {format_count(checked.files, 'file')}, {format_bytes(checked.size)}"
        return f"{'GONE' if self.is_withdrawn else 'fixed':5}  {checked.label}: {self.done}"
