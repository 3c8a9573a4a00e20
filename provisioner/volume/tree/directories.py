"""The directories of one tree, opened one below the other from its root, and never through a link."""

from __future__ import annotations

import os
import stat
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Self

from provisioner.errors import IntegrityError
from provisioner.volume.fs.directories import HAS_DIR_FD, OPEN_DIRECTORY
from provisioner.volume.fs.paths import to_native

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

MAX_OPEN: Final = 128
"""Descriptors kept open: archives jump between directories, and opening one costs as much as writing a small file."""
_NO_NAMES: Final = frozenset({"", ".", ".."})


class OpenDirectories:
    """A tree accessed relative to open directories, by a single thread. :meth:`close` closes the directories.

    If system calls do not accept open directories (Windows), paths are used, and each directory on the way is checked first.
    """

    def __init__(self, root: Path, *, max_open: int = MAX_OPEN) -> None:
        """Open ``root``.

        Args:
            root: the tree's directory, which must exist and must not be a link.
            max_open: how many directories below it are kept open.

        Raises:
            OSError: the system reported it, also if ``root`` is a link.
        """
        self.root = root
        self._max_open = max_open
        self._handles: OrderedDict[str, int] = OrderedDict()
        self._top = os.open(root, OPEN_DIRECTORY) if HAS_DIR_FD else -1
        self._last = "", self._top
        """The directory that was used last, and its descriptor: most files are in the same directory as the one before."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close all directories."""
        self._forget("")
        if self._top >= 0:
            os.close(self._top)
            self._top = -1

    def at(self, path: str) -> tuple[str, int | None]:
        """Return a name and a directory's descriptor by which a system call can access ``path``.

        The descriptor stays open until another directory is used.

        Raises:
            IntegrityError: ``path`` is not plain and relative.
            OSError: the system reported it, also if a directory above ``path`` is missing or is a link.
        """
        directory, _, name = path.rpartition("/")
        if name in _NO_NAMES or "\0" in name or path.startswith("/"):
            raise _not_plain(path)
        if not HAS_DIR_FD:
            self._check_by_path(directory)
            return os.path.join(self.root, path), None  # noqa: PTH118
        if directory != self._last[0]:
            self._last = directory, self._handle(directory)
        return to_native(name), self._last[1]

    def _handle(self, directory: str) -> int:
        """Return the descriptor of a directory, opened from its nearest open ancestor."""
        handle = self._top if not directory else self._handles.get(directory)
        if handle is not None:
            if directory:
                self._handles.move_to_end(directory)
            return handle
        above = directory
        while handle is None:
            above = above.rpartition("/")[0]
            handle = self._top if not above else self._handles.get(above)
        for name in directory[len(above) + 1 :].split("/") if above else directory.split("/"):
            if name in _NO_NAMES or "\0" in name:
                raise _not_plain(directory)
            above = f"{above}/{name}" if above else name
            handle = self._open(handle, name)
            self._keep(above, handle)
        return handle

    def _open(self, parent: int, name: str) -> int:
        """Open a directory in an open one."""
        return os.open(to_native(name), OPEN_DIRECTORY, dir_fd=parent)

    def _keep(self, directory: str, handle: int) -> None:
        self._handles[directory] = handle
        if len(self._handles) > self._max_open:
            oldest, oldest_handle = self._handles.popitem(last=False)
            if oldest == self._last[0]:
                self._last = "", self._top
            os.close(oldest_handle)

    def _forget(self, directory: str) -> None:
        """Close a directory and those below it; empty means all except the root."""
        for path in [path for path in self._handles if not directory or path == directory or path.startswith(f"{directory}/")]:
            os.close(self._handles.pop(path))
        self._last = "", self._top

    def _check_by_path(self, directory: str) -> None:
        """Check every directory on the way to a path, if they cannot be opened (Windows)."""
        position = os.fspath(self.root)
        for name in directory.split("/") if directory else ():
            if name in _NO_NAMES:
                raise _not_plain(directory)
            position = os.path.join(position, name)  # noqa: PTH118
            facts = os.lstat(position)
            if not stat.S_ISDIR(facts.st_mode) or is_link_on_windows(facts):
                raise NotADirectoryError(position)


def is_link_on_windows(facts: os.stat_result) -> bool:
    """Return whether this "directory" leads somewhere else on Windows, where ``lstat`` reports a junction as a directory."""
    return bool(getattr(facts, "st_reparse_tag", False))


def _not_plain(path: str) -> IntegrityError:
    return IntegrityError(
        f"{path!r:.200} is no path within a data set; nothing was written there",
        hint="The source names a file so that it would lie outside. Do not use it before you know where it is from.",
    )
