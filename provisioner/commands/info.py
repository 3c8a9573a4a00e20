"""``info``: show one data set or model, from the catalog or behind a reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provisioner.commands.result import CommandResult
from provisioner.engine.request import make_rules
from provisioner.engine.run import Run
from provisioner.engine.supervise import supervise
from provisioner.reporting.info_report import info_document, info_text

if TYPE_CHECKING:
    import argparse

    from provisioner.commands.request import CommandRequest

DESCRIPTION: Final = """\
Show one data set of the catalog, or one reference: its description, sizes, licence and evidence, splits, phases,
sources with their digests, and what this volume holds of it. Nothing is written. The source is asked only for a
reference that the volume does not hold."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the argument, which has the form of ``--dataset``."""
    words = "an id of the catalog, or a reference such as hf://datasets/OWNER/NAME"
    parser.add_argument("dataset", nargs=1, metavar="ID|REF", help=words)


def run(request: CommandRequest) -> CommandResult:
    """Describe the given data set.

    Raises:
        ProvisionerError: the name is unknown, a source cannot be asked, or the volume cannot be read.
    """
    planned = Run(request.settings, request.catalog(), cancellation=request.cancellation, progress=request.progress())
    try:
        plan, inventory = supervise(planned.plan, request.cancellation, lambda: None)
    finally:
        planned.clients.close()
    (step,) = plan.steps
    dataset = step.recipe.dataset
    if dataset.problem is not None:
        raise dataset.problem
    catalog = planned.described_catalog(inventory)
    phases = [phase.name for phase in catalog.phases.values() if dataset.id in phase.datasets]
    receipt = inventory.receipts.get((dataset.id, inventory.published.get(dataset.id, "")))
    rules = make_rules(request.settings)
    index = inventory.indexes.get(dataset.id)
    return CommandResult(
        info_document(step, phases, receipt, index, rules),
        info_text(step, phases, receipt, index, rules, columns=request.columns),
    )
