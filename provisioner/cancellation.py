"""The cancellation of a run, requested by a signal or the deadline, and checked by the loops that move bytes.

This module imports nothing of the package, so that every layer may use it.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from provisioner.errors import ProvisionerError


class Cancellation:
    """A flag with a reason; may be used from several threads and from signal handlers."""

    def __init__(self) -> None:
        # Reentrant, because a signal handler runs on the main thread and may interrupt a method that holds the lock.
        self._lock = threading.RLock()
        self._event = threading.Event()
        self._reason: ProvisionerError | None = None
        self._closers: dict[int, Callable[[], None]] = {}
        self._whole: Cancellation | None = None
        """The cancellation that this one is a part of; ``None`` if it is not a part."""

    @property
    def reason(self) -> ProvisionerError | None:
        """The reason why the run must end, or ``None`` while it may go on."""
        return self._reason

    def request(self, reason: ProvisionerError) -> None:
        """Request the end of the run, and close blocking calls; if there are several reasons, the first one is kept."""
        with self._lock:
            if self._reason is None:
                self._reason = reason
            closers = list(self._closers.values())
        self._event.set()
        for close in closers:
            with contextlib.suppress(Exception):
                close()

    def raise_if_requested(self) -> None:
        """Raise the reason if the end was requested.

        Raises:
            ProvisionerError: the reason given to :meth:`request`.
        """
        if self._reason is not None:
            raise self._reason

    def wait(self, seconds: float) -> None:
        """Wait for ``seconds``, or until the end is requested.

        Raises:
            ProvisionerError: the end was requested, before or during the wait.
        """
        self._event.wait(seconds)
        self.raise_if_requested()

    @contextlib.contextmanager
    def part(self) -> Iterator[Cancellation]:
        """Yield a cancellation for part of the work, which can be ended by itself and ends with the whole."""
        part = Cancellation()
        part._whole = self

        def end_too() -> None:
            if self._reason is not None:
                part.request(self._reason)

        with self._lock:
            self._closers[id(end_too)] = end_too
        try:
            end_too()
            yield part
        finally:
            with self._lock:
                self._closers.pop(id(end_too), None)

    def renew(self) -> None:
        """Clear the request to end this part, because another attempt begins; if the whole must end, this part must, too."""
        with self._lock:
            self._reason = None
            self._event.clear()
        if self._whole is not None and self._whole.reason is not None:
            self.request(self._whole.reason)

    @contextlib.contextmanager
    def closing(self, close: Callable[[], None]) -> Iterator[None]:
        """Let a request call ``close`` while the block runs; ``close`` must interrupt a blocking call in the block.

        Raises:
            ProvisionerError: the end was requested before the block.
        """
        token = id(close)
        with self._lock:
            self._closers[token] = close
        try:
            self.raise_if_requested()
            yield
        finally:
            with self._lock:
                self._closers.pop(token, None)
