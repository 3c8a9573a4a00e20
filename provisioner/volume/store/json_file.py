"""JSON documents on the volume, for programs and people.

A file that is read back may have been damaged or made by another program: if it cannot be understood, it counts as missing.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from provisioner.volume.fs.atomic import write_atomic
from provisioner.volume.fs.files import read_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def write_json(path: Path, document: Mapping[str, Any], *, durable: bool = True) -> None:
    """Replace ``path`` by a document, indented and with a line feed at its end; see :func:`write_atomic`.

    Raises:
        VolumeError: the volume failed.
    """
    write_atomic(path, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode(), durable=durable)


def absence_of(path: Path) -> str:
    """Return in words why :func:`read_json` finds no document at a path."""
    try:
        read_file(path)
    except (FileNotFoundError, NotADirectoryError):
        return "is not there"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    return "cannot be understood"


def read_json(path: Path) -> dict[str, Any] | None:
    """Return a document, or ``None`` if there is no file, or it does not hold a JSON object."""
    try:
        document = json.loads(read_file(path))
    except (OSError, ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
