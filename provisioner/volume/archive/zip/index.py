"""The entries of a zip's index, by the position of their members in the file.

Specification: APPNOTE.TXT 6.3.10, sections 4.3.12 (central directory) and 4.3.13 (digital signature).
"""

from __future__ import annotations

import struct
from array import array
from typing import TYPE_CHECKING, Final

from provisioner.volume.archive.errors import broken_archive
from provisioner.volume.archive.zip.end import read_fully
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

    from provisioner.volume.archive.oddities import Oddities
    from provisioner.volume.archive.zip.end import IndexLocation
    from provisioner.volume.archive.zip.entry import ZipEntry
    from provisioner.volume.archive.zip.gaps import Gaps
    from provisioner.volume.staging.incoming import Incoming

_WINDOW: Final = 1024 * 1024
"""Bytes of the index read at once."""
_SMALL_WINDOW: Final = 64 * 1024
"""Bytes read at once of an index that is out of order and larger than ``_MAX_HELD``."""
_MAX_HELD: Final = 16 * 1024 * 1024
"""An index that is out of order is held in memory up to this size in bytes."""
_SIGNATURE_RECORD: Final = struct.Struct("<4sH")
"""The digital signature of an index: its own signature, and the length of its data."""
_SIGNATURE_SIGNATURE: Final = b"PK\5\5"


class ZipIndex:
    """The entries of an index, which is read in large pieces and held as a whole only if it is out of order."""

    def __init__(
        self,
        archive: Incoming,
        location: IndexLocation,
        gaps: Gaps,
        oddities: Oddities,
        *,
        check_cancelled: Callable[[], None],
    ) -> None:
        """Prepare to read the index at ``location``; ``check_cancelled`` is called for every entry when it is scanned."""
        self._archive = archive
        self._gaps = gaps
        self._oddities = oddities
        self._length = location.length
        """Bytes of all entries, which may be less than the distance from the first entry to the end record."""
        self._location = location
        self._check_cancelled = check_cancelled
        self._window_size = _WINDOW
        self._window, self._window_at = b"", 0

    def entries(self) -> Iterator[tuple[int | None, ZipEntry]]:
        """Yield the entries by ascending offset of their members, with their numbers if the index has a different order.

        Raises:
            BrokenArchiveError: the index is damaged, or does not have the stated number of entries.
            ProvisionerError: raised by the archive's ``read_at``.
        """
        last, in_order = 0, True
        for _, offset in self._scan():
            in_order = in_order and offset >= last
            last = offset
        if in_order:
            at = 0
            while at < self._length:
                entry, length = self._entry(at)
                yield None, entry
                at += length
            return
        # Positions and offsets are held only if needed: the largest known archives are in order.
        self._window_size = _MAX_HELD if self._length <= _MAX_HELD else _SMALL_WINDOW
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
        while at < self._length:
            self._check_cancelled()
            head = self._bytes(at, ENTRY.size)
            if not head.startswith(ENTRY_SIGNATURE):
                self._check_rest(at, seen)
                break
            length = entry_length(head) if len(head) == ENTRY.size else self._length
            if at + length > self._length:
                self._fail(f"its index is damaged at entry {seen + 1}")
            offset = entry_offset(head)
            yield at, self._entry(at)[0].offset if offset == MAX_32_BITS else offset + location.prefix
            at += length
            seen += 1
        if not self._is_count(seen):
            self._oddities.accept(f"its index has {seen} entries and claims {location.count}")
        if location.stated_length not in {self._length, location.length}:
            self._oddities.accept(f"its index has {self._length} bytes and claims {location.stated_length}")

    def _check_rest(self, at: int, seen: int) -> None:
        """Check what lies between the last entry and the end record: a digital signature, and padding.

        Anything else is an oddity if the index is complete according to its end record, and damage otherwise.
        """
        self._length = at
        end = self._location.length
        head = self._bytes(at, min(_SIGNATURE_RECORD.size, end - at))
        if head.startswith(_SIGNATURE_SIGNATURE) and len(head) == _SIGNATURE_RECORD.size:
            at = min(at + _SIGNATURE_RECORD.size + _SIGNATURE_RECORD.unpack(head)[1], end)
        rest = self._bytes(at, min(_WINDOW, end - at))
        if rest.strip(b"\0") and not (self._is_count(seen) and self._location.stated_length == at):
            self._fail(f"its index is damaged at entry {seen + 1}")
        self._gaps.check_between(self._location.offset + at, self._location.end)

    def _is_count(self, seen: int) -> bool:
        """Return whether a number of entries is the stated one, which has only 16 bits without zip64."""
        location = self._location
        return seen == location.count or (not location.is_zip64 and seen & MAX_16_BITS == location.count)

    def _entry(self, at: int) -> tuple[ZipEntry, int]:
        """Return the entry at a scanned position of the index, and its length in bytes."""
        length = entry_length(self._bytes(at, ENTRY.size))
        return parse_entry(self._bytes(at, length), self._location.prefix, self._archive.name), length

    def _bytes(self, at: int, count: int) -> bytes:
        """Return ``count`` bytes of the index from position ``at`` on, fewer only at its end."""
        start = at - self._window_at
        if start < 0 or start + count > len(self._window):
            length = self._location.length
            self._window_at = at if self._window_size < length else 0
            wanted = min(max(count, self._window_size), length - self._window_at)
            self._window = read_fully(self._archive, self._location.offset + self._window_at, wanted)
            start = at - self._window_at
        return self._window[start : start + count]

    def _fail(self, reason: str) -> NoReturn:
        raise broken_archive(self._archive.name, reason)
