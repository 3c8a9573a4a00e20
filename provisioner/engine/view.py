"""A view of the volume compared with what was requested: the plan, and the records that must be written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from provisioner.engine.request import make_request, make_rules
from provisioner.engine.result import Result, state_of
from provisioner.engine.resumption import with_staged_bytes
from provisioner.engine.status_file import new_board
from provisioner.planning.plan import make_plan
from provisioner.reporting.status import SCHEMA_VERSION, is_same_outcome
from provisioner.volume.store.json_file import read_json
from provisioner.volume.store.newer_records import is_newer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.catalog.pins import Pins
    from provisioner.engine.app_files import AppFiles
    from provisioner.engine.indexes import Indexes
    from provisioner.engine.references import References
    from provisioner.engine.repository_step import RepositoryStep
    from provisioner.engine.updates import Updates
    from provisioner.engine.volume_session import VolumeSession
    from provisioner.planning.model import Inventory, Plan
    from provisioner.planning.upstream import Newer
    from provisioner.remote.hub.repository.values import RepositoryOutcome


@dataclass(frozen=True, slots=True)
class View:
    """The state of the volume, and the plan for it."""

    inventory: Inventory
    plan: Plan
    repositories: tuple[RepositoryOutcome | None, ...]
    """The known state of each data-set repository, the app's own first; ``None`` for one that the Hub must be asked for."""
    environment: Mapping[str, str]
    """The app's variables, as far as they are known."""
    status: Mapping[str, Any]
    """The status document for the case that there is nothing to do."""
    outdated: tuple[str, ...]
    """Names of the records that are missing or do not say what they should."""

    @property
    def is_satisfied(self) -> bool:
        """Whether there is nothing to do at all."""
        return not self.plan.work and self.has_all_data and None not in self.repositories and not self.outdated

    @property
    def has_all_data(self) -> bool:
        """Whether every requested data set is published, if not necessarily in its newest state; records may be missing."""
        plan = self.plan
        is_missing = any(step.fallback is None for step in plan.work)
        return not (is_missing or plan.shortfall or any(step.error for step in plan.steps))

    def result(self) -> Result:
        """Return the result of a run that finds this and has nothing to do."""
        return Result(self.status["state"], self.plan, self.status, environment=self.environment)


def view_volume(
    session: VolumeSession,
    references: References,
    repositories: RepositoryStep,
    files: AppFiles,
    *,
    indexes: Indexes,
    updates: Updates | None = None,
    pins: Pins | None = None,
) -> View:
    """Read the volume's records, and plan. No lock is taken, no request is made and nothing is written.

    Args:
        session: the volume.
        references: provide the catalog, with entries for references.
        repositories: what is known of the data-set repositories.
        files: the files for the app.
        indexes: the indexes of what is published.
        updates: what the sources have said, or ``None`` if they were not asked.
        pins: the only accepted states; ``None`` means that any is accepted.

    Raises:
        ProvisionerError: the catalog lacks a requested name, or the volume cannot be read.
    """
    plan, inventory = plan_run(session, references, updates.newer if updates else {}, pins)
    outcomes = repositories.recall()
    values = files.environment(outcomes[0], inventory)
    board = new_board(session, plan, inventory, updates.reported if updates else {})
    board.record_repositories([outcome.as_record() if outcome else None for outcome in outcomes])
    board.record_indexes(inventory)
    board.finish(state_of(plan), None)
    status = board.document(used_bytes=inventory.kept_bytes + inventory.staged_bytes, free_bytes=inventory.free_bytes)
    outdated = files.outdated(inventory, values)
    if session.store.hub_cache.outdated(inventory):
        outdated.append("the Hub client's cache")
    outdated += [f"index/{dataset}" for dataset in indexes.outdated(inventory)]
    found = read_json(session.layout.status)
    if not is_same_outcome(found, status) and not is_newer(found, SCHEMA_VERSION):
        outdated.append(session.layout.status.name)
    return View(inventory, plan, outcomes, values, status, tuple(outdated))


def plan_run(
    session: VolumeSession,
    references: References,
    newer: Mapping[str, Newer] = MappingProxyType({}),
    pins: Pins | None = None,
) -> tuple[Plan, Inventory]:
    """Return what a run would do, and what the volume holds.

    Args:
        session: the volume.
        references: provide the catalog, with entries for references.
        newer: by id, newer states of published data sets that are to be fetched.
        pins: the only accepted states; ``None`` means that any is accepted.

    Raises:
        ProvisionerError: the catalog lacks a requested name, or the volume cannot be read.
    """
    inventory = session.store.reader.inventory(references.names)
    catalog = references.catalog(inventory)
    request = replace(make_request(session.settings, catalog), newer=newer)
    if pins is not None:
        from provisioner.engine.pinning import pinned_data_sets  # noqa: PLC0415 - only with PINS

        request = replace(request, pinned=pinned_data_sets(pins, catalog, inventory, session.store.reader))
    plan = make_plan(request, catalog, inventory, make_rules(session.settings))
    return with_staged_bytes(plan, session.layout), inventory
