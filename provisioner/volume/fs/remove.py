"""Remove files and whole trees of any depth without ever following a link."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from provisioner.errors import ProvisionerError
from provisioner.volume.fs.descent import Descent
from provisioner.volume.fs.directories import HAS_DIR_FD, OPEN_DIRECTORY
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.fs.modes import set_mode
from provisioner.volume.fs.mounts import mounts_below

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_LOGGER = logging.getLogger(__name__)
_MOST_LISTINGS: Final = 100
"""Maximum number of times that a directory is listed again because something appears while it is emptied."""
_reported: set[str] = set()
"""Leftovers that this process has already reported."""


def remove_tree(path: Path) -> None:
    """Remove ``path`` and everything under it. It is not an error if the path does not exist.

    Links are removed, never followed, even if one appears meanwhile. Directories that are not writable are made writable
    first. Anything that another process removes meanwhile counts as removed. Mount points below ``path`` are not entered.
    Everything that can be removed is removed before an error is raised.

    Raises:
        VolumeNotWritableError: permission denied, or a read-only volume.
        VolumeError: any other error of the system.
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
            remove_at(parent, os.fsencode(path.name), mounted=lambda: mounts_below(path))
        finally:
            os.close(parent)


def remove_leftover(path: Path) -> bool:
    """Remove as much as possible of something that is no longer needed; return whether all of it is gone.

    What cannot be removed (immutable, in use, another user's, mounted) is reported once and left in place: nobody reads it,
    and it must not stop a run.
    """
    try:
        remove_tree(path)
    except ProvisionerError as error:
        if str(path) not in _reported:
            _reported.add(str(path))
            _LOGGER.warning("%s; it is of no use any more, takes space and is left there", error.message)
        return False
    return True


def remove_at(parent: int, name: bytes, *, mounted: Callable[[], Collection[tuple[int, int]]] = tuple) -> None:
    """Remove ``name``, a file or a tree, from the open directory ``parent``; see :func:`remove_tree`.

    Args:
        parent: descriptor of the directory.
        name: the name in that directory.
        mounted: returns device and inode of directories that must not be entered; called only for a tree.

    Raises:
        OSError: the system reported it; the first of several errors.
    """
    removal = _Removal(parent, mounted)
    try:
        removal.run(name)
    finally:
        removal.close()


class _Removal:
    """The removal of one tree, with a stack instead of recursion, since it may be deeper than Python's stack."""

    def __init__(self, parent: int, mounted: Callable[[], Collection[tuple[int, int]]]) -> None:
        self._descent = Descent(parent)
        self._find_mounted = mounted
        self._mounted: Collection[tuple[int, int]] = ()
        self._device: int | None = None
        self._failure: OSError | None = None
        self._pending: list[list[bytes]] = []
        """Names still to be removed, for each directory on the way down."""
        self._failed: list[set[bytes]] = []
        """Names that cannot be removed, for each directory likewise."""
        self._listings: list[int] = []

    def close(self) -> None:
        self._descent.close()

    def run(self, name: bytes) -> None:
        self._remove(name)
        while self._descent.depth:
            if self._pending[-1]:
                self._remove(self._pending[-1].pop())
            else:
                self._end_directory()
        if self._failure is not None:
            raise self._failure

    def _remove(self, name: bytes) -> None:
        """Unlink a name in the current directory, or enter it."""
        try:
            if not _remove_leaf(self._descent.handle, name):
                self._enter(name)
        except OSError as error:
            self._fail(name, error)

    def _enter(self, name: bytes) -> None:
        above = self._descent.handle
        try:
            self._descent.enter(name)
        except FileNotFoundError:
            return
        except PermissionError:
            os.chmod(name, 0o700, dir_fd=above)
            self._descent.enter(name)
        try:
            device, _ = self._descent.identity
            if self._device is None:
                self._device, self._mounted = device, self._find_mounted()
            if device != self._device or self._descent.identity in self._mounted:
                raise OSError(errno.EBUSY, "Something is mounted there", os.fsdecode(name))  # noqa: TRY301
            # Listing needs r, removing needs w and x: set them once, instead of handling each refusal.
            _let_owner_change(self._descent.handle)
            names = _names(self._descent.handle)
        except BaseException:
            self._descent.leave()
            raise
        self._pending.append(names)
        self._failed.append(set())
        self._listings.append(1)

    def _end_directory(self) -> None:
        """Remove the current directory, which has been emptied as far as possible."""
        self._pending.pop()
        failed, listings = self._failed.pop(), self._listings.pop()
        try:
            name = self._descent.leave()
        except OSError as error:
            # Another process has moved or removed the directories above, which can no longer be found.
            if not isinstance(error, FileNotFoundError):
                self._failure = self._failure or error
            self._descent.close()
            return
        try:
            os.rmdir(name, dir_fd=self._descent.handle)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno in {errno.ENOTEMPTY, errno.EEXIST} and not failed and listings < _MOST_LISTINGS:
                # Something appeared after the directory was listed; list it again.
                self._remove(name)
                if len(self._listings) == self._descent.depth and self._listings:
                    self._listings[-1] = listings + 1
                return
            self._fail(name, error)

    def _fail(self, name: bytes, error: OSError) -> None:
        self._failure = self._failure or error
        if self._failed:
            self._failed[-1].add(name)


def _remove_leaf(parent: int, name: bytes) -> bool:
    """Unlink ``name`` unless it is a directory; return whether it is gone."""
    try:
        if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            return False
        try:
            os.unlink(name, dir_fd=parent)
        except PermissionError:
            if not _let_owner_change(parent):
                raise
            os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        pass
    return True


def _let_owner_change(directory: int) -> bool:
    """Let the owner list and change an open directory; return ``False`` if nothing had to be done, or it is not possible."""
    mode = stat.S_IMODE(os.fstat(directory).st_mode)
    return mode & 0o700 != 0o700 and set_mode(directory, mode | 0o700)  # noqa: PLR2004


def _names(handle: int) -> list[bytes]:
    return [os.fsencode(found) for found in os.listdir(handle)]


def _remove_by_path(path: Path) -> None:
    """Remove a tree by paths, where directories have no descriptors (Windows)."""
    try:
        facts = os.lstat(path)
    except FileNotFoundError:
        return
    # lstat reports a junction as a directory, but it is a link: unlinking removes the junction and nothing behind it.
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
