"""The rates and remaining times of a run, for the status document while the run fetches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.reporting.progress import Count, Progress


def with_rates(document: Mapping[str, Any], progress: Progress, labels: Mapping[str, str]) -> dict[str, Any]:
    """Return a status document with ``rate_bytes_per_second`` and ``eta_seconds`` for the run and for what is being fetched.

    For the run, ``bytes_done`` and ``bytes_total`` of everything that it fetches are added. The keys are present while the
    run works, and ``None`` if a value is not known.

    Args:
        document: the status.
        progress: the counters of the same run.
        labels: by id of a data set, its name in the counters.
    """
    if document["state"] != "provisioning":
        return dict(document)
    counts = progress.counts()
    datasets = {
        name: {**record, **_rate(counts.get(labels.get(name, name)))} if record["state"] == "fetching" else record
        for name, record in document["datasets"].items()
    }
    run = progress.whole_run()
    amounts = {"bytes_done": run.done_bytes, "bytes_total": run.total_bytes}
    return {**document, "datasets": datasets, **amounts, **_rate(run)}


def _rate(count: Count | None) -> dict[str, int | None]:
    rate = count.bytes_per_second if count else None
    left = count.seconds_left if count else None
    return {
        "rate_bytes_per_second": None if rate is None else round(rate),
        "eta_seconds": None if left is None else round(left),
    }
