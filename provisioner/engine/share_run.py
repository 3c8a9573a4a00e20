"""A run on one of several machines that fill one volume: it fetches its share, and publishes once all shares are complete.

The volume's lock is not held while bytes are fetched, since each worker writes only its own files. Publishing is an ordinary
run under the lock, which finds the bytes on the volume by their digests, hashes them, and fetches only what is missing.
"""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING

from provisioner.catalog.size import Size
from provisioner.engine.build_progress import BuildProgress
from provisioner.engine.result import ShareResult
from provisioner.engine.run_log import labelled
from provisioner.engine.share_division import make_division, steps_to_fetch
from provisioner.engine.share_fetch import ShareFetcher
from provisioner.engine.supervise import deadline, supervise
from provisioner.engine.volume_session import now
from provisioner.errors import (
    ConfigurationError,
    ProvisionerError,
    TryAgainError,
    VolumeFullError,
    error_to_report,
)
from provisioner.planning.capacity import need_of
from provisioner.reporting.status import HEARTBEAT_SECONDS
from provisioner.units import format_bytes, format_count, format_pair
from provisioner.volume.fs.write_budget import device_bound, kept_bound
from provisioner.volume.store.shares import ShareStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from provisioner.cancellation import Cancellation
    from provisioner.engine.result import Result
    from provisioner.engine.run import Run
    from provisioner.engine.share_division import Division
    from provisioner.planning.model import Inventory, Plan, Step
    from provisioner.reporting.progress import Progress
    from provisioner.volume.store.shares import Recorded

_LOGGER = logging.getLogger(__name__)


class ShareRun:
    """One worker's share of filling a volume, or the final step."""

    def __init__(self, run: Run, *, cancellation: Cancellation, progress: Progress) -> None:
        """Prepare; nothing is read yet.

        Args:
            run: makes the plan, and publishes at the end.
            cancellation: ends the work.
            progress: is told how it gets on.
        """
        self._run = run
        self._session = run.session
        self._settings = run.settings
        self._cancellation = cancellation
        self._progress = progress
        self._store = ShareStore(run.session.layout.shares)
        self._peers_hold: dict[tuple[str, str], bool] = {}
        """By data set and version. Peers are asked only once, so that everything this worker does follows the same plan."""
        self._shown: tuple[str, int, int] | None = None
        """Plan, index and bytes of the share that is being fetched."""
        self._next_line = 0.0

    def fetch(self, index: int, count: int) -> Result | ShareResult:
        """Fetch one share; publish if it was the last one missing.

        Raises:
            ConfigurationError: the volume cannot be shared in this way, or is being shared by a different number of workers.
            ProvisionerError: part of the share could not be fetched, or publishing failed.
        """
        self._check_settings()
        with deadline(self._settings.deadline_seconds, self._cancellation):
            result = supervise(lambda: self._fetch(index, count), self._cancellation, self._tick)
        if result is None:
            return self.finish()
        self._progress.close()
        return result

    def finish(self) -> Result:
        """Publish what all shares have together; if there is nothing left to fetch, do what an ordinary run does.

        Raises:
            TryAgainError: shares are missing; nothing was published.
            ProvisionerError: publishing failed.
        """
        self._check_settings()
        plan = supervise(self._recorded_plan, self._cancellation, lambda: None)
        result = self._run.provision(needs_whole=plan is not None)
        if plan is not None and result.error is None:
            with self._session.lock():
                self._store.clear(plan)
        return result

    def _check_settings(self) -> None:
        settings = self._settings
        if settings.staging_dir is not None or self._session.kind == "object":
            raise ConfigurationError(
                "SHARD: the workers' files must be on the volume that they share, and they are not with STAGING_DIR or on an"
                " object store's mount",
                hint="Leave out STAGING_DIR, or let one run fill the volume.",
            )

    def _recorded_plan(self) -> str | None:
        """Return the plan whose shares are all complete, or ``None`` if nothing needs to be fetched.

        Raises:
            TryAgainError: shares are missing.
        """
        division = self._divide()
        if division is None:
            return None
        plan = self._store.covering(division.sizes)
        if plan is None:
            raise _missing_error(self._store.recorded(division.plan, division.shares))
        return plan

    def _fetch(self, index: int, count: int) -> ShareResult | None:
        plan, inventory = self._run.plan()
        if not steps_to_fetch(plan):
            return None
        self._run.refuse_downloads(plan)
        if plan.shortfall is not None:
            raise plan.shortfall
        self._check_space(plan, inventory)
        division = self._divide()
        if division is None:
            # Peers hold everything, so there are no shares. One worker alone publishes, even on a volume without locks.
            return None if index == 0 else ShareResult(index, count, 0, 0, (0,))
        if self._store.covering(division.sizes) is not None:
            return None
        self._session.prepare()
        self._store.begin(division.plan, division.bytes_of_shares(count))
        with self._alone(index, count) as worker:
            # Another worker with this share, or the one that publishes, may have done the work while this one waited.
            if not steps_to_fetch(self._run.plan()[0]):
                self._store.remove_unused()
                return None
            return self._fetch_alone(division, index, count, worker)

    def _fetch_alone(self, division: Division, index: int, count: int, worker: str) -> ShareResult | None:
        own = division.share(index, count)
        size = sum(division.sizes[key] for key in own)
        if index not in self._store.recorded(division.plan, division.shares).done:
            _LOGGER.info("Share %d/%d: %s, %s", index, count, format_count(len(own), "file"), format_bytes(size))
            self._shown = (division.plan, index, size)
            self._show(*self._shown)
            work = self._store.blobs_of(index, count, worker)
            with self._store.watched():
                self._fetch_own(division, own, work)
                self._store.record(
                    division.plan,
                    index,
                    {
                        "schema_version": 1,
                        "share": [index, count],
                        "run_id": self._session.run_id,
                        "host": self._session.host,
                        "finished_at": now(),
                        "artifacts": {key: division.sizes[key] for key in sorted(own)},
                    },
                )
            self._store.remove_work(work)
        recorded = self._store.recorded(division.plan, division.shares)
        return None if recorded.is_complete else ShareResult(index, count, len(own), size, recorded.missing)

    def _fetch_own(self, division: Division, own: frozenset[str], work: Path) -> None:
        """Fetch the artifacts of one data set after another; a failure of one does not stop the others."""
        settings, layout = self._settings, self._session.layout
        bounds = [device_bound(layout.root, f"the volume {layout.root}")] if self._session.measures_space else []
        if settings.max_storage_bytes is not None:
            reader = self._session.store.reader
            bounds.append(kept_bound(settings.max_storage_bytes, lambda: _kept(reader.inventory())))
        errors: list[ProvisionerError] = []
        for rank, (step, artifacts) in enumerate(division.by_step(own)):
            self._cancellation.raise_if_requested()
            progress = BuildProgress(step.recipe, self._progress)
            progress.begin_fetching(Size(sum(division.sizes[artifact.key] for artifact in artifacts)))
            fetcher = ShareFetcher(
                self._run.clients.transfers_for(rank, self._cancellation),
                self._store,
                work,
                progress,
                label=step.recipe.label,
                bounds=bounds,
                find=self._run.clients.local_copies.find,
                check_cancelled=self._cancellation.raise_if_requested,
            )
            try:
                fetcher.fetch_all(artifacts)
            except ProvisionerError as error:
                if self._cancellation.reason is not None:
                    raise
                _LOGGER.error("%s%s", labelled(step.recipe.label, error), f". {error.hint}" if error.hint else "")
                errors.append(error)
            finally:
                progress.finish()
        if errors:
            raise error_to_report(errors)

    @contextlib.contextmanager
    def _alone(self, index: int, count: int) -> Iterator[str]:
        """Hold the lock of a share; yield a name for this worker if the volume has no locks, else an empty string.

        Raises:
            LockTimeoutError: another worker is holding the share.
        """
        if self._settings.lock == "external":
            yield self._session.run_id
            return
        with self._session.lock_on(self._store.lock_of(index, count)):
            yield ""

    def _divide(self) -> Division | None:
        plan, inventory = self._run.plan()
        steps = self._steps_to_divide(plan)
        return make_division(steps, inventory, self._run.clients.sources, self._cancellation.raise_if_requested)

    def _steps_to_divide(self, plan: Plan) -> list[Step]:
        """Return the steps whose files are fetched in shares. Steps that a peer holds are left to the publishing worker."""
        steps, peers = steps_to_fetch(plan), self._run.clients.peers
        if peers is None or not steps:
            return steps
        self._session.prepare()
        for recipe in (step.recipe for step in steps):
            key = recipe.dataset.id, recipe.version
            if key not in self._peers_hold:
                self._peers_hold[key] = peers.holds(recipe)
                if self._peers_hold[key]:
                    _LOGGER.info("%s: a peer has it, so it is not divided; the worker that publishes copies it", recipe.label)
        return [step for step in steps if not self._peers_hold[step.recipe.dataset.id, step.recipe.version]]

    def _check_space(self, plan: Plan, inventory: Inventory) -> None:
        """Check that the volume has space for all archives and all trees at the same time.

        Raises:
            VolumeFullError: it does not; nothing was fetched.
        """
        needed = sum(need_of(step.recipe).peak_at_once for step in self._steps_to_divide(plan))
        bounds = []
        if inventory.free_bytes is not None:
            bounds.append(inventory.free_bytes - inventory.reserved_bytes + inventory.staged_bytes)
        if self._settings.max_storage_bytes is not None:
            bounds.append(self._settings.max_storage_bytes - inventory.kept_bytes)
        if bounds and needed > min(bounds):
            shown, left = format_pair(needed, max(0, min(bounds)))
            raise VolumeFullError(
                f"shares keep all archives on the volume until they are published: {shown} needed, {left} free or allowed;"
                " nothing was fetched",
                hint="Enlarge the volume, raise MAX_STORAGE_GB, choose a smaller phase, or let one run fill the volume.",
            )

    def _tick(self) -> None:
        self._progress.tick()
        if self._shown is not None and time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + HEARTBEAT_SECONDS
            self._show(*self._shown)

    def _show(self, plan: str, index: int, size: int) -> None:
        """Write the progress of this worker, for 'status' and the page."""
        done = min(size, self._progress.moved_bytes)
        who = {"host": self._session.host, "run_id": self._session.run_id}
        self._store.show(plan, index, {**who, "bytes_done": done, "bytes_total": size, "updated_at": now()})


def _kept(inventory: Inventory) -> int:
    return inventory.kept_bytes + inventory.staged_bytes


def _missing_error(recorded: Recorded) -> TryAgainError:
    if recorded.count is None:
        return TryAgainError(
            "no share of this plan has been begun on this volume; nothing was published",
            hint="Start the workers with SHARD=i/n and the same settings, or run 'provision' without --finish.",
        )
    missing = ", ".join(f"{index}/{recorded.count}" for index in recorded.missing)
    return TryAgainError(
        f"these shares are missing: {missing}; nothing was published",
        hint=f"Start the worker of each, as with SHARD={recorded.missing[0]}/{recorded.count}; what it had is kept.",
    )
