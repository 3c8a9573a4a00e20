"""One of several runs that fill a volume together: it takes data sets that no other has, and leaves space for theirs."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING, Any, Final

from provisioner.engine.request import make_rules
from provisioner.engine.waiting import Wait
from provisioner.errors import ProvisionerError, VolumeFullError
from provisioner.planning.capacity import space_of
from provisioner.planning.plan import fitted
from provisioner.reporting.merged_status import is_building, merged_status
from provisioner.volume.fs.lock import POLL_SECONDS, check_held, describe_holder, short_lock, sign, try_lock
from provisioner.volume.store.json_file import read_json, write_json
from provisioner.volume.store.writer_records import BuildRecord, WriterRecords

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from provisioner.cancellation import Cancellation
    from provisioner.engine.volume_session import VolumeSession
    from provisioner.planning.model import Step

_LOGGER = logging.getLogger(__name__)

_LEAST_PATIENCE_SECONDS: Final = 60.0
"""Minimum seconds to wait for locks that are held only briefly, even if ``LOCK_TIMEOUT`` is shorter."""
_PATIENCE_SECONDS: Final = 2.0
"""Seconds that a run that must end waits for the lock of the records."""


class SharedWriter:
    """One of several writers, which hold the volume's lock together."""

    is_sole = False

    def __init__(self, session: VolumeSession, cancellation: Cancellation) -> None:
        """Make the directories for locks and records; no lock is taken yet.

        Raises:
            VolumeError: the volume failed.
        """
        self._session = session
        self._layout = session.layout
        self._cancellation = cancellation
        self._patience = max(_LEAST_PATIENCE_SECONDS, session.settings.lock_timeout_seconds)
        self._records = WriterRecords(session.layout, session.run_id, patience=self._patience, cancellation=cancellation)
        self._records.prepare()
        self._held: dict[str, int] = {}
        """Descriptors of the locks of data sets."""
        self._taken: dict[str, Step] = {}
        """The steps as adapted to the space that is left."""
        self._company: dict[str, tuple[bool, int]] = {}
        """By data set, whether others were building when it was taken, and how many changes others had made by then."""
        self._own_changes = 0
        self._is_unwritten = False
        """There was no space for a record; it is written as soon as there is."""
        self._refused: dict[str, int] = {}
        """By data set, the number of changes by others at which there was no space for it."""
        self._alone: set[str] = set()
        self._lacks_files: dict[str, Wait] = {}
        """By data set, the wait for files that another run is fetching."""
        self._others: list[dict[str, Any]] = []
        self._met_others = False
        self._waiting: Wait | None = None
        """The wait for data sets that other runs have taken."""

    # --- joining, leaving and common work

    @contextlib.contextmanager
    def entering(self) -> Iterator[bool]:
        """Become one of the writers; yield whether there is no other writer while the block runs.

        Raises:
            ProvisionerError: the volume failed, or the run must end.
        """
        with self.holding("members"):
            with self._records.turn():
                self._records.enter()
                is_alone = not self._records.others()
                self._met_others = not is_alone
            sign(self._layout.lock, self._session.holder())
            yield is_alone

    @contextlib.contextmanager
    def leaving(self) -> Iterator[bool]:
        """Stop being a writer after the block; yield whether there is no other writer while it runs.

        Raises:
            ProvisionerError: the volume failed, or the run must end.
        """
        with self.holding("members"):
            with self._records.turn():
                is_alone = not self._records.others()
            yield is_alone
            self.close()

    @contextlib.contextmanager
    def holding(self, what: str) -> Iterator[None]:
        """Keep all other writers from doing the same work while the block runs.

        Raises:
            ProvisionerError: the volume failed, or the run must end.
        """
        lock = self._layout.locks / what
        with short_lock(lock, seconds=self._patience, cancellation=self._cancellation) as is_held:
            check_held(is_held, lock, self._patience)
            yield

    def close(self) -> None:
        """Release everything that is held, and remove the records of this run."""
        with contextlib.suppress(ProvisionerError), self._records.turn(seconds=_PATIENCE_SECONDS):
            self._records.leave()
        # Done even if that lock was not available: this process may live on, and would still count as a writer.
        self._records.leave()
        for descriptor in self._held.values():
            os.close(descriptor)
        self._held.clear()

    def write_status(self, path: Path, document: Mapping[str, Any], *, seconds: float | None = None) -> bool:
        """Write the status file, which merges this run's status with those of the other runs.

        Returns:
            ``False`` if other runs kept it from being written for ``seconds``.

        Raises:
            VolumeError: the volume failed.
            ProvisionerError: the run must end.
        """
        with self._records.turn(seconds=seconds) as has_turn:
            if not has_turn:
                return False
            if self._is_unwritten:
                self._records.write_builds()
                self._is_unwritten = False
            self._records.put_status(document)
            others = self._others = self._records.statuses()
            self._met_others = self._met_others or bool(others)
            is_last = not others and document["state"] != "provisioning"
            before = read_json(path) if self._met_others and not is_last else None
            write_json(path, merged_status(document, others, before), durable=False)
        return True

    def merged(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return this run's status merged with those that were last read of the other runs; nothing is read."""
        return merged_status(document, self._others)

    # --- one data set

    def take(self, step: Step) -> Step | None:
        """Begin with a data set, unless another run has it, or the builds of other runs leave no space for it.

        Returns:
            The step as adapted to the space that is left, or ``None`` if it must wait.

        Raises:
            ProvisionerError: the volume failed, or the run must end.
        """
        if step.id in self._held:
            return self._taken[step.id]
        try:
            return self._lock(step)
        except VolumeFullError:
            # Not even a lock or a record can be written until one of the running builds has ended.
            if not self._held:
                raise
            return None

    def _lock(self, step: Step) -> Step | None:
        lock = self._layout.lock_of(step.id)
        if (descriptor := try_lock(lock)) is None:
            return None
        try:
            taken = self._take(step)
        except BaseException:
            os.close(descriptor)
            raise
        if taken is None:
            os.close(descriptor)
            return None
        sign(lock, self._session.holder())
        self._held[step.id] = descriptor
        self._taken[step.id] = taken
        self._waiting = None
        return taken

    def _take(self, step: Step) -> Step | None:
        while True:
            with self._records.turn():
                others = self._records.other_builds()
                changes = self._records.changes()
                self._met_others = self._met_others or bool(others)
                if not others and not self._met_others:
                    self._begin(step, has_company=False)
                    return step
            if self._refused.get(step.id) == changes:
                return None
            # This takes time, and is not done while others wait for their turn.
            fit = self._fit(step, others)
            with self._records.turn():
                self._records.others()
                if changes != self._records.changes():
                    continue
                if fit is None:
                    self._refused[step.id] = changes
                else:
                    self._begin(fit, has_company=bool(others))
                return fit

    def _fit(self, step: Step, others: Mapping[str, BuildRecord]) -> Step | None:
        """Return the step as it fits beside the builds of this run and of others, if all of them get as large as planned."""
        builds = (*others.values(), *self._records.builds().values())
        if not builds:
            return fitted(step, self._session.store.reader.inventory(), make_rules(self._session.settings), 0)
        spaces = [build.space for build in builds if build.space is not None]
        is_bounded = self._session.measures_space or self._session.settings.max_storage_bytes is not None
        if step.id in self._alone or (is_bounded and (len(spaces) < len(builds) or space_of(step) is None)):
            return None
        fit = fitted(step, self._session.store.reader.inventory(), make_rules(self._session.settings), sum(spaces))
        return fit if fit.action == step.action else None

    def _begin(self, step: Step, *, has_company: bool) -> None:
        self._put(step.id, BuildRecord(None if step.id in self._alone else space_of(step)))
        self._company[step.id] = (has_company, self._others_changes())

    def _put(self, dataset: str, build: BuildRecord | None) -> None:
        """Record what this run builds. On a full volume this is put off, unless another run must know of it now."""
        self._own_changes += 1
        try:
            self._records.put(dataset, build)
        except VolumeFullError:
            self._is_unwritten = True
            if build is not None and self._records.others():
                self._records.forget(dataset)
                raise

    def _others_changes(self) -> int:
        return self._records.changes() - self._own_changes

    def release(self, dataset: str, *, retry_alone: bool = False) -> None:
        """Release a data set for other runs; with ``retry_alone``, take it again only when no other is being built."""
        if retry_alone:
            self._alone.add(dataset)
        self._lacks_files.pop(dataset, None)
        descriptor = self._held.pop(dataset, None)
        if descriptor is None:
            return
        try:
            with self._records.turn():
                self._put(dataset, None)
        finally:
            os.close(descriptor)

    def had_company(self, dataset: str) -> bool:
        """Return whether others have been building anything since a data set was taken.

        Raises:
            ProvisionerError: the volume failed, or the run must end.
        """
        had, changes = self._company[dataset]
        with self._records.turn():
            return had or self._others_changes() > changes

    # --- waiting

    def wait_for_any(self, steps: Sequence[Step]) -> bool:
        """Wait until some data set is free again; without any given, until no other run is about to end.

        Returns:
            Whether there was something to wait for, so that the volume has changed.

        Raises:
            LockTimeoutError: others have kept them longer than ``LOCK_TIMEOUT``.
            ProvisionerError: the volume failed, or the run must end.
        """
        if not self._are_at_work_on(steps):
            return False
        while self._are_at_work_on(steps):
            self.wait(steps)
        return True

    def _are_at_work_on(self, steps: Sequence[Step]) -> bool:
        if not steps:
            with self._records.turn():
                return any(not is_building(document) for document in self._records.statuses())
        for step in steps:
            if (descriptor := try_lock(self._layout.lock_of(step.id))) is not None:
                os.close(descriptor)
                return False
        return True

    def wait(self, steps: Sequence[Step]) -> None:
        """Wait a little for the runs that have these data sets, and log that from time to time.

        Raises:
            LockTimeoutError: others have kept them longer than ``LOCK_TIMEOUT``.
            ProvisionerError: the run must end.
        """
        names = ", ".join(step.recipe.label for step in steps) or "the records of the volume"
        holder = self._describe_holder(steps[0]) if steps else describe_holder(self._layout.lock)
        self._waiting = self._waiting or Wait(self._session.settings.lock_timeout_seconds)
        self._cancellation.wait(min(POLL_SECONDS, self._waiting.go_on(holder, names)))

    def _describe_holder(self, step: Step) -> str:
        """Return which run has a data set, or that there is no space for it now."""
        lock = self._layout.lock_of(step.id)
        if (descriptor := try_lock(lock)) is None:
            return describe_holder(lock)
        os.close(descriptor)
        return "the space that other writers may need"

    # --- staged files

    def claim(self, dataset: str, keys: Collection[str]) -> bool:
        """Claim the staged files of artifacts for a data set, in place of those claimed before, unless other runs have them.

        Raises:
            LockTimeoutError: other runs have kept them longer than ``LOCK_TIMEOUT``.
            ProvisionerError: the volume failed, or the run must end.
        """
        with self._records.turn():
            others = self._records.other_builds()
            owner = next((other for other, build in others.items() if not build.keys.isdisjoint(keys)), None)
            own = self._records.builds()[dataset]
            wanted = frozenset(keys) if owner is None else frozenset()
            if own.keys != wanted:
                self._put(dataset, BuildRecord(own.space, wanted))
        if owner is None:
            self._lacks_files.pop(dataset, None)
            return True
        label = self._taken[dataset].recipe.label
        if dataset not in self._lacks_files:
            self._lacks_files[dataset] = Wait(self._session.settings.lock_timeout_seconds)
            _LOGGER.info("%s: waiting for files that another run is fetching for another data set", label)
        holder = describe_holder(self._layout.lock_of(owner))
        self._lacks_files[dataset].go_on(holder, f"files that {label} needs")
        return False

    @contextlib.contextmanager
    def others_kept(self) -> Iterator[tuple[frozenset[str], frozenset[str]]]:
        """Yield the data sets and artifact keys whose staged files other runs need; no run takes more while the block runs.

        Raises:
            ProvisionerError: the volume failed, or the run must end.
        """
        with self._records.turn():
            builds = self._records.other_builds()
            yield frozenset(builds), frozenset(key for build in builds.values() for key in build.keys)
