"""A run's metrics in the formats of Prometheus, for ``/metrics`` and for a file (``METRICS_FILE``).

Names follow https://prometheus.io/docs/practices/naming/: base units, and ``_total`` for counters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, write_to_textfile
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from provisioner._version import __version__
from provisioner.reporting.liveness import moment_of
from provisioner.reporting.shares import share_done
from provisioner.reporting.status import DATASET_STATES, RUN_STATES, SUCCESSFUL_STATES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from prometheus_client import Metric

    from provisioner.reporting.observation import Counters, Observation

_OF_THE_VOLUME: Final = {
    "used_bytes": "Bytes that the provisioner keeps on the volume.",
    "free_bytes": "Free bytes of the volume.",
    "limit_bytes": "Limit of what the provisioner keeps on the volume (MAX_STORAGE_GB).",
}


def exposition(observation: Observation, accept: str) -> tuple[bytes, str]:
    """Return the metrics and their content type, in the format that an ``Accept`` header prefers."""
    encode, content_type = choose_encoder(accept)
    return encode(_registry(observation)), content_type


def write_metrics(observation: Observation, path: Path) -> None:
    """Write the metrics to a file, which is replaced atomically.

    Raises:
        OSError: it cannot be written.
    """
    write_to_textfile(str(path), _registry(observation))


def _registry(observation: Observation) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(_RunCollector(observation))
    return registry


class _RunCollector(Collector):
    """Creates the metrics of one observation; unknown values are left out."""

    def __init__(self, observation: Observation) -> None:
        self._document = observation.document or {}
        self._counters = observation.counters

    def collect(self) -> Iterator[Metric]:
        document = self._document
        yield InfoMetricFamily("provisioner_build", "The program.", {"version": __version__})
        if document:
            yield from self._of_the_run()
            datasets = document.get("datasets")
            yield from _of_the_datasets(datasets if isinstance(datasets, dict) else {})
            yield from _of_the_shares(document.get("shares"))
        volume = document.get("volume")
        for key, text in _OF_THE_VOLUME.items():
            yield from _gauge(f"provisioner_volume_{key}", text, volume.get(key) if isinstance(volume, dict) else None)
        if self._counters is not None:
            yield from _of_the_counters(self._counters)

    def _of_the_run(self) -> Iterator[Metric]:
        document = self._document
        state = str(document.get("state"))
        states = GaugeMetricFamily("provisioner_run_state", "1 for the state of the run, 0 for the others.", labels=["state"])
        for each in RUN_STATES:
            states.add_metric([each], each == state)
        yield states
        heartbeat = moment_of(document.get("updated_at"))
        yield from _gauge("provisioner_run_updated_timestamp_seconds", "When the status was last updated.", heartbeat)
        yield from _gauge("provisioner_run_start_timestamp_seconds", "When the run began.", moment_of(document.get("started_at")))
        if state in SUCCESSFUL_STATES:
            ended = moment_of(document.get("finished_at"))
            yield from _gauge("provisioner_last_success_timestamp_seconds", "When the last run that succeeded ended.", ended)
        for key, name, text in (
            ("bytes_done", "provisioner_fetch_done_bytes", "Bytes of the run's downloads that are here."),
            ("bytes_total", "provisioner_fetch_size_bytes", "Bytes of all downloads of the run."),
            ("rate_bytes_per_second", "provisioner_fetch_rate_bytes_per_second", "Rate of the last 30 s."),
            ("eta_seconds", "provisioner_fetch_remaining_seconds", "Time left at this rate."),
        ):
            yield from _gauge(name, text, document.get(key))


def _of_the_datasets(datasets: Mapping[str, Any]) -> Iterator[Metric]:
    records = {name: record for name, record in datasets.items() if isinstance(record, dict)}
    by_state = GaugeMetricFamily("provisioner_datasets", "Data sets by state.", labels=["state"])
    for state in DATASET_STATES:
        by_state.add_metric([state], sum(record.get("state") == state for record in records.values()))
    yield by_state
    for key, name, text in (
        ("bytes_done", "provisioner_dataset_done_bytes", "Bytes of a data set that are here."),
        (
            "bytes_total",
            "provisioner_dataset_size_bytes",
            "Bytes of a data set: of its download, or of its tree when it is ready.",
        ),
    ):
        family = GaugeMetricFamily(name, text, labels=["dataset"])
        for dataset, record in records.items():
            value = record.get(key)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                family.add_metric([_label(dataset)], value)
        yield family


def _of_the_shares(found: object) -> Iterator[Metric]:
    """Yield the bytes of each share, if several machines fill the volume together."""
    shares = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    if not shares:
        return
    done = GaugeMetricFamily("provisioner_share_done_bytes", "Bytes of a share that are here.", labels=["share"])
    size = GaugeMetricFamily("provisioner_share_size_bytes", "Bytes of a share.", labels=["share"])
    for one in shares:
        done.add_metric([_label(one.get("share"))], share_done(one))
        size.add_metric([_label(one.get("share"))], share_done({**one, "state": "complete"}))
    yield done
    yield size


def _of_the_counters(counters: Counters) -> Iterator[Metric]:
    yield CounterMetricFamily(
        "provisioner_received_bytes", "Bytes that came over the network for data sets.", value=counters.received_bytes
    )
    stages = CounterMetricFamily("provisioner_stage_seconds", "Time in each stage, over all data sets.", labels=["stage"])
    for stage, seconds in sorted(counters.stage_seconds.items()):
        stages.add_metric([stage], seconds)
    yield stages
    requests = CounterMetricFamily(
        "provisioner_requests", "Requests by host and outcome: a status, or failed.", labels=["host", "outcome"]
    )
    for (host, outcome), count in sorted(counters.requests.items()):
        requests.add_metric([_label(host), outcome], count)
    yield requests
    retries = CounterMetricFamily("provisioner_retries", "Requests that were repeated, by cause.", labels=["cause"])
    for cause, count in sorted(counters.retries.items()):
        retries.add_metric([cause], count)
    yield retries


def _label(value: object) -> str:
    """Return the value of a label; a name in a status file may be anything, and need not be UTF-8."""
    return str(value).encode("utf-8", "backslashreplace").decode()


def _gauge(name: str, text: str, value: object) -> Iterator[Metric]:
    """Yield a gauge, unless its value is not known."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        yield GaugeMetricFamily(name, text, value=value)
