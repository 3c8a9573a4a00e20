"""The throughput of a run over time, in a bounded number of points however long the run takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MOST_POINTS: Final = 240
"""An even number. When there are more, each two neighbours become one."""


@dataclass(frozen=True, slots=True)
class Throughput:
    """A history at one moment."""

    seconds: float
    """The length of each period."""
    rates: tuple[float, ...]
    """Bytes per second, the oldest first."""


class History:
    """Mean rates of periods of equal length."""

    def __init__(self, seconds: float = 1.0) -> None:
        """Start without a point.

        Args:
            seconds: the time between two samples.
        """
        self.seconds = seconds
        """The length of each period."""
        self.rates: list[float] = []
        """Bytes per second, the oldest first."""
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
            return  # what is pending is half of the next point now
        self.rates.append(sum(self._pending) / len(self._pending))
        self._pending.clear()

    def throughput(self) -> Throughput:
        """Return what was added so far."""
        return Throughput(self.seconds, tuple(self.rates))
