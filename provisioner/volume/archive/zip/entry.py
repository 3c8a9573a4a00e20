"""One entry of a zip's index, and its extra fields.

Specification: APPNOTE.TXT 6.3.10, sections 4.3.12 (central directory header), 4.4 (its fields), 4.5 (extensible data
fields; 4.5.3: zip64), appendix D (names); Info-ZIP's extra fields for the extended timestamp (0x5455).
"""

from __future__ import annotations

import calendar
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from provisioner.volume.archive.errors import broken_archive
from provisioner.volume.archive.member import valid_time

if TYPE_CHECKING:
    from collections.abc import Iterator

ENTRY: Final = struct.Struct("<4s2B5H3L5H2L")
"""The fixed part of an entry."""
ENTRY_SIGNATURE: Final = b"PK\1\2"
MAX_32_BITS: Final = 0xFFFFFFFF
"""In place of a number that is in a zip64 field."""
MAX_16_BITS: Final = 0xFFFF

_LENGTHS: Final = struct.Struct("<3H")
_LENGTHS_AT: Final = 28
_OFFSET_AT: Final = 42
_UTF8: Final = 1 << 11
_UNIX_HOSTS: Final = frozenset({3, 19})
"""``version made by``: Unix and macOS, which write names as the bytes they have."""
_ZIP64_FIELD: Final = 0x0001
_TIME_FIELD: Final = 0x5455
_FIELD_HEADER: Final = struct.Struct("<2H")
_INT64: Final = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class ZipEntry:
    """What the index states about one member."""

    raw_name: bytes
    name: str
    flags: int
    method: int
    crc: int
    packed_size: int
    size: int
    offset: int
    """Bytes from the beginning of the file to the member's own header."""
    mode: int
    """Unix mode; 0 if another system made the archive."""
    mtime_ns: int | None


def entry_length(head: bytes) -> int:
    """Return the length of an entry in bytes, from its fixed part."""
    name, extra, comment = _LENGTHS.unpack_from(head, _LENGTHS_AT)
    length: int = ENTRY.size + name + extra + comment
    return length


def entry_offset(head: bytes) -> int:
    """Return the offset in the fixed part of an entry; ``MAX_32_BITS`` if it is in a zip64 field."""
    return int.from_bytes(head[_OFFSET_AT : _OFFSET_AT + 4], "little")


def parse_entry(data: bytes, prefix: int, archive: str) -> ZipEntry:
    """Return what an entry states.

    Args:
        data: the whole entry.
        prefix: bytes before the archive proper, which its offsets do not count.
        archive: name of the archive, for messages.

    Raises:
        BrokenArchiveError: its zip64 field is too short.
    """
    (_, _, host, _, flags, method, time, date, crc, packed_size, size, name_length, extra_length, _, disk, _,
     attributes, offset) = ENTRY.unpack_from(data)  # fmt: skip
    extra_at = ENTRY.size + name_length
    raw_name = data[ENTRY.size : extra_at]
    fields = dict(_extra_fields(data[extra_at : extra_at + extra_length])) if extra_length else {}
    if MAX_32_BITS in {size, packed_size, offset} or disk == MAX_16_BITS:
        size, packed_size, offset = _zip64_values(fields.get(_ZIP64_FIELD, b""), (size, packed_size, offset), archive)
    return ZipEntry(
        raw_name, _decode_name(raw_name, flags, host), flags, method, crc, packed_size, size, offset + prefix,
        attributes >> 16 if host in _UNIX_HOSTS else 0, _modified(fields.get(_TIME_FIELD, b""), date, time),
    )  # fmt: skip


def _extra_fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the ids and contents of extra fields."""
    at = 0
    # What is too short for a field is padding: some writers align with it.
    while at + _FIELD_HEADER.size <= len(extra):
        key, length = _FIELD_HEADER.unpack_from(extra, at)
        at += _FIELD_HEADER.size
        yield key, extra[at : at + length]
        at += length


def _zip64_values(field: bytes, numbers: tuple[int, int, int], archive: str) -> tuple[int, int, int]:
    """Return the numbers, those that did not fit into 32 bits taken from a zip64 field, where they stand in this order."""
    values = list(numbers)
    for index, value in enumerate(values):
        if value == MAX_32_BITS:
            if len(field) < _INT64.size:
                raise broken_archive(archive, "a member's zip64 field is too short")
            values[index], field = _INT64.unpack_from(field)[0], field[_INT64.size :]
    return values[0], values[1], values[2]


def _decode_name(raw: bytes, flags: int, host: int) -> str:
    """Return a name: UTF-8 if it is marked so or valid, else the bytes as they are (Unix) or code page 437 (other systems)."""
    if flags & _UTF8 or host in _UNIX_HOSTS:
        return raw.decode("utf-8", "surrogateescape")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp437")


def _modified(field: bytes, date: int, time: int) -> int | None:
    """Return the time of the extended timestamp, else the DOS time, which has no time zone and is taken for UTC."""
    if len(field) >= 5 and field[0] & 1:  # noqa: PLR2004 - flags and four bytes of seconds
        return valid_time(struct.unpack_from("<l", field, 1)[0])
    month, day = date >> 5 & 15, date & 31
    if not (1 <= month <= 12 and day):  # noqa: PLR2004
        return None
    moment = ((date >> 9) + 1980, month, day, time >> 11, time >> 5 & 63, (time & 31) * 2, 0, 0, 0)
    return valid_time(calendar.timegm(moment))
