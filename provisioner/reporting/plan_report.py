"""A plan as text for people, and as JSON values."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from provisioner.catalog.size import Size
from provisioner.planning.plan import HERE, fitting
from provisioner.reporting.tables import size_text, size_value, table, wrapped
from provisioner.reporting.text_width import USUAL_COLUMNS
from provisioner.units import format_bytes, format_duration, format_share

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.catalog.model import Catalog
    from provisioner.planning.model import Inventory, Plan, Request, Rules, Step

_ACTIONS: Final = {
    "keep": "keep",
    "link": "link",
    "adopt": "hash",
    "fetch": "fetch",
    "skip": "skip",
    "refuse": "refuse",
}
_RATES: Final = (("100 Mbit/s", 100e6 / 8), ("1 Gbit/s", 1e9 / 8))
"""Bytes per second for which a report states the duration of the transfer."""
_FITTING_LIMITS: Final = (5_000_000_000, 50_000_000_000, 150_000_000_000)
"""Volume sizes in bytes for which a report says what would fit."""
_SPACE_NOTES: Final = {
    "one_by_one": "for lack of space, each archive is fetched and unpacked before the next",
    "streamed": "for lack of space, large archives are unpacked as they arrive and never kept: a kill starts that archive again",
}


def plan_document(  # noqa: PLR0917 - as :func:`plan_text`
    plan: Plan,
    inventory: Inventory,
    catalog: Catalog,
    wanted: Request,
    rules: Rules,
    outdated: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return a plan as JSON values; ``outdated`` has, by id, what is known of newer states that are not fetched."""
    return {
        "phase": plan.phase,
        "steps": [{**_step_document(step), "upstream": outdated.get(step.id)} for step in plan.steps],
        "download": size_value(plan.download),
        "unpacked": size_value(plan.unpacked),
        "peak_bytes": plan.peak_bytes,
        "seconds": {name: None if plan.download.is_unknown else round(plan.download.value / rate) for name, rate in _RATES},
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
        "dataset": dataset.label,
        "path": f"datasets/{step.id}",
        "splits": list(step.recipe.splits),
        "part": step.recipe.rule.identity if step.recipe.rule else None,
        "layout": step.recipe.layout,
        "version": step.recipe.version,
        "action": step.action,
        "why": step.why,
        "reason": step.reason,
        "priority": step.priority,
        "optional": dataset.optional,
        "license": {"spdx": dataset.license.spdx, "name": dataset.license.name, "commercial": step.recipe.commercial},
        "warning": step.warning,
        "download": size_value(step.to_fetch),
        "staged_bytes": step.staged_bytes,
        "unpacked": size_value(step.unpacked),
        "peak_bytes": step.peak_bytes,
        "room": step.retention,
        "one_at_a_time": step.retention != "at_once",
        "beside": step.beside,
        "error": step.error.as_record() if step.error else None,
    }


def plan_text(  # noqa: PLR0917 - a plan, and all that it was made from
    plan: Plan,
    inventory: Inventory,
    catalog: Catalog,
    wanted: Request,
    rules: Rules,
    outdated: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    *,
    columns: int = USUAL_COLUMNS,
) -> str:
    """Return a plan as text: what is done and why, sizes and times, and what would fit on volumes of other sizes."""
    what = f"the phase {plan.phase}" if plan.phase else "the data sets that were named"
    lines = [f"Plan for {what}, in the order of priority:", ""]
    lines += [_steps_table(plan, columns), "", *_totals(plan, inventory, rules), ""]
    fits = [["an empty volume of", "holds"]]
    fits += [[format_bytes(size), " ".join(fitting(wanted, catalog, rules, size)) or "none of them"] for size in _FITTING_LIMITS]
    lines.append(table(fits, right=(0,), columns=columns))
    if any(step.action == "fetch" and not step.is_peak_known for step in plan.steps):
        lines.append(wrapped("Data sets whose size is not known are not among them.", columns))
    notes = _notes(plan, outdated)
    if notes:
        lines += ["", *(wrapped(note, columns) for note in notes)]
    if plan.shortfall:
        problem = f"This plan cannot be carried out: {plan.shortfall.message}"
        lines += ["", wrapped(problem, columns), wrapped(plan.shortfall.hint, columns)]
    return "\n".join(lines)


def _steps_table(plan: Plan, columns: int) -> str:
    rows = [["data set", "action", "download", "unpacked", "peak", "commercial", "licence"]]
    rows += [
        [
            step.recipe.label,
            _ACTIONS[step.action],
            size_text(step.to_fetch) if step.action not in {"keep", "link", "adopt"} else "-",
            size_text(step.unpacked),
            _peak_text(step),
            step.recipe.commercial,
            # The prefix of identifiers that SPDX does not list has no meaning for a reader.
            step.recipe.dataset.license.spdx.removeprefix("LicenseRef-"),
        ]
        for step in plan.steps
    ]
    return table(rows, right=(2, 3, 4), columns=columns)


def _peak_text(step: Step) -> str:
    if not step.peak_bytes and step.is_peak_known:
        return "-"
    return size_text(Size(step.peak_bytes, at_least=not step.is_peak_known))


def _totals(plan: Plan, inventory: Inventory, rules: Rules) -> list[str]:
    download, unpacked = plan.download, plan.unpacked
    times = ", ".join(f"{format_duration(download.value / rate)} at {name}" for name, rate in _RATES)
    times = "unknown" if download.is_unknown else f"{'at least ' if download.at_least else ''}{times}, for the transfer alone"
    is_peak_known = all(step.is_peak_known for step in plan.steps)
    peak = size_text(Size(max(0, plan.peak_bytes - plan.staged_bytes), at_least=not is_peak_known))
    free = "free space unknown" if inventory.free_bytes is None else f"{format_bytes(inventory.free_bytes)} free"
    limit = f", MAX_STORAGE_GB allows {format_bytes(rules.limit_bytes)}" if rules.limit_bytes is not None else ""
    staged = plan.staged_bytes
    here = f"; {format_share(staged, download.value + staged, estimate=download.estimate)} are here already" if staged else ""
    return [
        f"To fetch:    {size_text(download)}{here}",
        f"Unpacked:    {size_text(unpacked)}",
        f"Peak disk:   {peak} beyond what is there now",
        f"Time:        {times}",
        f"Volume:      {free}, {format_bytes(inventory.kept_bytes)} kept{limit}",
    ]


def _notes(plan: Plan, outdated: Mapping[str, Mapping[str, Any]]) -> list[str]:
    notes = [f"{step.recipe.label}: {step.why}" for step in plan.steps if step.action in {"skip", "refuse", "adopt", "link"}]
    notes += [f"{step.recipe.label}: {step.why}" for step in plan.steps if step.action == "keep" and step.why != HERE]
    notes += [f"{step.recipe.label}: {step.why}" for step in plan.steps if step.action == "fetch" and step.recipe.pin]
    notes += [f"{step.recipe.label}: {step.why}; {step.fallback.pin} is here" for step in plan.steps if step.fallback]
    notes += [
        f"{step.recipe.label}: is outdated: {outdated[step.id]['why']}; UPDATE=auto fetches it"
        for step in plan.steps
        if step.id in outdated
    ]
    notes += [
        f"{step.recipe.label}: optional: if it fails, the phase is partial, not failed"
        for step in plan.steps
        if plan.phase and step.writes and step.recipe.dataset.optional
    ]
    notes += [f"{step.recipe.label}: {_SPACE_NOTES[step.retention]}" for step in plan.steps if step.retention in _SPACE_NOTES]
    notes += [
        f"{step.recipe.label}: a part by rule: {step.recipe.rule.words}; its size is"
        f" {'that of the catalog' if step.recipe.rule.download else 'an upper bound until its examples are known'}"
        for step in plan.steps
        if step.recipe.rule is not None and step.writes
    ]
    if most := max((step.beside for step in plan.steps), default=0):
        notes.append(
            f"Up to {most + 1} data sets are fetched and unpacked at the same time, and the peak counts them together. With less"
            " space they would come one after the other."
        )
    notes += [step.warning for step in plan.steps if step.warning]
    notes += [
        f"{step.recipe.label}: {note}" for step in plan.steps if step.recipe.dataset.facts for note in step.recipe.dataset.notes
    ]
    notes += [f"{name}: is here and not asked for; it stays" for name in plan.not_in_phase]
    notes += [f"{dataset} {version}: superseded, removed first" for dataset, version in plan.evict]
    if unknown := [step.recipe.label for step in plan.steps if not step.is_peak_known]:
        notes.append(f"Not known before it is fetched: the size of {', '.join(unknown)}. The limits hold while the bytes come.")
    if any(size and size.estimate and not size.at_least for step in plan.steps for size in (step.download, step.unpacked)):
        notes.append("~ marks an estimate: the exact number is not known.")
    return notes
