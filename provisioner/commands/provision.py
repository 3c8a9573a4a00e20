"""``provision``: fill the volume with what was asked for."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from provisioner.commands.arguments import add_selection
from provisioner.commands.result import CommandResult
from provisioner.commands.watched import watched
from provisioner.engine.installation import in_image
from provisioner.errors import ConfigurationError, DeadlineError, InterruptedBySignal, ProvisionerError
from provisioner.volume.fs.directories import make_directory

if TYPE_CHECKING:
    import argparse

    from provisioner.commands.request import CommandRequest

_LOGGER = logging.getLogger(__name__)

DESCRIPTION: Final = """\
Make the volume hold a phase of the catalog, or the data sets that were asked for. What is there already is kept; with
nothing to do, nothing is written and no request is made. Behind '--' an app may follow: this process becomes the app."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's options."""
    add_selection(parser)
    parser.add_argument("--dry-run", action="store_true", help="show the plan; write nothing")


def run(request: CommandRequest) -> CommandResult:
    """Fill the volume.

    Raises:
        ProvisionerError: the run failed, and ``ON_FAILURE`` does not overlook it.
    """
    from provisioner.engine.run import Run  # noqa: PLC0415 - '--help' does without it

    settings = request.settings
    if settings.on_failure == "page" and settings.progress_port is None:
        raise ConfigurationError(
            "ON_FAILURE=page, and there is no page: PROGRESS_PORT is off", hint="Set PROGRESS_PORT, such as PROGRESS_PORT=7860."
        )
    stays, stayed = settings.on_failure == "page", False
    document: dict[str, Any]
    error: ProvisionerError | None
    try:
        catalog = request.catalog()
        with watched(request, catalog) as watchers:
            work = Run(
                settings,
                catalog,
                cancellation=request.cancellation,
                progress=request.progress(),
                in_image=in_image(),
                given=request.environ,
                on_work=watchers.begin,
            )
            watchers.observe = work.observe
            try:
                result = work.provision()
            except (ConfigurationError, InterruptedBySignal, DeadlineError):
                raise
            except ProvisionerError as failure:
                stayed = stays and watchers.stay(failure, work.observe, request.cancellation)
                raise
            stayed = stays and result.error is not None and watchers.stay(result.error, work.observe, request.cancellation)
        document, error = {**result.status, "fetched": result.worked}, result.error
        values = result.environment
    except (ConfigurationError, InterruptedBySignal, DeadlineError):
        raise  # ON_FAILURE is about data: the operator did not choose to go on with these
    except ProvisionerError as failure:
        document, error = {"error": failure.as_record()}, failure
        values = {"DATASETS_DIR": str(settings.data_dir.absolute() / "datasets"), **_given(request)}
    # A signal that came while the page was up only ended that.
    if request.cancellation.reason is not None and not stayed:
        raise request.cancellation.reason
    if error is None:
        return CommandResult(document, app_environment=values)
    if settings.on_failure != "degraded":
        raise error
    _LOGGER.warning("%s. Continuing all the same, since ON_FAILURE=degraded", error.message)
    if not _given(request):
        _make_datasets_directory(Path(values["DATASETS_DIR"]))
    return CommandResult(document, tolerated=error, app_environment=values)


def _given(request: CommandRequest) -> dict[str, str]:
    """Return the app's variable if the user has set it."""
    given = request.environ.get("DATASETS_DIR")
    return {"DATASETS_DIR": given} if given else {}


def _make_datasets_directory(path: Path) -> None:
    """Make the directory that the app is told of, so that it finds no data there rather than no directory."""
    if path.is_dir():
        return
    try:
        make_directory(path.parent)
        make_directory(path)
    except ProvisionerError as error:
        _LOGGER.warning("The app is told DATASETS_DIR=%s, and there is no such directory: %s", path, error.message)
