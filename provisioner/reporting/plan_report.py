"""A plan as text for people, and as JSON values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from provisioner.planning.plan import HERE, fitting
from provisioner.reporting.tables import size_text, size_value, table
from provisioner.reporting.units import format_bytes, format_duration

if TYPE_CHECKING:
    from provisioner.catalog.model import Catalog
    from provisioner.planning.model import Inventory, Plan, Request, Rules, Step

_ACTIONS: Final = {
    "keep": "is there",
    "link": "is there, to be linked",
    "adopt": "to be hashed",
    "fetch": "to be fetched",
    "skip": "skipped",
    "refuse": "refused",
}
_RATES: Final = (("100 Mbit/s", 100e6 / 8), ("1 Gbit/s", 1e9 / 8))
"""Bytes a second for which a report says how long the transfer takes."""
_FITTING_LIMITS: Final = (5_000_000_000, 50_000_000_000, 150_000_000_000)
"""Volume sizes, in bytes, for which a report says what would fit."""
_SPACE_NOTES: Final = {
    "one_by_one": "for lack of space, each archive is fetched and unpacked before the next",
    "streamed": "for lack of space, large archives are unpacked as they arrive and never kept: a kill starts that archive again",
}


def plan_document(plan: Plan, inventory: Inventory, catalog: Catalog, wanted: Request, rules: Rules) -> dict[str, Any]:
    """Return a plan as JSON values."""
    return {
        "phase": plan.phase,
        "steps": [_step_document(step) for step in plan.steps],
        "download": size_value(plan.download),
        "unpacked": size_value(plan.unpacked),
        "peak_bytes": plan.peak_bytes,
        "seconds": {name: round(plan.download.value / rate) for name, rate in _RATES},
        "volume": {
            "free_bytes": inventory.free_bytes,
            "kept_bytes": inventory.kept_bytes,
            "staged_bytes": inventory.staged_bytes,
            "limit_bytes": rules.limit_bytes,
        },
        "fits": {str(limit): list(fitting(wanted, catalog, rules, limit)) for limit in _FITTING_LIMITS},
        "evict": [f"{dataset}/{version}" for dataset, version in plan.evict],
        "not_in_phase": list(plan.not_in_phase),
        "error": plan.shortfall.as_record() if plan.shortfall else None,
    }


def _step_document(step: Step) -> dict[str, Any]:
    dataset = step.recipe.dataset
    return {
        "dataset": step.id,
        "splits": list(step.recipe.splits),
        "layout": step.recipe.layout,
        "version": step.recipe.version,
        "action": step.action,
        "why": step.why,
        "reason": step.reason,
        "priority": step.priority,
        "optional": dataset.optional,
        "license": {"spdx": dataset.license.spdx, "name": dataset.license.name, "commercial": dataset.license.commercial},
        "warning": step.warning,
        "download": size_value(step.download),
        "unpacked": size_value(step.unpacked),
        "peak_bytes": step.peak_bytes,
        "room": step.retention,
        "one_at_a_time": step.retention != "at_once",
        "error": step.error.as_record() if step.error else None,
    }


def plan_text(plan: Plan, inventory: Inventory, catalog: Catalog, wanted: Request, rules: Rules) -> str:
    """Return a plan as text: what is done and why, the sizes and times, and which data sets fit on volumes of other sizes."""
    lines = [f"Plan for {f'the phase {plan.phase}' if plan.phase else 'the data sets that were named'}:", ""]
    lines += [_steps_table(plan), "", *_totals(plan, inventory, rules), ""]
    for size in _FITTING_LIMITS:
        fits = fitting(wanted, catalog, rules, size)
        lines.append(f"An empty volume of {size // 10**9:>3} GB holds: {', '.join(fits) or 'none of them'}")
    notes = _notes(plan)
    if notes:
        lines += ["", *notes]
    if plan.shortfall:
        lines += ["", f"This plan cannot be carried out: {plan.shortfall.message}", plan.shortfall.hint]
    return "\n".join(lines)


def _steps_table(plan: Plan) -> str:
    rows = [["data set", "priority", "action", "download, bytes", "unpacked, bytes", "peak, bytes", "commercial use", "licence"]]
    rows += [
        [
            step.recipe.label + (" (optional)" if step.recipe.dataset.optional else ""),
            str(step.priority),
            _ACTIONS[step.action],
            size_text(step.download) if step.action not in {"keep", "link"} else "0",
            size_text(step.unpacked),
            f"{step.peak_bytes:,}",
            step.recipe.dataset.license.commercial,
            step.recipe.dataset.license.spdx,
        ]
        for step in plan.steps
    ]
    return table(rows, right=(1, 3, 4, 5))


def _totals(plan: Plan, inventory: Inventory, rules: Rules) -> list[str]:
    download, unpacked = plan.download, plan.unpacked
    times = ", ".join(f"{format_duration(download.value / rate)} at {name}" for name, rate in _RATES)
    free = "unknown" if inventory.free_bytes is None else f"{inventory.free_bytes:,} bytes free"
    limit = f", MAX_STORAGE_GB allows {rules.limit_bytes:,} bytes" if rules.limit_bytes is not None else ""
    return [
        f"To fetch:    {size_text(download)} bytes ({format_bytes(download.value)})",
        f"Unpacked:    {size_text(unpacked)} bytes ({format_bytes(unpacked.value)})",
        f"Peak disk:   {plan.peak_bytes:,} bytes ({format_bytes(plan.peak_bytes)}) beyond what is there now",
        f"Time:        {times}, for the transfer alone",
        f"Volume:      {free}, {inventory.kept_bytes:,} bytes kept{limit}",
    ]


def _notes(plan: Plan) -> list[str]:
    notes = [f"{step.recipe.label}: {step.why}" for step in plan.steps if step.action in {"skip", "refuse", "adopt", "link"}]
    notes += [f"{step.recipe.label}: {step.why}" for step in plan.steps if step.action == "keep" and step.why != HERE]
    notes += [f"{step.recipe.label}: {_SPACE_NOTES[step.retention]}" for step in plan.steps if step.retention in _SPACE_NOTES]
    notes += [step.warning for step in plan.steps if step.warning]
    notes += [f"{name}: is here and not asked for; it stays" for name in plan.not_in_phase]
    notes += [f"{dataset} {version}: superseded, removed first" for dataset, version in plan.evict]
    if any(size and size.estimate for step in plan.steps for size in (step.download, step.unpacked)):
        notes.append("~ marks an estimate: the catalog does not know the exact number.")
    return notes
