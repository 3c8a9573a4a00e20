"""Names in the form that system calls take, and the existing part of a path."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

# Names in archives and manifests are UTF-8 bytes, while Python decodes names by the locale. Nearly everywhere both agree.
_SAME_NAMES: Final = os.name == "nt" or sys.getfilesystemencoding().lower() in {"utf-8", "utf8"}


def to_native(path: str) -> str:
    """Return the text that system calls need for the bytes of ``path`` (UTF-8 with ``surrogateescape``)."""
    return path if _SAME_NAMES else os.fsdecode(path.encode("utf-8", "surrogateescape"))


def from_native(name: str) -> str:
    """Return the UTF-8 text (``surrogateescape``) of a name that a system call returned; the reverse of :func:`to_native`."""
    return name if _SAME_NAMES else os.fsencode(name).decode("utf-8", "surrogateescape")


def nearest_existing(path: Path) -> Path:
    """Return ``path`` or its nearest ancestor that exists."""
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
