"""bzip2 decoded by several threads, block by block, with the standard library's decoder and memory for a few blocks.

The format has no index and no description but its code (bzip2 1.0.8, ``compress.c`` and ``decompress.c``): a stream is
``BZh`` and a digit (hundreds of thousands of bytes in a block), then blocks, each of which begins with 48 bits of pi and a
CRC-32, then 48 bits of the square root of pi and a checksum over the blocks' CRCs, then padding to a byte. Blocks begin at
any bit and do not depend on each other.

So the beginnings of blocks are searched for, and each block is made a stream of its own: a tiny block that ends at the
right bit is put before it, and the end of a stream after it, so that nothing needs to be shifted. What merely looks like a
beginning is found out by a block that does not decode; it is then joined to what follows.
"""

from __future__ import annotations

import bz2
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Final, NoReturn

from provisioner.volume.archive import decompress as streams
from provisioner.volume.archive.workers import ReadAhead, Task, WorkerPool
from provisioner.volume.fs.files import CHUNK

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

_BLOCK: Final = 0x314159265359
_END: Final = 0x177245385090
_MAGIC: Final = 48
"""Bits of either."""
_CRC: Final = 32
_READ: Final = 64 * 1024
"""Bytes read at once: what is searched beyond a block's end is searched again."""
_HEADER: Final = 4
"""Bytes of ``BZh9``."""
_LEVELS: Final = b"123456789"
_LONGEST_CODE: Final = 20
"""Bits of a symbol: with it a block is as long as it can be."""
_TABLES: Final = 64 * 1024
"""Bytes that are more than what precedes the symbols of a block."""


def decompress_blocks(source: streams.Cursor, cores: int) -> Generator[bytes, None, None]:
    """Return what the bzip2 streams of ``source`` hold, one after the other, in pieces of at most a MiB.

    Raises:
        BrokenArchiveError: no bzip2, damaged, truncated, or followed by something else.
        ProvisionerError: as the archive's ``read_at``.
    """
    with WorkerPool(cores, "bzip2") as crew:
        # A block's end is known when the next one begins: so many wait for their turn, beside those being decoded.
        items = ReadAhead(_begun(_Splitter(source).items(), crew), cores + 1, "bzip2-split")
        try:
            yield from _Joiner(source, items).pieces()
        finally:
            items.close()


@dataclass(slots=True)
class _Decoded:
    """A block's first bytes, and the decoder where there are more: a block of zeros is 46 MB."""

    first: bytes
    rest: bz2.BZ2Decompressor | None


@dataclass(slots=True)
class _Block:
    """One block, or what looks like one."""

    data: bytes
    """The whole bytes that hold its bits."""
    skew: int
    """Bits of the first byte that are not its own."""
    bits: int
    crc: int
    level: int
    """As in the stream's header: a digit's character."""
    stream: int
    """Number of its stream, from 1."""
    leads: bool
    """Whether it is the first of its stream."""
    task: Task[_Decoded] = field(init=False)

    def joined(self, following: _Block) -> _Block:
        """Return this and the next one as one block."""
        data = self.data[: (self.skew + self.bits) // 8] + following.data
        return _Block(data, self.skew, self.bits + following.bits, self.crc, self.level, self.stream, self.leads)

    def decoded(self) -> _Decoded:
        """Decode it.

        Raises:
            OSError: it is none, or damaged.
        """
        head, length, crc = _lead(self.skew)
        whole, part = divmod(self.skew + self.bits, 8)
        footer = (_END << _CRC | _folded(crc, self.crc), _MAGIC + _CRC)
        last = (self.data[whole] >> 8 - part, part) if part else (0, 0)
        parts = [b"BZh", bytes([self.level]), head]
        if self.skew:
            parts[2:] = [head[:-1], bytes([head[-1] | self.data[0] & 0xFF >> self.skew])]
        parts += [self.data[1 if self.skew else 0 : whole], _packed(last, footer)]
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
class _End:
    """The end of a stream."""

    crc: int


def _begun(items: Iterator[_Block | _End], crew: WorkerPool) -> Iterator[_Block | _End]:
    """Have each block decoded as soon as it is found."""
    for item in items:
        if isinstance(item, _Block):
            item.task = crew.submit(item.decoded)
        yield item


class _Splitter:
    """Finds where blocks begin and end."""

    def __init__(self, source: streams.Cursor) -> None:
        self._source = source
        self._held = bytearray()
        self._streams = 0
        self._blocks = 0
        """Of the present stream."""
        self._folded = 0
        """The checksum of the present stream, if every block so far was one."""

    def items(self) -> Iterator[_Block | _End]:
        while (level := self._next_stream()) is not None:
            skew = 0
            while (block := self._block(skew, level)) is not None:
                self._blocks += 1
                ends = block.skew + block.bits
                yield block
                del self._held[: ends // 8]
                skew = ends % 8
            crc = _bits(self._held, skew + _MAGIC, _CRC)
            if crc is None:
                self._broken("it ends in the middle of a compressed stream")
            yield _End(crc)
            del self._held[: (skew + _MAGIC + _CRC + 7) // 8]

    def _next_stream(self) -> int | None:
        """Read a stream's header; ``None`` at the end of the archive."""
        if not self._streams:
            if not self._more():
                self._broken("it is empty")
        else:
            self._held = self._held.lstrip(b"\0")
            while not self._held and self._more():
                self._held = self._held.lstrip(b"\0")
            if not self._held:
                return None
        self._streams += 1
        self._blocks = self._folded = 0
        self._need(_HEADER)
        if len(self._held) < _HEADER or not self._held.startswith(b"BZh") or self._held[3] not in _LEVELS:
            self._broken("no header of bzip2")
        level = self._held[3]
        del self._held[:_HEADER]
        return level

    def _block(self, skew: int, level: int) -> _Block | None:
        """Return the block that begins here; ``None`` where the stream ends."""
        self._need(_bytes(skew + _MAGIC + _CRC))
        magic, crc = _bits(self._held, skew, _MAGIC), _bits(self._held, skew + _MAGIC, _CRC)
        if magic == _END:
            return None
        if magic != _BLOCK or crc is None:
            self._broken("no beginning of a block")
        self._folded = _folded(self._folded, crc)
        ends = self._end_of_block(skew + _MAGIC + _CRC, level)
        return _Block(bytes(self._held[: _bytes(ends)]), skew, ends - skew, crc, level, self._streams, self._blocks == 0)

    def _end_of_block(self, start: int, level: int) -> int:
        """Return the bit at which the next block begins, or the stream ends; the search begins at the bit ``start``."""
        at, found = start, None
        while (found := next(_places(self._held, _BLOCK, at), None)) is None and len(self._held) <= _longest(level):
            at = max(start, (len(self._held) - _bytes(_MAGIC)) * 8)
            if not self._more():
                break
        # The end is not searched for where another block follows at once: that would cost as much again.
        if found is None or (found % 8 == 0 and self._held[found // 8 - _HEADER : found // 8].startswith(b"BZh")):
            ends = [end for end in _places(self._held, _END, start) if found is None or end < found]
            likely = [end for end in ends if _bits(self._held, end + _MAGIC, _CRC) == self._folded]
            if ends:
                return (likely or ends)[0]
        if found is None:
            self._broken("it ends in the middle of a compressed stream")
        return found

    def _need(self, count: int) -> None:
        while len(self._held) < count and self._more():
            pass

    def _more(self) -> bool:
        data = self._source.take(_READ)
        self._held += data
        return bool(data)

    def _broken(self, reason: str) -> NoReturn:
        raise streams.broken(self._source, "tar.bz2", reason, given=self._blocks > 0, streams=self._streams)


class _Joiner:
    """Puts together what was decoded."""

    def __init__(self, source: streams.Cursor, items: Iterator[_Block | _End]) -> None:
        self._source = source
        self._items = items

    def pieces(self) -> Iterator[bytes]:
        folded, stream = 0, 1
        for item in self._items:
            if isinstance(item, _End):
                if item.crc != folded:
                    raise streams.broken(self._source, "tar.bz2", "wrong checksum", given=True, streams=stream)
                folded, stream = 0, stream + 1
                continue
            try:
                decoded = item.task.result()
            except (OSError, ValueError, EOFError) as error:
                decoded = self._joined(item, error)
            folded = _folded(folded, item.crc)
            if decoded.first:
                yield decoded.first
            if decoded.rest is not None:
                yield from self._rest(item, decoded.rest)

    def _rest(self, block: _Block, decoder: bz2.BZ2Decompressor) -> Iterator[bytes]:
        while not decoder.eof:
            try:
                data = decoder.decompress(b"", CHUNK)
            except OSError as error:
                self._broken(block, error)
            if data:
                yield data
            elif not decoder.eof:
                self._broken(block, OSError("a block that ends too early"))

    def _joined(self, block: _Block, error: Exception) -> _Decoded:
        """Decode a block together with those that were taken to follow it, as many as a block can be long."""
        whole = block
        while len(whole.data) <= _longest(block.level):
            following = next(self._items, None)
            if not isinstance(following, _Block):
                break
            whole = whole.joined(following)
            try:
                return whole.decoded()
            except (OSError, ValueError, EOFError):
                continue
        return self._broken(block, error)

    def _broken(self, block: _Block, error: Exception) -> NoReturn:
        raise streams.broken(self._source, "tar.bz2", f"{error}", given=not block.leads, streams=block.stream) from error


# --- bits ---------------------------------------------------------------------------------------------------------------


def _longest(level: int) -> int:
    """Return the most bytes that a block of a stream of that level can take, and something more."""
    return (level - ord("0")) * 100_000 * _LONGEST_CODE // 8 + _TABLES


def _bytes(bits: int) -> int:
    return (bits + 7) // 8


def _bits(data: bytes | bytearray, at: int, count: int) -> int | None:
    """Return ``count`` bits from the bit ``at`` on, the first one the highest; ``None`` where there are not so many."""
    cancellation = _bytes(at + count)
    if cancellation > len(data):
        return None
    return int.from_bytes(data[at // 8 : cancellation], "big") >> -(at + count) % 8 & (1 << count) - 1


def _packed(*values: tuple[int, int]) -> bytes:
    """Return values of so many bits each, one after the other, padded to a byte."""
    total = count = 0
    for value, bits in values:
        total, count = total << bits | value, count + bits
    return (total << -count % 8).to_bytes(_bytes(count), "big")


def _folded(checksum: int, crc: int) -> int:
    """Return a stream's checksum with one more block."""
    return (checksum << 1 & 0xFFFFFFFF | checksum >> 31) ^ crc


@cache
def _cores(magic: int) -> tuple[tuple[int, bytes], ...]:
    """Return for each bit of a byte at which a magic can begin the five whole bytes that it then fills, from the second on."""
    return tuple((shift, (magic << 8 - shift).to_bytes(7, "big")[1:6]) for shift in range(8))


def _places(data: bytearray, magic: int, start: int) -> Iterator[int]:
    """Return the bits, from ``start`` on and in order, at which ``magic`` is."""
    while True:
        best, cancellation = None, len(data)
        for shift, core in _cores(magic):
            at = start // 8
            while (at := data.find(core, at + 1, cancellation)) >= 0:
                place = (at - 1) * 8 + shift
                if place >= start and _bits(data, place, _MAGIC) == magic:
                    best, cancellation = place, place // 8 + len(core) + 1
                    break
        if best is None:
            return
        yield best
        start = best + 1


@cache
def _leads() -> dict[int, tuple[bytes, int, int]]:
    """Return for each number of bits a block that ends so many bits into a byte, the bytes it decodes to, and its CRC-32."""
    found: dict[int, tuple[bytes, int, int]] = {0: (b"", 0, 0)}
    length = 0
    while len(found) < 8:  # noqa: PLR2004 - bits of a byte
        length += 1
        stream = bytearray(bz2.compress(bytes(range(length)), 1))
        ends = next(_places(stream, _END, _HEADER * 8))
        crc = _bits(stream, ends + _MAGIC, _CRC)
        if ends % 8 and ends % 8 not in found and crc is not None:
            head = stream[_HEADER : _bytes(ends)]
            head[-1] &= 0xFF00 >> ends % 8
            found[ends % 8] = bytes(head), length, crc
    return found


def _lead(skew: int) -> tuple[bytes, int, int]:
    return _leads()[skew]
