"""Open, read and write the bytes of regular files only."""

from __future__ import annotations

import codecs
import errno
import os
import select
import stat
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from io import BufferedReader
    from pathlib import Path

CHUNK: Final = 1024 * 1024
"""Bytes that are read or written at once; loops check for cancellation in between."""
HASHED_AT_ONCE: Final = 256 * 1024
"""Bytes that are read and hashed at once: enough for full speed, and little memory when many threads hash."""
OPEN_READ: Final[int] = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    # Opening a FIFO must not block.
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
_OPEN_NAMED: Final[int] = OPEN_READ & ~getattr(os, "O_NOFOLLOW", 0)
"""For paths given by the user, which may be links."""
LARGEST_TEXT: Final = 1 << 20
"""Maximum size in bytes of a file of settings or secrets; files written by hand are smaller."""
LARGEST_RECORD: Final = 1 << 30
"""Bytes of a record of ours; the largest records are receipts of repositories with a million files."""
_PATIENCE_SECONDS: Final = 2.0
OPEN_NEW: Final[int] = (
    os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
)


def open_file(path: Path) -> BufferedReader:
    """Open a regular file for reading. Anything else is refused: reading from a FIFO could block for ever.

    Raises:
        OSError: the system reported it; ``EISDIR`` for a directory, ``EINVAL`` for anything else that is not a regular file.
    """
    handle = os.open(path, OPEN_READ & ~getattr(os, "O_NOFOLLOW", 0))
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        reason = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        raise OSError(reason, "it is no file", os.fspath(path))
    return open(handle, "rb")  # noqa: PTH123 - a descriptor has no path


def read_file(path: Path, limit: int = LARGEST_RECORD) -> bytes:
    """Return the content of a regular file.

    Args:
        path: the file.
        limit: the largest allowed number of bytes.

    Raises:
        OSError: see :func:`open_file`; ``EFBIG`` if it has more bytes.
    """
    with open_file(path) as file:
        # The stated size is compared first, since a sparse file of any size costs nothing to make. read() gets no number,
        # because it would allocate memory for so many bytes.
        data = file.read() if os.fstat(file.fileno()).st_size <= limit else None
    if data is None or len(data) > limit:
        raise _too_large(path, limit)
    return data


def read_named_file(path: Path, limit: int) -> bytes:
    """Return the content of a small file given by the user: a regular file, or a pipe or device that ends soon.

    Args:
        path: the file.
        limit: the largest allowed number of bytes.

    Raises:
        OSError: the system reported it; ``EFBIG`` if it has more bytes, ``ETIMEDOUT`` if its end does not come.
    """
    handle = os.open(path, _OPEN_NAMED)
    try:
        wait = None if stat.S_ISREG(os.fstat(handle).st_mode) else _Patience(handle, path)
        data = b""
        while len(data) <= limit:
            if wait is not None:
                wait.until_readable()
            more = os.read(handle, min(CHUNK, limit + 1 - len(data)))
            if not more:
                return data
            data += more
    finally:
        os.close(handle)
    raise _too_large(path, limit)


def read_named_text(path: Path, limit: int = LARGEST_TEXT) -> str:
    """Return the text of a small file given by the user, in UTF-8, or in UTF-16 with a byte order mark.

    Raises:
        OSError: see :func:`read_named_file`.
        ValueError: it is not text.
    """
    data = read_named_file(path, limit)
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if is_utf16 else "utf-8-sig")


class _Patience:
    """Waits for the next bytes of a pipe or a device, up to :data:`_PATIENCE_SECONDS` in all."""

    def __init__(self, handle: int, path: Path) -> None:
        self._path = path
        self._end = time.monotonic() + _PATIENCE_SECONDS
        self._poller = select.poll() if hasattr(select, "poll") else None
        if self._poller is not None:
            self._poller.register(handle, select.POLLIN)

    def until_readable(self) -> None:
        """Wait until a read would not block.

        Raises:
            OSError: ``ETIMEDOUT``.
        """
        left = self._end - time.monotonic()
        if self._poller is not None and (left <= 0 or not self._poller.poll(1000 * left)):
            reason = f"it is no regular file, and did not end within {_PATIENCE_SECONDS:.0f} s"
            raise OSError(errno.ETIMEDOUT, reason, os.fspath(self._path))


def _too_large(path: Path, limit: int) -> OSError:
    return OSError(errno.EFBIG, f"it has more than {limit:,} bytes", os.fspath(path))


def write_all(handle: int, data: bytes | memoryview) -> None:
    """Write all of ``data``; a single ``os.write`` may write only a part of it.

    Raises:
        OSError: from ``os.write``.
    """
    written = os.write(handle, data)
    if written != len(data):
        rest = memoryview(data)[written:]
        while rest:
            rest = rest[os.write(handle, rest) :]


class Hole(bytes):
    """Zeros that need not be written: the writer may leave a hole in the file."""

    __slots__ = ()
