"""``export``: a verified copy of published versions, from which other volumes can be filled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from provisioner.commands.arguments import path_text
from provisioner.commands.result import CommandResult
from provisioner.engine.references import ids_of
from provisioner.engine.supervise import deadline, supervise
from provisioner.engine.verification import known_ids
from provisioner.engine.volume_session import VolumeSession
from provisioner.errors import UsageError
from provisioner.units import format_bytes, format_count

if TYPE_CHECKING:
    import argparse

    from provisioner.commands.request import CommandRequest
    from provisioner.engine.export import Exported

DESCRIPTION: Final = """\
Export published versions to a directory, such as a USB disk or a share. Files are linked if the directory is on the
volume's own file system, copied otherwise, and hashed. The directory has the layout of a volume, and can be named in
PEERS. A version that is already there is not copied again, and an interrupted export is continued."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument("directory", type=path_text, metavar="DIR", help="the directory for the export; created if it is missing")
    parser.add_argument("ids", nargs="*", default=[], metavar="ID|REF", help="these data sets; by default all published ones")
    parser.add_argument("--copy", action="store_true", help="copy every byte, even if links are possible")


def run(request: CommandRequest) -> CommandResult:
    """Export the versions.

    Raises:
        ProvisionerError: nothing could be exported; the failure of a single version is in the result.
    """
    from provisioner.engine.export import Export  # noqa: PLC0415 - '--help' does without it

    source, progress, options = request.session(), request.progress(), request.options
    directory = Path(options.directory).expanduser().absolute()
    _check_apart(source, directory)
    ids = known_ids(source.store, ids_of(options.ids, source))
    settings = replace(request.settings, data_dir=directory, staging_dir=None, max_storage_bytes=None, hub_cache="off")
    target = VolumeSession(settings, request.cancellation)
    export = Export(
        source,
        target,
        catalog=request.described_catalog(source.store.reader.inventory(measured=False)),
        copies=options.copy,
        cancellation=request.cancellation,
        progress=progress,
    )
    try:
        with deadline(request.settings.deadline_seconds, request.cancellation):
            outcomes = supervise(lambda: export.run(ids), request.cancellation, progress.tick)
    finally:
        progress.close()
    outcomes.sort(key=lambda outcome: outcome.receipt.label)
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    document = {
        "directory": str(directory),
        "versions": [outcome.as_record() for outcome in outcomes],
        "failed": len(failed),
    }
    lines = [_line(outcome) for outcome in outcomes]
    done = sum(1 for outcome in outcomes if outcome.how in {"linked", "copied"})
    lines.append(
        f"{directory}: {format_count(len(outcomes) - len(failed), 'data set')} can be taken from it, {done} of them new"
        + (f"; {len(failed)} not exported" if failed else "")
    )
    return CommandResult(document, "\n".join(lines), failed[0].error if failed else None)


def _check_apart(source: VolumeSession, directory: Path) -> None:
    """Refuse to export a volume into itself.

    Raises:
        UsageError: the user asked for that.
    """
    layout, target = source.layout, directory.resolve()
    taken = (layout.private, layout.datasets, layout.indexes)
    # The same directory may have several paths, for example if a volume is mounted twice.
    if _is_same(target, layout.root) or any(_is_same(above, path) for above in (target, *target.parents) for path in taken):
        raise UsageError(f"{directory} belongs to the volume itself; nothing was exported", hint="Name another directory.")


def _is_same(one: Path, other: Path) -> bool:
    """Return whether two paths, which need not exist, are or would be the same directory."""
    try:
        return one.samefile(other)
    except OSError:
        return one == other.resolve()


def _line(outcome: Exported) -> str:
    receipt = outcome.receipt
    if outcome.error is not None:
        return f"FAILED  {receipt.label}: {outcome.error.message.removeprefix(f'{receipt.label}: ')}"
    what = f"{format_count(receipt.files, 'file')}, {format_bytes(receipt.size)}"
    return f"{outcome.how:<7} {receipt.label} {receipt.version}: {what}"
