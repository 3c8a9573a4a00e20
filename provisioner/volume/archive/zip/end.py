"""Find a zip's index by the records at the end of the file.

Specification: APPNOTE.TXT 6.3.10, sections 4.3.12 (central directory), 4.3.14 to 4.3.16 (end of central directory, zip64
and ordinary), 8 (splitting and spanning).

Several readings of the records are tried: the index may be right before them, or where they say; offsets may count from the
beginning of the file, or from that of the archive proper, which a program may precede. Bytes may follow, and what looks like
an end record may be part of the comment of the true one.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from provisioner.volume.archive.errors import broken_archive, part_of_archive
from provisioner.volume.archive.zip.entry import ENTRY, ENTRY_SIGNATURE, MAX_16_BITS, MAX_32_BITS, entry_offset, name_length
from provisioner.volume.archive.zip.gaps import LOCAL_HEADER, LOCAL_SIGNATURE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provisioner.volume.staging.incoming import Incoming

_END: Final = struct.Struct("<4s4H2LH")
_END_SIGNATURE: Final = b"PK\5\6"
_END64_LOCATOR: Final = struct.Struct("<4sLQL")
_END64_LOCATOR_SIGNATURE: Final = b"PK\6\7"
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_END64_SIGNATURE: Final = b"PK\6\6"
_END64_UNCOUNTED: Final = 12
"""Bytes of the zip64 record that its own size field does not count."""
_MAX_NAME: Final = 0xFFFF
_MAX_COMMENT: Final = 0xFFFF
_MAX_EXTENSION: Final = 64 * 1024
"""The zip64 record is searched for with an extensible part of up to so many bytes."""
_FAR: Final = 1024 * 1024
"""The end of the archive is searched for before up to so many trailing bytes, not counting zeros at the end of the file."""
_MAX_ZEROS: Final = 64 * 1024 * 1024
"""Zeros that may follow the archive."""


@dataclass(frozen=True, slots=True)
class IndexLocation:
    """The location of the index, and the archive's statements about it."""

    offset: int
    """Bytes from the beginning of the file to the first entry."""
    end: int
    """Bytes from the beginning of the file to the first end record: the entries end there."""
    count: int
    """Number of entries, as stated."""
    stated_length: int
    """Bytes of all entries, as stated."""
    prefix: int
    """Bytes before the archive proper (a self-extracting program), which must be added to every offset in the archive."""
    behind: int
    """Offset in the file of what follows the archive; beyond the end of the file if the comment is cut off."""
    is_zip64: bool

    @property
    def length(self) -> int:
        """Bytes between the first entry and the end record."""
        return self.end - self.offset


class _Record(NamedTuple):
    """An end record, ordinary or zip64."""

    at: int
    """Bytes from the beginning of the file."""
    disk: int
    first_disk: int
    entries_here: int
    """Number of entries on this disk."""
    entries: int
    size: int
    offset: int
    is_zip64: bool = False


def find_index(archive: Incoming) -> IndexLocation:
    """Return where the index is.

    Raises:
        BrokenArchiveError: there is none, or the archive is one part of several.
        ProvisionerError: raised by the archive's ``read_at``.
    """
    reason, empty = "", None
    for record, behind in _end_records(archive):
        for candidate in _with_zip64(archive, record):
            if _is_split(candidate):
                if behind == archive.size:
                    raise part_of_archive(archive.name, "it is one part of an archive in several")
                continue
            location = _locate(archive, candidate, behind)
            if location is None:
                reason = reason or _why_not(candidate)
            elif location.count or location.length:
                return location
            else:
                # Among several records, one without any entry is hardly the true one.
                empty = empty or location
    if empty is not None:
        return empty
    raise broken_archive(
        archive.name, reason or "it has no zip index at its end: it is no zip file, truncated, or something follows it"
    )


def read_fully(archive: Incoming, offset: int, count: int) -> bytes:
    """Return ``count`` bytes, or as many as there are."""
    data = archive.read_at(offset, count)
    while len(data) < count and (more := archive.read_at(offset + len(data), count - len(data))):
        data += more
    return data


def _end_records(archive: Incoming) -> Iterator[tuple[_Record, int]]:
    """Yield what may be the end record, the likeliest first, with the end of its comment."""
    size = archive.size
    near = min(size, _END.size + _MAX_COMMENT)
    tail = read_fully(archive, size - near, near)
    found = list(_records(tail, size - near))
    yield from (pair for pair in found if pair[1] == size)
    yield from (pair for pair in found if pair[1] != size)
    if near < size:
        # An end record itself may end in zeros.
        last = min(size, _last_byte(archive) + _END.size)
        start = max(0, last - _FAR - near)
        window = read_fully(archive, start, last - start)
        known = {record.at for record, _ in found}
        yield from (pair for pair in _records(window, start) if pair[0].at not in known)


def _records(data: bytes, start: int) -> Iterator[tuple[_Record, int]]:
    """Yield the end records in a part of the file that begins at ``start``, from the last to the first."""
    at = len(data)
    while (at := data.rfind(_END_SIGNATURE, 0, at)) >= 0:
        if at + _END.size <= len(data):
            _, disk, first_disk, here, count, size, offset, comment = _END.unpack_from(data, at)
            yield _Record(start + at, disk, first_disk, here, count, size, offset), start + at + _END.size + comment


def _last_byte(archive: Incoming) -> int:
    """Return the position of the zeros at the end of the file."""
    end, lowest = archive.size, max(0, archive.size - _MAX_ZEROS)
    while end > lowest:
        start = max(lowest, end - _FAR)
        data = read_fully(archive, start, end - start).rstrip(b"\0")
        if data:
            return start + len(data)
        end = start
    return end


def _is_split(record: _Record) -> bool:
    return bool(record.disk or record.first_disk)


def _with_zip64(archive: Incoming, record: _Record) -> Iterator[_Record]:
    """Yield the zip64 record that belongs to an end record, and the end record itself unless it refers to the other one."""
    refers = MAX_16_BITS in {record.entries_here, record.entries, record.disk} or MAX_32_BITS in {record.size, record.offset}
    locator_at = record.at - _END64_LOCATOR.size
    found = None
    if locator_at >= _END64.size:
        signature, _, stated, disks = _END64_LOCATOR.unpack(read_fully(archive, locator_at, _END64_LOCATOR.size))
        if signature == _END64_LOCATOR_SIGNATURE:
            found = _zip64_record(archive, locator_at, stated)
            # A comment or a name may look like a locator.
            if disks > 1 and (found is not None or refers):
                raise part_of_archive(archive.name, "it is one part of an archive in several")
            if found is None and refers:
                raise broken_archive(archive.name, "its zip64 index cannot be found")
    if found is not None:
        yield found
    if found is None or not refers:
        # An ordinary archive may by chance have so many members, or be so large, and have no zip64 record.
        yield record


def _zip64_record(archive: Incoming, locator_at: int, stated: int) -> _Record | None:
    """Return the zip64 record, which ends where its locator begins, or is at the stated offset."""
    start = max(0, locator_at - _END64.size - _MAX_EXTENSION)
    data = b""
    for at in (locator_at - _END64.size, stated, -1):
        if at < 0:
            # Its extensible part is in between, and the file has a prefix.
            data = read_fully(archive, start, locator_at - start)
            at = data.rfind(_END64_SIGNATURE) + start if _END64_SIGNATURE in data else -1  # noqa: PLW2901
        if not 0 <= at <= locator_at - _END64.size:
            continue
        record = read_fully(archive, at, _END64.size)
        signature, length, _, _, disk, first_disk, here, count, size, offset = _END64.unpack(record)
        if signature == _END64_SIGNATURE and at + length + _END64_UNCOUNTED == locator_at:
            return _Record(at, disk, first_disk, here, count, size, offset, is_zip64=True)
    return None


def _locate(archive: Incoming, record: _Record, behind: int) -> IndexLocation | None:
    """Return where the index is by one record; ``None`` if it is not there."""
    for start in dict.fromkeys((record.at - record.size, record.offset)):
        if not 0 <= start <= record.at:
            continue
        head = read_fully(archive, start, min(ENTRY.size + _MAX_NAME, record.at - start))
        if head.startswith(ENTRY_SIGNATURE) and len(head) >= ENTRY.size:
            prefix = _prefix(archive, head[: ENTRY.size + name_length(head)], start - record.offset)
            if prefix < 0:
                raise part_of_archive(
                    archive.name, f"its first {-prefix} bytes are missing: it is cut, or the last of several parts"
                )
        elif start == record.at and not record.entries and not record.size:
            prefix = 0
        else:
            continue
        return IndexLocation(start, record.at, record.entries, record.size, prefix, behind, record.is_zip64)
    return None


def _prefix(archive: Incoming, first_entry: bytes, stated: int) -> int:
    """Return what to add to every offset: the bytes before the archive proper, unless the offsets already count them.

    The result is negative if there are fewer bytes than the offsets count.
    """
    if not stated:
        return 0
    offset = entry_offset(first_entry)
    if stated > 0 and _is_member(archive, offset + stated):
        return stated
    # If the beginning is missing, another member may be in place of the first.
    if _is_member(archive, offset) and (stated > 0 or _is_member(archive, offset, name_of=first_entry)):
        return 0
    return stated


def _is_member(archive: Incoming, at: int, name_of: bytes = b"") -> bool:
    """Return whether a member's own header is at a position and, if given, has the name of an entry of the index."""
    head = read_fully(archive, at, LOCAL_HEADER.size + len(name_of[ENTRY.size :]))
    return head.startswith(LOCAL_SIGNATURE) and head[LOCAL_HEADER.size :] == name_of[ENTRY.size :]


def _why_not(record: _Record) -> str:
    if record.size > record.at:
        return "its index is larger than the file"
    return "its index is not where it says, or is damaged at entry 1"
