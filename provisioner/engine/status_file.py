"""``dataset_status.json`` while a run works: written at every change, and from time to time as a sign of life."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING

from provisioner.engine.volume_session import now
from provisioner.errors import ProvisionerError
from provisioner.reporting.status import HEARTBEAT_SECONDS, SCHEMA_VERSION, StatusBoard
from provisioner.volume.store.json_file import read_json, write_json
from provisioner.volume.store.newer_records import is_newer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from provisioner.engine.volume_session import VolumeSession
    from provisioner.planning.model import Inventory, Plan
    from provisioner.reporting.status import RunState

_LOGGER = logging.getLogger(__name__)


class StatusFile:
    """The status file of one run, which holds the lock."""

    def __init__(self, session: VolumeSession, board: StatusBoard) -> None:
        """Prepare; nothing is written yet.

        Args:
            session: the volume.
            board: what the file will say.
        """
        self.board = board
        self._is_newer = is_newer(read_json(session.layout.status), SCHEMA_VERSION)
        """A newer version of the program wrote the file: it is left alone."""
        self.is_open = False
        """The file speaks of this run, and the run has not ended."""
        self._path = session.layout.status
        self._session = session
        self._used_bytes = 0
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
        self.is_open = True

    def write(self, inventory: Inventory | None = None) -> None:
        """Write the file.

        Args:
            inventory: what the volume holds now; ``None``: as it was. It is not measured here, since staging may hold a
                million files and the thread that answers signals writes this file too.

        Raises:
            VolumeError: the volume failed.
        """
        if inventory is not None:
            self._used_bytes = inventory.kept_bytes + inventory.staged_bytes
        self._written_at = time.monotonic()
        if not self._is_newer:
            write_json(self._path, self.document(), durable=False)

    def write_if_due(self) -> None:
        """Write the file if it is open and was not written for some seconds; a failure is left for the run to meet."""
        if self.is_open and time.monotonic() - self._written_at >= HEARTBEAT_SECONDS:
            with contextlib.suppress(ProvisionerError):
                self.write()

    def close(self, state: RunState, error: ProvisionerError | None, inventory: Inventory | None = None) -> None:
        """Write how the run ended.

        Raises:
            VolumeError: the volume failed.
        """
        self.board.finish(state, error)
        self.write(inventory)
        self.is_open = False

    def abandon(self) -> None:
        """Leave the file as it is from now on: the run goes on without writing."""
        self.is_open = False

    def document(self) -> Mapping[str, Any]:
        """Return what the file says."""
        return self.board.document(used_bytes=self._used_bytes, free_bytes=self._session.free_bytes())


def new_board(session: VolumeSession, plan: Plan, inventory: Inventory) -> StatusBoard:
    """Return a status that says what is planned, and what is on the volume."""
    board = StatusBoard(
        run_id=session.run_id,
        host=session.host,
        phase=plan.phase,
        limit_bytes=session.settings.max_storage_bytes,
        now=now,
    )
    board.record_plan(plan, inventory)
    return board
