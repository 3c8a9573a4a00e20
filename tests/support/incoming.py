"""A simulated archive that is still arriving: bytes arrive only while a reader waits for them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType


class Arriving:
    """Bytes that a background thread makes available piece by piece, with a record of the reads."""

    def __init__(self, data: bytes, name: str = "archive", *, piece: int = 1000, error: BaseException | None = None) -> None:
        """Hold ``data``; ``piece`` bytes arrive at a time. ``error`` is raised in place of the last, incomplete piece."""
        self.name = name
        self.size = len(data)
        self.reads: list[tuple[int, int]] = []
        """Offset and count of each read."""
        self.released = 0
        self.behind = 0
        """Number of reads of bytes that had been released."""
        self._data, self._piece, self._error = data, piece, error
        self._here = 0
        self._waiting = 0
        self._over = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._arrive, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stop the arrival of bytes."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self._thread.join()

    def read_at(self, offset: int, count: int) -> bytes:
        """Wait until some bytes have arrived, and return them."""
        with self._changed:
            self.reads.append((offset, count))
            self.behind += offset < self.released
            while self._here <= offset < self.size:
                if self._error is not None and self._here == self.size - self.size % self._piece:
                    raise self._error
                self._waiting += 1
                self._changed.notify_all()
                self._changed.wait()
                self._waiting -= 1
            return self._data[offset : min(offset + count, self._here)]

    def expect(self, spans: Iterable[tuple[int, int]]) -> None:
        """Do nothing."""

    def release(self, offset: int) -> None:
        """Record the offset; it must not decrease."""
        with self._changed:
            assert offset >= self.released
            self.released = offset

    def _arrive(self) -> None:
        with self._changed:
            while not self._over:
                if self._waiting and self._here < self.size:
                    self._here = min(self._here + self._piece, self.size)
                    self._changed.notify_all()
                self._changed.wait()
