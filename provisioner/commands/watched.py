"""What shows a run to others while it works and at its end: the progress page, and the file of metrics."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from provisioner.catalog.model import Catalog
    from provisioner.commands.request import CommandRequest
    from provisioner.reporting.observation import Observation
    from provisioner.web.page import RunPage

_LOGGER = logging.getLogger(__name__)


class Watchers:
    """Those who watch one run."""

    def __init__(self, page: RunPage | None) -> None:
        """Prepare; nobody watches yet.

        Args:
            page: is opened when there is something to do.
        """
        self.observe: Callable[[], Observation] | None = None
        """Returns the state of the run."""
        self._page = page

    def begin(self, observe: Callable[[], Observation]) -> None:
        """Open the page, if there is one."""
        if self._page is not None:
            self._page.begin(observe)


@contextlib.contextmanager
def watched(request: CommandRequest, catalog: Catalog) -> Iterator[Watchers]:
    """Yield what shows a run that the block carries out; behind the block the page's port is free.

    With a page that nobody turned on, and without a file of metrics, nothing is imported.
    """
    settings = request.settings
    page = None
    if settings.progress_port is not None:
        from provisioner.web.page import RunPage  # noqa: PLC0415 - see above

        page = RunPage(settings, settings.progress_port, catalog, request.redactor)
    watchers = Watchers(page)
    try:
        yield watchers
    finally:
        if page is not None:
            page.end(wait=request.cancellation.reason is None)
        if settings.metrics_file is not None and watchers.observe is not None:
            _write_metrics(settings.metrics_file, watchers.observe())


def _write_metrics(path: Path, observation: Observation) -> None:
    try:
        from provisioner.web.metrics import write_metrics  # noqa: PLC0415 - see above

        write_metrics(observation, path)
    except ImportError as error:
        _LOGGER.warning("METRICS_FILE: the package %s is not installed; nothing is written", error.name)
    except OSError as error:
        _LOGGER.warning("METRICS_FILE: %s cannot be written: %s", path, error.strerror)
