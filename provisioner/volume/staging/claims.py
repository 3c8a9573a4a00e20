"""Which pieces of a file are being fetched, and by which ranges: each connection claims a range before it asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from isal import isal_zlib

from provisioner.volume.staging.pieces import PIECE

if TYPE_CHECKING:
    from collections.abc import Callable

LARGEST_RANGE: Final = 32 * PIECE
"""Bytes: long enough to make the wait for the response negligible, on a line with 20 MB/s and a latency of 100 ms."""
SMALLEST_RANGE: Final = 4 * PIECE
"""Bytes, except for the rest of a file: shorter ranges cost more in requests than they save at the end of the file."""


class ClaimedPieces:
    """Which pieces need not be fetched, because they are complete or being fetched. The caller holds the lock."""

    def __init__(
        self, held: bytearray, *, connections: Callable[[], int], window: int | None, piece: int, on_demand: bool = False
    ) -> None:
        """Begin with the pieces that are complete.

        Args:
            held: one byte for each piece, 1 if it is complete.
            connections: returns how many connections may fetch at the same time now; decides the length of ranges.
            window: bytes that may be present at the same time; ``None`` means all.
            piece: bytes of a piece.
            on_demand: fetch only the pieces that a reader wants.
        """
        self._piece = piece
        self._asked = bytearray(len(held)) if on_demand else None
        """One byte for each piece, 1 if a reader has wanted it; ``None`` if all pieces are fetched."""
        self._connections = connections
        self._window = window
        self._wanted: int | None = None
        """A piece that a reader is waiting for, which is claimed next."""
        self.reset(held)

    def restart(self, held: bytearray) -> None:
        """Begin again with a new version of the file."""
        self._wanted = None
        if self._asked is not None:
            self._asked = bytearray(len(held))
        self.reset(held)

    def reset(self, held: bytearray) -> None:
        """Forget all claims; only the complete pieces count as claimed."""
        self._claimed = bytearray(held)
        if self._asked is not None:
            for piece, asked in enumerate(self._asked):
                if not asked:
                    self._claimed[piece] = 1
        self._has_all = False
        """Whether one connection fetches the whole file."""
        self.unclaimed = self._claimed.count(0)
        """Number of pieces that are neither complete nor being fetched."""
        self._cursor = 0
        """All pieces before this one are claimed."""

    def want(self, piece: int, end: int, held: bytearray) -> None:
        """Make a piece that is not being fetched the next to be claimed, because a reader is waiting for it.

        Args:
            piece: its number.
            end: number of the piece after the last one that the reader needs now.
            held: one byte for each piece, 1 if it is complete.
        """
        self.ask(piece, end, held)
        if not self._claimed[piece]:
            self._wanted = piece

    def ask(self, start: int, end: int, held: bytearray) -> None:
        """Have the pieces from ``start`` up to ``end`` fetched, if only wanted pieces are fetched."""
        if self._asked is None:
            return
        for piece in range(start, end):
            if not self._asked[piece]:
                self._asked[piece] = 1
                if not (held[piece] or self._has_all):
                    self._claimed[piece] = 0
                    self.unclaimed += 1
        self._cursor = min(self._cursor, start)

    def lacks(self, held: bytearray) -> bool:
        """Return whether a wanted piece is not complete."""
        wanted = self._asked if self._asked is not None else b"\1" * len(held)
        return bool(int.from_bytes(wanted, "little") & ~int.from_bytes(held, "little"))

    def claim(self, bound: int) -> tuple[int, int] | None:
        """Claim some pieces.

        Args:
            bound: the number of the first piece that must not be fetched yet.

        Returns:
            The first claimed piece and the one after the last; ``None`` if there is none to claim before ``bound``.
        """
        start = self._next(bound)
        if start is None:
            return None
        # Each connection takes a share of what is left, so that all of them end at about the same time.
        shares = 2 * self._connections()
        if self._window is not None:
            count = max(1, self._window // shares // self._piece)
        else:
            share = max(SMALLEST_RANGE, self.unclaimed * self._piece // shares)
            count = max(1, min(LARGEST_RANGE, share) // self._piece)
        last = min(start + count, bound, len(self._claimed))
        end = start
        while end < last and not self._claimed[end]:
            self._claimed[end] = 1
            end += 1
        self.unclaimed -= end - start
        return start, end

    def _next(self, bound: int) -> int | None:
        """Return the first piece to claim now: one that a reader is waiting for, or else the first free one."""
        if not self.unclaimed:
            return None
        wanted, self._wanted = self._wanted, None
        if wanted is not None and not self._claimed[wanted]:
            return wanted
        start = self._claimed.find(0, self._cursor)
        if start < 0:
            return None
        self._cursor = start
        return start if start < bound else None

    def claim_all(self) -> None:
        """Claim all pieces."""
        self._has_all = True
        self._claimed = bytearray(b"\1") * len(self._claimed)
        self.unclaimed = 0

    def give_back(self, start: int, end: int, held: bytearray) -> None:
        """Make the pieces from ``start`` up to ``end`` free again, except for those that are complete."""
        self._has_all = False
        for piece in range(start, end):
            if not held[piece] and self._claimed[piece] and (self._asked is None or self._asked[piece]):
                self._claimed[piece] = 0
                self.unclaimed += 1
        self._cursor = min(self._cursor, start)


class ClaimedFile(Protocol):
    """The file that claims write to; implemented by :class:`provisioner.volume.staging.ranged_file.RangedFile`."""

    @property
    def piece(self) -> int:
        """Bytes of a piece."""
        ...

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        ...

    def write(self, claim: Claim, data: memoryview) -> None:
        """Store bytes of one piece at the claim's position."""
        ...

    def complete(self, claim: Claim, piece: int, crc: int) -> None:
        """Record that the claim has written all bytes of a piece."""
        ...

    def give_back(self, claim: Claim) -> None:
        """Release what the claim has not completed, for other connections to fetch."""
        ...


class Claim:
    """A range of a file that one connection fetches and writes in order, from its start. Used by one thread."""

    def __init__(self, file: ClaimedFile, version: int, start: int, end: int) -> None:
        """Begin at offset ``start``, where a piece begins; the range ends before ``end``, where a piece ends.

        Args:
            file: receives the bytes.
            version: version of the file at its source, as counted by ``file``; bytes of another version are refused.
            start: offset in bytes.
            end: offset in bytes.
        """
        self._file = file
        self.version = version
        self.position = start
        """Offset of the next byte."""
        self.end = end
        """Offset after the last byte; it decreases if another connection takes over part of the range."""
        self._completed = start
        """Offset after the last piece that this claim has completed."""
        self._crc = 0

    def write(self, data: bytes | memoryview) -> None:
        """Write the next bytes of the range.

        Raises:
            UpstreamChangedError: the file was dropped meanwhile, because it had changed at its source.
            VolumeFullError, VolumeError: the volume failed.
        """
        view, length = memoryview(data), self._file.piece
        while view:
            piece = self.position // length
            part = view[: (piece + 1) * length - self.position]
            self._file.write(self, part)
            self._crc = isal_zlib.crc32(part, self._crc)
            self.position += len(part)
            if self.position % length == 0 or self.position == self._file.size:
                self._file.complete(self, piece, self._crc)
                self._completed = self.position
                self._crc = 0
            view = view[len(part) :]

    def give_back(self) -> int:
        """Release the rest of the range, for other connections to fetch.

        Returns:
            Number of written bytes that are lost, which are those of an incomplete piece.
        """
        self._file.give_back(self)
        return self.position - self._completed
