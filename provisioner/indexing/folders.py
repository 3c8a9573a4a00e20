"""Trees whose files are mostly of one kind: a row for each file, in directories that may name its split and its label."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from provisioner.indexing.model import Column, Reader, Row, label

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from provisioner.indexing.model import Found, Medium

SUFFIXES: Final[dict[Medium, frozenset[str]]] = {
    "audio": frozenset({".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aiff"}),
    "image": frozenset({".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff"}),
}
_SPLITS: Final = frozenset({"train", "training", "valid", "validation", "val", "dev", "test", "testing"})


def folder_reader(medium: Medium) -> Reader:
    """Return the reader of trees whose files are mostly of a medium."""

    def recognizes(tree: Path) -> bool:
        count = fitting = 0
        for name in _files(tree):
            count += 1
            fitting += _fits(name, medium)
        return fitting > 0 and 2 * fitting >= count

    def read(tree: Path) -> Iterator[Found]:
        # The last directory is a label where there are several, all at one depth, and none is a split.
        places = {name.rpartition("/")[0] for name in _files(tree) if _fits(name, medium)}
        labels = {place.rpartition("/")[2] for place in places}
        has_labels = len(labels) > 1 and len({place.count("/") for place in places}) == 1 and "" not in places
        has_labels = has_labels and not any(name.lower() in _SPLITS for name in labels)
        for name in _files(tree):
            if _fits(name, medium):
                directories = name.split("/")[:-1]
                split = next((part for part in directories if part.lower() in _SPLITS), "train")
                yield Row(split, name, {"label": directories[-1] if has_labels else None})

    return Reader(
        medium,
        (Column("label", label(), "the file's directory, if all files are at one depth in several; otherwise null"),),
        recognizes,
        read,
    )


def _fits(name: str, medium: Medium) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES[medium]


def _files(tree: Path) -> Iterator[str]:
    """Yield the paths of all files in the order of their names, but of none that is hidden."""
    for directory, directories, names in os.walk(tree):
        directories[:] = sorted(name for name in directories if not name.startswith("."))
        below = os.path.relpath(directory, tree).replace(os.sep, "/")
        for name in sorted(names):
            if not name.startswith("."):
                yield name if below == "." else f"{below}/{name}"
