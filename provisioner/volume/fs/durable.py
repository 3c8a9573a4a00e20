"""Make files, directories and whole trees survive a power cut."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import threading
from typing import TYPE_CHECKING

from provisioner.volume.fs.directories import OPEN_DIRECTORY
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.fs.files import OPEN_READ
from provisioner.volume.fs.mounts import is_fuse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


class WriteWatch:
    """Watches for writes that file systems fail to store.

    The kernel reports a failed write once to each open file. A file that is opened later gets the report only if nobody else
    has had it, such as another data set of this run or another program. So a directory is kept open from before the first
    write.
    """

    def __init__(self) -> None:
        """Prepare; nothing is watched yet."""
        self._handles: dict[int, int] = {}
        """An open directory on each device, by device number."""

    def begin(self, *directories: Path) -> None:
        """Watch the file systems of some directories, except for those that this user cannot open."""
        if not sys.platform.startswith("linux"):
            return
        for directory in directories:
            try:
                handle = os.open(directory, OPEN_DIRECTORY & ~os.O_NOFOLLOW)
            except OSError:
                continue
            device = os.fstat(handle).st_dev
            if device in self._handles:
                os.close(handle)
            else:
                self._handles[device] = handle

    def place(self, path: Path) -> Path | int:
        """Return the open directory on the file system of ``path``, or ``path`` itself if that file system is not watched.

        Raises:
            OSError: from the system.
        """
        return self._handles.get(os.lstat(path).st_dev, path) if self._handles else path

    def close(self) -> None:
        """End the watch."""
        while self._handles:
            os.close(self._handles.popitem()[1])


def fsync_directory(path: Path) -> None:
    """Make the names in the directory ``path`` durable. On Windows, where directories cannot be opened, this does nothing.

    Raises:
        VolumeError: the device failed. It is not an error if a file system cannot sync directories (some FUSE mounts).
    """
    if os.name == "nt":
        return
    with disk_errors("making durable", path):
        handle = os.open(path, OPEN_DIRECTORY & ~getattr(os, "O_NOFOLLOW", 0))
        try:
            fsync(handle)
        finally:
            os.close(handle)


def sync_tree(path: Path, *directories: Path, records: Iterable[Path] = (), watch: WriteWatch | None = None) -> None:
    """Make everything under ``path`` durable, including names.

    If the C library has ``syncfs`` (Linux), one call writes out the whole file system and, since Linux 5.8, reports a failed
    write. Elsewhere, and on FUSE, where the kernel does not pass that call on (``fuse_sync_fs``), each file and then each
    directory is fsynced, deepest first. Links are not followed.

    Args:
        path: a file, or a directory with everything under it.
        directories: more directories on the same file system, of which only the names are made durable, since their files
            may belong to other programs: unreadable, large, or gone a moment later.
        records: more directories, each with its files but not with its sub-directories.
        watch: a watch that began before anything under ``path`` was written; without it, a failure that was already
            reported to somebody else is missed.

    Raises:
        VolumeError: the device failed; the tree must not be published.
    """
    with disk_errors("making durable", path), _forgotten_if_lost(path):
        if is_fuse(path) or not _syncfs(path if watch is None else watch.place(path)):
            _fsync_each(path)
            for directory in records:
                _fsync_each(directory, deep=False)
            for directory in directories:
                fsync_directory(directory)


@contextlib.contextmanager
def syncing_meanwhile(path: Path, watch: WriteWatch | None = None) -> Iterator[None]:
    """Write out the file system that holds ``path`` while the block runs, so that :func:`sync_tree` has less to wait for.

    Where ``syncfs`` is not available, and on FUSE, nothing happens. If the block raises, nobody waits for the device.

    Args:
        path: any path on the file system.
        watch: see :func:`sync_tree`.

    Raises:
        VolumeError: the device failed; what it failed to store is not reported a second time.
    """
    errors: list[OSError] = []

    def write_out() -> None:
        try:
            _syncfs(path if watch is None else watch.place(path))
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=write_out, name="sync", daemon=True)
    if not is_fuse(path):
        # Where no thread can be started, everything is written out afterwards.
        with contextlib.suppress(RuntimeError):
            thread.start()
    yield
    if thread.ident is not None:
        thread.join()
    with disk_errors("making durable", path), _forgotten_if_lost(path):
        if errors:
            raise errors[0]


@contextlib.contextmanager
def _forgotten_if_lost(path: Path) -> Iterator[None]:
    """Drop the files under ``path`` from the kernel's page cache if the device failed to store something in the block.

    The kernel keeps the bytes that it could not write and treats them as written. Until a restart, a check of the files would
    find the right bytes, which the device does not have. Without them, the next attempt reads what is on the device.
    """
    try:
        yield
    except OSError:
        if hasattr(os, "posix_fadvise"):
            for directory, _, names in os.walk(path):
                for name in names:
                    with contextlib.suppress(OSError):
                        _forget(os.path.join(directory, name))  # noqa: PTH118
        raise


def _forget(path: str) -> None:
    handle = os.open(path, OPEN_READ)
    try:
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)


def _syncfs(place: Path | int) -> bool:
    """Sync the file system of a path or an open directory; return ``False`` if ``syncfs`` is not available."""
    if not sys.platform.startswith("linux"):
        return False
    import ctypes  # noqa: PLC0415 - costs milliseconds that a run with nothing to do must not pay

    try:
        syncfs = ctypes.CDLL(None, use_errno=True).syncfs
    except (OSError, AttributeError):
        return False
    handle = place if isinstance(place, int) else os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while syncfs(handle) != 0:
            number = ctypes.get_errno()
            if number == errno.ENOSYS:
                return False
            if number != errno.EINTR:
                raise OSError(number, os.strerror(number))
    finally:
        if handle != place:
            os.close(handle)
    return True


def _fsync_each(path: Path, *, deep: bool = True) -> None:
    directories: list[str] = []
    pending = [os.fspath(path)]
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        _fsync_file(os.fspath(path))
        return
    while pending:
        directories.append(pending.pop())
        with os.scandir(directories[-1]) as listing:
            for item in listing:
                if item.is_dir(follow_symlinks=False):
                    if deep:
                        pending.append(item.path)
                elif item.is_file(follow_symlinks=False):
                    _fsync_file(item.path)
    if os.name != "nt":
        for directory in reversed(directories):
            handle = os.open(directory, OPEN_DIRECTORY)
            try:
                fsync(handle)
            finally:
                os.close(handle)


def _fsync_file(path: str) -> None:
    # Windows flushes only files that were opened for writing; elsewhere, reading is enough and needs fewer rights.
    handle = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0) if os.name == "nt" else OPEN_READ)
    try:
        fsync(handle)
    finally:
        os.close(handle)


def fsync(handle: int) -> None:
    """Make an open file or directory durable; it is not an error if the file system cannot do that.

    Raises:
        OSError: the device failed.
    """
    try:
        os.fsync(handle)
    except OSError as error:
        # "This kind of file cannot be synced" does not mean that the device failed. Nor does EBADF for an open descriptor:
        # some buckets sync a file only while it is being written, and closing it has already stored it.
        if error.errno not in {errno.EBADF, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}:
            raise
