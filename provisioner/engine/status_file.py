"""``dataset_status.json`` during a run: it is written at every change, and periodically as a sign of life."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from provisioner.engine.volume_session import now
from provisioner.errors import ProvisionerError, VolumeFullError
from provisioner.reporting.rates import with_rates
from provisioner.reporting.status import HEARTBEAT_SECONDS, SCHEMA_VERSION, StatusBoard
from provisioner.volume.store.json_file import read_json
from provisioner.volume.store.newer_records import is_newer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from provisioner.engine.volume_session import VolumeSession
    from provisioner.engine.writers import Writers
    from provisioner.planning.model import Inventory, Plan
    from provisioner.reporting.progress import Progress
    from provisioner.reporting.status import RunState

_LOGGER = logging.getLogger(__name__)

_PATIENCE_SECONDS: Final = 0.2
"""Seconds that a run that must end waits for its other thread to write the file, since the volume may no longer respond."""


class StatusFile:
    """The status file of a run that holds the volume's lock, alone or with others, from :meth:`open` to :meth:`close`.

    Two threads write it: the one that does the work, and the one that handles signals.
    """

    def __init__(
        self,
        session: VolumeSession,
        board: StatusBoard,
        progress: Progress,
        labels: Mapping[str, str],
        writers: Writers,
    ) -> None:
        """Prepare; nothing is written yet.

        Args:
            session: the volume.
            board: the content of the file.
            progress: the counters of the run.
            labels: by id of a data set, its name in these counters.
            writers: the other runs that write the file.
        """
        self._writers = writers
        self.board = board
        self._is_newer = is_newer(read_json(session.layout.status), SCHEMA_VERSION)
        """A newer version of the program wrote the file, so it is left alone."""
        self.was_opened = False
        """Whether :meth:`open` has succeeded."""
        self._is_open = False
        """Whether the end of the run is still to be written."""
        self._writing = threading.Lock()
        self._path = session.layout.status
        self._session = session
        self._progress = progress
        self._labels = labels
        self._used_bytes = 0
        self._free_bytes = session.free_bytes()
        self._written_at = 0.0

    def open(self, inventory: Inventory) -> None:
        """Write the file for the first time.

        Raises:
            VolumeError: it cannot be written, so the run has not begun.
        """
        if self._is_newer:
            _LOGGER.warning(
                "%s was written by a newer version of this program and is left alone: it does not speak of this run; remove it"
                " to have it written again",
                self._path,
            )
        self.write(inventory)
        self.was_opened = self._is_open = True

    def write(self, inventory: Inventory | None = None) -> None:
        """Write the file.

        Args:
            inventory: what the volume holds now; ``None`` means unchanged. It is not measured here, since staging may hold a
                million files, and the thread that handles signals writes this file too.

        Raises:
            VolumeError: the volume failed.
        """
        with self._writing:
            self._write(inventory)

    def write_between(self, inventory: Inventory) -> None:
        """Write the file after a data set has ended, while others may still be built.

        The others may be using all the space, and free some when they end, so a full volume is not an error here; if it stays
        full, the end of the run meets that.

        Args:
            inventory: what the volume holds now.

        Raises:
            VolumeError: the volume failed in another way.
        """
        with self._writing, contextlib.suppress(VolumeFullError):
            self._write(inventory)

    def write_if_due(self) -> None:
        """Write the file if it is open and is some seconds old; if that fails, the run itself will meet the failure."""
        if time.monotonic() - self._written_at < HEARTBEAT_SECONDS or not self._writing.acquire(blocking=False):
            return
        try:
            if self._is_open:
                with contextlib.suppress(ProvisionerError):
                    self._write(seconds=0.0)
        finally:
            self._writing.release()

    def close(self, state: RunState, error: ProvisionerError | None, inventory: Inventory | None = None) -> None:
        """Write the end of the run.

        Raises:
            VolumeError: the volume failed.
        """
        with self._writing:
            self.board.finish(state, error)
            self._write(inventory)
            self._is_open = False

    def close_early(self, state: RunState, error: ProvisionerError | None) -> bool:
        """Write the end of a run whose plan was not carried out, unless that is written already; the volume may fail.

        Returns:
            Whether the file was open until now.
        """
        if not self._writing.acquire(timeout=_PATIENCE_SECONDS):
            return False
        try:
            was_open, self._is_open = self._is_open, False
            if was_open:
                self.board.finish(state, error)
                with contextlib.suppress(ProvisionerError):
                    self._write(seconds=_PATIENCE_SECONDS)
            return was_open
        finally:
            self._writing.release()

    def abandon(self) -> None:
        """Stop writing the file; the run goes on without it."""
        with self._writing:
            self._is_open = False

    def _write(self, inventory: Inventory | None = None, *, seconds: float | None = None) -> None:
        """Write the file, waiting up to ``seconds`` for other runs that write it."""
        if inventory is not None:
            self._used_bytes = inventory.kept_bytes + inventory.staged_bytes
        before, self._written_at = self._written_at, time.monotonic()
        if not self._is_newer and not self._writers.write_status(self._path, self.document(), seconds=seconds):
            self._written_at = before

    def document(self) -> Mapping[str, Any]:
        """Return the content of the file, with the current free space."""
        self._free_bytes = self._session.free_bytes()
        return self._own()

    def present(self) -> Mapping[str, Any]:
        """Return the content without accessing the volume, which may not respond; its numbers are as last written."""
        return self._writers.merged(self._own())

    def _own(self) -> Mapping[str, Any]:
        document = self.board.document(used_bytes=self._used_bytes, free_bytes=self._free_bytes)
        return with_rates(document, self._progress, self._labels)


def new_board(
    session: VolumeSession, plan: Plan, inventory: Inventory, upstream: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
) -> StatusBoard:
    """Return a status of what is planned, what is on the volume, and, by id, what its sources say."""
    board = StatusBoard(
        run_id=session.run_id,
        host=session.host,
        phase=plan.phase,
        limit_bytes=session.settings.max_storage_bytes,
        now=now,
    )
    board.record_plan(plan, inventory)
    for dataset, record in upstream.items():
        board.record_upstream(dataset, record)
    return board
