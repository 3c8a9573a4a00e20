"""Limits that all transfers of one client share: bytes a second, and connections for small files."""

from __future__ import annotations

import contextlib
import math
import threading
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHUNK: Final = 1 << 20
"""Bytes that are read at once, at most."""

_SAMPLES: Final = 64
_OWN_SECONDS: Final = 0.00025
"""What a small file costs us; one thread more is worth while for each such time that we wait for the server."""


class RateLimiter:
    """One budget of bytes a second for all transfers together."""

    def __init__(self, bytes_per_second: float, *, pause: Callable[[float], None], clock: Callable[[], float]) -> None:
        self._rate = bytes_per_second
        self._pause = pause
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at = clock()

    @property
    def chunk(self) -> int:
        """Bytes to read at once, so that a slow budget is spent evenly."""
        return max(1024, min(CHUNK, int(self._rate / 8)))

    def spend(self, count: int) -> None:
        """Take ``count`` bytes from the budget, and wait until they are due."""
        with self._lock:
            now = self._clock()
            self._free_at = max(self._free_at, now) + count / self._rate
            wait = self._free_at - now
        if wait > 0.01:  # noqa: PLR2004 - shorter waits cost more than they shape
            self._pause(wait)


class SmallFilePace:
    """How many connections small files are worth: where servers answer at once, more threads only wait for each other."""

    def __init__(self, connections: int, *, clock: Callable[[], float]) -> None:
        """Begin with all connections.

        Args:
            connections: the most that may be used.
            clock: seconds that never go back.
        """
        self._most = connections
        self._clock = clock
        self._latest: deque[float] = deque(maxlen=_SAMPLES)
        self._count = 0
        self.connections = connections
        """The number that is worth while now."""

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """Measure how long a whole request takes."""
        begun = self._clock()
        yield
        self._latest.append(self._clock() - begun)
        self._count += 1
        if self._count % 16 == 0:
            # The quickest of many: it waited for the server alone, and not for our other threads.
            self.connections = max(2, min(self._most, 1 + math.ceil(min(self._latest) / _OWN_SECONDS)))
