"""The content of a zip's members: decompressed, and compared with size and CRC-32 of the index.

Specification: APPNOTE.TXT 6.3.10, sections 4.3.7 (local file header), 4.4.5 (compression methods: stored, deflate, bzip2,
LZMA, Zstandard) and 5.8 (LZMA).
"""

from __future__ import annotations

import contextlib
import struct
import threading
from typing import TYPE_CHECKING, Final

from isal import isal_zlib

from provisioner.volume.archive.decoders import (
    MEMORY_LIMIT,
    bzip2_decoder,
    decoder_errors,
    deflate_decoder,
    raw_lzma_decoder,
    zstd_decoder,
)
from provisioner.volume.archive.errors import broken_archive, quoted, unsafe_archive
from provisioner.volume.fs.files import CHUNK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

    from provisioner.volume.archive.decoders import Decoder
    from provisioner.volume.archive.zip.entry import ZipEntry
    from provisioner.volume.staging.incoming import Incoming

LOCAL_HEADER: Final = struct.Struct("<4s5H3L2H")
"""The fixed part of the header that stands before a member's content."""
ENCRYPTED: Final = 1 << 0 | 1 << 6 | 1 << 13
"""Flags of members that are encrypted, or whose headers are."""
METHODS: Final = {0: "stored", 8: "deflate", 12: "bzip2", 14: "LZMA", 93: "Zstandard"}
"""The compression methods that can be read."""
FAST_METHODS: Final = frozenset({0, 8})

_LOCAL_SIGNATURE: Final = b"PK\3\4"
_STORED: Final = 0
_BZIP2: Final = 12
_LZMA: Final = 14
_LZMA_HEADER_SIZE: Final = 9
_LZMA_PROPERTIES_END: Final = 9 * 5 * 5
"""One more than the largest byte that holds lc, lp and pb."""

_READ_SIZE: Final = 256 * 1024
"""Packed bytes read at once."""
_LIKELY_EXTRA: Final = 64
"""Bytes by which a local header may be longer than the index says without costing a second read."""
_MEMORY_HUNGRY_SIZE: Final = 8 * 1024 * 1024
"""Unpacked bytes from which on a decoder may take much memory, so that only one works at a time."""


class ContentReader:
    """The contents of one archive's members, which several threads may read at the same time."""

    def __init__(self, archive: Incoming) -> None:
        """Read nothing yet."""
        self._archive = archive
        self._name = archive.name
        self._size = archive.size
        self._memory_lock = threading.Lock()

    def blocks(self, entry: ZipEntry) -> Iterator[bytes]:
        """Yield the content of a member, at most a MiB at a time.

        Raises:
            BrokenArchiveError: damaged, truncated, or contradicting the index.
            UnsafeArchiveError: a decoder would need too much memory.
            ProvisionerError: raised by the archive's ``read_at``.
        """
        if entry.method in FAST_METHODS or entry.size < _MEMORY_HUNGRY_SIZE:
            yield from self._checked(entry)
        else:
            # bzip2 always takes a few megabytes.
            with self._memory_lock if entry.method != _BZIP2 else contextlib.nullcontext():
                yield from self._checked(entry)

    def _checked(self, entry: ZipEntry) -> Iterator[bytes]:
        name = entry.name
        source = self._open(entry)
        size = crc = 0
        for data in self._stored(entry, source) if entry.method == _STORED else self._decompressed(entry, source):
            size += len(data)
            if size > entry.size:
                self._fail(f"{quoted(name)} unpacks to more than the {entry.size} bytes that the index says")
            crc = isal_zlib.crc32(data, crc)
            yield data
        if size != entry.size:
            self._fail(f"{quoted(name)} unpacks to {size} bytes, and the index says {entry.size}")
        if crc != entry.crc:
            self._fail(f"{quoted(name)} has a wrong checksum (CRC-32)")

    def _open(self, entry: ZipEntry) -> _ForwardReader:
        """Return a reader of a member's packed content, after comparing the local header with the index."""
        name = entry.name
        if entry.offset > self._size:
            self._fail(f"{quoted(name)} is not where the index says")
        likely_size = LOCAL_HEADER.size + len(entry.raw_name) + _LIKELY_EXTRA + entry.packed_size
        source = _ForwardReader(self._archive, entry.offset, likely_size)
        head = source.read_fully(LOCAL_HEADER.size)
        if len(head) != LOCAL_HEADER.size or not head.startswith(_LOCAL_SIGNATURE):
            self._fail(f"{quoted(name)} is not where the index says")
        _, _, flags, method, _, _, _, _, _, name_length, extra_length = LOCAL_HEADER.unpack(head)
        same_name = source.read_fully(name_length) == entry.raw_name
        if not same_name or method != entry.method or (flags ^ entry.flags) & ENCRYPTED:
            self._fail(f"{quoted(name)} says something else of itself than the index does")
        source.read_fully(extra_length)
        return source

    def _stored(self, entry: ZipEntry, source: _ForwardReader) -> Iterator[bytes]:
        remaining = entry.packed_size
        while remaining:
            data = source.read(min(remaining, CHUNK))
            if not data:
                self._fail(f"it ends in the middle of {quoted(entry.name)}")
            remaining -= len(data)
            yield data

    def _decompressed(self, entry: ZipEntry, source: _ForwardReader) -> Iterator[bytes]:
        remaining = entry.packed_size
        try:
            if entry.method == _LZMA:
                decoder, used = self._lzma_decoder(source, remaining)
                remaining -= used
            else:
                decoder = _decoder(entry.method)
            while not decoder.eof:
                packed = b""
                if decoder.needs_input and remaining:
                    packed = source.read(min(remaining, _READ_SIZE))
                    if not packed:
                        self._fail(f"it ends in the middle of {quoted(entry.name)}")
                    remaining -= len(packed)
                data = decoder.decompress(packed, CHUNK)
                if data:
                    yield data
                elif not packed and not remaining:
                    # LZMA may have no end mark; size and checksum show whether that was all.
                    break
        except decoder_errors() as error:
            self._fail(f"{quoted(entry.name)} is damaged: its {METHODS[entry.method]} data say {error}")
        if remaining or decoder.unused_data:
            self._fail(f"{quoted(entry.name)} is followed by bytes that belong to nothing")

    def _lzma_decoder(self, source: _ForwardReader, available: int) -> tuple[Decoder, int]:
        """Read the header of LZMA data (APPNOTE.TXT 5.8.8); return a decoder, and the length of the header."""
        head = source.read_fully(min(_LZMA_HEADER_SIZE, available))
        if len(head) != _LZMA_HEADER_SIZE or head[2:4] != b"\5\0" or head[4] >= _LZMA_PROPERTIES_END:
            self._fail("LZMA properties that make no sense")
        dictionary = int.from_bytes(head[5:9], "little")
        if dictionary > MEMORY_LIMIT:
            raise unsafe_archive(
                self._name, f"a member wants {dictionary} bytes of memory", hint="Pack it again with a smaller dictionary."
            )
        return raw_lzma_decoder(head[4], dictionary), len(head)

    def _fail(self, reason: str) -> NoReturn:
        raise broken_archive(self._name, reason)


class _ForwardReader:
    """A part of the archive that one thread reads, from its beginning on."""

    def __init__(self, archive: Incoming, offset: int, likely_size: int) -> None:
        """Start at ``offset``; ``likely_size`` bytes will probably be wanted, so the first read asks for them together."""
        self._archive = archive
        self._position = offset
        self._first_read = min(likely_size, _READ_SIZE)
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


def _decoder(method: int) -> Decoder:
    match method:
        case 8:
            return deflate_decoder()
        case 12:
            return bzip2_decoder()
        case _:
            return zstd_decoder()
