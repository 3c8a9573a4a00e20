"""The records that the runs that fill one volume at the same time keep for each other: their status, and their current builds.

Each run has its own records, which count as long as it holds its own lock: those of a run that was killed no longer count.
Everything is read and written under one lock that is held only briefly (the short lock).
"""

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from provisioner.volume.fs.directories import make_plain_directory
from provisioner.volume.fs.lock import check_held, short_lock, try_lock
from provisioner.volume.store.json_file import read_json, write_json
from provisioner.volume.store.listing import names_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from provisioner.cancellation import Cancellation
    from provisioner.volume.store.layout import VolumeLayout

_LOCK: Final = ".lock"


@dataclass(frozen=True, slots=True)
class BuildRecord:
    """One data set that a run is building."""

    space: int | None
    """Upper bound of the bytes that it needs; ``None`` if not known, in which case it has the volume to itself."""
    keys: frozenset[str] = frozenset()
    """Keys of the artifacts whose files in staging belong to it meanwhile."""


class WriterRecords:
    """The records of one run, and those of the others."""

    def __init__(self, layout: VolumeLayout, run_id: str, *, patience: float, cancellation: Cancellation) -> None:
        """Remember the paths; nothing is read or created yet.

        Args:
            layout: where everything is.
            run_id: names the records of this run.
            patience: seconds after which another process has kept the short lock for too long.
            cancellation: ends the wait for the short lock.
        """
        self._layout = layout
        self._directory = layout.writers
        self._run_id = run_id
        self._patience = patience
        self._cancellation = cancellation
        self._own_threads = threading.Lock()
        self._lock: int | None = None
        self._builds: dict[str, BuildRecord] = {}

    @contextlib.contextmanager
    def turn(self, *, seconds: float | None = None) -> Iterator[bool]:
        """Hold the short lock, which all other methods require; yield whether it was obtained.

        Args:
            seconds: how long to wait, even if the run must end; ``None`` means the patience of this run.

        Raises:
            LockTimeoutError: it was not obtained within the patience of this run.
            VolumeError: the volume failed.
            ProvisionerError: the run must end.
        """
        if not self._own_threads.acquire(timeout=-1 if seconds is None else seconds):
            yield False
            return
        try:
            lock = self._layout.locks / "records"
            if seconds is not None:
                with short_lock(lock, seconds=seconds) as has_turn:
                    yield has_turn
            else:
                with short_lock(lock, seconds=self._patience, cancellation=self._cancellation) as has_turn:
                    check_held(has_turn, lock, self._patience)
                    yield True
        finally:
            self._own_threads.release()

    def prepare(self) -> None:
        """Make the directories of records and locks.

        Raises:
            VolumeError: the volume failed.
        """
        for directory in (self._layout.locks, self._layout.lock_of("id").parent, self._layout.locks / "writers", self._directory):
            make_plain_directory(directory)

    # --- this run

    def enter(self) -> None:
        """Make the records of this run count from now on.

        Raises:
            VolumeError: the volume failed.
        """
        self._lock = try_lock(self._lock_of(self._run_id))

    def leave(self) -> None:
        """Remove the records of this run; without the short lock, others remove them."""
        if self._lock is None:
            return
        self._remove(self._run_id)
        os.close(self._lock)
        self._lock = None

    def put(self, dataset: str, build: BuildRecord | None) -> None:
        """Record what this run is building for a data set; ``None`` means that it has ended.

        Raises:
            VolumeError: the volume failed.
        """
        if build is None:
            self._builds.pop(dataset, None)
        else:
            self._builds[dataset] = build
        self.write_builds()

    def forget(self, dataset: str) -> None:
        """Withdraw a build that could not be recorded."""
        self._builds.pop(dataset, None)

    def write_builds(self) -> None:
        """Write what this run is building.

        Raises:
            VolumeError: the volume failed.
        """
        document = {name: {"space": record.space, "keys": sorted(record.keys)} for name, record in self._builds.items()}
        write_json(self._builds_of(self._run_id), document, durable=False)
        self._count_change()

    def builds(self) -> Mapping[str, BuildRecord]:
        """Return what this run is building."""
        return dict(self._builds)

    def put_status(self, document: Mapping[str, Any]) -> None:
        """Record the status of this run.

        Raises:
            VolumeError: the volume failed.
        """
        if self._lock is not None:
            write_json(self._status_of(self._run_id), document, durable=False)

    # --- the others

    def others(self) -> tuple[str, ...]:
        """Return the names of the other runs that are alive, and remove the records of those that are not.

        Raises:
            VolumeError: the volume failed.
        """
        alive = []
        for name in names_in(self._layout.locks / "writers"):
            if not name.endswith(_LOCK) or (run_id := name.removesuffix(_LOCK)) == self._run_id:
                continue
            descriptor = try_lock(self._lock_of(run_id))
            if descriptor is None:
                alive.append(run_id)
                continue
            try:
                self._remove(run_id)
            finally:
                os.close(descriptor)
            self._count_change()
        return tuple(alive)

    def statuses(self) -> list[dict[str, Any]]:
        """Return the statuses of the other runs that are alive.

        Raises:
            VolumeError: the volume failed.
        """
        documents = (read_json(self._status_of(run_id)) for run_id in self.others())
        return [document for document in documents if document is not None]

    def other_builds(self) -> dict[str, BuildRecord]:
        """Return what the other runs are building, by id of the data set.

        Raises:
            VolumeError: the volume failed.
        """
        found = {}
        for run_id in self.others():
            for dataset, record in (read_json(self._builds_of(run_id)) or {}).items():
                if isinstance(record, dict):
                    space, keys = record.get("space"), record.get("keys")
                    found[dataset] = BuildRecord(
                        space if isinstance(space, int) else None,
                        frozenset(key for key in (keys if isinstance(keys, list) else ()) if isinstance(key, str)),
                    )
        return found

    def changes(self) -> int:
        """Return how often any run has recorded the beginning or end of a build."""
        count = (read_json(self._directory / "changes.json") or {}).get("count")
        return count if isinstance(count, int) else 0

    def _count_change(self) -> None:
        write_json(self._directory / "changes.json", {"count": self.changes() + 1}, durable=False)

    def _remove(self, run_id: str) -> None:
        for path in (self._status_of(run_id), self._builds_of(run_id), self._lock_of(run_id)):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def _lock_of(self, run_id: str) -> Path:
        return self._layout.locks / "writers" / f"{run_id}{_LOCK}"

    def _status_of(self, run_id: str) -> Path:
        return self._directory / f"{run_id}.json"

    def _builds_of(self, run_id: str) -> Path:
        return self._directory / f"{run_id}.builds.json"
