"""The pieces that a large file is divided into, and what a store of them can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PIECE: Final = 1 << 20
"""Bytes of a piece: what the death of the process costs at most for each connection."""


def number_of_pieces(size: int) -> int:
    """Return how many pieces a file of ``size`` bytes has."""
    return -(-size // PIECE)


def length_of_piece(piece: int, size: int) -> int:
    """Return the number of bytes of a piece in a file of ``size`` bytes; only the last one may be shorter than the others."""
    return min(PIECE, size - piece * PIECE)


class Pieces(Protocol):
    """A store of a file's pieces; several threads may write and read at once, as long as no two writes overlap."""

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
