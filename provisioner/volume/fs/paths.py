"""Names as system calls take them, and the part of a path that exists."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

# Names in archives and manifests are UTF-8 bytes; Python decodes names by the locale. Nearly everywhere both are the same.
_SAME_NAMES: Final = os.name == "nt" or sys.getfilesystemencoding().lower() in {"utf-8", "utf8"}


def to_native(path: str) -> str:
    """Return the text for system calls that stands for the bytes of ``path`` (UTF-8 with ``surrogateescape``)."""
    return path if _SAME_NAMES else os.fsdecode(path.encode("utf-8", "surrogateescape"))


def from_native(name: str) -> str:
    """Return the UTF-8 text (``surrogateescape``) of a name that a system call returned; undoes :func:`to_native`."""
    return name if _SAME_NAMES else os.fsencode(name).decode("utf-8", "surrogateescape")


def nearest_existing(path: Path) -> Path:
    """Return ``path`` or its nearest ancestor that exists."""
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
