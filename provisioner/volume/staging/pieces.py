"""The pieces that a large file is divided into, and what a store of them can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PIECE: Final = 1 << 20
"""Bytes of a piece: what the death of the process costs at most for each connection."""
_SMALL_PIECE: Final = 1 << 14
"""Bytes of a piece of a file of which only parts are fetched: what each part costs in bytes that nobody asked for, on average."""
_MOST_SMALL_PIECES: Final = 1 << 21
"""Each takes some bytes of memory; a file with more of them has larger ones."""


def number_of_pieces(size: int, length: int = 0) -> int:
    """Return how many pieces a file of ``size`` bytes has; ``length`` is that of a piece, 0 for the usual one."""
    return -(-size // (length or PIECE))


def length_of_piece(piece: int, size: int, length: int = 0) -> int:
    """Return the number of bytes of a piece; only the last one may be shorter than the others.

    Args:
        piece: its number.
        size: bytes of the whole file.
        length: bytes of a piece; 0: the usual number.
    """
    length = length or PIECE
    return min(length, size - piece * length)


def small_piece(size: int) -> int:
    """Return the length of the pieces of a file of ``size`` bytes of which only parts are fetched."""
    length = _SMALL_PIECE
    while number_of_pieces(size, length) > _MOST_SMALL_PIECES:
        length *= 2
    return length


class Pieces(Protocol):
    """A store of a file's pieces; several threads may write and read at once, as long as no two writes overlap."""

    piece: int
    """Bytes of a piece."""
    held: bytearray
    """One byte for each piece: 1 where it is complete, else 0."""
    origin: tuple[str, str] | None
    """URL and validator of the bytes so far, where they are known."""

    def record_origin(self, url: str, validator: str | None) -> None:
        """Record the origin of the bytes that follow."""
        ...

    def write(self, offset: int, data: memoryview) -> None:
        """Store bytes that all belong to one piece."""
        ...

    def complete(self, piece: int, crc: int) -> None:
        """Record that all bytes of a piece were written; ``crc`` is their CRC-32."""
        ...

    def read(self, offset: int, count: int) -> bytes:
        """Return up to ``count`` bytes of complete pieces."""
        ...

    def restart(self) -> None:
        """Drop all pieces and the origin."""
        ...

    def discard_before(self, piece: int) -> None:
        """Free the space of the pieces before this one, where space is short."""
        ...

    def close(self) -> None:
        """Close what is open; what is on the disk stays."""
        ...

    def drop(self) -> None:
        """Close, and remove what is on the disk."""
        ...

    def move_to(self, place: Callable[[Path], None]) -> None:
        """Close, and let ``place`` move the whole file into a tree."""
        ...
