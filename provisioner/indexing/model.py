"""The values that a reader yields, and the declaration of its columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from pathlib import Path

Medium = Literal["audio", "image", "midi", "table", "none"]
"""The kind of file of an example; ``table``: the files contain the rows; ``none``: rows without a file of their own."""


class Row(NamedTuple):
    """One example."""

    split: str
    """The split, as published."""
    file: str
    """Path of its file in the tree."""
    values: Mapping[str, Any]
    """Values by column; a missing column is null."""


class Problem(NamedTuple):
    """Something in the tree that cannot be used, or is missing."""

    file: str
    """A path in the tree, with a line number if there is one: ``metadata.csv:17``."""
    reason: str
    """A few words in lower case."""


Found = Row | Problem


class Column(NamedTuple):
    """One column of an index."""

    name: str
    feature: Mapping[str, Any]
    """Its type, in the form of ``dataset_info`` in the front matter of a card."""
    description: str


TEXT: Final = {"dtype": "string"}
INTEGER: Final = {"dtype": "int64"}
NUMBER: Final = {"dtype": "float64"}
TEXTS: Final = {"list": "string"}
NUMBERS: Final = {"list": "float64"}


def label(*names: str) -> dict[str, Any]:
    """Return the type of a column with few values; without names, the values that occur are collected."""
    return {"dtype": {"class_label": {"names": {str(number): name for number, name in enumerate(names)}}}}


def records(**fields: str) -> dict[str, Any]:
    """Return the type of a column with lists of records, whose fields have these types."""
    return {"list": [{"name": name, "dtype": dtype} for name, dtype in fields.items()]}


@dataclass(frozen=True, slots=True)
class Reader:
    """Turns the trees of one family of data sets into rows."""

    medium: Medium
    columns: tuple[Column, ...]
    recognizes: Callable[[Path], bool] | None
    """Whether a tree is of this family; looks at a few names only. ``None``: only the suffixes of all files tell."""
    read: Callable[[Path], Iterator[Found]]
    """Yields the rows of a tree in a fixed order; the file of a row need not exist."""
    read_tables: Callable[[Path, Collection[str]], Iterator[Found]] | None = None
    """Yields the same rows from the tables alone, given the paths that the tree will have; ``None`` if impossible."""
    describe: Callable[[Path, str], Mapping[str, Any]] | None = None
    """Where the files of the tree have the rows: returns the front matter that names them, by their paths from the index."""
    recognizes_suffixes: Callable[[Path, Mapping[str, int]], bool] | None = None
    """Whether a tree is of this family, by how many files it has of each suffix, in lower case with its dot."""
    recognizes_paths: Callable[[Collection[str]], bool] | None = None
    """Returns whether a tree with these paths is of this family; ``None`` if its tables alone show that."""


class ReaderError(Exception):
    """A tree cannot be read at all; the message says why."""


class IndexTooLargeError(Exception):
    """An index would be larger than allowed."""


def split_name(published: str) -> str:
    """Return the name of a split in the index: ``datasets`` accepts only letters, digits, ``_`` and ``.``."""
    parts = "".join(mark if mark.isalnum() or mark == "_" else "." for mark in published).split(".")
    return ".".join(filter(None, parts)) or "train"
