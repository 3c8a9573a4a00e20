"""The disk space of a tree in bytes, and whether two paths are on the same file system."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from provisioner.volume.fs.descent import Descent
from provisioner.volume.fs.directories import HAS_DIR_FD, OPEN_DIRECTORY
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.fs.paths import nearest_existing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def used_bytes(tree: Path) -> int:
    """Return how many bytes ``tree`` takes on its device, by blocks, not lengths. A file with several names counts once.

    A tree that does not exist takes 0 bytes. Anything that disappears while it is measured, or is in a directory that this
    user cannot list, is not counted. Windows has no block counts, so lengths are used there.
    """
    try:
        facts = os.lstat(tree)
    except OSError:
        return 0
    if not stat.S_ISDIR(facts.st_mode):
        return _bytes_on_device(facts)
    return _bytes_on_device(facts) + _measure(tree, _bytes_on_device)


def content_bytes(tree: Path) -> int:
    """Return how many bytes a file, or the files in a directory, have, by their lengths without holes.

    A file with several names counts once. A path that does not exist has 0 bytes. Anything that :func:`used_bytes` does not
    count is not counted here either.
    """
    try:
        facts = os.lstat(tree)
    except OSError:
        return 0
    if not stat.S_ISDIR(facts.st_mode):
        return _bytes_of_content(facts)
    return _measure(tree, _bytes_of_content)


def _measure(tree: Path, size_of: Callable[[os.stat_result], int]) -> int:
    return _Measurement(size_of).run(tree) if HAS_DIR_FD else _measure_by_path(tree, size_of)


class _Measurement:
    """The bytes of one tree, whose paths may be longer than the system accepts."""

    def __init__(self, size_of: Callable[[os.stat_result], int]) -> None:
        self._size_of = size_of
        self._seen: set[tuple[int, int]] = set()
        self._pending: list[list[bytes]] = []
        """Directories still to be entered, for each level on the way down."""
        self._total = 0

    def run(self, tree: Path) -> int:
        try:
            parent = os.open(tree.parent, OPEN_DIRECTORY & ~getattr(os, "O_NOFOLLOW", 0))
        except OSError:
            return 0
        descent = Descent(parent)
        try:
            self._enter(descent, os.fsencode(tree.name))
            while descent.depth:
                if self._pending[-1]:
                    self._enter(descent, self._pending[-1].pop())
                else:
                    self._pending.pop()
                    descent.leave()
        except OSError:
            pass  # a directory was moved away meanwhile
        finally:
            descent.close()
            os.close(parent)
        return self._total

    def _enter(self, descent: Descent, name: bytes) -> None:
        with contextlib.suppress(OSError):
            descent.enter(name)
            self._pending.append([])
            with os.scandir(descent.handle) as listing:
                for item in listing:
                    with contextlib.suppress(OSError):
                        self._count(os.fsencode(item.name), item.stat(follow_symlinks=False))

    def _count(self, name: bytes, facts: os.stat_result) -> None:
        if stat.S_ISDIR(facts.st_mode):
            self._pending[-1].append(name)
        elif facts.st_nlink > 1:
            if (facts.st_dev, facts.st_ino) in self._seen:
                return
            self._seen.add((facts.st_dev, facts.st_ino))
        self._total += self._size_of(facts)


def _measure_by_path(tree: Path, size_of: Callable[[os.stat_result], int]) -> int:
    """Measure the content of a directory by paths (Windows)."""
    total = 0
    for top, directories, files in os.walk(tree):
        for name in (*directories, *files):
            with contextlib.suppress(OSError):
                total += size_of(os.lstat(os.path.join(top, name)))  # noqa: PTH118
    return total


def _bytes_on_device(facts: os.stat_result) -> int:
    # POSIX counts in units of 512 bytes, whatever the file system's block size.
    blocks: int | None = getattr(facts, "st_blocks", None)
    return facts.st_size if blocks is None else blocks * 512


def _bytes_of_content(facts: os.stat_result) -> int:
    if not stat.S_ISREG(facts.st_mode):
        return 0
    # Some file systems report no blocks for any file.
    return min(facts.st_size, _bytes_on_device(facts) or facts.st_size)


def is_same_filesystem(first: Path, second: Path) -> bool:
    """Return whether two paths are on the same file system; for a missing path, its nearest existing ancestor counts.

    A rename between the two can still fail with ``EXDEV``: two bind mounts of one device count as one file system here.

    Raises:
        VolumeError: the system cannot tell.
    """
    with disk_errors("comparing the file systems of two paths", first):
        return nearest_existing(first).stat().st_dev == nearest_existing(second).stat().st_dev
