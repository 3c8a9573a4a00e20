"""The displays of a run for others, while it works and when it ends: the progress page and the file of metrics."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from provisioner.errors import ProvisionerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from provisioner.cancellation import Cancellation
    from provisioner.catalog.model import Catalog
    from provisioner.commands.request import CommandRequest
    from provisioner.reporting.observation import Observation
    from provisioner.web.page import RunPage

_LOGGER = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 1.0
_ENDED: Final = frozenset({"failed", "degraded", "interrupted"})


class RunDisplays:
    """The page and the file of metrics that show one run."""

    def __init__(self, page: RunPage | None) -> None:
        """Prepare; nothing is shown yet.

        Args:
            page: opened when there is something to do.
        """
        self.observe: Callable[[], Observation] | None = None
        """Returns the state of the run."""
        self._page = page
        self._failure: ProvisionerError | None = None
        """The error with which the run failed, while the page stays up to show it."""

    def begin(self, observe: Callable[[], Observation]) -> None:
        """Open the page, if there is one."""
        if self._page is not None:
            self._page.begin(lambda: self._with_failure(observe()))

    def stay(self, error: ProvisionerError, observe: Callable[[], Observation], cancellation: Cancellation) -> bool:
        """Keep the page up with a failure until a signal comes; open it if the run ended before there was anything to do.

        Args:
            error: why the run failed.
            observe: returns the state of the run.
            cancellation: requested by the signal.

        Returns:
            Whether the page was up, so that the failure could be seen.
        """
        page = self._page
        if page is None or cancellation.reason is not None:
            return False
        self._failure = error
        if not page.is_open:
            self.begin(observe)
        if not page.is_open:
            return False
        _LOGGER.error("%s%s", error.message, f". {error.hint}" if error.hint else "")
        _LOGGER.warning(
            "The page stays up until a signal comes, since ON_FAILURE=page; then the exit code is %d", error.exit_code
        )
        with contextlib.suppress(ProvisionerError):
            while page.is_open:
                cancellation.wait(_LOOK_SECONDS)
        return cancellation.reason is not None

    def _with_failure(self, observation: Observation) -> Observation:
        """Return the state of the run, including a failure that it could not record."""
        document = observation.document or {}
        if self._failure is None or document.get("state") in _ENDED:
            return observation
        return replace(observation, document={**document, "state": "failed", "error": self._failure.as_record()})


@contextlib.contextmanager
def run_displays(request: CommandRequest, catalog: Catalog) -> Iterator[RunDisplays]:
    """Yield what shows the run that is carried out in the block; after the block, the page's port is free.

    If the user turned on neither the page nor the file of metrics, nothing is imported.
    """
    settings = request.settings
    page = None
    if settings.progress_port is not None:
        from provisioner.web.page import RunPage  # noqa: PLC0415 - see above

        page = RunPage(settings, settings.progress_port, catalog, request.redactor)
    displays = RunDisplays(page)
    try:
        yield displays
    finally:
        if page is not None:
            page.end(wait=request.cancellation.reason is None)
        if settings.metrics_file is not None and displays.observe is not None:
            _write_metrics(settings.metrics_file, displays.observe())


def _write_metrics(path: Path, observation: Observation) -> None:
    try:
        from provisioner.web.metrics import write_metrics  # noqa: PLC0415 - see above

        write_metrics(observation, path)
    except ImportError as error:
        _LOGGER.warning("METRICS_FILE: the package %s is not installed; nothing is written", error.name)
    except OSError as error:
        _LOGGER.warning("METRICS_FILE: %s cannot be written: %s", path, error.strerror)
