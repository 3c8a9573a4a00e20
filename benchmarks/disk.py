"""A disk that is the same for everybody: an ext4 file system in an image, made anew for every run.

On a file system that is used again and again a run pays for the one before it. ext4 passes over inodes that were freed within
the last minutes, one by one, so that creating 50,000 files just after 50,000 were removed takes many times as long. Who may
not mount gets a new directory each time, and nothing is removed before the end.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.data import GIB

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIZE: Final = 6 * GIB


@contextlib.contextmanager
def fresh(work: Path) -> Iterator[Path]:
    """Return an empty directory on a disk; with root's rights on a file system of its own, which is gone afterwards."""
    work.mkdir(parents=True, exist_ok=True)
    if not may_mount():
        yield Path(tempfile.mkdtemp(dir=work))
        return
    image, place = work / "disk.img", work / "mounted"
    place.mkdir(exist_ok=True)
    with image.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, _SIZE)
    try:
        # Tables are written now and not by the kernel in the background of what is measured.
        options = "lazy_itable_init=0,lazy_journal_init=0,nodiscard"
        subprocess.run(["mkfs.ext4", "-q", "-F", "-E", options, str(image)], check=True)
        subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)
        try:
            folder = place / "target"
            folder.mkdir()
            yield folder
        finally:
            subprocess.run(["umount", str(place)], check=True)
    finally:
        image.unlink()


@contextlib.contextmanager
def small_memory(size: int) -> Iterator[Path]:
    """Return a tmpfs of ``size`` bytes; only for root."""
    folder = Path(tempfile.mkdtemp(prefix="provisioner-bench-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
        folder.rmdir()


def may_mount() -> bool:
    """Return whether this user may mount a file system."""
    return os.geteuid() == 0 and shutil.which("mkfs.ext4") is not None
