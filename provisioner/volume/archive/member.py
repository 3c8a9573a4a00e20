"""One member of an archive, as the reader of a format yields it and the unpacker receives it.

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
    """One member of an archive. Its blocks are consumed before the next member is requested, unless it is ``independent``."""

    name: str
    """As in the archive and unchecked; bytes that are not UTF-8 are kept as ``surrogateescape``."""
    kind: MemberKind
    size: int = 0
    """Bytes of a file; 0 for everything else."""
    executable: bool = False
    mtime_ns: int | None = None
    """Nanoseconds since 1970, before the year 2242; ``None`` if the archive has no such time."""
    target: str = ""
    """Target of a symbolic link; for a hard link, the name of an earlier member."""
    blocks: Iterable[bytes] = ()
    """The content, at most a MiB at a time."""
    independent: bool = False
    """Whether the blocks may be consumed at any time and in any thread, and are enough work for a thread."""
    needed_from: int | None = None
    """The member needs no bytes of the archive before this offset; ``None`` if the reader itself releases what it has read."""
    position: int | None = None
    """Number of the member in the archive, from 0, if the reader yields members in a different order."""


def valid_time(seconds: int, nanoseconds: int = 0) -> int | None:
    """Return a time since 1970 in nanoseconds, or ``None`` if it is before 1970 or after 2242."""
    return seconds * 1_000_000_000 + nanoseconds if 0 <= seconds < _MAX_SECONDS else None
