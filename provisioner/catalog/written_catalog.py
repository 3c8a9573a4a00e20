"""Part of a catalog as text, from which the same entries can be read again; an export carries it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import yaml

from provisioner.catalog.schema import VERSION
from provisioner.catalog.written_parts import part_entry

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from provisioner.catalog.model import DataSet, License, Phase

_HEAD: Final = """\
# The entries of the data sets in this export, and the phases as far as they are in it: written by 'provisioner export'.
# CATALOG_PATH may name this file.
"""


def catalog_text(datasets: Iterable[DataSet], phases: Iterable[Phase]) -> str:
    """Return a catalog of some data sets.

    Args:
        datasets: the data sets that are written in a catalog; references need no entry.
        phases: the phases, with the names that they are to have.
    """
    document = {
        "version": VERSION,
        "datasets": {dataset.id: _entry(dataset) for dataset in sorted(datasets, key=lambda dataset: dataset.id)},
        "phases": {phase.name: _phase(phase) for phase in phases},
    }
    written = {key: value for key, value in document.items() if value}
    return _HEAD + yaml.safe_dump(written, sort_keys=False, allow_unicode=True, width=1000)


def phase_part(phase: Phase, names: Mapping[str, str], present: Collection[str]) -> Phase | None:
    """Return a phase with only the data sets that are present, or ``None`` if it has none of them.

    Args:
        phase: the phase in the catalog, which already includes what it extends.
        names: by id, the name of each data set in a catalog.
        present: ids of the data sets that are present.
    """
    members = tuple(names.get(one, one) for one in phase.datasets if one in present)
    missing = [names.get(one, one) for one in phase.datasets if one not in present]
    if not members:
        return None
    text = " ".join(filter(None, (phase.description, f"(here without {', '.join(missing)})" if missing else "")))
    return type(phase)(phase.name, text, members, own=members)


def _phase(phase: Phase) -> dict[str, Any]:
    return {**({"description": phase.description} if phase.description else {}), "datasets": list(phase.datasets)}


def _entry(dataset: DataSet) -> dict[str, Any]:
    return {
        "title": dataset.title,
        **({"homepage": dataset.homepage} if dataset.homepage else {}),
        **({"description": dataset.description} if dataset.description else {}),
        **({"purpose": dataset.purpose} if dataset.purpose else {}),
        "priority": dataset.priority,
        **({"unpacked_size": dataset.unpacked_size.written} if dataset.unpacked_size is not None else {}),
        **({"optional": True} if dataset.optional else {}),
        **({"layout": dataset.layout} if dataset.layout != "raw" else {}),
        "license": _license(dataset.license),
        **({"notes": list(dataset.notes)} if dataset.notes else {}),
        **({"parts": {name: part_entry(rule) for name, rule in dataset.parts.items()}} if dataset.parts else {}),
        "sources": [source.as_entry() for source in dataset.sources],
    }


def _license(terms: License) -> dict[str, str]:
    found = {
        "spdx": terms.spdx,
        "name": terms.name,
        "url": terms.url,
        "commercial": terms.commercial,
        "evidence": terms.evidence,
        "attribution": terms.attribution,
    }
    return {key: value for key, value in found.items() if value}
