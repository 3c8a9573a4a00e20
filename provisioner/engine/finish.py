"""The end of a run that had something to do: write the derived files and the status, and tidy up."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from provisioner.engine.result import failed_state, fatal_failure, state_of
from provisioner.engine.run_log import log_left_out_of_cache

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provisioner.engine.app_files import AppFiles
    from provisioner.engine.indexes import Indexes
    from provisioner.engine.repository_step import RepositoryStep
    from provisioner.engine.result import Failure
    from provisioner.engine.status_file import StatusFile
    from provisioner.engine.volume_session import VolumeSession
    from provisioner.errors import ProvisionerError
    from provisioner.planning.model import Inventory, Plan
    from provisioner.remote.hub.repository.values import RepositoryOutcome
    from provisioner.reporting.status import RunState


class RunFinisher:
    """Writes the records of one run after its last step."""

    def __init__(
        self,
        session: VolumeSession,
        repositories: RepositoryStep,
        app_files: AppFiles,
        indexes: Indexes,
        status: StatusFile,
        *,
        keep_record: Callable[[], None],
    ) -> None:
        """Prepare; nothing is written yet.

        Args:
            session: the volume.
            repositories: decides which repository's failure counts.
            app_files: the files for the app.
            indexes: of the published data sets.
            status: is written last.
            keep_record: writes the record of the run that a report needs.
        """
        self._session = session
        self._store = session.store
        self._repositories = repositories
        self._app_files = app_files
        self._indexes = indexes
        self._status = status
        self._keep_record = keep_record

    def write_derived(self, plan: Plan, repositories: Sequence[RepositoryOutcome]) -> dict[str, str]:
        """Write everything that is derived from the published data sets of all runs; return the app's variables.

        Raises:
            ProvisionerError: the volume failed, or the run must end.
        """
        inventory = self._store.reader.inventory()
        self._store.hub_cache.update(inventory)
        self._indexes.update(inventory)
        if self._session.kind == "object" and self._session.settings.hub_cache == "auto":
            log_left_out_of_cache(plan, inventory)
        return self._write_app_files(inventory, repositories)

    def write_app_files(self, repositories: Sequence[RepositoryOutcome]) -> None:
        """Write the app's variables and the attributions for what is published now, if the run ends before its last step.

        Raises:
            ProvisionerError: the volume failed.
        """
        self._write_app_files(self._store.reader.inventory(measured=False), repositories)

    def _write_app_files(self, inventory: Inventory, repositories: Sequence[RepositoryOutcome]) -> dict[str, str]:
        values = self._app_files.environment(repositories[0], inventory)
        self._app_files.write(inventory, values)
        return values

    def write_outcome(
        self,
        plan: Plan,
        failures: Sequence[Failure],
        repositories: Sequence[RepositoryOutcome],
        *,
        tidies_up: bool,
        had_others: bool,
    ) -> tuple[RunState, ProvisionerError | None, Inventory]:
        """Clear what is left in staging, and write how the run ended.

        Args:
            plan: the plan, in which steps that turned out not to fit are skipped.
            failures: the failures of its steps.
            repositories: what became of them.
            tidies_up: no other run is working on the volume, so staging may be tidied.
            had_others: other runs may have worked on the volume, and may have been killed.

        Raises:
            ProvisionerError: the volume failed.
        """
        settings = self._session.settings
        error = fatal_failure(plan, failures, settings) or self._repositories.fatal_error(repositories)
        state = failed_state(settings) if error else state_of(plan, failures)
        if tidies_up and had_others:
            self._store.cleaner.clear_leftovers()
        if tidies_up and not failures:
            # Of a newer version that could not be fetched, what has arrived is kept for the next run.
            self._store.cleaner.clear_abandoned([step.id for step in plan.steps if step.fallback is None], time.time())
        inventory = self._store.reader.inventory()
        self._status.board.record_others(inventory)
        self._status.board.record_versions(inventory)
        self._status.board.record_indexes(inventory)
        # The status is written last: if the run dies before that, the next one finds something to do, and tidies up.
        self._status.board.finish(state, error)
        self._keep_record()
        self._status.close(state, error, inventory)
        return state, error, inventory
