"""Pieces that are held in memory while they are needed, for a volume that cannot hold both an archive and its content."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.volume.staging.pieces import PIECE, length_of_piece, number_of_pieces

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class PieceMemory:
    """A store of pieces in memory, which holds each until it is discarded."""

    def __init__(self, size: int) -> None:
        """Begin with no pieces; ``size`` is the number of bytes of the whole file."""
        self.piece = PIECE
        self._size = size
        self._pieces: dict[int, bytearray] = {}
        self.held = bytearray(number_of_pieces(size))
        self.origin: tuple[str, str] | None = None

    def record_origin(self, url: str, validator: str | None) -> None:
        """Remember the origin of the bytes that follow."""
        self.origin = (url, validator) if validator is not None else None

    def write(self, offset: int, data: memoryview) -> None:
        """Store bytes that all belong to one piece."""
        piece, start = divmod(offset, PIECE)
        buffer = self._pieces.get(piece)
        if buffer is None:
            buffer = self._pieces[piece] = bytearray(length_of_piece(piece, self._size))
        buffer[start : start + len(data)] = data

    def complete(self, piece: int, crc: int) -> None:  # noqa: ARG002 - the memory does not outlive the process
        """Remember that all bytes of a piece were written."""
        self.held[piece] = 1

    def read(self, offset: int, count: int) -> bytes:
        """Return up to ``count`` bytes from one piece; none if that piece was discarded."""
        piece, start = divmod(offset, PIECE)
        return bytes(self._pieces.get(piece, b"")[start : start + count])

    def restart(self) -> None:
        """Drop all pieces and the origin."""
        self._pieces.clear()
        self.origin = None
        self.held = bytearray(len(self.held))

    def discard_before(self, piece: int) -> None:
        """Free the memory of the pieces before this one."""
        for number in [number for number in list(self._pieces) if number < piece]:
            self._pieces.pop(number, None)

    def close(self) -> None:
        """Free all memory."""
        self._pieces.clear()

    def drop(self) -> None:
        """Free all memory."""
        self.close()

    def move_to(self, place: Callable[[Path], None]) -> None:
        """Raise: the whole file was never in memory at once.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"{place}: only a part of the file is in memory")
