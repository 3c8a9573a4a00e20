"""A member's own header, compared with the entry of the member in the index.

Specification: APPNOTE.TXT 6.3.10, sections 4.3.7 (local file header) and 4.4 (its fields).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from provisioner.volume.archive.errors import broken_archive, quoted
from provisioner.volume.archive.zip.entry import MAX_32_BITS, extra_fields
from provisioner.volume.archive.zip.methods import ENCRYPTED
from provisioner.volume.archive.zip.names import UNICODE_PATH_FIELD, decode_name, same_name

if TYPE_CHECKING:
    from provisioner.volume.archive.oddities import Oddities
    from provisioner.volume.archive.zip.entry import ZipEntry

_HAS_DESCRIPTOR: Final = 1 << 3


class LocalHeader(NamedTuple):
    """A member's own header."""

    flags: int
    method: int
    crc: int
    packed_size: int
    size: int
    raw_name: bytes
    extra: bytes
    """Its extra fields."""


def check_local(entry: ZipEntry, local: LocalHeader, archive: str, oddities: Oddities) -> None:
    """Check that a member's own header states the same name and method as the index.

    Names may differ in the separator and in their encoding. The name in the index counts.

    Args:
        entry: what the index states.
        local: the member's own header.
        archive: name of the archive, for messages.
        oddities: is told of differences.

    Raises:
        BrokenArchiveError: it contradicts the index.
    """
    if local.method != entry.method or (local.flags ^ entry.flags) & ENCRYPTED:
        raise broken_archive(archive, f"{quoted(entry.name)} says something else of itself than the index does")
    if local.raw_name != entry.raw_name and not _is_same_name(entry, local):
        oddities.accept("members say something else of themselves than the index does: another name", entry.name)


def check_local_sizes(entry: ZipEntry, local: LocalHeader, oddities: Oddities) -> None:
    """Check that a member's own header leaves out sizes and checksum, or states those of the index, which are right.

    Raises:
        BrokenArchiveError: it contradicts the index.
    """
    stated = local.crc, local.packed_size, local.size
    right = entry.crc, entry.packed_size & MAX_32_BITS, entry.size & MAX_32_BITS
    if stated == right or (local.flags | entry.flags) & _HAS_DESCRIPTOR:
        return
    if any(here not in {0, MAX_32_BITS, there} for here, there in zip(stated, right, strict=True)):
        oddities.accept("members say something else of themselves than the index does: another size or checksum", entry.name)


def local_unicode_name(entry: ZipEntry, extra: bytes) -> str | None:
    """Return the name in Unicode that a member's own header states for the name in the index."""
    field = extra_fields(extra).get(UNICODE_PATH_FIELD, b"")
    name, is_guessed = decode_name(entry.raw_name, entry.flags, entry.host, field)
    return None if is_guessed else name


def _is_same_name(entry: ZipEntry, local: LocalHeader) -> bool:
    field = extra_fields(local.extra).get(UNICODE_PATH_FIELD, b"")
    name, _ = decode_name(local.raw_name, local.flags, entry.host, field)
    return same_name(name, entry.name) or same_name(decode_name(local.raw_name, entry.flags, entry.host, b"")[0], entry.name)
