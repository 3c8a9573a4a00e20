"""Parse a command line: what is ours, what is the app's, and the options of each command."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NoReturn

from provisioner._version import described_version
from provisioner.catalog.document import nearest
from provisioner.commands.arguments import add_common
from provisioner.commands.registry import COMMANDS
from provisioner.errors import (
    INTERNAL_ERROR_EXIT_CODE,
    ConfigurationError,
    InterruptedBySignal,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provisioner.commands.registry import Command
    from provisioner.errors import ProvisionerError

DEFAULT_COMMAND: Final = "provision"
HELP: Final = "help"
"""``help COMMAND`` means ``COMMAND --help``, as in other tools."""

_VALUED: Final = frozenset({"--phase", "--dataset", "--data-dir", "--cache-dir", "--config", "--catalog"})
"""Options that may precede the command and take the next word as their value."""

_DESCRIPTION: Final = "Fill a volume with the data sets that an application needs, before it starts."
_EPILOG: Final = """\
'provisioner help COMMAND', or 'provisioner COMMAND --help', explains a command. In a container, '--' or a first word that is
no command begins the app's command line: the volume is filled, then this process becomes the app.

"""
_HANGING: Final = re.compile(r" +(?:\S+  +)?")
"""The indentation of the continuation lines of an indented line: below its text, if a word precedes it as in a table."""
_SETTINGS_HEADING: Final = """

Settings (environment variables, each also as PROVISIONER_NAME; the command line comes first, then the environment, the
config file, the default):
"""


@dataclass(frozen=True, slots=True)
class Invocation:
    """A command line, separated into its parts."""

    command: str
    arguments: tuple[str, ...] = ()
    """Our words, without the command."""
    app: tuple[str, ...] = ()
    """The app's command line."""
    explicit: bool = field(default=True, compare=False)
    """Whether the command was written; if not, ``--help`` is about the whole program."""


class AnsweredError(SystemExit):
    """``--help`` or ``--version`` was requested; ``text`` is the text to print."""

    def __init__(self, text: str) -> None:
        super().__init__(0)
        self.text = text


class _Formatter(argparse.HelpFormatter):
    """Wraps descriptions to the width of the terminal, keeping their paragraphs and tables."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:  # noqa: ARG002 - nothing here is in a group
        import textwrap  # noqa: PLC0415 - for '--help' alone

        lines: list[str] = []
        for line in text.splitlines():
            if lines and line and lines[-1] and not line.startswith(" ") and not lines[-1].startswith(" "):
                lines[-1] += f" {line}"
            else:
                lines.append(line)
        broken = []
        for line in lines:
            found = _HANGING.match(line)
            hanging = " " * (found.end() if found else 0)
            wrapped = textwrap.wrap(line, width, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False)
            broken += wrapped or [""]
        return "\n".join(broken)


_ABOUT_ALL: Final = (" list", " status")
"""Ends of command lines that show all data sets."""


class Parser(argparse.ArgumentParser):
    """A parser that raises :class:`UsageError` instead of ending the process."""

    def __init__(self, prog: str, explain: Callable[[], tuple[str, str]], usage: str | None = None) -> None:
        super().__init__(prog, usage, formatter_class=_Formatter, allow_abbrev=False)
        self._explain = explain
        """Returns the texts before and after the options; called only for ``--help``."""

    def format_help(self) -> str:
        """Return the help."""
        self.description, self.epilog = self._explain()
        return super().format_help()

    def _print_message(self, message: str, file: object = None) -> NoReturn:  # noqa: ARG002 - as in the class above
        # argparse would ignore a failure to write it.
        raise AnsweredError(message)

    def error(self, message: str) -> NoReturn:
        """Raise the error that argparse found.

        Raises:
            UsageError: always.
        """
        raise self._usage_error(message[:1].upper() + message[1:])

    def _check_value(self, action: argparse.Action, value: object) -> None:
        """Raise an error with the known words and the nearest one, if ``value`` is not one of them."""
        known = tuple(map(str, action.choices or ()))
        if known and value not in known:
            option = f"{action.option_strings[-1]}: " if action.option_strings else ""
            guess = nearest(str(value), known)
            raise self._usage_error(
                f"{option}{value!r} is none of {', '.join(known)}", guess if guess.startswith("Did you mean") else ""
            )

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse ``arguments``, all of which must be known.

        Names may precede and follow options, as in ``repo create one --private two``.

        Raises:
            UsageError: the arguments are not valid; the hint names the option that was probably meant.
            AnsweredError: ``--help`` or ``--version`` was requested.
        """
        takes_names = any(not action.option_strings for action in self._actions)
        parse = self.parse_known_intermixed_args if takes_names else self.parse_known_args
        options, unknown = parse(list(arguments))
        if unknown:
            flag = next((word.partition("=")[0] for word in unknown if word.startswith("-")), "")
            guess = self._nearest_option(flag) if flag else self._as_data_set(unknown[0])
            raise self._usage_error(f"Unrecognized arguments: {' '.join(unknown)}", guess)
        return options

    def _nearest_option(self, flag: str) -> str:
        guess = nearest(flag, [name for name in self._option_string_actions if name.startswith("--")]) if flag else ""
        return guess if guess.startswith("Did you mean") else ""

    def _as_data_set(self, word: str) -> str:
        """Return a hint for a data set that is named where none is allowed."""
        if "--dataset" in self._option_string_actions:
            return f"To name a data set, write '--dataset {word}'."
        return f"One data set is shown by 'info {word}'." if self.prog.endswith(_ABOUT_ALL) else ""

    def _usage_error(self, message: str, guess: str = "") -> UsageError:
        return UsageError(message, hint=f"{guess} See '{self.prog} --help'.".lstrip())


def take_apart(arguments: Sequence[str]) -> Invocation:
    """Separate our words from the app's command line, and find the command.

    A word that begins with ``-`` is ours. The first other word is one of our commands, or else begins the app's command line;
    ``--`` begins it in any case.

    Raises:
        UsageError: an app follows a command that starts none, or is missing after ``--``.
    """
    ours: list[str] = []
    rest = list(arguments)
    command = ""
    while rest:
        word = rest.pop(0)
        if word == "--":
            break
        if word.startswith("-") or command:
            ours.append(word)
            if word in _VALUED:
                ours += [rest.pop(0)] if rest else []
        elif word == HELP:
            return _help(ours, rest)
        elif word in COMMANDS:
            command = word
        else:
            rest.insert(0, word)
            break
    else:
        return Invocation(command or DEFAULT_COMMAND, tuple(ours), explicit=bool(command))
    if command not in {"", DEFAULT_COMMAND}:
        raise UsageError(f"'{command}' starts no app: {' '.join(rest)!r} is not understood", hint="Leave out what follows '--'.")
    if not rest:
        raise UsageError("there is no app's command line after '--'", hint="Give it, or leave out the '--'.")
    return Invocation(DEFAULT_COMMAND, tuple(ours), tuple(rest), explicit=bool(command))


def _help(ours: Sequence[str], words: Sequence[str]) -> Invocation:
    """Return the command line that ``help [COMMAND]`` stands for.

    Raises:
        UsageError: there is no such command.
    """
    names = [word for word in words if not word.startswith("-") and word != HELP]
    if not names:
        return Invocation(DEFAULT_COMMAND, (*ours, "--help"), explicit=False)
    if names[0] not in COMMANDS:
        raise UsageError(f"there is no command {names[0]!r}", hint=nearest(names[0], COMMANDS))
    return Invocation(names[0], (*ours, "--help"))


def parse_options(invocation: Invocation) -> argparse.Namespace:
    """Parse our part of the command line.

    Returns:
        The common options, those of the command, and ``command``: the name of the command to run.

    Raises:
        UsageError: it is not valid.
        AnsweredError: ``--help`` or ``--version`` was requested.
    """
    options = parser_of(COMMANDS[invocation.command], explicit=invocation.explicit).read(invocation.arguments)
    if options.command == DEFAULT_COMMAND and options.dry_run:
        options.command = "plan"
    return options


def parser_of(command: Command, *, explicit: bool = True) -> Parser:
    """Return the parser of a command; if not ``explicit``, that of the program, with the options of its default command."""
    parser = _command_parser(command) if explicit else _program_parser()
    add_common(parser)
    command.load().add_arguments(parser)
    parser.set_defaults(command=command.name)
    if command.name == DEFAULT_COMMAND:
        _add_older_flags(parser)
    return parser


def _program_parser() -> Parser:
    return Parser("provisioner", _explain_program, usage="provisioner [COMMAND] [OPTIONS] [-- APP ...]")


def _explain_program() -> tuple[str, str]:
    from provisioner.settings.help import help_text  # noqa: PLC0415 - for '--help' alone

    width = max(map(len, COMMANDS))
    commands = "".join(f"\n  {command.name:<{width}}  {command.summary}" for command in COMMANDS.values())
    return (
        f"{_DESCRIPTION}\n\nCommands:{commands}",
        f"{_EPILOG}{_exit_codes(list(COMMANDS.values()))}{_SETTINGS_HEADING}{help_text()}",
    )


def _command_parser(command: Command) -> Parser:
    """Return the parser of one command; the others are not created, so that a start with nothing to do stays fast."""
    return Parser(f"provisioner {command.name}", lambda: (command.load().DESCRIPTION, _exit_codes([command])))


def _add_older_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags by which the older tool chose a command."""
    parser.add_argument("--list", action="store_const", dest="command", const="list", help="the same as the command 'list'")
    parser.add_argument("--status", action="store_const", dest="command", const="status", help="the same as the command 'status'")
    parser.set_defaults(check=False)
    words = "print the version, with its commit and build where they are known"
    parser.add_argument("--version", action="version", version=described_version(), help=words)


def exit_codes(commands: Sequence[Command]) -> list[tuple[str, str]]:
    """Return the exit codes of some commands, in order, with their meanings; for a single command, its own meanings."""
    only = commands[0] if len(commands) == 1 else None
    errors: set[type[ProvisionerError]] = {UsageError, ConfigurationError}
    errors.update(error for command in commands for error in command.errors)
    meanings = only.meanings if only else {}
    rows = [("0", only.success if only else "done")]
    rows.append((str(INTERNAL_ERROR_EXIT_CODE), "a bug of the provisioner, the only case with a traceback"))
    rows += [(str(error.exit_code), meanings.get(error, error.meaning).replace("`", "")) for error in errors]
    rows.sort(key=lambda row: int(row[0]))
    return [*rows, (f"{InterruptedBySignal.exit_code}+N", InterruptedBySignal.meaning)]


def _exit_codes(commands: Sequence[Command]) -> str:
    """Return the table of exit codes for ``--help``."""
    return "\n".join(["Exit codes:", *(f"  {code:>5}  {meaning}" for code, meaning in exit_codes(commands))])
