"""The members of a tar archive, in one pass over a stream: POSIX ustar and pax, GNU, star, and the old V7 format.

Why not :mod:`tarfile`: it silently takes a damaged header in the middle for the end of the archive, and takes several times
as long for small files. The formats are those of POSIX.1-2017, "pax", and of the GNU tar manual, "Basic Tar Format"; what
they leave open is refused rather than guessed, unless a digest proves the bytes and common readers agree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from provisioner.errors import BrokenArchiveError
from provisioner.volume.archive.errors import broken_archive, quoted, unsafe_member
from provisioner.volume.archive.member import Member, valid_time
from provisioner.volume.archive.recognition import recognise
from provisioner.volume.archive.tar.extended import (
    MAX_EXTENDED_COUNT,
    MAX_EXTENDED_SIZE,
    MAX_SKIPPED_SIZE,
    Extended,
    parse_records,
    stream_records,
    unsupported_sparse,
)
from provisioner.volume.archive.tar.sparse import SparseMap, checked, old_map, stored_map
from provisioner.volume.archive.tar.stream import BlockStream
from provisioner.volume.archive.tar_header import (
    BLOCK_SIZE,
    MODE,
    MTIME,
    SIZE,
    TARGET,
    TYPE,
    ZERO_BLOCK,
    is_header,
    is_star,
    member_name,
    parse_number,
    parse_text,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from provisioner.volume.archive.oddities import Oddities

_MAX_TRAILER: Final = 64 * 1024 * 1024
"""Bytes after the end mark: padding up to the record size of a tape, which was a MiB at most."""

_NO_TAR_HINT: Final = "If that is what the publisher offers, its entry should say 'unpack: none' (a reference: '#unpack=none')."

_EXTENDED_TYPES: Final = b"xgXLKVA"
_TEXT_TYPES: Final = b"LK"
_SKIPPED_TYPES: Final = b"VA"
"""Volume labels, and ACLs of Solaris."""
_GLOBAL: Final = ord("g")
_DIRECTORY: Final = ord("5")
_DUMPED_DIRECTORY: Final = ord("D")
_HARD_LINK: Final = ord("1")
_SYMLINK: Final = ord("2")
_OLD_SPARSE: Final = ord("S")
_FILE_TYPES: Final = frozenset(b"\x0007")
_NO_CONTENT: Final = frozenset(b"25")
"""Types whose size field does not state the size of content; that of a directory is a quota."""
_REFUSED_TYPES: Final = {
    ord("3"): "a character device",
    ord("4"): "a block device",
    ord("6"): "a FIFO",
    ord("M"): "a part of a file that began in another volume",
    ord("N"): "an old GNU long name",
}
_OWNER_EXECUTES: Final = 0o100


def read_tar(stream: BinaryIO, name: str, oddities: Oddities, check_cancelled: Callable[[], None]) -> Iterator[Member]:
    """Yield the members of the tar archive in ``stream``, which is read to its end.

    If another archive follows the end mark (archives that were joined), its members are yielded as well.

    Args:
        stream: the archive's bytes, decompressed.
        name: the archive's name, for messages.
        oddities: is told of anything odd, and raises if it cannot be accepted.
        check_cancelled: called where much may be read without reaching a member; raises to end the work.

    Raises:
        BrokenArchiveError: truncated, without an end mark, with a damaged header, or with something after the end mark.
        UnsafeArchiveError: a member is neither file, directory nor link.
    """
    return _Reader(stream, name, oddities, check_cancelled).members()


class _Reader:
    """A tar archive that is being read."""

    def __init__(self, stream: BinaryIO, name: str, oddities: Oddities, check_cancelled: Callable[[], None]) -> None:
        self._stream = BlockStream(stream, name, oddities, check_cancelled)
        self._name = name
        self._oddities = oddities
        self._check_cancelled = check_cancelled
        self._headers = 0
        """Headers so far."""
        self._globals = Extended()

    def members(self) -> Iterator[Member]:
        """Yield the members of this archive and of those that follow it."""
        extended, none = Extended(), Extended()
        extended_count = 0
        while True:
            header = self._header()
            if header is None:
                if extended != none:
                    self._fail("it ends after an extended header, and the member is missing")
                if not self._another_follows():
                    break
                continue
            kind = header[TYPE]
            if kind in _EXTENDED_TYPES:
                extended_count += 1
                if extended_count > MAX_EXTENDED_COUNT:
                    self._fail(f"more than {MAX_EXTENDED_COUNT} extended headers for one member")
                self._extend(extended, kind, self._number(header[SIZE]))
                continue
            yield self._member(header, kind, extended)
            if extended_count:
                extended = Extended()
                extended_count = 0
        if not self._headers:
            self._oddities.remark("it has no members")

    # --- headers and the end

    def _header(self) -> bytes | None:
        """Return the next header; ``None`` at the end mark."""
        block = self._stream.block()
        if block == ZERO_BLOCK:
            # POSIX requires two such blocks; GNU tar accepts one, and so does this reader.
            return None
        if len(block) != BLOCK_SIZE:
            if block.strip(b"\0"):
                self._fail("it ends in the middle of a header")
            self._oddities.accept("it ends without an end mark")
            return None
        self._headers += 1
        if not is_header(block):
            self._fail_at_header(block)
        return block

    def _another_follows(self) -> bool:
        """Read what follows an end mark: padding, and the checksum of the compressed stream around it.

        Returns:
            Whether the members of another archive come next.
        """
        padding = 0
        while block := self._stream.block():
            if block == ZERO_BLOCK:
                self._check_cancelled()
                padding += len(block)
                if padding == _MAX_TRAILER:
                    self._oddities.accept(f"more than {_MAX_TRAILER} bytes follow its end mark")
            elif is_header(block):
                self._oddities.accept("another archive follows its end mark, and its members were unpacked, too")
                self._stream.unread(block)
                self._globals = Extended()
                return True
            elif block.strip(b"\0"):
                self._judge_trailer(block)
        return False

    def _judge_trailer(self, block: bytes) -> None:
        """Judge bytes after the end mark that are neither padding nor a header, so that no data is lost unnoticed."""
        kind = recognise(block)
        if kind is not None and kind.is_archive:
            self._fail(f"{kind.words} follows its end mark")
        self._oddities.accept("bytes that are no members follow its end mark")
        while block := self._stream.block():
            self._check_cancelled()
            if is_header(block):
                self._fail("members follow its end mark, and in between bytes that are none")

    def _fail_at_header(self, block: bytes) -> NoReturn:
        if self._headers == 1 and (kind := recognise(block)) is not None:
            raise BrokenArchiveError(f"{self._name}: it holds {kind.words} and no tar archive", hint=_NO_TAR_HINT)
        self._fail(f"header {self._headers} has a wrong checksum")

    # --- extended headers

    def _extend(self, extended: Extended, kind: int, size: int) -> None:
        """Read the content of an extended header."""
        if size > (MAX_EXTENDED_SIZE if kind in _TEXT_TYPES else MAX_SKIPPED_SIZE):
            self._fail(f"an extended header of {size} bytes")
        if kind in _TEXT_TYPES:
            extended.add_text(kind, self._stream.content(size))
            return
        if kind in _SKIPPED_TYPES:
            self._stream.skip(size)
            return
        if size <= MAX_EXTENDED_SIZE:
            records = parse_records(self._stream.content(size), self._name)
        else:
            records = stream_records(self._stream.pieces(size), self._name)
        if kind == _GLOBAL:
            self._globals.add_global(records, self._name, self._oddities)
        else:
            extended.add(records, self._name)

    # --- members

    def _member(self, header: bytes, kind: int, extended: Extended) -> Member:
        raw = extended.path if extended.path is not None else member_name(header)
        if extended.sparse is not None and extended.sparse.name is not None:
            raw = extended.sparse.name
        name = raw.decode("utf-8", "surrogateescape")
        if kind in _REFUSED_TYPES:
            raise unsafe_member(self._name, name, f"is {_REFUSED_TYPES[kind]}")
        member = Member(name, "file", mtime_ns=self._mtime_ns(header, extended))
        size = 0 if kind in _NO_CONTENT else self._size(header, extended)
        if kind in _FILE_TYPES and not name.endswith("/"):
            self._fill_file(member, header, size, extended)
        elif kind in _FILE_TYPES:
            # V7 had no type for directories, only names that end in a slash.
            if size:
                self._fail(f"the directory {quoted(name)} has content")
            member.kind = "directory"
        elif kind in {_DIRECTORY, _DUMPED_DIRECTORY}:
            self._read_names(size, name, leaves_out=extended.leaves_out)
            member.kind = "directory"
        elif kind in {_HARD_LINK, _SYMLINK}:
            member.kind = "hardlink" if kind == _HARD_LINK else "symlink"
            target = extended.linkpath if extended.linkpath is not None else parse_text(header[TARGET])
            member.target = target.decode("utf-8", "surrogateescape")
            self._fill_link(member, size)
        elif kind == _OLD_SPARSE:
            self._fill_old_sparse(member, header, size)
        else:
            # POSIX: treat a member of an unknown type as a file.
            refusal = unsafe_member(self._name, name, f"is of the unknown type {bytes([kind])!r}")
            self._oddities.accept("members of an unknown type were taken for files", name, refusal=refusal)
            self._fill_file(member, header, size, extended)
        return member

    def _size(self, header: bytes, extended: Extended) -> int:
        return extended.size if extended.size is not None else self._number(header[SIZE])

    def _mtime_ns(self, header: bytes, extended: Extended) -> int | None:
        for stated in (extended, self._globals):
            if stated.mtime_ns is not None:
                return stated.mtime_ns
        seconds = parse_number(header[MTIME])
        return None if seconds is None else valid_time(seconds)

    def _fill_file(self, member: Member, header: bytes, size: int, extended: Extended) -> None:
        member.executable = bool((parse_number(header[MODE]) or 0) & _OWNER_EXECUTES)
        if extended.sparse is None:
            member.size = size
            member.blocks = self._stream.file(size, member.name)
            return
        sparse = extended.sparse
        if sparse.size is None:
            self._fail("an extended header that makes no sense")
        if sparse.major:
            found, length = stored_map(sparse.size, size, self._stream.block, self._name)
            size -= length
        else:
            found = SparseMap(self._name, sparse.size)
            found.add_all(sparse.numbers)
        self._fill_sparse(member, found, size)

    def _fill_old_sparse(self, member: Member, header: bytes, size: int) -> None:
        if is_star(header):
            raise unsupported_sparse(self._name)
        member.executable = bool((parse_number(header[MODE]) or 0) & _OWNER_EXECUTES)
        self._fill_sparse(member, old_map(header, self._stream.block, self._name), size)

    def _fill_sparse(self, member: Member, found: SparseMap, stored: int) -> None:
        member.size = found.size
        member.blocks = checked(found, stored, member.name, self._name).expand(self._stream.pieces(stored, member.name))

    def _fill_link(self, member: Member, size: int) -> None:
        """Read the content of a hard link, if there is any.

        Old writers state the size of the file but write no content; pax may write it again. The next block shows which it is.
        """
        if not size:
            return
        block = self._stream.block()
        if len(block) != BLOCK_SIZE or block == ZERO_BLOCK or is_header(block):
            self._stream.unread(block)
            return
        member.size = size
        member.blocks = self._stream.pieces(size, member.name, block)

    def _read_names(self, size: int, directory: str, *, leaves_out: bool) -> None:
        """Read the content of a directory of an incremental dump: the names of its files."""
        last = b"\0"
        for data in self._stream.pieces(size, directory):
            self._check_cancelled()
            leaves_out = leaves_out or b"\0N" in last + data
            last = data[-1:]
        if leaves_out:
            self._oddities.accept("it is an incremental dump that leaves out files that had not changed", directory)

    # --- errors

    def _number(self, field: bytes) -> int:
        value = parse_number(field)
        if value is None:
            self._fail(f"header {self._headers} has the size {field!r}")
        return value

    def _fail(self, reason: str) -> NoReturn:
        raise broken_archive(self._name, reason)
