"""One status for several runs that fill a volume at the same time: each data set as the most advanced run has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PROGRESS: Final = {"skipped": 0, "pending": 1, "failed": 2, "ready": 3, "fetching": 4, "unpacking": 5}
"""Rank of the progress of a data set by its state."""
_UNFINISHED: Final = ("pending", "fetching", "unpacking")
_HEAD: Final = ("run_id", "host", "phase", "started_at")
_SUMS: Final = ("bytes_done", "bytes_total", "rate_bytes_per_second")


def merged_status(
    own: Mapping[str, Any], others: Sequence[Mapping[str, Any]], before: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return a status for all runs that are alive.

    Its state is ``provisioning`` as long as one of them has it, and its other top-level values are those of the earliest such
    run.

    Args:
        own: the status of the run that writes it.
        others: the statuses of the other runs.
        before: the previous status, if other runs have written to it; what they published is still there.
    """
    documents = [own, *others]
    working = [document for document in documents if document.get("state") == "provisioning"]
    datasets = _merged_datasets(documents)
    if before is not None and working:
        for name, record in _datasets_of(before).items():
            if record.get("state") == "ready" and datasets.get(name, {}).get("state") == "pending":
                datasets[name] = record
    merged = {**own, "datasets": datasets}
    if not others:
        return merged
    merged["writers"] = [
        {key: document.get(key) for key in ("run_id", "host", "phase", "state", "started_at", "updated_at")}
        for document in sorted(documents, key=_age)
    ]
    if working:
        first = min(working, key=_age)
        merged |= {key: first.get(key) for key in _HEAD} | {"state": "provisioning", "finished_at": None, "error": None}
        merged |= {key: _sum(document.get(key) for document in working) for key in _SUMS}
        left = [seconds for document in working if isinstance(seconds := document.get("eta_seconds"), int)]
        merged["eta_seconds"] = max(left) if len(left) == len(working) else None
    return merged


def is_building(document: Mapping[str, Any]) -> bool:
    """Return whether a run still has data sets to work on, according to its status."""
    return any(record.get("state") in _UNFINISHED for record in _datasets_of(document).values())


def _merged_datasets(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for document in documents:
        for name, record in _datasets_of(document).items():
            if name not in found or _is_further(record, found[name]):
                found[name] = record
    return found


def _datasets_of(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    datasets = document.get("datasets")
    pairs = datasets.items() if isinstance(datasets, dict) else ()
    return {name: record for name, record in pairs if isinstance(record, dict)}


def _is_further(record: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return _PROGRESS.get(str(record.get("state")), 0) > _PROGRESS.get(str(other.get("state")), 0)


def _age(document: Mapping[str, Any]) -> tuple[str, str]:
    return str(document.get("started_at")), str(document.get("run_id"))


def _sum(values: Any) -> int | None:  # noqa: ANN401 - JSON values
    known = [value for value in values if isinstance(value, int)]
    return sum(known) if known else None
