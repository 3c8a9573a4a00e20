"""``serve``: the status page, metrics and health endpoints of a volume, at any time."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from provisioner.commands.result import CommandResult
from provisioner.errors import ConfigurationError, InterruptedBySignal
from provisioner.reporting.liveness import heartbeat_of
from provisioner.reporting.observation import Observation
from provisioner.reporting.shares import with_shares
from provisioner.settings.defaults import DEFAULT_PORT
from provisioner.settings.settings import ATTRIBUTES
from provisioner.volume.store.json_file import absence_of, read_json
from provisioner.volume.store.shares import ShareStore

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping
    from pathlib import Path

    from provisioner.commands.request import CommandRequest
    from provisioner.web.acting.orders import Choices
    from provisioner.web.acting.routes import Acting
    from provisioner.web.server import PageServer

_LOGGER = logging.getLogger(__name__)

_WAIT_SECONDS: Final = 3600.0
_END_SECONDS: Final = 3.0
_REPLACED: Final = (
    "phase", "datasets", "progress_port", "lock_timeout_seconds", "on_failure", "termination_log", "metrics_file",
)  # fmt: skip
"""Settings, by attribute, that processes started from the page do not take from the environment."""

DESCRIPTION: Final = """\
Serve the status page of a volume until a signal comes: / (the page), /status.json, /events (server-sent), /metrics
(Prometheus), /healthz (alive) and /readyz (503 until the volume is ready or partial). A run in another process may
work at the same time. While 'provision' works, it serves the same on PROGRESS_PORT. The page is read-only, unless
UI_TOKEN is set: anyone who signs in with it can plan, provision, cancel, verify, repair, remove and gc on the page,
one action at a time. Other volumes can name this address in PEERS and take the published versions, except with
--no-share, and except in a Space, whose pages are public."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--port", metavar="PORT", help=f"the port (PROGRESS_PORT; {DEFAULT_PORT} if none is set)")
    parser.add_argument("--no-share", action="store_true", help="do not let other volumes take published versions")


def run(request: CommandRequest) -> CommandResult:
    """Serve until a signal comes.

    Raises:
        ConfigurationError: the port cannot be used, or a package is missing.
        InterruptedBySignal: a signal came.
    """
    settings = request.settings
    port = settings.progress_port or DEFAULT_PORT
    acting = _acting(request)
    server = _open(request, port, acting)
    _LOGGER.info("The page of %s is on port %s", settings.data_dir, port)
    serving = threading.Thread(target=server.run, name="page", daemon=True)
    serving.start()
    try:
        while serving.is_alive():
            request.cancellation.wait(_WAIT_SECONDS)
    except InterruptedBySignal as error:
        error.hint = ""  # there is nothing left to do
        raise
    finally:
        server.stop()
        if acting is not None:
            acting.close()
        serving.join(_END_SECONDS)
    return CommandResult()


def _open(request: CommandRequest, port: int, acting: Acting | None) -> PageServer:
    layout = request.session().layout
    observe = StatusReader(layout.status, ShareStore(layout.shares)).observe
    catalog = request.catalog()
    is_shared = request.settings.space_id is None and not request.options.no_share
    shared = request.session().store if is_shared else None
    try:
        from provisioner.web.page import open_page  # noqa: PLC0415 - '--help' does without it

        return open_page(request.settings, port, observe, catalog, request.redactor, acting=acting, shared=shared)
    except ImportError as error:
        raise _missing(error) from error
    except OSError as error:
        raise ConfigurationError(
            f"PROGRESS_PORT: port {port} of {request.settings.progress_bind} cannot be used: {error.strerror}",
            hint="Stop what uses it, or choose another port with --port.",
        ) from error


def _missing(error: ImportError) -> ConfigurationError:
    return ConfigurationError(
        f"the page needs the package {error.name}, which is not installed",
        hint="Install what requirements/runtime.lock lists, or 'data-volume-provisioner[page]'.",
    )


def _acting(request: CommandRequest) -> Acting | None:
    """Return the object that acts on the volume from the page, or ``None`` without ``UI_TOKEN``.

    Raises:
        ConfigurationError: a package is missing.
    """
    settings, options = request.settings, request.options
    if settings.ui_token is None:
        return None
    try:
        from provisioner.web.acting.routes import Acting  # noqa: PLC0415 - only where it is asked for
        from provisioner.web.acting.sign_in import SignIn  # noqa: PLC0415 - the same
        from provisioner.web.acting.worker import Worker  # noqa: PLC0415 - the same
    except ImportError as error:
        raise _missing(error) from error
    given = {"--data-dir": options.data_dir, "--config": options.config, "--catalog": options.catalog}
    words = [f"{name}={value}" for name, value in given.items() if value]
    # The request on the page replaces that of the environment; if the lock is held, that is reported instead of waiting.
    replaced = {name for attribute in _REPLACED for name in ATTRIBUTES[attribute].names}
    environ = {name: value for name, value in request.environ.items() if name not in replaced}
    environ |= {"PROGRESS_PORT": "off", "LOCK_TIMEOUT": "0", "ON_FAILURE": "fail", "TERMINATION_LOG": os.devnull}
    worker = Worker(words, environ, request.redactor, request.console.write_to_stream)
    return Acting(SignIn(settings.ui_token.reveal()), worker, lambda: _choices(request))


def _choices(request: CommandRequest) -> Choices:
    from provisioner.web.acting.orders import Choices  # noqa: PLC0415 - see above

    catalog, inventory = request.catalog(), request.session().store.reader.inventory(measured=False)
    return Choices(
        phases={phase.name: phase.description for phase in catalog.phases.values()},
        datasets={dataset.id: dataset.title for dataset in catalog.datasets.values()},
        present={receipt.dataset: receipt.label for receipt in inventory.receipts.values()},
        phase=request.settings.phase or catalog.default_phase,
    )


class StatusReader:
    """Reads the status file whenever it has changed."""

    def __init__(self, path: Path, shares: ShareStore) -> None:
        """Prepare; nothing is read yet.

        Args:
            path: the status file.
            shares: provides the records of workers.
        """
        self._path = path
        self._shares = shares
        self._seen: tuple[int, int, int] | None = None
        self._document: Mapping[str, Any] | None = None

    def observe(self) -> Observation:
        """Return the content of the file, and a problem if a run has no heartbeat."""
        seen = self._signature()
        if seen is None or seen != self._seen:
            self._document = read_json(self._path)
            self._seen = seen
        document = with_shares(self._document, self._shares.shown())
        if document is None:
            return Observation(None, f"{self._path} {absence_of(self._path)}: nothing is known of a run on this volume.")
        if document.get("state") != "provisioning":
            return Observation(document)
        problem = heartbeat_of(document, time.time()).problem
        return Observation(document, f"{problem[:1].upper()}{problem[1:]}." if problem else "")

    def _signature(self) -> tuple[int, int, int] | None:
        """Return a value that changes when the file is replaced, or ``None`` if there is no file."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size
