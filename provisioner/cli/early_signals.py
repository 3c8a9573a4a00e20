"""Signals that arrive while the program is still being loaded.

The kernel drops a SIGTERM to process 1 of a container if the process has no handler for it. So the entry point installs one
before it imports anything that takes time.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from types import FrameType


def exit_on_signals() -> None:
    """End the process immediately on SIGTERM and SIGINT, until a command that must tidy up installs its own handlers."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)


def _exit(signum: int, _frame: FrameType | None) -> NoReturn:
    os._exit(128 + signum)
