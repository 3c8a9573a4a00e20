"""Simulated time: it passes only when somebody waits, and each wait is recorded."""

from __future__ import annotations

import threading

from provisioner.remote.retry import Retry, RetryPolicy


class FakeTime:
    """A clock with its pause function: a pause advances the clock immediately."""

    def __init__(self) -> None:
        """Start at an arbitrary time."""
        self._lock = threading.Lock()
        self._now = 1000.0
        self.waits: list[float] = []
        """The length of each pause so far, in seconds."""

    def clock(self) -> float:
        """Return the simulated time in seconds."""
        with self._lock:
            return self._now

    def pause(self, seconds: float) -> None:
        """Let ``seconds`` pass, and record them as a pause."""
        with self._lock:
            self.waits.append(seconds)
            self._now += seconds

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass without recording a pause."""
        with self._lock:
            self._now += seconds

    def retry(self, policy: RetryPolicy | None = None, *, random: float = 0.5) -> Retry:
        """Return a retry policy that uses this clock, with constant jitter."""
        return Retry(policy or RetryPolicy(), pause=self.pause, clock=self.clock, random=lambda: random)
