"""The phases of a catalog: named sets of data sets, each of which may extend another one.

A catalog on top of another one also has the phases of that one, without the data sets that it excludes; a phase of the same
name is replaced.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from provisioner.catalog import schema
from provisioner.catalog.document import Value, nearest, quoted
from provisioner.catalog.fields import named, optional_line
from provisioner.catalog.model import Phase
from provisioner.catalog.references import is_reference, parse_reference
from provisioner.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from provisioner.catalog.model import Catalog, Excluded


def parse_phases(
    root: Value, below: Catalog, datasets: Collection[str], excluded: Mapping[str, Excluded | None]
) -> dict[str, Phase]:
    """Return the phases of a catalog.

    Args:
        root: the document.
        below: the catalog below this one.
        datasets: the ids of all data sets.
        excluded: the excluded data sets; ``None`` for one that is not well formed.

    Raises:
        ConfigurationError: a phase is not well formed, and mistakes are not collected.
    """
    top = root.mapping()
    entries = (top["phases"].attempt(named, "phase") or {}) if "phases" in top else {}
    if schema.RESERVED_PHASE in entries:
        entries[schema.RESERVED_PHASE].report(
            f"a phase cannot be called {schema.RESERVED_PHASE!r}", "PHASE=auto means the largest phase that fits."
        )
    phases = {
        phase.name: replace(phase, datasets=(), own=tuple(one for one in phase.own if one not in excluded))
        for phase in below.phases.values()
    }
    known = {*phases, *entries}
    for name, entry in entries.items():
        read: Phase | None = entry.attempt(_phase, name, known, datasets, excluded)
        phases[name] = Phase(name, "", ()) if read is None else read
    found = {}
    for name, phase in phases.items():
        chain = _chain(phase, phases, entries)
        ids = tuple(dict.fromkeys(one for link in reversed(chain) for one in link.own))
        if not ids and name in entries:
            entries[name].attempt(_check_empty, datasets)
        elif not ids:
            top["excluded"].report(f"nothing is left of the phase {name!r}", "Describe that phase here, too.")
        found[name] = replace(phase, datasets=ids)
    return found


def _phase(
    value: Value, name: str, phases: Collection[str], datasets: Collection[str], excluded: Mapping[str, Excluded | None]
) -> Phase:
    """Return a phase as written, without the phase that it extends."""
    keys = value.mapping(schema.PHASE.names, schema.PHASE.required)
    return Phase(
        name=name,
        description=value.attempt(lambda _: optional_line(keys, "description")),
        datasets=(),
        extends=keys["extends"].attempt(_extended, phases) if "extends" in keys else None,
        own=keys["datasets"].attempt(_members, datasets, excluded) or (),
    )


def _extended(value: Value, phases: Collection[str]) -> str:
    """Return the name of the phase that another one extends."""
    wanted = value.text()
    if wanted not in phases:
        value.fail(f"there is no phase {quoted(wanted)}", nearest(wanted, phases))
    return wanted


def _chain(phase: Phase, phases: Mapping[str, Phase], entries: Mapping[str, Value]) -> list[Phase]:
    """Return a phase and those that it extends; a cycle is reported."""
    chain = [phase]
    while (extended := chain[-1].extends) is not None:
        names = [link.name for link in chain]
        if extended in names:
            circle = names[names.index(extended) :]
            # The error is about a phase in the cycle, not one that only leads into it. One of them is in this file.
            here = next(name for name in entries if name in circle)
            start = circle.index(here)
            loop = " → ".join([*circle[start:], *circle[:start], here])
            entries[here].mapping()["extends"].report(f"the phases extend one another in a circle: {loop}")
            break
        chain.append(phases[extended])
    return chain


def _check_empty(value: Value, datasets: Collection[str]) -> None:
    """Refuse a phase without data sets, neither its own nor extended ones."""
    members = value.mapping().get("datasets")
    if members is not None and not members.items():
        value.fail("the phase has no data set", nearest("", datasets))


def _members(value: Value, datasets: Collection[str], excluded: Mapping[str, Excluded | None]) -> tuple[str, ...]:
    """Return ids and references."""
    names: dict[str, int] = {}
    for item in value.items():
        name = item.attempt(Value.text)
        if name is None:
            continue
        if is_reference(name):
            item.attempt(_check_reference)
            names.setdefault(name, item.line)
        elif name in excluded:
            entry = excluded[name]
            item.report(f"{name!r} is excluded: {entry.reason if entry else 'see there'}", "Take it out of the phase.")
        elif name not in datasets:
            item.report(f"there is no data set {quoted(name)}", nearest(name, datasets))
        elif name in names:
            item.report(f"{name!r} stands in this phase a second time", f"The first is on line {names[name]}.")
        else:
            names[name] = item.line
    return tuple(names)


def _check_reference(value: Value) -> None:
    """Refuse a malformed reference; which Hub it means is not known here."""
    try:
        parse_reference(value.text())
    except ConfigurationError as error:
        value.fail(error.message, error.hint)
