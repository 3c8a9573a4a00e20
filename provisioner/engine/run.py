"""One run: view the volume, take the lock, view it again, carry out the plan, and write how it ended.

If there is nothing to do, a run ends after its first look: no lock is taken, nothing is written and no request is made. The
second look is needed because another run may have done the work while this one waited for the lock.
"""

from __future__ import annotations

import contextlib
import logging
import time
from types import MappingProxyType
from typing import TYPE_CHECKING

from provisioner.engine.app_files import AppFiles
from provisioner.engine.clients import Clients
from provisioner.engine.indexes import Indexes
from provisioner.engine.references import References
from provisioner.engine.repository_step import RepositoryStep
from provisioner.engine.request import missing_data_error
from provisioner.engine.result import Result, failed_state
from provisioner.engine.run_log import log_end, log_interruption, log_nothing_to_do, log_plan
from provisioner.engine.status_file import StatusFile, new_board
from provisioner.engine.supervise import deadline, machine_limits, supervise
from provisioner.engine.view import plan_run, view_volume
from provisioner.engine.volume_session import VolumeSession
from provisioner.errors import LockTimeoutError, ProvisionerError, VolumeError, VolumeNotWritableError
from provisioner.log_fields import describe_run
from provisioner.reporting.observation import Counters, Observation
from provisioner.reporting.run_record import run_record
from provisioner.volume.fs.mounts import is_persistent
from provisioner.volume.store.json_file import write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from provisioner.cancellation import Cancellation
    from provisioner.catalog.model import Catalog
    from provisioner.catalog.pins import Pins
    from provisioner.engine.updates import Updates
    from provisioner.engine.view import View
    from provisioner.engine.writers import Writers
    from provisioner.planning.model import Inventory, Plan
    from provisioner.remote.hub.repository.values import RepositoryOutcome
    from provisioner.reporting.progress import Progress
    from provisioner.reporting.status import RunState, StatusBoard
    from provisioner.settings.settings import Settings

_LOGGER = logging.getLogger(__name__)


class Run:
    """One run over one volume."""

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        *,
        cancellation: Cancellation,
        progress: Progress,
        in_image: bool = False,
        given: Mapping[str, str] = MappingProxyType({}),
        on_work: Callable[[Callable[[], Observation]], None] = lambda _observe: None,
    ) -> None:
        """Prepare; nothing is read or written yet.

        Args:
            settings: what the user asked for.
            catalog: what should exist.
            cancellation: ends the run.
            progress: is told how it gets on.
            in_image: whether to warn of a volume that is not mounted.
            given: the environment of this process; the app's variables that it sets are not changed.
            on_work: called when there turns out to be something to do, with a function that returns the state of the run; it
                must not block.
        """
        self.settings = settings
        self.catalog = catalog
        self.session = VolumeSession(settings, cancellation)
        self.clients = Clients(settings, self.session.layout.root, cancellation)
        self._pins = _pins_of(settings)
        self._references = References(settings, catalog, self._pins)
        self._updates: Updates | None = None
        """``None`` if the sources were not asked whether they have changed."""
        self._repositories = RepositoryStep(settings, self.session.layout.repository, self.clients)
        self._app_files = AppFiles(self.session.layout, catalog, given, hub_cache=self.session.hub_cache)
        self._indexes = Indexes(
            self.session.store,
            is_on=settings.index == "auto",
            limit=settings.max_storage_bytes,
            check_cancelled=cancellation.raise_if_requested,
        )
        self._cancellation = cancellation
        self._progress = progress
        self._in_image = in_image
        self._needs_whole = False
        self._on_work = on_work
        self._planned: Mapping[str, Any] | None = None
        """The status that the run will have once the plan is carried out."""
        self._begun = time.monotonic()
        self._latest: View | None = None
        """The most recent view of the volume."""
        self._status: StatusFile | None = None
        """``None`` until the plan is being carried out."""

    def plan(self) -> tuple[Plan, Inventory]:
        """Return what :meth:`provision` would do, and what the volume holds.

        Requests are made only for references that are not on the volume, and with ``UPDATE`` for data sets that are.

        Raises:
            ProvisionerError: the catalog lacks a requested name, or the volume cannot be read.
        """
        plan, inventory = self._plan()
        if self._ask_for_references(plan):
            plan, inventory = self._plan()
        return self._plan() if self._ask_upstream(plan, inventory) else (plan, inventory)

    def _plan(self) -> tuple[Plan, Inventory]:
        return plan_run(self.session, self._references, self._updates.newer if self._updates else {}, self._pins)

    @property
    def outdated(self) -> Mapping[str, Mapping[str, Any]]:
        """By id, what has changed at the sources of published data sets that are not updated."""
        return self._updates.reported if self._updates else {}

    def described_catalog(self, inventory: Inventory) -> Catalog:
        """Return the catalog with an entry for each reference that was requested or is on the volume.

        Raises:
            ConfigurationError: two of them would be published at the same path.
        """
        return self._references.catalog(inventory)

    def rehearse(self) -> View:
        """Return what :meth:`provision` would find. Nothing is written, and requests are those of :meth:`plan`.

        Raises:
            ProvisionerError: the run would refuse this before its first byte.
        """
        view = self._view_with_references()
        if self._ask_upstream(view.plan, view.inventory):
            view = self._view()
        if not view.is_satisfied:
            self.refuse_downloads(view.plan)
            if view.plan.shortfall is not None:
                raise view.plan.shortfall
        return view

    def provision(self, *, needs_whole: bool = False) -> Result:
        """Make the volume hold what was asked for.

        Args:
            needs_whole: whether other runs are kept from writing to the volume meanwhile.

        Returns:
            The result of the run; failures of data sets are in it, not raised.

        Raises:
            ProvisionerError: nothing could be done at all, or the run was told to stop.
        """
        self._needs_whole = needs_whole
        try:
            with deadline(self.settings.deadline_seconds, self._cancellation):
                return supervise(self._provision, self._cancellation, self._tick)
        except BaseException as error:
            # If the work did not end in time, its thread still holds the lock.
            self._record_early_end(error)
            raise
        finally:
            self._progress.close()

    def observe(self) -> Observation:
        """Return the state of the run; may be called from any thread, and asks neither the volume nor the network."""
        status, tally = self._status, self.clients.tally
        counters = Counters(
            received_bytes=self._progress.moved_bytes,
            stage_seconds=status.board.stage_seconds() if status else {},
            requests=tally.requests,
            retries=tally.retries,
            repeated=tally.repeated,
            dataset_seconds=status.board.dataset_seconds() if status else {},
        )
        document = status.present() if status else self._planned
        return Observation(document, counters=counters, throughput=self._progress.throughput())

    def _keep_record(self) -> None:
        """Write the record of this run that a report needs; the run does not depend on it."""
        try:
            write_json(self.session.layout.run_record, run_record(self.observe()), durable=False)
        except ProvisionerError as error:
            _LOGGER.debug("No record of the run is kept: %s", error.message)

    def _record_early_end(self, error: BaseException) -> None:
        """Record why the plan was not carried out to its end, if that is not recorded yet; the lock is held."""
        reason = self._cancellation.reason
        state: RunState = "failed" if reason is None else "interrupted"
        known = reason or (error if isinstance(error, ProvisionerError) else None)
        if self._status is not None and self._status.close_early(state, known):
            self._keep_record()
            log_interruption(state, seconds=time.monotonic() - self._begun, fetched_bytes=self._progress.moved_bytes)

    def _tick(self) -> None:
        self._progress.tick()
        if self._status is not None:
            self._status.write_if_due()

    def _provision(self) -> Result:
        view = self._view()
        if self._ask_upstream(view.plan, view.inventory):
            view = self._view()
        if view.is_satisfied:
            self._planned = view.status
            log_nothing_to_do(view.plan)
            return view.result()
        self.refuse_downloads(view.plan)
        self.clients.check()
        board = self._new_board(view)
        self._planned = board.document(used_bytes=view.inventory.kept_bytes, free_bytes=view.inventory.free_bytes)
        self._on_work(self.observe)
        self._log_warnings()
        if self._ask_for_references(view.plan):
            view = self._view()
            self.refuse_downloads(view.plan)
        try:
            self.session.prepare()
            return self._provision_beside_others(view) or self._provision_alone(view)
        except (VolumeNotWritableError, VolumeError, LockTimeoutError) as error:
            # What was missing at first may have been published since, by this run or by the one that holds the lock.
            view = self._view() if isinstance(error, LockTimeoutError) else self._latest or view
            has_begun = self._status is not None and self._status.was_opened
            if has_begun and not _may_end_well(view, error):
                raise
            return self._finish_without_writing(view, error)

    def _provision_beside_others(self, view: View) -> Result | None:
        """Work while other runs may be working too, and return the result, or ``None`` if the whole volume is needed."""
        if view.has_all_data or view.plan.shortfall or self._needs_whole or not self.session.allows_several_writers:
            return None
        from provisioner.engine.shared_writer import SharedWriter  # noqa: PLC0415 - a start with nothing to do has no need of it

        with self.session.lock(shared=True), contextlib.closing(SharedWriter(self.session, self._cancellation)) as writers:
            view = self._view()
            while not view.is_satisfied and writers.wait_for_any(view.plan.work):
                view = self._view()
            return None if view.plan.evict or view.plan.shortfall else self._provision_locked(view, writers)

    def _provision_alone(self, view: View) -> Result:
        """Do the work while no other run writes to the volume."""
        from provisioner.engine.writers import SoleWriter  # noqa: PLC0415 - as above

        with self.session.lock(waits=not view.has_all_data):
            return self._provision_locked(self._view(), SoleWriter())

    def _provision_locked(self, view: View, writers: Writers) -> Result:
        if view.is_satisfied:
            self._planned = view.status
            log_nothing_to_do(view.plan, " any more, another run has done it")
            return view.result()
        self.refuse_downloads(view.plan)
        try:
            with machine_limits():
                return self._carry_out(view, writers)
        except BaseException as error:
            if not _may_end_well(view, error):
                # Done while the lock is held: the next writer writes the same file.
                self._record_early_end(error)
            raise

    def _view(self) -> View:
        self._latest = view_volume(
            self.session,
            self._references,
            self._repositories,
            self._app_files,
            indexes=self._indexes,
            updates=self._updates,
            pins=self._pins,
        )
        return self._latest

    def _new_board(self, view: View) -> StatusBoard:
        return new_board(self.session, view.plan, view.inventory, self._updates.reported if self._updates else {})

    def _ask_upstream(self, plan: Plan, inventory: Inventory) -> bool:
        """Ask the sources of what is published whether they have changed, if ``UPDATE`` says so; return whether any has."""
        mode = self.settings.update
        if mode == "never":
            return False
        # Most starts ask no source, and must not pay for importing this.
        from provisioner.engine.updates import Updates  # noqa: PLC0415

        takes = mode == "auto" and self.settings.may_download and self._pins is None
        self._updates = self._updates or Updates(self.clients, self._cancellation, takes=takes)
        return self._updates.ask(plan, inventory)

    def _view_with_references(self) -> View:
        view = self._view()
        return self._view() if self._ask_for_references(view.plan) else view

    def _ask_for_references(self, plan: Plan) -> bool:
        """Ask the sources of those references in a plan that are not described yet; return whether there were any."""
        return self.settings.may_download and self._references.ask(plan, self.clients, self._cancellation)

    def _carry_out(self, view: View, writers: Writers) -> Result:
        # Most starts have nothing to do, and must not pay for importing what fetches and unpacks.
        from provisioner.engine.finish import RunFinisher  # noqa: PLC0415
        from provisioner.engine.steps import StepRunner  # noqa: PLC0415

        describe_run(self.session.run_id, view.plan.phase)
        log_plan(view.plan)
        self._progress.expect({step.recipe.label: step.to_fetch for step in view.plan.steps if step.action == "fetch"})
        board = self._new_board(view)
        labels = {step.id: step.recipe.label for step in view.plan.steps}
        status = self._status = StatusFile(self.session, board, self._progress, labels, writers)
        with writers.entering() as is_alone:
            status.open(view.inventory)
            if view.plan.shortfall is not None:
                raise view.plan.shortfall
            if is_alone:
                self.session.store.cleaner.clear_leftovers()
        repositories = self._complete_repositories(view, writers)
        status.board.record_repositories([outcome.as_record() for outcome in repositories])
        self._evict(view.plan)
        runner = StepRunner(
            view.plan, self.session, self.clients, status, writers, progress=self._progress, cancellation=self._cancellation
        )
        if self.settings.on_shortfall == "fail":
            runner.check_all_fit()
        finisher = RunFinisher(
            self.session, self._repositories, self._app_files, self._indexes, status, keep_record=self._keep_record
        )
        try:
            plan, failures = runner.run()
        except ProvisionerError:
            # The run ends here, but what it has published stays, and whoever uses that needs the attributions.
            with contextlib.suppress(ProvisionerError), writers.holding("finish"):
                finisher.write_app_files(repositories)
            raise
        with writers.holding("finish"):
            values = finisher.write_derived(plan, repositories)
        with writers.leaving() as is_alone:
            state, error, inventory = finisher.write_outcome(
                plan, failures, repositories, tidies_up=is_alone, had_others=not writers.is_sole
            )
        log_end(
            state,
            plan,
            failures,
            inventory,
            seconds=time.monotonic() - self._begun,
            fetched_bytes=self._progress.moved_bytes,
            served_by=self.clients.http.rewritten,
            by_others=runner.by_others,
        )
        return Result(state, plan, status.document(), error, values, worked=True)

    def _complete_repositories(self, view: View, writers: Writers) -> tuple[RepositoryOutcome, ...]:
        """Ask for the repositories that are not known yet, in one run at a time."""
        if None not in view.repositories:
            return self._repositories.complete(view.repositories)
        with writers.holding("repository"):
            return self._repositories.complete(view.repositories if writers.is_sole else self._repositories.recall())

    def _evict(self, plan: Plan) -> None:
        """Remove the superseded versions whose space the plan needs; no other run writes to the volume."""
        cleaner = self.session.store.cleaner
        for dataset, version in plan.evict:
            _LOGGER.info("%s: the superseded version %s is removed, since its space is needed", dataset, version)
            try:
                cleaner.remove(dataset, version)
            except ProvisionerError as error:
                _LOGGER.warning("%s: %s is not removed: %s", dataset, version, error.message)

    def _finish_without_writing(self, view: View, error: ProvisionerError) -> Result:
        """Return the result of a run that may not write to the volume, if no data is missing.

        The Hub is asked for the repositories that are not known yet, but the answer is not recorded.

        Raises:
            ProvisionerError: data is missing.
        """
        if self._status is not None:
            self._status.abandon()
        if not view.has_all_data:
            raise view.plan.shortfall or error
        names = ", ".join(view.outdated) or "records"
        _LOGGER.warning("%s; all data are there, so the run goes on without updating %s", error.message, names)
        repositories = self._repositories.complete(view.repositories, remember=False)
        fatal = self._repositories.fatal_error(repositories)
        state = failed_state(self.settings) if fatal else view.status["state"]
        return Result(state, view.plan, view.status, fatal, self._app_files.environment(repositories[0], view.inventory))

    def refuse_downloads(self, plan: Plan) -> None:
        """Raise an error that names what is missing, where downloads are forbidden."""
        missing = [step.recipe.label for step in plan.steps if step.action == "fetch" or (plan.shortfall and step.reason)]
        if missing and not self.settings.may_download:
            raise missing_data_error(self.settings, ", ".join(missing))

    def _log_warnings(self) -> None:
        for sentence in self.settings.warnings:
            _LOGGER.warning("%s", sentence)
        root = self.session.layout.root
        if self._in_image and not is_persistent(root):
            _LOGGER.warning(
                "%s is not a mounted volume: what is fetched is gone with the container. Mount one, e.g. -v data:%s", root, root
            )


def _pins_of(settings: Settings) -> Pins | None:
    """Return the pins, which are then the only accepted states, or ``None`` if there are none.

    Raises:
        ConfigurationError: their file cannot be read.
    """
    if settings.pins is None:
        return None
    from provisioner.engine.pinning import load_pins  # noqa: PLC0415 - most starts have none

    return load_pins(settings.pins)


def _may_end_well(view: View, error: BaseException) -> bool:
    """Return whether the app may start in spite of an error: all data is here, and only records cannot be written."""
    return view.has_all_data and isinstance(error, VolumeNotWritableError)
