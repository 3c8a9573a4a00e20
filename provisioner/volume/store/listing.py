"""The names in the store's directories, which may include names that are not the program's own."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING, Final

from provisioner.planning.recipe import VERSION_DIGITS
from provisioner.volume.fs.errors import disk_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_VERSION: Final = re.compile(rf"[0-9a-f]{{{VERSION_DIGITS}}}")


def is_version(name: str) -> bool:
    """Return whether ``name`` has the form of a version."""
    return _VERSION.fullmatch(name) is not None


def names_in(directory: Path) -> Iterator[str]:
    """Yield the names in a directory, sorted; none if the directory does not exist.

    Raises:
        VolumeError: it cannot be listed.
    """
    with disk_errors(f"listing {directory}"):
        try:
            names = sorted(os.listdir(directory))
        except (FileNotFoundError, NotADirectoryError):
            return
    yield from names


def json_names_in(directory: Path) -> Iterator[str]:
    """Yield the names in a directory of records that end in ``.json``, without that ending; none if the directory is a link.

    Raises:
        VolumeError: it cannot be listed.
    """
    for name in names_in(directory) if is_directory(directory) else ():
        stem, suffix = os.path.splitext(name)
        if suffix == ".json":
            yield stem


def is_directory(path: Path) -> bool:
    """Return whether ``path`` is a directory, and not a link to one."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False
