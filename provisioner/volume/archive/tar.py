"""Members of a tar archive, in one pass over a stream: POSIX ustar and pax, GNU, and the old V7 format.

Why not :mod:`tarfile`: it takes a damaged header in the middle for the end of the archive and says nothing, and it costs
several times as much for small files. The formats are those of POSIX.1-2017, "pax", and of the GNU tar manual,
"Basic Tar Format"; what they leave open is refused here rather than guessed.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from provisioner.errors import BrokenArchiveError, UnsafeArchiveError
from provisioner.volume.archive.member import DAMAGED, NOT_OURS, Member, sensible_time, shown
from provisioner.volume.fs.files import CHUNK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import BinaryIO, NoReturn

_BLOCK: Final = 512
_ZEROS: Final = bytes(_BLOCK)
_MAX_EXTENSION: Final = 1024 * 1024
"""Bytes of one extended header or long name: they are held in memory, and the archive says how many there are."""
_MAX_EXTENSIONS: Final = 16
"""Extended headers in a row: each belongs to the next member, of which there must be one."""
_MAX_TRAILER: Final = 64 * 1024 * 1024
"""Bytes after the end mark: padding to the size of a tape's record, and tapes had records of a MiB at most."""
_SIGN: Final = 0x80
_HALF: Final = _BLOCK // 2
_LOW: Final = 0xFFFF
_OCTAL_ENDS: Final = b"\0 "

_FILES: Final = frozenset(b"\x0007")
_REFUSED: Final = {
    ord("3"): "a character device",
    ord("4"): "a block device",
    ord("6"): "a FIFO",
    ord("S"): "a sparse file",
    ord("M"): "a part of a file that began in another volume",
    ord("D"): "an incremental dump's folder",
    ord("N"): "an old GNU long name",
}


@dataclass(slots=True)
class _Extended:
    """What extended headers say about the next member."""

    path: bytes | None = None
    linkpath: bytes | None = None
    size: int | None = None
    mtime_ns: int | None = None


def read_tar(stream: BinaryIO, name: str, check_cancelled: Callable[[], None]) -> Iterator[Member]:
    """Return the members of the tar archive in ``stream``, which is read to its end; ``name`` is for messages.

    ``check_cancelled`` is called where much may be read without a member to show for it.

    Raises:
        BrokenArchiveError: truncated, no end mark, a damaged header.
        UnsafeArchiveError: a member that is no file, directory or link.
    """
    reader = _Reader(stream, name, check_cancelled)
    yield from reader.members()
    reader.finish()


class _Reader:
    def __init__(self, stream: BinaryIO, name: str, check_cancelled: Callable[[], None]) -> None:
        self._stream = stream
        self._name = name
        self._check_cancelled = check_cancelled
        self._headers = 0

    def members(self) -> Iterator[Member]:
        extended, none = _Extended(), _Extended()
        in_a_row = 0
        while (header := self._header()) is not None:
            kind = header[156]
            size = self._number(header[124:136], "size")
            if kind in b"xgXLKV":
                in_a_row += 1
                if in_a_row > _MAX_EXTENSIONS:
                    self._broken(f"more than {_MAX_EXTENSIONS} extended headers for one member")
                # A volume's label is a header alone.
                if kind != ord("V"):
                    self._extend(extended, kind, self._extension(size))
                continue
            yield self._member(header, kind, size if extended.size is None else extended.size, extended)
            if in_a_row:
                extended = _Extended()
                in_a_row = 0
        if extended != none:
            self._broken("it ends after an extended header, and the member is missing")

    def finish(self) -> None:
        """Read what follows the end mark: padding, and the checksum of the compressed stream around it."""
        rest = 0
        while data := self._stream.read(CHUNK):
            self._check_cancelled()
            rest += len(data)
            if rest > _MAX_TRAILER:
                self._broken(f"more than {_MAX_TRAILER} bytes follow its end mark")

    def _header(self) -> bytes | None:
        """Return the next header; ``None`` at the end mark."""
        block = self._stream.read(_BLOCK)
        if block == _ZEROS:
            # POSIX wants two; GNU tar is content with one, and so are we.
            return None
        self._headers += 1
        if len(block) != _BLOCK:
            self._broken(f"it ends {'in the middle of a header' if block else 'without an end mark'}")
        self._verify(block)
        return block

    def _verify(self, block: bytes) -> None:
        stated = self._number(block[148:156], "checksum")
        # The field itself counts as eight blanks. The lower half of an Adler-32 (RFC 1950) is one more than the sum of its
        # bytes, of up to 257 whatever they are, and it is had in a tenth of the time.
        total = (zlib.adler32(block[:_HALF]) & _LOW) + (zlib.adler32(block[_HALF:]) & _LOW) - 2
        plain = total - sum(block[148:156]) + 8 * ord(" ")
        if stated != plain:
            # Some old systems summed signed characters.
            signed = plain - 256 * sum(byte >= _SIGN for byte in block[:148] + block[156:])
            if stated != signed:
                self._broken(f"header {self._headers} has a wrong checksum")

    def _member(self, header: bytes, kind: int, size: int, extended: _Extended) -> Member:
        raw = extended.path if extended.path is not None else _name_of(header)
        name = raw.decode("utf-8", "surrogateescape")
        if kind in _REFUSED:
            raise UnsafeArchiveError(f"{self._name}: member {shown(name)} is {_REFUSED[kind]}", hint=NOT_OURS)
        mtime_ns = extended.mtime_ns if extended.mtime_ns is not None else sensible_time(_lenient(header[136:148]))
        member = Member(name, "file", mtime_ns=mtime_ns)
        if kind in _FILES and not name.endswith("/"):
            member.size = size
            member.executable = bool(_lenient(header[100:108]) & 0o100)
            member.blocks = self._content(size, name)
        elif kind == ord("5") or kind in _FILES:
            # V7 had no directories, only names with a slash at the end. The size of a directory is a quota, not bytes to come.
            if size and kind != ord("5"):
                self._broken(f"the folder {shown(name)} has content")
            member.kind = "folder"
        elif kind in b"12":
            if size and kind == ord("1"):
                # Some writers put the content here once more; programs differ in whether they skip it.
                self._broken(f"the hard link {shown(name)} has content")
            member.kind = "hardlink" if kind == ord("1") else "symlink"
            target = extended.linkpath if extended.linkpath is not None else _text(header[157:257])
            member.target = target.decode("utf-8", "surrogateescape")
        else:
            raise UnsafeArchiveError(
                f"{self._name}: member {shown(name)} is of the unknown type {bytes([kind])!r}", hint=NOT_OURS
            )
        return member

    def _content(self, size: int, name: str) -> Iterable[bytes]:
        if size <= CHUNK:
            # One read for most files, padding included.
            data = self._stream.read(size + -size % _BLOCK)
            if len(data) != size + -size % _BLOCK:
                self._broken(f"it ends in the middle of {shown(name)}")
            return (data[:size],) if size else ()
        return self._blocks(size, name)

    def _blocks(self, size: int, name: str) -> Iterator[bytes]:
        left = size
        while left:
            data = self._stream.read(min(left, CHUNK))
            if not data:
                self._broken(f"it ends in the middle of {shown(name)}")
            left -= len(data)
            yield data
        if len(self._stream.read(-size % _BLOCK)) != -size % _BLOCK:
            self._broken(f"it ends in the middle of {shown(name)}")

    def _extension(self, size: int) -> bytes:
        if size > _MAX_EXTENSION:
            self._broken(f"an extended header of {size} bytes")
        data = self._stream.read(size + -size % _BLOCK)
        if len(data) != size + -size % _BLOCK:
            self._broken("it ends in the middle of an extended header")
        return data[:size]

    def _extend(self, extended: _Extended, kind: int, data: bytes) -> None:
        if kind == ord("L"):
            extended.path = _text(data)
        elif kind == ord("K"):
            extended.linkpath = _text(data)
        else:
            for key, value in self._records(data):
                if key.startswith(b"GNU.sparse."):
                    raise UnsafeArchiveError(f"{self._name}: it holds sparse files", hint="Pack it again without --sparse.")
                if key not in {b"path", b"linkpath", b"size", b"mtime"}:
                    continue
                if kind == ord("g"):
                    # One name or size for all members: nobody means that. One time for all is not worth keeping.
                    if key != b"mtime":
                        self._broken(f"a global header sets {key.decode()}")
                elif key == b"path":
                    extended.path = value
                elif key == b"linkpath":
                    extended.linkpath = value
                elif key == b"size":
                    extended.size = self._decimal(value)
                else:
                    extended.mtime_ns = _time(value)

    def _records(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Return keys and values of a pax header: ``LENGTH KEY=VALUE`` and a line feed, the length that of all of it."""
        at = 0
        while at < len(data):
            blank = data.find(b" ", at, at + 8)
            length = self._decimal(data[at:blank]) if blank > at else 0
            record = data[at : at + length]
            if len(record) != length or not record.endswith(b"\n") or blank >= at + length:
                self._broken("an extended header that makes no sense")
            key, equals, value = record[blank - at + 1 : -1].partition(b"=")
            if not equals:
                self._broken("an extended header that makes no sense")
            yield key, value
            at += length

    def _decimal(self, text: bytes) -> int:
        # Not int() alone: it takes signs, blanks and underscores.
        if not text.isdigit() or len(text) > len(str(1 << 64)):
            self._broken(f"an extended header with the number {text[:32]!r}")
        return int(text)

    def _number(self, field: bytes, what: str) -> int:
        value = _number(field)
        if value is None:
            self._broken(f"header {self._headers} has the {what} {field!r}")
        return value

    def _broken(self, reason: str) -> NoReturn:
        raise BrokenArchiveError(f"{self._name}: {reason}", hint=DAMAGED)


def _number(field: bytes) -> int | None:
    """Read a number: octal digits, or (GNU) big-endian binary when the first bit is set. ``None``: it is not one."""
    if field[-1] in _OCTAL_ENDS and (digits := field[:-1]).isdigit():
        try:
            return int(digits, 8)
        except ValueError:
            return None
    if field[0] & _SIGN:
        # 0xFF begins a negative number, of which a header has no honest use.
        return None if field[0] & 0x40 else int.from_bytes(field, "big") & ((1 << (len(field) * 8 - 1)) - 1)
    digits = field.split(b"\0", 1)[0].strip(b" ")
    if not digits:
        return 0
    try:
        return int(digits, 8) if digits.isdigit() else None
    except ValueError:
        return None


def _lenient(field: bytes) -> int:
    return _number(field) or 0


def _time(value: bytes) -> int | None:
    """Read seconds with a decimal fraction, exactly; ``None``: before 1970, or no number."""
    whole, _, fraction = value[:32].partition(b".")
    if not whole.isdigit() or (fraction and not fraction.isdigit()):
        return None
    return sensible_time(int(whole), int(fraction[:9].ljust(9, b"0")))


def _text(field: bytes) -> bytes:
    return field.split(b"\0", 1)[0]


def _name_of(header: bytes) -> bytes:
    name = _text(header[:100])
    if header[257:263] == b"ustar\0" and (prefix := _text(header[345:500])):
        return prefix + b"/" + name
    return name
