"""Probes of the requested run: names, splits, licences, and the space for everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.commands.probes.probe import ProbeResult
from provisioner.engine.run import Run
from provisioner.errors import ProvisionerError
from provisioner.reporting.progress import Progress
from provisioner.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from provisioner.cancellation import Cancellation
    from provisioner.catalog.model import Catalog
    from provisioner.planning.model import Plan
    from provisioner.settings.settings import Settings


def rehearse(
    settings: Settings, catalog: Catalog, environ: Mapping[str, str], cancellation: Cancellation
) -> tuple[Plan | None, list[ProbeResult]]:
    """Return the plan of a run, and what it would refuse before its first byte.

    Args:
        settings: what the user asked for.
        catalog: what should exist.
        environ: the environment of this process.
        cancellation: ends the probes.

    Raises:
        ProvisionerError: the probes were cancelled.
    """
    run = Run(settings, catalog, cancellation=cancellation, progress=Progress(), given=environ)
    try:
        plan = run.rehearse().plan
    except ProvisionerError as error:
        cancellation.raise_if_requested()
        return None, [ProbeResult("plan", "WRONG", error.message, error.hint, error)]
    return plan, list(_results(plan))


def _results(plan: Plan) -> Iterator[ProbeResult]:
    wrong = [step.error for step in plan.steps if step.error is not None]
    for error in wrong:
        yield ProbeResult("plan", "WRONG", error.message, error.hint, error)
    for step in plan.steps:
        if step.action == "skip":
            yield ProbeResult("plan", "note", f"{step.recipe.label} is left out: {step.why}")
    if not wrong:
        size = plan.download
        what = f"{'about ' if size.estimate else ''}{format_bytes(size.value)} to fetch" if plan.work else "nothing to do"
        asked = f"the phase {plan.phase}" if plan.phase else "what DATASETS names"
        yield ProbeResult("plan", "ok", f"{asked}: {what}")
