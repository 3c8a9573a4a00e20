"""``status``: show what the volume holds and how the last run ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provisioner.commands.result import CommandResult
from provisioner.errors import NotFoundError, TryAgainError
from provisioner.reporting.status import SUCCESSFUL_STATES
from provisioner.reporting.status_report import status_text
from provisioner.volume.store.json_file import read_json

if TYPE_CHECKING:
    import argparse

    from provisioner.commands.request import CommandRequest

DESCRIPTION: Final = "Show what the volume holds and how the last run ended, from dataset_status.json on the volume."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's options."""
    parser.add_argument("--check", action="store_true", help="exit with 0 only for the states ready and partial")


def run(request: CommandRequest) -> CommandResult:
    """Read the status file.

    Raises:
        NotFoundError: there is none, or it cannot be understood.
    """
    path = request.session().layout.status
    document = read_json(path)
    if document is None:
        raise NotFoundError(
            f"{path} is not there or cannot be understood: nothing was provisioned onto this volume",
            hint="Run 'provision' first, or give the volume with --data-dir.",
        )
    state = str(document.get("state"))  # the file may hold anything
    error = None
    if request.options.check and state not in SUCCESSFUL_STATES:
        kind = TryAgainError if state in {"provisioning", "interrupted"} else NotFoundError
        error = kind(f"the volume is not ready: its state is {state!r}", hint="See 'status' for what is missing.")
    return CommandResult(document, status_text(document), error)
