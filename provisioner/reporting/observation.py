"""What can be seen of a run at one moment: its status document, and counters that the document does not have."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.reporting.history import Throughput


@dataclass(frozen=True, slots=True)
class Observation:
    """One moment of a run."""

    document: Mapping[str, Any] | None
    """As in ``dataset_status.json``; ``None``: nothing is known of a run."""
    problem: str = ""
    """What is to be said before everything else, such as that the run has no heartbeat."""
    counters: Counters | None = None
    """``None``: another process counts, or none does."""
    throughput: Throughput | None = None
    """``None``: whoever watches keeps his own."""


@dataclass(frozen=True, slots=True)
class Counters:
    """What a run has counted since its start."""

    received_bytes: int = 0
    """Transferred from the network, those included that were discarded."""
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    """By state of a data set (``fetching``, ``unpacking``), over all data sets."""
    requests: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Requests that were sent, by host and outcome: an HTTP status, or ``failed`` where no response came."""
    retries: Mapping[str, int] = field(default_factory=dict)
    """Requests that were repeated, by cause."""
    repeated: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """The same by what was asked for and cause; not all of it where that is much."""
    dataset_seconds: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """By data set and stage."""
