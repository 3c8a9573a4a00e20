"""The progress of a run: how many bytes are done, at what rate, and how long the rest will take.

Threads that move bytes only add numbers (:meth:`Progress.advance`). Only :meth:`Progress.tick` updates the display; the run's
main loop calls it several times a second, so that no thread of the display can outlive the run.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, Protocol

from provisioner.reporting.history import History
from provisioner.units import format_bytes, format_duration, format_share

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from provisioner.catalog.size import Size
    from provisioner.reporting.history import Throughput

Activity = Literal["fetch", "unpack", "verify"]
_PREFIXES: Final[dict[Activity, str]] = {"fetch": "", "unpack": "unpacking, ", "verify": "hashing, "}

INTERVAL_SECONDS: Final = 10.0
"""The time between two lines about the same data set."""
WINDOW_SECONDS: Final = 30.0
"""The period over which the rate is measured: long enough to be steady, and short enough to show a stall."""
SAMPLE_SECONDS: Final = 1.0
"""The time between two samples of a counter."""
WHOLE_RUN: Final = "in all"
"""The name of the line and the bar for the whole run; no id of a data set contains a space."""


@dataclass(frozen=True, slots=True)
class Count:
    """The progress of one data set, or of the whole run, at one moment."""

    activity: Activity
    done_bytes: int
    total_bytes: int | None
    """``None`` if not known."""
    bytes_per_second: float | None = None
    """The rate over the last :data:`WINDOW_SECONDS`; ``None`` until it has been measured."""
    estimate: bool = False
    """Whether the total is an estimate."""

    @property
    def is_bounded(self) -> bool:
        """Whether the total says how much is left; an estimate that has been reached was too low."""
        if self.total_bytes is None:
            return False
        return self.done_bytes < self.total_bytes or (self.done_bytes == self.total_bytes and not self.estimate)

    @property
    def seconds_left(self) -> float | None:
        """The time left at this rate, or ``None`` if it is not known, or if nothing is moving."""
        if self.total_bytes is None or not self.is_bounded or not self.bytes_per_second:
            return None
        return (self.total_bytes - self.done_bytes) / self.bytes_per_second

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of a line after the name, the most important first: how much is done, the rate, and the time left."""
        if self.total_bytes is None or not self.is_bounded:
            parts = [format_bytes(self.done_bytes)]
        else:
            parts = [format_share(self.done_bytes, self.total_bytes, estimate=self.estimate)]
        if self.bytes_per_second is not None:
            parts.append(f"{format_bytes(self.bytes_per_second)}/s")
        left = self.seconds_left
        if left is not None:
            parts.append(f"{format_duration(left)} left")
        return (_PREFIXES[self.activity] + parts[0], *parts[1:])

    def __str__(self) -> str:
        """Return the text of a line after the name, such as ``1.20 of 2.75 GB (43 %), 35.1 MB/s, 44 s left``."""
        return ", ".join(self.parts)


class Display(Protocol):
    """Shows the counts to people."""

    def show(self, counts: Mapping[str, Count], due: Sequence[str]) -> None:
        """Show the counts of active names; ``due`` has the names whose line is due."""

    def close(self) -> None:
        """Clear the screen for log lines; the display can be used again."""


class Progress:
    """The counters of one run; every method except :meth:`tick` and :meth:`close` may be called from any thread."""

    def __init__(self, display: Display | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing done.

        Args:
            display: shows the counts; if ``None``, they are only kept.
            clock: returns monotonic seconds.
        """
        self._display = display
        self._clock = clock
        self._lock = threading.Lock()
        self._active: dict[str, _Meter] = {}
        self._fetched: dict[str, _Meter] = {}
        """The latest fetch of each data set, including finished ones; their sum is that of the whole run."""
        self._expected: dict[str, Size | None] = {}
        self._run = _Meter(activity="fetch", total_bytes=0, estimate=False, done_bytes=0, next_line=0.0)
        self._history = History(SAMPLE_SECONDS)
        self._last_point = (0.0, 0)
        """The time at which a point was added to the history, and the number of bytes that had moved by then."""

    def expect(self, sizes: Mapping[str, Size | None]) -> None:
        """Set what the run will fetch according to its plan: the size of each data set, ``None`` if not known."""
        with self._lock:
            # If parts are unknown, there is no total.
            self._expected = {name: None if size is None or size.at_least else size for name, size in sizes.items()}

    def start(
        self, dataset: str, activity: Activity, total_bytes: int | None, already: int = 0, *, estimate: bool = False
    ) -> None:
        """Begin to count an activity of a data set, or begin again.

        Args:
            dataset: the id of the data set.
            activity: what is done with it.
            total_bytes: the size of the whole, including what is already done, or ``None`` if not known.
            already: how many bytes were done before; they do not count for the rate.
            estimate: whether the size is an estimate.
        """
        now = self._clock()
        with self._lock:
            expected = self._expected.get(dataset) if activity == "fetch" and total_bytes is None else None
            if expected is not None:
                total_bytes, estimate = expected.value, True
            meter = _Meter(
                activity=activity,
                total_bytes=total_bytes,
                estimate=estimate,
                done_bytes=already,
                next_line=now + INTERVAL_SECONDS,
            )
            meter.sample(now)
            self._active[dataset] = meter
            if activity == "fetch":
                if not self._fetched:
                    self._run.next_line = now + INTERVAL_SECONDS
                    self._run.sample(now)
                    self._last_point = (now, self._run.moved_bytes)
                self._fetched[dataset] = meter

    def advance(self, dataset: str, count: int, *, moved: bool = True) -> None:
        """Add ``count`` bytes (negative for discarded bytes); ignore a data set that is not active.

        Args:
            dataset: the id of the data set.
            count: the number of bytes.
            moved: whether they were transferred now; bytes that were there before do not count for the rate.
        """
        with self._lock:
            meter = self._active.get(dataset)
            if meter is not None:
                transferred = max(0, count) if moved else 0
                meter.done_bytes += count
                meter.moved_bytes += transferred
                if meter.activity == "fetch":
                    self._run.moved_bytes += transferred

    def finish(self, dataset: str) -> None:
        """End the activity of a data set, successful or not; ignore a data set that is not active."""
        with self._lock:
            meter = self._active.pop(dataset, None)
            if meter is not None:
                # Nothing more will come, however much was expected.
                meter.total_bytes, meter.estimate = meter.done_bytes, False
            if dataset not in self._fetched:
                self._expected.pop(dataset, None)

    def counts(self) -> Mapping[str, Count]:
        """Return the counts of the active data sets."""
        now = self._clock()
        with self._lock:
            return {name: meter.count(now) for name, meter in self._active.items()}

    def whole_run(self) -> Count:
        """Return the count of everything that the run fetches."""
        with self._lock:
            self._update_run()
            return self._run.count(self._clock())

    def throughput(self) -> Throughput:
        """Return the throughput of the run so far, starting with its first fetch."""
        with self._lock:
            return self._history.throughput()

    @property
    def moved_bytes(self) -> int:
        """The bytes that the run has transferred so far, including discarded ones."""
        return self._run.moved_bytes

    def tick(self) -> None:
        """Update the display; call this often, and from one thread only."""
        now = self._clock()
        with self._lock:
            counts, due = self._sample(now)
        if self._display is not None:
            self._display.show(counts, due)

    def close(self) -> None:
        """Clear the display, so that the last messages of the run stand alone."""
        with self._lock:
            self._active.clear()
        if self._display is not None:
            self._display.close()

    def _sample(self, now: float) -> tuple[dict[str, Count], list[str]]:
        """Return the counts of all active names, and the names whose line is due."""
        meters = dict(self._active)
        if self._fetched:
            self._update_run()
            self._run.sample(now)
            since, then = self._last_point
            if now - since >= SAMPLE_SECONDS:
                self._history.add((self._run.moved_bytes - then) / (now - since))
                self._last_point = (now, self._run.moved_bytes)
            fetching = any(meter.activity == "fetch" for meter in meters.values())
            # For a single data set, its own line says the same.
            if fetching and len(self._fetched.keys() | self._expected.keys()) > 1:
                meters[WHOLE_RUN] = self._run
        for meter in meters.values():
            meter.sample(now)
        due = [name for name, meter in meters.items() if now >= meter.next_line]
        for name in due:
            meters[name].next_line = now + INTERVAL_SECONDS
        return {name: meter.count(now) for name, meter in meters.items()}, due

    def _update_run(self) -> None:
        """Sum up the data sets: those that were started by their counts, the others by the plan."""
        run, meters = self._run, self._fetched
        run.done_bytes = sum(meter.done_bytes for meter in meters.values())
        planned = [size for name, size in self._expected.items() if name not in meters]
        if None in planned or any(meter.total_bytes is None for meter in meters.values()):
            run.total_bytes, run.estimate = None, False
            return
        sizes = [size for size in planned if size is not None]
        # A data set that has exceeded its estimate counts with its actual size, so that the whole run never exceeds its
        # total.
        run.total_bytes = sum(size.value for size in sizes)
        run.total_bytes += sum(max(meter.done_bytes, meter.total_bytes or 0) for meter in meters.values())
        run.estimate = any(size.estimate for size in sizes) or any(meter.is_rough for meter in meters.values())


@dataclass(slots=True, kw_only=True)
class _Meter:
    """A counter with the samples from which its rate is measured."""

    activity: Activity
    total_bytes: int | None
    estimate: bool
    """Whether the total is an estimate."""
    done_bytes: int
    next_line: float
    """The time at which the next line is due, by the run's clock."""
    moved_bytes: int = 0
    """Bytes transferred since the start, including discarded ones, since the rate is that of the transfer."""
    samples: deque[tuple[float, int]] = field(default_factory=deque)
    """Times with the bytes moved by then; the oldest is about as old as the window."""

    @property
    def is_rough(self) -> bool:
        """Whether more or fewer bytes than the total may come."""
        return self.estimate or (self.total_bytes is not None and self.done_bytes > self.total_bytes)

    def sample(self, now: float) -> None:
        if self.samples and now - self.samples[-1][0] < SAMPLE_SECONDS:
            return
        self.samples.append((now, self.moved_bytes))
        while len(self.samples) > 2 and now - self.samples[1][0] >= WINDOW_SECONDS:  # noqa: PLR2004 - a rate needs two
            self.samples.popleft()

    def count(self, now: float) -> Count:
        rate = None
        if self.samples and now - self.samples[0][0] >= SAMPLE_SECONDS:
            since, then = self.samples[0]
            rate = (self.moved_bytes - then) / (now - since)
        return Count(self.activity, self.done_bytes, self.total_bytes, rate, self.estimate)
