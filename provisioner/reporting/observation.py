"""An observation of a run at one moment: its status document, and counters that are not in the document."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.reporting.history import Throughput


@dataclass(frozen=True, slots=True)
class Observation:
    """The state of a run at one moment."""

    document: Mapping[str, Any] | None
    """The content of ``dataset_status.json``, or ``None`` if nothing is known of a run."""
    problem: str = ""
    """A problem to be shown first, for example that the run has no heartbeat."""
    counters: Counters | None = None
    """``None`` if another process has them, or if there are none."""
    throughput: Throughput | None = None
    """``None`` if the observer keeps its own."""


@dataclass(frozen=True, slots=True)
class Counters:
    """The counts of a run since its start."""

    received_bytes: int = 0
    """Bytes transferred from the network, including discarded ones."""
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    """By state of a data set (``fetching``, ``unpacking``), summed over all data sets."""
    requests: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Requests by host and outcome: an HTTP status, or ``failed`` if there was no response."""
    retries: Mapping[str, int] = field(default_factory=dict)
    """Repeated requests by cause."""
    repeated: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Repeated requests by name and cause; incomplete if there are many."""
    dataset_seconds: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """By data set and stage."""
