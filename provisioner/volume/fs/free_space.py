"""The free space of a file system."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from provisioner.volume.fs.paths import nearest_existing

if TYPE_CHECKING:
    from pathlib import Path

_LARGEST_RESERVE: Final = 32 << 20
_RESERVED_PART: Final = 200
_ABSURD: Final = 1 << 62
"""Bytes: a file system that reports more free space does not know its limit."""


@dataclass(frozen=True, slots=True)
class DeviceSpace:
    """The space that a file system reports, in bytes."""

    total: int
    free: int
    """Bytes that this user can still write."""

    @property
    def reserve(self) -> int:
        """The last bytes, which no data set may use: the status file, the app and the system need them."""
        return min(_LARGEST_RESERVE, self.total // _RESERVED_PART)


def device_space(path: Path) -> DeviceSpace | None:
    """Return the space of the file system of ``path``, which need not exist yet.

    Return ``None`` if it is not known. Some mounts (buckets, network and FUSE file systems) report a size of 0, or numbers
    that contradict each other, which says nothing about how much can be written.
    """
    try:
        where = nearest_existing(path)
        if not hasattr(os, "statvfs"):
            usage = shutil.disk_usage(where)
            return DeviceSpace(usage.total, usage.free) if usage.total > 0 else None
        facts = os.statvfs(where)
    except OSError:
        return None
    unit = facts.f_frsize or facts.f_bsize
    if unit <= 0 or facts.f_blocks <= 0 or not 0 <= facts.f_bavail <= facts.f_blocks or facts.f_bavail * unit > _ABSURD:
        return None
    return DeviceSpace(facts.f_blocks * unit, facts.f_bavail * unit)


def free_bytes(path: Path) -> int | None:
    """Return how many bytes this user can still write to the file system of ``path``, or ``None`` if that is not known."""
    space = device_space(path)
    return space.free if space is not None else None
