"""bzip2 decoded by several threads, block by block, with the standard library's decoder and memory for a few blocks.

The format has no index and no specification but its code (bzip2 1.0.8, ``compress.c`` and ``decompress.c``). A stream is
``BZh`` and a digit (the block size in hundreds of thousands of bytes), then blocks, each of which begins with 48 bits of pi
and a CRC-32, then 48 bits of the square root of pi and a checksum over the CRCs of the blocks, then padding to a whole byte.
Blocks begin at any bit and do not depend on each other.

So the beginnings of blocks are searched for, and each block is turned into a stream of its own: a tiny block that ends at the
right bit is put before it, and the end of a stream after it, so that no bits need to be shifted. The 48 bits may also occur
by chance within a block. Then neither half decodes; the halves are joined and decoded again.
"""

from __future__ import annotations

import bz2
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Final, NoReturn

from provisioner.volume.archive.bits import PATTERN_BITS, bytes_for, find_pattern, pack_bits, read_bits
from provisioner.volume.archive.errors import broken_stream
from provisioner.volume.archive.trailer import next_stream
from provisioner.volume.archive.workers import ReadAhead, Task, WorkerPool
from provisioner.volume.fs.files import CHUNK

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from provisioner.volume.archive.cursor import Cursor
    from provisioner.volume.archive.oddities import Oddities

_BLOCK_MAGIC: Final = 0x314159265359
_END_MAGIC: Final = 0x177245385090
_CRC_BITS: Final = 32
_READ_SIZE: Final = 64 * 1024
"""Bytes read at once. Kept small because bytes beyond the end of a block are searched again."""
_HEADER_SIZE: Final = 4
"""Bytes of ``BZh9``."""
_LEVELS: Final = b"123456789"
_MAX_CODE_BITS: Final = 20
"""Bits of the longest code of a symbol: they limit how long a block can be."""
_MAX_TABLES_SIZE: Final = 64 * 1024
"""Bytes. What precedes the symbols of a block is shorter than this."""


def decompress_blocks(source: Cursor, cores: int, oddities: Oddities) -> Generator[bytes, None, None]:
    """Yield the content of the bzip2 streams in ``source``, one after the other, in pieces of at most a MiB.

    Args:
        source: the archive.
        cores: how many threads decode.
        oddities: is told of anything odd, and raises if it cannot be accepted.

    Raises:
        BrokenArchiveError: no bzip2, damaged, truncated, or followed by something else.
        ProvisionerError: raised by the archive's ``read_at``.
    """
    with WorkerPool(cores, "bzip2") as pool:
        # One block more than are being decoded waits for its turn: a block's end is known only when the next one begins.
        items = ReadAhead(_submitted(_Splitter(source, oddities).items(), pool), cores + 1, "bzip2-split")
        try:
            yield from _Joiner(source, items).pieces()
        finally:
            items.close()


@dataclass(slots=True)
class _Decoded:
    """The first bytes of a decoded block, and its decoder if there are more: a block of zeros can hold 46 MB."""

    first: bytes
    decoder: bz2.BZ2Decompressor | None


@dataclass(slots=True)
class _Block:
    """One block, or a part of one that looks like a block."""

    data: bytes
    """The whole bytes that hold its bits."""
    skew: int
    """Bits of the first byte that belong to the data before the block."""
    bits: int
    """Length of the block."""
    crc: int
    level: int
    """Block size of its stream, as in the stream's header: the code of a digit."""
    stream_number: int
    """Number of its stream, from 1."""
    is_first: bool
    """Whether it is the first block of its stream."""
    task: Task[_Decoded] = field(init=False)

    def joined(self, following: _Block) -> _Block:
        """Return this and the next one as one block."""
        data = self.data[: (self.skew + self.bits) // 8] + following.data
        bits = self.bits + following.bits
        return _Block(data, self.skew, bits, self.crc, self.level, self.stream_number, self.is_first)

    def decoded(self) -> _Decoded:
        """Decode the block.

        Raises:
            OSError: it is damaged, or not a whole block.
        """
        head, length, crc = _leading_block(self.skew)
        whole, part = divmod(self.skew + self.bits, 8)
        footer = (_END_MAGIC << _CRC_BITS | _combined_crc(crc, self.crc), PATTERN_BITS + _CRC_BITS)
        last = (self.data[whole] >> 8 - part, part) if part else (0, 0)
        parts = [b"BZh", bytes([self.level]), head]
        if self.skew:
            parts[2:] = [head[:-1], bytes([head[-1] | self.data[0] & 0xFF >> self.skew])]
        parts += [self.data[1 if self.skew else 0 : whole], pack_bits(last, footer)]
        decoder = bz2.BZ2Decompressor()
        stream = b"".join(parts)
        if length:
            decoder.decompress(stream, length)
            stream = b""
        first = decoder.decompress(stream, CHUNK)
        if decoder.eof:
            return _Decoded(first, None)
        if decoder.needs_input:
            raise OSError("a block that ends too early")
        return _Decoded(first, decoder)


@dataclass(frozen=True, slots=True)
class _StreamEnd:
    """The end of a stream, with the checksum that it states."""

    crc: int


def _submitted(items: Iterator[_Block | _StreamEnd], pool: WorkerPool) -> Iterator[_Block | _StreamEnd]:
    """Yield the items; the decoding of each block begins as soon as it is found."""
    for item in items:
        if isinstance(item, _Block):
            item.task = pool.submit(item.decoded)
        yield item


class _Splitter:
    """The search for the beginnings and ends of blocks."""

    def __init__(self, source: Cursor, oddities: Oddities) -> None:
        self._source = source
        self._oddities = oddities
        self._buffer = bytearray()
        self._streams = 0
        self._blocks = 0
        """Blocks of the current stream so far."""
        self._crc = 0
        """The checksum of the current stream, assuming that everything taken for a block is one."""

    def items(self) -> Iterator[_Block | _StreamEnd]:
        """Yield blocks and ends of streams as they follow each other."""
        while (level := self._next_stream()) is not None:
            skew = 0
            while (block := self._block(skew, level)) is not None:
                self._blocks += 1
                end = block.skew + block.bits
                yield block
                del self._buffer[: end // 8]
                skew = end % 8
            crc = read_bits(self._buffer, skew + PATTERN_BITS, _CRC_BITS)
            if crc is None:
                self._fail("it ends in the middle of a compressed stream")
            yield _StreamEnd(crc)
            del self._buffer[: bytes_for(skew + PATTERN_BITS + _CRC_BITS)]

    def _next_stream(self) -> int | None:
        """Read the header of a stream and return its level; ``None`` at the end of the archive."""
        if not self._streams:
            if not self._read_more():
                self._fail("it is empty")
        else:
            rest = next_stream(self._source, bytes(self._buffer), "tar.bz2", self._oddities, self._streams)
            if not rest:
                return None
            self._buffer[:] = rest
        self._streams += 1
        self._blocks = self._crc = 0
        self._read_at_least(_HEADER_SIZE)
        if len(self._buffer) < _HEADER_SIZE or not self._buffer.startswith(b"BZh") or self._buffer[3] not in _LEVELS:
            self._fail("no header of bzip2")
        level = self._buffer[3]
        del self._buffer[:_HEADER_SIZE]
        return level

    def _block(self, skew: int, level: int) -> _Block | None:
        """Return the block that begins at bit ``skew`` of the buffer; ``None`` where the stream ends."""
        self._read_at_least(bytes_for(skew + PATTERN_BITS + _CRC_BITS))
        magic = read_bits(self._buffer, skew, PATTERN_BITS)
        crc = read_bits(self._buffer, skew + PATTERN_BITS, _CRC_BITS)
        if magic == _END_MAGIC:
            return None
        if magic != _BLOCK_MAGIC or crc is None:
            self._fail("no beginning of a block")
        self._crc = _combined_crc(self._crc, crc)
        end = self._end_of_block(skew + PATTERN_BITS + _CRC_BITS, level)
        data = bytes(self._buffer[: bytes_for(end)])
        return _Block(data, skew, end - skew, crc, level, self._streams, is_first=self._blocks == 0)

    def _end_of_block(self, start: int, level: int) -> int:
        """Return the bit at which the next block begins or the stream ends; the search begins at bit ``start``."""
        limit = _max_block_size(level)
        position, found = start, None
        while (found := next(find_pattern(self._buffer, _BLOCK_MAGIC, position), None)) is None and len(self._buffer) <= limit:
            position = max(start, (len(self._buffer) - bytes_for(PATTERN_BITS)) * 8)
            if not self._read_more():
                break
        # If another block follows, the end is not searched for, since that would take as much time again. Only if that block
        # is preceded by the header of a stream does it belong to the next stream.
        if found is None or (found % 8 == 0 and self._buffer[found // 8 - _HEADER_SIZE : found // 8].startswith(b"BZh")):
            ends = [end for end in find_pattern(self._buffer, _END_MAGIC, start) if found is None or end < found]
            likely = [end for end in ends if read_bits(self._buffer, end + PATTERN_BITS, _CRC_BITS) == self._crc]
            if ends:
                return (likely or ends)[0]
        if found is None:
            self._fail("it ends in the middle of a compressed stream")
        return found

    def _read_at_least(self, count: int) -> None:
        while len(self._buffer) < count and self._read_more():
            pass

    def _read_more(self) -> bool:
        data = self._source.read(_READ_SIZE)
        self._buffer += data
        return bool(data)

    def _fail(self, reason: str) -> NoReturn:
        _fail(self._source, reason, has_output=self._blocks > 0, stream_number=self._streams)


class _Joiner:
    """The decoded blocks, put together in order."""

    def __init__(self, source: Cursor, items: Iterator[_Block | _StreamEnd]) -> None:
        self._source = source
        self._items = items

    def pieces(self) -> Iterator[bytes]:
        """Yield the decoded bytes."""
        crc, stream_number = 0, 1
        for item in self._items:
            if isinstance(item, _StreamEnd):
                if item.crc != crc:
                    _fail(self._source, "wrong checksum", has_output=True, stream_number=stream_number)
                crc, stream_number = 0, stream_number + 1
                continue
            try:
                decoded = item.task.result()
            except (OSError, ValueError, EOFError) as error:
                decoded = self._decode_joined(item, error)
            crc = _combined_crc(crc, item.crc)
            if decoded.first:
                yield decoded.first
            if decoded.decoder is not None:
                yield from self._rest(item, decoded.decoder)

    def _rest(self, block: _Block, decoder: bz2.BZ2Decompressor) -> Iterator[bytes]:
        while not decoder.eof:
            try:
                data = decoder.decompress(b"", CHUNK)
            except OSError as error:
                self._fail(block, error)
            if data:
                yield data
            elif not decoder.eof:
                self._fail(block, OSError("a block that ends too early"))

    def _decode_joined(self, block: _Block, error: Exception) -> _Decoded:
        """Decode a block together with its successors, up to the length that a block can have.

        ``error`` is what decoding the block alone raised; it is reported if no joined block decodes.
        """
        whole = block
        while len(whole.data) <= _max_block_size(block.level):
            following = next(self._items, None)
            if not isinstance(following, _Block):
                break
            whole = whole.joined(following)
            try:
                return whole.decoded()
            except (OSError, ValueError, EOFError):
                continue
        return self._fail(block, error)

    def _fail(self, block: _Block, error: Exception) -> NoReturn:
        _fail(self._source, f"{error}", has_output=not block.is_first, stream_number=block.stream_number, cause=error)


def _fail(source: Cursor, reason: str, *, has_output: bool, stream_number: int, cause: Exception | None = None) -> NoReturn:
    error = broken_stream(
        source.name, "tar.bz2", reason, bytes_read=source.position, has_output=has_output, stream_number=stream_number
    )
    raise error from cause


def _max_block_size(level: int) -> int:
    """Return a limit for the compressed size of a block, in bytes, in a stream of that level."""
    return (level - ord("0")) * 100_000 * _MAX_CODE_BITS // 8 + _MAX_TABLES_SIZE


def _combined_crc(stream_crc: int, block_crc: int) -> int:
    """Return a stream's checksum with that of one more block."""
    return (stream_crc << 1 & 0xFFFFFFFF | stream_crc >> 31) ^ block_crc


def _leading_block(skew: int) -> tuple[bytes, int, int]:
    """Return a block that ends ``skew`` bits into its last byte, the number of bytes it decodes to, and its CRC-32."""
    return _leading_blocks()[skew]


@cache
def _leading_blocks() -> dict[int, tuple[bytes, int, int]]:
    """Return a leading block for each number of bits from 0 to 7."""
    found: dict[int, tuple[bytes, int, int]] = {0: (b"", 0, 0)}
    length = 0
    while len(found) < 8:  # noqa: PLR2004 - bits of a byte
        length += 1
        stream = bytearray(bz2.compress(bytes(range(length)), 1))
        end = next(find_pattern(stream, _END_MAGIC, _HEADER_SIZE * 8))
        crc = read_bits(stream, end + PATTERN_BITS, _CRC_BITS)
        if end % 8 and end % 8 not in found and crc is not None:
            head = stream[_HEADER_SIZE : bytes_for(end)]
            head[-1] &= 0xFF00 >> end % 8
            found[end % 8] = bytes(head), length, crc
    return found
