"""The bytes of a tar archive, block by block: a tar consists of blocks of 512 bytes, and content is padded with zeros."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from provisioner.volume.archive.errors import broken_archive, quoted
from provisioner.volume.archive.tar_header import BLOCK_SIZE, ZERO_BLOCK
from provisioner.volume.fs.files import CHUNK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import BinaryIO

    from provisioner.volume.archive.oddities import Oddities

_EXTENDED_HEADER: Final = ""
"""Used in place of a member's name for content that does not belong to a member."""


class BlockStream:
    """A tar archive that is read once, from its beginning to its end."""

    def __init__(self, stream: BinaryIO, name: str, oddities: Oddities, check_cancelled: Callable[[], None]) -> None:
        """Start at the current position of ``stream``.

        Args:
            stream: the archive's bytes, decompressed.
            name: the archive's name, for messages.
            oddities: is told of padding that is cut, or is not zero.
            check_cancelled: called where much is read that belongs to no file; raises to end the work.
        """
        self._read = stream.read
        self._name = name
        self._oddities = oddities
        self._check_cancelled = check_cancelled
        self._unread: bytes | None = None

    def block(self) -> bytes:
        """Return the next block; at the end of the archive, a shorter or empty one."""
        if self._unread is not None:
            block, self._unread = self._unread, None
            return block
        return self._read(BLOCK_SIZE)

    def unread(self, block: bytes) -> None:
        """Put a block back: it becomes the next one."""
        self._unread = block

    def content(self, size: int, member: str = _EXTENDED_HEADER) -> bytes:
        """Return ``size`` bytes, and skip the padding after them.

        Args:
            size: the number of bytes, which are held in memory.
            member: name of the member that they belong to; empty for an extended header.

        Raises:
            BrokenArchiveError: the archive ends too early.
        """
        data = self._read(size + -size % BLOCK_SIZE)
        padding = len(data) - size
        if padding < 0:
            self._fail_in(member)
        self._check_padding(data[size:], -size % BLOCK_SIZE, member)
        return data[:size] if padding else data

    def pieces(self, size: int, member: str = _EXTENDED_HEADER, first: bytes = b"") -> Iterator[bytes]:
        """Yield ``size`` bytes, at most a MiB at a time, and skip the padding after them.

        Args:
            size: the number of bytes.
            member: see :meth:`content`.
            first: a block that was already read and begins the content.

        Raises:
            BrokenArchiveError: the archive ends too early.
        """
        if first:
            yield first[:size]
            if size <= len(first):
                self._check_padding(first[size:], -size % BLOCK_SIZE, member)
                return
        remaining = size - len(first)
        while remaining:
            data = self._read(min(remaining, CHUNK))
            if not data:
                self._fail_in(member)
            remaining -= len(data)
            yield data
        self._check_padding(self._read(-size % BLOCK_SIZE), -size % BLOCK_SIZE, member)

    def file(self, size: int, member: str) -> Iterable[bytes]:
        """Return the content of a file; small content as a tuple, read together with its padding.

        Raises:
            BrokenArchiveError: the archive ends too early.
        """
        if size > CHUNK:
            return self.pieces(size, member)
        return (self.content(size, member),) if size else ()

    def skip(self, size: int) -> None:
        """Skip ``size`` bytes that belong to no file, and their padding.

        Raises:
            BrokenArchiveError: the archive ends too early.
        """
        for _ in self.pieces(size):
            self._check_cancelled()

    def _check_padding(self, padding: bytes, expected: int, member: str) -> None:
        if padding == ZERO_BLOCK[:expected]:
            return
        if len(padding) < expected:
            self._oddities.accept("it ends in the middle of a member's padding", member)
        if padding.strip(b"\0"):
            self._oddities.accept("the padding of members is not zero", member)

    def _fail_in(self, member: str) -> NoReturn:
        where = "an extended header" if member == _EXTENDED_HEADER else quoted(member)
        raise broken_archive(self._name, f"it ends in the middle of {where}")
