"""Several references in a request to parts of the same repository are one data set, as in ``nsynth:train,nsynth:test``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.catalog.references import parse_reference

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.catalog.written_reference import Reference


def joined_parts(asked: Mapping[str, Reference], endpoint: str) -> dict[str, Reference]:
    """Return the meaning of each reference in a request; references to parts of the same repository mean all of these parts.

    If one of them names the whole repository, all mean the whole. Revision and options must be the same.

    Args:
        asked: references by their text as written.
        endpoint: the Hub's address.
    """
    groups: dict[tuple[str, str], list[Reference]] = {}
    for reference in asked.values():
        groups.setdefault(_without_parts(reference), []).append(reference)
    return {written: _joined(groups[_without_parts(reference)], endpoint) for written, reference in asked.items()}


def _without_parts(reference: Reference) -> tuple[str, str]:
    """Return a reference as it would be for the whole repository, and its options."""
    address, mark, options = reference.text.partition("#")
    return (address.rpartition(":")[0] if reference.parts else address), f"{mark}{options}"


def _joined(references: list[Reference], endpoint: str) -> Reference:
    whole = next((reference for reference in references if not reference.parts), None)
    if whole is not None or len(references) == 1:
        return whole or references[0]
    address, options = _without_parts(references[0])
    parts = "+".join(reference.text.partition("#")[0].rpartition(":")[2] for reference in references)
    return parse_reference(f"{address}:{parts}{options}", endpoint)
