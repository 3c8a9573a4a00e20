"""How far a run is: bars on a terminal, a line every ten seconds anywhere else.

Threads that move bytes only add numbers (:meth:`Progress.advance`). Everything that is seen is written by
:meth:`Progress.tick`, which the run's main loop calls a few times a second: there is no thread here that could outlive the
run, and no clock but the one that was handed in.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from provisioner.reporting.logs import ConsoleHandler

PhaseWord = Literal["fetch", "unpack", "verify"]
_SHOWN: Final[dict[PhaseWord, str]] = {"fetch": "", "unpack": "unpacking, ", "verify": "hashing, "}

INTERVAL_SECONDS: Final = 10.0
"""Between two lines on the same thing."""
WINDOW_SECONDS: Final = 30.0
"""How far back the rate looks: long enough to be calm, short enough to show a stall."""
SAMPLE_SECONDS: Final = 1.0
"""Between two looks at the counters for the rate."""
WHOLE_RUN: Final = "in all"
"""What the line and the bar of the whole run are called; no id of a data set holds a space."""

_LOG: Final = logging.getLogger(__name__)
_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


# --- numbers for people ---------------------------------------------------------------------------------------------


def format_bytes(count: float) -> str:
    """Return a number of bytes with three figures and a decimal unit, such as ``2.75 GB``, ``35.1 MB`` or ``999 B``."""
    unit = _unit_of(count)
    return f"{_figures(count / 1000**unit, whole=unit == 0)} {_UNITS[unit]}"


def format_duration(seconds: float) -> str:
    """Return a time in its two largest units, such as ``44 s``, ``4 min 30 s``, ``1 h 05 min`` or ``2 d 3 h``."""
    rounded = max(0, round(seconds))
    minutes, second = divmod(rounded, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days} d {hour} h"
    if hours:
        return f"{hours} h {minute:02} min"
    return f"{minutes} min {second:02} s" if minutes else f"{second} s"


def _unit_of(count: float) -> int:
    """Return the index of the unit that leaves one to three figures before the point, after rounding."""
    unit = 0
    while unit < len(_UNITS) - 1 and abs(count) / 1000**unit >= (999.5 if unit else 1000):
        unit += 1
    return unit


def _figures(number: float, *, whole: bool) -> str:
    if whole:
        return f"{number:.0f}"
    # 9.996 has its third figure before the point once it is rounded.
    decimals = 2 if abs(number) < 9.995 else 1 if abs(number) < 99.95 else 0  # noqa: PLR2004
    return f"{number:.{decimals}f}"


# --- the counters ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Count:
    """How far one data set, or the whole run, is at one moment."""

    phase_word: PhaseWord
    done_bytes: int
    total_bytes: int | None
    """``None``: nobody knows."""
    bytes_per_second: float | None = None
    """Lately; ``None`` until there is something to measure."""

    @property
    def seconds_left(self) -> float | None:
        """The time left at this rate, or ``None``: not known, or no end in sight."""
        if self.total_bytes is None or not self.bytes_per_second or self.done_bytes > self.total_bytes:
            return None
        return (self.total_bytes - self.done_bytes) / self.bytes_per_second

    def __str__(self) -> str:
        """Return what a line says after the name: ``1.20 of 2.75 GB (44 %), 35.1 MB/s, 44 s left``."""
        # A total that was passed was an estimate, and a wrong one: it is not repeated.
        if self.total_bytes is None or self.done_bytes > self.total_bytes:
            parts = [format_bytes(self.done_bytes)]
        else:
            unit = _unit_of(self.total_bytes)
            done = f"{self.done_bytes / 1000**unit:.{2 if unit else 0}f}"
            total = f"{self.total_bytes / 1000**unit:.{2 if unit else 0}f}"
            percent = f" ({self.done_bytes * 100 // self.total_bytes} %)" if self.total_bytes else ""
            parts = [f"{done} of {total} {_UNITS[unit]}{percent}"]
        if self.bytes_per_second is not None:
            parts.append(f"{format_bytes(self.bytes_per_second)}/s")
        left = self.seconds_left
        if left is not None:
            parts.append(f"{format_duration(left)} left")
        return _SHOWN[self.phase_word] + ", ".join(parts)


@dataclass(slots=True)
class _Meter:
    """A counter with its recent past."""

    phase_word: PhaseWord
    total_bytes: int | None
    done_bytes: int
    next_line: float
    """When the next line on it is due, by the run's clock."""
    moved_bytes: int = 0
    """What arrived since the start, thrown away or not: the rate is that of the wire."""
    samples: deque[tuple[float, int]] = field(default_factory=deque)
    """When, and how much had moved by then; the oldest is about as old as the window."""

    def advance(self, count: int) -> None:
        self.done_bytes += count
        self.moved_bytes += max(0, count)

    def sample(self, now: float) -> None:
        if self.samples and now - self.samples[-1][0] < SAMPLE_SECONDS:
            return
        self.samples.append((now, self.moved_bytes))
        while len(self.samples) > 2 and now - self.samples[1][0] >= WINDOW_SECONDS:  # noqa: PLR2004 - two make a rate
            self.samples.popleft()

    def count(self, now: float) -> Count:
        rate = None
        if self.samples and now - self.samples[0][0] >= SAMPLE_SECONDS:
            since, then = self.samples[0]
            rate = (self.moved_bytes - then) / (now - since)
        return Count(self.phase_word, self.done_bytes, self.total_bytes, rate)


class Display(Protocol):
    """What is seen of the counters."""

    def show(self, counts: Mapping[str, Count], due: Sequence[str]) -> None:
        """Show what is active by name; ``due`` are the names whose line is due."""

    def close(self) -> None:
        """Leave the screen as a log line expects it; the display can be used again."""


class Lines:
    """One log line for each name that is due, with the numbers as fields for ``LOG_FORMAT=json``."""

    def show(self, counts: Mapping[str, Count], due: Sequence[str]) -> None:
        """Log the lines that are due."""
        for name in due:
            count = counts[name]
            fields: dict[str, Any] = {"event": "progress", "phase_word": count.phase_word, "done_bytes": count.done_bytes}
            fields["total_bytes"] = count.total_bytes
            if count.bytes_per_second is not None:
                fields["bytes_per_second"] = round(count.bytes_per_second)
            left = count.seconds_left
            if left is not None:
                fields["seconds_left"] = round(left)
            if name != WHOLE_RUN:
                fields["dataset"] = name
            _LOG.info("%s: %s", name, count, extra=fields)

    def close(self) -> None:
        """Do nothing: a line is complete once it is written."""


class Bars:
    """A bar for each name that is active; log lines appear above them."""

    def __init__(self, stream: TextIO, console: ConsoleHandler | None = None) -> None:
        # Imported here: who has no terminal, or nothing to fetch, does not wait for it.
        from tqdm import tqdm  # noqa: PLC0415

        class Bar(tqdm):  # type: ignore[type-arg]
            """A bar that only moves when it is told to, and says what a line would say."""

            # No thread that watches over the bars; it would outlive the run.
            monitor_interval = 0
            numbers = ""

            @property
            def format_dict(self) -> dict[str, Any]:
                """What may stand in ``bar_format``."""
                return {**super().format_dict, "numbers": self.numbers}

        # A lock between threads is enough; the default one also makes a semaphore between processes.
        Bar.set_lock(threading.RLock())
        self._bar = Bar
        self._stream = stream
        self._console = console
        self._bars: dict[str, tuple[PhaseWord, Any]] = {}

    def show(self, counts: Mapping[str, Count], due: Sequence[str]) -> None:
        """Draw the bars as they are now."""
        del due
        for name in [name for name, (word, _) in self._bars.items() if name not in counts or counts[name].phase_word != word]:
            self._bars.pop(name)[1].close()
        for name, count in counts.items():
            if name not in self._bars:
                self._bars[name] = (count.phase_word, self._new(name, count))
            bar = self._bars[name][1]
            bar.total = count.total_bytes if count.total_bytes is None or count.total_bytes >= count.done_bytes else None
            bar.n = count.done_bytes
            bar.numbers = str(count)
            bar.refresh()
        if self._console is not None:
            self._console.write_line = self._write_above if self._bars else self._console.write_to_stream

    def close(self) -> None:
        """Remove the bars."""
        self.show({}, ())

    def _new(self, name: str, count: Count) -> Any:  # noqa: ANN401 - a class made above
        return self._bar(
            desc=name,
            total=count.total_bytes,
            initial=count.done_bytes,
            bar_format="{desc:12} |{bar:20}| {numbers}",
            leave=False,
            dynamic_ncols=True,
            file=self._stream,
        )

    def _write_above(self, line: str) -> None:
        self._bar.write(line, file=self._stream)


class Progress:
    """The counters of one run; every method but :meth:`tick` and :meth:`close` may be called from any thread."""

    def __init__(self, display: Display | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing done.

        Args:
            display: what is seen; ``None`` for nothing at all, with the counters still kept.
            clock: seconds from any moment on, never going back.
        """
        self._display = display
        self._clock = clock
        self._lock = threading.Lock()
        self._active: dict[str, _Meter] = {}
        self._fetched: dict[str, _Meter] = {}
        """The latest fetch of each data set, finished ones too: the whole run is their sum."""
        self._expected: int | None = None
        self._run: _Meter | None = None

    def expect(self, total_bytes: int | None) -> None:
        """Return how much the whole run is going to fetch, in bytes, by the plan; ``None``: not known."""
        with self._lock:
            self._expected = total_bytes

    def start(self, dataset: str, phase_word: PhaseWord, total_bytes: int | None, already: int = 0) -> None:
        """Begin to fetch or unpack a data set, or begin it again.

        Args:
            dataset: its id.
            phase_word: what is done with it.
            total_bytes: how much there is to do, what is already done included; ``None`` if not known.
            already: how much of it was done before; it does not count for the rate.
        """
        now = self._clock()
        meter = _Meter(phase_word, total_bytes, already, now + INTERVAL_SECONDS)
        meter.sample(now)
        with self._lock:
            self._active[dataset] = meter
            if phase_word == "fetch":
                self._fetched[dataset] = meter
                if self._run is None:
                    self._run = _Meter("fetch", None, 0, now + INTERVAL_SECONDS)
                    self._run.sample(now)

    def advance(self, dataset: str, count: int) -> None:
        """Add ``count`` bytes; fewer than none where some were thrown away. A data set that is not active is no error."""
        with self._lock:
            meter = self._active.get(dataset)
            if meter is not None:
                meter.advance(count)
                if meter.phase_word == "fetch" and self._run is not None:
                    self._run.moved_bytes += max(0, count)

    def finish(self, dataset: str) -> None:
        """End what was started, whether it went well or not; a data set that is not active is no error."""
        with self._lock:
            self._active.pop(dataset, None)

    def counts(self) -> Mapping[str, Count]:
        """Return how far each data set is that is active now, for the status file."""
        now = self._clock()
        with self._lock:
            return {name: meter.count(now) for name, meter in self._active.items()}

    def whole_run(self) -> Count:
        """Return how far the run is with all that it fetches."""
        with self._lock:
            total, done = self._run_total(), self._run_bytes()
            rate = self._run.count(self._clock()).bytes_per_second if self._run is not None else None
        return Count("fetch", done, total, rate)

    def tick(self) -> None:
        """Show how far the run is, as far as it is time for that; call it often, from one thread."""
        now = self._clock()
        with self._lock:
            counts, due = self._look(now)
        if self._display is not None:
            self._display.show(counts, due)

    def close(self) -> None:
        """Remove what is on the screen, so that the last words of the run stand alone."""
        with self._lock:
            self._active.clear()
        if self._display is not None:
            self._display.close()

    def _look(self, now: float) -> tuple[dict[str, Count], list[str]]:
        meters = dict(self._active)
        if self._run is not None:
            self._run.done_bytes = self._run_bytes()
            self._run.total_bytes = self._run_total()
            self._run.sample(now)
            fetching = any(meter.phase_word == "fetch" for meter in meters.values())
            # With one data set in all, its own line says everything.
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


def make_display(
    stream: TextIO, *, log_format: Literal["text", "json"], quiet: bool = False, console: ConsoleHandler | None = None
) -> Display | None:
    """Return what fits the place: bars on a terminal, lines elsewhere, nothing where it is to be quiet.

    Args:
        stream: where the log goes; standard error.
        log_format: ``json`` never has bars.
        quiet: show nothing at all.
        console: the log's handler, which has to write its lines above the bars.
    """
    if quiet:
        return None
    if log_format == "text" and stream.isatty():
        return Bars(stream, console)
    return Lines()
