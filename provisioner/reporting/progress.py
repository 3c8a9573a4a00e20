"""The progress of a run: how many bytes are done, at which rate, and how long the rest will take.

Threads that move bytes only add numbers (:meth:`Progress.advance`). The display is updated by :meth:`Progress.tick` alone,
which the run's main loop calls a few times a second, so that no thread of the display can outlive the run.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, Protocol

from provisioner.reporting.units import format_bytes, format_duration, format_share

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Activity = Literal["fetch", "unpack", "verify"]
_PREFIXES: Final[dict[Activity, str]] = {"fetch": "", "unpack": "unpacking, ", "verify": "hashing, "}

INTERVAL_SECONDS: Final = 10.0
"""The time between two lines on the same data set."""
WINDOW_SECONDS: Final = 30.0
"""The period over which the rate is measured: long enough to be steady, short enough to show a stall."""
SAMPLE_SECONDS: Final = 1.0
"""The time between two samples of a counter."""
WHOLE_RUN: Final = "in all"
"""The name of the line and of the bar of the whole run; no id of a data set contains a space."""


@dataclass(frozen=True, slots=True)
class Count:
    """The progress of one data set, or of the whole run, at one moment."""

    activity: Activity
    done_bytes: int
    total_bytes: int | None
    """``None``: not known."""
    bytes_per_second: float | None = None
    """The rate of the last :data:`WINDOW_SECONDS`; ``None`` until it has been measured."""

    @property
    def seconds_left(self) -> float | None:
        """The time left at this rate; ``None``: not known, or nothing is moving."""
        if self.total_bytes is None or not self.bytes_per_second or self.done_bytes > self.total_bytes:
            return None
        return (self.total_bytes - self.done_bytes) / self.bytes_per_second

    def __str__(self) -> str:
        """Return the text of a line after the name, such as ``1.20 of 2.75 GB (43 %), 35.1 MB/s, 44 s left``."""
        # A total that has been exceeded was a wrong estimate, so it is left out.
        if self.total_bytes is None or self.done_bytes > self.total_bytes:
            parts = [format_bytes(self.done_bytes)]
        else:
            parts = [format_share(self.done_bytes, self.total_bytes)]
        if self.bytes_per_second is not None:
            parts.append(f"{format_bytes(self.bytes_per_second)}/s")
        left = self.seconds_left
        if left is not None:
            parts.append(f"{format_duration(left)} left")
        return _PREFIXES[self.activity] + ", ".join(parts)


class Display(Protocol):
    """What shows the counts to people."""

    def show(self, counts: Mapping[str, Count], due: Sequence[str]) -> None:
        """Show the counts of what is active; ``due`` are the names whose line is due."""

    def close(self) -> None:
        """Clear the screen for log lines; the display can be used again."""


class Progress:
    """The counters of one run; every method except :meth:`tick` and :meth:`close` may be called from any thread."""

    def __init__(self, display: Display | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with nothing done.

        Args:
            display: shows the counts; with ``None`` they are only kept.
            clock: returns seconds since some fixed moment, and never goes back.
        """
        self._display = display
        self._clock = clock
        self._lock = threading.Lock()
        self._active: dict[str, _Meter] = {}
        self._fetched: dict[str, _Meter] = {}
        """The latest fetch of each data set, finished ones included; their sum is that of the whole run."""
        self._expected: int | None = None
        self._run: _Meter | None = None

    def expect(self, total_bytes: int | None) -> None:
        """Set how much the whole run will fetch by its plan, in bytes; ``None``: not known."""
        with self._lock:
            self._expected = total_bytes

    def start(self, dataset: str, activity: Activity, total_bytes: int | None, already: int = 0) -> None:
        """Start to count an activity of a data set, or start it again.

        Args:
            dataset: the id of the data set.
            activity: what is done with it.
            total_bytes: the size of the whole, including what is already done; ``None``: not known.
            already: how many bytes were done before; they do not count for the rate.
        """
        now = self._clock()
        meter = _Meter(activity, total_bytes, already, now + INTERVAL_SECONDS)
        meter.sample(now)
        with self._lock:
            self._active[dataset] = meter
            if activity == "fetch":
                self._fetched[dataset] = meter
                if self._run is None:
                    self._run = _Meter("fetch", None, 0, now + INTERVAL_SECONDS)
                    self._run.sample(now)

    def advance(self, dataset: str, count: int) -> None:
        """Add ``count`` bytes, negative for bytes that were discarded; ignore a data set that is not active."""
        with self._lock:
            meter = self._active.get(dataset)
            if meter is not None:
                meter.advance(count)
                if meter.activity == "fetch" and self._run is not None:
                    self._run.moved_bytes += max(0, count)

    def finish(self, dataset: str) -> None:
        """End the activity of a data set, successful or not; ignore a data set that is not active."""
        with self._lock:
            self._active.pop(dataset, None)

    def counts(self) -> Mapping[str, Count]:
        """Return the counts of the active data sets."""
        now = self._clock()
        with self._lock:
            return {name: meter.count(now) for name, meter in self._active.items()}

    def whole_run(self) -> Count:
        """Return the count of everything that the run fetches."""
        with self._lock:
            total, done = self._run_total(), self._run_bytes()
            rate = self._run.count(self._clock()).bytes_per_second if self._run is not None else None
        return Count("fetch", done, total, rate)

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
        """Return the counts of everything active, and the names whose line is due."""
        meters = dict(self._active)
        if self._run is not None:
            self._run.done_bytes = self._run_bytes()
            self._run.total_bytes = self._run_total()
            self._run.sample(now)
            fetching = any(meter.activity == "fetch" for meter in meters.values())
            # With a single data set, its own line says the same.
            several = len(self._fetched) > 1 or any(self._run.total_bytes != one.total_bytes for one in self._fetched.values())
            if fetching and several:
                meters[WHOLE_RUN] = self._run
        for meter in meters.values():
            meter.sample(now)
        due = [name for name, meter in meters.items() if now >= meter.next_line]
        for name in due:
            meters[name].next_line = now + INTERVAL_SECONDS
        return {name: meter.count(now) for name, meter in meters.items()}, due

    def _run_bytes(self) -> int:
        return sum(meter.done_bytes for meter in self._fetched.values())

    def _run_total(self) -> int | None:
        if self._expected is not None:
            return self._expected
        totals = [meter.total_bytes for meter in self._fetched.values() if meter.total_bytes is not None]
        return sum(totals) if len(totals) == len(self._fetched) else None


@dataclass(slots=True)
class _Meter:
    """A counter with the samples that its rate is measured from."""

    activity: Activity
    total_bytes: int | None
    done_bytes: int
    next_line: float
    """When the next line is due, by the run's clock."""
    moved_bytes: int = 0
    """What was transferred since the start, including what was discarded: the rate is that of the transfer."""
    samples: deque[tuple[float, int]] = field(default_factory=deque)
    """Times, and how much had moved by then; the oldest is about as old as the window."""

    def advance(self, count: int) -> None:
        self.done_bytes += count
        self.moved_bytes += max(0, count)

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
        return Count(self.activity, self.done_bytes, self.total_bytes, rate)
