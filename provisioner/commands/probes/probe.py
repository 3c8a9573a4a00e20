"""The result of a probe, and a way to run one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from provisioner.errors import ProvisionerError, companions_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.cancellation import Cancellation

Verdict = Literal["ok", "note", "WRONG"]
"""A ``note`` is worth knowing but stops no run; ``WRONG`` does."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The result of examining one thing."""

    name: str
    verdict: Verdict
    text: str
    hint: str = ""
    error: ProvisionerError | None = None
    """The error that a run would fail with."""

    def as_record(self) -> dict[str, Any]:
        """Return the form in which ``--json`` carries it."""
        return {"check": self.name, "result": self.verdict.lower(), "message": self.text, "hint": self.hint}

    def __str__(self) -> str:
        lines = [f"{self.verdict:<6} {self.name}: {self.text}", *([f"       {self.hint}"] if self.hint else [])]
        lines += [f"       also: {other.message}" for other in (companions_of(self.error) if self.error else ())]
        return "\n".join(lines)


def run_probe(name: str, probe: Callable[[], ProbeResult | str], cancellation: Cancellation) -> ProbeResult:
    """Run a probe; if it raises an error, that is its result.

    Args:
        name: the name of what is examined.
        probe: returns a result, or a text if everything is right.
        cancellation: ends the probes.

    Raises:
        ProvisionerError: the probes were cancelled.
    """
    cancellation.raise_if_requested()
    try:
        result = probe()
    except ProvisionerError as error:
        cancellation.raise_if_requested()
        return ProbeResult(name, "WRONG", error.message, error.hint, error)
    return ProbeResult(name, "ok", result) if isinstance(result, str) else result
