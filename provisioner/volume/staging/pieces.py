"""The pieces that a large file is divided into, and the interface of a store for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PIECE: Final = 1 << 20
"""Bytes of a piece; the death of the process loses at most one per connection."""
_SMALL_PIECE: Final = 1 << 14
"""Bytes of a piece, if only parts of a file are fetched: on average, each part costs so many bytes that were not requested."""
_MOST_SMALL_PIECES: Final = 1 << 21
"""Each takes some bytes of memory, so a file that would have more pieces gets larger ones."""


def number_of_pieces(size: int, length: int = 0) -> int:
    """Return how many pieces a file of ``size`` bytes has; ``length`` is the size of a piece, 0 for the usual one."""
    return -(-size // (length or PIECE))


def length_of_piece(piece: int, size: int, length: int = 0) -> int:
    """Return the number of bytes of a piece; only the last one may be shorter than the others.

    Args:
        piece: its number.
        size: bytes of the whole file.
        length: bytes of a piece; 0 means the usual size.
    """
    length = length or PIECE
    return min(length, size - piece * length)


def small_piece(size: int) -> int:
    """Return the size of the pieces of a file of ``size`` bytes of which only parts are fetched."""
    length = _SMALL_PIECE
    while number_of_pieces(size, length) > _MOST_SMALL_PIECES:
        length *= 2
    return length


class Pieces(Protocol):
    """A store of a file's pieces; several threads may write and read at once, as long as no two writes overlap."""

    piece: int
    """Bytes of a piece."""
    held: bytearray
    """One byte for each piece: 1 if it is complete, else 0."""
    origin: tuple[str, str] | None
    """URL and validator of the bytes so far, if known."""

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
        """Free the space of the pieces before this one, if space is short."""
        ...

    def close(self) -> None:
        """Close all files; what is on the disk stays."""
        ...

    def drop(self) -> None:
        """Close all files, and remove what is on the disk."""
        ...

    def move_to(self, place: Callable[[Path], None]) -> None:
        """Close, and let ``place`` move the whole file into a tree."""
        ...
