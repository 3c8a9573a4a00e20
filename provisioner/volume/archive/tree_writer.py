"""Files, directories and links written under one root, and nowhere else, whatever is in the way.

Every name is opened relative to the descriptor of its directory, and every directory without following a link, so that no
link, left over or put there meanwhile, can lead out. What an earlier, unfinished attempt left at a path is replaced. The
caller checks the paths: they must be plain and relative.

Methods raise ``OSError`` from the system; the caller knows what was being done, and translates it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from provisioner.volume.fs.atomic import temporary_name
from provisioner.volume.fs.directories import HAS_DIR_FD, OPEN_DIRECTORY
from provisioner.volume.fs.files import OPEN_NEW, write_all
from provisioner.volume.fs.links import link_or_copy
from provisioner.volume.fs.modes import DIRECTORY_MODE, EXECUTABLE_MODE, FILE_MODE, set_mode
from provisioner.volume.fs.paths import to_native
from provisioner.volume.fs.remove import remove_at, remove_tree

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

_MAX_OPEN_DIRECTORIES: Final = 128
"""Descriptors kept open: archives jump between directories, and opening one costs as much as writing a small file."""
_UTIME_BY_DESCRIPTOR: Final = os.utime in os.supports_fd


class TreeWriter:
    """A directory tree that is being written; used by one thread, except for :meth:`fill`. Closing it closes its directories."""

    def __init__(self, root: Path) -> None:
        """Open ``root``.

        A path at which a directory was made must not be used for anything else later.

        Raises:
            OSError: it is not a directory.
        """
        self.root = root
        self._handles: OrderedDict[str, int] = OrderedDict()
        self._top = os.open(root, OPEN_DIRECTORY & ~getattr(os, "O_NOFOLLOW", 0)) if HAS_DIR_FD else -1
        self._last = "", self._top
        """The directory that was used last, and its descriptor: most files follow one of the same directory."""
        self._needs_chmod: dict[int, bool] = {}
        """For each mode, whether the system makes names with another one, because of the umask."""

    def __enter__(self) -> TreeWriter:  # noqa: PYI034 - Self would say no more
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close all directories."""
        for handle in self._handles.values():
            os.close(handle)
        self._handles.clear()
        if self._top >= 0:
            os.close(self._top)
            self._top = -1

    def directory(self, path: str) -> None:
        """Make a directory in one that exists. If it exists already, it stays, with what is in it.

        Raises:
            OSError: from the system.
        """
        name, parent = self._at(path)
        try:
            os.mkdir(name, DIRECTORY_MODE, dir_fd=parent)
        except FileExistsError:
            if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                return
            self._remove(name, parent)
            os.mkdir(name, DIRECTORY_MODE, dir_fd=parent)
        if HAS_DIR_FD and self._needs_chmod.get(DIRECTORY_MODE, True):
            self._fix_mode(self._handle(path), DIRECTORY_MODE)

    def file(self, path: str, blocks: Iterable[bytes], *, executable: bool, mtime_ns: int | None) -> tuple[int, str]:
        """Write a new file in a directory that exists, and return its size in bytes and its SHA-256.

        Raises:
            OSError: from the system. What the blocks raise is passed on.
        """
        handle = self.create(path, executable=executable)
        return self.fill(handle, path, blocks, executable=executable, mtime_ns=mtime_ns)

    def create(self, path: str, *, executable: bool) -> int:
        """Make a new, empty file in a directory that exists, and return its descriptor, which :meth:`fill` takes and closes.

        Raises:
            OSError: from the system.
        """
        mode = EXECUTABLE_MODE if executable else FILE_MODE
        name, parent = self._at(path)
        try:
            return os.open(name, OPEN_NEW, mode, dir_fd=parent)
        except FileExistsError:
            self._remove(name, parent)
            return os.open(name, OPEN_NEW, mode, dir_fd=parent)

    def fill(self, handle: int, path: str, blocks: Iterable[bytes], *, executable: bool, mtime_ns: int | None) -> tuple[int, str]:
        """Write the content of a new file, close it, and return its size in bytes and its SHA-256. Works in any thread.

        Raises:
            OSError: from the system. What the blocks raise is passed on.
        """
        try:
            if isinstance(blocks, tuple):
                size, sha256 = self._write_once(handle, blocks)
            else:
                size, hasher = 0, hashlib.sha256()
                for data in blocks:
                    hasher.update(data)
                    write_all(handle, data)
                    size += len(data)
                sha256 = hasher.hexdigest()
            self._fix_file_mode(handle, EXECUTABLE_MODE if executable else FILE_MODE)
            if mtime_ns is not None and _UTIME_BY_DESCRIPTOR:
                # Not an error: some mounts refuse any time, or one so far away. suppress() would cost as much as the call.
                try:  # noqa: SIM105
                    os.utime(handle, ns=(mtime_ns, mtime_ns))
                except OSError:
                    pass
        finally:
            # A full or a remote disk may report its error only now.
            os.close(handle)
        if mtime_ns is not None and not _UTIME_BY_DESCRIPTOR:
            with contextlib.suppress(OSError):
                os.utime(os.path.join(self.root, path), ns=(mtime_ns, mtime_ns))  # noqa: PTH118
        return size, sha256

    def hard_link(self, source: str, path: str) -> bool:
        """Make ``path`` a hard link to the file ``source``; return ``False`` if it had to become a copy.

        Raises:
            OSError: from the system.
            ProvisionerError: the copy failed.
        """
        name, parent = self._at(path)
        with contextlib.suppress(FileNotFoundError):
            os.stat(name, dir_fd=parent, follow_symlinks=False)
            self._remove(name, parent)
        if parent is not None:
            # A duplicate, because opening the other directory may close this one.
            parent = os.dup(parent)
            try:
                source_name, source_parent = self._at(source)
                with contextlib.suppress(OSError):
                    os.link(source_name, name, src_dir_fd=source_parent, dst_dir_fd=parent, follow_symlinks=False)
                    return True
            finally:
                os.close(parent)
        return link_or_copy(self.root / to_native(source), self.root / to_native(path))

    def symlink(self, path: str, target: str) -> None:
        """Make a symbolic link with the text ``target``.

        Raises:
            OSError: from the system; also where links are not supported.
        """
        name, parent = self._at(path)
        try:
            os.symlink(to_native(target), name, dir_fd=parent)
        except FileExistsError:
            self._remove(name, parent)
            os.symlink(to_native(target), name, dir_fd=parent)

    def folds_names(self) -> bool:
        """Return whether the file system takes ``a`` and ``A`` for the same name; a file in the root is made to find out.

        Raises:
            OSError: from the system.
        """
        # No member has this name, and nothing can be at it: it is another one each time.
        probe = temporary_name()
        self.file(probe, (), executable=False, mtime_ns=None)
        name, parent = self._at(probe)
        directory, base = os.path.split(name)
        try:
            os.stat(os.path.join(directory, base.upper()), dir_fd=parent, follow_symlinks=False)  # noqa: PTH118
        except FileNotFoundError:
            return False
        else:
            return True
        finally:
            os.unlink(name, dir_fd=parent)

    @staticmethod
    def _write_once(handle: int, blocks: tuple[bytes, ...]) -> tuple[int, str]:
        """Write content that is in memory as a whole, which is so for most files."""
        data = blocks[0] if len(blocks) == 1 else b"".join(blocks)
        if data:
            write_all(handle, data)
        return len(data), hashlib.sha256(data).hexdigest()

    # --- directories and modes

    def _at(self, path: str) -> tuple[str, int | None]:
        """Return the name and the directory's descriptor by which a system call reaches ``path``."""
        if not HAS_DIR_FD:
            return os.path.join(self.root, path), None  # noqa: PTH118
        directory, _, name = path.rpartition("/")
        if directory != self._last[0]:
            self._last = directory, self._handle(directory)
        return to_native(name), self._last[1]

    def _handle(self, directory: str) -> int:
        if not directory:
            return self._top
        handle = self._handles.get(directory)
        if handle is None:
            above, _, name = directory.rpartition("/")
            handle = os.open(to_native(name), OPEN_DIRECTORY, dir_fd=self._handle(above))
            self._handles[directory] = handle
            if len(self._handles) > _MAX_OPEN_DIRECTORIES:
                oldest, oldest_handle = self._handles.popitem(last=False)
                if oldest == self._last[0]:
                    self._last = "", self._top
                os.close(oldest_handle)
        else:
            self._handles.move_to_end(directory)
        return handle

    def _remove(self, name: str, parent: int | None) -> None:
        if parent is None:
            remove_tree(Path(name))
            return
        remove_at(parent, os.fsencode(name))

    def _fix_file_mode(self, handle: int, mode: int) -> None:
        """Do the same as :meth:`_fix_mode` in one system call: a file has no inherited bits to keep."""
        if self._needs_chmod.get(mode):
            try:
                os.fchmod(handle, mode)
            except OSError:
                self._fix_mode(handle, mode)
        else:
            self._fix_mode(handle, mode)

    def _fix_mode(self, handle: int, mode: int) -> None:
        """Restore what the umask took; whether it takes anything is found out once for each mode."""
        needs_chmod = self._needs_chmod.get(mode)
        if needs_chmod is None and hasattr(os, "fchmod"):
            needs_chmod = self._needs_chmod[mode] = stat.S_IMODE(os.fstat(handle).st_mode) & 0o777 != mode
        if needs_chmod:
            self._needs_chmod[mode] = set_mode(handle, mode)
