"""One entry of a zip's index, and its extra fields.

Specification: APPNOTE.TXT 6.3.10, sections 4.3.12 (central directory header), 4.4 (its fields), 4.5 (extensible data
fields; 4.5.3: zip64).
"""

from __future__ import annotations

import stat
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from provisioner.volume.archive.errors import broken_archive, part_of_archive
from provisioner.volume.archive.zip.names import DOS_HOSTS, UNICODE_PATH_FIELD, UNIX_HOSTS, decode_name
from provisioner.volume.archive.zip.times import modified

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ENTRY: Final = struct.Struct("<4s2B5H3L5H2L")
"""The fixed part of an entry."""
ENTRY_SIGNATURE: Final = b"PK\1\2"
MAX_32_BITS: Final = 0xFFFFFFFF
"""Stands in a field whose number is in a zip64 field instead."""
MAX_16_BITS: Final = 0xFFFF

_LENGTHS: Final = struct.Struct("<3H")
_LENGTHS_AT: Final = 28
_OFFSET_AT: Final = 42
_ZIP64_FIELD: Final = 0x0001
_FIELD_HEADER: Final = struct.Struct("<2H")
_INT64: Final = struct.Struct("<Q")
_DOS_DIRECTORY: Final = 0x10
_FILE_TYPES: Final = frozenset({stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK})
"""Types of files that the upper half of the attributes may state, whatever the host."""


class ZipEntry(NamedTuple):
    """The index's statements about one member."""

    raw_name: bytes
    name: str
    is_name_guessed: bool
    """Whether the code page of the name is not stated anywhere."""
    host: int
    """The system on which the member was created (APPNOTE.TXT 4.4.2)."""
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
    is_directory: bool
    """Whether its name or its attributes make it a directory."""


def entry_length(head: bytes) -> int:
    """Return the length of an entry in bytes, from its fixed part."""
    name, extra, comment = _LENGTHS.unpack_from(head, _LENGTHS_AT)
    length: int = ENTRY.size + name + extra + comment
    return length


def name_length(head: bytes) -> int:
    """Return the length of a member's name in bytes, from the fixed part of its entry."""
    return int.from_bytes(head[_LENGTHS_AT : _LENGTHS_AT + 2], "little")


def entry_offset(head: bytes) -> int:
    """Return the offset in the fixed part of an entry; ``MAX_32_BITS`` if it is in a zip64 field."""
    return int.from_bytes(head[_OFFSET_AT : _OFFSET_AT + 4], "little")


def parse_entry(data: bytes, prefix: int, archive: str) -> ZipEntry:
    """Return the values of an entry.

    Args:
        data: the whole entry.
        prefix: bytes before the archive proper, which its offsets do not count.
        archive: name of the archive, for messages.

    Raises:
        BrokenArchiveError: its zip64 field is too short, or it is on another disk of a split archive.
    """
    (_, _, host, _, flags, method, time, date, crc, packed_size, size, name_length, extra_length, _, disk, _,
     attributes, offset) = ENTRY.unpack_from(data)  # fmt: skip
    extra_at = ENTRY.size + name_length
    raw_name = data[ENTRY.size : extra_at]
    fields: Mapping[int, bytes] = extra_fields(data[extra_at : extra_at + extra_length]) if extra_length else {}
    if MAX_32_BITS in {size, packed_size, offset} or disk == MAX_16_BITS:
        size, packed_size, offset, disk = _zip64_values(fields.get(_ZIP64_FIELD, b""), (size, packed_size, offset, disk), archive)
    if disk:
        raise part_of_archive(archive, "it is made of several parts, which must be joined in another way than by appending")
    name, is_guessed = decode_name(raw_name, flags, host, fields.get(UNICODE_PATH_FIELD, b""))
    mode = _unix_mode(attributes, host)
    is_directory = name.endswith("/") or stat.S_ISDIR(mode)
    if not is_directory and attributes & _DOS_DIRECTORY and not size and (host in DOS_HOSTS or not mode):
        is_directory = not stat.S_IFMT(mode)
    return ZipEntry(
        raw_name, name, is_guessed, host, flags, method, crc, packed_size, size, offset + prefix, mode,
        modified(fields, date, time), is_directory,
    )  # fmt: skip


def extra_fields(extra: bytes) -> dict[int, bytes]:
    """Return the contents of extra fields by their id; if an id occurs several times, the first counts."""
    fields: dict[int, bytes] = {}
    for key, content in _each_field(extra):
        fields.setdefault(key, content)
    return fields


def _each_field(extra: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    # A rest that is too short for a field is padding: some writers align with it.
    while at + _FIELD_HEADER.size <= len(extra):
        key, length = _FIELD_HEADER.unpack_from(extra, at)
        at += _FIELD_HEADER.size
        yield key, extra[at : at + length]
        at += length


def _zip64_values(field: bytes, numbers: tuple[int, int, int, int], archive: str) -> tuple[int, int, int, int]:
    """Return size, packed size, offset and disk, taking those that did not fit from a zip64 field, in this order.

    Only those should be in it. Some writers put in all of them, which is detected by comparing the values that are known.
    """
    *values, disk = numbers
    stated = [number for (number,) in _INT64.iter_unpack(field[: len(field) // _INT64.size * _INT64.size])]
    missing = sum(value == MAX_32_BITS for value in values)
    if len(stated) < missing:
        raise broken_archive(archive, "a member's zip64 field is too short")
    if len(stated) > missing and all(value in {MAX_32_BITS, other} for value, other in zip(values, stated, strict=False)):
        needed, used = [*stated[: len(values)], *values[len(stated) :]], min(len(stated), len(values))
    else:
        given = iter(stated)
        needed, used = [next(given) if value == MAX_32_BITS else value for value in values], missing
    if disk == MAX_16_BITS:
        disk = int.from_bytes(field[used * _INT64.size :][:4], "little")
    return needed[0], needed[1], needed[2], disk


def _unix_mode(attributes: int, host: int) -> int:
    """Return the Unix mode; of other systems, only if the mode states the type of file, as some writers do there."""
    mode = attributes >> 16
    return mode if host in UNIX_HOSTS or stat.S_IFMT(mode) in _FILE_TYPES else 0
