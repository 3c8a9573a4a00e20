"""The record that a run leaves for a report: its status, and what it has counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from provisioner.reporting.observation import Observation

SCHEMA_VERSION: Final = 1


def run_record(observation: Observation) -> dict[str, Any]:
    """Return the record of a run that is over, as JSON values."""
    record: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "status": observation.document}
    if observation.throughput is not None:
        history = observation.throughput
        record["throughput"] = {"seconds_per_point": history.seconds, "bytes_per_second": [round(rate) for rate in history.rates]}
    counters = observation.counters
    if counters is not None:
        record["received_bytes"] = counters.received_bytes
        record["stages"] = [
            {"dataset": dataset, "stage": stage, "seconds": round(seconds, 3)}
            for (dataset, stage), seconds in sorted(counters.dataset_seconds.items())
        ]
        record["requests"] = [
            {"host": host, "outcome": outcome, "count": count} for (host, outcome), count in sorted(counters.requests.items())
        ]
        record["retries"] = [
            {"what": what, "cause": cause, "count": count} for (what, cause), count in sorted(counters.repeated.items())
        ]
    return record
