"""The standard streams and the encoding of names, as this program needs them, however it was started."""

from __future__ import annotations

import contextlib
import io
import locale
import os
import sys


def use_utf8_for_names() -> None:
    """Restart this process if the locale would encode names in anything but UTF-8.

    The names in a data set's tree must have the same bytes on every machine. Python chooses their encoding when it starts; in
    a locale such as Latin-1 it would write other bytes, or could not write some names at all. The process id and the
    environment stay the same.
    """
    if sys.flags.utf8_mode or sys.getfilesystemencoding() == "utf-8" or os.name != "posix" or not sys.executable:
        return
    command = [sys.executable, "-X", "utf8", *sys.orig_argv[1:]]
    with contextlib.suppress(OSError):
        os.execve(sys.executable, command, os.environ)  # noqa: S606 - this very program


def secure_streams() -> None:
    """Open standard streams that are closed on the null device, and escape what they cannot show.

    Otherwise, a file that is opened later would get the number of a standard stream, and output would be written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is that of this stream. The app inherits it.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # noqa: FBT003 - positional only
    for number, name in ((0, "stdin"), (1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False))  # noqa: SIM115
    # In UTF-8 mode, Python writes UTF-8 whatever the terminal shows.
    is_utf8 = "PYTHONIOENCODING" in os.environ or locale.getencoding().lower() in {"utf-8", "utf8"}
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=None if is_utf8 else "ascii", errors="backslashreplace")


def flush_quietly() -> None:
    """Write buffered output, if anybody still reads it."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
