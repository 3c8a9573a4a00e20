"""A name that distinguishes one volume from others that share a ``STAGING_DIR``."""

from __future__ import annotations

import contextlib
import re
import secrets
from typing import TYPE_CHECKING, Final

from provisioner.volume.fs.atomic import write_atomic
from provisioner.volume.fs.files import read_file

if TYPE_CHECKING:
    from pathlib import Path

_IDENTITY: Final = re.compile(r"[0-9a-f]{16}")


def new_identity() -> str:
    """Return a new, unused identity."""
    return secrets.token_hex(8)


def read_identity(path: Path) -> str | None:
    """Return the identity in a volume's file, or ``None`` if there is none that can be used."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        text = read_file(path).decode("ascii").strip()
        # The identity becomes part of a path, so any other text is ignored.
        if _IDENTITY.fullmatch(text):
            return text
    return None


def write_identity(path: Path, identity: str) -> None:
    """Write the identity of a volume, unless it already has one from another run that began at the same time.

    Raises:
        VolumeError: it cannot be written.
    """
    if read_identity(path) is None:
        write_atomic(path, f"{identity}\n".encode())
