"""The progress of one data set's build, for progress bars and the status file."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provisioner.catalog.size import Size
    from provisioner.planning.recipe import Recipe
    from provisioner.reporting.progress import Progress
    from provisioner.reporting.status import StatusBoard

_LOGGER = logging.getLogger(__name__)


class BuildProgress:
    """Reports the progress of one data set; called from several threads."""

    def __init__(self, recipe: Recipe, progress: Progress, status: StatusBoard | None = None) -> None:
        """Prepare.

        Args:
            recipe: what is built.
            progress: shows a bar for the data set, and one for each archive that is unpacked.
            status: shows state and bytes of the data set, or ``None`` if the status file does not speak of this build.
        """
        self._id = recipe.dataset.id
        self._label = recipe.label
        self._progress = progress
        self._status = status
        self._lock = threading.Lock()
        self._missing: int | None = None
        """Bytes that have not arrived yet; ``None`` means unknown."""
        self._archives = 0
        """Number of archives that are being unpacked."""

    def begin_fetching(self, size: Size | None) -> None:
        """Show that fetching begins, of ``size``; ``None`` means unknown."""
        total = size.value if size else None
        self._missing = total
        if self._status is not None:
            self._status.set_state(self._id, "fetching", bytes_total=total, bytes_done=0)
        self._progress.start(self._label, "fetch", total, estimate=size is not None and size.estimate)

    def add_present(self, count: int) -> None:
        """Count bytes that were on this machine already."""
        self._add(count, moved=False)

    def add_arrived(self, count: int) -> None:
        """Count bytes that were fetched; a negative number takes back bytes that were dropped."""
        self._add(count, moved=True)

    def _add(self, count: int, *, moved: bool) -> None:
        if self._status is not None:
            self._status.advance(self._id, count)
        self._progress.advance(self._label, count, moved=moved)
        with self._lock:
            if self._missing is not None:
                self._missing -= count
        self._show_unpacking()

    def begin_unpacking(self, name: str, total: int | None) -> None:
        """Show that an archive is being unpacked, to ``total`` bytes; ``None`` means unknown."""
        self._archives += 1
        self._show_unpacking()
        if self._status is not None:
            _LOGGER.info("%s: unpacking %s", self._label, name)
        self._progress.start(self._bar(name), "unpack", total)

    def add_unpacked(self, name: str, count: int) -> None:
        """Count bytes that came out of an archive."""
        self._progress.advance(self._bar(name), count)

    def end_unpacking(self, name: str) -> None:
        """Show that an archive is no longer being unpacked, whether it succeeded or failed."""
        self._archives -= 1
        self._progress.finish(self._bar(name))

    def finish(self) -> None:
        """Show that the build has ended."""
        self._progress.finish(self._label)

    def _show_unpacking(self) -> None:
        """Set the state to ``unpacking``, unless bytes are missing: an archive may be unpacked while it is still arriving."""
        if self._status is not None and self._archives and (self._missing or 0) <= 0:
            self._status.set_state(self._id, "unpacking")

    def _bar(self, name: str) -> str:
        return f"{self._label}/{name}"
