"""``repair``: fetch what ``verify --deep`` finds wrong, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provisioner.commands.arguments import add_ids
from provisioner.commands.result import CommandResult
from provisioner.engine.clients import Clients
from provisioner.engine.references import ids_of
from provisioner.engine.repair import Repair
from provisioner.engine.supervise import deadline, supervise
from provisioner.units import format_count

if TYPE_CHECKING:
    import argparse

    from provisioner.commands.request import CommandRequest

DESCRIPTION: Final = """\
Read every published tree as 'verify --deep' does, fetch the files that are wrong or missing, and keep the rest."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_ids(parser)


def run(request: CommandRequest) -> CommandResult:
    """Repair the trees.

    Raises:
        ProvisionerError: nothing could be repaired; the failure of a single data set is in the result.
    """
    settings, cancellation = request.settings, request.cancellation
    session, progress = request.session(), request.progress()
    catalog = request.described_catalog(session.store.reader.inventory(measured=False))
    ids = ids_of(request.options.ids, session)
    clients = Clients(settings, session.layout.root, cancellation)
    repair = Repair(session, catalog, clients, cancellation=cancellation, progress=progress)
    try:
        with deadline(settings.deadline_seconds, cancellation):
            supervise(lambda: repair.run(ids), cancellation, progress.tick)
    finally:
        progress.close()
    outcomes = sorted(repair.outcomes, key=lambda outcome: (outcome.checked.dataset, not outcome.checked.published))
    failed = [outcome for outcome in repair.outcomes if outcome.error is not None]
    withdrawn = sum(1 for outcome in outcomes if outcome.is_withdrawn)
    repaired = sum(1 for outcome in outcomes if outcome.done) - withdrawn
    lines = [outcome.line for outcome in outcomes]
    summary = f"{repaired} repaired, {len(failed)} not" if repaired or failed else "nothing to repair"
    summary += f", {withdrawn} withdrawn" if withdrawn else ""
    lines.append(
        f"{format_count(sum(1 for outcome in outcomes if outcome.checked.version), 'tree')} checked by their bytes: {summary}"
    )
    document = {
        "volume": str(session.layout.root),
        "trees": [outcome.as_record() for outcome in outcomes],
        "repaired": repaired,
        "failed": len(failed),
    }
    return CommandResult(document, "\n".join(lines), failed[0].error if failed else None)
