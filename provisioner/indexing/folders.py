"""Trees whose files are mostly of one kind: one row per file, in directories that may name its split and its label."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from typing import TYPE_CHECKING

from provisioner.catalog.examples import SUFFIXES, file_examples
from provisioner.indexing.model import Column, Reader, Row, label

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from provisioner.catalog.examples import FileMedium
    from provisioner.indexing.model import Found


def folder_reader(medium: FileMedium) -> Reader:
    """Return the reader of trees whose files are mostly of a medium."""

    def recognizes_suffixes(_tree: Path, suffixes: Mapping[str, int]) -> bool:
        fitting = sum(suffixes.get(suffix, 0) for suffix in SUFFIXES[medium])
        return fitting > 0 and 2 * fitting >= sum(suffixes.values())

    def read(tree: Path) -> Iterator[Found]:
        for split, path, name in file_examples(list(visible_files(tree)), medium):
            yield Row(split, path, {"label": name})

    return Reader(
        medium,
        (Column("label", label(), "the file's directory, if all files are at one depth in several; otherwise null"),),
        None,
        read,
        recognizes_suffixes=recognizes_suffixes,
    )


def suffixes_in(tree: Path) -> Mapping[str, int]:
    """Return how many files of each suffix a tree has, in lower case with its dot; files without one count under ``""``.

    Hidden files and directories do not count, and neither do directories that cannot be read.
    """
    counts: Counter[str] = Counter()
    waiting = [str(tree)]
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif not (entry.is_symlink() and entry.is_dir()):
                    dot = name.rfind(".")
                    counts[name[dot:] if dot > 0 else ""] += 1
    lower: Counter[str] = Counter()
    for suffix, count in counts.items():
        lower[suffix.lower()] += count
    return lower


def visible_files(tree: Path) -> Iterator[str]:
    """Yield the paths of all files that are not hidden, in the order of their names."""
    for directory, directories, names in os.walk(tree):
        directories[:] = sorted(name for name in directories if not name.startswith("."))
        below = os.path.relpath(directory, tree).replace(os.sep, "/")
        for name in sorted(names):
            if not name.startswith("."):
                yield name if below == "." else f"{below}/{name}"
