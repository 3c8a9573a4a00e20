"""The members of a zip archive, by its index: APPNOTE.TXT 6.3.10 with zip64 and the compression methods that are in use.

Why not :mod:`zipfile`: it holds its whole index in memory (80 MB for a hundred thousand clips), and an index that claims
millions of members, members that overlap, and members that contradict their own headers must be refused before they cost
anything. The content of every member is compared with the size and CRC-32 in the index, and every byte of the file is
accounted for; see :mod:`.gaps`.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Final

from provisioner.volume.archive.errors import broken_archive, quoted, unsafe_archive, unsafe_member
from provisioner.volume.archive.member import Member
from provisioner.volume.archive.zip.content import ContentReader
from provisioner.volume.archive.zip.end import find_index
from provisioner.volume.archive.zip.entry import MAX_32_BITS
from provisioner.volume.archive.zip.gaps import LOCAL_HEADER, Gaps
from provisioner.volume.archive.zip.index import ZipIndex
from provisioner.volume.archive.zip.methods import DEFLATE, ENCRYPTED, FAST_METHODS, METHODS, OTHER_METHODS, STORED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from provisioner.volume.archive.oddities import Oddities
    from provisioner.volume.archive.target import Choose
    from provisioner.volume.archive.zip.end import IndexLocation
    from provisioner.volume.archive.zip.entry import ZipEntry
    from provisioner.volume.staging.incoming import Incoming

_PATCH: Final = 1 << 5
_AES: Final = 99
_MAX_TARGET: Final = 4096
"""Bytes of a link's target."""
_INDEPENDENT_SIZE: Final = 32 * 1024
"""From so many packed bytes on, a member is worth a thread of its own; with a slow method, from an eighth of that on."""
_SLOW_FACTOR: Final = 8
_MAX_DEFLATE_RATIO: Final = 1040
"""Upper bound of the bytes that one byte of deflate data can decode to (two bits for 258 bytes)."""
_OWNER_EXECUTES: Final = 0o100


def read_zip(
    archive: Incoming,
    oddities: Oddities,
    check_cancelled: Callable[[], None],
    max_members: int,
    choose: Choose | None = None,
) -> Iterator[Member]:
    """Yield the members of a zip archive by ascending offset, with their positions if the index has a different order.

    Args:
        archive: its bytes.
        oddities: is told of anything odd, and raises if it cannot be accepted.
        check_cancelled: called for every entry of the index; raises to end the work.
        max_members: how many members there may be.
        choose: given name and size of each file, returns a test for those that are yielded; of the others, only the index is
            read. It may raise for a name that makes the archive unsafe. ``None`` means all.

    Raises:
        BrokenArchiveError: truncated, damaged, contradicting its own index, with members that its index does not list, or odd
            without a digest that proves its bytes.
        UnsafeArchiveError: encrypted, compressed by an unknown method, with overlapping members, with a member that is
            neither file, directory nor link, or with more than ``max_members`` members.
        ProvisionerError: raised by the archive's ``read_at``.
    """
    location = find_index(archive)
    if location.count > max_members:
        raise unsafe_archive(archive.name, f"it claims {location.count} members, more than {max_members}")
    gaps = Gaps(archive, oddities, check_cancelled)
    content = ContentReader(archive, gaps, oddities)
    index = ZipIndex(archive, location, gaps, oddities, check_cancelled=check_cancelled)
    gaps.check_behind(location.behind)
    chosen: Callable[[str], bool] | None = None
    if choose is not None:
        chosen = choose({entry.name: entry.size for _, entry in index.entries() if not entry.is_directory})
        entries = _placed_entries(index, location, archive)
        archive.expect([(entry.offset, limit) for _, entry, limit in entries if chosen(entry.name)])
    is_first = True
    for number, entry, limit in _placed_entries(index, location, archive):
        is_chosen = chosen is None or chosen(entry.name)
        if is_first and is_chosen:
            gaps.check_before(entry.offset)
        is_first = False
        if is_chosen:
            yield _placed(number, _member(entry, limit, content, archive.name, oddities))
    if is_first:
        gaps.check_before(location.offset)


def _placed_entries(index: ZipIndex, location: IndexLocation, archive: Incoming) -> Iterator[tuple[int | None, ZipEntry, int]]:
    """Yield the entry number if the order differs, the entry, and the offset of the next member or the index.

    Raises:
        BrokenArchiveError: a member is not before the index.
        UnsafeArchiveError: a member claims bytes of the next one.
    """
    pending: tuple[int | None, ZipEntry] | None = None
    for number, entry in index.entries():
        if entry.offset >= location.offset:
            raise broken_archive(archive.name, f"{quoted(entry.name)} is not where the index says")
        if pending is not None:
            _check_space(pending[1], entry.offset, archive.name)
            yield (*pending, entry.offset)
        pending = number, entry
    if pending is not None:
        _check_space(pending[1], location.offset, archive.name)
        yield (*pending, location.offset)


def _placed(number: int | None, member: Member) -> Member:
    """Return the member with its position in the archive."""
    member.position = number
    return member


def _member(entry: ZipEntry, limit: int, content: ContentReader, archive: str, oddities: Oddities) -> Member:
    """Return one member; ``limit`` is where the next one begins."""
    entry = _with_true_sizes(entry, limit, oddities)
    if entry.is_name_guessed:
        entry = _with_known_name(entry, limit, content, oddities)
    name = entry.name
    _check_method(entry, archive)
    file_type = stat.S_IFMT(entry.mode)
    # Info-ZIP and 7-Zip mark content that came through a pipe as a FIFO.
    is_from_pipe = file_type == stat.S_IFIFO and entry.size > 0
    if file_type not in {0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK} and not is_from_pipe:
        raise unsafe_member(archive, name, "is a device, a FIFO or a socket")
    member = Member(name, "file", entry.size, bool(entry.mode & _OWNER_EXECUTES), entry.mtime_ns)
    member.needed_from = entry.offset
    if entry.is_directory:
        if entry.size:
            raise broken_archive(archive, f"the directory {quoted(name)} has content")
        member.kind = "directory"
        member.executable = False
        for _ in content.blocks(entry, limit):
            pass
    elif file_type == stat.S_IFLNK:
        if entry.size > _MAX_TARGET:
            raise broken_archive(archive, f"the link {quoted(name)} has a target of {entry.size} bytes")
        member.kind, member.size = "symlink", 0
        member.target = b"".join(content.blocks(entry, limit)).decode("utf-8", "surrogateescape")
    else:
        worth_a_thread = _INDEPENDENT_SIZE if entry.method in FAST_METHODS else _INDEPENDENT_SIZE // _SLOW_FACTOR
        member.independent = entry.packed_size >= worth_a_thread
        is_small = not member.independent and entry.size <= _INDEPENDENT_SIZE
        member.blocks = tuple(content.blocks(entry, limit)) if is_small else content.blocks(entry, limit)
    return member


def _check_method(entry: ZipEntry, archive: str) -> None:
    if entry.flags & ENCRYPTED or entry.method == _AES:
        raise unsafe_member(archive, entry.name, "is encrypted", hint="Find a source without a password.")
    if entry.flags & _PATCH or entry.method not in METHODS:
        known = OTHER_METHODS.get(entry.method, "")
        raise unsafe_member(
            archive,
            entry.name,
            f"is packed by method {entry.method}{f' ({known})' if known else ''}, which we do not know",
            hint=f"Supported are {', '.join(dict.fromkeys(METHODS.values()))}: pack it again with one of them.",
        )


def _check_space(entry: ZipEntry, limit: int, archive: str) -> None:
    """Check that a member ends before the next one begins, by the sizes in the index, some of which are wrong by 4 GiB.

    With overlapping members, a small archive can unpack to petabytes.
    """
    space, packed_size = limit - entry.offset - LOCAL_HEADER.size, entry.packed_size
    if packed_size > space and (packed_size <= MAX_32_BITS or packed_size & MAX_32_BITS > space):
        raise unsafe_archive(
            archive, f"its members overlap: {quoted(entry.name)} claims more bytes than there are before the next"
        )


def _with_true_sizes(entry: ZipEntry, limit: int, oddities: Oddities) -> ZipEntry:
    """Return the entry with its true sizes: some writers state sizes that are wrong by 4 GiB."""
    space = limit - entry.offset - LOCAL_HEADER.size
    packed_size, size = entry.packed_size, entry.size
    if packed_size > space:
        packed_size, size = packed_size & MAX_32_BITS, size & MAX_32_BITS
    if entry.method == STORED and not (size - packed_size) & MAX_32_BITS:
        size = packed_size
    elif entry.method == DEFLATE and size > MAX_32_BITS and size > packed_size * _MAX_DEFLATE_RATIO:
        size &= MAX_32_BITS
    if (packed_size, size) == (entry.packed_size, entry.size):
        return entry
    oddities.accept("members state sizes that differ from the true ones by 4 GiB", entry.name)
    return entry._replace(packed_size=packed_size, size=size)


def _with_known_name(entry: ZipEntry, limit: int, content: ContentReader, oddities: Oddities) -> ZipEntry:
    """Return the entry with the Unicode name from the member's own header, if only that one states it."""
    name = content.unicode_name(entry, limit)
    if name is not None:
        return entry._replace(name=name, is_name_guessed=False, is_directory=entry.is_directory or name.endswith("/"))
    oddities.remark("names are in a code page that it does not state, and were read as code page 437", entry.name)
    return entry
