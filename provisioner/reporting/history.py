"""The throughput of a run over time, in a limited number of points, however long the run takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MOST_POINTS: Final = 240
"""An even number. When it is exceeded, each pair of neighbours is merged into one point."""


@dataclass(frozen=True, slots=True)
class Throughput:
    """The history at one moment."""

    seconds: float
    """The length of each period."""
    rates: tuple[float, ...]
    """Bytes per second, from the oldest to the newest."""


class History:
    """Mean rates of periods of equal length."""

    def __init__(self, seconds: float = 1.0) -> None:
        """Begin without points.

        Args:
            seconds: the time between two samples.
        """
        self.seconds = seconds
        """The length of each period."""
        self.rates: list[float] = []
        """Bytes per second, from the oldest to the newest."""
        self._pending: list[float] = []
        self._samples_per_point = 1

    def add(self, rate: float) -> None:
        """Add a sample, in bytes per second."""
        self._pending.append(rate)
        if len(self._pending) < self._samples_per_point:
            return
        if len(self.rates) == MOST_POINTS:
            pairs = zip(self.rates[::2], self.rates[1::2], strict=True)
            self.rates = [(one + other) / 2 for one, other in pairs]
            self._samples_per_point *= 2
            self.seconds *= 2
            return  # what is pending is now half of the next point
        self.rates.append(sum(self._pending) / len(self._pending))
        self._pending.clear()

    def throughput(self) -> Throughput:
        """Return the points so far."""
        return Throughput(self.seconds, tuple(self.rates))
