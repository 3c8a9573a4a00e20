"""What people and programs see of a plan, a catalog and a status: as text, and as JSON values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from provisioner.catalog.size import total
from provisioner.planning.plan import FITTING_LIMITS, RATES, fitting
from provisioner.reporting.progress import format_bytes, format_duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from provisioner.catalog.model import Catalog
    from provisioner.catalog.size import Size
    from provisioner.planning.plan import Inventory, Plan, Request, Rules, Step

_WORDS = {
    "keep": "is there",
    "link": "is there, to be linked",
    "adopt": "to be hashed",
    "fetch": "to be fetched",
    "skip": "skipped",
    "refuse": "refused",
}


def table(rows: Sequence[Sequence[str]], *, right: Iterable[int] = ()) -> str:
    """Lay out rows in columns; those in ``right`` are aligned to the right."""
    to_right = set(right)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if column in to_right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def size_text(size: Size | None) -> str:
    """Return exact bytes plainly, estimates with ``~``, and say when nobody knows."""
    if size is None:
        return "unknown"
    return f"~{size.value:,}" if size.estimate else f"{size.value:,}"


def _size_value(size: Size | None) -> dict[str, Any] | None:
    return {"bytes": size.value, "estimate": size.estimate} if size else None


def plan_document(plan: Plan, inventory: Inventory, catalog: Catalog, wanted: Request, rules: Rules) -> dict[str, Any]:
    """Return a plan as JSON values."""
    return {
        "phase": plan.phase,
        "steps": [_step_document(step) for step in plan.steps],
        "download": _size_value(plan.download),
        "unpacked": _size_value(plan.unpacked),
        "peak_bytes": plan.peak_bytes,
        "seconds": {name: round(plan.download.value / rate) for name, rate in RATES},
        "volume": {
            "free_bytes": inventory.free_bytes,
            "kept_bytes": inventory.kept_bytes,
            "staged_bytes": inventory.staged_bytes,
            "limit_bytes": rules.limit_bytes,
        },
        "fits": {str(limit): list(fitting(wanted, catalog, rules, limit)) for limit in FITTING_LIMITS},
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
        "download": _size_value(step.download),
        "unpacked": _size_value(step.unpacked),
        "peak_bytes": step.peak_bytes,
        "room": step.room,
        "one_at_a_time": step.room != "at_once",
        "error": step.error.as_record() if step.error else None,
    }


_ROOM_NOTES: Final = {
    "one_by_one": "for lack of room, each archive is fetched and unpacked before the next",
    "streamed": "for lack of room, large archives are unpacked as they arrive and never kept: a kill starts that archive again",
}


def plan_text(plan: Plan, inventory: Inventory, catalog: Catalog, wanted: Request, rules: Rules) -> str:
    """Return a plan for people: what, why, how much, how long, and what fits where."""
    rows = [["data set", "priority", "action", "download, bytes", "unpacked, bytes", "peak, bytes", "commercial use", "licence"]]
    rows += [
        [
            step.recipe.label + (" (optional)" if step.recipe.dataset.optional else ""),
            str(step.priority),
            _WORDS[step.action],
            size_text(step.download) if step.action not in {"keep", "link"} else "0",
            size_text(step.unpacked),
            f"{step.peak_bytes:,}",
            step.recipe.dataset.license.commercial,
            step.recipe.dataset.license.spdx,
        ]
        for step in plan.steps
    ]
    lines = [f"Plan for {f'the phase {plan.phase}' if plan.phase else 'the data sets that were named'}:", ""]
    lines += [table(rows, right=(1, 3, 4, 5)), ""]
    download, unpacked = plan.download, plan.unpacked
    lines.append(f"To fetch:    {size_text(download)} bytes ({format_bytes(download.value)})")
    lines.append(f"Unpacked:    {size_text(unpacked)} bytes ({format_bytes(unpacked.value)})")
    lines.append(f"Peak disk:   {plan.peak_bytes:,} bytes ({format_bytes(plan.peak_bytes)}) beyond what is there now")
    times = ", ".join(f"{format_duration(download.value / rate)} at {name}" for name, rate in RATES)
    lines.append(f"Time:        {times}, by the wire alone")
    free = "unknown" if inventory.free_bytes is None else f"{inventory.free_bytes:,} bytes free"
    limit = f", MAX_STORAGE_GB allows {rules.limit_bytes:,} bytes" if rules.limit_bytes is not None else ""
    lines += [f"Volume:      {free}, {inventory.kept_bytes:,} bytes kept{limit}", ""]
    for size in FITTING_LIMITS:
        fits = fitting(wanted, catalog, rules, size)
        lines.append(f"An empty volume of {size // 10**9:>3} GB holds: {', '.join(fits) or 'none of them'}")
    notes = [f"{step.recipe.label}: {step.why}" for step in plan.steps if step.action in {"skip", "refuse", "adopt", "link"}]
    notes += [f"{step.recipe.label}: {_ROOM_NOTES[step.room]}" for step in plan.steps if step.room in _ROOM_NOTES]
    notes += [step.warning for step in plan.steps if step.warning]
    notes += [f"{name}: is here and not asked for; it stays" for name in plan.not_in_phase]
    notes += [f"{dataset} {version}: superseded, removed first" for dataset, version in plan.evict]
    if any(size and size.estimate for step in plan.steps for size in (step.download, step.unpacked)):
        notes.append("~ marks an estimate: the catalog does not know the exact number.")
    if notes:
        lines += ["", *notes]
    if plan.shortfall:
        lines += ["", f"This plan cannot be carried out: {plan.shortfall.message}", plan.shortfall.hint]
    return "\n".join(lines)


def list_document(catalog: Catalog, inventory: Inventory) -> dict[str, Any]:
    """Return the catalog as JSON values."""
    return {
        "datasets": {
            dataset.id: {
                "title": dataset.title,
                "purpose": dataset.purpose,
                "priority": dataset.priority,
                "optional": dataset.optional,
                "phases": [phase.name for phase in catalog.phases.values() if dataset.id in phase.datasets],
                "splits": list(dataset.splits),
                "layouts": list(dataset.layouts),
                "license": {
                    "spdx": dataset.license.spdx,
                    "name": dataset.license.name,
                    "commercial": dataset.license.commercial,
                },
                "download": _size_value(_download(catalog, dataset.id)),
                "unpacked": _size_value(dataset.unpacked_size),
                "on_volume": inventory.published.get(dataset.id),
            }
            for dataset in catalog.datasets.values()
        },
        "phases": {
            phase.name: {"description": phase.description, "datasets": list(phase.datasets)} for phase in catalog.phases.values()
        },
        "excluded": {
            excluded.id: {"title": excluded.title, "license": excluded.license, "reason": excluded.reason}
            for excluded in catalog.excluded.values()
        },
    }


def _download(catalog: Catalog, dataset: str) -> Size | None:
    from provisioner.planning.plan import need_of  # noqa: PLC0415
    from provisioner.planning.recipe import make_recipe  # noqa: PLC0415

    return need_of(make_recipe(catalog.datasets[dataset])).download


def list_text(catalog: Catalog, inventory: Inventory) -> str:
    """Return the catalog for people."""
    rows = [["data set", "priority", "first phase", "download, bytes", "unpacked, bytes", "commercial use", "splits", "here"]]
    for dataset in catalog.datasets.values():
        phases = [phase.name for phase in catalog.phases.values() if dataset.id in phase.datasets]
        rows.append(
            [
                dataset.id,
                str(dataset.priority),
                phases[0] if phases else "-",
                size_text(_download(catalog, dataset.id)),
                size_text(dataset.unpacked_size),
                dataset.license.commercial,
                " ".join(dataset.splits) or "-",
                "yes" if dataset.id in inventory.published else "no",
            ]
        )
    lines = [table(rows, right=(1, 3, 4)), ""]
    for phase in catalog.phases.values():
        size = total(_download(catalog, name) for name in phase.datasets)
        lines.append(f"{phase.name}: {', '.join(phase.datasets)} ({size_text(size)} bytes to fetch)")
    lines += [
        f"left out: {excluded.id} ({excluded.title}): {excluded.reason} ({excluded.license})"
        for excluded in catalog.excluded.values()
    ]
    return "\n".join(lines)


def status_text(document: Mapping[str, Any]) -> str:
    """Return a status document for people; it may be damaged."""
    lines = [
        f"State:   {document.get('state')}"
        + (f", phase {document['phase']}" if document.get("phase") else "")
        + f" (run {document.get('run_id')} on {document.get('host')})",
        f"Time:    started {document.get('started_at')}, updated {document.get('updated_at')}",
        f"         finished {document.get('finished_at') or 'not yet'}",
    ]
    volume = document.get("volume")
    if isinstance(volume, dict):
        limit = f", limit {volume['limit_bytes']:,}" if isinstance(volume.get("limit_bytes"), int) else ""
        lines.append(f"Volume:  {_number(volume.get('used_bytes'))} bytes used, {_number(volume.get('free_bytes'))} free{limit}")
    repository = document.get("dataset_repo")
    if isinstance(repository, dict):
        lines.append(f"Repository for the app's logs: {repository.get('repo_id') or 'none'} ({repository.get('state')})")
    others = document.get("other_repos")
    lines += [
        f"Other repository: {other.get('repo_id') or 'none'} ({other.get('state')})"
        for other in (others if isinstance(others, list) else [])
        if isinstance(other, dict)
    ]
    datasets = document.get("datasets")
    if isinstance(datasets, dict) and datasets:
        rows = [["data set", "state", "bytes", "files", "verified against", "path"]]
        for name, record in datasets.items():
            if isinstance(record, dict):
                reason = f" ({record['reason']})" if record.get("reason") else ""
                done, whole = record.get("bytes_done"), record.get("bytes_total")
                part = (
                    f"{_number(done)} of {_number(whole)}"
                    if str(record.get("state")) in {"fetching", "unpacking"}
                    else _number(done)
                )
                rows.append(
                    [
                        str(name),
                        f"{record.get('state')}{reason}",
                        part,
                        _number(record.get("files")),
                        str(record.get("verified_against") or "-"),
                        str(record.get("path") or "-"),
                    ]
                )
        lines += ["", table(rows, right=(2, 3))]
        lines += [
            f"{name}: {record['error'].get('message')}"
            for name, record in datasets.items()
            if isinstance(record, dict) and isinstance(record.get("error"), dict)
        ]
    error = document.get("error")
    if isinstance(error, dict):
        lines += ["", f"Error [{error.get('reference')}]: {error.get('message')}", f"{error.get('hint')}"]
    return "\n".join(lines)


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "-"
