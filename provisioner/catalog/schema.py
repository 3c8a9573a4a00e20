"""The form of a catalog: the tables of its keys, and the JSON Schema that is generated from them for editors.

Only the parser checks what a single value cannot show: an unknown id in a phase, a cycle, two files at the same path.
"""

from __future__ import annotations

import json
from typing import Any, Final

from provisioner.catalog.keys import (
    BYTES,
    FULL_TEXT,
    ID,
    PAGE,
    REFERENCE,
    SIZE,
    TEXT,
    TRUTH,
    Key,
    Table,
    list_of,
    map_of,
    pattern,
    ref,
)
from provisioner.catalog.model import COMMERCIAL
from provisioner.catalog.source_kinds import SOURCE_KINDS
from provisioner.catalog.written_parts import PART, PART_NAME

VERSION: Final = 1
"""The version of the format that this program reads."""
MIN_PRIORITY: Final = 1
MAX_PRIORITY: Final = 5
RESERVED_PHASE: Final = "auto"
"""A phase cannot have this name: ``PHASE=auto`` means the largest one that fits."""
SPDX: Final = r"[A-Za-z0-9.+-]+( (AND|OR|WITH) [A-Za-z0-9.+-]+)*"

LICENSE: Final = Table(
    "The terms, and the evidence for them.",
    (
        Key("spdx", pattern(SPDX), "SPDX identifier, LicenseRef-… for others; by default NOASSERTION: it is not known."),
        Key("name", FULL_TEXT, "The licence in words; by default its identifier."),
        Key("url", pattern(PAGE), "URL of the licence's text; by default that of SPDX, or the homepage."),
        Key(
            "commercial",
            {"enum": list(COMMERCIAL)},
            "May the data be used commercially? mixed: some of them; verify: sources disagree, ask a lawyer. By default what a"
            " well-known identifier says, verify for any other.",
        ),
        Key("evidence", FULL_TEXT, "The evidence for whether commercial use is allowed."),
        Key("attribution", TEXT, "Whom to name and cite; empty if the licence does not ask for it."),
    ),
)

DATA_SET: Final = Table(
    "One data set: what it is, what it may be used for, where its bytes are.",
    (
        Key("title", FULL_TEXT, "Its title; by default its id."),
        Key("homepage", pattern(PAGE), "Where its publisher describes it; by default the page of its first source."),
        Key("description", TEXT, "What is in it."),
        Key("purpose", TEXT, "What it is used for."),
        Key(
            "priority",
            {"type": "integer", "minimum": MIN_PRIORITY, "maximum": MAX_PRIORITY},
            "1 to 5: higher is fetched first and left out last; by default 3.",
        ),
        Key("unpacked_size", ref("size"), "Bytes of the whole tree in its default layout."),
        Key("optional", TRUTH, "true: its failure makes the run partial, not failed."),
        Key("layout", pattern(ID), "The layout that a phase takes; by default raw."),
        Key("license", ref("license"), "The terms; by default they are not known."),
        Key("parts", map_of(PART_NAME, ref("part")), "Parts by rule that can be asked for as ID:PART, by name."),
        Key("notes", list_of(FULL_TEXT), "What a user of the data should know, one sentence each."),
        Key(
            "sources",
            list_of(ref("source"), least=1),
            "Where its bytes are, in the order in which they are tried.",
            required=True,
        ),
    ),
)

PHASE: Final = Table(
    "A named set of data sets.",
    (
        Key("description", TEXT, "What it is for."),
        Key("extends", pattern(ID), "A phase whose data sets come first."),
        Key("datasets", list_of(pattern(f"{ID}|{REFERENCE}")), "Ids or references that it adds.", required=True),
    ),
)

EXCLUDED: Final = Table(
    "A data set that the catalog excludes on purpose.",
    (
        Key("title", FULL_TEXT, "Its title.", required=True),
        Key("license", FULL_TEXT, "Its licence.", required=True),
        Key("reason", FULL_TEXT, "Why it is excluded.", required=True),
    ),
)

CATALOG: Final = Table(
    "Data sets, the phases that name them, and excluded data sets.",
    (
        Key("version", {"const": VERSION}, "The version of this format.", required=True),
        Key("datasets", map_of(ID, ref("dataset"), least=1), "The data sets by id."),
        Key(
            "phases",
            map_of(f"(?!{RESERVED_PHASE}$){ID}", ref("phase"), least=1),
            "The phases by name; the first one is the default if none is called minimal. By default one: all data sets.",
        ),
        Key("excluded", map_of(ID, ref("excluded")), "Excluded data sets, by id."),
    ),
)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of ``catalog.yaml``."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Catalog of data sets",
        **CATALOG.form(),
        "$defs": {
            "size": {"anyOf": [BYTES, SIZE.form()]},
            "license": LICENSE.form(),
            **{name: table.form() for kind in SOURCE_KINDS.values() for name, table in kind.definitions.items()},
            "source": {"oneOf": [kind.table.form() for kind in SOURCE_KINDS.values()]},
            "part": PART.form(),
            "dataset": DATA_SET.form(),
            "phase": PHASE.form(),
            "excluded": EXCLUDED.form(),
        },
    }


def schema_text() -> str:
    """Return the schema as the text of ``config/schema/catalog.schema.json``."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
