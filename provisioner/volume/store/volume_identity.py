"""A name that tells one volume from others which share a ``STAGING_DIR``."""

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
    """Return an identity that no volume has."""
    return secrets.token_hex(8)


def read_identity(path: Path) -> str | None:
    """Return the identity that a volume's file states; ``None``: there is none that could be used."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        text = read_file(path).decode("ascii").strip()
        # It becomes part of a path, so any other text is ignored.
        if _IDENTITY.fullmatch(text):
            return text
    return None


def write_identity(path: Path, identity: str) -> None:
    """Write the identity of a volume, unless it has one: another run that began at the same time may have been faster.

    Raises:
        VolumeError: it cannot be written.
    """
    if read_identity(path) is None:
        write_atomic(path, f"{identity}\n".encode())
