"""Files, directories and links made under one root, and nowhere else, whatever stands in the way.

Every name is opened relative to its directory's descriptor, and every directory without following a link, so that no link,
left over or put there meanwhile, can lead out. What an earlier, unfinished attempt left at a path is replaced. Which paths
are asked for is the caller's business: they must be plain and relative.

Methods raise ``OSError`` as the system gives it; the caller knows what it was doing and says so.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import unicodedata
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from provisioner.errors import VolumeError
from provisioner.volume.archive.member import shown
from provisioner.volume.fs.atomic import TEMPORARY_PREFIX
from provisioner.volume.fs.directories import HAS_DIR_FD, OPEN_DIRECTORY
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.fs.files import OPEN_NEW, write_all
from provisioner.volume.fs.links import link_or_copy
from provisioner.volume.fs.modes import DIRECTORY_MODE, EXECUTABLE_MODE, FILE_MODE, set_mode
from provisioner.volume.fs.paths import to_native
from provisioner.volume.fs.remove import remove_at, remove_tree

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

_OPEN_DIRECTORIES: Final = 128
"""Descriptors kept: archives jump between directories, and opening one costs as much as a small file."""
_UTIME_BY_DESCRIPTOR: Final = os.utime in os.supports_fd


def folded(path: str) -> str:
    """Return what is the same for all names that some file system takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def check_names(paths: Iterable[str], root: Path, label: str) -> None:
    """Refuse names, directories' included, of which the volume can hold but one.

    Raises:
        VolumeError: there are such, or the volume failed.
    """
    with disk_errors("trying names", root), TreeWriter(root) as tree:
        if not tree.folds_names():
            return
    seen: dict[str, str] = {}
    for path in paths:
        place = path
        while place:
            if (other := seen.setdefault(folded(place), place)) != place:
                raise colliding_names(label, other, place)
            place = place.rpartition("/")[0]


def colliding_names(label: str, one: str, other: str) -> VolumeError:
    """Return the error for two names of which the volume can hold but one; the same whichever came first."""
    one, other = sorted((one, other))
    return VolumeError(
        f"{label} holds both {shown(one)} and {shown(other)}, and the volume takes them for the same name",
        hint="Use a volume whose file system tells capital letters from small ones.",
    )


class TreeWriter:
    """Makes names under a root; used by one thread. Closing it lets go of its directories."""

    def __init__(self, root: Path) -> None:
        """Open ``root``, which must be a directory.

        A path that was made a directory here must not be asked for as anything else.

        Raises:
            OSError: it is none.
        """
        self._root = root
        self._handles: OrderedDict[str, int] = OrderedDict()
        self._top = os.open(root, OPEN_DIRECTORY & ~getattr(os, "O_NOFOLLOW", 0)) if HAS_DIR_FD else -1
        self._last = "", self._top
        """The directory that was asked for last, and its descriptor: most files follow one of the same directory."""
        self._inexact: dict[int, bool] = {}

    def __enter__(self) -> TreeWriter:  # noqa: PYI034 - Self would say no more
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of all directories."""
        for handle in self._handles.values():
            os.close(handle)
        self._handles.clear()
        if self._top >= 0:
            os.close(self._top)
            self._top = -1

    def directory(self, path: str) -> None:
        """Make a directory; the one above it is there. A directory that is there stays with what is in it.

        Raises:
            OSError: as the system gives it.
        """
        name, parent = self._at(path)
        try:
            os.mkdir(name, DIRECTORY_MODE, dir_fd=parent)
        except FileExistsError:
            if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                return
            self._remove(name, parent)
            os.mkdir(name, DIRECTORY_MODE, dir_fd=parent)
        if HAS_DIR_FD and self._inexact.get(DIRECTORY_MODE, True):
            self._fix_mode(self._handle(path), DIRECTORY_MODE)

    def file(self, path: str, blocks: Iterable[bytes], *, executable: bool, mtime_ns: int | None) -> tuple[int, str]:
        """Write a new file, in a directory that is there, and give its size in bytes and its SHA-256.

        Raises:
            OSError: as the system gives it; also what the blocks raise.
        """
        handle = self.create(path, executable=executable)
        return self.fill(handle, path, blocks, executable=executable, mtime_ns=mtime_ns)

    def create(self, path: str, *, executable: bool) -> int:
        """Make a new file, in a directory that is there, and give its descriptor, which is to be given to :meth:`fill`.

        Raises:
            OSError: as the system gives it.
        """
        mode = EXECUTABLE_MODE if executable else FILE_MODE
        name, parent = self._at(path)
        try:
            return os.open(name, OPEN_NEW, mode, dir_fd=parent)
        except FileExistsError:
            self._remove(name, parent)
            return os.open(name, OPEN_NEW, mode, dir_fd=parent)

    def fill(self, handle: int, path: str, blocks: Iterable[bytes], *, executable: bool, mtime_ns: int | None) -> tuple[int, str]:
        """Write what a new file holds, close it, and give its size in bytes and its SHA-256. In any thread.

        Raises:
            OSError: as the system gives it; also what the blocks raise.
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
                # A courtesy: some mounts refuse it, or times that far away. Not suppress(): it costs as much as the call.
                try:  # noqa: SIM105
                    os.utime(handle, ns=(mtime_ns, mtime_ns))
                except OSError:
                    pass
        finally:
            # It may be here that a full or remote disk speaks up.
            os.close(handle)
        if mtime_ns is not None and not _UTIME_BY_DESCRIPTOR:
            with contextlib.suppress(OSError):
                os.utime(os.path.join(self._root, path), ns=(mtime_ns, mtime_ns))  # noqa: PTH118
        return size, sha256

    def hard_link(self, source: str, path: str) -> bool:
        """Make ``path`` another name of the file ``source``; ``False`` when it had to become a copy.

        Raises:
            OSError: as the system gives it.
            ProvisionerError: the copy failed.
        """
        name, parent = self._at(path)
        with contextlib.suppress(FileNotFoundError):
            os.stat(name, dir_fd=parent, follow_symlinks=False)
            self._remove(name, parent)
        if parent is not None:
            # A duplicate, because getting at the other directory may close this one.
            parent = os.dup(parent)
            try:
                old, old_parent = self._at(source)
                with contextlib.suppress(OSError):
                    os.link(old, name, src_dir_fd=old_parent, dst_dir_fd=parent, follow_symlinks=False)
                    return True
            finally:
                os.close(parent)
        return link_or_copy(self._root / to_native(source), self._root / to_native(path))

    def symlink(self, path: str, target: str) -> None:
        """Make a symbolic link that says ``target``.

        Raises:
            OSError: as the system gives it; also where links are not supported.
        """
        name, parent = self._at(path)
        try:
            os.symlink(to_native(target), name, dir_fd=parent)
        except FileExistsError:
            self._remove(name, parent)
            os.symlink(to_native(target), name, dir_fd=parent)

    def folds_names(self) -> bool:
        """Find out, by making a file in the root, whether the file system takes ``a`` and ``A`` for the same name.

        Raises:
            OSError: as the system gives it.
        """
        probe = f"{TEMPORARY_PREFIX}case-probe"
        self.file(probe, (), executable=False, mtime_ns=None)
        name, parent = self._at(probe)
        try:
            os.stat(f"{name[: -len('probe')]}PROBE", dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return False
        else:
            return True
        finally:
            os.unlink(name, dir_fd=parent)

    @staticmethod
    def _write_once(handle: int, blocks: tuple[bytes, ...]) -> tuple[int, str]:
        """Write what is all there; most files are one piece."""
        data = blocks[0] if len(blocks) == 1 else b"".join(blocks)
        if data:
            write_all(handle, data)
        return len(data), hashlib.sha256(data).hexdigest()

    # --- where

    def _at(self, path: str) -> tuple[str, int | None]:
        """Return name and directory of ``path`` for a system call."""
        if not HAS_DIR_FD:
            return os.path.join(self._root, path), None  # noqa: PTH118
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
            if len(self._handles) > _OPEN_DIRECTORIES:
                gone, old = self._handles.popitem(last=False)
                if gone == self._last[0]:
                    self._last = "", self._top
                os.close(old)
        else:
            self._handles.move_to_end(directory)
        return handle

    def _remove(self, name: str, parent: int | None) -> None:
        if parent is None:
            remove_tree(Path(name))
            return
        remove_at(parent, os.fsencode(name))

    def _fix_file_mode(self, handle: int, mode: int) -> None:
        """Do the same as :meth:`_fix_mode` in one system call, where there is nothing but the mode to keep."""
        if self._inexact.get(mode):
            try:
                os.fchmod(handle, mode)
            except OSError:
                self._fix_mode(handle, mode)
        else:
            self._fix_mode(handle, mode)

    def _fix_mode(self, handle: int, mode: int) -> None:
        """Undo what the umask took; asked once for each mode whether that is needed at all."""
        inexact = self._inexact.get(mode)
        if inexact is None and hasattr(os, "fchmod"):
            inexact = self._inexact[mode] = stat.S_IMODE(os.fstat(handle).st_mode) & 0o777 != mode
        if inexact:
            self._inexact[mode] = set_mode(handle, mode)
