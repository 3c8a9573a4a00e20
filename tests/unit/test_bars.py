"""Bars on pseudo-terminals of all sizes: what a person sees while a run works, and after its end."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.redaction import Redactor
from provisioner.reporting.bars import Bars, frame_of
from provisioner.reporting.display import make_display
from provisioner.reporting.logs import set_up_logging
from provisioner.reporting.progress import Count, Progress
from provisioner.reporting.text_width import clip, display_width
from tests.support.terminal import PseudoTerminal

if TYPE_CHECKING:
    from collections.abc import Iterator

MB = 10**6
GB = 10**9
LOG = logging.getLogger("provisioner.tests")
COUNTS = {
    "nsynth": Count("fetch", 1_200 * MB, 25_230 * MB, 35.1 * MB),
    "nsynth/nsynth-train.jsonwav.tar.gz": Count("unpack", 300 * MB, None, 100.0 * MB),
    "データセット": Count("fetch", 5, 10, None),
    "in all": Count("fetch", 1_200 * MB, 48_500 * MB, 35.1 * MB, estimate=True),
}


@pytest.fixture(autouse=True)
def logging_restored() -> Iterator[None]:
    """Put the log back as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


class Work:
    """A run on a terminal."""

    def __init__(self, terminal: PseudoTerminal) -> None:
        """Start a run that has nothing to do yet."""
        console = set_up_logging(redactor=Redactor(), stream=terminal.stream)
        self.now = 0.0
        display = make_display(terminal.stream, log_format="text", console=console)
        self.progress = Progress(display, clock=lambda: self.now)

    def pass_time(self, seconds: int, **rates: int) -> None:
        """Move bytes for some seconds."""
        for _ in range(seconds):
            self.now += 1
            for name, rate in rates.items():
                self.progress.advance(name, rate)
            self.progress.tick()


@pytest.mark.parametrize(("columns", "lines"), [(0, 0), (20, 10), (40, 24), (80, 24), (80, 4), (200, 50), (1, 1), (2, 2)])
def test_bars_on_terminals_of_all_sizes(columns: int, lines: int) -> None:
    """Bars are shown whatever the size, no line is wrapped, log lines stay whole above them, and nothing is left at the end."""
    with PseudoTerminal(columns, lines) as terminal:
        work = Work(terminal)
        work.progress.start("nsynth", "fetch", 25_230 * MB)
        work.progress.start("a-data-set-whose-id-is-as-long-as-an-id-may-be-which-is-64-letters", "fetch", None)
        work.progress.start("nsynth/nsynth-train.jsonwav.tar.gz", "unpack", 3 * GB)
        work.pass_time(3, nsynth=35 * MB)
        if columns == 0 or columns >= 40:
            shown = terminal.read().lines
            assert any("of 25.23 GB (0 %)" in line for line in shown), shown
            assert len(shown) <= (lines or 24) - 1
        LOG.warning("one")
        work.pass_time(2, nsynth=35 * MB)
        LOG.info("two")
        work.progress.close()
        screen = terminal.read()
        said = "".join(screen.lines).replace(" ", "")
        assert said.endswith("two")
        assert said.count("WARNINGone") == 1
        assert "nsynth" not in said
        assert screen.column == 0
        assert screen.wrapped == 0 or columns < len("12:34:56 WARNING one")


@pytest.mark.parametrize("columns", [0, 40, 80, 200])
def test_the_prompt_begins_a_line_of_its_own(columns: int) -> None:
    """A process that is killed while bars are on the screen leaves the cursor at the beginning of the line below them."""
    with PseudoTerminal(columns) as terminal:
        work = Work(terminal)
        work.progress.start("nsynth", "fetch", 25 * GB)
        work.pass_time(3, nsynth=35 * MB)
        screen = terminal.read()
        assert screen.lines
        assert (screen.column, screen.row) == (0, len(screen.lines))


def test_a_terminal_that_becomes_smaller() -> None:
    """Lines that the terminal has broken because it became narrower are removed as well."""
    with PseudoTerminal(80) as terminal:
        bars = Bars(terminal.stream)
        bars.show(COUNTS, ())
        terminal.read()
        terminal.resize(40, 24)
        terminal.screen = narrow = type(terminal.screen)(40)
        narrow.feed("".join(f"{line}\r\n" for line in frame_of(COUNTS, 80, 24)))
        bars.show(COUNTS, ())
        assert len(terminal.read().lines) == len(COUNTS)
        bars.close()
        assert terminal.read().lines == []


def test_a_terminal_that_hangs_up() -> None:
    """A terminal that is gone is no reason to end a run."""
    with PseudoTerminal(80) as terminal:
        work = Work(terminal)
        work.progress.start("nsynth", "fetch", 25 * GB)
        work.pass_time(1, nsynth=MB)
        terminal.hang_up()
        work.pass_time(2, nsynth=MB)
        LOG.warning("nobody reads this")
        work.progress.close()


def test_log_lines_of_many_threads() -> None:
    """Every log line is whole and stands once, while bars change and other threads write."""
    with PseudoTerminal(200) as terminal:
        work = Work(terminal)
        work.progress.start("nsynth", "fetch", GB)

        def say(number: int) -> None:
            for index in range(10):
                LOG.warning("line %d.%d", number, index)

        threads = [threading.Thread(target=say, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        work.pass_time(20, nsynth=MB)
        for thread in threads:
            thread.join()
        work.progress.close()
        found = sorted(line.partition("WARNING ")[2] for line in terminal.read().lines)
        assert found == sorted(f"line {n}.{i}" for n in range(3) for i in range(10))


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=40).filter(str.isprintable), st.sampled_from(list(COUNTS.values())), max_size=30
    ),
    st.integers(1, 220),
    st.integers(1, 60),
)
def test_a_frame_fits_its_terminal(counts: dict[str, Count], columns: int, lines: int) -> None:
    """No line of a frame is as wide as the terminal, and all of them fit beside the cursor's line."""
    frame = frame_of(counts, columns, lines)
    assert all(display_width(line) < columns for line in frame)
    assert len(frame) <= max(1, lines - 1) + (lines < 3 and "in all" in counts)


def test_many_bars_on_a_low_terminal() -> None:
    """Bars that have no room are counted, and that of the whole run is always there."""
    counts = {f"set{i}": Count("fetch", i, 100) for i in range(10)} | {"in all": Count("fetch", 45, 1000)}
    frame = frame_of(counts, 80, 6)
    assert [line.split()[0] for line in frame] == ["set0", "set1", "set2", "and", "in"]
    assert "and 7 more" in frame


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (120, "nsynth       |--------------------| 1.20 of 25.23 GB (4 %), 35.1 MB/s, 11 min 25 s left"),
        (80, "nsynth       |------------| 1.20 of 25.23 GB (4 %), 35.1 MB/s, 11 min 25 s left"),
        (70, "nsynth        1.20 of 25.23 GB (4 %), 35.1 MB/s, 11 min 25 s left"),
        (60, "nsynth       |----------| 1.20 of 25.23 GB (4 %), 35.1 MB/s"),
        (40, "nsynth        1.20 of 25.23 GB (4 %)"),
    ],
)
def test_what_is_left_out_on_a_narrow_terminal(columns: int, line: str) -> None:
    """The bar becomes shorter first, then the last numbers are left out; how much is done stays."""
    assert frame_of({"nsynth": COUNTS["nsynth"]}, columns, 24) == [line]


@pytest.mark.parametrize(
    ("text", "columns", "shown"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdef", 5, "abc.."),
        ("データ", 5, "デ.."),
        ("e\u0301e\u0301", 2, "e\u0301e\u0301"),
        ("ab", 1, "."),
    ],
)
def test_clip(text: str, columns: int, shown: str) -> None:
    """What is cut off is marked; wide characters take two columns and combining ones none."""
    assert clip(text, columns) == shown
