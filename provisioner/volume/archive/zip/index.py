"""A zip's index: where it is, and its entries by the position of their members in the file.

Specification: APPNOTE.TXT 6.3.10, sections 4.3.12 (central directory), 4.3.14 to 4.3.16 (end of central directory, zip64
and ordinary).
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from provisioner.volume.archive.errors import broken_archive, part_of_archive
from provisioner.volume.archive.zip.entry import (
    ENTRY,
    ENTRY_SIGNATURE,
    MAX_16_BITS,
    MAX_32_BITS,
    entry_length,
    entry_offset,
    parse_entry,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NoReturn

    from provisioner.volume.archive.zip.entry import ZipEntry
    from provisioner.volume.staging.incoming import Incoming

_END: Final = struct.Struct("<4s4H2LH")
_END_SIGNATURE: Final = b"PK\5\6"
_COMMENT_LENGTH_AT: Final = 20
_END64_LOCATOR: Final = struct.Struct("<4sLQL")
_END64_LOCATOR_SIGNATURE: Final = b"PK\6\7"
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_END64_SIGNATURE: Final = b"PK\6\6"
_MAX_COMMENT: Final = 0xFFFF

_WINDOW: Final = 1024 * 1024
"""Bytes of the index read at once."""
_SMALL_WINDOW: Final = 64 * 1024
"""The same for an index that is not in order and larger than ``_MAX_HELD``."""
_MAX_HELD: Final = 16 * 1024 * 1024
"""Bytes of an index that is not in order up to which it is held in memory."""


@dataclass(frozen=True, slots=True)
class IndexLocation:
    """Where the index is, and what the archive states about it."""

    offset: int
    """Bytes from the beginning of the file."""
    length: int
    """Bytes of all entries."""
    count: int
    """Number of entries."""
    prefix: int
    """Bytes before the archive proper (a self-extracting program): every offset in the archive is that much too small."""
    is_zip64: bool


def find_index(archive: Incoming) -> IndexLocation:
    """Return where the index is, from the records at the end of the file.

    Raises:
        BrokenArchiveError: truncated, followed by something else, or one part of several.
        ProvisionerError: raised by the archive's ``read_at``.
    """
    file_size = archive.size
    length = min(file_size, _END.size + _MAX_COMMENT)
    tail = _read_fully(archive, file_size - length, length)
    at = len(tail)
    # The comment may contain the signature; the true one is that whose comment ends where the file does.
    while (at := tail.rfind(_END_SIGNATURE, 0, at)) >= 0:
        end_of_record = at + _END.size
        if end_of_record <= len(tail) and end_of_record + _comment_length(tail, at) == len(tail):
            break
    if at < 0:
        _fail(archive, "it has no zip index at its end: it is no zip file, truncated, or something follows it")
    _, disk, first_disk, here, count, size, offset, _ = _END.unpack_from(tail, at)
    end = file_size - len(tail) + at
    is_zip64 = False
    if MAX_16_BITS in {here, count, disk} or MAX_32_BITS in {size, offset}:
        record = _find_zip64_end(archive, end)
        if record is not None:
            is_zip64 = True
            end, disk, first_disk, here, count, size, offset = record
    if disk or first_disk or here != count:
        raise part_of_archive(archive.name, "it is one part of an archive in several")
    prefix = end - size - offset
    if prefix < 0:
        _fail(archive, "its index is larger than the file")
    return IndexLocation(offset + prefix, size, count, prefix, is_zip64)


def _find_zip64_end(archive: Incoming, end: int) -> tuple[int, int, int, int, int, int, int] | None:
    """Return position, disk, first disk, entries here, entries, size and offset from the zip64 record before ``end``."""
    if end < _END64_LOCATOR.size + _END64.size:
        return None
    locator = _read_fully(archive, end - _END64_LOCATOR.size, _END64_LOCATOR.size)
    signature, _, stated_position, disks = _END64_LOCATOR.unpack(locator)
    if signature != _END64_LOCATOR_SIGNATURE:
        # An ordinary archive that happens to have as many members, or to be as large.
        return None
    if disks > 1:
        raise part_of_archive(archive.name, "it is one part of an archive in several")
    # Right before the locator or, if the file has a prefix or the record an extensible part, where the locator says.
    last = end - _END64_LOCATOR.size - _END64.size
    for position in (last, stated_position):
        if 0 <= position <= last:
            record = _read_fully(archive, position, _END64.size)
            signature, _, _, _, disk, first_disk, here, count, size, offset = _END64.unpack(record)
            if signature == _END64_SIGNATURE:
                return position, disk, first_disk, here, count, size, offset
    return _fail(archive, "its zip64 index cannot be found")


class ZipIndex:
    """The entries of an index, which is read in large pieces and not held as a whole, unless it is out of order."""

    def __init__(self, archive: Incoming, location: IndexLocation, check_cancelled: Callable[[], None]) -> None:
        """Prepare to read the index at ``location``; ``check_cancelled`` is called for every entry when it is scanned."""
        self._archive = archive
        self._location = location
        self._check_cancelled = check_cancelled
        self._window_size = _WINDOW
        self._window, self._window_at = b"", 0

    def entries(self) -> Iterator[tuple[int | None, ZipEntry]]:
        """Yield the entries by ascending offset of their members; with their number, if the index has another order.

        Raises:
            BrokenArchiveError: the index is damaged, or has another number of entries than stated.
            ProvisionerError: raised by the archive's ``read_at``.
        """
        last, in_order = 0, True
        for _, offset in self._scan():
            in_order = in_order and offset >= last
            last = offset
        if in_order:
            at = 0
            while at < self._location.length:
                entry, length = self._entry(at)
                yield None, entry
                at += length
            return
        # Positions and offsets are held only if they are needed: the largest archives that we know are in order.
        self._window_size = _MAX_HELD if self._location.length <= _MAX_HELD else _SMALL_WINDOW
        positions, offsets = array("Q"), array("Q")
        for at, offset in self._scan():
            positions.append(at)
            offsets.append(offset)
        for number in sorted(range(len(offsets)), key=offsets.__getitem__):
            yield number, self._entry(positions[number])[0]

    def _scan(self) -> Iterator[tuple[int, int]]:
        """Yield the position of each entry in the index and the offset of its member, and check that the index is whole."""
        location = self._location
        at = seen = 0
        while at < location.length:
            self._check_cancelled()
            head = self._bytes(at, ENTRY.size)
            if len(head) != ENTRY.size or not head.startswith(ENTRY_SIGNATURE):
                _fail(self._archive, f"its index is damaged at entry {seen + 1}")
            length = entry_length(head)
            if at + length > location.length:
                _fail(self._archive, f"its index is damaged at entry {seen + 1}")
            offset = entry_offset(head)
            yield at, self._entry(at)[0].offset if offset == MAX_32_BITS else offset + location.prefix
            at += length
            seen += 1
        # Without zip64 the count has 16 bits, and some writers let it overflow.
        if seen != location.count and (location.is_zip64 or seen & MAX_16_BITS != location.count):
            _fail(self._archive, f"its index has {seen} entries and claims {location.count}")

    def _entry(self, at: int) -> tuple[ZipEntry, int]:
        """Return the entry at a position of the index, which was scanned, and its length in bytes."""
        length = entry_length(self._bytes(at, ENTRY.size))
        return parse_entry(self._bytes(at, length), self._location.prefix, self._archive.name), length

    def _bytes(self, at: int, count: int) -> bytes:
        """Return ``count`` bytes of the index from position ``at`` on, fewer only at its end."""
        start = at - self._window_at
        if start < 0 or start + count > len(self._window):
            length = self._location.length
            self._window_at = at if self._window_size < length else 0
            wanted = min(max(count, self._window_size), length - self._window_at)
            self._window = _read_fully(self._archive, self._location.offset + self._window_at, wanted)
            start = at - self._window_at
        return self._window[start : start + count]


def _comment_length(tail: bytes, at: int) -> int:
    length: int = struct.unpack_from("<H", tail, at + _COMMENT_LENGTH_AT)[0]
    return length


def _read_fully(archive: Incoming, offset: int, count: int) -> bytes:
    """Return ``count`` bytes, or as many as there are."""
    data = archive.read_at(offset, count)
    while len(data) < count and (more := archive.read_at(offset + len(data), count - len(data))):
        data += more
    return data


def _fail(archive: Incoming, reason: str) -> NoReturn:
    raise broken_archive(archive.name, reason)
