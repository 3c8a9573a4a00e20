"""The abilities of a file system, determined by trying: symbolic links, names, and large files.

The type of a mount does not tell this: the same FAT file system appears in a container as ``vfat``, ``fuseblk`` or ``9p``.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, Final, Self

from provisioner.catalog.relative_path import windows_objection
from provisioner.volume.fs.atomic import temporary_name
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.fs.files import OPEN_NEW
from provisioner.volume.fs.modes import FILE_MODE
from provisioner.volume.fs.paths import from_native, to_native
from provisioner.volume.fs.remove import remove_leftover

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType

ORDINARY_SIZE: Final = (1 << 32) - 1
"""Bytes of the largest file that every file system can hold; it is the limit of FAT."""
_MOST_TRIED: Final = 1000
"""Maximum number of names that are tried: if a data set has more unusual names, they are all of the same kind."""
_ORDINARY_BYTES: Final = 200


class Probe:
    """A directory in which features are tried, and which is removed afterwards."""

    def __init__(self, parent: Path) -> None:
        """Name the directory; it is not created yet.

        Args:
            parent: an existing directory of ours on the file system.
        """
        self._directory = parent / temporary_name()

    def __enter__(self) -> Self:
        with disk_errors(f"making {self._directory}", self._directory):
            self._directory.mkdir()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        remove_leftover(self._directory)

    def takes_links(self) -> bool:
        """Return whether symbolic links can be created."""
        link = self._directory / "link"
        try:
            os.symlink("target", link)  # noqa: PTH211 - pathlib's does the same
            return os.readlink(link) == "target"
        except (OSError, NotImplementedError):
            return False

    def takes_size(self, size: int) -> bool:
        """Return whether a file can have ``size`` bytes, regardless of the free space."""
        if size <= ORDINARY_SIZE:
            return True
        path = self._directory / "large"
        try:
            handle = os.open(path, OPEN_NEW, FILE_MODE)
        except OSError:
            return False
        try:
            os.ftruncate(handle, size)
        except OSError as error:
            return error.errno != errno.EFBIG
        else:
            return True
        finally:
            os.close(handle)
            with contextlib.suppress(OSError):
                path.unlink()

    def refused_names(self, names: Iterable[str]) -> list[str]:
        """Return the names that no file can have, or that would come back as a different name.

        Args:
            names: single components of paths; at most a thousand unusual ones are tried.
        """
        unusual = [name for name in names if _is_unusual(name)][:_MOST_TRIED]
        return [name for name in unusual if not self._takes_name(name)]

    def _takes_name(self, name: str) -> bool:
        inner = self._directory / "names"
        path = inner / to_native(name)
        try:
            inner.mkdir(exist_ok=True)
            os.close(os.open(path, OPEN_NEW, FILE_MODE))
            found = [from_native(each) for each in os.listdir(inner)]
            path.unlink()
        except (OSError, ValueError):
            return False
        return found == [name]


def _is_unusual(name: str) -> bool:
    """Return whether a file system may refuse a name that Linux's own file systems accept."""
    return not name.isascii() or len(name) > _ORDINARY_BYTES or bool(windows_objection(name))
