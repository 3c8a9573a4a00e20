"""Records that a newer version of this program wrote: they, and what they describe, are left alone.

A program that was rolled back cannot know what such a record means, so it neither replaces nor removes it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from provisioner.errors import VolumeError
from provisioner.volume.fs.files import open_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_HEAD_BYTES: Final = 4096
_SCHEMA: Final = re.compile(rb'"schema_version"\s*:\s*"?(\d{1,9})')


def is_newer(document: Mapping[str, Any] | None, schema: int, *, key: str = "schema_version") -> bool:
    """Return whether a document states under ``key`` a later schema than ``schema``; ``None`` (no document) does not."""
    version = document.get(key) if document is not None else None
    if isinstance(version, str) and version.isascii() and version.isdigit():
        return int(version[:9]) > schema
    return isinstance(version, (int, float)) and not isinstance(version, bool) and version > schema


def is_newer_file(path: Path, schema: int) -> bool:
    """Return whether a JSON file, which may be large, states a later schema at its beginning."""
    try:
        with open_file(path) as file:
            found = _SCHEMA.search(file.read(_HEAD_BYTES))
    except OSError:
        return False
    return found is not None and int(found[1]) > schema


def newer_record_error(label: str, record: Path) -> VolumeError:
    """Return the error for something that cannot be done because a newer version of the program wrote a record."""
    return VolumeError(
        f"{label}: {record} was written by a newer version of this program; it was left alone, with all that belongs to it",
        hint="Use that version again. To do without what it made, remove the record by hand first.",
    )
