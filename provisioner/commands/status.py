"""``status``: show what the volume holds and how the last run ended."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from provisioner.commands.result import CommandResult
from provisioner.errors import NotFoundError, TryAgainError
from provisioner.reporting.liveness import heartbeat_of
from provisioner.reporting.shares import shares_text, with_shares
from provisioner.reporting.status import SUCCESSFUL_STATES
from provisioner.reporting.status_report import status_text
from provisioner.volume.store.json_file import absence_of, read_json
from provisioner.volume.store.shares import ShareStore

if TYPE_CHECKING:
    import argparse

    from provisioner.commands.request import CommandRequest

DESCRIPTION: Final = "Show what the volume holds and how the last run ended, from dataset_status.json on the volume."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--check", action="store_true", help="exit with 0 only for the states ready and partial")


def run(request: CommandRequest) -> CommandResult:
    """Read the status file.

    Raises:
        NotFoundError: there is none, or it cannot be understood.
    """
    layout = request.session().layout
    path, shares = layout.status, ShareStore(layout.shares).shown()
    written = read_json(path)
    document = with_shares(written, shares)
    if document is None:
        raise NotFoundError(
            f"{path} {absence_of(path)}: nothing is known of a run on this volume",
            hint="Run 'provision' first, or give the volume with --data-dir.",
        )
    state = str(document.get("state"))  # the file may hold anything
    heartbeat = heartbeat_of(document, time.time()) if state == "provisioning" else None
    shown = {**document, "heartbeat": heartbeat.as_record()} if heartbeat else document
    error = None
    if request.options.check and state not in SUCCESSFUL_STATES:
        kind = TryAgainError if state in {"provisioning", "interrupted"} else NotFoundError
        problem = f"; {heartbeat.problem}" if heartbeat and heartbeat.problem else ""
        error = kind(f"the volume is not ready: its state is {state!r}{problem}", hint="See 'status' for what is missing.")
    parts = [status_text(document, columns=request.columns, heartbeat=heartbeat)] if written is not None else []
    parts += [shares_text(shares)] if shares else []
    return CommandResult(shown, "\n\n".join(parts), error)
