"""Kinds of damage to a published tree of :func:`tests.support.shelf.some_files` (``alpha``), and how each must be reported."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

README: Final = "alpha/README"
NOISE: Final = "alpha/data/noise.bin"


@dataclass(frozen=True)
class Damage:
    """One kind of damage."""

    name: str
    do: Callable[[Path], object]
    problem: str
    path: str
    word: str
    """The word with which it is reported to the user."""
    needs_deep: bool = False
    fetches: bool = True
    """Whether the right bytes are gone, so that a repair must fetch."""

    def __str__(self) -> str:
        return self.name


def flip(path: Path, place: int = 0) -> None:
    """Invert one bit in place: all hard links of the file are affected; its size and times stay the same."""
    facts = path.stat()
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def _truncate(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def _grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


DAMAGES: Final = (
    Damage("flipped", lambda tree: flip(tree / NOISE, 100), "digest", NOISE, "changed", needs_deep=True),
    Damage("deleted", lambda tree: (tree / NOISE).unlink(), "missing", NOISE, "missing"),
    Damage("truncated", lambda tree: _truncate(tree / NOISE), "size", NOISE, "truncated"),
    Damage("grown", lambda tree: _grow(tree / README), "size", README, "expected 6"),
    Damage("emptied", lambda tree: (tree / README).write_bytes(b""), "size", README, "truncated"),
    Damage("a folder instead", lambda tree: _folder(tree / README), "kind", README, "is no file"),
    Damage("a link instead", lambda tree: _link(tree / README), "kind", README, "is no file"),
    Damage("an extra file", lambda tree: (tree / "alpha/more").write_bytes(b"x"), "extra", "alpha/more", "extra", fetches=False),
    Damage("an extra folder", lambda tree: (tree / "empty").mkdir(), "extra", "empty", "extra", fetches=False),
)
