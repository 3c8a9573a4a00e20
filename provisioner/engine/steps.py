"""The steps of a plan: adopt, link, or build each data set, and record how that ended."""

from __future__ import annotations

import contextlib
import logging
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from provisioner.engine.build import DataSetBuilder, check_fits
from provisioner.engine.build_limits import BuildLimits
from provisioner.engine.build_progress import BuildProgress
from provisioner.engine.concurrent_steps import ConcurrentSteps
from provisioner.engine.request import make_rules, missing_data_error
from provisioner.engine.run_log import labelled
from provisioner.engine.shared_volume import SharedVolume
from provisioner.engine.volume_session import now
from provisioner.errors import (
    TRY_NEXT_AFTER,
    ArchiveTooLargeError,
    ConfigurationError,
    NoRoomError,
    PartError,
    ProvisionerError,
    TreeTooLargeError,
    UpstreamChangedError,
    VolumeFullError,
    VolumeNotWritableError,
)
from provisioner.log_fields import about
from provisioner.planning.capacity import space_hint
from provisioner.planning.plan import fitted
from provisioner.units import format_bytes, format_count

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from provisioner.cancellation import Cancellation
    from provisioner.engine.clients import Clients
    from provisioner.engine.result import Failure
    from provisioner.engine.status_file import StatusFile
    from provisioner.engine.volume_session import VolumeSession
    from provisioner.engine.writers import Writers
    from provisioner.planning.model import Plan, Receipt, Step
    from provisioner.reporting.progress import Progress

_LOGGER = logging.getLogger(__name__)

_TAKES_SPACE: Final = (VolumeFullError, ArchiveTooLargeError, TreeTooLargeError, PartError)
"""After these errors, what was staged would only take space from other data sets."""


class StepRunner:
    """Carries out the steps of one plan while the lock is held."""

    def __init__(
        self,
        plan: Plan,
        session: VolumeSession,
        clients: Clients,
        status: StatusFile,
        writers: Writers,
        *,
        progress: Progress,
        cancellation: Cancellation,
    ) -> None:
        """Prepare; nothing is done yet.

        Args:
            plan: its steps are carried out.
            session: the volume.
            clients: fetch what is missing.
            status: is written after every step.
            writers: the other runs that fill the volume.
            progress: is told of bytes.
            cancellation: ends the run.
        """
        self._session = session
        self._settings = session.settings
        self._store = session.store
        self._writers = writers
        self._taken: dict[str, Step] = {}
        """The steps that were begun, as adapted to the space that was left."""
        self._by_others: dict[str, Receipt] = {}
        """Receipts of versions that other runs have published since the plan was made."""
        self._volume = SharedVolume(session, writers)
        self._clients = clients
        self._status = status
        self._progress = progress
        self._cancellation = cancellation
        self._plan = plan
        self._outcomes = _Outcomes(plan)

    def run(self) -> tuple[Plan, list[Failure]]:
        """Carry out all steps; the failure of one data set does not stop the others.

        Returns:
            The plan, in which data sets of a phase that turned out not to fit are marked as skipped; and the failures.

        Raises:
            ProvisionerError: the run must end, or nothing can be written any more.
        """
        ConcurrentSteps(self, self._cancellation).run(self._plan.work)
        for skipped, reason in self._outcomes.left_out_if_all():
            # If nothing fits at all, the run fails.
            self._status.board.record_failure(skipped.id, reason)
        return self._outcomes.plan, self._outcomes.failures

    def check_all_fit(self) -> None:
        """Ask the sources for sizes that the plan lacks, and add them up, for runs that fetch all or nothing.

        A source that cannot be asked now is left for its step to deal with.

        Raises:
            NoRoomError: not all of it fits; nothing was fetched.
        """
        added = 0
        for step in self._plan.work:
            if step.action != "fetch" or (step.download is not None and step.download.exact is not None):
                continue
            peers = self._clients.peers
            if peers is not None and (size := peers.size_of(step.recipe)) is not None:
                added += size
                continue
            for source in step.recipe.sources:
                self._cancellation.raise_if_requested()
                try:
                    resolved = self._clients.sources.resolve(source)
                except (*TRY_NEXT_AFTER, ConfigurationError):
                    continue
                added += check_fits(step, resolved.artifacts, added=added)
                break

    # --- the methods of :class:`provisioner.engine.concurrent_steps.StepHandler`

    def may_begin(self, step: Step) -> bool:
        """Take a data set, unless another run has it; check whether it was published meanwhile."""
        taken = self._writers.take(step)
        if taken is None:
            return False
        self._taken[step.id] = taken
        if not self._writers.is_sole and self._store.published.version_in_wanted_form(step.id) == step.recipe.version:
            receipt = self._store.reader.receipt(step.id, step.recipe.version)
            if receipt is not None:
                self._by_others[step.id] = receipt
        return True

    def wait(self, steps: Sequence[Step]) -> None:
        """Wait for the runs that have the remaining data sets."""
        self._writers.wait(steps)

    def had_company(self, step: Step) -> bool:
        """Return whether another run was building something at the same time as a step."""
        return self._writers.had_company(step.id)

    @property
    def by_others(self) -> Collection[str]:
        """The ids of the data sets that another run has published since the plan was made."""
        return self._by_others.keys()

    def begin(self, step: Step) -> None:
        """Log that a data set is fetched."""
        if step.action == "fetch" and step.id not in self._by_others:
            with about(step.recipe.label):
                _LOGGER.info("%s %s; fetching it", step.recipe.label, step.why)

    def carry_out(self, step: Step, rank: int, cancellation: Cancellation) -> None:
        """Adopt, link, or build a data set."""
        with about(step.recipe.label):
            if (receipt := self._by_others.get(step.id)) is not None:
                self._status.board.record_published(step.id, receipt)
                self._progress.finish(step.recipe.label)
                _LOGGER.info("%s: another run has published it", step.recipe.label)
                return
            # If the Hub client's cache shows this exact version, other versions of the repository share files with it.
            is_shown = self._session.layout.cache_record(step.id, step.recipe.version).exists()
            with self._writers.holding("finish") if is_shown else contextlib.nullcontext():
                self._record_published(step, self._carry_out(self._taken[step.id], rank, cancellation))

    def _carry_out(self, step: Step, rank: int, cancellation: Cancellation) -> Receipt:
        if step.action == "skip":
            raise NoRoomError(f"{step.recipe.label} {step.why}; other runs have used the space", hint=space_hint(step.recipe))
        if step.action == "link":
            self._store.published.switch(step.id, step.recipe.version)
            return self._receipt(step)
        if step.action == "adopt" and self._adopt(step):
            return self._receipt(step)
        return self._build(step, rank, cancellation)

    def settle(self, step: Step, error: ProvisionerError | None) -> None:
        """Record how a step ended; an error that concerns the whole run is raised again."""
        with about(step.recipe.label):
            if error is not None and step.fallback is not None and self._keeps(step, step.fallback, error):
                pass
            elif isinstance(error, NoRoomError):
                self._leave_out(step, error)
            elif error is not None:
                self._record_failure(step, error)
                self._outcomes.failures.append((step, error))
        self._status.write_between(self._store.reader.inventory())
        # Whoever waits for this data set finds in the status how it ended.
        self._writers.release(step.id)

    def _keeps(self, step: Step, fallback: Receipt, error: ProvisionerError) -> bool:
        """Keep the published version, since the newer one is not available; return ``False`` if it is no longer published.

        Raises:
            ProvisionerError: the error concerns the whole run.
        """
        self._raise_if_fatal(error)
        if self._store.published.version(step.id) != fallback.version:
            return False
        _LOGGER.warning("%s: the newer version could not be built: %s; the published one stays", step.recipe.label, error.message)
        if isinstance(error, (*_TAKES_SPACE, UpstreamChangedError)):
            # Files that were changed upstream meanwhile need not belong to the version that comes next.
            self._store.cleaner.clear_staging(step.id)
        self._status.board.record_published(step.id, fallback)
        failed = {"state": "outdated", "recorded": fallback.pin, "found": None, "error": error.as_record()}
        self._status.board.record_upstream(step.id, {**failed, "why": "the newer version could not be built"})
        self._outcomes.keep(step, fallback, error)
        return True

    def _raise_if_fatal(self, error: ProvisionerError) -> None:
        """Raise an error again if it concerns the whole run."""
        became_read_only = isinstance(error, VolumeNotWritableError) and not os.access(self._session.layout.private, os.W_OK)
        if self._cancellation.reason is not None or became_read_only:
            raise error

    def put_back(self, step: Step) -> None:
        """Record that a step is waiting again; what it has staged stays until the space is needed."""
        self._status.board.set_state(step.id, "pending", bytes_done=0)
        self._writers.release(step.id, retry_alone=True)

    def _leave_out(self, step: Step, error: NoRoomError) -> None:
        """Skip a data set of a phase that does not fit; one that was requested by name counts as failed."""
        self._volume.clear_given_up(step.id)
        if self._settings.datasets or self._settings.on_shortfall == "fail":
            _LOGGER.error("%s", labelled(step.recipe.label, error))
            self._status.board.record_failure(step.id, error)
            self._outcomes.failures.append((step, error))
        else:
            _LOGGER.warning("%s: skipped: %s", step.recipe.label, error.message)
            self._status.board.set_state(step.id, "skipped", reason="storage_limit")
            self._outcomes.skip(step, error)

    def _record_failure(self, step: Step, error: ProvisionerError) -> None:
        """Record a data set's failure; one that concerns the whole run is raised again."""
        self._raise_if_fatal(error)
        _LOGGER.error("%s%s", labelled(step.recipe.label, error), f". {error.hint}" if error.hint else "")
        self._status.board.record_failure(step.id, error)
        if isinstance(error, PartError):
            # The archive is right: with a corrected rule, nothing is fetched again.
            self._store.cleaner.clear_staging(step.id)
        elif isinstance(error, _TAKES_SPACE):
            # Its staged files would leave no space for the other data sets.
            self._volume.clear_given_up(step.id)

    def _adopt(self, step: Step) -> bool:
        """Hash a tree without a receipt, and publish it if it is right; if it is wrong, it is replaced by a new one."""
        self._status.board.set_state(step.id, "unpacking")
        may_download = self._settings.may_download
        if self._store.publisher.adopt(step.id, step.recipe.version, keep=not may_download):
            return True
        if not may_download:
            raise missing_data_error(self._settings, step.recipe.label)
        return False

    def _build(self, step: Step, rank: int, cancellation: Cancellation) -> Receipt:
        if step.action != "fetch":
            _LOGGER.info("%s: what is there is wrong; fetching it", step.recipe.label)
            # The plan has no space for it, but the removal of the wrong tree has freed some.
            inventory = self._store.reader.inventory()
            step = fitted(replace(step, action="fetch"), inventory, make_rules(self._settings), taken=0)
            if step.action == "skip":
                raise NoRoomError(f"{step.recipe.label} {step.why}", hint=space_hint(step.recipe))
        progress = BuildProgress(step.recipe, self._progress, self._status.board)
        with cancellation.part() as waits:
            builder = DataSetBuilder(
                step,
                self._store,
                self._clients.sources,
                self._clients.transfers_for(rank, waits),
                self._clients.local_copies,
                limits=BuildLimits(self._volume, step.recipe),
                cancellation=cancellation,
                progress=progress,
                peers=self._clients.peers,
                rank=rank,
                waits=waits,
            )
            try:
                receipt = builder.build(now)
            finally:
                progress.finish()
        if (old := step.fallback) is not None:
            changed = f"{format_count(len(builder.fetched), 'file')} fetched, what else it has was here"
            _LOGGER.info("%s: updated from %s to %s: %s", step.recipe.label, old.pin, receipt.pin, changed)
            _LOGGER.info("%s: the version before, %s, stays until 'gc' removes it", step.recipe.label, old.version)
        return receipt

    def _receipt(self, step: Step) -> Receipt:
        return self._store.reader.inventory(measured=False).receipts[step.id, step.recipe.version]

    def _record_published(self, step: Step, receipt: Receipt) -> None:
        self._status.board.record_published(step.id, receipt)
        # The id of a reference differs from its name, and shows where the data set is.
        where = f" at {self._store.layout.published(step.id)}" if step.recipe.dataset.reference else ""
        _LOGGER.info(
            "%s: ready%s, %s, %s, %s",
            step.recipe.label,
            where,
            format_count(receipt.files, "file"),
            format_bytes(receipt.size),
            _proof(step, receipt),
        )


def _proof(step: Step, receipt: Receipt) -> str:
    """Return in words what the files of a data set were compared with."""
    match receipt.verified_against:
        case "catalog":
            reference = step.recipe.dataset.reference
            return "verified against the digest that the reference states" if reference else "verified against the catalog"
        case "listing":
            return "verified against the Hub's listing"
        case "peer":
            return "verified against the manifest of a peer"
        case "archive":
            return "compared with the sizes and CRC-32 of the archive's index, since the whole archive was not fetched"
    return "NOT verified: no digest of it is known"


class _Outcomes:
    """The results of the steps of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        """The plan, in which steps that turned out not to fit are skipped."""
        self.failures: list[Failure] = [(step, step.error) for step in plan.steps if step.error]
        self._left_out: list[Failure] = []

    def skip(self, step: Step, error: NoRoomError) -> None:
        """Record that a data set of a phase is left out."""
        skipped = replace(step, action="skip", reason="storage_limit", why=error.message)
        self.plan = replace(self.plan, steps=tuple(skipped if other is step else other for other in self.plan.steps))
        self._left_out.append((step, error))

    def keep(self, step: Step, fallback: Receipt, error: ProvisionerError) -> None:
        """Record that a published version is kept, since the newer one is not available."""
        why = f"is here; the newer version could not be built: {error.message}"
        kept = replace(step, action="keep", recipe=step.recipe.as_version(fallback.version), why=why)
        self.plan = replace(self.plan, steps=tuple(kept if other is step else other for other in self.plan.steps))

    def left_out_if_all(self) -> Sequence[Failure]:
        """Return what was left out, and count it as failed, if nothing else remains."""
        if not (self._left_out and all(step.action in {"skip", "refuse"} for step in self.plan.steps)):
            return ()
        self.failures += self._left_out
        return self._left_out
