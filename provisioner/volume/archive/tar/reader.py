"""The members of a tar archive, in one pass over a stream: POSIX ustar and pax, GNU, and the old V7 format.

Why not :mod:`tarfile`: it takes a damaged header in the middle for the end of the archive, without an error, and takes
several times as long for small files. The formats are those of POSIX.1-2017, "pax", and of the GNU tar manual, "Basic Tar
Format"; what they leave open is refused rather than guessed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provisioner.volume.archive.errors import broken_archive, quoted, unsafe_member
from provisioner.volume.archive.member import Member, valid_time
from provisioner.volume.archive.tar.extended import MAX_EXTENDED_COUNT, MAX_EXTENDED_SIZE, Extended
from provisioner.volume.archive.tar.header import (
    BLOCK_SIZE,
    CHECKSUM,
    MODE,
    MTIME,
    SIZE,
    TARGET,
    TYPE,
    ZERO_BLOCK,
    checksum_matches,
    member_name,
    parse_number,
    parse_text,
)
from provisioner.volume.fs.files import CHUNK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import BinaryIO, NoReturn

_MAX_TRAILER: Final = 64 * 1024 * 1024
"""Bytes after the end mark: padding to the size of a tape's record, and tapes had records of a MiB at most."""

_EXTENDED_TYPES: Final = b"xgXLKV"
_VOLUME_LABEL: Final = ord("V")
_DIRECTORY: Final = ord("5")
_HARD_LINK: Final = ord("1")
_LINK_TYPES: Final = b"12"
_FILE_TYPES: Final = frozenset(b"\x0007")
_REFUSED_TYPES: Final = {
    ord("3"): "a character device",
    ord("4"): "a block device",
    ord("6"): "a FIFO",
    ord("S"): "a sparse file",
    ord("M"): "a part of a file that began in another volume",
    ord("D"): "an incremental dump's directory",
    ord("N"): "an old GNU long name",
}
_OWNER_EXECUTES: Final = 0o100


def read_tar(stream: BinaryIO, name: str, check_cancelled: Callable[[], None]) -> Iterator[Member]:
    """Yield the members of the tar archive in ``stream``, which is read to its end.

    Args:
        stream: the archive's bytes, decompressed.
        name: the archive's name, for messages.
        check_cancelled: called where much may be read without a member; raises to end the work.

    Raises:
        BrokenArchiveError: truncated, without an end mark, or with a damaged header.
        UnsafeArchiveError: a member is neither file, directory nor link.
    """
    reader = _Reader(stream, name, check_cancelled)
    yield from reader.members()
    reader.finish()


class _Reader:
    """A tar archive that is being read."""

    def __init__(self, stream: BinaryIO, name: str, check_cancelled: Callable[[], None]) -> None:
        self._stream = stream
        self._name = name
        self._check_cancelled = check_cancelled
        self._headers = 0
        """Headers so far."""

    def members(self) -> Iterator[Member]:
        """Yield the members up to the end mark."""
        extended, none = Extended(), Extended()
        extended_count = 0
        while (header := self._header()) is not None:
            kind = header[TYPE]
            size = self._number(header[SIZE], "size")
            if kind in _EXTENDED_TYPES:
                extended_count += 1
                if extended_count > MAX_EXTENDED_COUNT:
                    self._fail(f"more than {MAX_EXTENDED_COUNT} extended headers for one member")
                # The label of a volume has no content.
                if kind != _VOLUME_LABEL:
                    extended.update(kind, self._extended_content(size), self._name)
                continue
            yield self._member(header, kind, size if extended.size is None else extended.size, extended)
            if extended_count:
                extended = Extended()
                extended_count = 0
        if extended != none:
            self._fail("it ends after an extended header, and the member is missing")

    def finish(self) -> None:
        """Read what follows the end mark: padding, and the checksum of the compressed stream around it."""
        trailer = 0
        while data := self._stream.read(CHUNK):
            self._check_cancelled()
            trailer += len(data)
            if trailer > _MAX_TRAILER:
                self._fail(f"more than {_MAX_TRAILER} bytes follow its end mark")

    def _header(self) -> bytes | None:
        """Return the next header; ``None`` at the end mark."""
        block = self._stream.read(BLOCK_SIZE)
        if block == ZERO_BLOCK:
            # POSIX demands two; GNU tar accepts one, and so does this reader.
            return None
        self._headers += 1
        if len(block) != BLOCK_SIZE:
            self._fail(f"it ends {'in the middle of a header' if block else 'without an end mark'}")
        if not checksum_matches(block, self._number(block[CHECKSUM], "checksum")):
            self._fail(f"header {self._headers} has a wrong checksum")
        return block

    def _member(self, header: bytes, kind: int, size: int, extended: Extended) -> Member:
        raw = extended.path if extended.path is not None else member_name(header)
        name = raw.decode("utf-8", "surrogateescape")
        if kind in _REFUSED_TYPES:
            raise unsafe_member(self._name, name, f"is {_REFUSED_TYPES[kind]}")
        mtime_ns = extended.mtime_ns if extended.mtime_ns is not None else valid_time(parse_number(header[MTIME]) or 0)
        member = Member(name, "file", mtime_ns=mtime_ns)
        if kind in _FILE_TYPES and not name.endswith("/"):
            member.size = size
            member.executable = bool((parse_number(header[MODE]) or 0) & _OWNER_EXECUTES)
            member.blocks = self._content(size, name)
        elif kind == _DIRECTORY or kind in _FILE_TYPES:
            # V7 had no type for directories, only names with a slash at the end. The size in a directory's own header is a
            # quota: no content follows.
            if size and kind != _DIRECTORY:
                self._fail(f"the directory {quoted(name)} has content")
            member.kind = "directory"
        elif kind in _LINK_TYPES:
            if size and kind == _HARD_LINK:
                # Some writers repeat the content here; programs differ in whether they skip it.
                self._fail(f"the hard link {quoted(name)} has content")
            member.kind = "hardlink" if kind == _HARD_LINK else "symlink"
            target = extended.linkpath if extended.linkpath is not None else parse_text(header[TARGET])
            member.target = target.decode("utf-8", "surrogateescape")
        else:
            raise unsafe_member(self._name, name, f"is of the unknown type {bytes([kind])!r}")
        return member

    def _content(self, size: int, name: str) -> Iterable[bytes]:
        if size <= CHUNK:
            # One read for most files, padding included.
            data = self._stream.read(size + -size % BLOCK_SIZE)
            if len(data) != size + -size % BLOCK_SIZE:
                self._fail(f"it ends in the middle of {quoted(name)}")
            return (data[:size],) if size else ()
        return self._blocks(size, name)

    def _blocks(self, size: int, name: str) -> Iterator[bytes]:
        remaining = size
        while remaining:
            data = self._stream.read(min(remaining, CHUNK))
            if not data:
                self._fail(f"it ends in the middle of {quoted(name)}")
            remaining -= len(data)
            yield data
        if len(self._stream.read(-size % BLOCK_SIZE)) != -size % BLOCK_SIZE:
            self._fail(f"it ends in the middle of {quoted(name)}")

    def _extended_content(self, size: int) -> bytes:
        if size > MAX_EXTENDED_SIZE:
            self._fail(f"an extended header of {size} bytes")
        data = self._stream.read(size + -size % BLOCK_SIZE)
        if len(data) != size + -size % BLOCK_SIZE:
            self._fail("it ends in the middle of an extended header")
        return data[:size]

    def _number(self, field: bytes, what: str) -> int:
        value = parse_number(field)
        if value is None:
            self._fail(f"header {self._headers} has the {what} {field!r}")
        return value

    def _fail(self, reason: str) -> NoReturn:
        raise broken_archive(self._name, reason)
