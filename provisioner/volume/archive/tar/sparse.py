"""Sparse files: only the pieces between holes are stored, with a map of their offsets.

Specification: GNU tar manual, "Storing Sparse Files", for the pax formats 0.0, 0.1 and 1.0 and for the old GNU format (type
``S``). ``bsdtar`` writes the format 1.0 unasked.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final

from provisioner.volume.archive.errors import broken_archive, quoted
from provisioner.volume.archive.tar_header import (
    BLOCK_SIZE,
    SPARSE_CONTINUES,
    SPARSE_MAP,
    SPARSE_SIZE,
    parse_decimal,
    parse_number,
)
from provisioner.volume.fs.files import CHUNK, Hole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MAX_MAP_SIZE: Final = 16 * 1024 * 1024
"""Bytes of a map: it is held in memory, and the archive states its size."""
MAX_PIECES: Final = 1_000_000
"""Pieces of one file: each takes memory."""

_MAX_SIZE: Final = 1 << 40
"""Bytes of a sparse file, including holes: holes are hashed as well, and cost an archive nothing."""
_FIELD: Final = 12
"""Bytes of a number in a map of the old GNU format."""
_NEXT_MAP: Final = slice(0, 504)
_NEXT_CONTINUES: Final = 504
_MAX_NUMBER: Final = 21
_HOLE: Final = Hole(CHUNK)


class SparseMap:
    """The offsets and sizes of the stored pieces of one file."""

    def __init__(self, archive: str, size: int) -> None:
        """Start with no piece in a file of ``size`` bytes; ``archive`` is the archive's name, for messages.

        Raises:
            BrokenArchiveError: the file is too large.
        """
        if size > _MAX_SIZE:
            raise broken_archive(archive, f"the map of a sparse file of {size} bytes, more than {_MAX_SIZE}")
        self._archive = archive
        self.size = size
        self.stored = 0
        """Bytes of all pieces."""
        self._numbers = array("Q")
        self._end = 0

    def add(self, place: int, size: int) -> None:
        """Add the next piece.

        Raises:
            BrokenArchiveError: it does not follow the previous one, is outside the file, or makes the map too large.
        """
        if not self._end <= place <= place + size <= self.size or len(self._numbers) >= 2 * MAX_PIECES:
            raise broken_archive(self._archive, "the map of a sparse file makes no sense")
        self._end = place + size
        self.stored += size
        self._numbers.extend((place, size))

    def add_all(self, numbers: Iterable[int]) -> None:
        """Add pieces, each given by two numbers: its offset and its size.

        Raises:
            BrokenArchiveError: see :meth:`add`; or the last size is missing.
        """
        each = iter(numbers)
        for place in each:
            self.add(place, next(each, -1))

    def expand(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the content of the file, at most a MiB at a time, with holes as :class:`Hole`.

        Args:
            pieces: the stored content, as long as all pieces of the map together.
        """
        source = iter(pieces)
        data = memoryview(b"")
        position = 0
        for place, size in zip(self._numbers[::2], self._numbers[1::2], strict=True):
            yield from _hole(place - position)
            position = place + size
            remaining = size
            while remaining:
                if not data:
                    data = memoryview(next(source))
                part, data = data[:remaining], data[remaining:]
                remaining -= len(part)
                yield bytes(part)
        yield from _hole(self.size - position)
        # The bytes after the last piece are padding, which is read and checked here.
        for _ in source:
            pass


def old_map(header: bytes, next_block: Callable[[], bytes], archive: str) -> SparseMap:
    """Return the map in the header of an old GNU sparse file, and in the blocks that follow it.

    Raises:
        BrokenArchiveError: it makes no sense, or the archive ends before its end.
    """
    found = SparseMap(archive, _number(header[SPARSE_SIZE], archive))
    found.add_all(_old_numbers(header[SPARSE_MAP], archive))
    continues = header[SPARSE_CONTINUES]
    while continues:
        block = next_block()
        if len(block) != BLOCK_SIZE:
            raise broken_archive(archive, "it ends in the middle of the map of a sparse file")
        found.add_all(_old_numbers(block[_NEXT_MAP], archive))
        continues = block[_NEXT_CONTINUES]
    return found


def stored_map(size: int, stored: int, next_block: Callable[[], bytes], archive: str) -> tuple[SparseMap, int]:
    """Return the map that precedes a file's stored pieces (format 1.0), and its length in bytes.

    It consists of decimal numbers, each followed by a line feed: the number of pieces, then two numbers for each.

    Args:
        size: size of the file, including holes.
        stored: bytes of the map and all pieces.
        next_block: returns the next block of the archive.
        archive: its name, for messages.

    Raises:
        BrokenArchiveError: it makes no sense, or the archive ends before its end.
    """
    found = SparseMap(archive, size)
    numbers = array("Q")
    wanted = 1
    length = 0
    rest = b""
    while len(numbers) < wanted:
        block = next_block()
        length += len(block)
        if len(block) != BLOCK_SIZE or length > min(stored, MAX_MAP_SIZE) or len(rest) > _MAX_NUMBER:
            raise broken_archive(archive, "the map of a sparse file has no end")
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            if len(numbers) == wanted:
                raise broken_archive(archive, "the map of a sparse file makes no sense")
            numbers.append(parse_decimal(line, archive))
            if len(numbers) == 1:
                wanted = 1 + 2 * numbers[0]
    if rest.strip(b"\0"):
        raise broken_archive(archive, "the map of a sparse file makes no sense")
    found.add_all(numbers[1:])
    return found, length


def checked(found: SparseMap, stored: int, member: str, archive: str) -> SparseMap:
    """Return ``found``, if its pieces are as long as the stored content of the file.

    Raises:
        BrokenArchiveError: they are not.
    """
    if found.stored != stored:
        reason = f"the map of the sparse file {quoted(member)} has pieces of {found.stored} bytes, and {stored} are stored"
        raise broken_archive(archive, reason)
    return found


def _old_numbers(fields: bytes, archive: str) -> Iterator[int]:
    for start in range(0, len(fields), _FIELD):
        field = fields[start : start + _FIELD]
        if not field[0] and start % (2 * _FIELD) == 0:
            return
        yield _number(field, archive)


def _number(field: bytes, archive: str) -> int:
    value = parse_number(field)
    if value is None:
        raise broken_archive(archive, f"the map of a sparse file has the number {field!r}")
    return value


def _hole(size: int) -> Iterator[bytes]:
    while size >= CHUNK:
        yield _HOLE
        size -= CHUNK
    if size:
        yield Hole(size)
