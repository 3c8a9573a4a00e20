"""Look up and read names, files and links of one tree, without ever following a link."""

from __future__ import annotations

import hashlib
import os
import stat
from typing import TYPE_CHECKING

from provisioner.volume.fs.directories import HAS_DIR_FD
from provisioner.volume.fs.errors import disk_error
from provisioner.volume.fs.files import HASHED_AT_ONCE, OPEN_READ
from provisioner.volume.fs.paths import from_native, to_native
from provisioner.volume.tree.directories import OpenDirectories

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class TreeReader(OpenDirectories):
    """A directory tree that is being read."""

    def stat(self, path: str) -> os.stat_result:
        """Return the ``stat`` result of a name; a link is not followed.

        Raises:
            OSError: the system reported it, also if a directory above the name is missing or is a link.
        """
        name, parent = self.at(path)
        return os.stat(name, dir_fd=parent, follow_symlinks=False)

    def link_target(self, path: str) -> str | None:
        """Return the target of a link, or ``None`` if there is no link at that path."""
        try:
            name, parent = self.at(path)
            return from_native(os.readlink(name, dir_fd=parent))
        except OSError:
            return None

    def open(self, path: str) -> int:
        """Open a regular file for reading, and return its descriptor.

        Raises:
            OSError: the system reported it, also if it is not a file.
        """
        name, parent = self.at(path)
        handle = os.open(name, OPEN_READ, dir_fd=parent)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise IsADirectoryError(path)
        return handle

    def sha256(self, path: str, size: int, check_cancelled: Callable[[], None], advance: Callable[[int], None]) -> str:
        """Return the SHA-256 of a file in hexadecimal digits.

        Args:
            path: of the file.
            size: number of bytes that it is expected to have; it is read to its end in any case.
            check_cancelled: called for every block that is read; raises to end the work.
            advance: called with the number of bytes that were hashed since the last call.

        Raises:
            OSError: see :meth:`open`.
        """
        hasher = hashlib.sha256()
        # No larger buffer than a small file needs: allocating and shrinking one takes longer than hashing the file.
        most = min(size + 1, HASHED_AT_ONCE)
        handle = self.open(path)
        try:
            while data := os.read(handle, most):
                hasher.update(data)
                advance(len(data))
                check_cancelled()
        finally:
            os.close(handle)
        return hasher.hexdigest()

    def names(self, check_cancelled: Callable[[], None]) -> Iterator[tuple[str, str]]:
        """Yield every path of the tree with its kind, a directory before its content.

        The kind is that of an entry (``file``, ``link``, ``folder``), or ``other`` for devices and the like. Anything that
        another process removes meanwhile is left out.

        Raises:
            VolumeError: a directory cannot be listed.
        """
        pending = [""]
        while pending:
            directory = pending.pop()
            try:
                with os.scandir(self._place(directory)) as listing:
                    for item in listing:
                        check_cancelled()
                        path = f"{directory}/{from_native(item.name)}" if directory else from_native(item.name)
                        if item.is_symlink():
                            yield path, "link"
                        elif item.is_dir(follow_symlinks=False):
                            pending.append(path)
                            yield path, "folder"
                        else:
                            yield path, "file" if item.is_file(follow_symlinks=False) else "other"
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise disk_error(error, f"listing {directory or '.'!r} in {self.root}", path=self.root) from error

    def _place(self, directory: str) -> str | int:
        """Return the path or descriptor by which a directory is listed."""
        if HAS_DIR_FD:
            return self._handle(directory)
        self._check_by_path(directory)
        return os.path.join(self.root, to_native(directory)) if directory else os.fspath(self.root)  # noqa: PTH118
