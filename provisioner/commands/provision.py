"""``provision``: fill the volume with what was requested."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from provisioner.commands.arguments import add_selection
from provisioner.commands.result import CommandResult
from provisioner.commands.run_displays import run_displays
from provisioner.engine.installation import in_image
from provisioner.errors import ConfigurationError, DeadlineError, InterruptedBySignal, ProvisionerError
from provisioner.volume.fs.directories import make_directory

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from provisioner.commands.request import CommandRequest
    from provisioner.engine.result import Result, ShareResult
    from provisioner.engine.run import Run
    from provisioner.reporting.progress import Progress

_LOGGER = logging.getLogger(__name__)

_NOT_ABOUT_DATA: Final = (ConfigurationError, InterruptedBySignal, DeadlineError)

DESCRIPTION: Final = """\
Fill the volume with a phase of the catalog, or with the requested data sets. Existing data sets are kept; if there is
nothing to do, nothing is written and no request is made. An app may follow after '--': this process then becomes the
app."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_selection(parser)
    parser.add_argument("--dry-run", action="store_true", help="show the plan; write nothing")
    words = "publish what workers with SHARD=i/n have fetched; 75 while shares are missing"
    parser.add_argument("--finish", action="store_true", help=words)


def run(request: CommandRequest) -> CommandResult:
    """Fill the volume.

    Raises:
        ProvisionerError: the run failed, and ``ON_FAILURE`` does not tolerate that.
    """
    settings = request.settings
    if settings.on_failure == "page" and settings.progress_port is None:
        raise ConfigurationError(
            "ON_FAILURE=page, and there is no page: PROGRESS_PORT is off", hint="Set PROGRESS_PORT, such as PROGRESS_PORT=7860."
        )
    ended = _provision(request)
    # A signal that came while the page was up has only ended the page.
    if request.cancellation.reason is not None and not ended.stayed:
        raise request.cancellation.reason
    if ended.error is None:
        return CommandResult(ended.document, text=ended.incomplete, incomplete=ended.incomplete, app_environment=ended.values)
    if settings.on_failure != "degraded":
        raise ended.error
    _LOGGER.warning("%s. Continuing all the same, since ON_FAILURE=degraded", ended.error.message)
    if not _given(request):
        _make_datasets_directory(Path(ended.values["DATASETS_DIR"]))
    return CommandResult(ended.document, tolerated=ended.error, app_environment=ended.values)


@dataclass(frozen=True)
class _Ended:
    """The end of a run, as the command reports it."""

    document: dict[str, Any]
    """The document that the command prints as JSON."""
    values: Mapping[str, str]
    """Variables for the app's environment."""
    error: ProvisionerError | None = None
    """The failure that ``ON_FAILURE`` decides about."""
    stayed: bool = False
    """Whether the page showed the failure until a signal came."""
    incomplete: str = ""
    """A description of what is missing although this worker's share is complete; empty if nothing is."""


def _provision(request: CommandRequest) -> _Ended:
    """Carry out the run, with the page and metrics that show it.

    Raises:
        ConfigurationError, InterruptedBySignal, DeadlineError: not subject to ``ON_FAILURE``, which is about data; the
            operator has not chosen to continue after these.
    """
    from provisioner.engine.result import ShareResult  # noqa: PLC0415 - '--help' does without it
    from provisioner.engine.run import Run  # noqa: PLC0415 - the same

    settings = request.settings

    def stay(error: ProvisionerError) -> bool:
        return settings.on_failure == "page" and displays.stay(error, work.observe, request.cancellation)

    try:
        catalog, progress = request.catalog(), request.progress()
        with run_displays(request, catalog) as displays:
            work = Run(
                settings,
                catalog,
                cancellation=request.cancellation,
                progress=progress,
                in_image=in_image(),
                given=request.environ,
                on_work=displays.begin,
            )
            displays.observe = work.observe
            try:
                result = _fill(request, work, progress)
            except _NOT_ABOUT_DATA:
                raise
            except ProvisionerError as error:
                return _failed(request, error, stayed=stay(error))
            if isinstance(result, ShareResult):
                return _Ended(result.as_record(), {}, incomplete=result.text)
            stayed = result.error is not None and stay(result.error)
            return _Ended({**result.status, "fetched": result.worked}, result.environment, result.error, stayed)
    except _NOT_ABOUT_DATA:
        raise
    except ProvisionerError as error:
        return _failed(request, error)


def _failed(request: CommandRequest, error: ProvisionerError, *, stayed: bool = False) -> _Ended:
    """Return the end of a run without a result."""
    values = {"DATASETS_DIR": str(request.settings.data_dir.absolute() / "datasets"), **_given(request)}
    return _Ended({"error": error.as_record()}, values, error, stayed)


def _fill(request: CommandRequest, run: Run, progress: Progress) -> Result | ShareResult:
    """Fill the volume, or fetch this worker's share of it."""
    shard, finish = request.settings.shard, request.options.finish
    if not finish and (shard is None or shard[1] == 1):
        return run.provision()
    from provisioner.engine.share_run import ShareRun  # noqa: PLC0415 - most runs share nothing

    shares = ShareRun(run, cancellation=request.cancellation, progress=progress)
    return shares.finish() if finish or shard is None else shares.fetch(*shard)


def _given(request: CommandRequest) -> dict[str, str]:
    """Return the app's variable, if the user has set it."""
    given = request.environ.get("DATASETS_DIR")
    return {"DATASETS_DIR": given} if given else {}


def _make_datasets_directory(path: Path) -> None:
    """Create the directory that the app is told of, so that it finds an empty directory instead of none."""
    if path.is_dir():
        return
    try:
        make_directory(path.parent)
        make_directory(path)
    except ProvisionerError as error:
        _LOGGER.warning("The app is told DATASETS_DIR=%s, and there is no such directory: %s", path, error.message)
