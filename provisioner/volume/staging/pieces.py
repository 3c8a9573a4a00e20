"""Where the pieces of a large file lie while it arrives: in place on the disk, with a journal, or for a moment in memory.

The journal (``KEY.journal`` beside ``KEY.part``) is one line of JSON that says which bytes these are, and then eight bytes a
piece: its number and the CRC-32 of its content, little-endian, appended when the piece is written. A killed process loses
what was not in the journal yet, at most a piece a connection. After a power cut the kernel may have kept the journal's line and
not the piece, so that what is found is compared with its CRC before it counts. CRC-32 protects against lost writes, not
against malice: the digest of the whole is what the file is accepted by.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import threading
import zlib
from array import array
from typing import TYPE_CHECKING, Any, Final, Protocol

from provisioner.volume.fs.atomic import write_atomic
from provisioner.volume.fs.directories import make_directory
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.fs.files import read_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PIECE: Final = 1 << 20
"""Bytes of a piece: what a death costs at most for each connection."""
WINDOW: Final = 32 << 20
"""Bytes that are held in memory where there is no room for the file."""

_RECORD: Final = struct.Struct("<II")
_VERSION: Final = 1


def number_of_pieces(size: int) -> int:
    """Return how many pieces a file of ``size`` bytes has."""
    return -(-size // PIECE)


class Pieces(Protocol):
    """Keeps a file's pieces; what is put in parallel never overlaps."""

    held: bytearray
    """A byte for each piece: 1 where it has arrived."""
    origin: tuple[str, str] | None
    """URL and validator of what is there, where they are known."""

    def begin(self, url: str, validator: str | None) -> None:
        """Note where the coming bytes are from."""
        ...

    def put(self, offset: int, data: memoryview) -> None:
        """Keep some bytes, all of one piece."""
        ...

    def done(self, piece: int, crc: int) -> None:
        """All of a piece has been put."""
        ...

    def load(self, offset: int, count: int) -> bytes:
        """Return ``count`` bytes of pieces that are there."""
        ...

    def restart(self) -> None:
        """Drop everything."""
        ...

    def let_go(self, piece: int) -> None:
        """Nobody needs the pieces before this one any more."""
        ...

    def close(self) -> None:
        """Let go of what is open."""
        ...


class PieceFile:
    """Pieces in one file, each in its place, and the journal that says which of them are there."""

    def __init__(self, directory: Path, key: str, size: int, *, check_cancelled: Callable[[], None]) -> None:
        """Open what is there, and believe those pieces whose content has the CRC that the journal says.

        Args:
            directory: where they lie; made if missing.
            key: of the artifact; names the files.
            size: bytes of the whole.
            check_cancelled: called for every piece that is read; raises to end it.

        Raises:
            VolumeError: the volume failed.
        """
        self.path = directory / f"{key}.part"
        self._journal_path = directory / f"{key}.journal"
        self._size = size
        self.held = bytearray(number_of_pieces(size))
        self._sums = array("I", bytes(4 * len(self.held)))
        self.origin: tuple[str, str] | None = None
        self._journal = -1
        binary = getattr(os, "O_BINARY", 0)
        with disk_errors("staging", self.path):
            make_directory(directory)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | binary, 0o664)
        try:
            self._take_stock(check_cancelled)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the files; what they hold stays."""
        for handle in (self._file, self._journal):
            if handle >= 0:
                with contextlib.suppress(OSError):
                    os.close(handle)
        self._file = self._journal = -1

    def _take_stock(self, check_cancelled: Callable[[], None]) -> None:
        with disk_errors("staging", self.path):
            length = os.fstat(self._file).st_size
            if length > self._size:
                # It would be published with the rest.
                os.ftruncate(self._file, self._size)
                length = self._size
        if not os.path.lexists(self._journal_path):
            # What a single connection left has no journal: it was written from the front, up to its last byte.
            self._adopt(length, check_cancelled)
            return
        header, records = self._read_journal()
        if header is None:
            # Ranges were written, with holes between them, and nobody knows which.
            self.restart()
            return
        url, validator = header.get("url"), header.get("validator")
        if isinstance(url, str) and isinstance(validator, str):
            self.origin = (url, validator)
        for piece, crc in records.items():
            check_cancelled()
            # A sum over nothing must not pass for a piece that is not there.
            if piece < len(self.held) and (data := self._read_piece(piece)) is not None and zlib.crc32(data) == crc:
                self.held[piece], self._sums[piece] = 1, crc
        self._open_journal()

    def _adopt(self, length: int, check_cancelled: Callable[[], None]) -> None:
        """Begin a journal for the whole pieces among the first ``length`` bytes."""
        whole = len(self.held) if length == self._size else length // PIECE
        self._write_journal()
        for piece in range(whole):
            check_cancelled()
            if (data := self._read_piece(piece)) is not None:
                self.done(piece, zlib.crc32(data))

    def _read_piece(self, piece: int) -> bytes | None:
        start = piece * PIECE
        expected = min(PIECE, self._size - start)
        with disk_errors("staging", self.path):
            data = _pread(self._file, expected, start)
        return data if len(data) == expected else None

    def _read_journal(self) -> tuple[dict[str, Any] | None, dict[int, int]]:
        try:
            line, end, rest = read_file(self._journal_path).partition(b"\n")
            header = json.loads(line) if end else None
        except (OSError, ValueError, RecursionError):
            return None, {}
        if not isinstance(header, dict) or (header.get("version"), header.get("size"), header.get("piece")) != (
            _VERSION,
            self._size,
            PIECE,
        ):
            return None, {}
        whole = len(rest) - len(rest) % _RECORD.size
        return header, dict(_RECORD.iter_unpack(rest[:whole]))

    def _write_journal(self) -> None:
        """Write it anew, at once: at no moment does it speak of fewer pieces than are there."""
        header: dict[str, str | int] = {"version": _VERSION, "size": self._size, "piece": PIECE}
        if self.origin is not None:
            header["url"], header["validator"] = self.origin
        records = b"".join(_RECORD.pack(piece, self._sums[piece]) for piece, there in enumerate(self.held) if there)
        write_atomic(self._journal_path, json.dumps(header).encode() + b"\n" + records, durable=False)
        self._open_journal()

    def _open_journal(self) -> None:
        with disk_errors("staging", self._journal_path):
            if self._journal >= 0:
                os.close(self._journal)
            self._journal = os.open(self._journal_path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0))
            # A record that was torn by a death would shift all that follow it.
            length = os.fstat(self._journal).st_size
            head = read_file(self._journal_path).find(b"\n") + 1
            os.ftruncate(self._journal, length - (length - head) % _RECORD.size)

    def begin(self, url: str, validator: str | None) -> None:
        """Note where the coming bytes are from; what is there stays."""
        if validator is None or self.origin == (url, validator):
            return
        self.origin = (url, validator)
        self._write_journal()

    def put(self, offset: int, data: memoryview) -> None:
        """Write some bytes in their place.

        Raises:
            VolumeFullError, VolumeError: the volume failed; what was there before stays.
        """
        with disk_errors("staging", self.path, needed=self._size - offset):
            while data:
                written = _pwrite(self._file, data, offset)
                data, offset = data[written:], offset + written

    def done(self, piece: int, crc: int) -> None:
        """Note in the journal that a piece is there.

        Raises:
            VolumeFullError, VolumeError: the volume failed; the piece counts as missing after a death.
        """
        self._append(_RECORD.pack(piece, crc))
        self.held[piece], self._sums[piece] = 1, crc

    def _append(self, records: bytes) -> None:
        with disk_errors("staging", self._journal_path):
            # A record of which only a part was taken would shift all that follow it.
            while records:
                records = records[os.write(self._journal, records) :]

    def load(self, offset: int, count: int) -> bytes:
        """Read bytes that are there.

        Raises:
            VolumeError: the volume failed.
        """
        with disk_errors("staging", self.path):
            return _pread(self._file, count, offset)

    def restart(self) -> None:
        """Drop everything: the next bytes may be another file's.

        Raises:
            VolumeError: the volume failed.
        """
        self.origin = None
        self.held = bytearray(len(self.held))
        # The journal first: a death in between must not leave it speaking of bytes that are gone.
        self._write_journal()
        with disk_errors("staging", self.path):
            os.ftruncate(self._file, 0)

    def let_go(self, piece: int) -> None:
        """Nothing: there is room for all of them."""

    def drop(self) -> None:
        """Remove the files.

        Raises:
            VolumeError: the volume failed.
        """
        self.close()
        for path in (self._journal_path, self.path):
            with disk_errors("removing", path):
                path.unlink(missing_ok=True)

    def move_to(self, destination: Path) -> None:
        """Put the whole file in its place in a tree on the same file system.

        Raises:
            VolumeError: the volume failed.
        """
        self.close()
        with disk_errors("placing", destination):
            make_directory(destination.parent)
            os.replace(self.path, destination)
            self._journal_path.unlink(missing_ok=True)


class PieceWindow:
    """Pieces in memory, each until nobody needs it any more: for a volume that cannot hold the file beside its content."""

    def __init__(self, size: int) -> None:
        """Hold nothing yet; ``size`` is the bytes of the whole."""
        self._size = size
        self._pieces: dict[int, bytearray] = {}
        self.held = bytearray(number_of_pieces(size))
        self.origin: tuple[str, str] | None = None

    def begin(self, url: str, validator: str | None) -> None:
        """Note where the coming bytes are from."""
        self.origin = (url, validator) if validator is not None else None

    def put(self, offset: int, data: memoryview) -> None:
        """Keep some bytes."""
        piece, start = divmod(offset, PIECE)
        room = self._pieces.get(piece)
        if room is None:
            room = self._pieces[piece] = bytearray(min(PIECE, self._size - piece * PIECE))
        room[start : start + len(data)] = data

    def done(self, piece: int, crc: int) -> None:  # noqa: ARG002 - the other kind needs it
        """Remember that a piece is there; its sum is not needed, since a death loses the memory."""
        self.held[piece] = 1

    def load(self, offset: int, count: int) -> bytes:
        """Return bytes that are there, no more than their piece has; none of what was dropped meanwhile."""
        piece, start = divmod(offset, PIECE)
        return bytes(self._pieces.get(piece, b"")[start : start + count])

    def restart(self) -> None:
        """Drop everything."""
        self._pieces.clear()
        self.origin = None
        self.held = bytearray(len(self.held))

    def let_go(self, piece: int) -> None:
        """Forget the pieces before this one."""
        for number in [number for number in list(self._pieces) if number < piece]:
            self._pieces.pop(number, None)

    def close(self) -> None:
        """Forget all."""
        self._pieces.clear()


_HAS_PREAD: Final = hasattr(os, "pread")
_TURN: Final = threading.Lock()


def _pread(handle: int, count: int, offset: int) -> bytes:
    if _HAS_PREAD:
        return os.pread(handle, count, offset)
    with _TURN:  # Windows has no such call
        os.lseek(handle, offset, os.SEEK_SET)
        return os.read(handle, count)


def _pwrite(handle: int, data: memoryview, offset: int) -> int:
    if _HAS_PREAD:
        return os.pwrite(handle, data, offset)
    with _TURN:
        os.lseek(handle, offset, os.SEEK_SET)
        return os.write(handle, data)
