"""The readers by name: the first one that recognises a tree reads it.

A start with nothing to do needs only the versions, so the modules are imported when a tree is read.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final, NamedTuple, cast

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from provisioner.indexing.model import Reader

VERSIONS: Final = {
    "ljspeech": 1,
    "nsynth": 1,
    "libritts": 1,
    "musicnet": 1,
    "urmp": 2,
    "fma": 3,
    "lakh_midi": 1,
    "audio_folder": 1,
    "image_folder": 1,
    "table_files": 1,
}
"""Version numbers by name of the reader and its module, in the order in which readers are tried. A number is incremented with
every change of what a reader yields, so that its indexes are made anew."""
GENERIC: Final = ("audio_folder", "image_folder", "table_files")
"""Readers that any tree may need."""
TABLES: Final = {"fma_metadata": "fma"}
"""Readers that need only tables to say which files are examples, by the name of the archive of these tables."""
FORMAT: Final = 2
"""Incremented if something changes in all indexes, or a reader is added; trees without a reader are then examined again."""


class Choice(NamedTuple):
    """The reader of one tree."""

    name: str
    reader: Reader


def reader_named(name: str) -> Reader:
    """Return a reader named in :data:`VERSIONS`."""
    return cast("Reader", importlib.import_module(f"provisioner.indexing.{name}").READER)


def reader_of(tree: Path, files: Collection[str] = ()) -> Choice | None:
    """Return the reader that recognises a tree, or ``None`` if none does.

    Args:
        tree: the tree.
        files: the paths that it will have, if some of its files are not here yet.
    """
    from provisioner.indexing.folders import suffixes_in  # noqa: PLC0415 - imported when a tree is read, as the readers are

    suffixes: Mapping[str, int] | None = None
    for name in VERSIONS:
        reader = reader_named(name)
        if reader.recognizes is not None and reader.recognizes(tree):
            return Choice(name, reader)
        if reader.recognizes_suffixes is not None:
            # One look at all names for all readers: a tree may have very many.
            if suffixes is None:
                suffixes = suffixes_in(tree)
            if reader.recognizes_suffixes(tree, suffixes):
                return Choice(name, reader)
        if files and reader.recognizes_paths is not None and reader.recognizes_paths(files):
            return Choice(name, reader)
    return None
