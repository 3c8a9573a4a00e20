"""Progress: counters, rates and their display. The tests move the clock themselves; nothing sleeps."""

from __future__ import annotations

import io
import logging
import sys
import threading
from typing import TYPE_CHECKING, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.catalog.size import Size
from provisioner.reporting.bars import Bars
from provisioner.reporting.display import Lines, make_display
from provisioner.reporting.progress import Count, Progress
from provisioner.units import format_bytes, format_duration

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GB = 10**9
MB = 10**6


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        """Start at an arbitrary time."""
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class Screen:
    """A display that keeps the text of each line that was due."""

    def __init__(self) -> None:
        """Start without lines."""
        self.lines: list[str] = []
        self.closed = 0

    def show(self, counts: Mapping[str, Count], due: Sequence[str]) -> None:
        """Keep the lines that are due."""
        self.lines += [f"{name}: {counts[name]}" for name in due]

    def close(self) -> None:
        """Count the calls."""
        self.closed += 1


class Terminal(io.StringIO):
    """A stream that is a terminal for those who ask."""

    def isatty(self) -> bool:
        """Return ``True``."""
        return True


class Run:
    """The progress of a run, with a clock and a screen."""

    def __init__(self) -> None:
        """Start with nothing done."""
        self.clock = Clock()
        self.screen = Screen()
        self.progress = Progress(self.screen, clock=self.clock)

    def pass_time(self, seconds: int, **rates: int) -> list[str]:
        """Let time pass at these rates (bytes per second), ticking as the main loop does; return the new lines."""
        before = len(self.screen.lines)
        for _ in range(seconds * 5):
            self.clock.now += 0.2
            for dataset, rate in rates.items():
                self.progress.advance(dataset, rate // 5)
            self.progress.tick()
        return self.screen.lines[before:]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (9994, "9.99 kB"),
        (9996, "10.0 kB"),
        (35_149_999, "35.1 MB"),
        (99_960_000, "100 MB"),
        (999_499_999, "999 MB"),
        (999_500_000, "1.00 GB"),
        (2_748_572_632, "2.75 GB"),
        (93_000_000_000, "93.0 GB"),
        (1.5e15, "1.50 PB"),
        (5e21, "5000 EB"),
        (0.4, "0 B"),
    ],
)
def test_format_bytes(count: float, text: str) -> None:
    """A number of bytes is shown with three figures and a decimal unit."""
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (-5, "0 s"),
        (44.4, "44 s"),
        (59.6, "1 min 00 s"),
        (270, "4 min 30 s"),
        (3599.7, "1 h 00 min"),
        (3900, "1 h 05 min"),
        (183_600, "2 d 3 h"),
    ],
)
def test_format_duration(seconds: float, text: str) -> None:
    """A duration is shown in its two largest units."""
    assert format_duration(seconds) == text


@given(st.integers(min_value=0, max_value=10**21))
def test_three_figures_at_most(count: int) -> None:
    """No number has more than three figures, except in the largest unit."""
    number, unit = format_bytes(count).split()
    assert len(number.replace(".", "")) <= 3 or unit == "EB"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (Count("fetch", 1_200_000_000, 2_748_572_632, 35_100_000.0), "1.20 of 2.75 GB (43 %), 35.1 MB/s, 44 s left"),
        (Count("fetch", 5, 10), "5 of 10 B (50 %)"),
        (Count("fetch", 1_200_000_000, None, 35_100_000.0), "1.20 GB, 35.1 MB/s"),
        (Count("unpack", 1 * GB, 4 * GB, 100 * MB), "unpacking, 1.00 of 4.00 GB (25 %), 100 MB/s, 30 s left"),
        (Count("fetch", 1 * GB, 4 * GB, 0.0), "1.00 of 4.00 GB (25 %), 0 B/s"),
        (Count("fetch", 5 * GB, 4 * GB, 1.0), "5.00 GB, 1 B/s"),
        (Count("fetch", 4 * GB, 4 * GB, 1.0), "4.00 of 4.00 GB (100 %), 1 B/s, 0 s left"),
        (Count("fetch", 0, 0), "0 of 0 B"),
        (Count("fetch", 1 * GB, 4 * GB, 1.0 * GB, estimate=True), "1.00 of about 4.00 GB (25 %), 1.00 GB/s, 3 s left"),
        (Count("fetch", 4 * GB, 4 * GB, 1.0, estimate=True), "4.00 GB, 1 B/s"),
    ],
)
def test_line(count: Count, text: str) -> None:
    """A line shows bytes done, total, rate and time left where they are known, and omits a total that was exceeded."""
    assert str(count) == text


def test_a_line_every_ten_seconds() -> None:
    """The first line comes after ten seconds, then one every ten seconds until the end."""
    run = Run()
    run.progress.start("ljspeech", "fetch", 2_000 * MB)
    assert run.pass_time(9, ljspeech=35 * MB) == []
    assert run.pass_time(2, ljspeech=35 * MB) == ["ljspeech: 0.35 of 2.00 GB (17 %), 35.0 MB/s, 47 s left"]
    assert len(run.pass_time(40, ljspeech=35 * MB)) == 4
    run.progress.finish("ljspeech")
    assert run.pass_time(60) == []


def test_bytes_of_an_earlier_run_do_not_count_for_the_rate() -> None:
    """Bytes of an earlier run count as done, but not for the rate."""
    run = Run()
    run.progress.start("ljspeech", "fetch", 2_000 * MB, already=1_000 * MB)
    run.pass_time(5, ljspeech=10 * MB)
    count = run.progress.counts()["ljspeech"]
    assert (count.done_bytes, round(count.bytes_per_second or 0)) == (1_050 * MB, 10 * MB)
    assert round(run.progress.whole_run().bytes_per_second or 0) == 10 * MB


def test_rate_is_that_of_the_last_half_minute() -> None:
    """The rate covers the last half minute only, so that a stall shows."""
    run = Run()
    run.progress.start("ljspeech", "fetch", 10_000 * MB)
    run.pass_time(60, ljspeech=100 * MB)
    assert run.pass_time(40)[-1] == "ljspeech: 6.00 of 10.00 GB (60 %), 0 B/s"


def test_discarded_bytes() -> None:
    """A transfer that starts over has fewer bytes done than before; the rate stays that of the transfer."""
    run = Run()
    run.progress.start("ljspeech", "fetch", 1_000 * MB)
    run.pass_time(5, ljspeech=100 * MB)
    run.progress.advance("ljspeech", -500 * MB)
    run.pass_time(5, ljspeech=100 * MB)
    count = run.progress.counts()["ljspeech"]
    assert (count.done_bytes, round(count.bytes_per_second or 0)) == (500 * MB, 100 * MB)


def test_whole_run() -> None:
    """With several data sets there is a line for the whole run, with the plan's total; unpacked bytes do not count in it."""
    run = Run()
    run.progress.expect({"ljspeech": Size(2 * GB), "nsynth": Size(3 * GB), "urmp": Size(1 * GB)})
    run.progress.start("ljspeech", "fetch", 2 * GB)
    run.progress.start("nsynth", "fetch", 3 * GB)
    assert run.pass_time(11, ljspeech=100 * MB, nsynth=100 * MB) == [
        "ljspeech: 1.00 of 2.00 GB (50 %), 100 MB/s, 10 s left",
        "nsynth: 1.00 of 3.00 GB (33 %), 100 MB/s, 20 s left",
        "in all: 2.00 of 6.00 GB (33 %), 200 MB/s, 20 s left",
    ]
    run.progress.finish("nsynth")
    run.progress.start("nsynth", "unpack", None)
    run.pass_time(5, nsynth=100 * MB)
    assert run.progress.whole_run().done_bytes == 2_200 * MB
    assert run.progress.counts()["nsynth"].done_bytes == 500 * MB
    run.progress.finish("ljspeech")
    assert not [line for line in run.pass_time(20, nsynth=100 * MB) if line.startswith("in all")]


def test_whole_run_without_a_plan() -> None:
    """Without a plan the total is the sum of all totals, or unknown when one of them is."""
    run = Run()
    run.progress.start("ljspeech", "fetch", 2 * GB)
    run.progress.start("urmp", "fetch", 3 * GB)
    assert run.progress.whole_run().total_bytes == 5 * GB
    run.progress.start("urmp", "fetch", None)
    assert run.progress.whole_run().total_bytes is None
    assert run.pass_time(11, urmp=MB)[-1] == "in all: 10.0 MB, 1.00 MB/s"


def test_whole_run_with_estimates() -> None:
    """The plan's total counts from the beginning, and is called an estimate until the last estimate has been replaced."""
    run = Run()
    run.progress.expect({"nsynth": Size(4 * GB), "urmp": Size(12 * GB, estimate=True), "ljspeech": Size(2 * GB)})
    run.progress.start("nsynth", "fetch", 4 * GB)
    assert run.pass_time(11, nsynth=100 * MB)[-1] == "in all: 1.00 of about 18.00 GB (5 %), 100 MB/s, 2 min 50 s left"
    run.progress.advance("nsynth", 3 * GB)
    run.progress.finish("nsynth")
    run.progress.start("urmp", "fetch", 13 * GB)
    assert run.progress.whole_run() == Count("fetch", 4_100 * MB, 19_100 * MB, run.progress.whole_run().bytes_per_second)


def test_an_estimate_that_was_too_low() -> None:
    """A data set that exceeds its estimate counts as it is: the run's total grows with it and is never exceeded."""
    run = Run()
    run.progress.expect({"urmp": Size(1 * GB, estimate=True), "ljspeech": Size(2 * GB)})
    run.progress.start("urmp", "fetch", None)
    run.progress.advance("urmp", 3 * GB)
    count = run.progress.whole_run()
    assert (count.done_bytes, count.total_bytes, count.estimate) == (3 * GB, 5 * GB, True)
    assert run.pass_time(11, urmp=MB)[0].startswith("urmp: 3.01 GB, ")
    run.progress.finish("urmp")
    assert (run.progress.whole_run().total_bytes, run.progress.whole_run().estimate) == (5_011 * MB, False)


def test_a_data_set_that_fails() -> None:
    """What will not come any more is not waited for, whether the data set had begun or not."""
    run = Run()
    run.progress.expect({"nsynth": Size(4 * GB), "urmp": Size(1 * GB, estimate=True), "ljspeech": Size(2 * GB)})
    run.progress.start("nsynth", "fetch", 4 * GB)
    run.progress.advance("nsynth", 1 * GB)
    run.progress.finish("nsynth")
    run.progress.finish("urmp")
    run.progress.start("ljspeech", "fetch", 2 * GB)
    count = run.progress.whole_run()
    assert (count.done_bytes, count.total_bytes, count.estimate) == (1 * GB, 3 * GB, False)


@given(
    st.lists(
        st.tuples(st.none() | st.integers(0, 100), st.booleans(), st.none() | st.integers(0, 100), st.booleans()), min_size=1
    ),
    st.lists(st.tuples(st.integers(0, 9), st.integers(-20, 60)), max_size=30),
)
def test_no_share_exceeds_the_whole(plan: list[tuple[int | None, bool, int | None, bool]], moves: list[tuple[int, int]]) -> None:
    """Whatever was planned, listed and fetched, no line shows more than 100 % or bytes beyond its total."""
    progress = Progress(clock=Clock())
    progress.expect({str(i): None if one[0] is None else Size(one[0], estimate=one[1]) for i, one in enumerate(plan)})
    done = dict.fromkeys(map(str, range(len(plan))), 0)
    for index, move in moves:
        name = str(index % len(plan))
        if name not in progress.counts():
            progress.start(name, "fetch", plan[index % len(plan)][2], estimate=plan[index % len(plan)][3])
            done[name] = 0
        step = max(move, -done[name])
        done[name] += step
        progress.advance(name, step)
        if move > 50:
            progress.finish(name)
        for count in (*progress.counts().values(), progress.whole_run()):
            if count.is_bounded:
                assert count.done_bytes <= (count.total_bytes or 0)
        whole = progress.whole_run()
        assert whole.total_bytes is None or whole.done_bytes <= whole.total_bytes


def test_one_data_set_needs_no_line_for_the_whole_run() -> None:
    """A single data set has no line for the whole run, unless the plan has more."""
    run = Run()
    run.progress.start("ljspeech", "fetch", 2 * GB)
    assert len(run.pass_time(11, ljspeech=MB)) == 1
    run.progress.expect({"ljspeech": Size(2 * GB), "nsynth": Size(3 * GB)})
    assert len(run.pass_time(10, ljspeech=MB)) == 2


def test_another_source_starts_again() -> None:
    """When a source fails and the next one starts, its count replaces that of the first."""
    run = Run()
    run.progress.start("ljspeech", "fetch", 2 * GB)
    run.pass_time(5, ljspeech=100 * MB)
    run.progress.start("ljspeech", "fetch", 3 * GB)
    assert run.progress.whole_run() == Count("fetch", 0, 3 * GB, run.progress.whole_run().bytes_per_second)
    assert run.progress.counts()["ljspeech"].done_bytes == 0


def test_late_calls_are_ignored() -> None:
    """It is no error to add bytes after the end, or to end twice."""
    run = Run()
    run.progress.advance("ljspeech", 5)
    run.progress.finish("ljspeech")
    run.progress.tick()
    run.progress.close()
    assert run.progress.counts() == {}
    assert run.progress.whole_run() == Count("fetch", 0, 0)
    assert run.screen.closed == 1


def test_many_threads() -> None:
    """No byte is lost when several threads count while the main loop ticks."""
    progress = Progress(clock=Clock())
    progress.start("ljspeech", "fetch", None)

    def add() -> None:
        for _ in range(5_000):
            progress.advance("ljspeech", 1)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        workers = [threading.Thread(target=add) for _ in range(8)]
        for worker in workers:
            worker.start()
        while any(worker.is_alive() for worker in workers):
            progress.tick()
        for worker in workers:
            worker.join()
    finally:
        sys.setswitchinterval(interval)
    assert progress.counts()["ljspeech"].done_bytes == 40_000
    assert progress.whole_run().done_bytes == 40_000


def test_lines_have_their_numbers_as_fields(caplog: pytest.LogCaptureFixture) -> None:
    """A line is a log record that has its numbers as fields, for the JSON format."""
    with caplog.at_level(logging.INFO, logger="provisioner"):
        Lines().show({"ljspeech": Count("fetch", 5, 10, 1.0), "in all": Count("fetch", 5, None)}, ["ljspeech", "in all"])
        Lines().close()
    first, second = (vars(record) for record in caplog.records)
    assert first["message"] == "ljspeech: 5 of 10 B (50 %), 1 B/s, 5 s left"
    assert second["message"] == "in all: 5 B"
    fields = {"event": "progress", "phase_word": "fetch", "done_bytes": 5, "total_bytes": 10}
    assert fields.items() <= first.items()
    assert (first["dataset"], first["bytes_per_second"], first["seconds_left"]) == ("ljspeech", 1, 5)
    assert second["total_bytes"] is None
    assert not {"dataset", "bytes_per_second", "seconds_left"} & second.keys()


@pytest.mark.parametrize(
    ("terminal", "log_format", "quiet", "expected"),
    [
        ("xterm", "text", False, Bars),
        ("dumb", "text", False, Lines),
        ("xterm", "json", False, Lines),
        ("xterm", "text", True, type(None)),
        ("", "text", False, Lines),
        ("", "json", True, type(None)),
    ],
)
def test_display_suits_the_stream(*, terminal: str, log_format: Literal["text", "json"], quiet: bool, expected: type) -> None:
    """There are bars only on a terminal that can move its cursor, with a text log; no display when it is to be quiet."""
    stream = Terminal() if terminal else io.StringIO()
    assert type(make_display(stream, log_format=log_format, quiet=quiet, terminal=terminal)) is expected
