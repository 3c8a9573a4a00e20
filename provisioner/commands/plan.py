"""``plan``: show what ``provision`` would do and why."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from provisioner.commands.arguments import add_selection
from provisioner.commands.result import CommandResult
from provisioner.engine.request import make_request, make_rules
from provisioner.engine.run import Run
from provisioner.engine.supervise import supervise
from provisioner.planning.model import Inventory
from provisioner.planning.plan import make_plan
from provisioner.reporting.plan_report import plan_document, plan_text

if TYPE_CHECKING:
    import argparse

    from provisioner.catalog.model import Catalog
    from provisioner.commands.request import CommandRequest
    from provisioner.errors import ProvisionerError
    from provisioner.planning.model import Plan, Request, Rules

_LOGGER = logging.getLogger(__name__)

DESCRIPTION: Final = """\
Show what 'provision' would do and why: sizes, licences, the peak of disk space, and the time of the transfer. Nothing
is written. Only the sources of references that the volume does not hold are asked. With UPDATE=check or auto, the
sources of published data sets are asked too, and the plan shows what has changed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_selection(parser)
    words = (
        "pvc: a PersistentVolumeClaim for Kubernetes with space for this plan on an empty volume, as YAML, or JSON with --json"
    )
    parser.add_argument("--format", choices=["text", "pvc"], default="text", help=words)


def run(request: CommandRequest) -> CommandResult:
    """Plan a run without carrying it out.

    Raises:
        ProvisionerError: a name is unknown, or the volume cannot be read.
    """
    planned = Run(request.settings, request.catalog(), cancellation=request.cancellation, progress=request.progress())
    try:
        plan, inventory = supervise(planned.plan, request.cancellation, lambda: None)
    finally:
        planned.clients.close()
    catalog, rules = planned.described_catalog(inventory), make_rules(request.settings)
    wanted = make_request(request.settings, catalog)
    if getattr(request.options, "format", "text") == "pvc":
        return _claim(wanted, catalog, rules)
    refusals = _refusals(plan)
    return CommandResult(
        plan_document(plan, inventory, catalog, wanted, rules, planned.outdated),
        plan_text(plan, inventory, catalog, wanted, rules, planned.outdated, columns=request.columns),
        refusals[0] if refusals else None,
    )


def _claim(wanted: Request, catalog: Catalog, rules: Rules) -> CommandResult:
    """Return a claim for the request, regardless of what this machine's volume holds."""
    from provisioner.reporting.claim import claim_document, claim_notes, claim_text  # noqa: PLC0415 - for '--format pvc' alone

    roomy = make_plan(wanted, catalog, Inventory(), rules)
    plan = make_plan(wanted, catalog, Inventory(), replace(rules, side_by_side=1))
    for note in claim_notes(plan):
        _LOGGER.warning("%s", note)
    refusals = _refusals(plan)
    if refusals:
        return CommandResult(error=refusals[0])
    return CommandResult(claim_document(plan), claim_text(plan, roomy))


def _refusals(plan: Plan) -> list[ProvisionerError]:
    return [error for error in (plan.shortfall, *(step.error for step in plan.steps)) if error is not None]
