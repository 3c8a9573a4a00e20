"""The program: its wiring, and the only place where an error is turned into a text and an exit code."""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from provisioner.cancellation import Cancellation
from provisioner.cli.handoff import exec_app, find_app, original_mask, relative_paths
from provisioner.cli.output import Output
from provisioner.cli.parser import DEFAULT_COMMAND, AnsweredError, parse_options, take_apart
from provisioner.cli.signals import listen
from provisioner.cli.streams import flush_quietly, secure_streams, use_utf8_for_names
from provisioner.commands.registry import COMMANDS
from provisioner.commands.request import CommandRequest
from provisioner.engine.installation import load_settings
from provisioner.engine.supervise import machine_limits
from provisioner.errors import InterruptedBySignal, ProvisionerError, TryAgainError
from provisioner.redaction import Redactor
from provisioner.reporting.logs import set_up_logging
from provisioner.settings.parsers import TOKEN_PREFIX
from provisioner.settings.settings import DEFAULT_TERMINATION_LOG, UI_TOKEN_VARIABLES

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from provisioner.settings.settings import Settings

_LOGGER = logging.getLogger(__name__)

_GROUP_WRITABLE_UMASK: Final = 0o002


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run one command line.

    Args:
        arguments: the arguments, without the program's name.
        environ: the environment, which only this function reads.

    Returns:
        The exit code. If an app is started, this function does not return.
    """
    redactor = Redactor()
    redactor.add(*(word for word in arguments if word.startswith(TOKEN_PREFIX)))
    # Errors in the settings are logged before all settings are known, in the format that the environment requests.
    set_up_logging("json" if environ.get("LOG_FORMAT", "").strip().lower() == "json" else "text", redactor=redactor)
    output = Output(redactor, json="--json" in arguments)
    try:
        with machine_limits():
            _execute(arguments, environ, redactor, output)
        return output.end()
    except AnsweredError as answered:
        output.print_help(answered.text)
        return output.end()
    except KeyboardInterrupt:  # only for commands that do not handle signals, such as 'init' while it asks
        return output.report(InterruptedBySignal(signal.SIGINT))
    except ProvisionerError as error:
        return output.report(error)
    except Exception as error:  # noqa: BLE001 - the only case with a traceback
        return output.report_bug(error)


def _execute(arguments: Sequence[str], environ: Mapping[str, str], redactor: Redactor, output: Output) -> None:
    mask = original_mask()
    invocation = take_apart(arguments)
    options = parse_options(invocation)
    output.json = options.json
    settings = _load_settings(options, environ)
    redactor.add(*settings.secrets)
    environ = {name: value for name, value in environ.items() if name not in UI_TOKEN_VARIABLES}
    output.termination_log = settings.termination_log or DEFAULT_TERMINATION_LOG
    console = set_up_logging(settings.log_format, redactor=redactor)
    # Done before the first byte: nothing is fetched for an app that cannot be started.
    executable = find_app(invocation.app, environ, COMMANDS) if invocation.app else None
    directory = _directory_of_app(settings)
    if executable is not None and directory is not None:
        _warn_of_relative_paths(invocation.app, directory)

    command, cancellation = COMMANDS[options.command], Cancellation()
    umask = os.umask(_GROUP_WRITABLE_UMASK) if command.group_writable else None
    received = listen(cancellation) if command.graceful else _none_received
    result = command.load().run(
        CommandRequest(settings, options, environ, cancellation, redactor, console, show=output.print_line)
    )
    if result.tolerated is not None:
        output.record(result.tolerated.as_record())
    output.print_result(result)
    if result.error is not None:
        raise result.error
    if executable is None or command.name != DEFAULT_COMMAND:
        return
    if result.incomplete:
        raise TryAgainError(f"the app is not started: {result.incomplete}", hint="Start it where 'provision --finish' has run.")
    _LOGGER.info("Starting the app: %s", invocation.app[0])
    output.flush()
    flush_quietly()
    app_environ = {**result.app_environment, **environ}  # what the user has set is never changed
    exec_app(executable, invocation.app, app_environ, directory=directory, mask=mask, umask=umask, received=received)


def _directory_of_app(settings: Settings) -> Path | None:
    """Return the directory in which the app starts; ``None`` means the current one."""
    return settings.data_dir.absolute() / "datasets" if settings.app_workdir == "datasets" else None


def _warn_of_relative_paths(command: Sequence[str], directory: Path) -> None:
    for word in relative_paths(command):
        _LOGGER.warning(
            "APP_WORKDIR=datasets: the app starts in %s, where there is no %r: write %s", directory, word, Path(word).absolute()
        )


def _none_received() -> None:
    """Return no signal, since none is handled."""


def _load_settings(options: argparse.Namespace, environ: Mapping[str, str]) -> Settings:
    given = {
        "PHASE": getattr(options, "phase", None),
        "DATASETS": ",".join(getattr(options, "dataset", ())),
        "DATA_DIR": options.data_dir,
        "CONFIG_PATH": options.config,
        "CATALOG_PATH": options.catalog,
        "PROGRESS_PORT": getattr(options, "port", None),
    }
    return load_settings({name: value for name, value in given.items() if value}, environ)


def script() -> NoReturn:
    """Run as the console script ``provisioner``, ``python -m provisioner`` and the image's entry point."""
    use_utf8_for_names()
    secure_streams()
    code = main(sys.argv[1:], os.environ)
    flush_quietly()
    # Threads that still wait for a server must not delay the end of the process: what matters is on the volume already.
    os._exit(code)
