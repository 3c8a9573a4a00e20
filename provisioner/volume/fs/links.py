"""Files that share their bytes, by reflinks or hard links if the file system supports them, and by copies otherwise."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from typing import TYPE_CHECKING, Final

from provisioner.volume.fs.files import CHUNK, OPEN_NEW, OPEN_READ, write_all
from provisioner.volume.fs.modes import EXECUTABLE_MODE, FILE_MODE, set_mode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NO_HARD_LINKS: Final = frozenset(
    {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
)

_FICLONE: Final = 0x40049409
"""``FICLONE`` of ``linux/fs.h``, see ``man 2 ioctl_ficlone``."""
_NO_REFLINKS: Final = frozenset(
    {errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EXDEV, errno.ENOSYS, errno.EPERM, errno.EBADF, errno.ETXTBSY}
)
_no_reflinks: set[int] = set()
"""Devices that turned out not to support reflinks."""
_WRITE: Final = 0o222

NameAt = tuple[str, int | None]
"""A name and the descriptor of its directory; if the descriptor is ``None``, the name is a path."""


def _free_of_charge(_count: int) -> None:
    """Charge nothing, for callers without a budget."""


def link_or_copy(source: NameAt, target: NameAt, charge: Callable[[int], None] = _free_of_charge) -> bool:
    """Make ``target``, which must not exist, a hard link to ``source``, or a copy if hard links are not possible.

    A symbolic link is copied as a link with the same target. A copied file keeps its modification time and whether it is
    executable.

    Args:
        source: the existing file or link.
        target: the new name.
        charge: called with the bytes of a copy before it is made; raises if they must not be written.

    Returns:
        Whether ``target`` is a hard link, which takes no space.

    Raises:
        OSError: the system reported it. If a copy fails, nothing of it is left.
    """
    if _link(source, target):
        return True
    (old, old_parent), (new, new_parent) = source, target
    facts = os.stat(old, dir_fd=old_parent, follow_symlinks=False)
    if stat.S_ISLNK(facts.st_mode):
        os.symlink(os.readlink(old, dir_fd=old_parent), new, dir_fd=new_parent)
    else:
        _copy(source, target, facts, charge)
    return False


def share_or_copy(source: NameAt, target: NameAt, charge: Callable[[int], None] = _free_of_charge) -> bool:
    """Give ``target``, which must not exist, the bytes of ``source``, so that editing one does not change the other.

    A reflink is a separate file. If the file system does not support it, both become names of one file, which is made
    read-only. If that is not possible (another user owns the file), or hard links are not, ``target`` is a copy. A symbolic
    link is copied as a link with the same target.

    Args:
        source: the existing file or link.
        target: the new name.
        charge: see :func:`link_or_copy`.

    Returns:
        Whether the bytes are shared, and so take no further space.

    Raises:
        OSError: the system reported it. If a copy fails, nothing of it is left.
    """
    facts = os.stat(source[0], dir_fd=source[1], follow_symlinks=False)
    if not stat.S_ISREG(facts.st_mode):
        return link_or_copy(source, target, charge)
    if _reflink(source, target, facts):
        return True
    # Link first, and change the mode afterwards: if no link is possible, as from another mount of the device, the mode
    # must stay as it is.
    if _link(source, target):
        with _removed_on_error(target):
            if _make_read_only(source):
                return True
        os.unlink(target[0], dir_fd=target[1])
    _copy(source, target, facts, charge)
    return False


def _link(source: NameAt, target: NameAt) -> bool:
    """Make a hard link; return ``False`` if that is not possible here."""
    try:
        if os.link in os.supports_follow_symlinks:
            os.link(source[0], target[0], src_dir_fd=source[1], dst_dir_fd=target[1], follow_symlinks=False)
        else:
            os.link(source[0], target[0])
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        return False
    return True


@contextlib.contextmanager
def _removed_on_error(target: NameAt) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(target[0], dir_fd=target[1])
        raise


def _reflink(source: NameAt, target: NameAt, facts: os.stat_result) -> bool:
    """Create a file that shares blocks with ``source`` until either changes; return ``False`` if the device cannot."""
    if not sys.platform.startswith("linux") or facts.st_dev in _no_reflinks:
        return False
    import fcntl  # noqa: PLC0415 - Windows has no such module

    mode = EXECUTABLE_MODE if facts.st_mode & stat.S_IXUSR else FILE_MODE
    reader = os.open(source[0], OPEN_READ, dir_fd=source[1])
    try:
        writer = os.open(target[0], OPEN_NEW, mode, dir_fd=target[1])
        try:
            fcntl.ioctl(writer, _FICLONE, reader)
            set_mode(writer, mode)
            os.utime(writer, ns=(facts.st_mtime_ns, facts.st_mtime_ns))
        except OSError as error:
            os.unlink(target[0], dir_fd=target[1])
            if error.errno not in _NO_REFLINKS:
                raise
            _no_reflinks.add(facts.st_dev)
            return False
        finally:
            os.close(writer)
    finally:
        os.close(reader)
    return True


def _make_read_only(file: NameAt) -> bool:
    """Remove the write permission of all users; return whether none is left."""
    handle = os.open(file[0], OPEN_READ, dir_fd=file[1])
    try:
        mode = stat.S_IMODE(os.fstat(handle).st_mode)
        return not mode & _WRITE or (set_mode(handle, mode & ~_WRITE) and not os.fstat(handle).st_mode & _WRITE)
    finally:
        os.close(handle)


def _copy(source: NameAt, target: NameAt, facts: os.stat_result, charge: Callable[[int], None]) -> None:
    mode = EXECUTABLE_MODE if facts.st_mode & stat.S_IXUSR else FILE_MODE
    times = facts.st_mtime_ns, facts.st_mtime_ns
    reader = os.open(source[0], OPEN_READ, dir_fd=source[1])
    try:
        writer = os.open(target[0], OPEN_NEW, mode, dir_fd=target[1])
        try:
            charge(facts.st_size)
            set_mode(writer, mode)
            while data := os.read(reader, CHUNK):
                write_all(writer, data)
            if os.utime in os.supports_fd:
                with contextlib.suppress(OSError):
                    os.utime(writer, ns=times)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(target[0], dir_fd=target[1])
            raise
        finally:
            os.close(writer)
        if os.utime not in os.supports_fd:
            with contextlib.suppress(OSError):
                os.utime(target[0], ns=times)
    finally:
        os.close(reader)
