"""Account for every byte of a zip outside its listed members and its index: known structure, padding, or a reason to refuse.

Zeros may be between members, before the first one and after the end. A data descriptor may follow a member's content. The
program of a self-extracting archive, or the mark of an archive that was to be split, may precede the first member. A member
that the index does not list is never ignored: otherwise two archives that were joined, or one that was appended to, would
yield less than they hold. Any other bytes are an oddity.

Specification: APPNOTE.TXT 6.3.10, sections 4.3.9 (data descriptor) and 8.5.4 (mark of a split archive).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from provisioner.errors import BrokenArchiveError
from provisioner.volume.archive.errors import quoted
from provisioner.volume.fs.files import CHUNK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from provisioner.volume.archive.oddities import Oddities
    from provisioner.volume.archive.zip.entry import ZipEntry
    from provisioner.volume.staging.incoming import Incoming

LOCAL_HEADER: Final = struct.Struct("<4s5H3L2H")
"""The fixed part of the header before a member's content."""
LOCAL_SIGNATURE: Final = b"PK\3\4"

_DESCRIPTOR_SIGNATURE: Final = b"PK\7\x08"
_DESCRIPTORS: Final = (struct.Struct("<L2Q"), struct.Struct("<3L"))
"""A data descriptor without its signature (CRC-32, packed size, size): zip64, then ordinary."""
MAX_DESCRIPTOR: Final = len(_DESCRIPTOR_SIGNATURE) + _DESCRIPTORS[0].size
_LOW_32_BITS: Final = 0xFFFFFFFF
_SPLIT_MARKS: Final = (b"PK00", b"PK\7\x08")
_PROGRAMS: Final = (b"MZ", b"\x7fELF", b"#!", b"\xfe\xed\xfa", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
"""The first bytes of programs for Windows, Linux and macOS, and of scripts."""
_METHODS: Final = frozenset({*range(21), *range(93, 100)})
"""The compression methods named in APPNOTE.TXT."""
_MAX_VERSION: Final = 99
_MAX_NAME: Final = 4096
_JOINED_HINT: Final = (
    "It looks like several archives in one file, or like one that was appended to and has lost its index: unpack it by hand, or"
    " find one that is whole."
)


class Gaps:
    """The bytes of one archive that its index does not account for; safe for several threads."""

    def __init__(self, archive: Incoming, oddities: Oddities, check_cancelled: Callable[[], None]) -> None:
        """Read nothing yet; ``check_cancelled`` is called for every block that is read."""
        self._archive = archive
        self._oddities = oddities
        self._check_cancelled = check_cancelled

    def check_before(self, end: int) -> None:
        """Check the bytes before the first member, or before the index of an archive without members.

        Raises:
            BrokenArchiveError: they hold a member that the index does not list; or anything else, and the bytes are not
                proven.
        """
        if not end:
            return
        head = self._archive.read_at(0, min(end, LOCAL_HEADER.size))
        start = len(head[:4]) if head.startswith(_SPLIT_MARKS) else 0
        if self._is_filled(start, end) and not head.startswith(_PROGRAMS):
            self._oddities.accept(f"{end - start} bytes that belong to nothing precede its first member")

    def check_behind(self, start: int) -> None:
        """Check the bytes after the end of the archive.

        Raises:
            BrokenArchiveError: see :meth:`check_before`.
        """
        if start > self._archive.size:
            self._oddities.accept("its comment is cut")
        if self._is_filled(start, self._archive.size):
            self._oddities.accept(f"something follows its end: {self._archive.size - start} bytes that belong to nothing")

    def check_between(self, start: int, end: int) -> None:
        """Check the bytes between the index and the end record.

        Raises:
            BrokenArchiveError: see :meth:`check_before`.
        """
        if self._is_filled(start, end):
            self._oddities.accept("bytes that belong to nothing follow its index")

    def check_after(self, entry: ZipEntry, rest: bytes, start: int, end: int) -> None:
        """Check the bytes between a member's content and the next member, or the index.

        Args:
            entry: the member.
            rest: the bytes there, at least ``MAX_DESCRIPTOR`` of them if there are as many.
            start: offset of these bytes in the file.
            end: offset of the next member in the file.

        Raises:
            BrokenArchiveError: see :meth:`check_before`.
        """
        length = _descriptor_length(entry, rest)
        if len(rest) == end - start and not rest[length:].strip(b"\0"):
            return
        if self._is_filled(start + length, end):
            self._oddities.accept("bytes that belong to nothing follow a member", entry.name)

    def _is_filled(self, start: int, end: int) -> bool:
        """Return whether a part of the file holds anything but zeros.

        Raises:
            BrokenArchiveError: it holds a member.
        """
        filled = False
        for at, data in self._blocks(start, end):
            if data.strip(b"\0"):
                filled = True
                self._check_no_member(at, data, end)
        return filled

    def _blocks(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Yield a part of the file in blocks with their positions; each begins with the last bytes of the one before."""
        at, tail = start, b""
        while at < end:
            self._check_cancelled()
            data = self._archive.read_at(at, min(CHUNK, end - at))
            if not data:
                return
            yield at - len(tail), tail + data
            at += len(data)
            tail = data[-(LOCAL_HEADER.size - 1) :]

    def _check_no_member(self, start: int, data: bytes, end: int) -> None:
        at = -1
        while (at := data.find(LOCAL_SIGNATURE, at + 1)) >= 0:
            if len(data) - at < LOCAL_HEADER.size:
                # The next block begins with these bytes; at the very end there is no space for a member.
                return
            _, version, _, method, _, _, _, _, _, name_length, _ = LOCAL_HEADER.unpack_from(data, at)
            if version & 0xFF > _MAX_VERSION or method not in _METHODS or not 0 < name_length <= _MAX_NAME:
                continue
            name_at = start + at + LOCAL_HEADER.size
            name = self._archive.read_at(name_at, name_length) if name_at + name_length <= end else b""
            if name and b"\0" not in name:
                shown = quoted(name.decode("utf-8", "replace"))
                raise BrokenArchiveError(
                    f"{self._archive.name}: it holds a member at byte {start + at}, {shown}, that its index does not list",
                    hint=_JOINED_HINT,
                )


def _descriptor_length(entry: ZipEntry, rest: bytes) -> int:
    """Return the length of the data descriptor that follows a member's content; 0 if there is none.

    It is recognised by its values, with or without its signature, since flags are not always right.
    """
    # Most writers use this form.
    if rest == _DESCRIPTOR_SIGNATURE + _DESCRIPTORS[1].pack(
        entry.crc, entry.packed_size & _LOW_32_BITS, entry.size & _LOW_32_BITS
    ):
        return len(rest)
    for start in (len(_DESCRIPTOR_SIGNATURE), 0):
        if start and not rest.startswith(_DESCRIPTOR_SIGNATURE):
            continue
        for form in _DESCRIPTORS:
            if len(rest) < start + form.size:
                continue
            crc, *sizes = form.unpack_from(rest, start)
            mask = -1 if form is _DESCRIPTORS[0] else _LOW_32_BITS
            if crc == entry.crc and sizes == [entry.packed_size & mask, entry.size & mask]:
                return start + form.size
    return 0
