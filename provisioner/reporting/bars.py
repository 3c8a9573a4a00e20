"""Progress bars below the other output on a terminal; log lines appear above them.

The cursor is always at the beginning of the line below the last bar, so that the shell's prompt begins on a line of its own,
however the process ends.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Final, TextIO

from provisioner.reporting.progress import WHOLE_RUN
from provisioner.reporting.text_width import clip, display_width, pad, terminal_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from provisioner.reporting.logs import ConsoleHandler
    from provisioner.reporting.progress import Count

_LONGEST_BAR: Final = 20
_SHORTEST_BAR: Final = 5
_NAME_COLUMNS: Final = 12
"""Minimum width of names in columns, so that bars stay in place."""


class Bars:
    """One line with a bar for each active name."""

    def __init__(self, stream: TextIO, console: ConsoleHandler | None = None) -> None:
        """Prepare; nothing is drawn yet.

        Args:
            stream: the terminal.
            console: the log's handler for the same stream, which then writes through :meth:`write_above`.
        """
        self._stream = stream
        self._lock = threading.Lock()
        self._frame: list[str] = []
        """The lines that are on the screen."""
        self._columns = 0
        """The width for which they were drawn."""
        if console is not None:
            console.write_line = self.write_above

    def show(self, counts: Mapping[str, Count], due: Sequence[str]) -> None:
        """Draw all bars with their current counts."""
        del due
        columns, lines = terminal_size(self._stream)
        frame = frame_of(counts, columns, lines)
        # If the terminal has disappeared, the run goes on.
        with self._lock, contextlib.suppress(OSError, ValueError):
            if frame != self._frame or columns != self._columns:
                self._draw("", frame, columns)

    def close(self) -> None:
        """Remove the bars."""
        self.show({}, ())

    def write_above(self, line: str) -> None:
        """Write a line of the log above the bars."""
        with self._lock:
            self._draw(f"{line}\n", self._frame, self._columns)

    def _draw(self, above: str, frame: list[str], columns: int) -> None:
        """Replace the lines on the screen by ``above`` and the frame."""
        # Lines that were drawn for a wider terminal have been broken into several.
        rows = sum(max(1, -(-display_width(line) // max(1, columns))) for line in self._frame)
        back = f"\r\x1b[{rows}A\x1b[J" if rows else ""
        text = back + above + "".join(f"{line}\n" for line in frame)
        self._frame, self._columns = frame, columns
        self._stream.write(text)
        self._stream.flush()


def frame_of(counts: Mapping[str, Count], columns: int, lines: int) -> list[str]:
    """Return a line for each count, narrower than the terminal, and no more lines than fit on the screen with the cursor."""
    width = columns - 1  # a character in the last column makes some terminals begin a new line
    if width < 1:
        return []
    names = [name for name in counts if name != WHOLE_RUN]
    ends = [WHOLE_RUN] if WHOLE_RUN in counts else []
    room = max(1, lines - 1 - len(ends))
    hidden = len(names) - room + 1 if len(names) > room else 0
    shown = names[: len(names) - hidden] + ends
    name_columns = min(max([_NAME_COLUMNS, *map(display_width, shown)]), max(_NAME_COLUMNS, width // 3))
    frame = [clip(_line(name, counts[name], name_columns, width), width) for name in shown]
    if hidden:
        frame.insert(len(names) - hidden, clip(f"and {hidden} more", width))
    return frame


def _line(name: str, count: Count, name_columns: int, width: int) -> str:
    """Return a line with as much of a count as fits: the bar is dropped first, then the last numbers."""
    head = pad(clip(name, name_columns), name_columns)
    texts = list(_texts(count))
    for text in texts:
        free = width - display_width(head) - display_width(text) - 4
        if free >= _SHORTEST_BAR and count.is_bounded:
            return f"{head} |{_bar(count, min(free, _LONGEST_BAR))}| {text}"
        if free >= -2:  # noqa: PLR2004 - without a bar, a blank and no strokes
            return f"{head}  {text}"
    return f"{head}  {texts[-1]}"


def _texts(count: Count) -> Iterator[str]:
    """Yield the numbers of a count, with one fewer each time."""
    parts = count.parts
    for number in range(len(parts), 0, -1):
        yield ", ".join(parts[:number])


def _bar(count: Count, columns: int) -> str:
    filled = count.done_bytes * columns // count.total_bytes if count.total_bytes else columns
    return "#" * filled + "-" * (columns - filled)
