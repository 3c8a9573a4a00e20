"""``report``: one HTML page on the last run that had something to do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from provisioner.commands.arguments import path_text
from provisioner.commands.result import CommandResult
from provisioner.errors import NotFoundError, VolumeError
from provisioner.volume.store.json_file import absence_of, read_json

if TYPE_CHECKING:
    import argparse

    from provisioner.commands.request import CommandRequest

DESCRIPTION: Final = """\
Write one self-contained HTML page about the last run that had something to do: the sources of the data, the time it
took, the rate, failures and retries. With --json, print the same numbers."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--output", type=path_text, metavar="FILE", help="write it to this file instead of standard output")


def run(request: CommandRequest) -> CommandResult:
    """Create the report.

    Raises:
        NotFoundError: no run has left a record, or the record cannot be understood.
        VolumeError: the file cannot be written.
    """
    from provisioner.web.report import render_report  # noqa: PLC0415 - '--help' does without it

    path = request.session().layout.run_record
    record = read_json(path)
    if record is None:
        raise NotFoundError(
            f"{path} {absence_of(path)}: no run has left a record on this volume",
            hint="Run 'provision' first, or give the volume with --data-dir.",
        )
    page = request.redactor.redact(render_report(record, request.catalog()))
    if request.options.output is None:
        return CommandResult(record, page)
    output = Path(request.options.output)
    try:
        output.write_text(page, "utf-8")
    except OSError as error:
        raise VolumeError(f"{output} cannot be written: {error.strerror}", hint="Give another path with --output.") from error
    return CommandResult(record, f"Written: {output}")
