"""The catalog as text for people, and as JSON values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provisioner.catalog.size import total
from provisioner.planning.capacity import need_of
from provisioner.planning.recipe import make_recipe
from provisioner.reporting.tables import size_text, size_value, table
from provisioner.reporting.text_width import USUAL_COLUMNS

if TYPE_CHECKING:
    from provisioner.catalog.model import Catalog
    from provisioner.catalog.size import Size
    from provisioner.planning.model import Inventory


def catalog_document(catalog: Catalog, inventory: Inventory) -> dict[str, Any]:
    """Return the catalog as JSON values."""
    return {
        "datasets": {
            dataset.label: {
                "title": dataset.title,
                "purpose": dataset.purpose,
                "priority": dataset.priority,
                "optional": dataset.optional,
                "phases": [phase.name for phase in catalog.phases.values() if dataset.id in phase.datasets],
                "splits": list(dataset.splits),
                "parts": {name: rule.identity for name, rule in dataset.parts.items()},
                "layouts": list(dataset.layouts),
                "license": {
                    "spdx": dataset.license.spdx,
                    "name": dataset.license.name,
                    "commercial": dataset.license.commercial,
                },
                "download": size_value(_download(catalog, dataset.id)),
                "unpacked": size_value(dataset.unpacked_size),
                "on_volume": inventory.published.get(dataset.id),
                "index": inventory.indexes[dataset.id].as_record(dataset.id) if dataset.id in inventory.indexes else None,
            }
            for dataset in catalog.datasets.values()
        },
        "phases": {
            phase.name: {
                "description": phase.description,
                "datasets": [catalog.datasets[name].label for name in phase.datasets],
            }
            for phase in catalog.phases.values()
        },
        "excluded": {
            excluded.id: {"title": excluded.title, "license": excluded.license, "reason": excluded.reason}
            for excluded in catalog.excluded.values()
        },
    }


def catalog_text(catalog: Catalog, inventory: Inventory, *, columns: int = USUAL_COLUMNS) -> str:
    """Return the catalog as text: data sets, phases, existing indexes, and excluded data sets.

    Args:
        catalog: what should exist.
        inventory: what the volume holds.
        columns: the width of the terminal.
    """
    rows = [["data set", "phase", "download", "unpacked", "commercial", "here", "splits"]]
    for dataset in catalog.datasets.values():
        phases = [phase.name for phase in catalog.phases.values() if dataset.id in phase.datasets]
        rows.append(
            [
                dataset.label,
                phases[0] if phases else "-",
                size_text(_download(catalog, dataset.id)),
                size_text(dataset.unpacked_size),
                dataset.license.commercial,
                "yes" if dataset.id in inventory.published else "no",
                " ".join((*dataset.splits, *dataset.parts)) or "-",
            ]
        )
    by_phase = [["phase", "download", "data sets"]]
    by_phase += [
        [
            phase.name,
            size_text(total(_download(catalog, name) for name in phase.datasets)),
            " ".join(catalog.datasets[name].label for name in phase.datasets),
        ]
        for phase in catalog.phases.values()
    ]
    lines = [table(rows, right=(2, 3), columns=columns), "", table(by_phase, right=(1,), columns=columns)]
    indexed = [["index", "examples", "splits"]]
    for dataset in catalog.datasets.values():
        if (index := inventory.indexes.get(dataset.id)) is not None:
            splits = ", ".join(f"{split} {count:,}" for split, count in index.rows.items())
            indexed.append([f"index/{dataset.id}", f"{sum(index.rows.values()):,}" if index.rows else "-", splits or "-"])
    if len(indexed) > 1:
        lines += ["", table(indexed, right=(1,), columns=columns)]
    if catalog.excluded:
        left_out = [["left out", "why"]]
        left_out += [[one.id, f"{one.title}: {one.reason} ({one.license})"] for one in catalog.excluded.values()]
        lines += ["", table(left_out, columns=columns)]
    return "\n".join(lines)


def _download(catalog: Catalog, dataset: str) -> Size | None:
    return need_of(make_recipe(catalog.datasets[dataset])).download
