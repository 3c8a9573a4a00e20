"""The target of unpacking an archive, and the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from provisioner.volume.tree.taken import TakenPaths

if TYPE_CHECKING:
    from pathlib import Path

    from provisioner.volume.store.entry import Entry


Choose = Callable[[Mapping[str, int]], Callable[[str], bool]]
"""A choice of an archive's files: a function that is given the path and size of each file (an empty mapping for a tar, which
has no index) and returns a test for the paths that are taken."""


@dataclass(frozen=True, slots=True)
class UnpackTarget:
    """The directory into which an archive is unpacked, and what is already there.

    Raises:
        ValueError: ``into`` is not a plain relative path.
    """

    root: Path
    """The data set's directory; it is made if it is missing."""
    into: str = ""
    """Directory within ``root`` that the members go into, with POSIX separators; empty for ``root`` itself."""
    existing: TakenPaths = field(default_factory=TakenPaths)
    """The paths of other artifacts of the data set under ``root``. It must not change while the archive is unpacked."""
    artifact: str = ""
    """Key that each entry records."""
    proven: bool = False
    """Whether all bytes of the archive are compared with a known digest before anything from it is published."""

    def __post_init__(self) -> None:
        if self.into and any(part in {"", ".", ".."} for part in self.into.split("/")):
            raise ValueError(f"not a sub-directory: {self.into!r}")


@dataclass(frozen=True, slots=True)
class Unpacked:
    """The result of unpacking an archive; paths are relative to the data set's directory."""

    entries: tuple[Entry, ...]
    """Files and links, then empty directories, each in the archive's order."""
    shared: tuple[str, ...]
    """Paths at which an earlier artifact of the data set has put the same thing; they are not among the entries."""
    oddities: str = ""
    """The oddities that were accepted, for one warning; empty for most archives."""
    is_whole: bool = True
    """Whether every member was taken."""
