"""``plan``: show what ``provision`` would do and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provisioner.commands.arguments import add_selection
from provisioner.commands.result import CommandResult
from provisioner.engine.request import make_request, make_rules
from provisioner.engine.run import Run
from provisioner.engine.supervise import supervise
from provisioner.reporting.plan_report import plan_document, plan_text

if TYPE_CHECKING:
    import argparse

    from provisioner.commands.request import CommandRequest

DESCRIPTION: Final = """\
Show what 'provision' would do and why: sizes, licences, the peak of disk space, and how long the transfer takes.
Nothing is written. Only for a reference that the volume does not hold a request is made: its source says what it holds."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's options."""
    add_selection(parser)


def run(request: CommandRequest) -> CommandResult:
    """Plan a run without acting.

    Raises:
        ProvisionerError: unknown names, or a volume that cannot be read.
    """
    planned = Run(request.settings, request.catalog(), cancellation=request.cancellation, progress=request.progress())
    try:
        plan, inventory = supervise(planned.plan, request.cancellation, lambda: None)
    finally:
        planned.clients.close()
    catalog, rules = planned.described_catalog(inventory), make_rules(request.settings)
    wanted = make_request(request.settings, catalog)
    refusals = [error for error in (plan.shortfall, *(step.error for step in plan.steps)) if error is not None]
    return CommandResult(
        plan_document(plan, inventory, catalog, wanted, rules),
        plan_text(plan, inventory, catalog, wanted, rules, columns=request.columns),
        refusals[0] if refusals else None,
    )
