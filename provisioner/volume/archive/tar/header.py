"""The header of a tar member: a block with fields at fixed positions, and a checksum.

Specifications: POSIX.1-2017, "pax", "ustar Interchange Format"; GNU tar manual, "Basic Tar Format", for numbers in binary.
"""

from __future__ import annotations

import zlib
from typing import Final

BLOCK_SIZE: Final = 512
"""Bytes of a header; content is padded to a multiple of it."""
ZERO_BLOCK: Final = bytes(BLOCK_SIZE)
"""A block that marks the end of the archive."""

MODE: Final = slice(100, 108)
SIZE: Final = slice(124, 136)
MTIME: Final = slice(136, 148)
CHECKSUM: Final = slice(148, 156)
TYPE: Final = 156
"""Position of the byte that tells the member's type."""
TARGET: Final = slice(157, 257)

_NAME: Final = slice(0, 100)
_MAGIC: Final = slice(257, 263)
_PREFIX: Final = slice(345, 500)

_HIGH_BIT: Final = 0x80
_SIGN_BIT: Final = 0x40
_HALF: Final = BLOCK_SIZE // 2
_LOW_16_BITS: Final = 0xFFFF
_OCTAL_ENDS: Final = b"\0 "


def checksum_matches(header: bytes, stated: int) -> bool:
    """Return whether the bytes of a header add up to the checksum that it states; the field itself counts as eight blanks."""
    # The lower half of an Adler-32 (RFC 1950) is one more than the sum of the bytes, as long as there are at most 257 of them.
    # It takes a tenth of the time that sum() takes.
    total = (zlib.adler32(header[:_HALF]) & _LOW_16_BITS) + (zlib.adler32(header[_HALF:]) & _LOW_16_BITS) - 2
    unsigned = total - sum(header[CHECKSUM]) + 8 * ord(" ")
    if stated == unsigned:
        return True
    # Some old systems added up signed characters.
    return stated == unsigned - 256 * sum(byte >= _HIGH_BIT for byte in header[:148] + header[156:])


def parse_number(field: bytes) -> int | None:
    """Return the number in a field: octal digits or, if the first bit is set (GNU), big-endian binary; ``None`` if neither."""
    if field[-1] in _OCTAL_ENDS and (digits := field[:-1]).isdigit():
        try:
            return int(digits, 8)
        except ValueError:
            return None
    if field[0] & _HIGH_BIT:
        # 0xFF begins a negative number, which no size, mode, time or checksum is.
        return None if field[0] & _SIGN_BIT else int.from_bytes(field, "big") & ((1 << (len(field) * 8 - 1)) - 1)
    digits = field.split(b"\0", 1)[0].strip(b" ")
    if not digits:
        return 0
    try:
        return int(digits, 8) if digits.isdigit() else None
    except ValueError:
        return None


def parse_text(field: bytes) -> bytes:
    """Return the text in a field, which a NUL ends if it is shorter than the field."""
    return field.split(b"\0", 1)[0]


def member_name(header: bytes) -> bytes:
    """Return the name in a header; ustar puts the beginning of a long one into a second field."""
    name = parse_text(header[_NAME])
    if header[_MAGIC] == b"ustar\0" and (prefix := parse_text(header[_PREFIX])):
        return prefix + b"/" + name
    return name
