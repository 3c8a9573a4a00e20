"""Attributions for single files, if every file of a data set has terms of its own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from provisioner.catalog.plain_text import code_span, markdown_line
from provisioner.indexing.model import Row
from provisioner.indexing.registry import reader_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

_NEEDED: Final = frozenset({"title", "artist", "license"})


def credits_of(tree: Path, files: Collection[str]) -> Iterator[str]:
    """Yield a line of Markdown for each example: artist, title, licence, page and file.

    Nothing is yielded for a data set whose index has no columns for these.

    Args:
        tree: the data set.
        files: paths of its files; other entries in the tables are ignored.

    Raises:
        ReaderError: its tables cannot be read.
    """
    found = reader_of(tree)
    if found is None or not {column.name for column in found.reader.columns} >= _NEEDED:
        return
    for row in found.reader.read(tree):
        if isinstance(row, Row) and row.file in files:
            yield _line(row.file, row.values)


def _line(file: str, values: Mapping[str, Any]) -> str:
    title, artist = (markdown_line(values.get(name) or "") or f"unknown {name}" for name in ("title", "artist"))
    terms = markdown_line(values.get("license_title") or values.get("license") or "") or "licence not stated"
    short = markdown_line(values.get("license") or "")
    link = _address(values.get("license_url"))
    page = _address(values.get("track_url"))
    named = f"{terms} ({short})" if short and values.get("license_title") else terms
    return f"- {artist}: {title}. {named}{f', <{link}>' if link else ''}.{f' <{page}>,' if page else ''} {code_span(file)}"


def _address(url: str | None) -> str:
    """Return a URL that can be written between angle brackets; empty if it cannot."""
    return url if url and re.fullmatch(r"https?://[!-;=?-~]+", url) else ""
