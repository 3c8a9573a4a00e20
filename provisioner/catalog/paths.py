"""Checks of relative paths and of globs over them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from provisioner.catalog.document import quoted
from provisioner.catalog.keys import GLOB, RELATIVE

if TYPE_CHECKING:
    from collections.abc import Collection

    from provisioner.catalog.document import Value


def globs(values: Collection[Value]) -> tuple[str, ...]:
    """Return a list of globs."""
    return tuple(value.attempt(_glob) for value in values)


def _glob(value: Value) -> str:
    check_glob(value, value.text())
    return value.text()


def check_glob(value: Value, pattern: str) -> None:
    """Refuse a pattern that is not a glob for relative paths; ``value`` is its position in the document."""
    if not re.fullmatch(GLOB, pattern):
        value.fail(
            f"{quoted(pattern)} is not a glob for paths in the repository",
            "Write a relative pattern with '/', such as data/*.parquet, without '..' and backslashes.",
        )
    if re.search(r"\[(?![^\]]+\])", pattern):
        value.fail(f"{quoted(pattern)} is not a glob: a '[' is not closed", "Write [[] for the character itself.")


def check_relative(value: Value, path: str) -> None:
    """Refuse a path that could lead out of the data set; ``value`` is its position in the document."""
    if not re.fullmatch(RELATIVE, path):
        better = "/".join(part for part in path.replace("\\", "/").split("/") if part not in {"", ".", ".."})
        usable = better and better.isprintable()
        value.fail(
            f"{quoted(path)} is not a relative path inside the data set",
            f"Write {quoted(better)}." if usable else "Write a path such as audio/train.",
        )


def directory(value: Value) -> str:
    """Return a directory inside the data set; empty for its root."""
    path = value.text()
    if path:
        check_relative(value, path)
    return path
