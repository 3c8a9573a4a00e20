"""Time that passes only when somebody waits, and writes down who waited how long."""

from __future__ import annotations

import threading

from provisioner.remote.retry import Retry, RetryPolicy


class FakeTime:
    """A clock and a pause that belong together: pausing moves the clock at once."""

    def __init__(self) -> None:
        """Begin at an arbitrary moment."""
        self._lock = threading.Lock()
        self._now = 1000.0
        self.waits: list[float] = []
        """Seconds of each pause so far."""

    def clock(self) -> float:
        """Return the time in seconds."""
        with self._lock:
            return self._now

    def pause(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        with self._lock:
            self.waits.append(seconds)
            self._now += seconds

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass without anybody waiting."""
        with self._lock:
            self._now += seconds

    def retry(self, policy: RetryPolicy | None = None, *, random: float = 0.5) -> Retry:
        """Make a retry policy on this time, with jitter that is always the same."""
        return Retry(policy or RetryPolicy(), pause=self.pause, clock=self.clock, random=lambda: random)
