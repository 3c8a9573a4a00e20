"""Text on a terminal: its width in columns, and how it is cut to fit."""

from __future__ import annotations

import contextlib
import os
import unicodedata
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing import TextIO

USUAL_COLUMNS: Final = 80
_USUAL_LINES: Final = 24
ELLIPSIS: Final = ".."
"""Stands for the part that was cut off; every terminal can show it."""


def terminal_size(stream: TextIO | None) -> tuple[int, int]:
    """Return the columns and lines of a terminal.

    The usual values are returned for anything that is not a terminal, and for a terminal that does not know its size, such as
    that of a container that has not been resized yet.
    """
    columns = lines = 0
    with contextlib.suppress(OSError, ValueError, AttributeError):
        columns, lines = os.get_terminal_size(stream.fileno())  # type: ignore[union-attr]
    return columns or USUAL_COLUMNS, lines or _USUAL_LINES


def display_width(text: str) -> int:
    """Return how many columns a terminal needs for a text without line ends."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def clip(text: str, columns: int) -> str:
    """Return a text that is at most ``columns`` wide; if it was cut, its end is marked."""
    if display_width(text) <= columns:
        return text
    mark = ELLIPSIS[: max(0, columns)]
    kept, width = [], display_width(mark)
    for character in text:
        width += _columns(character)
        if width > columns:
            break
        kept.append(character)
    return "".join(kept) + mark


def pad(text: str, columns: int, *, right: bool = False) -> str:
    """Return a text padded with blanks to ``columns``; with ``right``, it is right-aligned."""
    blanks = " " * (columns - display_width(text))
    return blanks + text if right else text + blanks


def _columns(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in {"Cf", "Me", "Mn"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
