"""The content of a zip's members: decompressed, and compared with the size and CRC-32 in the index.

Specification: APPNOTE.TXT 6.3.10, sections 4.3.7 (local file header) and 5.8 (LZMA).
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Final

from isal import isal_zlib

from provisioner.volume.archive.decoders import (
    MEMORY_LIMIT,
    decoder_errors,
    deflate64_decoder,
    deflate_decoder,
    raw_lzma_decoder,
    wants_memory,
)
from provisioner.volume.archive.errors import broken_archive, memory_refused, quoted, unsafe_archive
from provisioner.volume.archive.zip.gaps import LOCAL_HEADER, LOCAL_SIGNATURE, MAX_DESCRIPTOR
from provisioner.volume.archive.zip.local import LocalHeader, check_local, check_local_sizes, local_unicode_name
from provisioner.volume.archive.zip.methods import (
    BZIP2,
    DEFLATE,
    DEFLATE64,
    FAST_METHODS,
    LZMA,
    METHODS,
    NEW_DECODERS,
    SEVERAL_STREAMS,
    STORED,
)
from provisioner.volume.fs.files import CHUNK

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from typing import NoReturn

    from provisioner.volume.archive.decoders import Decoder
    from provisioner.volume.archive.oddities import Oddities
    from provisioner.volume.archive.zip.entry import ZipEntry
    from provisioner.volume.archive.zip.gaps import Gaps
    from provisioner.volume.staging.incoming import Incoming

_LZMA_HAS_END_MARK: Final = 1 << 1
"""Flag of LZMA data with an end mark; without it, the data end at the size that the index states."""
_LZMA_HEADER_SIZE: Final = 9
_LZMA_PROPERTIES_END: Final = 9 * 5 * 5
"""One more than the largest byte that holds lc, lp and pb."""
_LZMA_TAIL: Final = 16
"""Bytes at the end of LZMA data, at least one of which is needed for the last byte of content or belongs to the end mark."""

_READ_SIZE: Final = 256 * 1024
"""Packed bytes read at once."""
_SMALL_SIZE: Final = 64 * 1024
"""Up to so many packed bytes, a member is decompressed at once, if its content is no more than a MiB."""
_MEMORY_HUNGRY_SIZE: Final = 8 * 1024 * 1024
"""From so many unpacked bytes on, a decoder may take much memory, so only one such member is decoded at a time."""


class ContentReader:
    """The contents of one archive's members, which several threads may read at the same time."""

    def __init__(self, archive: Incoming, gaps: Gaps, oddities: Oddities) -> None:
        """Read nothing yet."""
        self._archive = archive
        self._name = archive.name
        self._gaps = gaps
        self._oddities = oddities
        self._memory_lock = threading.Lock()

    def blocks(self, entry: ZipEntry, limit: int) -> Iterator[bytes]:
        """Yield the content of a member, at most a MiB at a time, and check what follows it.

        Args:
            entry: the member.
            limit: bytes from the beginning of the file to the next member, or the index.

        Raises:
            BrokenArchiveError: damaged, truncated, or contradicting the index.
            UnsafeArchiveError: a decoder would need too much memory, or it overlaps the next member.
            ProvisionerError: raised by the archive's ``read_at``.
        """
        # bzip2 always takes a few megabytes.
        if entry.method in FAST_METHODS or entry.method == BZIP2 or entry.size < _MEMORY_HUNGRY_SIZE:
            return self._checked(entry, limit)
        return self._checked_alone(entry, limit)

    def unicode_name(self, entry: ZipEntry, limit: int) -> str | None:
        """Return the name in Unicode that a member's own header states, if it has one.

        Raises:
            BrokenArchiveError: there is no such header.
            ProvisionerError: raised by the archive's ``read_at``.
        """
        return local_unicode_name(entry, self._local_header(entry, _ForwardReader(self._archive, entry.offset, limit)).extra)

    def _checked_alone(self, entry: ZipEntry, limit: int) -> Iterator[bytes]:
        with self._memory_lock:
            yield from self._checked(entry, limit)

    def _checked(self, entry: ZipEntry, limit: int) -> Iterator[bytes]:
        name = entry.name
        source = _ForwardReader(self._archive, entry.offset, limit)
        local = self._local_header(entry, source)
        check_local(entry, local, self._name, self._oddities)
        end = entry.offset + LOCAL_HEADER.size + len(local.raw_name) + len(local.extra) + entry.packed_size
        if end > limit:
            raise unsafe_archive(self._name, f"its members overlap: {quoted(name)} ends behind the beginning of the next")
        size = crc = 0
        for data in self._content(entry, source):
            size += len(data)
            if size > entry.size:
                self._fail(f"{quoted(name)} unpacks to more than the {entry.size} bytes that the index says")
            crc = isal_zlib.crc32(data, crc)
            yield data
        if size != entry.size:
            error = broken_archive(self._name, f"{quoted(name)} unpacks to {size} bytes, and the index says {entry.size}")
            if crc != entry.crc:
                raise error
            self._oddities.accept("members state a larger size than they have, and their checksum is right", name, refusal=error)
        if crc != entry.crc:
            self._fail(f"{quoted(name)} has a wrong checksum (CRC-32)")
        check_local_sizes(entry, local, self._oddities)
        if end < limit:
            self._gaps.check_after(entry, source.read_fully(min(limit - end, MAX_DESCRIPTOR)), end, limit)

    def _local_header(self, entry: ZipEntry, source: _ForwardReader) -> LocalHeader:
        head = source.read_fully(LOCAL_HEADER.size)
        if len(head) != LOCAL_HEADER.size or not head.startswith(LOCAL_SIGNATURE):
            self._fail(f"{quoted(entry.name)} is not where the index says")
        _, _, flags, method, _, _, crc, packed_size, size, name_length, extra_length = LOCAL_HEADER.unpack(head)
        rest = source.read_fully(name_length + extra_length)
        return LocalHeader(flags, method, crc, packed_size, size, rest[:name_length], rest[name_length:])

    def _content(self, entry: ZipEntry, source: _ForwardReader) -> Iterable[bytes]:
        if entry.method == STORED:
            return self._stored(entry, source)
        data = b""
        if entry.method == DEFLATE and entry.packed_size <= _SMALL_SIZE:
            data = source.read_fully(entry.packed_size)
            decoder = deflate_decoder()
            try:
                content = decoder.decompress(data, CHUNK)
                if decoder.eof and not decoder.unused_data:
                    return (content,) if content else ()
            except decoder_errors():
                # It is decoded again, up to the error.
                pass
        packed = _PackedData(source, entry, self._name, data)
        return self._lzma(entry, packed) if entry.method == LZMA else self._decompressed(entry, packed)

    def _stored(self, entry: ZipEntry, source: _ForwardReader) -> Iterator[bytes]:
        remaining = entry.packed_size
        while remaining:
            data = source.read(min(remaining, CHUNK))
            if not data:
                self._fail(f"it ends in the middle of {quoted(entry.name)}")
            remaining -= len(data)
            yield data

    def _decompressed(self, entry: ZipEntry, packed: _PackedData) -> Iterator[bytes]:
        try:
            unused = yield from self._stream(_new_decoder(entry), packed, b"")
            while entry.method in SEVERAL_STREAMS and (unused or packed.remaining):
                unused = unused or packed.read()
                if not unused.strip(b"\0"):
                    break
                unused = yield from self._stream(_new_decoder(entry), packed, unused)
        except decoder_errors() as error:
            if wants_memory(error):
                raise memory_refused(self._name, f"member {quoted(entry.name)}") from error
            self._fail(f"{quoted(entry.name)} is damaged: its {METHODS[entry.method]} data say {error}")
        self._check_unused(entry, packed, unused)

    @staticmethod
    def _stream(decoder: Decoder, packed: _PackedData, first: bytes) -> Generator[bytes, None, bytes]:
        """Yield the content of one compressed stream, and return the bytes that were read beyond it."""
        data = first
        while not decoder.eof:
            if not data and decoder.needs_input and packed.remaining:
                data = packed.read()
            content = decoder.decompress(data, CHUNK)
            if content:
                yield content
            elif not data and not packed.remaining:
                # The stream is cut off; size and checksum show whether anything is missing.
                break
            data = b""
        return decoder.unused_data if decoder.eof else b""

    def _lzma(self, entry: ZipEntry, packed: _PackedData) -> Iterator[bytes]:
        """Yield the content of LZMA data, with or without an end mark."""
        try:
            decoder = self._lzma_decoder(packed)
            left = entry.size
            while left and not decoder.eof:
                data = packed.read(keep=_LZMA_TAIL) if decoder.needs_input and packed.remaining else b""
                content = decoder.decompress(data, min(left, CHUNK))
                if content:
                    left -= len(content)
                    yield content
                elif not data and not packed.remaining:
                    break
            if left:
                return
            # Only the end mark may remain.
            has_mark = entry.flags & _LZMA_HAS_END_MARK or packed.remaining
            tail = packed.read() if packed.remaining else b""
            with contextlib.suppress(*(() if has_mark else decoder_errors())):
                if not decoder.eof and decoder.decompress(tail, 1) and has_mark:
                    self._fail(f"{quoted(entry.name)} unpacks to more than the {entry.size} bytes that the index says")
        except decoder_errors() as error:
            self._fail(f"{quoted(entry.name)} is damaged: its LZMA data say {error}")
        if has_mark and not decoder.eof:
            self._fail(f"{quoted(entry.name)} is damaged: the end mark of its LZMA data is missing")
        self._check_unused(entry, packed, decoder.unused_data if decoder.eof else b"")

    def _lzma_decoder(self, packed: _PackedData) -> Decoder:
        """Read the header of LZMA data (APPNOTE.TXT 5.8.8), and return a decoder."""
        head = packed.read_fully(_LZMA_HEADER_SIZE)
        if len(head) != _LZMA_HEADER_SIZE or head[2:4] != b"\5\0" or head[4] >= _LZMA_PROPERTIES_END:
            self._fail("LZMA properties that make no sense")
        dictionary = int.from_bytes(head[5:9], "little")
        if dictionary > MEMORY_LIMIT:
            raise unsafe_archive(
                self._name, f"a member wants {dictionary} bytes of memory", hint="Pack it again with a smaller dictionary."
            )
        return raw_lzma_decoder(head[4], dictionary)

    def _check_unused(self, entry: ZipEntry, packed: _PackedData, unused: bytes) -> None:
        """Check the bytes of a member's packed content after the end of the compressed data."""
        is_padding = not unused.strip(b"\0")
        while packed.remaining:
            is_padding = not packed.read().strip(b"\0") and is_padding
        if not is_padding:
            self._oddities.accept("the data of a member are followed by bytes that belong to nothing", entry.name)

    def _fail(self, reason: str) -> NoReturn:
        raise broken_archive(self._name, reason)


class _PackedData:
    """The packed content of one member, read from its beginning to its end."""

    def __init__(self, source: _ForwardReader, entry: ZipEntry, archive: str, first: bytes = b"") -> None:
        """Begin at the position of ``source``; ``first`` are bytes that it has already yielded."""
        self._first = first
        self._source = source
        self._entry = entry
        self._archive = archive
        self.remaining = entry.packed_size
        """Bytes that were not read yet."""

    def read(self, *, keep: int = 0) -> bytes:
        """Return some bytes; return the last ``keep`` of them only when nothing else is left.

        Raises:
            BrokenArchiveError: the archive ends too early.
            ProvisionerError: raised by the archive's ``read_at``.
        """
        count = self.remaining - keep if self.remaining > keep else self.remaining
        if self._first:
            data, self._first = self._first[:count], self._first[count:]
        else:
            data = self._source.read(min(count, _READ_SIZE))
        if not data:
            raise broken_archive(self._archive, f"it ends in the middle of {quoted(self._entry.name)}")
        self.remaining -= len(data)
        return data

    def read_fully(self, count: int) -> bytes:
        """Return ``count`` bytes, or as many as there are."""
        data = self._source.read_fully(min(count, self.remaining))
        self.remaining -= len(data)
        return data


class _ForwardReader:
    """A part of the archive that one thread reads from its beginning on."""

    def __init__(self, archive: Incoming, offset: int, limit: int) -> None:
        """Start at ``offset``; the first read requests much of what precedes ``limit``, where the next member begins."""
        self._archive = archive
        self._position = offset
        self._first_read = max(0, min(limit - offset, _READ_SIZE))
        self._buffer = b""

    def read_fully(self, count: int) -> bytes:
        """Return ``count`` bytes, fewer only at the end of the archive."""
        data = self.read(count)
        while len(data) < count and (more := self.read(count - len(data))):
            data += more
        return data

    def read(self, count: int) -> bytes:
        """Return between 1 and ``count`` bytes; none at the end of the archive."""
        if not self._buffer:
            data = self._archive.read_at(self._position, max(count, self._first_read))
            self._position += len(data)
            self._first_read = 0
            if len(data) <= count:
                return data
            self._buffer = data
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data


def _new_decoder(entry: ZipEntry) -> Decoder:
    return deflate64_decoder(entry.packed_size) if entry.method == DEFLATE64 else NEW_DECODERS[entry.method]()
