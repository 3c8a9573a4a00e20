"""The questions about the data: which phase, and which licences are accepted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from provisioner.catalog.license import commercial_part
from provisioner.commands.questions.terminal import WrongAnswerError, reader_of
from provisioner.engine.request import make_rules
from provisioner.planning.model import Request
from provisioner.planning.plan import make_plan
from provisioner.reporting.tables import size_text, table
from provisioner.settings import parsers
from provisioner.units import format_bytes
from provisioner.volume.store.environment_file import ambiguous_names

if TYPE_CHECKING:
    from provisioner.catalog.model import Catalog
    from provisioner.commands.questions.terminal import Terminal
    from provisioner.planning.model import Inventory, Plan
    from provisioner.settings.settings import Settings


def ask_data(terminal: Terminal, settings: Settings, catalog: Catalog, inventory: Inventory) -> dict[str, str]:
    """Ask for a phase, and whether the licences of its data sets are accepted.

    Returns:
        The variables for the answers.
    """
    plans = _plans(settings, catalog, inventory)
    free = inventory.free_bytes
    rows = [["phase", "to fetch", "peak disk", "data sets"]]
    rows += [
        [name, size_text(plan.download), format_bytes(plan.peak_bytes), " ".join(catalog.phases[name].datasets)]
        for name, plan in plans.items()
    ]
    shown = "unknown" if free is None else format_bytes(free)
    terminal.say(f"{table(rows, right=(1, 2), columns=terminal.columns)}\nFree in {settings.data_dir}: {shown}.")

    def read(text: str) -> str:
        phase = reader_of(parsers.one_of(tuple(plans)))(text)
        needed = plans[phase].peak_bytes
        if free is not None and needed > free:
            question = f"{phase} needs {format_bytes(needed)}, {format_bytes(free)} are free: the lowest priorities"
            if not terminal.confirm(f"{question} will be left out. Choose it all the same?"):
                raise WrongAnswerError("choose a smaller one, or free some space")
        return phase

    phase = terminal.ask("Phase", settings.phase if settings.phase in plans else catalog.default_phase, read)
    return {"PHASE": phase, **_ask_licenses(terminal, settings, catalog, phase)}


def _plans(settings: Settings, catalog: Catalog, inventory: Inventory) -> dict[str, Plan]:
    """Return the plan of each phase on this volume, as if there were enough space."""
    unlimited = replace(inventory, free_bytes=None, staging_free_bytes=None)
    rules = replace(make_rules(settings), license_policy="any", limit_bytes=None)
    return {
        name: make_plan(Request(phase=name, datasets=(), layouts=settings.layouts), catalog, unlimited, rules)
        for name in catalog.phases
    }


def _ask_licenses(terminal: Terminal, settings: Settings, catalog: Catalog, phase: str) -> dict[str, str]:
    accepted: list[str] = []
    declined: list[str] = []
    parts: dict[str, str] = {}
    for name in catalog.phases[phase].datasets:
        dataset = catalog.datasets[name]
        name, terms = dataset.accepted_as[0], dataset.license  # noqa: PLW2901 - a reference is accepted as itself
        if terms.commercial == "allowed":
            continue
        terminal.say(f"{name} ({dataset.title}): {terms.name}, commercial use: {terms.commercial}. {terms.evidence} {terms.url}")
        was_accepted = name in settings.accept_licenses
        if terminal.confirm(f"Accept the licence of {name}?", default=was_accepted):
            accepted.append(name)
            continue
        declined.append(name)
        if (part := commercial_part("commercial", dataset, ())) is not None:
            parts[name] = part.text
    variables = {}
    # What was accepted for another phase stays accepted.
    earlier = [name for name in settings.accept_licenses if not ambiguous_names({"ACCEPT_LICENSES": name})]
    accepted += [name for name in earlier if name not in {*accepted, *declined}]
    if accepted:
        variables["ACCEPT_LICENSES"] = ",".join(accepted)
    if declined:
        # `curated` would fetch most of them, with a warning only.
        variables["LICENSE_POLICY"] = "commercial"
        if left_out := [name for name in declined if name not in parts]:
            terminal.say(f"Left out: {', '.join(left_out)}.")
        for name, words in parts.items():
            terminal.say(f"Of {name} only the part that may be used commercially is taken: {name}{words}.")
    return variables
