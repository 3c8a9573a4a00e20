"""Extended headers: headers before a tar member that replace fields of its own header which are too small for their values.

Specifications: POSIX.1-2017, "pax", "pax Header Block" (types ``x`` and ``g``); GNU tar manual, "Basic Tar Format" (types
``L`` and ``K``, a long name and a long link target) and "Storing Sparse Files".
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn

from provisioner.volume.archive.errors import broken_archive, unsafe_archive
from provisioner.volume.archive.member import valid_time
from provisioner.volume.archive.tar.sparse import MAX_PIECES
from provisioner.volume.archive.tar_header import parse_decimal, parse_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from provisioner.volume.archive.oddities import Oddities

MAX_EXTENDED_SIZE: Final = 1024 * 1024
"""Bytes of an extended header that are held in memory; the archive states its size."""
MAX_SKIPPED_SIZE: Final = 256 * 1024 * 1024
"""Bytes of an extended header that are skipped, for an attribute that is not needed, such as a resource fork or an ACL."""
MAX_EXTENDED_COUNT: Final = 16
"""Extended headers in a row. Each belongs to the next member, and there must be one."""

_NEEDED: Final = frozenset({b"path", b"linkpath", b"size", b"mtime", b"SCHILY.filetype", b"GNU.dumpdir"})
_SPARSE: Final = b"GNU.sparse."
_MAX_LENGTH_DIGITS: Final = 20
_MAX_KEY: Final = 4096


@dataclass(slots=True)
class Sparse:
    """The description of a sparse file in extended headers."""

    size: int | None = None
    """Bytes, holes included."""
    major: int = 0
    """Version of the format: in version 0 the map is in the headers, in version 1 it precedes the content."""
    name: bytes | None = None
    numbers: array[int] = field(default_factory=partial(array, "Q"))
    """In format 0: offsets and sizes of the stored pieces, alternating."""


@dataclass(slots=True)
class Extended:
    """The values that extended headers state for the next member; ``None`` for those not stated."""

    path: bytes | None = None
    linkpath: bytes | None = None
    size: int | None = None
    mtime_ns: int | None = None
    sparse: Sparse | None = None
    leaves_out: bool = False
    """Whether the member is a directory of an incremental dump that omits some of its files."""

    def add_text(self, kind: int, data: bytes) -> None:
        """Add a long name (``L``) or a long link target (``K``)."""
        if kind == ord("L"):
            self.path = parse_text(data)
        else:
            self.linkpath = parse_text(data)

    def add(self, records: Iterable[tuple[bytes, bytes]], archive: str) -> None:
        """Add the values of another pax header.

        Args:
            records: keys and values.
            archive: name of the archive, for messages.

        Raises:
            BrokenArchiveError: a value is malformed.
            UnsafeArchiveError: it describes a sparse file in a format that is not understood.
        """
        for key, value in records:
            if key == b"path":
                # An empty value cancels earlier ones, so the member's own header applies again.
                self.path = value or None
            elif key == b"linkpath":
                self.linkpath = value or None
            elif key == b"size":
                self.size = parse_decimal(value, archive) if value else None
            elif key == b"mtime":
                self.mtime_ns = _time(value)
            elif key == b"GNU.dumpdir":
                self.leaves_out = self.leaves_out or leaves_out(value)
            elif key.startswith(_SPARSE):
                self._add_sparse(key.removeprefix(_SPARSE), value, archive)
            elif key == b"SCHILY.filetype" and value == b"sparse":
                raise unsupported_sparse(archive)

    def add_global(self, records: Iterable[tuple[bytes, bytes]], archive: str, oddities: Oddities) -> None:
        """Add the values of another global header, of which only a time applies to all following members.

        Raises:
            BrokenArchiveError: it states a name or a size for all members, and no digest proves the archive.
        """
        for key, value in records:
            if key == b"mtime":
                self.mtime_ns = _time(value)
            elif value and (key in {b"path", b"linkpath", b"size"} or key.startswith(_SPARSE)):
                # Readers differ; most ignore it.
                what = key.decode("ascii", "replace")
                refusal = broken_archive(archive, f"a global header sets {what}")
                oddities.accept(f"a global header sets {what}, which is ignored", refusal=refusal)

    def _add_sparse(self, key: bytes, value: bytes, archive: str) -> None:
        if self.sparse is None:
            self.sparse = Sparse()
        sparse = self.sparse
        if key == b"name":
            sparse.name = value or None
        elif key in {b"size", b"realsize"}:
            sparse.size = parse_decimal(value, archive)
        elif key in {b"offset", b"numbytes"}:
            if len(sparse.numbers) >= 2 * MAX_PIECES:
                _fail(archive)
            sparse.numbers.append(parse_decimal(value, archive))
        elif key == b"map":
            sparse.numbers = array("Q", (parse_decimal(number, archive) for number in value.split(b",")) if value else ())
        elif key == b"major":
            sparse.major = parse_decimal(value, archive)
            if sparse.major > 1:
                raise unsupported_sparse(archive)


def unsupported_sparse(archive: str) -> Exception:
    """Return the error for a sparse file in a format that is not understood."""
    return unsafe_archive(archive, "it holds sparse files in an unknown format", hint="Pack it again without --sparse.")


def leaves_out(names: bytes) -> bool:
    """Return whether an incremental dump omits files of a directory because they had not changed.

    The directory's content is a list of names, each with a letter before it (``N``: omitted) and a NUL after it.
    """
    return names.startswith(b"N") or b"\0N" in names


def parse_records(data: bytes, archive: str) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of a pax header: ``LENGTH KEY=VALUE`` and a line feed; the length counts the whole record.

    Zeros may follow the last record: some writers count the padding of the header as its content.

    Raises:
        BrokenArchiveError: it is malformed.
    """
    start = 0
    while start < len(data):
        if not data[start]:
            if data[start:].strip(b"\0"):
                _fail(archive)
            return
        blank = data.find(b" ", start, start + _MAX_LENGTH_DIGITS)
        length = parse_decimal(data[start:blank], archive) if blank > start else 0
        record = data[start : start + length]
        if len(record) != length or not record.endswith(b"\n") or blank >= start + length:
            _fail(archive)
        key, equals, value = record[blank - start + 1 : -1].partition(b"=")
        if not equals:
            _fail(archive)
        yield key, value
        start += length


def stream_records(pieces: Iterator[bytes], archive: str) -> Iterator[tuple[bytes, bytes]]:
    """Yield those records of a large pax header that are needed; skip the others, however large they are.

    Args:
        pieces: its content, which is read to its end.
        archive: name of the archive, for messages.

    Raises:
        BrokenArchiveError: it is malformed, or a needed record is too large.
    """
    buffer = bytearray()

    def fill(count: int) -> bool:
        while len(buffer) < count and (piece := next(pieces, b"")):
            buffer.extend(piece)
        return len(buffer) >= count

    while fill(1):
        if not buffer[0]:
            # Padding; see the docstring.
            while buffer:
                if buffer.strip(b"\0"):
                    _fail(archive)
                buffer.clear()
                fill(1)
            return
        fill(_MAX_LENGTH_DIGITS + _MAX_KEY)
        blank = buffer.find(b" ", 0, _MAX_LENGTH_DIGITS)
        length = parse_decimal(bytes(buffer[:blank]), archive) if blank > 0 else 0
        equals = buffer.find(b"=", blank, min(length, blank + _MAX_KEY))
        if equals < 0 or length <= equals + 1:
            _fail(archive)
        key = bytes(buffer[blank + 1 : equals])
        if key in _NEEDED or key.startswith(_SPARSE):
            if length > MAX_EXTENDED_SIZE:
                raise broken_archive(archive, f"an extended header of {length} bytes for {key.decode('ascii')}")
            if not fill(length) or buffer[length - 1] != ord("\n"):
                _fail(archive)
            yield key, bytes(buffer[equals + 1 : length - 1])
        else:
            while length > len(buffer):
                length -= len(buffer)
                buffer.clear()
                if not fill(1):
                    _fail(archive)
            if buffer[length - 1] != ord("\n"):
                _fail(archive)
        del buffer[:length]


def _fail(archive: str) -> NoReturn:
    raise broken_archive(archive, "an extended header that makes no sense")


def _time(value: bytes) -> int | None:
    """Return seconds with a decimal fraction as exact nanoseconds; ``None`` if the value is negative or not a number."""
    whole, _, fraction = value[:32].partition(b".")
    if not whole.isdigit() or (fraction and not fraction.isdigit()):
        return None
    return valid_time(int(whole), int(fraction[:9].ljust(9, b"0")))
