"""Tables in plain text that fit a terminal, and sizes in the form that they use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from provisioner.reporting.text_width import USUAL_COLUMNS, display_width, pad
from provisioner.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from provisioner.catalog.size import Size

_GAP: Final = "  "
_SHORTEST_NAME: Final = 8
_LONGEST_NAME: Final = 20
"""Maximum width of the first column if the table is too wide; a longer name has a line of its own."""
_SHORTEST_TEXT: Final = 12
"""Minimum width of the last column if the table is too wide."""


def table(rows: Sequence[Sequence[str]], *, right: Iterable[int] = (), columns: int = USUAL_COLUMNS) -> str:
    """Return rows as lines with aligned columns.

    Nothing is cut off. If a table is too wide, texts in the last column are wrapped first, then long names in the first one;
    if that is not enough, each cell gets a line of its own.

    Args:
        rows: the rows, beginning with the heading.
        right: indexes of the right-aligned columns.
        columns: the width of the terminal.
    """
    to_right = set(right)
    widths = [max(display_width(row[column]) for row in rows) for column in range(len(rows[0]))]
    if _total(widths) > columns and len(widths) - 1 not in to_right:
        longest_word = max(display_width(word) for row in rows for word in (row[-1].split() or [""]))
        widths[-1] = max(min(widths[-1], _SHORTEST_TEXT), longest_word, columns - _total([*widths[:-1], 0]))
    if _total(widths) > columns:
        # Longer names have lines of their own, so this column may be as narrow as necessary.
        widths[0] = min(widths[0], _LONGEST_NAME, max(_SHORTEST_NAME, columns - _total([0, *widths[1:]])))
        widths[-1] = max(widths[-1], columns - _total([*widths[:-1], 0]))
    if _total(widths) > columns:
        return "\n".join(_as_list(rows))
    return "\n".join(line for row in rows for line in _lines(row, widths, to_right))


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _lines(row: Sequence[str], widths: Sequence[int], to_right: set[int]) -> list[str]:
    """Return the lines of a row."""
    lines = []
    first, *middle, last = row if len(row) > 1 else (*row, "")
    if display_width(first) > widths[0]:
        lines.append(first)
        first = ""
    texts = [last] if display_width(last) <= widths[-1] else _broken(last, widths[-1])
    for number, text in enumerate(texts):
        cells = [first, *middle, text] if number == 0 else [""] * (len(row) - 1) + [text]
        padded = (
            pad(cell, width, right=index in to_right) for index, (cell, width) in enumerate(zip(cells, widths, strict=False))
        )
        lines.append(_GAP.join(padded).rstrip())
    return lines


def _broken(text: str, width: int) -> list[str]:
    """Return a text in lines of a given width, broken between words if possible."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if lines[-1] and display_width(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _as_list(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return each row as its first cell, with the other cells and their headings below it."""
    heading, *others = rows
    lines = []
    for row in others:
        lines.append(row[0])
        lines += [f"  {name}: {cell}" for name, cell in zip(heading[1:], row[1:], strict=True)]
    return lines


def wrapped(text: str, columns: int) -> str:
    """Return a paragraph in lines that fit, broken only between words, with all lines after the first indented further."""
    indent = text[: len(text) - len(text.lstrip())]
    first, *others = _broken(text, columns - len(indent))
    first = indent + first
    rest = _broken(" ".join(others), columns - len(indent + _GAP)) if others else []
    return "\n".join([first, *(f"{indent}{_GAP}{line}" for line in rest)])


def size_text(size: Size | None) -> str:
    """Return a size as text: ``25.2 GB``, ``~12.5 GB`` for an estimate, ``at least 3.1 GB``, or ``unknown``."""
    if size is None or size.is_unknown:
        return "unknown"
    if size.at_least:
        return f"at least {format_bytes(size.value)}"
    return f"~{format_bytes(size.value)}" if size.estimate else format_bytes(size.value)


def size_value(size: Size | None) -> dict[str, Any] | None:
    """Return a size as a JSON value with exact numbers; if nothing is known, ``bytes`` is ``null``."""
    if size is None:
        return None
    return {"bytes": None if size.is_unknown else size.value, "estimate": size.estimate, "at_least": size.at_least}
