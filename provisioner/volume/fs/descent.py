"""Descend into a tree of any depth, with few open descriptors and no path that could be too long for the system."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import Final

from provisioner.volume.fs.directories import OPEN_DIRECTORY

_OPEN_AT_MOST: Final = 32
"""Levels above the current one whose descriptors are kept open; those further up are opened again on the way back."""


@dataclass(slots=True)
class _Level:
    handle: int
    """-1 if it is closed for now."""
    name: bytes
    identity: tuple[int, int]
    """Device and inode."""


class Descent:
    """The directories between a parent, which the caller keeps open, and the current one; links are never followed."""

    def __init__(self, parent: int) -> None:
        """Begin in the open directory ``parent``, which is not closed here."""
        self._parent = parent
        self._levels: list[_Level] = []

    @property
    def depth(self) -> int:
        """The number of directories that were entered and have not been left."""
        return len(self._levels)

    @property
    def handle(self) -> int:
        """Descriptor of the current directory."""
        return self._levels[-1].handle if self._levels else self._parent

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode of the current directory, which must have been entered."""
        return self._levels[-1].identity

    def enter(self, name: bytes) -> None:
        """Enter the directory ``name`` in the current one.

        Raises:
            OSError: the system reported it, also if ``name`` is a link.
        """
        handle = os.open(name, OPEN_DIRECTORY, dir_fd=self.handle)
        facts = os.fstat(handle)
        self._levels.append(_Level(handle, name, (facts.st_dev, facts.st_ino)))
        if len(self._levels) > _OPEN_AT_MOST:
            above = self._levels[-1 - _OPEN_AT_MOST]
            os.close(above.handle)
            above.handle = -1

    def leave(self) -> bytes:
        """Go back to the parent directory, and return the name of the directory that was left.

        Raises:
            OSError: the system reported it; ``ESTALE`` if another process moved the directory meanwhile.
        """
        left = self._levels.pop()
        try:
            if self._levels and self._levels[-1].handle < 0:
                self._open_again(self._levels[-1], left.handle)
        finally:
            os.close(left.handle)
        return left.name

    def _open_again(self, above: _Level, below: int) -> None:
        handle = os.open("..", OPEN_DIRECTORY, dir_fd=below)
        facts = os.fstat(handle)
        if (facts.st_dev, facts.st_ino) != above.identity:
            os.close(handle)
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), os.fsdecode(above.name))
        above.handle = handle

    def close(self) -> None:
        """Close all directories that were entered."""
        for level in self._levels:
            if level.handle >= 0:
                os.close(level.handle)
        self._levels.clear()
