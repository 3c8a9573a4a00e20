"""``plan``: show what ``provision`` would do and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provisioner.commands.arguments import add_selection
from provisioner.commands.result import CommandResult
from provisioner.engine.request import make_request, make_rules
from provisioner.engine.view import plan_run
from provisioner.reporting.plan_report import plan_document, plan_text

if TYPE_CHECKING:
    import argparse

    from provisioner.commands.request import CommandRequest

DESCRIPTION: Final = """\
Show what 'provision' would do and why: sizes, licences, the peak of disk space, and how long the transfer takes.
Nothing is written, and no request is made."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's options."""
    add_selection(parser)


def run(request: CommandRequest) -> CommandResult:
    """Plan a run without acting.

    Raises:
        ProvisionerError: unknown names, or a volume that cannot be read.
    """
    catalog, rules = request.catalog(), make_rules(request.settings)
    wanted = make_request(request.settings, catalog)
    plan, inventory = plan_run(request.session(), catalog)
    refusals = [error for error in (plan.shortfall, *(step.error for step in plan.steps)) if error is not None]
    return CommandResult(
        plan_document(plan, inventory, catalog, wanted, rules),
        plan_text(plan, inventory, catalog, wanted, rules, columns=request.columns),
        refusals[0] if refusals else None,
    )
