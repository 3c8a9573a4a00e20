"""Files that only this program writes, and keeps from run to run."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from provisioner.volume.fs.modes import FILE_MODE, undo_umask
from provisioner.volume.fs.remove import remove_tree

if TYPE_CHECKING:
    from pathlib import Path

_OPEN: Final[int] = (
    os.O_RDWR
    | os.O_CREAT
    | getattr(os, "O_NOFOLLOW", 0)
    # Opening a FIFO must not block.
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
_NOT_A_FILE: Final = frozenset({errno.ELOOP, errno.EMLINK, errno.ENXIO})


def open_private_file(path: Path) -> int:
    """Open a file for reading and writing, keeping its content; it is created if it is missing.

    Anything that others put in its place is replaced, and not written to: a link, or a file with a further hard link, whose
    bytes are also those of that other name.

    Raises:
        OSError: the system reported it, also if the path is a directory.
        VolumeError: something in its place cannot be removed.
    """
    for _ in range(2):
        try:
            handle = os.open(path, _OPEN, FILE_MODE)
        except OSError as error:
            if error.errno not in _NOT_A_FILE:
                raise
        else:
            facts = os.fstat(handle)
            if stat.S_ISREG(facts.st_mode) and facts.st_nlink <= 1:
                undo_umask(handle)
                return handle
            os.close(handle)
        remove_tree(path)
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), os.fspath(path))
