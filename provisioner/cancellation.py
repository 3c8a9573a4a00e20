"""One flag that asks a run to end: set by a signal or the deadline, noticed by the loops that move bytes.

Like :mod:`provisioner.errors` this is a leaf: it knows nothing of ours but the errors, so that both edges may use it.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from provisioner.errors import ProvisionerError


class Cancellation:
    """A request to stop, with its reason; safe to use from several threads and from a signal handler's thread."""

    def __init__(self) -> None:
        # Reentrant: a signal handler runs on the main thread and may interrupt a method that holds it.
        self._lock = threading.RLock()
        self._event = threading.Event()
        self._reason: ProvisionerError | None = None
        self._closers: dict[int, Callable[[], None]] = {}

    @property
    def reason(self) -> ProvisionerError | None:
        """Why the run must end; ``None`` while it may go on."""
        return self._reason

    def request(self, reason: ProvisionerError) -> None:
        """Ask everybody to stop; the first reason stays. Blocked transfers are woken by closing them."""
        with self._lock:
            if self._reason is None:
                self._reason = reason
            closers = list(self._closers.values())
        self._event.set()
        for close in closers:
            with contextlib.suppress(Exception):
                close()

    def raise_if_requested(self) -> None:
        """Raise the reason if there is one.

        Raises:
            ProvisionerError: the reason that was given to :meth:`request`.
        """
        if self._reason is not None:
            raise self._reason

    def wait(self, seconds: float) -> None:
        """Wait ``seconds``, or less when asked to stop.

        Raises:
            ProvisionerError: asked to stop while waiting, or before.
        """
        self._event.wait(seconds)
        self.raise_if_requested()

    @contextlib.contextmanager
    def closing(self, close: Callable[[], None]) -> Iterator[None]:
        """While the block runs, a request to stop calls ``close``, which must end a blocking call in the block."""
        token = id(close)
        with self._lock:
            self._closers[token] = close
        try:
            self.raise_if_requested()
            yield
        finally:
            with self._lock:
                self._closers.pop(token, None)
