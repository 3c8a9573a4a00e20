"""Zip archives written field by field, so that each can be made as unusual or hostile as a test needs."""

from __future__ import annotations

import bz2
import lzma
import struct
import sys
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import inflate64

if TYPE_CHECKING:
    from collections.abc import Callable

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

UNIX, DOS = 3, 0
FILE, DIRECTORY, LINK, FIFO = 0o100644 << 16, 0o040755 << 16, 0o120777 << 16, 0o010600 << 16
DESCRIPTOR, UTF8 = 1 << 3, 1 << 11
MAX_16, MAX_32 = 0xFFFF, 0xFFFFFFFF


def extra(key: int, content: bytes) -> bytes:
    """Return one extra field."""
    return struct.pack("<HH", key, len(content)) + content


def unicode_path(raw: bytes, name: str, version: int = 1) -> bytes:
    """Return the extra field that states the Unicode name for a raw one."""
    return extra(0x7075, struct.pack("<BL", version, zlib.crc32(raw)) + name.encode())


def deflate(data: bytes) -> bytes:
    """Return raw deflate data."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def deflate64(data: bytes) -> bytes:
    """Return raw Deflate64 data."""
    packer = inflate64.Deflater()
    return bytes(packer.deflate(data) + packer.flush())


def lzma_of(data: bytes, *, end_mark: bool) -> bytes:
    """Return LZMA data as stored in a zip, with or without an end mark."""
    if end_mark:
        filters = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 16}]
        return b"\x09\x14\x05\x00\x5d" + (1 << 16).to_bytes(4, "little") + lzma.compress(data, lzma.FORMAT_RAW, filters=filters)
    # Of all formats that the library writes, only this one omits the end mark if the size is known.
    whole = lzma.compress(data, lzma.FORMAT_ALONE)
    return b"\x09\x14\x05\x00" + whole[:5] + _without_end_mark(whole, data)


def _without_end_mark(whole: bytes, data: bytes) -> bytes:
    """Return the shortest prefix of LZMA data that decompresses to the whole content."""
    packed = whole[13:]
    lengths = range(len(packed))
    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 23, "lc": 3, "lp": 0, "pb": 2}]
    for length in lengths:
        if lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters).decompress(packed[:length], len(data)) == data:
            return packed[:length]
    raise AssertionError("the content does not come out")


PACKERS: dict[int, Callable[[bytes], bytes]] = {
    0: bytes,
    8: deflate,
    9: deflate64,
    12: bz2.compress,
    14: lambda data: lzma_of(data, end_mark=True),
    20: zstd.compress,
    93: zstd.compress,
    95: lzma.compress,
}


@dataclass
class Part:
    """A member, and the data around it."""

    name: bytes
    data: bytes = b""
    method: int = 0
    packed: bytes | None = None
    """The packed content, in place of ``data`` packed by ``method``."""
    host: int = UNIX
    attributes: int = FILE
    flags: int = 0
    index_extra: bytes = b""
    local_extra: bytes = b""
    index: dict[str, int] = field(default_factory=dict)
    """Fields with different values in the central directory: crc, packed, size, offset, disk, method, flags, date."""
    local: dict[str, int] = field(default_factory=dict)
    """The same for the local header, and its ``name_length``."""
    local_name: bytes | None = None
    comment: bytes = b""
    before: bytes = b""
    """Bytes before the local header."""
    after: bytes = b""
    """Bytes after the content, such as a data descriptor."""
    listed: bool = True

    def content(self) -> bytes:
        """Return the packed content."""
        return PACKERS[self.method](self.data) if self.packed is None else self.packed

    def descriptor(self, *, signature: bool = True, wide: bool = False) -> bytes:
        """Return a correct data descriptor."""
        numbers = struct.pack("<L2Q" if wide else "<3L", zlib.crc32(self.data), len(self.content()), len(self.data))
        return b"PK\7\x08" * signature + numbers


@dataclass
class End:
    """The records after the central directory."""

    comment: bytes = b""
    behind: bytes = b""
    zip64: bool = False
    """Whether there are a zip64 record and its locator."""
    refers: bool = False
    """Whether the ordinary record refers to the zip64 one."""
    between: bytes = b""
    """Bytes between the central directory and the first end record."""
    record_extension: bytes = b""
    count: int | None = None
    size: int | None = None
    offset: int | None = None
    disk: int = 0


def packed_zip(*parts: Part, end: End | None = None, shift: int = 0, reverse: bool = False) -> bytes:
    """Return a zip archive.

    Args:
        parts: its members.
        end: the records after the central directory.
        shift: number that is added to every offset.
        reverse: list the members in reverse order in the central directory.
    """
    end = end or End()
    body = b""
    entries = []
    for part in parts:
        content = part.content()
        numbers = {"flags": part.flags, "method": part.method, "crc": zlib.crc32(part.data), "packed": len(content)}
        numbers |= {"size": len(part.data), "date": 0x5A21, "disk": 0, "offset": len(body) + len(part.before) + shift}
        streamed = {"crc": 0, "packed": 0, "size": 0} if part.flags & DESCRIPTOR else {}
        here, there = numbers | streamed | part.local, numbers | part.index
        local_name = part.name if part.local_name is None else part.local_name
        body += part.before + struct.pack(
            "<4s5H3L2H", b"PK\3\4", 20, here["flags"], here["method"], 0, here["date"], here["crc"], here["packed"], here["size"],
            here.get("name_length", len(local_name)), len(part.local_extra),
        ) + local_name + part.local_extra + content + part.after  # fmt: skip
        entry = struct.pack(
            "<4s2B5H3L5H2L", b"PK\1\2", 20, part.host, 20, there["flags"], there["method"], 0, there["date"], there["crc"],
            there["packed"], there["size"], len(part.name), len(part.index_extra), len(part.comment), there["disk"], 0,
            part.attributes, there["offset"],
        ) + part.name + part.index_extra + part.comment  # fmt: skip
        if part.listed:
            entries.append(entry)
    index = b"".join(reversed(entries) if reverse else entries)
    count = len(entries) if end.count is None else end.count
    size = len(index) if end.size is None else end.size
    offset = len(body) + shift if end.offset is None else end.offset
    tail = end.between
    if end.zip64:
        at = len(body) + len(index) + len(end.between) + shift
        tail += struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44 + len(end.record_extension), 45, 45, 0, 0, count, count, size, offset)
        tail += end.record_extension + struct.pack("<4sLQL", b"PK\6\7", 0, at, 1)
    stated = (MAX_16, MAX_16, MAX_32, MAX_32) if end.refers else (count & MAX_16, count & MAX_16, size, offset)
    tail += struct.pack("<4s4H2LH", b"PK\5\6", end.disk, end.disk, *stated, len(end.comment)) + end.comment
    return body + index + tail + end.behind
