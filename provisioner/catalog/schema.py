"""The catalog's form: one table of keys, read by the parser and turned into a JSON Schema for editors.

The tables below say which keys stand where, which of them must be there, and how their values look. The parser takes
names and patterns from here, so that what an editor accepts and what the program accepts cannot drift apart. What one
value alone cannot show (an unknown id in a phase, a cycle, two files on one path) is the parser's business only.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from provisioner.catalog.model import COMMERCIAL, DIGEST_LENGTHS, UNPACK_FORMATS

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION: Final = 1
"""The version of the format that this program reads."""
MAX_SIZE: Final = 2**63 - 1
"""Bytes; what a file system can count."""
MIN_PRIORITY: Final = 1
MAX_PRIORITY: Final = 5
URL_SCHEMES: Final = ("http", "https", "file")
SOURCE_KINDS: Final = ("hub", "url")
RESERVED_PHASE: Final = "auto"
"""A phase cannot have this name: ``PHASE=auto`` means the largest one that fits."""

ID: Final = r"[a-z0-9][a-z0-9_-]{0,63}"
"""Ids of data sets, phases and layouts: they become names of directories and variables."""
SPLIT: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
"""Names of splits: neither ``,`` nor ``:``, so that ``DATASETS=nsynth:test,urmp`` can be taken apart."""
REPO: Final = r"(?!.*(--|\.\.))(?!.*(\.git|[.-])$)(?=.{3,96}$)[A-Za-z0-9_][A-Za-z0-9._-]*/[A-Za-z0-9_][A-Za-z0-9._-]*"
"""``owner/name``, by the Hub's own rules."""
REVISION: Final = r"(?!.*(\.\.|//))(?!.*[./]$)[A-Za-z0-9_][A-Za-z0-9._/-]*"
"""A branch, a tag, a commit, or a reference such as ``refs/convert/parquet``."""
SPDX: Final = r"[A-Za-z0-9.+-]+( (AND|OR|WITH) [A-Za-z0-9.+-]+)*"
DIGEST: Final = "none|" + "|".join(f"{name}:[0-9a-fA-F]{{{length}}}" for name, length in DIGEST_LENGTHS.items())
RELATIVE: Final = r"(?!/)(?!(.*/)?\.{1,2}(/|$))(?!.*//)(?!.*/$)[^\\\x00-\x1f\x7f]+"
"""A relative path with POSIX separators and no ``.``, ``..`` or empty part."""
GLOB: Final = r"(?!/)(?!(.*/)?\.\.(/|$))[^\\\x00-\x1f\x7f]+"
"""A relative pattern for paths: ``*``, ``?`` and ``[…]``, where ``*`` also matches ``/``."""
URL: Final = r"(https?://[^\s/@\\]+/|file:///)[!-~]+"
"""The address of a file: without a user or password, with a path."""
PAGE: Final = r"https?://[^\s/@\\]+(/[!-~]*)?"
"""The address of a page for people."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a mapping."""

    name: str
    form: Mapping[str, Any]
    """The JSON Schema of its value."""
    doc: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """The keys of one kind of mapping."""

    doc: str
    keys: tuple[Key, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All keys that may stand there."""
        return tuple(key.name for key in self.keys)

    @property
    def required(self) -> tuple[str, ...]:
        """The keys that must stand there."""
        return tuple(key.name for key in self.keys if key.required)

    def form(self) -> dict[str, Any]:
        """Return the JSON Schema of the mapping."""
        return {
            "description": self.doc,
            "type": "object",
            "properties": {key.name: {**key.form, "description": key.doc} for key in self.keys},
            "required": list(self.required),
            "additionalProperties": False,
        }


def _pattern(expression: str) -> dict[str, Any]:
    return {"type": "string", "pattern": f"^(?:{expression})$"}


def _list(form: Mapping[str, Any], *, least: int = 0) -> dict[str, Any]:
    return {"type": "array", "items": dict(form), **({"minItems": least} if least else {})}


def _map(key: str, form: Mapping[str, Any], *, least: int = 0) -> dict[str, Any]:
    return {
        "type": "object",
        "propertyNames": {"pattern": f"^(?:{key})$"},
        "additionalProperties": dict(form),
        **({"minProperties": least} if least else {}),
    }


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{name}"}


_TEXT: Final = {"type": "string"}
_FULL_TEXT: Final = {"type": "string", "pattern": r"\S"}
_TRUTH: Final = {"type": "boolean"}
_BYTES: Final = {"type": "integer", "minimum": 0, "maximum": MAX_SIZE}
_FORMAT: Final = {"enum": list(UNPACK_FORMATS)}

SIZE: Final = Table(
    "A number of bytes that may be an estimate.",
    (
        Key("value", _BYTES, "Bytes.", required=True),
        Key("estimate", _TRUTH, "true: nobody published the exact number."),
    ),
)

LICENSE: Final = Table(
    "The terms, and why we believe them.",
    (
        Key(
            "spdx", _pattern(SPDX), "SPDX identifier, LicenseRef-… for others, NOASSERTION where it is not known.", required=True
        ),
        Key("name", _FULL_TEXT, "The licence in words.", required=True),
        Key("url", _pattern(PAGE), "Where its text is.", required=True),
        Key(
            "commercial",
            {"enum": list(COMMERCIAL)},
            "May the data be used commercially? mixed: some of them; verify: sources disagree, ask a lawyer.",
            required=True,
        ),
        Key("evidence", _FULL_TEXT, "What the verdict rests on.", required=True),
        Key("attribution", _TEXT, "Whom to name and cite; empty where nobody asks for it.", required=True),
    ),
)

URL_FILE: Final = Table(
    "One file behind a direct URL.",
    (
        Key("url", _pattern(URL), "http, https or file; its last part is the file's name.", required=True),
        Key("mirrors", _list(_pattern(URL)), "The same bytes elsewhere, tried in this order."),
        Key("size", _ref("size"), "Bytes on the wire."),
        Key("digest", _pattern(DIGEST), "sha256:…, sha1:…, md5:…, or none: it is then shown as unverified.", required=True),
        Key("unpack", _FORMAT, "How to unpack it; none: it is taken as it is."),
        Key("into", {"type": "string", "pattern": f"^(?:{RELATIVE})?$"}, "Sub-folder of the data set; empty: its root."),
        Key("split", _pattern(SPLIT), "The split it belongs to; a file without one belongs to every split."),
        Key("unpacked_size", _ref("size"), "Bytes after unpacking."),
    ),
)

URL_SOURCE: Final = Table(
    "Direct URLs.",
    (
        Key("kind", {"const": "url"}, "What kind of source this is.", required=True),
        Key("layout", _pattern(ID), "The layout it delivers; raw where nothing is said."),
        Key("files", _list(_ref("url_file"), least=1), "Its files.", required=True),
    ),
)

HUB_SOURCE: Final = Table(
    "A data-set repository on the Hub.",
    (
        Key("kind", {"const": "hub"}, "What kind of source this is.", required=True),
        Key("layout", _pattern(ID), "The layout it delivers; raw where nothing is said."),
        Key("repo", _pattern(REPO), "owner/name of a data-set repository.", required=True),
        Key("revision", _pattern(REVISION), "Branch, tag or commit; main where nothing is said."),
        Key("include", _list(_pattern(GLOB), least=1), "Globs of the files to take; every file where nothing is said."),
        Key("exclude", _list(_pattern(GLOB)), "Globs of the files to leave out."),
        Key("unpack", _map(GLOB, _FORMAT), "Glob to format; the first that matches counts."),
        Key("splits", _map(GLOB, _pattern(SPLIT)), "Glob to split; the first that matches counts, none: every split."),
        Key("digests", _map(RELATIVE, _pattern(DIGEST.removeprefix("none|"))), "Path to the publisher's own digest."),
        Key("size", _ref("size"), "Bytes on the wire of all chosen files."),
    ),
)

DATA_SET: Final = Table(
    "One data set: what it is, what it may be used for, where its bytes are.",
    (
        Key("title", _FULL_TEXT, "Its name for people.", required=True),
        Key("homepage", _pattern(PAGE), "Where its publisher describes it.", required=True),
        Key("description", _TEXT, "What is in it."),
        Key("purpose", _TEXT, "What it is good for."),
        Key(
            "priority",
            {"type": "integer", "minimum": MIN_PRIORITY, "maximum": MAX_PRIORITY},
            "1 to 5: higher is fetched first and given up last.",
            required=True,
        ),
        Key("unpacked_size", _ref("size"), "Bytes of the whole tree of its own layout."),
        Key("optional", _TRUTH, "true: its failure makes the run partial, not failed."),
        Key("layout", _pattern(ID), "The layout that a phase takes; raw where nothing is said."),
        Key("license", _ref("license"), "The terms.", required=True),
        Key("notes", _list(_FULL_TEXT), "What a user of the data should know, one sentence each."),
        Key("sources", _list(_ref("source"), least=1), "Where its bytes are, in the order of trying.", required=True),
    ),
)

PHASE: Final = Table(
    "A named set of data sets.",
    (
        Key("description", _TEXT, "What it is for."),
        Key("extends", _pattern(ID), "A phase whose data sets come first."),
        Key("datasets", _list(_pattern(ID)), "Ids of the data sets that it adds.", required=True),
    ),
)

EXCLUDED: Final = Table(
    "A data set that was looked at and left out.",
    (
        Key("title", _FULL_TEXT, "Its name for people.", required=True),
        Key("license", _FULL_TEXT, "Its licence.", required=True),
        Key("reason", _FULL_TEXT, "Why it is left out.", required=True),
    ),
)

CATALOG: Final = Table(
    "Data sets, the phases that name them, and what was left out.",
    (
        Key("version", {"const": VERSION}, "The version of this format.", required=True),
        Key("datasets", _map(ID, _ref("dataset"), least=1), "The data sets by id.", required=True),
        Key(
            "phases",
            _map(f"(?!{RESERVED_PHASE}$){ID}", _ref("phase"), least=1),
            "The phases by name.",
            required=True,
        ),
        Key("excluded", _map(ID, _ref("excluded")), "What was left out, by id."),
    ),
)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of ``catalog.yaml``."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Catalog of data sets",
        **CATALOG.form(),
        "$defs": {
            "size": {"anyOf": [_BYTES, SIZE.form()]},
            "license": LICENSE.form(),
            "url_file": URL_FILE.form(),
            "source": {"oneOf": [HUB_SOURCE.form(), URL_SOURCE.form()]},
            "dataset": DATA_SET.form(),
            "phase": PHASE.form(),
            "excluded": EXCLUDED.form(),
        },
    }


def schema_text() -> str:
    """Return the schema as the text of ``config/schema/catalog.schema.json``."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
