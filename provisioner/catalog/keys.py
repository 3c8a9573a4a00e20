"""Tables of keys: which keys a mapping in the catalog may have, and the form of their values.

The parser takes names and patterns from such tables, and the JSON Schema for editors is generated from them, so that an
editor and the program accept the same. This module has the building blocks for all tables; the tables of the document are in
:mod:`.schema`, those of a source in the module of its kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from provisioner.catalog.artifact import UNPACK_FORMATS
from provisioner.catalog.digest import DIGEST_LENGTHS

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_SIZE: Final = 2**63 - 1
"""Bytes: the largest number that a file system can count."""
URL_SCHEMES: Final = ("http", "https", "file")

ID: Final = r"[a-z0-9][a-z0-9_-]{0,63}"
"""Ids of data sets, phases and layouts, which become names of directories and variables."""
SPLIT: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
"""Names of splits, without ``,`` and ``:``, which separate them in ``DATASETS=nsynth:test,urmp``."""
DIGEST: Final = "|".join(f"{name}:[0-9a-fA-F]{{{length}}}" for name, length in DIGEST_LENGTHS.items())
RELATIVE: Final = r"(?!/)(?!(.*/)?\.{1,2}(/|$))(?!.*//)(?!.*/$)[^\\\x00-\x1f\x7f]+"
"""A relative path with POSIX separators and no ``.``, ``..`` or empty part."""
NAME: Final = r"(?!\.{1,2}$)[^/\\\x00-\x1f\x7f]{1,255}"
"""The name of a file."""
GLOB: Final = r"(?!/)(?!(.*/)?\.\.(/|$))[^\\\x00-\x1f\x7f]+"
"""A relative pattern for paths: ``*``, ``?`` and ``[…]``, where ``*`` also matches ``/``."""
URL: Final = r"(https?://([^\s/@\\]+@)?[^\s/@\\]+/|file:///)[!-~]+"
"""URL of a file, with a path."""
PAGE: Final = r"https?://[^\s/@\\]+(/[!-~]*)?"
"""URL of a page for people."""

REFERENCE: Final = r"(hf|https?|file)://[!-~]+"
"""A reference in place of an id; see :mod:`provisioner.catalog.references`."""


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
        """All keys that the mapping may have."""
        return tuple(key.name for key in self.keys)

    @property
    def required(self) -> tuple[str, ...]:
        """The keys that the mapping must have."""
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


def pattern(expression: str) -> dict[str, Any]:
    """Return the JSON Schema of text that matches ``expression`` as a whole."""
    return {"type": "string", "pattern": f"^(?:{expression})$"}


def list_of(form: Mapping[str, Any], *, least: int = 0) -> dict[str, Any]:
    """Return the JSON Schema of a list with at least ``least`` values of one form."""
    return {"type": "array", "items": dict(form), **({"minItems": least} if least else {})}


def map_of(key: str, form: Mapping[str, Any], *, least: int = 0) -> dict[str, Any]:
    """Return the JSON Schema of a mapping whose keys match the pattern ``key`` and whose values have one form."""
    return {
        "type": "object",
        "propertyNames": {"pattern": f"^(?:{key})$"},
        "additionalProperties": dict(form),
        **({"minProperties": least} if least else {}),
    }


def ref(name: str) -> dict[str, Any]:
    """Return the JSON Schema that refers to the definition ``name``."""
    return {"$ref": f"#/$defs/{name}"}


TEXT: Final = {"type": "string"}
FULL_TEXT: Final = {"type": "string", "pattern": r"\S"}
TRUTH: Final = {"type": "boolean"}
BYTES: Final = {"type": "integer", "minimum": 0, "maximum": MAX_SIZE}
FORMAT: Final = {"enum": list(UNPACK_FORMATS)}

SIZE: Final = Table(
    "A number of bytes that may be an estimate.",
    (
        Key("value", BYTES, "Bytes.", required=True),
        Key("estimate", TRUTH, "true: nobody has published the exact number."),
    ),
)
LAYOUT: Final = Key("layout", pattern(ID), "The layout it delivers; by default raw.")
"""The key that sources of every kind have."""
