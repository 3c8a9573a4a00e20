"""The header of a tar member: a block with fields at fixed positions, and a checksum.

Specifications: POSIX.1-2017, "pax", "ustar Interchange Format"; GNU tar manual, "Basic Tar Format", for numbers in binary.
"""

from __future__ import annotations

import re
import zlib
from functools import lru_cache
from typing import Final

from provisioner.volume.archive.errors import broken_archive

BLOCK_SIZE: Final = 512
"""Bytes of a header; content is padded to a multiple of this."""
ZERO_BLOCK: Final = bytes(BLOCK_SIZE)
"""A block that marks the end of the archive."""

MODE: Final = slice(100, 108)
SIZE: Final = slice(124, 136)
MTIME: Final = slice(136, 148)
CHECKSUM: Final = slice(148, 156)
TYPE: Final = 156
"""Position of the byte with the member's type."""
TARGET: Final = slice(157, 257)
SPARSE_MAP: Final = slice(386, 482)
"""In an old GNU sparse file: offsets and sizes of its first four pieces."""
SPARSE_CONTINUES: Final = 482
"""Position of the byte that says whether the map of an old GNU sparse file continues in the next block."""
SPARSE_SIZE: Final = slice(483, 495)
"""Size of an old GNU sparse file, holes included."""

_NAME: Final = slice(0, 100)
_MAGIC: Final = slice(257, 263)
_PREFIX: Final = slice(345, 500)
_STAR_PREFIX: Final = slice(345, 476)
_STAR_MAGIC: Final = slice(508, 512)

_MAX_DIGITS: Final = len(str(1 << 63)) - 1
_HIGH_BIT: Final = 0x80
_SIGN_BIT: Final = 0x40
_HALF: Final = BLOCK_SIZE // 2
_LOW_16_BITS: Final = 0xFFFF
_OCTAL_ENDS: Final = b"\0 "
_OCTAL: Final = re.compile(rb"[ \0]*([0-7]*)(?:[ \0].*)?", re.DOTALL)


def is_header(block: bytes) -> bool:
    """Return whether a block is the header of a member, that is, whether its checksum is right."""
    stated = parse_number(block[CHECKSUM]) if len(block) == BLOCK_SIZE else None
    return stated is not None and checksum_matches(block, stated)


def is_star(header: bytes) -> bool:
    """Return whether a header is one of star's own format, in which other fields follow a shorter prefix."""
    return header[_STAR_MAGIC] == b"tar\0"


def checksum_matches(header: bytes, stated: int) -> bool:
    """Return whether the bytes of a header add up to its stated checksum, with the field itself counted as eight blanks."""
    # The lower half of an Adler-32 (RFC 1950) is one more than the sum of the bytes, for up to 257 bytes. It takes a tenth of
    # the time of sum().
    total = (zlib.adler32(header[:_HALF]) & _LOW_16_BITS) + (zlib.adler32(header[_HALF:]) & _LOW_16_BITS) - 2
    unsigned = total - sum(header[CHECKSUM]) + 8 * ord(" ")
    if stated == unsigned:
        return True
    # Some old systems added the bytes as signed characters.
    return stated == unsigned - 256 * sum(byte >= _HIGH_BIT for byte in header[:148] + header[156:])


@lru_cache(maxsize=128)  # the same few modes, times and sizes come again and again
def parse_number(field: bytes) -> int | None:
    """Return the number in a field: octal digits or, if the first bit is set (GNU), big-endian binary; ``None`` if neither.

    Blanks and NULs may precede the digits, and anything may follow the blank or NUL that ends them. No digits mean 0.
    """
    if field[-1] in _OCTAL_ENDS and (digits := field[:-1]).isdigit():
        try:
            return int(digits, 8)
        except ValueError:
            return None
    if field[0] & _HIGH_BIT:
        # 0xFF begins a negative number, and no size, mode, time or checksum is negative.
        return None if field[0] & _SIGN_BIT else int.from_bytes(field, "big") & ((1 << (len(field) * 8 - 1)) - 1)
    if (digits := field.split(b"\0", 1)[0].strip(b" ")).isdigit():
        try:
            return int(digits, 8)
        except ValueError:
            return None
    match = _OCTAL.fullmatch(field)
    return int(match[1] or b"0", 8) if match else None


def parse_decimal(text: bytes, archive: str) -> int:
    """Return a number in an extended header, or in the map of a sparse file: decimal digits, and nothing else.

    Raises:
        BrokenArchiveError: ``text`` is something else, or too large; ``archive`` is the archive's name, for the message.
    """
    # Not int() alone, which accepts signs, blanks and underscores.
    digits = text.lstrip(b"0")
    if not text.isdigit() or len(digits) > _MAX_DIGITS:
        raise broken_archive(archive, f"an extended header with the number {text[:32]!r}")
    return int(digits or b"0")


def parse_text(field: bytes) -> bytes:
    """Return the text in a field; a NUL ends it if it is shorter than the field."""
    return field.split(b"\0", 1)[0]


def member_name(header: bytes) -> bytes:
    """Return the name in a header; ustar puts the beginning of a long one into a second field."""
    name = parse_text(header[_NAME])
    if header[_MAGIC] == b"ustar\0" and (prefix := parse_text(header[_PREFIX])):
        if is_star(header):
            prefix = parse_text(header[_STAR_PREFIX])
        return prefix + b"/" + name
    return name
