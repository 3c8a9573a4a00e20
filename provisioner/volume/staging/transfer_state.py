"""Whether bytes of a file may still arrive, and the lock under which the threads of its transfer wait for them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_WAIT_SECONDS: Final = 0.2
"""Seconds between two checks by a waiting thread for cancellation."""


class TransferState:
    """The lock of a transfer, and why no more bytes arrive: from one URL (a failure), or from any (the end)."""

    def __init__(self, check_cancelled: Callable[[], None]) -> None:
        """Begin without a failure; ``check_cancelled`` raises when the run must end."""
        self.condition = threading.Condition()
        """Held for every change of the file's state; notified after each."""
        self.failure: BaseException | None = None
        """The error because of which the current URL delivers no more bytes; another one may be tried."""
        self._end: BaseException | None = None
        """The error because of which no URL will deliver more bytes."""
        self._check_cancelled = check_cancelled

    def wait(self) -> None:
        """Wait for a change, or for a moment; the caller holds the lock, and then checks what has changed."""
        self.condition.wait(_WAIT_SECONDS)

    def raise_failure(self) -> None:
        """Raise if the current URL delivers no more bytes, or if the run must end."""
        if self.failure is not None:
            raise self.failure
        self._check_cancelled()

    def raise_end(self) -> None:
        """Raise if no URL will deliver more bytes, or if the run must end."""
        if self._end is not None:
            raise self._end
        self._check_cancelled()

    def fail(self, error: BaseException) -> None:
        """Stop the threads that fetch; readers go on waiting, since another URL may deliver the bytes."""
        with self.condition:
            self.failure = self.failure or error
            self.condition.notify_all()

    def end(self, error: BaseException) -> None:
        """Stop the threads that fetch and those that read: no more bytes will arrive."""
        with self.condition:
            self.failure = self.failure or error
            self._end = self._end or error
            self.condition.notify_all()

    def close(self, error: BaseException) -> None:
        """Stop all threads with the failure that was recorded, or else with ``error``."""
        with self.condition:
            self._end = self.failure = self.failure or error
            self.condition.notify_all()

    def recover(self) -> None:
        """Forget the failure of one URL, because another one is tried; an end stays. The caller holds the lock."""
        self.failure = self._end


class WritesInProgress:
    """A count of the writes that run without the lock of the transfer, so that a restart can wait for their end."""

    def __init__(self) -> None:
        """Begin with no writes."""
        # A separate lock, because a restart waits here while it holds the lock of the transfer.
        self._condition = threading.Condition()
        self._count = 0

    def begin(self) -> None:
        """Count a write that begins."""
        with self._condition:
            self._count += 1

    def end(self) -> None:
        """Count a write that has ended."""
        with self._condition:
            self._count -= 1
            self._condition.notify_all()

    def wait_until_none(self) -> None:
        """Wait until all writes have ended."""
        with self._condition:
            while self._count:
                self._condition.wait()
