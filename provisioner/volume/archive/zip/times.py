"""Times of a zip's members.

Specification: APPNOTE.TXT 6.3.10, sections 4.4.6 (DOS time), 4.5.5 (NTFS), 4.5.7 (Unix); Info-ZIP's extra fields 0x5455
(extended timestamp) and 0x5855 (its predecessor).
"""

from __future__ import annotations

import calendar
import struct
from typing import TYPE_CHECKING, Final

from provisioner.volume.archive.member import valid_time

if TYPE_CHECKING:
    from collections.abc import Mapping

_EXTENDED: Final = 0x5455
_UNIX: Final = (0x000D, 0x5855)
"""Access time, then modification time, four bytes each."""
_NTFS: Final = 0x000A
_NTFS_TIMES: Final = struct.Struct("<4xHHQ")
"""A reserved number, the first attribute's tag and size, and its first value: the modification time."""
_NTFS_TIMES_TAG: Final = 1
_NTFS_PER_SECOND: Final = 10_000_000
_NTFS_EPOCH: Final = 11_644_473_600
"""Seconds from 1601 to 1970."""
_SECONDS: Final = struct.Struct("<l")


def modified(fields: Mapping[int, bytes], date: int, time: int) -> int | None:
    """Return the modification time in nanoseconds since 1970, from the most exact field, or the DOS time taken as UTC."""
    if fields:
        field = fields.get(_EXTENDED, b"")
        if len(field) >= 5 and field[0] & 1:  # noqa: PLR2004 - flags and four bytes of seconds
            return valid_time(_SECONDS.unpack_from(field, 1)[0])
        for key in _UNIX:
            if len(field := fields.get(key, b"")) >= 2 * _SECONDS.size:
                return valid_time(_SECONDS.unpack_from(field, _SECONDS.size)[0])
        if len(field := fields.get(_NTFS, b"")) >= _NTFS_TIMES.size:
            tag, _, ticks = _NTFS_TIMES.unpack_from(field)
            if tag == _NTFS_TIMES_TAG and ticks:
                seconds, rest = divmod(ticks, _NTFS_PER_SECOND)
                return valid_time(seconds - _NTFS_EPOCH, rest * 100)
    month, day = date >> 5 & 15, date & 31
    if not (1 <= month <= 12 and day):  # noqa: PLR2004
        return None
    moment = ((date >> 9) + 1980, month, day, time >> 11, time >> 5 & 63, (time & 31) * 2, 0, 0, 0)
    return valid_time(calendar.timegm(moment))
