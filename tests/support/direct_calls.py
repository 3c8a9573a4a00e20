"""Calls of the program's commands in this process: cheap enough to make many of them, and their parts can be replaced."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from provisioner.cancellation import Cancellation
from provisioner.cli.parser import parse_options, take_apart
from provisioner.commands.registry import COMMANDS
from provisioner.commands.request import CommandRequest
from provisioner.engine.installation import load_settings
from provisioner.redaction import Redactor
from provisioner.reporting.logs import ConsoleHandler
from tests.support.in_process import release_hub

if TYPE_CHECKING:
    from provisioner.commands.result import CommandResult
    from tests.support.volume import Volume


def call(volume: Volume, *arguments: str, **changes: str | None) -> CommandResult:
    """Run a command with a volume's settings, changed, and return its result; exceptions are passed on."""
    options = parse_options(take_apart(arguments))
    environ = volume.environ(**changes)
    settings = load_settings({}, environ)
    request = CommandRequest(
        settings,
        options,
        environ,
        Cancellation(),
        Redactor(settings.secrets),
        ConsoleHandler(sys.stderr),
        show=lambda _line: None,
    )
    try:
        return COMMANDS[options.command].load().run(request)
    finally:
        release_hub()


def ready(volume: Volume, *arguments: str, **changes: str | None) -> CommandResult:
    """Run a command as :func:`call` does; it must succeed."""
    result = call(volume, *arguments, **changes)
    assert result.error is None, result.error
    return result
