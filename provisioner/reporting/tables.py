"""Tables in plain text, and sizes as they appear in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from provisioner.catalog.size import Size


def table(rows: Sequence[Sequence[str]], *, right: Iterable[int] = ()) -> str:
    """Return rows as lines with aligned columns; the columns with an index in ``right`` are aligned to the right."""
    to_right = set(right)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if column in to_right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def size_text(size: Size | None) -> str:
    """Return a size in bytes as text: ``1,234``, ``~1,234`` for an estimate, or ``unknown``."""
    if size is None:
        return "unknown"
    return f"~{size.value:,}" if size.estimate else f"{size.value:,}"


def size_value(size: Size | None) -> dict[str, Any] | None:
    """Return a size as a JSON value."""
    return {"bytes": size.value, "estimate": size.estimate} if size else None
