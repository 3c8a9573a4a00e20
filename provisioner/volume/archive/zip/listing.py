"""The names, sizes and CRC-32 in the index of a zip, without the rest of the archive, for content that is elsewhere.

A CRC-32 detects accidental differences between a file and a member, but it can be forged.
"""

from __future__ import annotations

import stat
import zlib
from typing import TYPE_CHECKING, Final

from provisioner.volume.archive.errors import broken_archive
from provisioner.volume.archive.member import Member
from provisioner.volume.archive.zip.end import find_index, read_fully
from provisioner.volume.archive.zip.entry import ENTRY, ENTRY_SIGNATURE, entry_length, parse_entry

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from provisioner.volume.archive.zip.entry import ZipEntry
    from provisioner.volume.staging.incoming import Incoming

LARGEST_INDEX: Final = 64 << 20
"""Bytes of an index that is read as a whole."""
_OWNER_EXECUTES: Final = 0o100
_AT_ONCE: Final = 1 << 20


def read_listing(archive: Incoming) -> list[ZipEntry] | None:
    """Return the entries of an index in the order of their members; ``None`` if any is not a plain file or directory.

    ``None`` is also returned if the index holds more entries than its end record states, since some writers count modulo
    65,536; only reading the whole archive can tell.

    Raises:
        BrokenArchiveError: there is no index, or it is damaged.
        ProvisionerError: raised by the archive's ``read_at``.
    """
    location = find_index(archive)
    if location.length > LARGEST_INDEX:
        return None
    data = read_fully(archive, location.offset, location.length)
    entries: list[ZipEntry] = []
    at = 0
    for _ in range(location.count):
        head = data[at : at + ENTRY.size]
        if len(head) < ENTRY.size or head[:4] != ENTRY_SIGNATURE or at + entry_length(head) > len(data):
            raise broken_archive(archive.name, "its index ends in the middle")
        entry = parse_entry(data[at : at + entry_length(head)], location.prefix, archive.name)
        if entry.is_name_guessed or entry.flags & 1 or stat.S_IFMT(entry.mode) not in {0, stat.S_IFREG, stat.S_IFDIR}:
            return None
        entries.append(entry)
        at += entry_length(head)
    if at != len(data) or len({entry.name for entry in entries}) != len(entries):
        return None
    return sorted(entries, key=lambda entry: entry.offset)


def listed_member(entry: ZipEntry, path: Path | None, archive: str) -> Member:
    """Return a member as stated in the index, with the content of a file, which is compared while it is read.

    Args:
        entry: the entry of the index.
        path: the file, or ``None`` if the member is a directory.
        archive: name of the archive, for messages.
    """
    if path is None:
        return Member(entry.name, "directory", mtime_ns=entry.mtime_ns)
    return Member(
        entry.name,
        "file",
        entry.size,
        bool(entry.mode & _OWNER_EXECUTES),
        entry.mtime_ns,
        blocks=_compared(entry, path, archive),
    )


def _compared(entry: ZipEntry, path: Path, archive: str) -> Iterable[bytes]:
    crc, size = 0, 0
    with path.open("rb", buffering=0) as file:
        while data := file.read(_AT_ONCE):
            crc, size = zlib.crc32(data, crc), size + len(data)
            yield data
    if (crc, size) != (entry.crc, entry.size):
        raise broken_archive(archive, f"{path} was changed while it was read")


def has_content(entry: ZipEntry, path: Path) -> bool:
    """Return whether a file has the size and the CRC-32 in the index.

    Raises:
        OSError: it cannot be read.
    """
    if path.stat().st_size != entry.size:
        return False
    crc = 0
    with path.open("rb", buffering=0) as file:
        while data := file.read(_AT_ONCE):
            crc = zlib.crc32(data, crc)
    return crc == entry.crc
