"""The members of a zip archive, by its index: APPNOTE.TXT 6.3.10 with zip64, stored, deflate, bzip2, LZMA and Zstandard.

Why not :mod:`zipfile`: it holds its whole index in memory (80 MB for a hundred thousand clips), and an index that claims
millions of members, members that overlap, and members that differ from their own headers must be refused before they cost
anything. The content of every member is compared with size and CRC-32 of the index.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Final

from provisioner.volume.archive.errors import broken_archive, quoted, unsafe_archive, unsafe_member
from provisioner.volume.archive.member import Member
from provisioner.volume.archive.zip.content import ENCRYPTED, FAST_METHODS, LOCAL_HEADER, METHODS, ContentReader
from provisioner.volume.archive.zip.index import ZipIndex, find_index

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from provisioner.volume.archive.zip.entry import ZipEntry
    from provisioner.volume.staging.incoming import Incoming

_PATCH: Final = 1 << 5
_AES: Final = 99
_MAX_TARGET: Final = 4096
"""Bytes of a link's target."""
_INDEPENDENT_SIZE: Final = 32 * 1024
"""Packed bytes from which on a member is worth a thread; for a slow method, an eighth of it."""
_SLOW_FACTOR: Final = 8
_OWNER_EXECUTES: Final = 0o100


def read_zip(archive: Incoming, check_cancelled: Callable[[], None], max_members: int) -> Iterator[Member]:
    """Yield the members of a zip archive by ascending offset; with their position, if its index has another order.

    Raises:
        BrokenArchiveError: truncated, followed by something else, damaged, or contradicting its own index.
        UnsafeArchiveError: encrypted, packed by an unknown method, with overlapping members, with a member that is neither
            file, directory nor link, or with more than ``max_members`` members.
        ProvisionerError: raised by the archive's ``read_at``.
    """
    location = find_index(archive)
    if location.count > max_members:
        raise unsafe_archive(archive.name, f"it claims {location.count} members, more than {max_members}")
    content = ContentReader(archive)
    claimed, size = 0, archive.size
    for number, entry in ZipIndex(archive, location, check_cancelled).entries():
        # Members that share bytes are how a small archive unpacks to petabytes.
        claimed += entry.packed_size + LOCAL_HEADER.size + len(entry.raw_name)
        if claimed > size:
            raise unsafe_archive(archive.name, "its members overlap: they claim more bytes than it has")
        member = _member(entry, content, archive.name)
        member.needed_from, member.position = min(entry.offset, size), number
        yield member


def _member(entry: ZipEntry, content: ContentReader, archive: str) -> Member:
    name = entry.name
    if entry.flags & ENCRYPTED or entry.method == _AES:
        raise unsafe_member(archive, name, "is encrypted", hint="Find a source without a password.")
    if entry.flags & _PATCH or entry.method not in METHODS:
        raise unsafe_member(
            archive,
            name,
            f"is packed by method {entry.method}, which we do not know",
            hint="Supported are stored, deflate, bzip2, LZMA and Zstandard: pack it again with one of them.",
        )
    file_type = stat.S_IFMT(entry.mode)
    if file_type not in {0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK}:
        raise unsafe_member(archive, name, "is a device, a FIFO or a socket")
    member = Member(name, "file", entry.size, bool(entry.mode & _OWNER_EXECUTES), entry.mtime_ns)
    if name.endswith("/") or file_type == stat.S_IFDIR:
        if entry.size:
            raise broken_archive(archive, f"the directory {quoted(name)} has content")
        member.kind = "directory"
    elif file_type == stat.S_IFLNK:
        if entry.size > _MAX_TARGET:
            raise broken_archive(archive, f"the link {quoted(name)} has a target of {entry.size} bytes")
        member.kind, member.size = "symlink", 0
        member.target = b"".join(content.blocks(entry)).decode("utf-8", "surrogateescape")
    else:
        member.blocks = content.blocks(entry)
        worth_a_thread = _INDEPENDENT_SIZE if entry.method in FAST_METHODS else _INDEPENDENT_SIZE // _SLOW_FACTOR
        member.independent = entry.packed_size >= worth_a_thread
    return member
