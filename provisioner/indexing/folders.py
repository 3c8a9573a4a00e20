"""Trees whose files are mostly of one kind: a row for each file, in directories that may name its split and its label."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from provisioner.catalog.examples import file_examples, is_medium
from provisioner.indexing.model import Column, Reader, Row, label

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from provisioner.catalog.examples import FileMedium
    from provisioner.indexing.model import Found


def folder_reader(medium: FileMedium) -> Reader:
    """Return the reader of trees whose files are mostly of a medium."""

    def recognizes(tree: Path) -> bool:
        count = fitting = 0
        for name in visible_files(tree):
            count += 1
            fitting += is_medium(name, medium)
        return fitting > 0 and 2 * fitting >= count

    def read(tree: Path) -> Iterator[Found]:
        for split, path, name in file_examples(list(visible_files(tree)), medium):
            yield Row(split, path, {"label": name})

    return Reader(
        medium,
        (Column("label", label(), "the file's directory, if all files are at one depth in several; otherwise null"),),
        recognizes,
        read,
    )


def visible_files(tree: Path) -> Iterator[str]:
    """Yield the paths of all files in the order of their names, but of none that is hidden."""
    for directory, directories, names in os.walk(tree):
        directories[:] = sorted(name for name in directories if not name.startswith("."))
        below = os.path.relpath(directory, tree).replace(os.sep, "/")
        for name in sorted(names):
            if not name.startswith("."):
                yield name if below == "." else f"{below}/{name}"
