"""A pseudo-terminal of any size, and the screen that a user sees on it.

The screen understands what this project's programs write: text, line ends, and the sequences that move the cursor up and
erase. Any other sequence fails the test, because its effect is not simulated.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import termios
from typing import Self, TextIO

from provisioner.reporting.text_width import display_width
from tests.support.readable import readable

_TOKEN = re.compile(r"\x1b\[(\d*)([A-Za-z])|([\r\n\t])|([^\x00-\x1f\x7f])")


class Screen:
    """The content of a terminal of a certain width, including lines that have scrolled out."""

    def __init__(self, columns: int) -> None:
        """Start empty."""
        self._columns = columns
        self._rows: list[list[str]] = [[]]
        self.row = self.column = 0
        self.wrapped = 0
        """How often a line was longer than the screen is wide."""

    def feed(self, text: str) -> None:
        """Process the output of a program."""
        position = 0
        while position < len(text):
            token = _TOKEN.match(text, position)
            assert token, f"a terminal may show this in any way: {text[position : position + 10]!r}"
            position = token.end()
            number, command, control, character = token.groups()
            if command:
                self._command(command, int(number or 0))
            elif control:
                self._control(control)
            else:
                self._put(character)

    @property
    def lines(self) -> list[str]:
        """All lines, without trailing blanks; empty lines at the end are left out."""
        lines = ["".join(row).rstrip() for row in self._rows]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def _command(self, command: str, number: int) -> None:
        if command == "A":
            self.row = max(0, self.row - max(1, number))
        elif command == "K" and number == 0:
            del self._rows[self.row][self.column :]
        elif command == "J" and number == 0:
            del self._rows[self.row][self.column :]
            del self._rows[self.row + 1 :]
        else:
            message = f"ESC [ {number} {command}"
            raise AssertionError(message)

    def _control(self, control: str) -> None:
        if control == "\n":
            self._next_row()
        elif control == "\r":
            self.column = 0
        else:
            self.column += 8 - self.column % 8

    def _put(self, character: str) -> None:
        width = display_width(character)
        if self.column + width > self._columns:
            self.wrapped += 1
            self.column = 0
            self._next_row()
        row = self._rows[self.row]
        row += " " * (self.column - len(row))
        row[self.column : self.column + max(1, width)] = [character, *[""] * (width - 1)]
        self.column += width

    def _next_row(self) -> None:
        self.row += 1
        if self.row == len(self._rows):
            self._rows.append([])


class PseudoTerminal:
    """A pseudo-terminal; ``stream`` is the program's side of it."""

    def __init__(self, columns: int, lines: int = 24) -> None:
        """Open it."""
        self._master, slave = pty.openpty()
        self.slave = slave
        self.resize(columns, lines)
        self.stream: TextIO = os.fdopen(slave, "w", encoding="utf-8", errors="backslashreplace")
        self.screen = Screen(columns or 80)

    def resize(self, columns: int, lines: int) -> None:
        """Set the size; a terminal whose size was never set has 0 by 0."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def read(self) -> Screen:
        """Return the screen after everything that was written so far."""
        data = b""
        while readable([self._master], 0):
            try:
                piece = os.read(self._master, 1 << 16)
            except OSError:  # the other side is closed
                break
            if not piece:
                break
            data += piece
        self.screen.feed(data.decode())
        return self.screen

    def type(self, text: str) -> None:
        """Send keys."""
        os.write(self._master, text.encode())

    def hang_up(self) -> None:
        """Close the terminal, as when a connection is lost."""
        os.close(self._master)
        self._master = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError, ValueError):
            self.stream.close()
        if self._master >= 0:
            os.close(self._master)
