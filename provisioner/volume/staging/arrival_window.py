"""Which pieces of a file may be present at the same time, if there is no space for all of them."""

from __future__ import annotations

from typing import Final

from provisioner.volume.staging.pieces import PIECE

WINDOW: Final = 32 << 20
"""Bytes that are held in memory if the disk has no space for the file."""


class ArrivalWindow:
    """A limited number of bytes, from the first one that the reader or the hash still needs. The caller holds the lock."""

    def __init__(self, limit: int | None) -> None:
        """Begin at the start of the file; ``limit`` is the number of bytes, ``None`` for no limit."""
        self.limit = limit
        self._released = 0
        self._hashed = 0

    def restart(self) -> None:
        """Go back to the start of the file."""
        self._released = self._hashed = 0

    def release(self, offset: int) -> bool:
        """Record that the reader needs no byte before ``offset``; return whether that changes anything."""
        is_new = offset > self._released
        self._released = max(offset, self._released)
        return is_new

    def note_hashed(self, position: int) -> None:
        """Record that the hash needs no byte before ``position``."""
        self._hashed = position

    @property
    def first(self) -> int:
        """Number of the first piece that is still needed."""
        return min(self._released, self._hashed) // PIECE

    def end(self, pieces: int) -> int:
        """Return the number of the first piece that must not be written yet, in a file of ``pieces`` pieces."""
        if self.limit is None:
            return pieces
        return (min(self._released, self._hashed) + self.limit) // PIECE
