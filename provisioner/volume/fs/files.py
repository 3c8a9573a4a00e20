"""Open, read and write the bytes of regular files, and of nothing else."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from io import BufferedReader
    from pathlib import Path

CHUNK: Final = 1024 * 1024
"""Bytes that are read or written at once; between two such steps, loops check for cancellation."""
OPEN_READ: Final[int] = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    # Opening a FIFO must not block.
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
OPEN_NEW: Final[int] = (
    os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
)


def open_file(path: Path) -> BufferedReader:
    """Open a regular file for reading. Anything else is refused: reading from a FIFO could block for ever.

    Raises:
        OSError: from the system; ``EISDIR`` for a directory and ``EINVAL`` for anything else that is not a regular file.
    """
    handle = os.open(path, OPEN_READ & ~getattr(os, "O_NOFOLLOW", 0))
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        reason = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        raise OSError(reason, "it is no file", os.fspath(path))
    return open(handle, "rb")  # noqa: PTH123 - a descriptor has no path


def read_file(path: Path) -> bytes:
    """Return the content of a regular file.

    Raises:
        OSError: see :func:`open_file`.
    """
    with open_file(path) as file:
        return file.read()


def write_all(handle: int, data: bytes | memoryview) -> None:
    """Write all of ``data``: a single ``os.write`` may write only a part of it.

    Raises:
        OSError: from ``os.write``.
    """
    written = os.write(handle, data)
    if written != len(data):
        rest = memoryview(data)[written:]
        while rest:
            rest = rest[os.write(handle, rest) :]
