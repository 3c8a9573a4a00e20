"""The limit of bytes per second that all transfers of a client share."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNK: Final = 1 << 20
"""Bytes that are read at once at most."""


class RateLimiter:
    """One budget of bytes per second for all transfers together."""

    def __init__(self, bytes_per_second: float, *, pause: Callable[[float], None], clock: Callable[[], float]) -> None:
        self._rate = bytes_per_second
        self._pause = pause
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at = clock()

    @property
    def chunk(self) -> int:
        """Bytes to read at once, so that a small budget is spent evenly."""
        return max(1024, min(CHUNK, int(self._rate / 8)))

    def spend(self, count: int) -> None:
        """Take ``count`` bytes from the budget, and wait until they are due."""
        with self._lock:
            now = self._clock()
            self._free_at = max(self._free_at, now) + count / self._rate
            wait = self._free_at - now
        if wait > 0.01:  # noqa: PLR2004 - shorter waits cost more than they shape
            self._pause(wait)
