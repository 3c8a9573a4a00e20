"""``init``: ask on a terminal for what a first run needs, and write it to ``.env`` for Compose.

Nothing is created or written before the answers have been confirmed.
"""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Final

from provisioner.commands.arguments import path_text
from provisioner.commands.env_file import check_writable, merged, read_env_file, with_earlier_answers, write_private
from provisioner.commands.questions.account import ask_account
from provisioner.commands.questions.data import ask_data
from provisioner.commands.questions.repository import RepositoryAnswer, ask_repository, create_repository
from provisioner.commands.questions.terminal import Terminal
from provisioner.commands.result import CommandResult
from provisioner.errors import ConfigurationError, UsageError
from provisioner.settings import parsers
from provisioner.settings.written import unwrapped

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping
    from pathlib import Path

    from provisioner.commands.request import CommandRequest
    from provisioner.remote.hub.repository.values import RepositoryOutcome

DESCRIPTION: Final = """\
Ask on a terminal for what a first run needs (token, repository, phase, licences) and show the answers. After a
confirmation, create the repository and write the answers to .env for Compose. Without a confirmation nothing is
created or written."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--env-file", type=path_text, metavar="FILE", default=".env", help="the file to write (default: .env)")


def run(request: CommandRequest) -> CommandResult:
    """Ask, show the answers, create the repository, write the file.

    Raises:
        UsageError: there is no terminal to ask on, or the answers were not confirmed.
        ConfigurationError: the file cannot be read or written.
    """
    settings, catalog, file = request.settings, request.described_catalog(), _named(request.options.env_file)
    if sys.stdin is None or not sys.stdin.isatty() or not sys.stderr.isatty():
        raise UsageError(
            "'init' asks questions, and there is no terminal to ask on; nothing was written",
            hint="Set HF_TOKEN (or HF_TOKEN_FILE), DATASET_REPO, DATASET_REPO_ORG, DATASET_REPO_PRIVATE, PHASE and"
            f" ACCEPT_LICENSES in the environment or in {file}; 'repo create' makes the repository.",
        )
    check_writable(file)
    terminal = Terminal(request.redactor)
    existing = read_env_file(file)
    terminal.say("Enter keeps what is in [brackets]. Ctrl-C leaves; nothing is created or written before the end.")
    if existing is not None:
        terminal.say(f"{file} is there already: what is answered here is replaced in it, other lines stay.")
        settings = with_earlier_answers(settings, existing, file, request.redactor)
    account = ask_account(terminal, settings, request.cancellation)
    repository = ask_repository(terminal, account)
    data = ask_data(terminal, settings, catalog, request.session().store.reader.inventory())
    _confirm(terminal, file, repository, data)
    repository = create_repository(terminal, account, repository)
    values = {**repository.variables, **data}
    if account.token is not None:
        values["HF_TOKEN"] = account.token.reveal()
    write_private(file, merged(existing or b"", values))
    return _result(file, values, repository.outcome)


def _named(text: str) -> Path:
    """Return the path of the option ``--env-file``.

    Raises:
        ConfigurationError: it is not a valid path.
    """
    try:
        return parsers.path(unwrapped(text))
    except parsers.BadTextError as error:
        raise ConfigurationError(f"--env-file: {error.problem}", hint=error.hint) from None


def _confirm(terminal: Terminal, file: Path, repository: RepositoryAnswer, data: Mapping[str, str]) -> None:
    """Show what will be done, and ask whether to do it.

    Raises:
        UsageError: the user declined.
    """
    if repository.wanted is not None:
        kind = "private" if repository.wanted.private else "public"
        made = f"the {kind} data-set repository {repository.place} is created, if it does not exist, and "
    else:
        made = ""
    terminal.say(f"Now {made}{file} is written, with {', '.join(f'{name}={value}' for name, value in data.items())}.")
    if not terminal.confirm("Go ahead?", default=True):
        raise UsageError("the answers were not confirmed: nothing was created or written", hint="Run 'init' again.")


def _result(file: Path, values: Mapping[str, str], outcome: RepositoryOutcome | None) -> CommandResult:
    load = f"set -a; . {_in_shell(file)}; set +a"
    compose = "docker compose up --build"
    if file.name != ".env":
        compose = f"docker compose --env-file {_in_shell(file)} up --build"
    following = [compose, f"{load}; make provision PHASE={values['PHASE']}"]
    document = {
        "file": str(file),
        "set": sorted(values),
        "repository": outcome.as_record() if outcome else None,
        "next": following,
    }
    text = (
        f"{file} is written, readable by you alone: {', '.join(sorted(values))}.\n"
        f"Next, with Compose:        {following[0]}\n"
        f"or without, in a checkout: {following[1]}"
    )
    return CommandResult(document, text)


def _in_shell(path: Path) -> str:
    # `.` would search PATH for a name without a directory.
    return shlex.quote(str(path) if path.parent.name or path.is_absolute() else f"./{path}")
