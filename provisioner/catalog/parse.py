"""The parser of catalogs, from text to values. Anything that is not well formed is refused with file, line and key.

A catalog may be put on top of others: it adds to them, and its data sets, phases and exclusions replace theirs one by one. No
disk is read and no network is used: whether a URL or a repository exists is not checked. :mod:`.schema` says which keys a
mapping may have, :mod:`.fields`, :mod:`.paths` and :mod:`.urls` check single values, and the module of its kind parses a
source. :mod:`.phases` parses phases. This module parses data sets, and checks what involves more than one value.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final, cast

from provisioner.catalog import schema
from provisioner.catalog.card import stated_license
from provisioner.catalog.document import Value, parse_document, quoted
from provisioner.catalog.entries import PRIORITY
from provisioner.catalog.fields import filled, layout, line, named, optional_line, optional_size, word
from provisioner.catalog.mistakes import Mistakes
from provisioner.catalog.model import COMMERCIAL, Catalog, Commercial, DataSet, Excluded, License, Phase
from provisioner.catalog.phases import parse_phases
from provisioner.catalog.source_kinds import parse_source
from provisioner.catalog.urls import page_url
from provisioner.catalog.written_parts import PART_NAME, parse_part

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from provisioner.catalog.parts import PartRule
    from provisioner.catalog.source import Source

_EVERYTHING: Final = "all"
"""The only phase of a catalog that describes no phases."""
NO_CATALOG: Final = Catalog(datasets={}, phases={})
"""The base of the first of several catalogs."""
_SPDX_HINT: Final = "See spdx.org/licenses; LicenseRef-Name for any other."


def parse_catalogs(files: Iterable[tuple[str, str]]) -> Catalog:
    """Return the catalog that several files describe, each on top of those before it.

    Args:
        files: text and name of each file.

    Raises:
        ConfigurationError: see :func:`parse_catalog`.
    """
    catalog = NO_CATALOG
    for text, file in files:
        catalog = parse_catalog(text, file, catalog)
    if not catalog.phases:
        ids = tuple(catalog.datasets)
        return replace(catalog, phases={_EVERYTHING: Phase(_EVERYTHING, "all data sets of the catalog", ids, own=ids)})
    return catalog


def parse_catalog(text: str, file: str, base: Catalog = NO_CATALOG) -> Catalog:
    """Return the catalog that a text describes, on top of another one.

    Args:
        text: the YAML document.
        file: its name, for messages.
        base: the catalog that it adds to.

    Raises:
        ConfigurationError: it is not a valid catalog; the message begins with ``file:line: key:``, and the other mistakes in
            the file are its companions.
    """
    mistakes = Mistakes()
    root = parse_document(text, file, mistakes)
    entries = root.mapping()
    if "version" in entries and entries["version"].attempt(Value.integer) not in {schema.VERSION, None}:
        # Checked first, because in another version everything else may look wrong as well.
        entries["version"].fail(
            f"version {entries['version'].data} of the format is not known", f"This program reads version {schema.VERSION}."
        )
    entries = root.mapping(schema.CATALOG.names, schema.CATALOG.required)
    if not entries.keys() & {"datasets", "phases", "excluded"}:
        root.report("there is no data set here", "Describe one under 'datasets:', or name references in a phase.")
    described = (entries["datasets"].attempt(named, "data set") or {}) if "datasets" in entries else {}
    left_out = (entries["excluded"].attempt(named, "data set", empty=True) or {}) if "excluded" in entries else {}
    for name, value in left_out.items():
        if name in described:
            value.report(f"{name!r} is listed as a data set too, on line {described[name].line}", "Keep one of the two.")
    datasets = {name: entry for name, entry in base.datasets.items() if name not in left_out}
    datasets |= {name: value.attempt(_dataset, name) for name, value in described.items()}
    excluded = {name: entry for name, entry in base.excluded.items() if name not in described}
    excluded |= {name: value.attempt(_excluded, name) for name, value in left_out.items()}
    phases = root.attempt(parse_phases, base, datasets, excluded)
    mistakes.raise_all()
    return Catalog(datasets=datasets, phases=phases, excluded=excluded)


# --- data sets ---------------------------------------------------------------------------------------------------------


def _dataset(value: Value, name: str) -> DataSet:
    keys = value.mapping(schema.DATA_SET.names, schema.DATA_SET.required)
    title = keys["title"].attempt(line) if "title" in keys else name
    priority = keys["priority"].attempt(_priority) if "priority" in keys else PRIORITY
    own_layout = value.attempt(lambda _: layout(keys))
    items = keys["sources"].attempt(filled, "source") or ()
    sources = tuple(item.attempt(parse_source) for item in items)
    delivered = sorted({source.layout for source in sources if source is not None})
    # A source that could not be read may be the right one.
    if own_layout is not None and delivered and None not in sources and own_layout not in delivered:
        keys["sources"].report(
            f"no source delivers the data set's own layout {own_layout!r}",
            f"Add a source with 'layout: {own_layout}', or make 'layout' of the data set one of: {', '.join(delivered)}.",
        )
    page = keys["homepage"].attempt(page_url) if "homepage" in keys else _page_of(sources)
    return DataSet(
        id=name,
        title=title,
        homepage=page,
        description=value.attempt(lambda _: optional_line(keys, "description")),
        purpose=value.attempt(lambda _: optional_line(keys, "purpose")),
        priority=priority,
        license=keys["license"].attempt(_license, page) if "license" in keys else stated_license("NOASSERTION", page),
        sources=sources,
        unpacked_size=value.attempt(lambda _: optional_size(keys, "unpacked_size")),
        optional=keys["optional"].attempt(Value.boolean) if "optional" in keys else False,
        layout=own_layout,
        notes=keys["notes"].attempt(_lines) if "notes" in keys else (),
        parts=keys["parts"].attempt(_parts, sources) if "parts" in keys else {},
    )


def _parts(value: Value, sources: Sequence[Source | None]) -> dict[str, PartRule]:
    splits = {name for source in sources if source is not None for name in source.split_names}
    found: dict[str, PartRule] = {}
    for name, entry in value.mapping().items():
        if not re.fullmatch(PART_NAME, name):
            entry.report(f"{quoted(name)} cannot be the name of a part", "Use letters, digits, '.', '_' and '-', such as tiny.")
        elif name in splits:
            entry.report(f"{name!r} is a split of this data set", "Give the part another name.")
        else:
            rule: PartRule | None = entry.attempt(parse_part)
            found |= {name: rule.named(name)} if rule is not None else {}
    return found


def _priority(value: Value) -> int:
    return value.integer(schema.MIN_PRIORITY, schema.MAX_PRIORITY)


def _lines(value: Value) -> tuple[str, ...]:
    return tuple(item.attempt(line) for item in value.items())


def _page_of(sources: Sequence[Source | None]) -> str:
    """Return the page for users of the first source that has one; empty if none has."""
    return next((source.page for source in sources if source is not None and source.page), "")


def _license(value: Value, page: str) -> License:
    """Return the terms; what is not stated follows from the licence's identifier."""
    keys = value.mapping(schema.LICENSE.names, schema.LICENSE.required)
    spdx = keys["spdx"].attempt(word, schema.SPDX, "an SPDX identifier", _SPDX_HINT) if "spdx" in keys else "NOASSERTION"
    usual = stated_license(spdx or "NOASSERTION", page or "")
    marked = keys["commercial"].attempt(Value.choice, COMMERCIAL) if "commercial" in keys else usual.commercial
    return License(
        spdx=spdx,
        name=keys["name"].attempt(line) if "name" in keys else usual.name,
        url=keys["url"].attempt(page_url) if "url" in keys else usual.url,
        commercial=cast("Commercial", marked),
        evidence=keys["evidence"].attempt(line) if "evidence" in keys else usual.evidence,
        attribution=value.attempt(lambda _: optional_line(keys, "attribution")),
    )


def _excluded(value: Value, name: str) -> Excluded:
    keys = value.mapping(schema.EXCLUDED.names, schema.EXCLUDED.required)
    return Excluded(
        id=name,
        title=keys["title"].attempt(line),
        license=keys["license"].attempt(line),
        reason=keys["reason"].attempt(line),
    )
