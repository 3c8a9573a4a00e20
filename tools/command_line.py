"""The program's command line as data, for the completion scripts and the man page."""

from __future__ import annotations

import argparse
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from provisioner.catalog.parse import parse_catalog
from provisioner.cli.parser import DEFAULT_COMMAND, parser_of
from provisioner.commands.registry import COMMANDS
from tools.generated import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioner.catalog.model import Catalog

Kind = Literal["", "any", "directory", "file", "words"]
"""The kind of value that an option or an argument takes: none, free text, a path, or one of a list of words."""

_KINDS: Final[dict[str, Kind]] = {"DIR": "directory", "FILE": "file"}


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a command; without flags, a positional argument."""

    flags: tuple[str, ...]
    help: str
    metavar: str = ""
    kind: Kind = ""
    words: tuple[str, ...] = ()
    """The possible values; ids are those of the shipped catalog."""
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class CommandLine:
    """The program, or one of its commands."""

    name: str
    summary: str
    description: str
    options: tuple[Option, ...]
    arguments: tuple[Option, ...]


def program() -> CommandLine:
    """Return the program's own options: those of its default command, and those that are aliases of other commands."""
    return _described(COMMANDS[DEFAULT_COMMAND].name, explicit=False)


def commands() -> list[CommandLine]:
    """Return all commands, in the order of ``--help``."""
    return [_described(name, explicit=True) for name in COMMANDS]


def _described(name: str, *, explicit: bool) -> CommandLine:
    command = COMMANDS[name]
    actions = parser_of(command, explicit=explicit)._actions  # noqa: SLF001 - argparse has no public way to list them
    described = [_option(action) for action in actions if action.help != argparse.SUPPRESS]
    options = tuple(option for option in described if option.flags)
    arguments = tuple(option for option in described if not option.flags)
    return CommandLine(name, command.summary, command.load().DESCRIPTION, options, arguments)


def _option(action: argparse.Action) -> Option:
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    words = tuple(map(str, action.choices or ())) or _words_of(metavar)
    takes_value = action.nargs != 0
    kind: Kind = "" if not takes_value else "words" if words else _KINDS.get(metavar, "any")
    if action.choices and not metavar:
        metavar = "|".join(words)
    return Option(
        tuple(action.option_strings),
        action.help or "",
        metavar,
        kind,
        words,
        repeated=action.nargs in {"*", "+"} or isinstance(action.default, list),
    )


def _words_of(metavar: str) -> tuple[str, ...]:
    """Return the possible values of a metavariable in ``--help``: phases and ids of the shipped catalog."""
    catalog = _shipped_catalog()
    if metavar == "PHASE":
        return (*catalog.phases, "auto")
    return tuple(catalog.datasets) if metavar.startswith("ID") and "|" in metavar else ()


@functools.cache
def _shipped_catalog() -> Catalog:
    return parse_catalog((ROOT / "config" / "catalog.yaml").read_text("utf-8"), "catalog.yaml")


def flags_with_value(lines: Sequence[CommandLine]) -> list[str]:
    """Return the options of some command lines that take a value, without duplicates."""
    return sorted({flag for line in lines for option in line.options if option.kind for flag in option.flags})
