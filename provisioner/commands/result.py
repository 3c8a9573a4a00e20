"""What a command says, and how it ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from provisioner.errors import ProvisionerError


@dataclass(frozen=True, slots=True)
class CommandResult:
    """For people and for programs; the command line shows one of the two."""

    document: dict[str, Any]
    text: str
    error: ProvisionerError | None = None
