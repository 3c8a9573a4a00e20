"""``verify``: compare the published trees with their manifests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provisioner.commands.arguments import add_ids
from provisioner.commands.result import CommandResult
from provisioner.engine.references import ids_of
from provisioner.engine.supervise import deadline, supervise
from provisioner.engine.verification import Checked, Verifier
from provisioner.errors import DamagedTreeError
from provisioner.units import format_bytes, format_count

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from provisioner.commands.request import CommandRequest

DESCRIPTION: Final = """\
Compare every published tree with its manifest: names, kinds and sizes; with --deep, also the bytes. Nothing is changed
and no lock is taken."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_ids(parser)
    parser.add_argument("--deep", action="store_true", help="also read every file and compare its digest")


def run(request: CommandRequest) -> CommandResult:
    """Compare the trees with their manifests.

    Raises:
        ProvisionerError: the volume could not be read; problems of the trees are in the result.
    """
    settings, cancellation, deep = request.settings, request.cancellation, bool(request.options.deep)
    progress, session = request.progress(), request.session()
    ids = ids_of(request.options.ids, session)
    verifier = Verifier(session.store, deep=deep, check_cancelled=cancellation.raise_if_requested, progress=progress)
    try:
        with deadline(settings.deadline_seconds, cancellation):
            trees = supervise(lambda: list(verifier.check(ids)), cancellation, progress.tick)
    finally:
        progress.close()
    wrong = [checked for checked in trees if checked.findings]
    count = sum(len(checked.findings) for checked in wrong)
    how = "by their bytes" if deep else "by names, kinds and sizes"
    more = "" if deep else "; 'verify --deep' also reads the files"
    versions = sum(1 for checked in trees if checked.version)
    lines = [line for checked in trees for line in _lines(checked)]
    lines.append(f"{format_count(versions, 'tree')} checked {how}: {_findings(count) if count else 'all right'}{more}")
    document = {
        "volume": str(settings.data_dir.absolute()),
        "deep": deep,
        "trees": [checked.as_record() for checked in trees],
        "findings": count,
    }
    return CommandResult(document, "\n".join(lines), _error(wrong, count))


def _lines(checked: Checked) -> list[str]:
    if not checked.findings:
        return [f"ok     {checked.label}: {format_count(checked.files, 'file')}, {format_bytes(checked.size)}"]
    return [f"WRONG  {checked.label}: {finding}" for finding in checked.findings]


def _error(wrong: Sequence[Checked], count: int) -> DamagedTreeError | None:
    if not wrong:
        return None
    ids = " ".join(dict.fromkeys(checked.dataset for checked in wrong))
    return DamagedTreeError(
        f"{_findings(count)} in published data sets: {ids}; nothing was changed",
        hint=f"'repair {ids}' fetches what is wrong and keeps the rest.",
    )


def _findings(count: int) -> str:
    return f"{count} finding{'' if count == 1 else 's'}"
