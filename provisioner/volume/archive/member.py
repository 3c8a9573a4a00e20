"""What the readers of archives give and the writer of trees takes: one member at a time, as claimed by the archive.

Nothing in a member is to be trusted: names, targets and sizes are those of a stranger. The readers promise only that the
blocks of a file are exactly ``size`` bytes, or an error of ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

MemberKind = Literal["file", "folder", "symlink", "hardlink"]

DAMAGED: Final = "The archive is damaged or incomplete: fetch it again, and if its digest is right, it is broken upstream."
NOT_OURS: Final = (
    "No data set that we know needs this. Do not unpack the archive by hand either before you know where it is from."
)

_LONGEST_SHOWN: Final = 200
_LATEST_SECONDS: Final = 1 << 33
"""The year 2242: a time beyond it is a mistake, and some file systems refuse it."""


@dataclass(slots=True)
class Member:
    """One member of an archive. Its blocks must be consumed before the next member is asked for, unless it is ``apart``."""

    name: str
    """As in the archive, bytes that are not UTF-8 as ``surrogateescape``; may say anything."""
    kind: MemberKind
    size: int = 0
    """Bytes, of a file; 0 for the rest."""
    executable: bool = False
    mtime_ns: int | None = None
    """Nanoseconds since 1970, between then and 2242; ``None`` where the archive has none that makes sense."""
    target: str = ""
    """Of a link: of a symbolic one its text, of a hard one the name of an earlier member."""
    blocks: Iterable[bytes] = ()
    """The content, at most a MiB at a time."""
    apart: bool = False
    """Whether the blocks may be consumed at any time and by any thread, and are worth one."""
    place: int | None = None
    """Bytes from the archive's beginning before which nothing is needed for this member, where the reader jumps."""
    rank: int | None = None
    """Place among the members, from 0 on, where the reader gives them in another order than the archive's."""


def shown(name: str) -> str:
    """Return a name for a message: quoted, nothing unprintable, and not the megabyte that an archive may call a name."""
    return repr(name if len(name) <= _LONGEST_SHOWN else f"{name[: _LONGEST_SHOWN // 2]}…{name[-_LONGEST_SHOWN // 2 :]}")


def sensible_time(seconds: int, nanoseconds: int = 0) -> int | None:
    """Return a time since 1970 in nanoseconds, or ``None`` when no file is from then."""
    return seconds * 1_000_000_000 + nanoseconds if 0 <= seconds < _LATEST_SECONDS else None
