"""The status file's content: what people, health checks and the app read of a run, while it works and afterwards.

Only values here; who holds the volume's lock writes them. Status is never an input to planning.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final, Literal

from provisioner._version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from provisioner.errors import ProvisionerError
    from provisioner.planning.plan import Inventory, Plan, Receipt

RunState = Literal["provisioning", "ready", "partial", "degraded", "failed", "interrupted"]
DataSetState = Literal["pending", "fetching", "unpacking", "ready", "skipped", "failed"]

SCHEMA_VERSION: Final = 1
HEARTBEAT_SECONDS: Final = 10.0
"""A run that works writes its status at least so often."""
STALE_SECONDS: Final = 60.0
"""A run whose status is older than this is not alive."""
GOOD_STATES: Final = frozenset({"ready", "partial"})


class StatusBoard:
    """What is known of one run; safe to use from several threads."""

    def __init__(self, *, run_id: str, host: str, phase: str | None, limit_bytes: int | None, now: Callable[[], str]) -> None:
        """Begin.

        Args:
            run_id: names this run.
            host: where it runs.
            phase: what was asked for; ``None``: data sets by name.
            limit_bytes: ``MAX_STORAGE_GB``.
            now: gives the time, UTC, ISO 8601.
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
        self._other_repositories: list[dict[str, Any]] = []
        self._repository: dict[str, Any] = {"state": "skipped", "repo_id": None, "url": None, "created": False, "error": None}
        self._error: dict[str, str] | None = None
        self._finished_at: str | None = None

    def take_plan(self, plan: Plan, inventory: Inventory) -> None:
        """Put down what a plan says of each data set, and what else is published."""
        with self._lock:
            for step in plan.steps:
                dataset = step.recipe.dataset
                record = _blank(dataset.license.spdx, step.recipe.layout)
                receipt = inventory.receipts.get((step.id, step.recipe.version))
                if step.action == "keep" and receipt:
                    record |= _of_receipt(receipt)
                elif step.action == "skip":
                    record |= {"state": "skipped", "reason": step.reason}
                elif step.action == "refuse":
                    record |= {"state": "failed", "reason": step.reason, "error": step.error.as_record() if step.error else None}
                else:
                    record |= {"bytes_total": step.download.value if step.download else None}
                self._datasets[step.id] = record
            for name in plan.not_in_phase:
                receipt = inventory.receipts[name, inventory.published[name]]
                self._datasets[name] = _of_receipt(receipt) | {"state": "skipped", "reason": "not_in_phase"}

    def set_state(self, dataset: str, state: DataSetState, **fields: Any) -> None:  # noqa: ANN401 - JSON values
        """Note how one data set stands."""
        with self._lock:
            self._datasets[dataset] |= {"state": state, **fields}

    def advance(self, dataset: str, count: int) -> None:
        """Count bytes that arrived; negative: that were dropped."""
        with self._lock:
            self._datasets[dataset]["bytes_done"] += count

    def is_there(self, dataset: str, receipt: Receipt) -> None:
        """Note that a data set is published."""
        with self._lock:
            self._datasets[dataset] |= {"error": None, **_of_receipt(receipt)}

    def failed(self, dataset: str, error: ProvisionerError) -> None:
        """Note that a data set failed."""
        self.set_state(dataset, "failed", error=error.as_record())

    def repositories(self, records: Sequence[Mapping[str, Any] | None]) -> None:
        """Note how the user's data-set repositories stand: the app's own, then the others; ``None``: not known yet."""
        with self._lock:
            if records and records[0] is not None:
                self._repository = dict(records[0])
            self._other_repositories = [dict(record) for record in records[1:] if record is not None]

    def finish(self, state: RunState, error: ProvisionerError | None) -> None:
        """Note how the run ended. What had not begun or not ended stays as it was: it tells how far the run came."""
        with self._lock:
            self._head["state"] = state
            self._error = error.as_record() if error else None
            self._finished_at = self._now()

    def document(self, *, used_bytes: int, free_bytes: int) -> dict[str, Any]:
        """Return the status file's content."""
        with self._lock:
            return {
                **self._head,
                "updated_at": self._now(),
                "finished_at": self._finished_at,
                "volume": {"used_bytes": used_bytes, "free_bytes": free_bytes, "limit_bytes": self._limit},
                "datasets": {name: dict(record) for name, record in self._datasets.items()},
                "dataset_repo": dict(self._repository),
                **({"other_repos": list(self._other_repositories)} if self._other_repositories else {}),
                "error": self._error,
            }


def tells_the_same(document: Mapping[str, Any] | None, other: Mapping[str, Any]) -> bool:
    """Return whether two status documents say the same of the run's outcome, whenever and wherever it was."""
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
            name: (record.get("state"), record.get("reason"), record.get("published_at")) if isinstance(record, dict) else None
            for name, record in datasets.items()
        }
        if isinstance(datasets, dict)
        else None,
        (repository.get("state"), repository.get("repo_id")) if isinstance(repository, dict) else None,
        [(one.get("state"), one.get("repo_id")) for one in others if isinstance(one, dict)] if isinstance(others, list) else [],
    )


def _blank(license_id: str, layout: str) -> dict[str, Any]:
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


def _of_receipt(receipt: Receipt) -> dict[str, Any]:
    return _blank(receipt.license, receipt.layout) | {
        "state": "ready",
        "path": f"datasets/{receipt.dataset}",
        "source": {"kind": receipt.source_kind, "url": receipt.source_url, "pin": receipt.pin},
        "verified_against": receipt.verified_against,
        "bytes_done": receipt.size,
        "bytes_total": receipt.size,
        "files": receipt.files,
        "published_at": receipt.published_at,
    }
