"""``repair``: fetch what ``verify --deep`` finds wrong, and only that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.commands.result import CommandResult
from provisioner.engine.clients import Clients
from provisioner.engine.repairing import Repair
from provisioner.engine.supervise import deadline, supervise
from provisioner.engine.volume_session import VolumeSession

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioner.cancellation import Cancellation
    from provisioner.catalog.model import Catalog
    from provisioner.reporting.progress import Progress
    from provisioner.settings.model import Settings


def run_repair(
    settings: Settings, catalog: Catalog, ids: Sequence[str], *, cancellation: Cancellation, progress: Progress
) -> CommandResult:
    """Do what the command ``repair`` does.

    Raises:
        ProvisionerError: it could not be done; what failed for single data sets is in the answer.
    """
    session = VolumeSession(settings, cancellation)
    repair = Repair(session, catalog, Clients(settings, session.layout.root, cancellation), settings, cancellation, progress)
    try:
        with deadline(settings.deadline_seconds, cancellation):
            supervise(lambda: repair.run(ids), cancellation, progress.tick)
    finally:
        progress.close()
    outcomes = sorted(repair.outcomes, key=lambda outcome: (outcome.checked.dataset, not outcome.checked.shown))
    failed = [outcome for outcome in repair.outcomes if outcome.error is not None]
    mended = sum(1 for outcome in outcomes if outcome.done)
    lines = [outcome.line for outcome in outcomes]
    summary = f"{mended} repaired, {len(failed)} not" if mended or failed else "nothing to repair"
    lines.append(f"{sum(1 for outcome in outcomes if outcome.checked.version)} trees checked by their bytes: {summary}")
    document = {
        "volume": str(session.layout.root),
        "trees": [outcome.as_record() for outcome in outcomes],
        "repaired": mended,
        "failed": len(failed),
    }
    return CommandResult(document, "\n".join(lines), failed[0].error if failed else None)
