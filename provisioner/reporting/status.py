"""The status document: what people, health checks and the app read about a run, during and after it.

This module only builds the document; the holder of the volume's lock writes it. Status is never an input to planning.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from provisioner._version import __version__
from provisioner.reporting.stage_times import StageTimes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from provisioner.errors import ProvisionerError
    from provisioner.planning.model import Inventory, Plan, Receipt

RunState = Literal["provisioning", "ready", "partial", "degraded", "failed", "interrupted"]
DataSetState = Literal["pending", "fetching", "unpacking", "ready", "skipped", "failed"]

RUN_STATES: Final[tuple[RunState, ...]] = get_args(RunState)
DATASET_STATES: Final[tuple[DataSetState, ...]] = get_args(DataSetState)

SCHEMA_VERSION: Final = 1
HEARTBEAT_SECONDS: Final = 10.0
"""The longest time between two writes of the status while a run is in progress."""
STALE_SECONDS: Final = 60.0
"""The age of a status from which on its run counts as dead."""
_STAGES: Final[frozenset[DataSetState]] = frozenset({"fetching", "unpacking"})
"""States in which a data set is being worked on."""
SUCCESSFUL_STATES: Final[frozenset[RunState]] = frozenset({"ready", "partial"})


class StatusBoard:
    """The state of one run and of its data sets; may be used from several threads."""

    def __init__(self, *, run_id: str, host: str, phase: str | None, limit_bytes: int | None, now: Callable[[], str]) -> None:
        """Begin the status of a run.

        Args:
            run_id: the id of this run.
            host: the name of the machine.
            phase: the requested phase, or ``None`` if data sets were requested by name.
            limit_bytes: the limit for what is kept on the volume.
            now: returns the time, UTC, in ISO 8601 format.
        """
        self._lock = threading.Lock()
        self._now = now
        self._limit = limit_bytes
        self._head: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "provisioner_version": __version__,
            "run_id": run_id,
            "host": host,
            "state": "provisioning",
            "phase": phase,
            "started_at": now(),
        }
        self._datasets: dict[str, dict[str, Any]] = {}
        self._labels: dict[str, str] = {}
        """The name of each data set for people, by id."""
        self._other_repositories: list[dict[str, Any]] = []
        self._repository: dict[str, Any] = {"state": "skipped", "repo_id": None, "url": None, "created": False, "error": None}
        self._error: dict[str, str] | None = None
        self._finished_at: str | None = None
        self._stages = StageTimes()

    def record_plan(self, plan: Plan, inventory: Inventory) -> None:
        """Record what a plan says about each data set, and which other data sets are published."""
        with self._lock:
            for step in plan.steps:
                dataset = step.recipe.dataset
                record = _pending(dataset.license.spdx, step.recipe.layout)
                receipt = inventory.receipts.get((step.id, step.recipe.version))
                if step.action == "keep" and receipt:
                    record |= _published(receipt)
                elif step.fallback is not None:
                    size = step.download.value if step.download and not step.download.at_least else None
                    record |= _published(step.fallback) | {"bytes_done": 0, "bytes_total": size}
                elif step.action == "skip":
                    record |= {"state": "skipped", "reason": step.reason}
                elif step.action == "refuse":
                    record |= {"state": "failed", "reason": step.reason, "error": step.error.as_record() if step.error else None}
                else:
                    record |= {"bytes_total": step.download.value if step.download and not step.download.at_least else None}
                version = inventory.published.get(step.id)
                self._datasets[step.id] = record | (_previous(inventory, step.id, version) if version else {})
                self._labels[step.id] = dataset.label
            self._record_kept(plan.not_in_phase, inventory)

    def set_state(self, dataset: str, state: DataSetState, **fields: Any) -> None:  # noqa: ANN401 - JSON values
        """Record the state of one data set."""
        with self._lock:
            self._datasets[dataset] |= {"state": state, **fields}
            self._stages.enter(dataset, state if state in _STAGES else None)

    def advance(self, dataset: str, count: int) -> None:
        """Add bytes that arrived; negative for discarded bytes."""
        with self._lock:
            self._datasets[dataset]["bytes_done"] += count

    def record_published(self, dataset: str, receipt: Receipt) -> None:
        """Record that a data set is published."""
        with self._lock:
            self._datasets[dataset] |= {"error": None, **_published(receipt)}
            self._stages.enter(dataset, None)

    def record_upstream(self, dataset: str, record: Mapping[str, Any]) -> None:
        """Record a change at the source of a published data set that is not fetched."""
        with self._lock:
            self._datasets[dataset]["upstream"] = dict(record)

    def record_versions(self, inventory: Inventory) -> None:
        """Record which version each published data set can be switched back to, with the volume as it is now."""
        with self._lock:
            for dataset, version in inventory.published.items():
                if (record := self._datasets.get(dataset)) is not None:
                    record.pop("previous", None)
                    record |= _previous(inventory, dataset, version)

    def record_others(self, inventory: Inventory) -> None:
        """Record the data sets that other runs have published since the plan was made, and that are not part of it."""
        with self._lock:
            self._record_kept([name for name in sorted(inventory.published) if name not in self._datasets], inventory)

    def _record_kept(self, names: Iterable[str], inventory: Inventory) -> None:
        for name in names:
            receipt = inventory.receipts[name, inventory.published[name]]
            kept = {"state": "skipped", "reason": "not_in_phase"} | _previous(inventory, name, receipt.version)
            self._datasets[name] = _published(receipt) | kept
            self._labels[name] = receipt.label

    def record_indexes(self, inventory: Inventory) -> None:
        """Record where each index is, relative to the volume, and its rows by split."""
        with self._lock:
            for dataset, record in self._datasets.items():
                record.pop("index", None)
                record.pop("index_rows", None)
                if (found := inventory.indexes.get(dataset)) is not None:
                    record |= {"index": f"index/{dataset}", "index_rows": dict(found.rows)}

    def record_failure(self, dataset: str, error: ProvisionerError) -> None:
        """Record that a data set failed."""
        self.set_state(dataset, "failed", error=error.as_record())

    def record_repositories(self, records: Sequence[Mapping[str, Any] | None]) -> None:
        """Record the state of the user's data-set repositories, the app's first; ``None`` if not known yet."""
        with self._lock:
            if records and records[0] is not None:
                self._repository = dict(records[0])
            self._other_repositories = [dict(record) for record in records[1:] if record is not None]

    def finish(self, state: RunState, error: ProvisionerError | None) -> None:
        """Record how the run ended. Unfinished data sets keep their state, which shows how far the run came."""
        with self._lock:
            self._head["state"] = state
            self._error = error.as_record() if error else None
            self._finished_at = self._finished_at or self._now()

    def stage_seconds(self) -> Mapping[str, float]:
        """Return how long data sets were ``fetching`` and ``unpacking``, over all data sets."""
        with self._lock:
            return self._stages.seconds()

    def dataset_seconds(self) -> Mapping[tuple[str, str], float]:
        """Return how long each data set was in each of these states."""
        with self._lock:
            return self._stages.by_dataset()

    def document(self, *, used_bytes: int, free_bytes: int | None) -> dict[str, Any]:
        """Return the content of the status file."""
        with self._lock:
            return {
                **self._head,
                "updated_at": self._now(),
                "finished_at": self._finished_at,
                "volume": {"used_bytes": used_bytes, "free_bytes": free_bytes, "limit_bytes": self._limit},
                "datasets": {self._labels.get(name, name): dict(record) for name, record in self._datasets.items()},
                "dataset_repo": dict(self._repository),
                **({"other_repos": list(self._other_repositories)} if self._other_repositories else {}),
                "error": self._error,
            }


def is_same_outcome(document: Mapping[str, Any] | None, other: Mapping[str, Any]) -> bool:
    """Return whether two status documents report the same outcome, regardless of runs, times and hosts."""
    return document is not None and _outcome(document) == _outcome(other)


def _outcome(document: Mapping[str, Any]) -> object:
    datasets = document.get("datasets")
    repository = document.get("dataset_repo")
    others = document.get("other_repos")
    return (
        document.get("schema_version"),
        document.get("state"),
        document.get("phase"),
        {
            name: (
                record.get("state"),
                record.get("reason"),
                record.get("published_at"),
                _of(record, "previous", "version"),
                _of(record, "upstream", "found"),
                _of(record, "upstream", "error"),
            )
            if isinstance(record, dict)
            else None
            for name, record in datasets.items()
        }
        if isinstance(datasets, dict)
        else None,
        (repository.get("state"), repository.get("repo_id")) if isinstance(repository, dict) else None,
        [(one.get("state"), one.get("repo_id")) for one in others if isinstance(one, dict)] if isinstance(others, list) else [],
    )


def _of(record: Mapping[str, Any], key: str, inner: str) -> object:
    """Return a value of a mapping in a record, or ``None`` if it is missing."""
    value = record.get(key)
    return value.get(inner) if isinstance(value, dict) else None


def _previous(inventory: Inventory, dataset: str, version: str) -> dict[str, Any]:
    """Return the part of a record about the version before the published one; empty if it is not on the volume."""
    receipt = inventory.previous(dataset, version)
    if receipt is None:
        return {}
    return {"previous": {"version": receipt.version, "pin": receipt.pin, "published_at": receipt.published_at}}


def _pending(license_id: str, layout: str) -> dict[str, Any]:
    return {
        "state": "pending",
        "reason": None,
        "path": None,
        "layout": layout,
        "source": None,
        "verified_against": None,
        "license": license_id,
        "bytes_done": 0,
        "bytes_total": None,
        "files": 0,
        "published_at": None,
        "error": None,
    }


def _published(receipt: Receipt) -> dict[str, Any]:
    return _pending(receipt.license, receipt.layout) | {
        "state": "ready",
        "path": f"datasets/{receipt.dataset}",
        "source": {"kind": receipt.source_kind, "url": receipt.source_url, "pin": receipt.pin},
        "verified_against": receipt.verified_against,
        "bytes_done": receipt.size,
        "bytes_total": receipt.size,
        "files": receipt.files,
        "published_at": receipt.published_at,
        **({"part": receipt.rule.words} if receipt.rule else {}),
    }
