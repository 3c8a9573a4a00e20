"""A command line that ends when its standard input is closed or its parent is gone; started by the page of ``serve``."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import NoReturn

from provisioner.cli.main import script


def main() -> NoReturn:
    """Run the command line until standard input ends, and then act as if SIGTERM had come."""
    threading.Thread(target=_end_with_input, name="attendant", daemon=True).start()
    script()


def _end_with_input() -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    os.kill(os.getpid(), signal.SIGTERM)
