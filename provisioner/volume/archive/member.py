"""One member of an archive, as a reader of a format yields it and the unpacker takes it.

Nothing in a member is trusted: names, targets and sizes are those that the archive states. Readers promise only that the
blocks of a file are exactly ``size`` bytes, or raise an error of the program.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

MemberKind = Literal["file", "directory", "symlink", "hardlink"]

_MAX_SECONDS: Final = 1 << 33
"""The year 2242: a later time is a mistake, and some file systems refuse it."""


@dataclass(slots=True)
class Member:
    """One member of an archive. Its blocks are consumed before the next member is asked for, unless it is ``independent``."""

    name: str
    """As in the archive, bytes that are not UTF-8 as ``surrogateescape``; not checked."""
    kind: MemberKind
    size: int = 0
    """Bytes of a file; 0 for everything else."""
    executable: bool = False
    mtime_ns: int | None = None
    """Nanoseconds since 1970, before the year 2242; ``None`` if the archive has no such time."""
    target: str = ""
    """Text of a symbolic link; of a hard link the name of an earlier member."""
    blocks: Iterable[bytes] = ()
    """The content, at most a MiB at a time."""
    independent: bool = False
    """Whether the blocks may be consumed at any time and in any thread, and are enough work for a thread."""
    needed_from: int | None = None
    """Bytes from the archive's beginning before which nothing is needed for this member; ``None`` if the reader releases
    what it has read itself."""
    position: int | None = None
    """Number of the member in the archive, from 0, if the reader yields members in another order."""


def valid_time(seconds: int, nanoseconds: int = 0) -> int | None:
    """Return a time since 1970 in nanoseconds, or ``None`` if it is before 1970 or after 2242."""
    return seconds * 1_000_000_000 + nanoseconds if 0 <= seconds < _MAX_SECONDS else None
