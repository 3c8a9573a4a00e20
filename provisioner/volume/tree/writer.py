"""Write files, directories and links into one tree, and nowhere else, whatever is in the way.

Everything that comes from a source is written by this class: members of archives, plain files, files taken over from other
trees, and links. What an earlier, unfinished attempt left at a path is replaced, and never followed.

Methods raise ``OSError`` from the system; the caller, who knows what was being done, translates it. A path that is not plain
and relative raises ``IntegrityError``.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import stat
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from provisioner.volume.fs.atomic import temporary_name
from provisioner.volume.fs.directories import OPEN_DIRECTORY
from provisioner.volume.fs.files import CHUNK, OPEN_NEW, OPEN_READ, Hole, write_all
from provisioner.volume.fs.links import NameAt, link_or_copy, share_or_copy
from provisioner.volume.fs.modes import DIRECTORY_MODE, EXECUTABLE_MODE, FILE_MODE, set_mode
from provisioner.volume.fs.paths import to_native
from provisioner.volume.fs.remove import remove_at, remove_tree
from provisioner.volume.tree.directories import MAX_OPEN, OpenDirectories, is_link_on_windows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_UTIME_BY_DESCRIPTOR: Final = os.utime in os.supports_fd
_IS_DIRECTORY: Final = frozenset({errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR})
"""The errors of renaming a file to the name of a directory."""
_NO_HOLES: Final = frozenset({errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.ESPIPE})
"""The errors of writing beyond the end of a file, or of extending it, where that is not supported."""
_MAX_ATTEMPTS: Final = 16
"""Maximum number of attempts to create a directory that others remove and replace."""
_NO_DIRECTORY: Final = frozenset({errno.ENOTDIR, errno.ELOOP, errno.EMLINK})
"""The errors of opening something other than a directory; the last one is for a link on FreeBSD."""


class TreeWriter(OpenDirectories):
    """A tree that is being written, by a single thread except for :meth:`fill`. :meth:`close` closes its directories."""

    def __init__(self, root: Path, *, max_open: int = MAX_OPEN) -> None:
        """Open ``root``; see :class:`OpenDirectories`.

        A path at which a directory was created must not be used for anything else later.
        """
        super().__init__(root, max_open=max_open)
        self._needs_chmod: dict[int, bool] = {}
        """For each mode, whether the system creates names with a different one because of the umask."""

    def directory(self, path: str) -> None:
        """Create a directory and its missing parents. If it already exists, it stays with its content.

        Raises:
            OSError: from the system.
        """
        if not path or path in self._handles:
            return
        above = path
        missing = []
        while above and above not in self._handles:
            missing.append(above)
            above = above.rpartition("/")[0]
        for each in reversed(missing):
            self._make_directory(each)

    def _make_directory(self, path: str) -> None:
        name, parent = self.at(path)
        for attempt in itertools.count(1):
            try:
                os.mkdir(name, DIRECTORY_MODE, dir_fd=parent)
                break
            except FileExistsError:
                if self._enter(path, name, parent):
                    return
                if attempt == _MAX_ATTEMPTS:
                    raise
                self._unlink(name, parent)
        if parent is not None:
            handle = self._handle(path)
            if self._needs_chmod.get(DIRECTORY_MODE, True):
                self._fix_mode(handle, DIRECTORY_MODE)

    def _enter(self, path: str, name: str, parent: int | None) -> bool:
        """Open something that exists; return ``False`` if it is not a directory."""
        if parent is None:
            try:
                facts = os.lstat(name)
            except FileNotFoundError:
                return False
            return stat.S_ISDIR(facts.st_mode) and not is_link_on_windows(facts)
        try:
            self._keep(path, os.open(name, OPEN_DIRECTORY, dir_fd=parent))
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno not in _NO_DIRECTORY:
                raise
            return False
        return True

    @staticmethod
    def _unlink(name: str, parent: int | None) -> None:
        """Unlink something that is not a directory. If another thread has made it a directory meanwhile, it stays."""
        try:
            os.unlink(name, dir_fd=parent)
        except FileNotFoundError:
            pass
        except OSError as error:
            with contextlib.suppress(FileNotFoundError):
                if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                    raise error from None

    def file(self, path: str, blocks: Iterable[bytes], *, executable: bool, mtime_ns: int | None) -> tuple[int, str]:
        """Write a new file in a directory that exists, and return its size in bytes and its SHA-256.

        Raises:
            OSError: the system reported it. Errors raised by the blocks are passed on.
        """
        handle = self.create(path, executable=executable)
        return self.fill(handle, path, blocks, executable=executable, mtime_ns=mtime_ns)

    def write(self, path: str, data: bytes) -> None:
        """Write a new file whose content is in memory and already hashed, in an existing directory.

        Raises:
            OSError: from the system.
        """
        handle = self.create(path, executable=False)
        try:
            if data:
                write_all(handle, data)
            self._fix_file_mode(handle, FILE_MODE)
        finally:
            # A full or a remote disk may report its error only now.
            os.close(handle)

    def create(self, path: str, *, executable: bool) -> int:
        """Create an empty file in an existing directory, and return its descriptor, which :meth:`fill` takes and closes.

        Raises:
            OSError: from the system.
        """
        mode = EXECUTABLE_MODE if executable else FILE_MODE
        name, parent = self.at(path)
        try:
            return os.open(name, OPEN_NEW, mode, dir_fd=parent)
        except FileExistsError:
            self._remove(path, name, parent)
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
                size, sha256 = self._write_pieces(handle, blocks)
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

    def place(self, source: Path, path: str) -> None:
        """Move a file from staging, on the same file system, to a name in an existing directory.

        Raises:
            OSError: from the system.
        """
        name, parent = self.at(path)
        try:
            os.replace(source, name, dst_dir_fd=parent)
        except OSError as error:
            if error.errno not in _IS_DIRECTORY:
                raise
            self._remove(path, name, parent)
            os.replace(source, name, dst_dir_fd=parent)

    def link_from(
        self, tree: OpenDirectories, source: str, path: str, charge: Callable[[int], None] = lambda _count: None
    ) -> bool:
        """Create a hard link to a file of a tree, which may be this one, in an existing directory; or else a copy.

        Args:
            tree: the tree with the file.
            source: its path there.
            path: the new name.
            charge: called with the bytes of a copy before it is made; raises if they must not be written.

        Returns:
            Whether it is a hard link, which takes no space.

        Raises:
            OSError: the system reported it. Errors raised by ``charge`` are passed on.
        """
        return self._take_over(partial(link_or_copy, charge=charge), tree, source, path)

    def share_from(
        self, tree: OpenDirectories, source: str, path: str, charge: Callable[[int], None] = lambda _count: None
    ) -> bool:
        """Share or copy the bytes of a file under a name in an existing directory; editing one does not change the other.

        The arguments and errors are those of :meth:`link_from`.

        Returns:
            Whether the bytes are shared, and so take no further space.
        """
        return self._take_over(partial(share_or_copy, charge=charge), tree, source, path)

    def _take_over(self, take: Callable[[NameAt, NameAt], bool], tree: OpenDirectories, source: str, path: str) -> bool:
        name, parent = self.at(path)
        if tree is not self or parent is None:
            return self._replace(take, tree.at(source), path, (name, parent))
        # A duplicate, because opening the other directory may close this one.
        parent = os.dup(parent)
        try:
            return self._replace(take, self.at(source), path, (name, parent))
        finally:
            os.close(parent)

    def _replace(self, take: Callable[[NameAt, NameAt], bool], source: NameAt, path: str, target: NameAt) -> bool:
        try:
            return take(source, target)
        except FileExistsError:
            self._remove(path, *target)
            return take(source, target)

    def symlink(self, path: str, target: str) -> None:
        """Create a symbolic link to ``target`` in an existing directory.

        Raises:
            OSError: the system reported it, also if links are not supported.
        """
        name, parent = self.at(path)
        try:
            os.symlink(to_native(target), name, dir_fd=parent)
        except FileExistsError:
            self._remove(path, name, parent)
            os.symlink(to_native(target), name, dir_fd=parent)

    def make_executable(self, path: str) -> None:
        """Let everybody who may read a file execute it, if the file system stores modes.

        Raises:
            OSError: from the system.
        """
        name, parent = self.at(path)
        handle = os.open(name, OPEN_READ, dir_fd=parent)
        try:
            mode = stat.S_IMODE(os.fstat(handle).st_mode)
            if not mode & stat.S_IXUSR:
                set_mode(handle, mode | (mode & 0o444) >> 2)
        finally:
            os.close(handle)

    def remove(self, path: str) -> None:
        """Remove a file, a link, or a directory with its content; it is not an error if the path does not exist.

        Raises:
            OSError: from the system.
            ProvisionerError: it cannot be removed.
        """
        try:
            name, parent = self.at(path)
        except FileNotFoundError:
            return
        self._remove(path, name, parent)

    def folds_names(self) -> bool:
        """Return whether the file system treats ``a`` and ``A`` as the same name; a file is created in the root to find out.

        Raises:
            OSError: from the system.
        """
        # No member has this name, and nothing can be at it, since it is a new one each time.
        probe = temporary_name()
        return self._are_same(probe, probe.upper())

    def composes_names(self) -> bool:
        """Return whether the file system treats the composed and the decomposed form of a letter as the same name.

        ZFS with ``normalization=formD`` does, and APFS always does, even if they are case-sensitive.

        Raises:
            OSError: from the system.
        """
        probe = temporary_name()
        try:
            return self._are_same(f"{probe}\u00e9", f"{probe}e\u0301")
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno not in {errno.EILSEQ, errno.EINVAL}:
                raise
            # This file system does not allow such letters in names.
            return False

    def _are_same(self, probe: str, other: str) -> bool:
        """Create a file in the root, return whether another name refers to it, and remove it again."""
        self.file(probe, (), executable=False, mtime_ns=None)
        name, parent = self.at(probe)
        same, _ = self.at(other)
        try:
            os.stat(same, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return False
        else:
            return True
        finally:
            os.unlink(name, dir_fd=parent)

    @staticmethod
    def _write_once(handle: int, blocks: tuple[bytes, ...]) -> tuple[int, str]:
        """Write content that is in memory as a whole, as is the case for most files."""
        data = blocks[0] if len(blocks) == 1 else b"".join(blocks)
        if data:
            write_all(handle, data)
        return len(data), hashlib.sha256(data).hexdigest()

    @staticmethod
    def _write_pieces(handle: int, blocks: Iterable[bytes]) -> tuple[int, str]:
        """Write content piece by piece; holes stay holes."""
        size, written, hasher = 0, 0, hashlib.sha256()
        for data in blocks:
            hasher.update(data)
            if type(data) is Hole:
                size += len(data)
                continue
            if written < size:
                TreeWriter._write_behind_hole(handle, written, size, data)
            else:
                write_all(handle, data)
            size += len(data)
            written = size
        if written < size:
            TreeWriter._write_behind_hole(handle, written, size, b"")
        return size, hasher.hexdigest()

    @staticmethod
    def _write_behind_hole(handle: int, start: int, end: int, data: bytes) -> None:
        """Leave a hole and write ``data`` after it; on volumes that only write in order (buckets), fill the hole with zeros."""
        try:
            if data:
                os.lseek(handle, end, os.SEEK_SET)
                write_all(handle, data)
            else:
                os.ftruncate(handle, end)
        except OSError as error:
            if error.errno not in _NO_HOLES:
                raise
            os.lseek(handle, start, os.SEEK_SET)
            while start < end:
                write_all(handle, bytes(min(CHUNK, end - start)))
                start = min(start + CHUNK, end)
            write_all(handle, data)

    def _remove(self, path: str, name: str, parent: int | None) -> None:
        """Remove what is in the way; the descriptor ``parent`` stays open."""
        if path in self._handles:
            self._forget(path)
        if parent is None:
            remove_tree(Path(name))
        else:
            remove_at(parent, os.fsencode(name))

    # --- modes

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
        """Restore mode bits that the umask removed; whether it removes any is determined once for each mode."""
        needs_chmod = self._needs_chmod.get(mode)
        if needs_chmod is None and hasattr(os, "fchmod"):
            needs_chmod = self._needs_chmod[mode] = stat.S_IMODE(os.fstat(handle).st_mode) & 0o777 != mode
        if needs_chmod:
            self._needs_chmod[mode] = set_mode(handle, mode)
