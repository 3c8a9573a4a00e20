"""The kind of mount that a path is on, which decides whether links, renames and locks can be trusted.

It is read from Linux's mount table (``man 5 proc``, "mountinfo"). On other systems, every mount counts as an ordinary one.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

_TABLE: Final = Path("/proc/self/mountinfo")
_OBJECT_STORES: Final = re.compile(
    r"fuse\.(hf-mount\S*|s3fs|mount-s3|mountpoint-s3|gcsfuse|goofys|geesefs|blobfuse2?|rclone|ossfs|cosfs)"
)
_ONE_KERNEL: Final = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "bcachefs", "tmpfs", "overlay"})
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


def kind_of(path: Path) -> Literal["posix", "object"]:
    """Return ``object`` if a path is on an object store that is mounted as a file system, else ``posix``."""
    found = _mount_of(path)
    if found is None:
        return "posix"
    _, kind, source = found
    return "object" if _OBJECT_STORES.fullmatch(kind) or source.startswith("hf-mount") else "posix"


def has_one_kernel(path: Path) -> bool:
    """Return whether all processes that use the file system of a path use it through one kernel, as far as that is known.

    If so, a lock excludes all of them, and its next holder sees what the previous one has written.
    """
    found = _mount_of(path)
    return found is not None and found[1] in _ONE_KERNEL


def is_fuse(path: Path) -> bool:
    """Return whether the file system of a path is served by a program (FUSE) instead of the kernel."""
    found = _mount_of(path)
    return found is not None and (found[1] in {"fuse", "fuseblk"} or found[1].startswith("fuse."))


def is_persistent(path: Path) -> bool:
    """Return whether a path outlives its container, that is, is on a mount other than the root file system."""
    found = _mount_of(path)
    return found is None or found[0] != "/"


def mounts_below(path: Path) -> frozenset[tuple[int, int]]:
    """Return device and inode of each directory at or below ``path`` on which something is mounted."""
    found = set()
    real = os.path.realpath(path)
    for point, _, _ in _mounts():
        if point == real or point.startswith(f"{real}/"):
            with contextlib.suppress(OSError):
                facts = os.stat(point)  # noqa: PTH116
                found.add((facts.st_dev, facts.st_ino))
    return frozenset(found)


def is_linkable(one: Path, other: Path) -> bool:
    """Return whether hard links between two directories are possible: if both are on one device and on the same mount.

    Each bind mount is a mount of its own, and links across mounts are refused even on one device.
    """
    try:
        is_one_device = one.stat().st_dev == other.stat().st_dev
    except OSError:
        return False
    return is_one_device and _mount_of(one) == _mount_of(other)


def _mount_of(path: Path) -> tuple[str, str, str] | None:
    """Return mount point, type and source of the mount that holds ``path``, or ``None`` if the system does not tell."""
    real = os.path.realpath(path)
    best: tuple[str, str, str] | None = None
    for mount in _mounts():
        point = mount[0]
        inside = point in {"/", real} or real.startswith(f"{point}/")
        # If several mounts have the same mount point, the last in the table is the visible one.
        if inside and (best is None or len(point) >= len(best[0])):
            best = mount
    return best


def _mounts() -> Iterator[tuple[str, str, str]]:
    """Yield mount point, type and source of every mount; nothing if the system does not tell."""
    try:
        table = _TABLE.read_text("utf-8", "surrogateescape")
    except OSError:
        return
    for line in table.splitlines():
        left, _, right = line.partition(" - ")
        fields, rest = left.split(" "), right.split(" ")
        if len(fields) < 5 or len(rest) < 2:  # noqa: PLR2004 - the fifth field is the mount point, then type and source
            continue
        yield _ESCAPED.sub(lambda match: chr(int(match[1], 8)), fields[4]), rest[0], rest[1]
