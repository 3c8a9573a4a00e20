"""The result of a command: what it found or did, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.errors import ProvisionerError


@dataclass(frozen=True, slots=True)
class CommandResult:
    """A result for programs and for people; the command line prints one of the two forms."""

    document: Mapping[str, Any] | None = None
    """JSON values for ``--json``, or ``None`` if there is nothing to show."""
    text: str = ""
    """The same for people; empty if there is nothing to show."""
    error: ProvisionerError | None = None
    """The error that decides the exit code, after the result has been shown."""
    tolerated: ProvisionerError | None = None
    """A failure that ``ON_FAILURE=degraded`` tolerates: it is recorded, and the exit code is 0."""
    incomplete: str = ""
    """A description of what is still missing although the command succeeded, so that no app may start; empty if nothing is."""
    app_environment: Mapping[str, str] = field(default_factory=dict)
    """Variables for the app that is started next."""
