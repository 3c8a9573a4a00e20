"""The parser of catalogs: from text to values. What is not well formed is refused with file, line and key.

No disk is read and no network is used: whether a URL or a repository exists is not checked. :mod:`.schema` says which keys a
mapping may have, :mod:`.fields`, :mod:`.paths` and :mod:`.urls` check single values, and the module of its kind reads a source.
Here are data sets, phases, and the checks that need more than one value.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, cast

from provisioner.catalog import schema
from provisioner.catalog.document import Value, nearest, parse_document, quoted
from provisioner.catalog.fields import filled, layout, line, optional_line, optional_size, word
from provisioner.catalog.keys import ID
from provisioner.catalog.mistakes import Mistakes
from provisioner.catalog.model import COMMERCIAL, Catalog, Commercial, DataSet, Excluded, License, Phase
from provisioner.catalog.references import is_reference, parse_reference
from provisioner.catalog.source_kinds import parse_source
from provisioner.catalog.urls import page_url
from provisioner.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

_SPDX_HINT: Final = "See spdx.org/licenses; LicenseRef-Name for any other."


def parse_catalog(text: str, file: str) -> Catalog:
    """Return the catalog that a text describes.

    Args:
        text: the YAML document.
        file: its name, for messages.

    Raises:
        ConfigurationError: it is not a catalog; the message begins with ``file:line: key:``, and the other mistakes of the
            file are its companions.
    """
    mistakes = Mistakes()
    root = parse_document(text, file, mistakes)
    entries = root.mapping()
    if "version" in entries and entries["version"].attempt(Value.integer) not in {schema.VERSION, None}:
        # Checked first, because in another version everything else may look wrong too.
        entries["version"].fail(
            f"version {entries['version'].data} of the format is not known", f"This program reads version {schema.VERSION}."
        )
    entries = root.mapping(schema.CATALOG.names, schema.CATALOG.required)
    described = entries["datasets"].attempt(_named, "data set") or {}
    datasets = {name: value.attempt(_dataset, name) for name, value in described.items()}
    excluded: dict[str, Excluded] = {}
    if "excluded" in entries:
        for name, value in (entries["excluded"].attempt(_named, "data set", empty=True) or {}).items():
            if name in datasets:
                value.report(f"{name!r} is listed as a data set too, on line {described[name].line}", "Keep one of the two.")
            excluded[name] = value.attempt(_excluded, name)
    phases = entries["phases"].attempt(_phases, datasets, excluded)
    mistakes.raise_all()
    return Catalog(datasets=datasets, phases=phases, excluded=excluded)


def _named(value: Value, what: str, *, empty: bool = False) -> Mapping[str, Value]:
    """Return the entries of a mapping whose keys are ids."""
    entries = value.mapping()
    if not entries and not empty:
        value.fail(f"there is no {what} here", f"Name one {what} at least.")
    for name, entry in entries.items():
        if not re.fullmatch(ID, name):
            entry.report(f"{quoted(name)} cannot be the name of a {what}", _id_hint(name))
    return entries


def _id_hint(name: str) -> str:
    """Return which names are valid, with the valid one nearest to ``name``."""
    rule = "Use a-z, 0-9, '_' and '-', beginning with a letter or a digit, 64 characters at most."
    better = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:64]
    return f"{rule} For example {better!r}." if better else rule


# --- data sets ---------------------------------------------------------------------------------------------------------


def _dataset(value: Value, name: str) -> DataSet:
    keys = value.mapping(schema.DATA_SET.names, schema.DATA_SET.required)
    own_layout = value.attempt(lambda _: layout(keys))
    items = keys["sources"].attempt(filled, "source") or ()
    sources = tuple(item.attempt(parse_source) for item in items)
    delivered = sorted({source.layout for source in sources if source is not None})
    # A source that could not be read may be the one.
    if own_layout is not None and delivered and None not in sources and own_layout not in delivered:
        keys["sources"].report(
            f"no source delivers the data set's own layout {own_layout!r}",
            f"Add a source with 'layout: {own_layout}', or make 'layout' of the data set one of: {', '.join(delivered)}.",
        )
    return DataSet(
        id=name,
        title=keys["title"].attempt(line),
        homepage=keys["homepage"].attempt(page_url),
        description=value.attempt(lambda _: optional_line(keys, "description")),
        purpose=value.attempt(lambda _: optional_line(keys, "purpose")),
        priority=keys["priority"].attempt(Value.integer, schema.MIN_PRIORITY, schema.MAX_PRIORITY),
        license=keys["license"].attempt(_license),
        sources=sources,
        unpacked_size=value.attempt(lambda _: optional_size(keys, "unpacked_size")),
        optional=keys["optional"].attempt(Value.boolean) if "optional" in keys else False,
        layout=own_layout,
        notes=keys["notes"].attempt(_lines) if "notes" in keys else (),
    )


def _lines(value: Value) -> tuple[str, ...]:
    return tuple(item.attempt(line) for item in value.items())


def _license(value: Value) -> License:
    keys = value.mapping(schema.LICENSE.names, schema.LICENSE.required)
    return License(
        spdx=keys["spdx"].attempt(word, schema.SPDX, "an SPDX identifier", _SPDX_HINT),
        name=keys["name"].attempt(line),
        url=keys["url"].attempt(page_url),
        commercial=cast("Commercial", keys["commercial"].attempt(Value.choice, COMMERCIAL)),
        evidence=keys["evidence"].attempt(line),
        attribution=keys["attribution"].attempt(line, empty=True),
    )


def _excluded(value: Value, name: str) -> Excluded:
    keys = value.mapping(schema.EXCLUDED.names, schema.EXCLUDED.required)
    return Excluded(
        id=name,
        title=keys["title"].attempt(line),
        license=keys["license"].attempt(line),
        reason=keys["reason"].attempt(line),
    )


# --- phases ------------------------------------------------------------------------------------------------------------


def _phases(value: Value, datasets: Mapping[str, DataSet], excluded: Mapping[str, Excluded]) -> dict[str, Phase]:
    entries = _named(value, "phase")
    if schema.RESERVED_PHASE in entries:
        entries[schema.RESERVED_PHASE].report(
            f"a phase cannot be called {schema.RESERVED_PHASE!r}", "PHASE=auto means the largest phase that fits."
        )
    own: dict[str, tuple[str, ...]] = {}
    base: dict[str, str | None] = {}
    for name, entry in entries.items():
        keys = entry.attempt(Value.mapping, schema.PHASE.names, schema.PHASE.required) or {}
        own[name] = (keys["datasets"].attempt(_members, datasets, excluded) or ()) if keys else ()
        base[name] = keys["extends"].attempt(_base, entries) if "extends" in keys else None
    phases: dict[str, Phase] = {}
    for name, entry in entries.items():
        chain = [name]
        while (extended := base[chain[-1]]) is not None:
            chain.append(extended)
            if extended in chain[:-1]:
                loop = " → ".join(chain[chain.index(extended) :])
                # The error is about a phase of the circle, not about one that only leads into it.
                entries[extended].mapping()["extends"].report(f"the phases extend one another in a circle: {loop}")
                break
        ids = tuple(dict.fromkeys(one for link in reversed(chain) for one in own[link]))
        description = entry.attempt(_description)
        if not ids and description is not None:
            entry.attempt(_check_empty, datasets)
        phases[name] = Phase(name=name, description=description, datasets=ids, extends=base[name], own=own[name])
    return phases


def _base(value: Value, phases: Mapping[str, Value]) -> str:
    """Return the name of the phase that another one extends."""
    wanted = value.text()
    if wanted not in phases:
        value.fail(f"there is no phase {quoted(wanted)}", nearest(wanted, phases))
    return wanted


def _description(value: Value) -> str:
    return optional_line(value.mapping(), "description")


def _check_empty(value: Value, datasets: Mapping[str, DataSet]) -> None:
    """Refuse a phase that names no data set, neither itself nor by what it extends."""
    members = value.mapping().get("datasets")
    if members is not None and not members.items():
        value.fail("the phase has no data set", nearest("", datasets))


def _members(value: Value, datasets: Mapping[str, DataSet], excluded: Mapping[str, Excluded]) -> tuple[str, ...]:
    names: dict[str, int] = {}
    """Ids and references."""
    for item in value.items():
        name = item.attempt(Value.text)
        if name is None:
            continue
        if is_reference(name):
            item.attempt(_check_reference)
            names.setdefault(name, item.line)
        elif name in excluded:
            reason = getattr(excluded[name], "reason", "see there")
            item.report(f"{name!r} is excluded: {reason}", "Take it out of the phase.")
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
