"""How much space is free and used, in bytes, and whether two paths share it."""

from __future__ import annotations

import os
import shutil
import stat
from typing import TYPE_CHECKING

from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.fs.paths import nearest_existing

if TYPE_CHECKING:
    from pathlib import Path


def free_bytes(path: Path) -> int:
    """Return how many bytes this user can still write to the file system of ``path``, which need not exist yet.

    Raises:
        VolumeError: the system refuses to tell.
    """
    with disk_errors("asking for the free space", path):
        return shutil.disk_usage(nearest_existing(path)).free


def used_bytes(tree: Path) -> int:
    """Return how many bytes ``tree`` takes on its device: blocks, not lengths. A file with several names counts once.

    A tree that does not exist takes 0 bytes, and what disappears while it is measured is not counted. Windows has no block
    counts: there lengths are used.

    Raises:
        VolumeError: a directory cannot be listed.
    """
    seen: set[tuple[int, int]] = set()
    total = 0
    with disk_errors("measuring", tree):
        try:
            total += _bytes_on_device(os.lstat(tree))
        except FileNotFoundError:
            return 0
        if not stat.S_ISDIR(os.lstat(tree).st_mode):
            return total
        pending = [os.fspath(tree)]
        while pending:
            try:
                with os.scandir(pending.pop()) as listing:
                    for item in listing:
                        try:
                            facts = item.stat(follow_symlinks=False)
                        except FileNotFoundError:
                            continue
                        if stat.S_ISDIR(facts.st_mode):
                            pending.append(item.path)
                        elif facts.st_nlink > 1:
                            if (facts.st_dev, facts.st_ino) in seen:
                                continue
                            seen.add((facts.st_dev, facts.st_ino))
                        total += _bytes_on_device(facts)
            except FileNotFoundError:
                continue
    return total


def _bytes_on_device(facts: os.stat_result) -> int:
    # POSIX counts in units of 512 bytes, whatever the file system's block size.
    blocks: int | None = getattr(facts, "st_blocks", None)
    return facts.st_size if blocks is None else blocks * 512


def is_same_filesystem(first: Path, second: Path) -> bool:
    """Return whether two paths lie on one file system; for a path that does not exist, its nearest existing ancestor counts.

    A rename between the two can still fail with ``EXDEV``: two bind mounts of one device count as one file system here.

    Raises:
        VolumeError: the system refuses to tell.
    """
    with disk_errors("comparing the file systems of two paths", first):
        return nearest_existing(first).stat().st_dev == nearest_existing(second).stat().st_dev
