"""JSON documents on the volume, for programs and people.

A file that is read back may have been damaged or made by another program: if it cannot be understood, it counts as missing.
"""

from __future__ import annotations

import errno
import json
from typing import TYPE_CHECKING, Any, Final

from provisioner.volume.fs.atomic import write_atomic
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.fs.files import CHUNK, open_file, read_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_NO_RECORD: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ELOOP})
"""The errors of reading a record that does not exist, or is not a file."""


def write_json(path: Path, document: Mapping[str, Any], *, durable: bool = True) -> None:
    """Replace ``path`` by a document, indented and with a line feed at its end; see :func:`write_atomic`.

    Raises:
        VolumeError: the volume failed.
    """
    write_atomic(path, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode(), durable=durable)


def check_readable(path: Path) -> None:
    """Check that a record can be read, or does not exist; call this before removing what the record describes.

    Raises:
        VolumeError, VolumeNotWritableError: the record cannot be read now, which does not mean that it is damaged.
    """
    with disk_errors(f"reading {path}", path):
        try:
            with open_file(path) as file:
                while file.read(CHUNK):
                    pass
        except OSError as error:
            if error.errno not in _NO_RECORD:
                raise


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
