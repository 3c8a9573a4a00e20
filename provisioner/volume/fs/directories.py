"""Create directories, and open them so that paths can be relative to them."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from provisioner.errors import VolumeError
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.fs.modes import DIRECTORY_MODE, set_mode

if TYPE_CHECKING:
    from pathlib import Path

HAS_DIR_FD: Final = {
    *(os.open, os.mkdir, os.unlink, os.rmdir, os.stat, os.link, os.symlink, os.readlink, os.rename)
} <= os.supports_dir_fd and os.scandir in os.supports_fd
"""Whether system calls accept paths relative to an open directory (they do not on Windows)."""
OPEN_DIRECTORY: Final[int] = (
    os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
)


def make_directory(path: Path) -> None:
    """Create the directory ``path`` and its missing parents, with mode 0775 whatever the umask; existing ones stay unchanged.

    Raises:
        VolumeFullError: no space.
        VolumeNotWritableError: permission denied, or a read-only volume.
        VolumeError: anything else, such as a file in the way.
    """
    with disk_errors(f"making the directory {path}", path):
        missing = [path]
        while not missing[-1].exists() and missing[-1] != missing[-1].parent:
            missing.append(missing[-1].parent)
        for directory in reversed(missing[:-1] if missing[-1].is_dir() else missing):
            try:
                os.mkdir(directory, DIRECTORY_MODE)  # noqa: PTH102
            except FileExistsError:
                # Another process may have created it meanwhile; a file or a dangling link in its place is an error.
                if not directory.is_dir():
                    raise
            else:
                _undo_umask(directory)


def make_plain_directory(path: Path) -> None:
    """Create a directory that only this program uses; see :func:`make_directory`. A link in its place is not followed.

    Raises:
        VolumeError: a link is there, or see :func:`make_directory`.
    """
    make_directory(path)
    with disk_errors(f"looking at {path}", path):
        facts = os.lstat(path)
    if not stat.S_ISDIR(facts.st_mode):
        raise VolumeError(
            f"{path} is a link, and what it leads to is not the provisioner's: nothing was written there",
            hint="Put a plain directory in its place, with what belongs there, or remove the link; then start again.",
        )


def _undo_umask(directory: Path) -> None:
    if HAS_DIR_FD:
        handle = os.open(directory, OPEN_DIRECTORY)
        try:
            set_mode(handle, DIRECTORY_MODE)
        finally:
            os.close(handle)
