"""The modes of files and directories on a volume, regardless of the umask."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

FILE_MODE: Final = 0o664
"""Group-writable, so that uid 1000 and any other uid with group 0 can share a volume."""
EXECUTABLE_MODE: Final = 0o775
DIRECTORY_MODE: Final = 0o775


def undo_umask(handle: int) -> os.stat_result:
    """Set the mode of an open file that will be published to the mode it was opened with, and return its ``stat`` result."""
    facts = os.fstat(handle)
    if stat.S_IMODE(facts.st_mode) != FILE_MODE:
        set_mode(handle, FILE_MODE)
    return facts


def set_mode(handle: int, mode: int) -> bool:
    """Set the mode of an open file or directory to exactly ``mode``; return ``False`` if the file system does not store modes.

    A directory keeps its set-group-id bit, with which new files of a shared volume belong to the same group.
    """
    if not hasattr(os, "fchmod"):
        return False
    try:
        now = os.fstat(handle).st_mode
        os.fchmod(handle, mode | now & stat.S_ISGID if stat.S_ISDIR(now) else mode)
    except OSError as error:
        if error.errno in {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}:
            return False
        raise
    return True
