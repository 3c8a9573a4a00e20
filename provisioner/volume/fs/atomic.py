"""Replace files and directories in one step: a reader sees the old or the new, never a mixture."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
from typing import TYPE_CHECKING, Final

from provisioner.volume.fs.durable import fsync, fsync_directory
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.fs.files import OPEN_NEW, write_all
from provisioner.volume.fs.modes import FILE_MODE, set_mode
from provisioner.volume.fs.remove import remove_tree

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

TEMPORARY_NAME: Final = re.compile(r"\.provisioner-tmp-[0-9a-f]+-[0-9a-f]{16}")
"""Matches the names that :func:`temporary_name` returns, and no others."""
_BUFFER: Final = 64 * 1024
"""Bytes that are collected before they are written, if the data comes in small parts."""
_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2
_NO_EXCHANGE: Final = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})


def temporary_name() -> str:
    """Return an unused name that no user or source would choose.

    If the process dies before the file is removed or renamed, it is left behind; it is safe to remove under the lock.
    """
    return f".provisioner-tmp-{os.getpid():x}-{os.urandom(8).hex()}"


def write_new(path: Path, data: bytes) -> None:
    """Write a new file with mode 0664; anything with the same name is removed first. Its directory must exist.

    Raises:
        VolumeFullError: no space; part of the file may be left.
        VolumeNotWritableError: permission denied, or a read-only volume.
        VolumeError: any other error of the system.
    """
    with disk_errors(f"writing {path}", path, needed=len(data)):
        try:
            handle = os.open(path, OPEN_NEW, FILE_MODE)
        except FileExistsError:
            remove_tree(path)
            handle = os.open(path, OPEN_NEW, FILE_MODE)
        try:
            write_all(handle, data)
            set_mode(handle, FILE_MODE)
        finally:
            # A full or remote disk may report its error only here.
            os.close(handle)


def write_atomic(path: Path, data: bytes | Iterable[bytes], *, durable: bool = True) -> None:
    """Replace ``path`` by a file with ``data``: a reader sees the old bytes or the new, never a mixture.

    The mode is 0664, whatever the umask. A link at ``path`` is replaced, not followed. The directory must exist. On any error
    the old file is left unchanged.

    Args:
        path: the file to replace or create.
        data: the whole content, or an iterable of parts, which are not all held in memory at once.
        durable: whether the new content also survives a power cut once the function returns.

    Raises:
        VolumeFullError: no space.
        VolumeNotWritableError: permission denied, or a read-only volume.
        VolumeError: any other error of the system.
    """
    # Not derived from the file's name, which may already be as long as a name can be.
    temporary = path.with_name(temporary_name())
    with disk_errors(f"writing {path}", path, needed=len(data) if isinstance(data, bytes) else None):
        try:
            handle = os.open(temporary, OPEN_NEW, FILE_MODE)
            try:
                set_mode(handle, FILE_MODE)
                # Closing the file writes what is buffered, and raises if that fails.
                with open(handle, "wb", buffering=_BUFFER, closefd=False) as file:
                    file.writelines((data,) if isinstance(data, bytes) else data)
                if durable:
                    fsync(handle)
            finally:
                os.close(handle)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108
            raise
    if durable:
        fsync_directory(path.parent)


def exchange(first: Path, second: Path) -> bool:
    """Exchange two names in one step (Linux only).

    Returns:
        ``False`` if this system or file system cannot do that; nothing was changed then.

    Raises:
        OSError: any other error of the system.
    """
    if not sys.platform.startswith("linux"):
        return False
    import ctypes  # noqa: PLC0415 - costs milliseconds that a run with nothing to do must not pay

    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    if renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NO_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), os.fspath(first))
