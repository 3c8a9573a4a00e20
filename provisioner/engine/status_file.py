"""``dataset_status.json`` while a run works: written at every change, and from time to time as a sign of life."""

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
"""How long a run that must end waits for its other thread to have written the file: a volume may not answer any more."""


class StatusFile:
    """The status file of one run, which must hold the volume's lock, alone or with others, from :meth:`open` to :meth:`close`.

    Two threads write it: the one that works, and the one that answers signals.
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
            board: what the file will say.
            progress: the counters of the run.
            labels: by id of a data set, its name in these counters.
            writers: the other runs that write the file.
        """
        self._writers = writers
        self.board = board
        self._is_newer = is_newer(read_json(session.layout.status), SCHEMA_VERSION)
        """A newer version of the program wrote the file: it is left alone."""
        self.was_opened = False
        """:meth:`open` has succeeded."""
        self._is_open = False
        """The end of the run is not written yet."""
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
            VolumeError: it cannot be written; the run then has not begun.
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
            inventory: what the volume holds now; ``None``: as it was. It is not measured here, since staging may hold a
                million files and the thread that answers signals writes this file too.

        Raises:
            VolumeError: the volume failed.
        """
        with self._writing:
            self._write(inventory)

    def write_between(self, inventory: Inventory) -> None:
        """Write the file after a data set has ended, while others may be being built.

        They may have all space at the moment, and make some when they end: that the volume is full is left for the run's end to
        meet.

        Args:
            inventory: what the volume holds now.

        Raises:
            VolumeError: the volume failed otherwise.
        """
        with self._writing, contextlib.suppress(VolumeFullError):
            self._write(inventory)

    def write_if_due(self) -> None:
        """Write the file if it is open and was not written for some seconds; a failure is left for the run to meet."""
        if time.monotonic() - self._written_at < HEARTBEAT_SECONDS or not self._writing.acquire(blocking=False):
            return
        try:
            if self._is_open:
                with contextlib.suppress(ProvisionerError):
                    self._write(seconds=0.0)
        finally:
            self._writing.release()

    def close(self, state: RunState, error: ProvisionerError | None, inventory: Inventory | None = None) -> None:
        """Write how the run ended.

        Raises:
            VolumeError: the volume failed.
        """
        with self._writing:
            self.board.finish(state, error)
            self._write(inventory)
            self._is_open = False

    def close_early(self, state: RunState, error: ProvisionerError | None) -> bool:
        """Write how the run ended before its plan was carried out, if it is not written yet; the volume may fail.

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
        """Leave the file as it is from now on: the run goes on without writing."""
        with self._writing:
            self._is_open = False

    def _write(self, inventory: Inventory | None = None, *, seconds: float | None = None) -> None:
        """Write the file; ``seconds``: how long to wait for other runs that write it."""
        if inventory is not None:
            self._used_bytes = inventory.kept_bytes + inventory.staged_bytes
        before, self._written_at = self._written_at, time.monotonic()
        if not self._is_newer and not self._writers.write_status(self._path, self.document(), seconds=seconds):
            self._written_at = before

    def document(self) -> Mapping[str, Any]:
        """Return what the file says, with the free space as it is now."""
        self._free_bytes = self._session.free_bytes()
        return self._own()

    def present(self) -> Mapping[str, Any]:
        """Return the same without asking the volume, which may not answer: what that says is as it was last written."""
        return self._writers.merged(self._own())

    def _own(self) -> Mapping[str, Any]:
        document = self.board.document(used_bytes=self._used_bytes, free_bytes=self._free_bytes)
        return with_rates(document, self._progress, self._labels)


def new_board(
    session: VolumeSession, plan: Plan, inventory: Inventory, upstream: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
) -> StatusBoard:
    """Return a status that says what is planned, what is on the volume, and by id what upstream says of that."""
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
