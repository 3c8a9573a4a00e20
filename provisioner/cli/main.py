"""The command line: wiring, signals, and the one place where an error becomes a text and an exit code."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from provisioner._version import __version__
from provisioner.cancellation import Cancellation
from provisioner.cli.handoff import become, find_app, original_mask
from provisioner.engine.installation import in_image, load_catalog, load_settings
from provisioner.errors import (
    INTERNAL_ERROR_EXIT_CODE,
    AppNotFoundError,
    ConfigurationError,
    DeadlineError,
    InterruptedBySignal,
    NotFoundError,
    ProvisionerError,
    TryAgainError,
    UsageError,
    error_to_report,
    exit_code_of,
)
from provisioner.redaction import Redactor
from provisioner.reporting.logs import set_up_logging
from provisioner.settings.help import help_text
from provisioner.settings.model import DEFAULT_TERMINATION_LOG, Settings
from provisioner.settings.parsers import TOKEN_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import FrameType

    from provisioner.commands.result import CommandResult
    from provisioner.engine.run import Run
    from provisioner.reporting.logs import ConsoleHandler
    from provisioner.reporting.progress import Progress

_LOGGER = logging.getLogger(__name__)

LATER_COMMANDS: Final = ("serve",)
"""Commands of the contract that this version does not have."""
COMMANDS: Final = {
    "provision": "make the volume hold what was asked for; the default",
    "plan": "what 'provision' would do and why; writes nothing, asks nobody",
    "status": "what the volume holds and how the last run ended",
    "list": "the catalog: data sets, splits, phases, sizes, licences",
    "catalog": "'catalog check [--online]': is the catalog well formed; does every source exist",
    "verify": "'verify [--deep] [ID ...]': are the published trees what their manifests say; changes nothing",
    "repair": "'repair [ID ...]': fetch what 'verify --deep' finds wrong, and only that",
    "remove": "'remove ID ... [--dry-run]': take data sets off the volume",
    "gc": "'gc [--dry-run]': remove superseded versions and leftovers",
    "doctor": "try out the volume, the settings, the token and the Hub; say what to fix",
    "repo": "'repo create|list|check [NAME ...]': the user's data-set repositories on the Hub",
    "init": "asks on a terminal for token, repository, phase and licences; writes .env for Compose",
    "healthcheck": "for the container's HEALTHCHECK: is this run alive, or the app started",
}
_NAMING: Final = frozenset({"verify", "repair", "remove"})
"""Commands that take ids of data sets."""
_VALUED: Final = {
    "--phase": "PHASE",
    "--data-dir": "DATA_DIR",
    "--cache-dir": "DATA_DIR",
    "--config": "CONFIG_PATH",
    "--catalog": "CATALOG_PATH",
}

_CLOSED_PIPE_EXIT_CODE: Final = 128 + 13
"""As if SIGPIPE had ended us, which Python ignores."""

_EPILOG: Final = """\
In a container, '--' or a first word that is no command begins the app's command line: the volume is filled, then this
process becomes the app. Exit codes are in docs/usage.md.

Settings (environment variables; each also as PROVISIONER_NAME; command line, environment, config file, default):
"""


@dataclass(frozen=True, slots=True)
class Invocation:
    """A command line, taken apart."""

    command: str
    arguments: tuple[str, ...] = ()
    """Ours, without the command."""
    app: tuple[str, ...] = ()
    """The app's command line."""


@dataclass(slots=True)
class _Said:
    """What has been written to standard output: with ``--json`` it is one document, whatever happens."""

    json: bool = False


@dataclass(slots=True)
class _Context:
    """What a command works with."""

    settings: Settings
    options: argparse.Namespace
    environ: Mapping[str, str]
    cancellation: Cancellation
    console: ConsoleHandler
    redactor: Redactor
    said: _Said
    app: tuple[str, ...] = ()
    executable: str = ""
    mask: object = None
    umask: int | None = None

    @property
    def json(self) -> bool:
        return bool(self.options.json)


class _Parser(argparse.ArgumentParser):
    """Raises instead of leaving the process."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message[:1].upper() + message[1:], hint=f"See '{self.prog} --help'.")


def take_apart(arguments: Sequence[str]) -> Invocation:
    """Find the command and the app in a command line.

    What begins with ``-`` is ours. The first other word is a command of ours, or else begins the app's command line, as
    ``--`` does wherever it stands.

    Raises:
        UsageError: an app behind a command that cannot have one.
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
            if word in _VALUED or word == "--dataset":
                ours += [rest.pop(0)] if rest else []
        elif word in COMMANDS:
            command = word
        else:
            rest.insert(0, word)
            break
    else:
        return Invocation(command or "provision", tuple(ours))
    if command not in {"", "provision"}:
        raise UsageError(f"'{command}' starts no app: {' '.join(rest)!r} is not understood", hint="Leave out what follows '--'.")
    if not rest:
        raise UsageError("an app's command line was announced by '--', and there is none", hint="Give it, or leave out the '--'.")
    return Invocation("provision", tuple(ours), tuple(rest))


def parse_options(invocation: Invocation) -> argparse.Namespace:
    """Read our part of the command line.

    Raises:
        UsageError: it cannot be understood.
        SystemExit: ``--help`` or ``--version`` was asked for, and was answered.
    """
    top = invocation.command == "provision"
    parser = _Parser(
        prog="provisioner" if top else f"provisioner {invocation.command}",
        description=_description() if top else COMMANDS[invocation.command],
        epilog=_EPILOG + help_text() if top else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        usage="provisioner [COMMAND] [OPTIONS] [-- APP ...]" if top else None,
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output, logs on standard error")
    parser.add_argument("--data-dir", "--cache-dir", metavar="DIR", help="the volume's root (DATA_DIR)")
    parser.add_argument("--config", metavar="FILE", help="the config file (CONFIG_PATH)")
    parser.add_argument("--catalog", metavar="FILE", help="the catalog (CATALOG_PATH)")
    if invocation.command in {"provision", "plan"}:
        parser.add_argument("--phase", metavar="PHASE", help="a phase of the catalog, or 'auto' (PHASE)")
        parser.add_argument(
            "--dataset",
            metavar="ID[:SPLIT]",
            action="append",
            default=[],
            help="this data set instead of a phase; may be repeated",
        )
    if top:
        parser.add_argument("--dry-run", action="store_true", help="show the plan, write nothing")
        parser.add_argument("--list", action="store_true", help="the same as the command 'list'")
        parser.add_argument("--status", action="store_true", help="the same as the command 'status'")
        parser.add_argument("--version", action="version", version=__version__)
    if invocation.command == "status":
        parser.add_argument("--check", action="store_true", help="answer by the exit code: 0 only for ready and partial")
    if invocation.command == "catalog":
        parser.add_argument("action", choices=["check"], help="what to do with it")
        parser.add_argument("--online", action="store_true", help="ask every source for size, digest, ETag and ranges")
    if invocation.command == "repo":
        from provisioner.commands.repo import add_arguments  # noqa: PLC0415 - only for those who ask for it

        add_arguments(parser)
    if invocation.command == "init":
        parser.add_argument("--env-file", metavar="FILE", default=".env", help="the file to write; .env")
    if invocation.command in _NAMING:
        if invocation.command == "remove":
            parser.add_argument("ids", nargs="+", metavar="ID", help="these data sets, all versions of them")
        else:
            parser.add_argument("ids", nargs="*", metavar="ID", help="these data sets; none: all that are on the volume")
    if invocation.command in {"remove", "gc"}:
        parser.add_argument("--dry-run", action="store_true", help="say what would go, and how large it is; remove nothing")
    if invocation.command == "verify":
        parser.add_argument("--deep", action="store_true", help="also read every file and hash it")
    # Names may stand before and behind options, as in 'repo create one --private two'.
    mixed = invocation.command in {"repo", *_NAMING}
    parse = parser.parse_intermixed_args if mixed else parser.parse_args
    return parse(list(invocation.arguments))


def _description() -> str:
    width = max(map(len, COMMANDS))
    lines = ["Fill a volume with the data sets that an application needs, before it starts.", "", "Commands:"]
    return "\n".join(lines + [f"  {name:<{width}}  {meaning}" for name, meaning in COMMANDS.items()])


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run one command line.

    Args:
        arguments: without the program's name.
        environ: the environment; it is read here and nowhere below.

    Returns:
        The exit code. When an app is started, this does not return.
    """
    mask = original_mask()
    redactor = Redactor()
    redactor.add(*(word for word in arguments if word.startswith(TOKEN_PREFIX)))
    console = set_up_logging(redactor=redactor)
    wants_json = "--json" in arguments
    termination_log = DEFAULT_TERMINATION_LOG
    said = _Said()
    try:
        invocation = take_apart(arguments)
        options = parse_options(invocation)
        wants_json = options.json
        settings = _settings(options, environ, redactor)
        termination_log = settings.termination_log or DEFAULT_TERMINATION_LOG
        console = set_up_logging(settings.log_format, redactor=redactor)
        context = _Context(settings, options, environ, Cancellation(), console, redactor, said, app=invocation.app, mask=mask)
        if invocation.app:
            context.executable = _find_app(invocation.app, environ)
        code = _command(invocation, options)(context)
        sys.stdout.flush()
        return code
    except SystemExit as leave:  # --help, --version
        return int(leave.code or 0)
    except BrokenPipeError:
        # Whoever read our output has seen enough; what is still buffered must not fail again at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _CLOSED_PIPE_EXIT_CODE
    except KeyboardInterrupt:  # only where nobody listens to signals: while a question waits for its answer
        return _report(
            InterruptedBySignal(signal.SIGINT), wants_json=wants_json, redactor=redactor, termination_log=termination_log
        )
    except ProvisionerError as error:
        return _report(error, wants_json=wants_json and not said.json, redactor=redactor, termination_log=termination_log)
    except Exception as error:
        _LOGGER.critical("This is a bug of the provisioner: %s", error, exc_info=True)
        _write_termination_log(termination_log, {"reference": "internal-error", "message": str(error), "hint": ""}, redactor)
        return INTERNAL_ERROR_EXIT_CODE


def _find_app(app: tuple[str, ...], environ: Mapping[str, str]) -> str:
    try:
        return find_app(app, environ, COMMANDS)
    except AppNotFoundError as error:
        if app[0] in LATER_COMMANDS:
            hint = "See '--help' for the commands of this version; to start an app of that name, give its path behind '--'."
            raise AppNotFoundError(f"this version has no command {app[0]!r}; nothing was fetched", hint=hint) from error
        raise


def _settings(options: argparse.Namespace, environ: Mapping[str, str], redactor: Redactor) -> Settings:
    given = {
        "PHASE": getattr(options, "phase", None),
        "DATASETS": ",".join(getattr(options, "dataset", ())),
        "DATA_DIR": options.data_dir,
        "CONFIG_PATH": options.config,
        "CATALOG_PATH": options.catalog,
    }
    settings = load_settings({name: value for name, value in given.items() if value}, environ)
    redactor.add(*settings.secrets)
    return settings


def _command(invocation: Invocation, options: argparse.Namespace) -> Callable[[_Context], int]:
    if invocation.command == "provision" and options.list:
        return _list
    if invocation.command == "provision" and options.status:
        return _status
    if invocation.command == "provision" and options.dry_run:
        return _plan
    return {
        "provision": _provision,
        "plan": _plan,
        "status": _status,
        "list": _list,
        "catalog": _catalog_check,
        "verify": _verify,
        "repair": _repair,
        "remove": _remove,
        "gc": _gc,
        "doctor": _doctor,
        "repo": _repo,
        "init": _init,
        "healthcheck": _healthcheck,
    }[invocation.command]


def _run(context: _Context) -> Run:
    from provisioner.engine.run import Run  # noqa: PLC0415 - only for commands that plan

    settings = context.settings
    return Run(
        settings,
        load_catalog(settings.catalog_path),
        cancellation=context.cancellation,
        progress=_progress(context),
        in_image=in_image(),
        given=context.environ,
    )


def _progress(context: _Context) -> Progress:
    from provisioner.reporting.display import make_display  # noqa: PLC0415
    from provisioner.reporting.progress import Progress  # noqa: PLC0415

    return Progress(make_display(sys.stderr, log_format=context.settings.log_format, console=context.console))


# --- commands ------------------------------------------------------------------------------------------------------------


def _provision(context: _Context) -> int:
    settings = context.settings
    context.umask = os.umask(0o002)
    received = _listen(context.cancellation)
    try:
        run = _run(context)
        result = run.provision()
        document: dict[str, Any] = {**result.status, "fetched": result.worked}
        error = result.error
        values = dict(result.environment)
    except ProvisionerError as failure:
        # The operator chose to go on with whatever there is; wrong settings, signals and the deadline are something else.
        if settings.on_failure != "degraded" or isinstance(failure, ConfigurationError | InterruptedBySignal | DeadlineError):
            raise
        document, error = {"error": failure.as_record()}, failure
        values = {"DATASETS_DIR": str(settings.data_dir.absolute() / "datasets")}
    if context.cancellation.reason is not None:
        raise context.cancellation.reason
    if error is not None and settings.on_failure != "degraded":
        raise error
    if error is not None:
        _LOGGER.warning("%s. Going on all the same, since ON_FAILURE=degraded", error.message)
        _write_termination_log(settings.termination_log or DEFAULT_TERMINATION_LOG, error.as_record(), context.redactor)
    if context.json:
        _print_json(document, context)
    if not context.app:
        return 0
    environ = dict(context.environ)
    for name, value in values.items():
        environ.setdefault(name, value)
    _LOGGER.info("Starting the app: %s", context.app[0])
    sys.stdout.flush()
    sys.stderr.flush()
    become(context.executable, context.app, environ, mask=context.mask, umask=context.umask, received=received)
    raise AssertionError("unreachable: the app has replaced this process")


def _plan(context: _Context) -> int:
    from provisioner.reporting.plan_report import plan_document, plan_text  # noqa: PLC0415

    run = _run(context)
    plan, inventory = run.plan()
    if context.json:
        _print_json(plan_document(plan, inventory, run.catalog, run.wanted, run.rules), context)
    else:
        _print(plan_text(plan, inventory, run.catalog, run.wanted, run.rules), context)
    if plan.shortfall:
        raise plan.shortfall
    refused = [step.error for step in plan.steps if step.error]
    if refused:
        raise refused[0]
    return 0


def _list(context: _Context) -> int:
    from provisioner.reporting.catalog_report import catalog_document, catalog_text  # noqa: PLC0415

    run = _run(context)
    inventory = run.store.inventory()
    if context.json:
        _print_json(catalog_document(run.catalog, inventory), context)
    else:
        _print(catalog_text(run.catalog, inventory), context)
    return 0


def _status(context: _Context) -> int:
    from provisioner.reporting.status import SUCCESSFUL_STATES  # noqa: PLC0415
    from provisioner.reporting.status_report import status_text  # noqa: PLC0415
    from provisioner.volume.store.json_file import read_json  # noqa: PLC0415
    from provisioner.volume.store.layout import VolumeLayout  # noqa: PLC0415

    layout = VolumeLayout(context.settings.data_dir.absolute())
    document = read_json(layout.status)
    if document is None:
        raise NotFoundError(
            f"{layout.status} is not there or cannot be understood: nothing was provisioned onto this volume",
            hint="Run 'provision' first, or give the volume with --data-dir.",
        )
    if context.json:
        _print_json(document, context)
    else:
        _print(status_text(document), context)
    state = str(document.get("state"))  # the file may hold anything
    if getattr(context.options, "check", False) and state not in SUCCESSFUL_STATES:
        kind = TryAgainError if state in {"provisioning", "interrupted"} else NotFoundError
        raise kind(f"the volume is not ready: its state is {state!r}", hint="See 'status' for what is missing.")
    return 0


def _catalog_check(context: _Context) -> int:
    catalog = load_catalog(context.settings.catalog_path)
    if not context.options.online:
        document = {"catalog": str(context.settings.catalog_path), "datasets": len(catalog.datasets), "findings": []}
        if context.json:
            _print_json(document, context)
        else:
            _print(f"{document['catalog']}: well formed, {document['datasets']} data sets", context)
        return 0
    from provisioner.commands.catalog_check import check_catalog  # noqa: PLC0415

    _listen(context.cancellation)
    run = _run(context)
    findings = []
    for finding in check_catalog(catalog, run.clients.http, run.clients.sources, context.cancellation):
        findings.append(finding)
        if not context.json:
            _print(str(finding), context)
    if context.json:
        _print_json(
            {
                "catalog": str(context.settings.catalog_path),
                "datasets": len(catalog.datasets),
                "findings": [finding.as_record() for finding in findings],
            },
            context,
        )
    wrong = [finding.error for finding in findings if finding.error is not None]
    if wrong:
        raise error_to_report(wrong)
    return 0


def _repo(context: _Context) -> int:
    from provisioner.commands.repo import run_repo  # noqa: PLC0415 - only for those who ask for it

    return _answer(run_repo(context.settings, context.options, context.redactor, context.cancellation), context)


def _init(context: _Context) -> int:
    from provisioner.commands.init import initialize  # noqa: PLC0415 - only for those who ask for it

    catalog = load_catalog(context.settings.catalog_path)
    file = Path(context.options.env_file)
    return _answer(initialize(context.settings, catalog, file, context.redactor, context.cancellation), context)


def _verify(context: _Context) -> int:
    from provisioner.commands.verify import run_verify  # noqa: PLC0415

    _listen(context.cancellation)
    options = context.options
    answer = run_verify(
        context.settings, options.ids, deep=options.deep, cancellation=context.cancellation, progress=_progress(context)
    )
    return _answer(answer, context)


def _repair(context: _Context) -> int:
    from provisioner.commands.repair import run_repair  # noqa: PLC0415

    context.umask = os.umask(0o002)
    _listen(context.cancellation)
    catalog = load_catalog(context.settings.catalog_path)
    ids = context.options.ids
    return _answer(
        run_repair(context.settings, catalog, ids, cancellation=context.cancellation, progress=_progress(context)), context
    )


def _remove(context: _Context) -> int:
    from provisioner.commands.cleaning import run_remove  # noqa: PLC0415

    _listen(context.cancellation)
    catalog, options = load_catalog(context.settings.catalog_path), context.options
    return _answer(
        run_remove(context.settings, catalog, options.ids, dry_run=options.dry_run, cancellation=context.cancellation), context
    )


def _gc(context: _Context) -> int:
    from provisioner.commands.cleaning import run_gc  # noqa: PLC0415

    _listen(context.cancellation)
    catalog = load_catalog(context.settings.catalog_path)
    return _answer(run_gc(context.settings, catalog, dry_run=context.options.dry_run, cancellation=context.cancellation), context)


def _doctor(context: _Context) -> int:
    from provisioner.commands.doctor import run_doctor  # noqa: PLC0415

    _listen(context.cancellation)
    return _answer(run_doctor(context.settings, context.environ, in_image=in_image(), cancellation=context.cancellation), context)


def _answer(answer: CommandResult, context: _Context) -> int:
    if context.json:
        _print_json(answer.document, context)
    elif answer.text:
        _print(answer.text, context)
    if answer.error is not None:
        raise answer.error
    return 0


def _healthcheck(context: _Context) -> int:
    from provisioner.reporting.status import STALE_SECONDS  # noqa: PLC0415
    from provisioner.volume.store.json_file import read_json  # noqa: PLC0415
    from provisioner.volume.store.layout import VolumeLayout  # noqa: PLC0415

    if not any(_is_ours(words) for words in _first_processes()):
        return 0  # the app, or whatever the user runs, answers for itself
    layout = VolumeLayout(context.settings.data_dir.absolute())
    document = read_json(layout.status) or {}
    age = time.time() - _seconds(document.get("updated_at"))
    if age > STALE_SECONDS:
        raise TryAgainError(
            f"the run has given no sign of life on {layout.status} for {age:.0f} s",
            hint="It may wait for another writer: look at the log.",
        )
    return 0


def _first_processes() -> Iterator[list[str]]:
    """Return the command lines of process 1 and its children: with ``docker run --init`` process 1 is the init's for good."""
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            # "PID (NAME) STATE PPID …", where the name may hold anything (man 5 proc).
            parent = (directory / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[1]
            if directory.name == "1" or parent == "1":
                yield os.fsdecode((directory / "cmdline").read_bytes()).split("\0")
        except (OSError, IndexError):
            continue  # it has ended meanwhile


def _is_ours(words: list[str]) -> bool:
    """Return whether a command line is that of a Python which runs this program."""
    return Path(words[0]).name.startswith("python") and any(Path(word).name == "entrypoint.py" for word in words[1:])


def _seconds(stamp: object) -> float:
    from datetime import datetime  # noqa: PLC0415

    try:
        return datetime.fromisoformat(str(stamp)).timestamp()
    except ValueError:
        return 0.0


# --- signals and words ---------------------------------------------------------------------------------------------------


def _listen(cancellation: Cancellation) -> Callable[[], int | None]:
    """From here on a signal asks the run to end; a second one ends the process at once.

    Returns:
        What gives the signal that came; ``None``: none did.
    """
    seen: int | None = None

    def on_signal(signum: int, _frame: FrameType | None) -> None:
        nonlocal seen
        if seen is not None:
            os._exit(128 + signum)
        seen = signum
        # On a thread: what the signal interrupted may hold the very locks that a request to stop takes.
        threading.Thread(target=cancellation.request, args=(InterruptedBySignal(signum),), daemon=True).start()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    return lambda: seen


def _print(text: str, context: _Context) -> None:
    sys.stdout.write(context.redactor.redact(text) + "\n")


def _print_json(document: Any, context: _Context) -> None:  # noqa: ANN401 - JSON values
    value = context.redactor.redact_value(document)
    text = json.dumps(value, indent=2, ensure_ascii=False)
    if any("\ud800" <= character <= "\udfff" for character in text):
        # Bytes of a file's name that are no UTF-8: escaped they come through every encoding.
        text = json.dumps(value, indent=2)
    sys.stdout.write(text + "\n")
    context.said.json = True


def _report(error: ProvisionerError, *, wants_json: bool, redactor: Redactor, termination_log: Path) -> int:
    code = exit_code_of(error)
    record = redactor.redact_value(error.as_record())
    _LOGGER.error("[%s] %s", record["reference"], record["message"])
    if record["hint"]:
        _LOGGER.error("%s", record["hint"])
    if wants_json:
        json.dump({"error": record, "exit_code": code}, sys.stdout, ensure_ascii=False)
        sys.stdout.write("\n")
    _write_termination_log(termination_log, record, redactor)
    return code


def _write_termination_log(path: Path, record: Mapping[str, str], redactor: Redactor) -> None:
    """Leave the error where Kubernetes looks for it: one line of JSON. The file is never made in the default place."""
    try:
        if path == DEFAULT_TERMINATION_LOG and not path.exists():
            return
        path.write_text(json.dumps(redactor.redact_value(dict(record)), ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as problem:
        _LOGGER.warning("The termination log %s cannot be written: %s", path, problem.strerror)


def script() -> NoReturn:
    """Run as the console script ``provisioner``, ``python -m provisioner`` and the image's entry point."""
    code = main(sys.argv[1:], os.environ)
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that still wait for a server must not keep the process: what matters is on the volume already.
    os._exit(code)
