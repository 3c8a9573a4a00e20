"""Signals while a command runs: the first one asks it to end, the second one ends the process."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

from provisioner.errors import InterruptedBySignal

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from provisioner.cancellation import Cancellation


def listen(cancellation: Cancellation) -> Callable[[], int | None]:
    """Handle SIGINT and SIGTERM from now on: the first requests a cancellation, a second one ends the process immediately.

    Returns:
        A function that returns the signal that has arrived, or ``None``.
    """
    received: int | None = None

    def on_signal(signum: int, _frame: FrameType | None) -> None:
        nonlocal received
        if received is not None:
            os._exit(128 + signum)
        received = signum
        # On a thread, because the interrupted code may hold the very locks that a cancellation takes.
        threading.Thread(target=cancellation.request, args=(InterruptedBySignal(signum),), daemon=True).start()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    return lambda: received
