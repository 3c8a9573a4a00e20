"""Remove files and whole trees without ever following a link."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

from provisioner.volume.fs.directories import HAS_DIR_FD, OPEN_DIRECTORY
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.fs.modes import set_mode


def remove_tree(path: Path) -> None:
    """Remove ``path`` and everything under it. A path that does not exist is no error.

    Links are removed, never followed, even if one appears meanwhile. Directories that are not writable are made writable
    first. What another process removes meanwhile counts as removed.

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
            remove_at(parent, os.fsencode(path.name))
        finally:
            os.close(parent)


def remove_at(parent: int, name: bytes) -> None:
    """Remove ``name``, a file or a tree, from the open directory ``parent``; see :func:`remove_tree`.

    Raises:
        OSError: from the system.
    """
    if _remove_leaf(parent, name):
        return
    # A stack and not recursion: a tree may be deeper than Python's stack. Each level is one open descriptor.
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
                # Something appeared after the directory was listed: list it again.
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
    """Unlink ``name`` unless it is a directory; return whether it is gone."""
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
    """Open the directory ``name`` and push its descriptor, its name and the names in it onto ``stack``."""
    try:
        handle = os.open(name, OPEN_DIRECTORY, dir_fd=parent)
    except FileNotFoundError:
        return
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=parent)
        handle = os.open(name, OPEN_DIRECTORY, dir_fd=parent)
    try:
        # Listing needs r, removing needs w and x: set once, instead of handling each refusal.
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
