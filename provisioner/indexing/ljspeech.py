"""LJ Speech: ``metadata.csv`` has id, text and normalized text, separated by ``|`` and without quoting, and no headings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provisioner.indexing.model import TEXT, Column, Problem, Reader, Row
from provisioner.indexing.tables import separated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from provisioner.indexing.model import Found

_TOP: Final = "LJSpeech-1.1"
_METADATA: Final = f"{_TOP}/metadata.csv"
_FIELDS: Final = 3


def _recognizes(tree: Path) -> bool:
    return (tree / _METADATA).is_file()


def _read(tree: Path) -> Iterator[Found]:
    for fields in separated(tree, _METADATA, "|", _FIELDS):
        if isinstance(fields, Problem):
            yield fields
            continue
        name, text, normalized = fields
        yield Row("train", f"{_TOP}/wavs/{name}.wav", {"id": name, "text": text, "normalized_text": normalized})


READER: Final = Reader(
    "audio",
    (
        Column("id", TEXT, "name of the clip, such as LJ001-0001"),
        Column("text", TEXT, "what is read, as printed"),
        Column("normalized_text", TEXT, "the same with numbers, ordinals and units written out"),
    ),
    _recognizes,
    _read,
)
