"""The time that data sets spent in fetching and unpacking in a run."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class StageTimes:
    """The seconds that data sets spent in each stage, over all data sets; the caller provides thread safety."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with no times.

        Args:
            clock: returns monotonic seconds.
        """
        self._clock = clock
        self._seconds: dict[tuple[str, str], float] = defaultdict(float)
        """By data set and stage."""
        self._running: dict[str, tuple[str, float]] = {}
        """By data set, its stage and the time of its beginning."""

    def enter(self, dataset: str, stage: str | None) -> None:
        """Record that a data set enters a stage; ``None`` means that it leaves its stage."""
        before, since = self._running.get(dataset, (None, 0.0))
        if before == stage:
            return
        now = self._clock()
        if before is not None:
            self._seconds[dataset, before] += now - since
            del self._running[dataset]
        if stage is not None:
            self._running[dataset] = (stage, now)

    def seconds(self) -> Mapping[str, float]:
        """Return the seconds by stage over all data sets, up to now."""
        sums: dict[str, float] = defaultdict(float)
        for (_, stage), seconds in self.by_dataset().items():
            sums[stage] += seconds
        return dict(sums)

    def by_dataset(self) -> Mapping[tuple[str, str], float]:
        """Return the seconds by data set and stage, up to now."""
        now = self._clock()
        found = dict(self._seconds)
        for dataset, (stage, since) in self._running.items():
            found[dataset, stage] = found.get((dataset, stage), 0.0) + now - since
        return found
