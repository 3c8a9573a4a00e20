"""The parser of catalogs: from text to values. What is not well formed is refused with file, line and key.

No disk is read and no network is used: whether a URL or a repository exists is not checked. :mod:`.schema` says which keys a
mapping may have, :mod:`.fields`, :mod:`.paths` and :mod:`.urls` check single values, and the module of its kind reads a source.
Here are data sets, phases, and the checks that need more than one value.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from provisioner.catalog import schema
from provisioner.catalog.document import nearest, parse_document, quoted
from provisioner.catalog.fields import filled, layout, line, optional_line, optional_size, word
from provisioner.catalog.keys import ID
from provisioner.catalog.model import COMMERCIAL, Catalog, Commercial, DataSet, Excluded, License, Phase
from provisioner.catalog.source_kinds import parse_source
from provisioner.catalog.urls import page_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.catalog.document import Value


def parse_catalog(text: str, file: str) -> Catalog:
    """Return the catalog that a text describes.

    Args:
        text: the YAML document.
        file: its name, for messages.

    Raises:
        ConfigurationError: it is not a catalog; the message begins with ``file:line: key:``.
    """
    root = parse_document(text, file)
    entries = root.mapping()
    if "version" in entries and entries["version"].integer() != schema.VERSION:
        # Checked first, because in another version everything else may look wrong too.
        entries["version"].fail(
            f"version {entries['version'].data} of the format is not known", f"This program reads version {schema.VERSION}."
        )
    entries = root.mapping(schema.CATALOG.names, schema.CATALOG.required)
    datasets = {name: _dataset(name, value) for name, value in _named(entries["datasets"], "data set").items()}
    excluded: dict[str, Excluded] = {}
    if "excluded" in entries:
        for name, value in _named(entries["excluded"], "data set", empty=True).items():
            if name in datasets:
                first = entries["datasets"].mapping()[name].line
                value.fail(f"{name!r} is listed as a data set too, on line {first}", "Keep one of the two.")
            excluded[name] = _excluded(name, value)
    phases = _phases(entries["phases"], datasets, excluded)
    return Catalog(datasets=datasets, phases=phases, excluded=excluded)


def _named(value: Value, what: str, *, empty: bool = False) -> Mapping[str, Value]:
    """Return the entries of a mapping whose keys are ids."""
    entries = value.mapping()
    if not entries and not empty:
        value.fail(f"there is no {what} here", f"Name one {what} at least.")
    for name, entry in entries.items():
        if not re.fullmatch(ID, name):
            entry.fail(f"{quoted(name)} cannot be the name of a {what}", _id_hint(name))
    return entries


def _id_hint(name: str) -> str:
    """Return which names are valid, with the valid one nearest to ``name``."""
    rule = "Use a-z, 0-9, '_' and '-', beginning with a letter or a digit, 64 characters at most."
    better = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:64]
    return f"{rule} For example {better!r}." if better else rule


# --- data sets ---------------------------------------------------------------------------------------------------------


def _dataset(name: str, value: Value) -> DataSet:
    keys = value.mapping(schema.DATA_SET.names, schema.DATA_SET.required)
    own_layout = layout(keys)
    sources = tuple(parse_source(item) for item in filled(keys["sources"], "source"))
    delivered = sorted({source.layout for source in sources})
    if own_layout not in delivered:
        keys["sources"].fail(
            f"no source delivers the data set's own layout {own_layout!r}",
            f"Add a source with 'layout: {own_layout}', or make 'layout' of the data set one of: {', '.join(delivered)}.",
        )
    return DataSet(
        id=name,
        title=line(keys["title"]),
        homepage=page_url(keys["homepage"]),
        description=optional_line(keys, "description"),
        purpose=optional_line(keys, "purpose"),
        priority=keys["priority"].integer(schema.MIN_PRIORITY, schema.MAX_PRIORITY),
        license=_license(keys["license"]),
        sources=sources,
        unpacked_size=optional_size(keys, "unpacked_size"),
        optional=keys["optional"].boolean() if "optional" in keys else False,
        layout=own_layout,
        notes=tuple(line(item) for item in keys["notes"].items()) if "notes" in keys else (),
    )


def _license(value: Value) -> License:
    keys = value.mapping(schema.LICENSE.names, schema.LICENSE.required)
    return License(
        spdx=word(keys["spdx"], schema.SPDX, "an SPDX identifier", "See spdx.org/licenses; LicenseRef-Name for any other."),
        name=line(keys["name"]),
        url=page_url(keys["url"]),
        commercial=cast("Commercial", keys["commercial"].choice(COMMERCIAL)),
        evidence=line(keys["evidence"]),
        attribution=line(keys["attribution"], empty=True),
    )


def _excluded(name: str, value: Value) -> Excluded:
    keys = value.mapping(schema.EXCLUDED.names, schema.EXCLUDED.required)
    return Excluded(id=name, title=line(keys["title"]), license=line(keys["license"]), reason=line(keys["reason"]))


# --- phases ------------------------------------------------------------------------------------------------------------


def _phases(value: Value, datasets: Mapping[str, DataSet], excluded: Mapping[str, Excluded]) -> dict[str, Phase]:
    entries = _named(value, "phase")
    if schema.RESERVED_PHASE in entries:
        entries[schema.RESERVED_PHASE].fail(
            f"a phase cannot be called {schema.RESERVED_PHASE!r}", "PHASE=auto means the largest phase that fits."
        )
    own: dict[str, tuple[str, ...]] = {}
    base: dict[str, str | None] = {}
    for name, entry in entries.items():
        keys = entry.mapping(schema.PHASE.names, schema.PHASE.required)
        own[name] = _members(keys["datasets"], datasets, excluded)
        base[name] = None
        if "extends" in keys:
            base[name] = wanted = keys["extends"].text()
            if wanted not in entries:
                keys["extends"].fail(f"there is no phase {quoted(wanted)}", nearest(wanted, entries))
    phases: dict[str, Phase] = {}
    for name, entry in entries.items():
        chain = [name]
        while (extended := base[chain[-1]]) is not None:
            chain.append(extended)
            if extended in chain[:-1]:
                loop = " → ".join(chain[chain.index(extended) :])
                # The error is about a phase of the circle, not about one that only leads into it.
                entries[extended].mapping()["extends"].fail(f"the phases extend one another in a circle: {loop}")
        ids = tuple(dict.fromkeys(one for link in reversed(chain) for one in own[link]))
        if not ids:
            entry.fail("the phase has no data set", nearest("", datasets))
        keys = entry.mapping()
        phases[name] = Phase(
            name=name, description=optional_line(keys, "description"), datasets=ids, extends=base[name], own=own[name]
        )
    return phases


def _members(value: Value, datasets: Mapping[str, DataSet], excluded: Mapping[str, Excluded]) -> tuple[str, ...]:
    names: dict[str, int] = {}
    for item in value.items():
        name = item.text()
        if name in excluded:
            item.fail(f"{name!r} is excluded: {excluded[name].reason}", "Take it out of the phase.")
        if name not in datasets:
            item.fail(f"there is no data set {quoted(name)}", nearest(name, datasets))
        if name in names:
            item.fail(f"{name!r} stands in this phase a second time", f"The first is on line {names[name]}.")
        names[name] = item.line
    return tuple(names)
