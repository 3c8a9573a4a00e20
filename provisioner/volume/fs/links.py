"""Hard links where the file system has them, copies where it does not."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.fs.files import CHUNK, OPEN_NEW, OPEN_READ, write_all
from provisioner.volume.fs.modes import EXECUTABLE_MODE, FILE_MODE, set_mode

if TYPE_CHECKING:
    from pathlib import Path

_NO_HARD_LINKS: Final = frozenset(
    {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
)


def link_or_copy(source: Path, target: Path) -> bool:
    """Make ``target``, which must not exist, a hard link to ``source``, or a copy where hard links are not possible.

    A symbolic link is copied as a link with the same text. A copy of a file keeps the modification time and whether it is
    executable.

    Returns:
        Whether ``target`` is a hard link, which takes no space.

    Raises:
        VolumeFullError: no space for the copy; the part that was written is removed.
        VolumeNotWritableError: permission denied, or a read-only volume.
        VolumeError: any other error, for example because the target exists.
    """
    with disk_errors(f"linking {source} to {target}", target):
        try:
            if os.link in os.supports_follow_symlinks:
                os.link(source, target, follow_symlinks=False)
            else:
                os.link(source, target)
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
        else:
            return True
        facts = os.lstat(source)
        if stat.S_ISLNK(facts.st_mode):
            os.symlink(os.readlink(source), target)  # noqa: PTH211
            return False
    with disk_errors(f"copying {source} to {target}", target, needed=facts.st_size):
        _copy(source, target, facts)
    return False


def _copy(source: Path, target: Path, facts: os.stat_result) -> None:
    mode = EXECUTABLE_MODE if facts.st_mode & stat.S_IXUSR else FILE_MODE
    reader = os.open(source, OPEN_READ)
    try:
        writer = os.open(target, OPEN_NEW, mode)
        try:
            set_mode(writer, mode)
            while data := os.read(reader, CHUNK):
                write_all(writer, data)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(target)  # noqa: PTH108
            raise
        finally:
            os.close(writer)
        with contextlib.suppress(OSError):
            os.utime(target, ns=(facts.st_mtime_ns, facts.st_mtime_ns))
    finally:
        os.close(reader)
