"""Text on a terminal: how many columns it takes, and how it is cut to the columns that there are."""

from __future__ import annotations

import unicodedata

ELLIPSIS = ".."
"""Stands for what was cut off; every terminal can show it."""


def display_width(text: str) -> int:
    """Return how many columns a terminal needs for a text without line ends."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def clip(text: str, columns: int) -> str:
    """Return a text that takes ``columns`` at most; what was cut off is marked at its end."""
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
    """Return a text filled up with blanks to ``columns``; with ``right`` the blanks come first."""
    blanks = " " * (columns - display_width(text))
    return blanks + text if right else text + blanks


def _columns(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in {"Cf", "Me", "Mn"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
