"""Members of a zip archive, by its index: APPNOTE.TXT 6.3.10 with zip64, stored, deflate, bzip2, LZMA and Zstandard.

Why not :mod:`zipfile`: it holds its whole index in memory (a hundred thousand clips are 80 MB), and an index that claims
millions of members, overlapping members or members that differ from their own headers must be refused before they cost
something. Every member is checked against size and CRC-32 of the index.
"""

from __future__ import annotations

import calendar
import contextlib
import stat
import struct
import threading
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from isal import isal_zlib

from provisioner.errors import BrokenArchiveError, UnsafeArchiveError
from provisioner.volume.archive.decoders import (
    MEMORY_LIMIT,
    bzip2_decoder,
    decoder_errors,
    deflate_decoder,
    raw_lzma_decoder,
    zstd_decoder,
)
from provisioner.volume.archive.member import DAMAGED, NOT_OURS, Member, sensible_time, shown
from provisioner.volume.fs.files import CHUNK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NoReturn

    from provisioner.volume.archive.decoders import Decoder
    from provisioner.volume.staging.incoming import Incoming

_END: Final = struct.Struct("<4s4H2LH")
_END64_LOCATOR: Final = struct.Struct("<4sLQL")
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_INDEXED: Final = struct.Struct("<4s2B5H3L5H2L")
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_MAX_COMMENT: Final = 0xFFFF
_IN_ZIP64: Final = 0xFFFFFFFF
_COUNT_IN_ZIP64: Final = 0xFFFF

_ENCRYPTED: Final = 1 << 0 | 1 << 6 | 1 << 13
_PATCH: Final = 1 << 5
_UTF8: Final = 1 << 11
_AES: Final = 99
_UNIX_HOSTS: Final = frozenset({3, 19})
"""``version made by``: Unix and macOS, which write names as the bytes they have."""
_EXTRA_ZIP64: Final = 0x0001
_EXTRA_TIME: Final = 0x5455
_MAX_TARGET: Final = 4096
_READ_SIZE: Final = 256 * 1024
"""Packed bytes read at once."""

_LOCAL_EXTRA: Final = 64
"""Bytes that a member's own header may have beyond what the index says, before it costs a second read."""
_WINDOW: Final = 1024 * 1024
"""Bytes of the index read at once."""
_SMALL_WINDOW: Final = 64 * 1024
"""The same, where an index of more than ``_WHOLE`` bytes is not in order."""
_WHOLE: Final = 16 * 1024 * 1024
"""Bytes of an index that is not in order which are held."""
_APART: Final = 32 * 1024
"""Packed bytes from which on a member is worth a thread; of a slow method, an eighth of it."""
_HUNGRY: Final = 8 * 1024 * 1024
"""Unpacked bytes from which on a decoder may want as much memory as it likes: one at a time."""

_BZIP2: Final = 12
_LZMA: Final = 14
_FAST: Final = frozenset({0, 8})
_METHODS: Final = {8: "deflate", 12: "bzip2", 14: "LZMA", 93: "Zstandard"}


@dataclass(frozen=True, slots=True)
class _Index:
    """Where the list of members is."""

    offset: int
    """Bytes from the archive's beginning."""
    length: int
    count: int
    prefix: int
    """Bytes before the archive proper (a self-extracting program): every offset in it is that much too small."""
    is_zip64: bool


@dataclass(frozen=True, slots=True)
class _Listed:
    """What the index says of one member."""

    raw: bytes
    name: str
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int
    mode: int
    """Unix mode, 0 where another system made it."""
    mtime_ns: int | None


def read_zip(archive: Incoming, check_cancelled: Callable[[], None], max_entries: int) -> Iterator[Member]:
    """Return the members of a zip archive, by ascending offset; where its index is in another order, with their rank in it.

    Raises:
        BrokenArchiveError: truncated, followed by something else, damaged, or at odds with its own index.
        UnsafeArchiveError: encrypted, packed by an unknown method, overlapping members, a member that is no file, directory or
            link, or more than ``max_entries`` members.
        ProvisionerError: as the archive's ``read_at``.
    """
    return _Reader(archive, check_cancelled).members(max_entries)


def _whole(archive: Incoming, offset: int, count: int) -> bytes:
    """Return ``count`` bytes, or as many as there are."""
    data = archive.read_at(offset, count)
    while len(data) < count and (more := archive.read_at(offset + len(data), count - len(data))):
        data += more
    return data


class _Span:
    """A stretch of the archive, read by one thread from its beginning on."""

    def __init__(self, archive: Incoming, offset: int, first: int) -> None:
        """Start at ``offset``; ``first`` bytes are likely to be wanted at once."""
        self._archive = archive
        self._at = offset
        self._first = min(first, _READ_SIZE)
        self._held = b""

    def take(self, count: int) -> bytes:
        """Return ``count`` bytes, fewer only at the end of the archive."""
        data = self.some(count)
        while len(data) < count and (more := self.some(count - len(data))):
            data += more
        return data

    def some(self, count: int) -> bytes:
        """Return between 1 and ``count`` bytes; none at the end of the archive."""
        if not self._held:
            data = self._archive.read_at(self._at, max(count, self._first))
            self._at += len(data)
            self._first = 0
            if len(data) <= count:
                return data
            self._held = data
        data, self._held = self._held[:count], self._held[count:]
        return data


class _IndexBytes:
    """The bytes of the index, read in large pieces of which the last one is held."""

    def __init__(self, archive: Incoming, index: _Index) -> None:
        self.length = index.length
        self.window = _WINDOW
        self._archive, self._offset = archive, index.offset
        self._data, self._base = b"", 0

    def get(self, at: int, count: int) -> bytes:
        """Return ``count`` bytes from ``at`` on, fewer only at the end of the index."""
        place = at - self._base
        if place < 0 or place + count > len(self._data):
            self._base = at if self.window < self.length else 0
            self._data = _whole(self._archive, self._offset + self._base, min(max(count, self.window), self.length - self._base))
            place = at - self._base
        return self._data[place : place + count]


class _Reader:
    def __init__(self, archive: Incoming, check_cancelled: Callable[[], None]) -> None:
        self._name = archive.name
        self._archive = archive
        self._check_cancelled = check_cancelled
        self._length = archive.size
        self._hungry = threading.Lock()

    def members(self, max_entries: int) -> Iterator[Member]:
        index = self._find_index()
        if index.count > max_entries:
            raise UnsafeArchiveError(f"{self._name}: it claims {index.count} members, more than {max_entries}", hint=NOT_OURS)
        claimed = 0
        for rank, listed in self._listing(index):
            # No member may share bytes with another: that is how a small archive holds petabytes.
            claimed += listed.packed + _LOCAL.size + len(listed.raw)
            if claimed > self._length:
                raise UnsafeArchiveError(f"{self._name}: its members overlap: they claim more bytes than it has", hint=NOT_OURS)
            member = self._member(listed)
            member.place, member.rank = min(listed.offset, self._length), rank
            yield member

    # --- the index

    def _find_index(self) -> _Index:
        length = min(self._length, _END.size + _MAX_COMMENT)
        tail = _whole(self._archive, self._length - length, length)
        at = len(tail)
        # The comment may hold the signature; the true one is that whose comment ends where the file does.
        while (at := tail.rfind(b"PK\5\6", 0, at)) >= 0:
            if at + _END.size <= len(tail) and at + _END.size + struct.unpack_from("<H", tail, at + 20)[0] == len(tail):
                break
        if at < 0:
            self._broken("it has no zip index at its end: it is no zip file, truncated, or something follows it")
        _, disk, first_disk, here, count, size, offset, _ = _END.unpack_from(tail, at)
        end = self._length - len(tail) + at
        is_zip64 = False
        if _COUNT_IN_ZIP64 in {here, count, disk} or _IN_ZIP64 in {size, offset}:
            found = self._zip64_end(end)
            if found is not None:
                is_zip64 = True
                end, disk, first_disk, here, count, size, offset = found
        if disk or first_disk or here != count:
            self._broken("it is one part of an archive in several")
        prefix = end - size - offset
        if prefix < 0:
            self._broken("its index is larger than the file")
        return _Index(offset + prefix, size, count, prefix, is_zip64)

    def _zip64_end(self, end: int) -> tuple[int, int, int, int, int, int, int] | None:
        if end < _END64_LOCATOR.size + _END64.size:
            return None
        locator = _whole(self._archive, end - _END64_LOCATOR.size, _END64_LOCATOR.size)
        signature, _, where, disks = _END64_LOCATOR.unpack(locator)
        if signature != b"PK\6\7":
            # So many members, or so large, by chance and without zip64.
            return None
        if disks > 1:
            self._broken("it is one part of an archive in several")
        # Right before the locator, or, with a prefix or an extensible part, where the locator says.
        for place in (end - _END64_LOCATOR.size - _END64.size, where):
            if 0 <= place <= end - _END64_LOCATOR.size - _END64.size:
                record = _whole(self._archive, place, _END64.size)
                signature, _, _, _, disk, first_disk, here, count, size, offset = _END64.unpack(record)
                if signature == b"PK\6\6":
                    return place, disk, first_disk, here, count, size, offset
        return self._broken("its zip64 index cannot be found")

    def _places(self, index: _Index, data: _IndexBytes) -> Iterator[tuple[int, int]]:
        """Return where each entry is within the index and where it says its member is, and look whether the index is whole."""
        at = seen = 0
        while at < index.length:
            self._check_cancelled()
            head = data.get(at, _INDEXED.size)
            if len(head) != _INDEXED.size or not head.startswith(b"PK\1\2"):
                self._broken(f"its index is damaged at entry {seen + 1}")
            name_length, extra_length, comment_length = struct.unpack_from("<3H", head, 28)
            length = _INDEXED.size + name_length + extra_length + comment_length
            if at + length > index.length:
                self._broken(f"its index is damaged at entry {seen + 1}")
            offset = int.from_bytes(head[42:46], "little")
            yield at, self._entry(index, data, at)[0].offset if offset == _IN_ZIP64 else offset + index.prefix
            at += length
            seen += 1
        # Without zip64 the count is of 16 bits, and some writers let it overflow.
        if seen != index.count and (index.is_zip64 or seen & _COUNT_IN_ZIP64 != index.count):
            self._broken(f"its index has {seen} entries and claims {index.count}")

    def _listing(self, index: _Index) -> Iterator[tuple[int | None, _Listed]]:
        """Return the entries by ascending offset of their members, with their rank where that is not the index's own order."""
        data = _IndexBytes(self._archive, index)
        last, in_order = 0, True
        for _, offset in self._places(index, data):
            in_order = in_order and offset >= last
            last = offset
        if in_order:
            at = 0
            while at < index.length:
                listed, length = self._entry(index, data, at)
                yield None, listed
                at += length
            return
        # Held only where it is needed: the largest archives that we know are in order.
        data.window = _WHOLE if index.length <= _WHOLE else _SMALL_WINDOW
        entries, offsets = array("Q"), array("Q")
        for at, offset in self._places(index, data):
            entries.append(at)
            offsets.append(offset)
        for rank in sorted(range(len(offsets)), key=offsets.__getitem__):
            yield rank, self._entry(index, data, entries[rank])[0]

    def _entry(self, index: _Index, data: _IndexBytes, at: int) -> tuple[_Listed, int]:
        """Return the entry at ``at`` of the index, which is whole, and its length in bytes."""
        (_, _, host, _, flags, method, time, date, crc, packed, size, name_length, extra_length, comment_length, disk, _,
         attributes, offset) = _INDEXED.unpack(data.get(at, _INDEXED.size))  # fmt: skip
        raw = data.get(at + _INDEXED.size, name_length)
        fields = dict(_extra_fields(data.get(at + _INDEXED.size + name_length, extra_length))) if extra_length else {}
        if _IN_ZIP64 in {size, packed, offset} or disk == _COUNT_IN_ZIP64:
            size, packed, offset = self._zip64_fields(fields.get(_EXTRA_ZIP64, b""), size, packed, offset)
        listed = _Listed(
            raw, _decoded(raw, flags, host), flags, method, crc, packed, size, offset + index.prefix,
            attributes >> 16 if host in _UNIX_HOSTS else 0, _modified(fields.get(_EXTRA_TIME, b""), date, time),
        )  # fmt: skip
        return listed, _INDEXED.size + name_length + extra_length + comment_length

    def _zip64_fields(self, field: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
        """Fill in, in this order, those that did not fit into 32 bits."""
        values = [size, packed, offset]
        for place, value in enumerate(values):
            if value == _IN_ZIP64:
                if len(field) < struct.calcsize("<Q"):
                    self._broken("a member's zip64 field is too short")
                values[place], field = struct.unpack_from("<Q", field)[0], field[8:]
        return values[0], values[1], values[2]

    # --- the members

    def _member(self, listed: _Listed) -> Member:
        name = listed.name
        if listed.flags & _ENCRYPTED or listed.method == _AES:
            raise UnsafeArchiveError(f"{self._name}: member {shown(name)} is encrypted", hint="Find a source without a password.")
        if listed.flags & _PATCH or (listed.method and listed.method not in _METHODS):
            raise UnsafeArchiveError(
                f"{self._name}: member {shown(name)} is packed by method {listed.method}, which we do not know",
                hint="Supported are stored, deflate, bzip2, LZMA and Zstandard: pack it again with one of them.",
            )
        form = stat.S_IFMT(listed.mode)
        if form not in {0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK}:
            raise UnsafeArchiveError(f"{self._name}: member {shown(name)} is a device, a FIFO or a socket", hint=NOT_OURS)
        member = Member(name, "file", listed.size, bool(listed.mode & 0o100), listed.mtime_ns)
        if name.endswith("/") or form == stat.S_IFDIR:
            if listed.size:
                self._broken(f"the folder {shown(name)} has content")
            member.kind = "folder"
        elif form == stat.S_IFLNK:
            if listed.size > _MAX_TARGET:
                self._broken(f"the link {shown(name)} has a target of {listed.size} bytes")
            member.kind, member.size = "symlink", 0
            member.target = b"".join(self._content(listed)).decode("utf-8", "surrogateescape")
        else:
            member.blocks = self._content(listed)
            member.apart = listed.packed >= (_APART if listed.method in _FAST else _APART // 8)
        return member

    def _content(self, listed: _Listed) -> Iterator[bytes]:
        """Return a member's content. In any thread: it shares nothing with the rest that changes."""
        if listed.method in _FAST or listed.size < _HUNGRY:
            yield from self._checked(listed)
        else:
            with self._hungry if listed.method != _BZIP2 else contextlib.nullcontext():
                yield from self._checked(listed)

    def _checked(self, listed: _Listed) -> Iterator[bytes]:
        name = listed.name
        if listed.offset > self._length:
            self._broken(f"{shown(name)} is not where the index says")
        span = _Span(self._archive, listed.offset, _LOCAL.size + len(listed.raw) + _LOCAL_EXTRA + listed.packed)
        head = span.take(_LOCAL.size)
        if len(head) != _LOCAL.size or not head.startswith(b"PK\3\4"):
            self._broken(f"{shown(name)} is not where the index says")
        _, _, flags, method, _, _, _, _, _, name_length, extra_length = _LOCAL.unpack(head)
        if span.take(name_length) != listed.raw or method != listed.method or (flags ^ listed.flags) & _ENCRYPTED:
            self._broken(f"{shown(name)} says something else of itself than the index does")
        span.take(extra_length)
        total = crc = 0
        for data in self._stored(listed, span) if not listed.method else self._unpacked(listed, span):
            total += len(data)
            if total > listed.size:
                self._broken(f"{shown(name)} unpacks to more than the {listed.size} bytes that the index says")
            crc = isal_zlib.crc32(data, crc)
            yield data
        if total != listed.size:
            self._broken(f"{shown(name)} unpacks to {total} bytes, and the index says {listed.size}")
        if crc != listed.crc:
            self._broken(f"{shown(name)} has a wrong checksum (CRC-32)")

    def _stored(self, listed: _Listed, span: _Span) -> Iterator[bytes]:
        left = listed.packed
        while left:
            data = span.some(min(left, CHUNK))
            if not data:
                self._broken(f"it ends in the middle of {shown(listed.name)}")
            left -= len(data)
            yield data

    def _unpacked(self, listed: _Listed, span: _Span) -> Iterator[bytes]:
        left = listed.packed
        try:
            if listed.method == _LZMA:
                decoder, used = self._lzma(span, left)
                left -= used
            else:
                decoder = _decoder(listed.method)
            while not decoder.eof:
                fed = b""
                if decoder.needs_input and left:
                    fed = span.some(min(left, _READ_SIZE))
                    if not fed:
                        self._broken(f"it ends in the middle of {shown(listed.name)}")
                    left -= len(fed)
                data = decoder.decompress(fed, CHUNK)
                if data:
                    yield data
                elif not fed and not left:
                    # LZMA may end without saying so; size and checksum say whether that was all.
                    break
        except decoder_errors() as error:
            self._broken(f"{shown(listed.name)} is damaged: its {_METHODS[listed.method]} data say {error}")
        if left or decoder.unused_data:
            self._broken(f"{shown(listed.name)} is followed by bytes that belong to nothing")

    def _lzma(self, span: _Span, available: int) -> tuple[Decoder, int]:
        """Read the properties before raw LZMA data (APPNOTE 5.8.8) and give the decoder, and how many bytes they took."""
        head = span.take(min(9, available))
        if len(head) != 9 or head[2:4] != b"\5\0" or head[4] >= 9 * 5 * 5:  # noqa: PLR2004 - lc, lp and pb in one byte
            self._broken("LZMA properties that make no sense")
        dictionary = int.from_bytes(head[5:9], "little")
        if dictionary > MEMORY_LIMIT:
            raise UnsafeArchiveError(
                f"{self._name}: a member wants {dictionary} bytes of memory", hint="Pack it again with a smaller dictionary."
            )
        return raw_lzma_decoder(head[4], dictionary), len(head)

    def _broken(self, reason: str) -> NoReturn:
        raise BrokenArchiveError(f"{self._name}: {reason}", hint=DAMAGED)


def _decoder(method: int) -> Decoder:
    match method:
        case 8:
            return deflate_decoder()
        case 12:
            return bzip2_decoder()
        case _:
            return zstd_decoder()


def _extra_fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    # What is too short for a field is padding (some aligning writers leave it).
    while at + 4 <= len(extra):
        key, length = struct.unpack_from("<2H", extra, at)
        yield key, extra[at + 4 : at + 4 + length]
        at += 4 + length


def _decoded(raw: bytes, flags: int, host: int) -> str:
    """Return the name: UTF-8 where it says so or is; else the bytes as they are (Unix), or code page 437 (the rest)."""
    if flags & _UTF8 or host in _UNIX_HOSTS:
        return raw.decode("utf-8", "surrogateescape")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp437")


def _modified(field: bytes, date: int, time: int) -> int | None:
    """Return the time of the extended timestamp, else the DOS one, which has no time zone and is taken for UTC."""
    if len(field) >= 5 and field[0] & 1:  # noqa: PLR2004 - flags and four bytes of seconds
        return sensible_time(struct.unpack_from("<l", field, 1)[0])
    month, day = date >> 5 & 15, date & 31
    if not (1 <= month <= 12 and day):  # noqa: PLR2004
        return None
    moment = ((date >> 9) + 1980, month, day, time >> 11, time >> 5 & 63, (time & 31) * 2, 0, 0, 0)
    return sensible_time(calendar.timegm(moment))
