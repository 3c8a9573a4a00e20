"""The common part of all forms of references: the value that they are parsed into, their options, and errors about them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn
from urllib.parse import unquote

from provisioner.catalog.digest import DIGEST_LENGTHS
from provisioner.catalog.document import Value, nearest, quoted
from provisioner.catalog.reference_hints import meant_option
from provisioner.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioner.catalog.parts import PartRule
    from provisioner.catalog.source import Source

NAME_PATTERN: Final = r"(?!.*\.\.)(?!.*\.(?:/|$))[A-Za-z0-9_][A-Za-z0-9._-]{0,95}(?:/[A-Za-z0-9_][A-Za-z0-9._-]{0,95}){0,2}"
"""Matches where a reference may be published below ``datasets/``."""
PART_OPTIONS: Final = ("bytes", "limit", "seed", "where")
"""Options that choose examples; see :mod:`provisioner.catalog.written_parts`."""
HUB_OPTIONS: Final = ("exclude", "include", "name", *PART_OPTIONS)
FILE_OPTIONS: Final = (*DIGEST_LENGTHS, "into", "name", "unpack", *PART_OPTIONS)


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed reference, as a source for a catalog entry."""

    text: str
    """The reference in its usual form, without secrets, as people see it. Equal texts mean equal recipes."""
    key: str
    """Identifies what it names, regardless of revision, files of the repository, and digest."""
    names: tuple[str, ...]
    """Names under which it may be published below ``datasets/``, the preferred one first."""
    source: Source
    homepage: str
    """Its page for users; empty if it is on the Hub, whose address is not known here."""
    is_model: bool = False
    is_proven: bool = False
    """Whether its bytes are verified by a digest."""
    parts: tuple[str, ...] = ()
    """Names of parts of the repository; empty means all of it."""
    rule: PartRule | None = None
    """Which examples are taken; ``None`` means all."""


@dataclass(frozen=True, slots=True)
class WrittenReference(Value):
    """A reference, or a value in it: errors about it name the reference in place of a line of a file."""

    def of(self, data: object) -> WrittenReference:
        """Return another value in the same reference."""
        return WrittenReference(data, self.file, 0, "")

    def fail(self, problem: str, hint: str = "") -> NoReturn:
        """Raise an error about this reference.

        Raises:
            ConfigurationError: always.
        """
        raise ConfigurationError(f"{self.file}: {problem}", hint=hint)


def options_of(part: WrittenReference, fragment: str, known: Sequence[str]) -> dict[str, list[str]]:
    """Return the options after ``#``, each with its values."""
    found: dict[str, list[str]] = {}
    for item in filter(None, fragment.split("&")):
        key, equals, value = item.partition("=")
        if not equals:
            part.fail(f"{quoted(item)} behind the '#' is no option", meant_option(item, known))
        if key in {*HUB_OPTIONS, *FILE_OPTIONS} - {*known}:
            what = "files; of a repository the Hub's listing says it" if key in FILE_OPTIONS else "repositories, not for one file"
            part.fail(f"the option {key!r} is for {what}", f"Options here: {', '.join(known)}.")
        if key not in known:
            part.fail(f"there is no option {quoted(key)}", nearest(key, known))
        if key in found and key not in {"include", "exclude"}:
            part.fail(f"the option {key!r} stands there twice", "Keep one of them.")
        text = unquote(value)
        if not text.isprintable():
            part.fail(f"the option {key!r} has a character that cannot be printed", "Write plain text.")
        found.setdefault(key, []).append(text)
    return found


def stated_name(part: WrittenReference, options: Mapping[str, Sequence[str]]) -> str:
    """Return the name that the user gives; empty if none."""
    name = options["name"][0] if "name" in options else ""
    if "name" in options and not re.fullmatch(NAME_PATTERN, name):
        part.fail(
            f"{quoted(name)} cannot be the name of a directory below datasets/",
            "Use letters, digits, '.', '_' and '-', and '/' between two parts, such as name=speech or name=acme/speech.",
        )
    return name
