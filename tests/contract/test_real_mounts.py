"""Mounts as the kernel lists them, on a file system that is really mounted."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from provisioner.volume.fs import mounts
from provisioner.volume.fs.mounts import is_persistent

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.root
def test_a_real_mount(tmp_path: Path) -> None:
    """The kernel's own table is understood."""
    place = tmp_path / "a place"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place)], check=True)
    try:
        assert is_persistent(place)
        assert mounts._mount_of(place / "x") == (str(place), "tmpfs", "tmpfs")
    finally:
        subprocess.run(["umount", str(place)], check=True)
