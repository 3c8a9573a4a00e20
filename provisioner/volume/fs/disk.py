"""Small operations on the volume that must be right: write whole, sync, remove, link, and say what went wrong.

Nothing here knows what the volume holds or where; callers give paths. All sizes are bytes. Names are never decoded to
more than ``surrogateescape``, links are never followed, and every ``OSError`` that leaves this module on purpose does so
as one of ours (:func:`disk_errors`). Where a system call does not exist (Windows, macOS) the next best thing is done,
and the docstring says which.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from provisioner.errors import ProvisionerError, VolumeError, VolumeFullError, VolumeNotWritableError
from provisioner.volume.fs.mounts import is_fuse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from io import BufferedReader

FILE_MODE: Final = 0o664
"""Group-writable: a volume is shared by uid 1000 and by any other uid with group 0."""
EXECUTABLE_MODE: Final = 0o775
DIRECTORY_MODE: Final = 0o775
TEMPORARY_PREFIX: Final = ".tmp-"
"""What :func:`write_atomic` leaves behind when it is killed begins with this; safe to delete under the lock."""

CHUNK: Final = 1024 * 1024
"""Bytes read or written at once; also how often a request to stop is looked for."""

_BUFFER: Final = 64 * 1024
"""Bytes that small pieces are gathered to before they are written."""

HAS_DIR_FD: Final = {os.open, os.mkdir, os.unlink, os.rmdir, os.stat} <= os.supports_dir_fd
"""Whether paths can be opened relative to an open directory (not on Windows)."""
OPEN_DIRECTORY: Final[int] = (
    os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
)
OPEN_READ: Final[int] = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    # A FIFO in the way must not block us.
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
OPEN_NEW: Final[int] = (
    os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
)

_FULL: Final = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})
_REFUSED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_IN_THE_WAY: Final = "Something that the provisioner did not put there is in the way: move it away, then start again."
_HINTS: Final = {
    errno.EIO: "The device reports a failure: look at the kernel's log, and do not trust what is on this volume.",
    errno.EISDIR: _IN_THE_WAY,
    errno.ENOTDIR: _IN_THE_WAY,
    errno.ENAMETOOLONG: "This file system cannot hold such a long name; use a volume with an ordinary Linux file system.",
    errno.EILSEQ: "This file system accepts UTF-8 names only; use a volume with an ordinary Linux file system.",
    errno.EFBIG: "This file system cannot hold a file of that size (FAT stops at 4 GiB).",
    errno.EMFILE: "Raise the limit of open files (ulimit -n).",
    errno.EOPNOTSUPP: "This file system cannot do that. One that cannot write into the middle of a file, as a bucket's, "
    "needs STAGING_DIR on a local disk.",
    errno.ESTALE: "The volume went away while it was in use: mount it again.",
    errno.ENODEV: "The volume went away while it was in use: mount it again.",
}
_NO_HARD_LINKS: Final = frozenset(
    {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
)


# --- errors ------------------------------------------------------------------------------------------------------------


def disk_error(error: OSError, what: str, *, path: Path | None = None, needed: int | None = None) -> ProvisionerError:
    """Return the error of ours for ``error``, which happened while ``what`` ("writing the status file").

    ``path`` (or else the error's own) is named, and where space ran out, how much was needed and is free, in bytes.
    """
    where = os.fspath(path) if path is not None else _shown(error.filename)
    place = f" ({where})" if where and where not in what else ""
    text = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in _FULL:
        return VolumeFullError(
            f"{what}{place}: {text}{_room(path or error.filename, needed)}",
            hint="Give the volume more room, remove data sets from it, or choose a smaller phase; then start again.",
        )
    if error.errno in _REFUSED:
        return VolumeNotWritableError(
            f"{what}{place}: {text}, as {_identity()}",
            hint="Mount the volume writable and let this user write: chown it to the uid the container runs as, "
            "or to group 0 with mode g+rwX.",
        )
    return VolumeError(f"{what}{place}: {text}", hint=_HINTS.get(error.errno or 0, ""))


@contextlib.contextmanager
def disk_errors(what: str, path: Path | None = None, *, needed: int | None = None) -> Iterator[None]:
    """Turn each ``OSError`` of the block into one of ours; see :func:`disk_error`.

    Raises:
        VolumeFullError: no space, no inodes, or over quota.
        VolumeNotWritableError: permission denied, or a read-only volume.
        VolumeError: whatever else the system refuses.
    """
    try:
        yield
    except OSError as error:
        raise disk_error(error, what, path=path, needed=needed) from error


def _shown(name: object) -> str:
    if isinstance(name, bytes):
        return os.fsdecode(name)
    return name if isinstance(name, str) else ""


def _room(path: Path | str | bytes | int | None, needed: int | None) -> str:
    parts = [] if needed is None else [f"needs {needed} bytes"]
    if isinstance(path, (str, bytes, Path)) and path:
        with contextlib.suppress(OSError, ProvisionerError):
            where = Path(os.fsdecode(path))
            parts.append(f"{free_bytes(where)} bytes are free")
            if hasattr(os, "statvfs") and (inodes := os.statvfs(_existing(where))).f_files and not inodes.f_favail:
                parts.append("no inodes are left")
    return f" ({', '.join(parts)})" if parts else ""


def _identity() -> str:
    if sys.platform == "win32":
        return "this user"
    return f"uid {os.geteuid()}, gid {os.getegid()}"


# --- names ---------------------------------------------------------------------------------------------------------------

# Names in archives and manifests are UTF-8 bytes, whatever the locale says Python should take names for. Where both agree,
# which is nearly everywhere, there is nothing to do.
_SAME_NAMES: Final = os.name == "nt" or sys.getfilesystemencoding().lower() in {"utf-8", "utf8"}


def to_native(path: str) -> str:
    """Return the text for system calls that stands for the bytes of ``path`` (UTF-8 with ``surrogateescape``)."""
    return path if _SAME_NAMES else os.fsdecode(path.encode("utf-8", "surrogateescape"))


def from_native(name: str) -> str:
    """Undo :func:`to_native` for a name that a system call gave."""
    return name if _SAME_NAMES else os.fsencode(name).decode("utf-8", "surrogateescape")


# --- reading -----------------------------------------------------------------------------------------------------------


def open_file(path: Path) -> BufferedReader:
    """Open a file for reading, and nothing else: a FIFO that lies in its place would keep us waiting for ever.

    Raises:
        OSError: as the system gives it, and ``EINVAL`` for what is no file.
    """
    handle = os.open(path, OPEN_READ & ~getattr(os, "O_NOFOLLOW", 0))
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        reason = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        raise OSError(reason, "it is no file", os.fspath(path))
    return open(handle, "rb")  # noqa: PTH123 - a descriptor has no path


def read_file(path: Path) -> bytes:
    """Return what is in a file.

    Raises:
        OSError: as :func:`open_file`.
    """
    with open_file(path) as file:
        return file.read()


# --- asking ------------------------------------------------------------------------------------------------------------


def _existing(path: Path) -> Path:
    """Return ``path`` or its nearest ancestor that exists."""
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def free_bytes(path: Path) -> int:
    """Return the bytes that this user can still write to the file system of ``path``, which need not exist yet.

    Raises:
        VolumeError: the system does not say.
    """
    with disk_errors("asking for the free space", path):
        return shutil.disk_usage(_existing(path)).free


def used_bytes(tree: Path) -> int:
    """Return the bytes that ``tree`` takes on its device: blocks, not lengths; a file with several names counts once.

    What disappears meanwhile is not counted; a tree that does not exist takes nothing. Windows has no block counts:
    lengths are used there.

    Raises:
        VolumeError: a directory cannot be listed.
    """
    seen: set[tuple[int, int]] = set()
    total = 0
    with disk_errors("measuring", tree):
        try:
            total += _blocks(os.lstat(tree))
        except FileNotFoundError:
            return 0
        if not stat.S_ISDIR(os.lstat(tree).st_mode):
            return total
        pending = [os.fspath(tree)]
        while pending:
            try:
                with os.scandir(pending.pop()) as listing:
                    for item in listing:
                        try:
                            facts = item.stat(follow_symlinks=False)
                        except FileNotFoundError:
                            continue
                        if stat.S_ISDIR(facts.st_mode):
                            pending.append(item.path)
                        elif facts.st_nlink > 1:
                            if (facts.st_dev, facts.st_ino) in seen:
                                continue
                            seen.add((facts.st_dev, facts.st_ino))
                        total += _blocks(facts)
            except FileNotFoundError:
                continue
    return total


def _blocks(facts: os.stat_result) -> int:
    # POSIX counts in units of 512 bytes, whatever the file system's block size.
    blocks: int | None = getattr(facts, "st_blocks", None)
    return facts.st_size if blocks is None else blocks * 512


def is_same_filesystem(first: Path, second: Path) -> bool:
    """Return whether a rename between the two can work; a path that does not exist counts as its nearest ancestor.

    Two bind mounts of one device look the same and refuse all the same: a rename must still expect ``EXDEV``.

    Raises:
        VolumeError: one of them cannot be looked at.
    """
    with disk_errors("comparing the file systems of two paths", first):
        return _existing(first).stat().st_dev == _existing(second).stat().st_dev


# --- making durable ----------------------------------------------------------------------------------------------------


def fsync_directory(path: Path) -> None:
    """Make the names in ``path`` durable. Nothing to do on Windows, where a directory cannot be opened.

    Raises:
        VolumeError: the device failed. File systems that know no such thing (some FUSE mounts) are believed.
    """
    if os.name == "nt":
        return
    with disk_errors("making durable", path):
        handle = os.open(path, OPEN_DIRECTORY & ~getattr(os, "O_NOFOLLOW", 0))
        try:
            _fsync(handle)
        finally:
            os.close(handle)


def sync_tree(path: Path, *directories: Path) -> None:
    """Make everything under ``path`` durable, names included.

    One ``syncfs`` where the C library has it (Linux): it writes out the whole file system and, since Linux 5.8, reports
    a failed write. Elsewhere, and on FUSE, whose programs are not told of it (``fuse_sync_fs`` in the kernel), each file
    and then each directory is fsynced, deepest first. Links are not followed.

    Args:
        path: a directory, with all that is under it, or a file.
        directories: others on the same file system, with the files in them, and not what is in their directories.

    Raises:
        VolumeError: the device failed; what is there must not be published.
    """
    with disk_errors("making durable", path):
        if is_fuse(path) or not _syncfs(path):
            _fsync_each(path)
            for directory in directories:
                _fsync_each(directory, deep=False)


def _syncfs(path: Path) -> bool:
    """Sync the file system that holds ``path``; ``False`` where that cannot be asked for."""
    if not sys.platform.startswith("linux"):
        return False
    import ctypes  # noqa: PLC0415 - costs milliseconds that a run with nothing to do must not pay

    try:
        syncfs = ctypes.CDLL(None, use_errno=True).syncfs
    except (OSError, AttributeError):
        return False
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while syncfs(handle) != 0:
            number = ctypes.get_errno()
            if number == errno.ENOSYS:
                return False
            if number != errno.EINTR:
                raise OSError(number, os.strerror(number), os.fspath(path))
    finally:
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
                _fsync(handle)
            finally:
                os.close(handle)


def _fsync_file(path: str) -> None:
    # Windows flushes only what was opened for writing; elsewhere reading is enough and asks for fewer rights.
    handle = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0) if os.name == "nt" else OPEN_READ)
    try:
        _fsync(handle)
    finally:
        os.close(handle)


def _fsync(handle: int) -> None:
    try:
        os.fsync(handle)
    except OSError as error:
        # "This kind of file cannot be synced" is an answer, not a failure. So is EBADF for a handle that is open: some buckets
        # sync what is being written alone, and have stored the rest when it was closed.
        if error.errno not in {errno.EBADF, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}:
            raise


# --- changing ----------------------------------------------------------------------------------------------------------


def write_all(handle: int, data: bytes | memoryview) -> None:
    """Write all of ``data``: one ``write`` may take less than it was given.

    Raises:
        OSError: as ``os.write``.
    """
    written = os.write(handle, data)
    if written != len(data):
        rest = memoryview(data)[written:]
        while rest:
            rest = rest[os.write(handle, rest) :]


def write_new(path: Path, data: bytes) -> None:
    """Write a file that is not there yet, with mode 0664; whatever has its name makes way. Its directory must exist.

    Raises:
        VolumeFullError: no room; a part of it may be there.
        VolumeNotWritableError: not allowed.
        VolumeError: anything else the disk refuses.
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
            # It may be here that a full or remote disk speaks up.
            os.close(handle)


def write_atomic(path: Path, data: bytes | Iterable[bytes], *, durable: bool = True) -> None:
    """Replace ``path`` by a file that holds ``data``: a reader sees the old bytes or the new, never a mixture.

    ``data`` may come in pieces of any length, which are not all held at once; what making them raises leaves the old file.
    ``durable``: they also survive a power cut from here on. The mode is 0664, whatever the umask. A link at ``path`` is
    replaced, not followed. The directory must exist.

    Raises:
        VolumeFullError: no room; the old file is untouched.
        VolumeNotWritableError: not allowed.
        VolumeError: anything else the disk refuses.
    """
    # Not derived from the name: that may already be as long as a name can be.
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{os.getpid():x}-{secrets.token_hex(8)}")
    with disk_errors(f"writing {path}", path, needed=len(data) if isinstance(data, bytes) else None):
        try:
            handle = os.open(temporary, OPEN_NEW, FILE_MODE)
            try:
                set_mode(handle, FILE_MODE)
                # Closing it writes out what is buffered, and says so if that fails.
                with open(handle, "wb", buffering=_BUFFER, closefd=False) as file:
                    file.writelines((data,) if isinstance(data, bytes) else data)
                if durable:
                    _fsync(handle)
            finally:
                os.close(handle)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108
            raise
    if durable:
        fsync_directory(path.parent)


_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2
_NO_EXCHANGE: Final = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})


def exchange(first: Path, second: Path) -> bool:
    """Let two names change places in one step (Linux); ``False``: this system or file system cannot, and nothing happened.

    Raises:
        OSError: as the system gives it.
    """
    if not sys.platform.startswith("linux"):
        return False
    import ctypes  # noqa: PLC0415 - see _syncfs

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


def make_directory(path: Path) -> None:
    """Make ``path`` and what is missing above it, each with mode 0775, whatever the umask. One that is there stays as it is.

    Raises:
        VolumeFullError: no room.
        VolumeNotWritableError: not allowed.
        VolumeError: anything else, such as a file in the way.
    """
    with disk_errors(f"making the folder {path}", path):
        missing = [path]
        while not missing[-1].exists() and missing[-1] != missing[-1].parent:
            missing.append(missing[-1].parent)
        for directory in reversed(missing[:-1] if missing[-1].is_dir() else missing):
            try:
                os.mkdir(directory, DIRECTORY_MODE)  # noqa: PTH102
            except FileExistsError:
                # Somebody else was faster; a file or a dangling link in the way is an error all the same.
                if not directory.is_dir():
                    raise
            else:
                _open_up(directory)


def _open_up(directory: Path) -> None:
    if HAS_DIR_FD:
        handle = os.open(directory, OPEN_DIRECTORY)
        try:
            set_mode(handle, DIRECTORY_MODE)
        finally:
            os.close(handle)


def set_mode(handle: int, mode: int) -> bool:
    """Return an open file or directory exactly ``mode``; ``False`` where the file system keeps no modes.

    A directory keeps its set-group-id bit: it is how a shared volume hands its group down.
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


def link_or_copy(source: Path, target: Path) -> bool:
    """Make ``target``, which must not exist, the same as ``source``; ``True`` when it is a hard link and takes no room.

    A link is made again as a link, with the same text. A copy keeps the modification time; its mode is ours.

    Raises:
        VolumeFullError: no room for the copy, which is taken away again.
        VolumeNotWritableError: not allowed.
        VolumeError: anything else, such as a target that exists.
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


def remove_tree(path: Path) -> None:
    """Take away ``path`` and all that is under it; nothing happens when it is not there.

    Links are removed, never followed, also when one appears while we work. Directories that forbid it are made writable
    first. What somebody else removes meanwhile counts as done.

    Raises:
        VolumeNotWritableError: not allowed.
        VolumeError: anything else the disk refuses.
    """
    with disk_errors(f"removing {path}", path):
        if not HAS_DIR_FD:
            _remove_by_path(path)
            return
        try:
            parent = os.open(path.parent, OPEN_DIRECTORY & ~getattr(os, "O_NOFOLLOW", 0))
        except FileNotFoundError:
            return
        try:
            remove_at(parent, os.fsencode(path.name))
        finally:
            os.close(parent)


def remove_at(parent: int, name: bytes) -> None:
    """Take away ``name``, whatever it is, from the open directory ``parent``; see :func:`remove_tree`.

    Raises:
        OSError: as the system gives it.
    """
    if _remove_leaf(parent, name):
        return
    # A stack and not recursion: a foreign tree may be deeper than Python's stack. Each level is one open descriptor.
    stack: list[tuple[int, bytes, list[bytes]]] = []
    try:
        _descend(stack, parent, name)
        while stack:
            handle, own_name, pending = stack[-1]
            if pending:
                child = pending.pop()
                if not _remove_leaf(handle, child):
                    _descend(stack, handle, child)
                continue
            above = stack[-2][0] if len(stack) > 1 else parent
            try:
                os.rmdir(own_name, dir_fd=above)
            except FileNotFoundError:
                pass
            except OSError as error:
                if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                    raise
                # Something appeared after we had listed it: look again.
                pending.extend(_names(handle))
                if not pending:
                    raise
                continue
            stack.pop()
            os.close(handle)
    finally:
        for handle, _, _ in stack:
            os.close(handle)


def _remove_leaf(parent: int, name: bytes) -> bool:
    """Unlink ``name``; ``False`` when it is a directory, ``True`` when it is gone."""
    try:
        if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            return False
        try:
            os.unlink(name, dir_fd=parent)
        except PermissionError:
            if not set_mode(parent, 0o700):
                raise
            os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        pass
    return True


def _descend(stack: list[tuple[int, bytes, list[bytes]]], parent: int, name: bytes) -> None:
    try:
        handle = os.open(name, OPEN_DIRECTORY, dir_fd=parent)
    except FileNotFoundError:
        return
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=parent)
        handle = os.open(name, OPEN_DIRECTORY, dir_fd=parent)
    try:
        # Listing needs r and the removals need w and x: asked for once, not found out one by one.
        if os.fstat(handle).st_mode & 0o700 != 0o700:  # noqa: PLR2004
            set_mode(handle, 0o700)
        names = _names(handle)
    except BaseException:
        os.close(handle)
        raise
    stack.append((handle, name, names))


def _names(handle: int) -> list[bytes]:
    return [os.fsencode(found) for found in os.listdir(handle)]


def _remove_by_path(path: Path) -> None:
    """Do the same where there are no descriptors of directories (Windows)."""
    try:
        facts = os.lstat(path)
    except FileNotFoundError:
        return
    # A junction is a directory to lstat and a link to its user: unlinking takes the junction away and nothing behind it.
    if stat.S_ISDIR(facts.st_mode) and not getattr(facts, "st_reparse_tag", 0):
        with os.scandir(path) as listing:
            children = [Path(item.path) for item in listing]
        for child in children:
            _remove_by_path(child)
        with contextlib.suppress(FileNotFoundError):
            path.rmdir()
        return
    with contextlib.suppress(FileNotFoundError):
        try:
            path.unlink()
        except PermissionError:
            path.chmod(stat.S_IWRITE | stat.S_IREAD)
            path.unlink()
