"""The phase loop: ask what is there, plan, act. Where remote and volume meet for a whole run.

A run plans without the lock. With nothing to do it ends there: nothing is written, nobody is asked. Otherwise it takes the
lock, plans again (another writer may have done the work meanwhile), and acts.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from provisioner.catalog.license import attribution_text
from provisioner.engine.build import DataSetBuilder
from provisioner.engine.build_progress import BuildProgress
from provisioner.engine.clients import Clients
from provisioner.engine.repositories import known, record_of, requests_of
from provisioner.engine.request import make_request, make_rules
from provisioner.engine.supervise import deadline, supervise
from provisioner.engine.volume_session import VolumeSession, now
from provisioner.errors import (
    LockTimeoutError,
    MissingDataError,
    NoRoomError,
    ProvisionerError,
    VolumeError,
    VolumeFullError,
    VolumeNotWritableError,
)
from provisioner.planning.plan import make_plan
from provisioner.remote.hub.repository import RepositoryOutcome, RepositoryRequest, ensure_repository, environment
from provisioner.reporting.status import HEARTBEAT_SECONDS, StatusBoard, is_same_outcome
from provisioner.volume.fs.atomic import write_atomic
from provisioner.volume.fs.files import read_file
from provisioner.volume.fs.mounts import is_persistent
from provisioner.volume.fs.space import free_bytes
from provisioner.volume.store.environment_file import environment_lines
from provisioner.volume.store.json_file import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioner.cancellation import Cancellation
    from provisioner.catalog.model import Catalog
    from provisioner.planning.model import Inventory, Plan, Receipt, Request, Rules, Step
    from provisioner.reporting.progress import Progress
    from provisioner.reporting.status import RunState
    from provisioner.settings.model import Settings

_LOGGER = logging.getLogger(__name__)

EXPORTED: Final = ("DATASETS_DIR", "TRACKIO_DATASET_REPO", "TRACKIO_DATASET_ID")
"""What an app may be told, unless the user has told it already."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended."""

    state: RunState
    plan: Plan
    status: Mapping[str, Any]
    error: ProvisionerError | None = None
    """Why the run failed; ``None``: it did not."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What the app gets."""
    worked: bool = False
    """Something was written."""


@dataclass(frozen=True, slots=True)
class _View:
    """What a look at the volume showed, and what follows from it."""

    inventory: Inventory
    plan: Plan
    repositories: tuple[RepositoryOutcome | None, ...]
    """What is remembered, the app's own first; ``None``: it must be asked for."""
    environment: Mapping[str, str]
    status: Mapping[str, Any]
    due: tuple[str, ...]
    """Records that are missing or old."""

    @property
    def satisfied(self) -> bool:
        """Whether there is nothing to do at all."""
        return self.only_records and not self.due

    @property
    def only_records(self) -> bool:
        """Whether everything is there but, perhaps, records that say so."""
        plan = self.plan
        return not (plan.work or plan.shortfall or None in self.repositories or any(step.error for step in plan.steps))


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
    ) -> None:
        """Prepare; nothing is looked at.

        Args:
            settings: what the user asked for.
            catalog: what should exist.
            cancellation: ends the run.
            progress: is told how it gets on.
            in_image: a volume that is not mounted is worth a warning.
            given: the container's environment; what of our names for the app is set there is never changed.
        """
        self.settings = settings
        self.catalog = catalog
        self._cancellation = cancellation
        self._progress = progress
        self._in_image = in_image
        self._given = {name: given[name] for name in EXPORTED if given.get(name)}
        self.session = VolumeSession(settings, cancellation)
        self.layout, self.store, self.run_id = self.session.layout, self.session.store, self.session.run_id
        self.clients = Clients(settings, self.layout.root, cancellation)
        self._repository_requests = requests_of(settings)
        self._board = self._fresh_board()
        self._writing = False
        """We hold the lock, and the status file speaks of this run."""
        self._last_written = 0.0
        self._used_bytes = 0

    # --- planning ------------------------------------------------------------------------------------------------

    @property
    def wanted(self) -> Request:
        """What was asked for; see :func:`provisioner.engine.request.make_request`."""
        return make_request(self.settings, self.catalog)

    @property
    def rules(self) -> Rules:
        """What decides between fetching and leaving out."""
        return make_rules(self.settings)

    def plan(self) -> tuple[Plan, Inventory]:
        """Return what a run would do, without the lock and without a request.

        Raises:
            ProvisionerError: names that do not exist, or a volume that cannot be looked at.
        """
        inventory = self.store.reader.inventory()
        return make_plan(self.wanted, self.catalog, inventory, self.rules), inventory

    def _look(self) -> _View:
        plan, inventory = self.plan()
        repositories = self._known_repositories()
        values = self._environment(repositories[0])
        board = self._fresh_board(plan)
        board.record_plan(plan, inventory)
        board.record_repositories([outcome.as_record() if outcome else None for outcome in repositories])
        board.finish(_state(plan, []), None)
        status = board.document(used_bytes=inventory.kept_bytes + inventory.staged_bytes, free_bytes=inventory.free_bytes or 0)
        due = []
        if _read(self.layout.environment) != environment_lines(values):
            due.append("provision.env")
        if _read(self.layout.attribution) != self._attribution(inventory):
            due.append("ATTRIBUTION.md")
        if not is_same_outcome(read_json(self.layout.status), status):
            due.append("dataset_status.json")
        return _View(inventory, plan, repositories, values, status, tuple(due))

    # --- acting --------------------------------------------------------------------------------------------------

    def provision(self) -> Result:
        """Make the volume hold what was asked for.

        Returns:
            How it ended; data sets that failed are in it, not raised.

        Raises:
            ProvisionerError: nothing could be done at all, or the run was told to stop.
        """
        try:
            with deadline(self.settings.deadline_seconds, self._cancellation):
                return supervise(self._provision, self._cancellation, self._tick)
        except BaseException as error:
            if self._writing:
                ended: RunState = "interrupted" if error is self._cancellation.reason else "failed"
                self._board.finish(ended, error if isinstance(error, ProvisionerError) else None)
                with contextlib.suppress(ProvisionerError):
                    self._write_status()
            raise
        finally:
            self._progress.close()

    def _tick(self) -> None:
        self._progress.tick()
        if self._writing and time.monotonic() - self._last_written >= HEARTBEAT_SECONDS:
            with contextlib.suppress(ProvisionerError):
                self._write_status()

    def _provision(self) -> Result:
        view = self._look()
        if view.satisfied:
            _LOGGER.info("Nothing to do: the volume holds %s", _asked_for(view.plan))
            return Result(view.status["state"], view.plan, view.status, environment=view.environment)
        self._refuse_downloads(view.plan)
        self.clients.check()
        self._warn_of_volume()
        try:
            self.session.prepare()
            with self.session.lock(waits=not view.only_records):
                return self._with_lock()
        except (VolumeNotWritableError, VolumeError, LockTimeoutError) as error:
            # With all data there, records that are old are no reason to keep an app from starting.
            if self._writing and not (view.only_records and isinstance(error, VolumeNotWritableError)):
                raise
            return self._without_writing(view, error)

    def _with_lock(self) -> Result:
        view = self._look()
        if view.satisfied:
            _LOGGER.info("Nothing left to do: another run has done it")
            return Result(view.status["state"], view.plan, view.status, environment=view.environment)
        self._refuse_downloads(view.plan)
        return self._act(view)

    def _act(self, view: _View) -> Result:
        plan, inventory = view.plan, view.inventory
        self._log_plan(plan)
        board = self._board = self._fresh_board(plan)
        board.record_plan(plan, inventory)
        self._measure(inventory)
        self._write_status()
        self._writing = True
        if plan.shortfall is not None:
            raise plan.shortfall
        repositories = self._ready_repositories(view.repositories)
        board.record_repositories([outcome.as_record() for outcome in repositories])
        self.store.cleaner.clear_leftovers()
        for dataset, version in plan.evict:
            _LOGGER.info("%s: the superseded version %s is removed, since its space is needed", dataset, version)
            self.store.cleaner.remove(dataset, version)
        failures: list[tuple[Step, ProvisionerError]] = [(step, step.error) for step in plan.steps if step.error]
        for step in plan.work:
            self._cancellation.raise_if_requested()
            try:
                self._do(step)
            except NoRoomError as error:
                if self.settings.datasets:
                    board.record_failure(step.id, error)
                    failures.append((step, error))
                else:
                    _LOGGER.warning("%s: skipped: %s", step.recipe.label, error.message)
                    board.set_state(step.id, "skipped", reason="storage_limit")
                    plan = replace(plan, steps=tuple(_skipped(other) if other is step else other for other in plan.steps))
            except ProvisionerError as error:
                read_only = isinstance(error, VolumeNotWritableError) and not os.access(self.layout.private, os.W_OK)
                if self._cancellation.reason is not None or read_only:
                    raise
                _LOGGER.error("%s: %s%s", step.recipe.label, error.message, f". {error.hint}" if error.hint else "")
                board.record_failure(step.id, error)
                failures.append((step, error))
                if isinstance(error, VolumeFullError):
                    # What it left would keep the others out as well.
                    self.store.cleaner.clear_staging(step.id)
            self._measure(self.store.reader.inventory())
            self._write_status()
        return self._finish(plan, failures, repositories)

    def _finish(
        self, plan: Plan, failures: list[tuple[Step, ProvisionerError]], repositories: Sequence[RepositoryOutcome]
    ) -> Result:
        inventory = self.store.reader.inventory()
        values = self._environment(repositories[0])
        self._write_if_new(self.layout.attribution, self._attribution(inventory))
        self._write_if_new(self.layout.environment, environment_lines(values))
        counted = [(step, error) for step, error in failures if self._counts(step)]
        error = self._worst(plan, counted) or self._fatal(repositories)
        state = _state(plan, failures) if not error else self._failed_state()
        if not failures:
            self.store.cleaner.clear_abandoned([step.id for step in plan.steps], time.time())
        self._measure(self.store.reader.inventory())
        self._board.finish(state, error)
        self._write_status()
        self._writing = False
        status = self._board.document(**self._volume_figures())
        return Result(state, plan, status, error, values, worked=True)

    def _failed_state(self) -> RunState:
        return "degraded" if self.settings.on_failure == "degraded" else "failed"

    def _counts(self, step: Step) -> bool:
        """An optional data set's failure leaves a run partial, unless it was asked for by name."""
        return bool(self.settings.datasets) or not step.recipe.dataset.optional

    @staticmethod
    def _worst(plan: Plan, failures: list[tuple[Step, ProvisionerError]]) -> ProvisionerError | None:
        """Return the error of the failed data set with the highest priority."""
        order = {step.id: place for place, step in enumerate(plan.steps)}
        return min(failures, key=lambda failure: order[failure[0].id])[1] if failures else None

    def _do(self, step: Step) -> None:
        label, board = step.recipe.label, self._board
        if step.action == "adopt":
            board.set_state(step.id, "unpacking")
            if self.store.publisher.adopt(step.id, step.recipe.version, keep=not self.settings.may_download):
                self._announce(step, self._receipt(step))
                return
            if not self.settings.may_download:
                raise self._missing(step.recipe.label)
        elif step.action == "link":
            self.store.published.switch(step.id, step.recipe.version)
            self._announce(step, self._receipt(step))
            return
        _LOGGER.info("%s %s; fetching it", label, step.why)
        progress = BuildProgress(step.recipe, self._progress, board)
        builder = DataSetBuilder(
            step,
            self.store,
            self.clients.sources,
            self.clients.transfers,
            self.clients.local_copies,
            cancellation=self._cancellation,
            progress=progress,
            connections=self.settings.connections,
        )
        try:
            receipt = builder.build(self.store.reader.inventory(measured=False), now)
        finally:
            progress.finish()
        self._announce(step, receipt)

    def _receipt(self, step: Step) -> Receipt:
        return self.store.reader.inventory(measured=False).receipts[step.id, step.recipe.version]

    def _announce(self, step: Step, receipt: Receipt) -> None:
        self._board.record_published(step.id, receipt)
        proof = {"catalog": "verified against the catalog", "listing": "verified against the Hub's listing"}
        _LOGGER.info(
            "%s: ready, %d files, %s bytes, %s",
            step.recipe.label,
            receipt.files,
            f"{receipt.size:,}",
            proof.get(receipt.verified_against, "NOT verified: the catalog knows no digest"),
        )

    # --- the user's repository -----------------------------------------------------------------------------------

    def _known_repositories(self) -> tuple[RepositoryOutcome | None, ...]:
        """Return what can be said of each repository without asking anybody; ``None``: the Hub must be asked."""
        record = read_json(self.layout.repository) or {}
        outcomes = tuple(
            known(request, self.clients.hub, record, first=place == 0) for place, request in enumerate(self._repository_requests)
        )
        if self.settings.may_download:
            return outcomes
        note = "data-set repository: not asked for, since only a check was wanted (AUTO_DOWNLOAD)"
        return tuple(outcome or RepositoryOutcome("skipped", note=note) for outcome in outcomes)

    def _ready_repositories(self, remembered: Sequence[RepositoryOutcome | None]) -> tuple[RepositoryOutcome, ...]:
        """Ask for those repositories that nothing is remembered of, and remember what came of it."""
        outcomes = []
        for request, outcome in zip(self._repository_requests, remembered, strict=True):
            if outcome is not None and outcome.note:
                _LOGGER.info("%s", outcome.note)
            outcomes.append(outcome or self._ask_for_repository(request))
        if None in remembered and (record := record_of(list(zip(self._repository_requests, outcomes, strict=True)))):
            with contextlib.suppress(VolumeNotWritableError):
                write_json(self.layout.repository, record)
        return tuple(outcomes)

    def _ask_for_repository(self, request: RepositoryRequest) -> RepositoryOutcome:
        outcome = ensure_repository(request, self.clients.hub)
        if outcome.error is None:
            _LOGGER.info("%s", outcome.note)
        else:
            level = logging.ERROR if request.asked else logging.WARNING
            _LOGGER.log(level, "%s. %s", outcome.note, outcome.error.hint)
        for warning in outcome.warnings:
            _LOGGER.warning("%s", warning)
        return outcome

    def _fatal(self, outcomes: Sequence[RepositoryOutcome]) -> ProvisionerError | None:
        """Return the error of the first repository that was asked for and cannot be had."""
        pairs = zip(self._repository_requests, outcomes, strict=True)
        return next((outcome.error for request, outcome in pairs if request.asked and outcome.error is not None), None)

    # --- the volume ----------------------------------------------------------------------------------------------

    def _refuse_downloads(self, plan: Plan) -> None:
        """Where only a check was asked for, say what is missing."""
        missing = [step.recipe.label for step in plan.steps if step.action == "fetch" or (plan.shortfall and step.reason)]
        if missing and not self.settings.may_download:
            raise self._missing(", ".join(missing))

    def _missing(self, names: str) -> MissingDataError:
        return MissingDataError(
            f"not on the volume: {names}; nothing was fetched, since AUTO_DOWNLOAD={self.settings.auto_download}",
            hint="Run once with AUTO_DOWNLOAD=true, or choose a phase that is there (see 'status').",
        )

    def _warn_of_volume(self) -> None:
        for sentence in (*self.settings.warnings, *self.settings.unused):
            _LOGGER.warning("%s", sentence)
        if self._in_image and not is_persistent(self.layout.root):
            _LOGGER.warning(
                "%s is not a mounted volume: what is fetched is gone with the container. Mount one, e.g. -v data:%s",
                self.layout.root,
                self.layout.root,
            )

    def _without_writing(self, view: _View, error: ProvisionerError) -> Result:
        """Go on with a volume that cannot be written, if all data are there; records that are old stay old."""
        if view.plan.shortfall is not None:
            raise view.plan.shortfall
        if any(step.writes or step.error for step in view.plan.steps):
            raise error
        self._writing = False
        _LOGGER.warning("%s; all data are there, so only %s stay as they are", error.message, ", ".join(view.due) or "records")
        repositories = self._ready_repositories(view.repositories)
        fatal = self._fatal(repositories)
        state: RunState = self._failed_state() if fatal else view.status["state"]
        return Result(state, view.plan, view.status, fatal, self._environment(repositories[0]))

    # --- records -------------------------------------------------------------------------------------------------

    def _fresh_board(self, plan: Plan | None = None) -> StatusBoard:
        return StatusBoard(
            run_id=self.run_id,
            host=self.session.host,
            phase=plan.phase if plan else None,
            limit_bytes=self.settings.max_storage_bytes,
            now=now,
        )

    def _measure(self, inventory: Inventory) -> None:
        """Take the volume's figures; never on the thread that answers signals, since staging may hold a million files."""
        self._used_bytes = inventory.kept_bytes + inventory.staged_bytes

    def _volume_figures(self) -> dict[str, int]:
        return {"used_bytes": self._used_bytes, "free_bytes": free_bytes(self.layout.root)}

    def _write_status(self) -> None:
        self._last_written = time.monotonic()
        write_json(self.layout.status, self._board.document(**self._volume_figures()), durable=False)

    def _write_if_new(self, path: Any, data: bytes) -> None:  # noqa: ANN401 - a path
        if _read(path) != data:
            write_atomic(path, data)

    def _attribution(self, inventory: Inventory) -> bytes:
        ids = [name for name in self.catalog.datasets if name in inventory.published]
        text = attribution_text(self.catalog.datasets[name] for name in ids)
        for name, version in sorted(inventory.published.items()):
            if name not in self.catalog.datasets:
                receipt = inventory.receipts[name, version]
                text += (
                    f"\n## {name}\n\n- Folder: `datasets/{name}`\n- Source: <{receipt.source_url}>\n"
                    f"- Licence: SPDX `{receipt.license}`, by the catalog that it came with; today's does not list it\n"
                )
        return text.encode()

    def _environment(self, repository: RepositoryOutcome | None) -> dict[str, str]:
        values = {"DATASETS_DIR": str(self.layout.datasets)}
        if repository is not None:
            values |= environment(repository)
        return values | self._given

    def _log_plan(self, plan: Plan) -> None:
        for step in plan.steps:
            if step.warning and step.writes:
                _LOGGER.warning("%s", step.warning)
            if step.action == "skip":
                _LOGGER.warning("%s: skipped: %s", step.recipe.label, step.why)
        work = [step.recipe.label for step in plan.work]
        size = plan.download
        self._progress.expect(size.exact)
        if work:
            _LOGGER.info(
                "To do: %s; about %s bytes to fetch%s", ", ".join(work), f"{size.value:,}", " (estimate)" if size.estimate else ""
            )


def _state(plan: Plan, failures: list[tuple[Step, ProvisionerError]]) -> RunState:
    """Return the state of a run whose failures, if any, are not fatal."""
    left_out = failures or any(step.action in {"skip", "refuse"} for step in plan.steps)
    return "partial" if left_out else "ready"


def _skipped(step: Step) -> Step:
    return replace(step, action="skip", reason="storage_limit")


def _asked_for(plan: Plan) -> str:
    return f"the phase {plan.phase}" if plan.phase else ", ".join(step.recipe.label for step in plan.steps)


def _read(path: Any) -> bytes | None:  # noqa: ANN401 - a path
    try:
        data = read_file(path)
    except OSError:
        return None
    return data
