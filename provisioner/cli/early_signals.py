"""Signals that come while the program is still being loaded.

As process 1 of a container a program without a handler is not ended by SIGTERM: the kernel drops it. So the entry point
calls this before it imports anything that takes time.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from types import FrameType


def answer_signals() -> None:
    """End at once on SIGTERM and SIGINT, until somebody with something to tidy up takes over."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)


def _leave(signum: int, _frame: FrameType | None) -> NoReturn:
    os._exit(128 + signum)
