"""Pieces in one file on the disk (``KEY.part``), with a journal (``KEY.journal``) that says which of them are complete."""

from __future__ import annotations

import contextlib
import os
import threading
from array import array
from typing import TYPE_CHECKING, Final

from isal import isal_zlib

from provisioner.volume.fs.directories import make_directory
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.fs.private_files import open_private_file
from provisioner.volume.staging.journal import Journal
from provisioner.volume.staging.pieces import PIECE, length_of_piece, number_of_pieces

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class PieceFile:
    """A store of pieces on the disk, each at its offset in the whole file; survives the death of the process."""

    def __init__(
        self,
        directory: Path,
        key: str,
        size: int,
        *,
        check_cancelled: Callable[[], None],
        charge: Callable[[int], None] = lambda _count: None,
        piece: int = 0,
    ) -> None:
        """Open what an earlier run left, and accept those pieces whose content has the CRC-32 in the journal.

        Args:
            directory: of the file and its journal; created if it is missing.
            key: the key of the artifact, which names the files.
            size: bytes of the whole file.
            check_cancelled: called for every piece that is read; raises to end the work.
            charge: called with the number of bytes before they are written; raises if they must not be written.
            piece: bytes of a piece; 0 means the usual size.

        Raises:
            VolumeError: the volume failed.
        """
        self.piece = piece or PIECE
        self.path = directory / f"{key}.part"
        self._journal = Journal(directory / f"{key}.journal", size, self.piece)
        self._size = size
        self._charge = charge
        self.held = bytearray(number_of_pieces(size, self.piece))
        self._crcs = array("I", bytes(4 * len(self.held)))
        self.origin: tuple[str, str] | None = None
        with disk_errors("staging", self.path):
            make_directory(directory)
            self._file = open_private_file(self.path)
        try:
            self._resume(check_cancelled)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the files, which stay on the disk."""
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.close(self._file)
        self._file = -1
        self._journal.close()

    def _resume(self, check_cancelled: Callable[[], None]) -> None:
        """Find out which pieces an earlier run completed."""
        with disk_errors("staging", self.path):
            length = os.fstat(self._file).st_size
            if length > self._size:
                # Bytes after the end would be published with the rest.
                os.ftruncate(self._file, self._size)
                length = self._size
        if not os.path.lexists(self._journal.path):
            self._resume_without_journal(length, check_cancelled)
            return
        content = self._journal.read()
        if content is None:
            # Ranges were written, with holes between them, and nothing shows where the holes are.
            self.restart()
            return
        self.origin = content.origin
        for piece, crc in content.records.items():
            check_cancelled()
            # A missing piece must not count because its record has the CRC-32 of empty content.
            if piece < len(self.held) and (data := self._read_piece(piece)) is not None and isal_zlib.crc32(data) == crc:
                self.held[piece], self._crcs[piece] = 1, crc
        self._journal.open()

    def _resume_without_journal(self, length: int, check_cancelled: Callable[[], None]) -> None:
        """Accept the whole pieces among the first ``length`` bytes, which a single connection wrote from the front.

        The origin that it recorded does not apply to the pieces to come.
        """
        with disk_errors("staging", self.path):
            self.path.with_suffix(".json").unlink(missing_ok=True)
        whole = len(self.held) if length == self._size else length // self.piece
        self._replace_journal()
        for piece in range(whole):
            check_cancelled()
            if (data := self._read_piece(piece)) is not None:
                self.complete(piece, isal_zlib.crc32(data))

    def _read_piece(self, piece: int) -> bytes | None:
        """Return the bytes of a piece; ``None`` if the file ends before the piece does."""
        expected = length_of_piece(piece, self._size, self.piece)
        with disk_errors("staging", self.path):
            data = _pread(self._file, expected, piece * self.piece)
        return data if len(data) == expected else None

    def _replace_journal(self) -> None:
        self._journal.replace(self.origin, [(piece, self._crcs[piece]) for piece, held in enumerate(self.held) if held])

    def record_origin(self, url: str, validator: str | None) -> None:
        """Record the origin of the bytes that follow; the pieces so far are kept.

        Raises:
            VolumeError: the volume failed.
        """
        if validator is None or self.origin == (url, validator):
            return
        self.origin = (url, validator)
        self._replace_journal()

    def write(self, offset: int, data: memoryview) -> None:
        """Write bytes at their offset in the file.

        Raises:
            NoRoomError: they must not be written; the pieces so far are kept.
            VolumeFullError, VolumeError: the volume failed; the pieces so far are kept.
        """
        self._charge(len(data))
        with disk_errors("staging", self.path, needed=self._size - offset):
            while data:
                written = _pwrite(self._file, data, offset)
                data, offset = data[written:], offset + written

    def complete(self, piece: int, crc: int) -> None:
        """Record in the journal that all bytes of a piece were written; ``crc`` is their CRC-32.

        Raises:
            VolumeFullError, VolumeError: the volume failed; the next run will not count the piece.
        """
        self._journal.append(piece, crc)
        self.held[piece], self._crcs[piece] = 1, crc

    def read(self, offset: int, count: int) -> bytes:
        """Return up to ``count`` bytes from ``offset`` on.

        Raises:
            VolumeError: the volume failed.
        """
        with disk_errors("staging", self.path):
            return _pread(self._file, count, offset)

    def restart(self) -> None:
        """Drop all pieces and the origin: the next bytes may be those of another version of the file.

        Raises:
            VolumeError: the volume failed.
        """
        self.origin = None
        self.held = bytearray(len(self.held))
        # The journal first: if the process dies here, the journal must not name pieces that are gone.
        self._replace_journal()
        with disk_errors("staging", self.path):
            os.ftruncate(self._file, 0)

    def discard_before(self, piece: int) -> None:
        """Do nothing: the disk has space for all pieces."""

    def drop(self) -> None:
        """Close and remove the files.

        Raises:
            VolumeError: the volume failed.
        """
        self.close()
        for path in (self._journal.path, self.path):
            with disk_errors("removing", path):
                path.unlink(missing_ok=True)

    def move_to(self, place: Callable[[Path], None]) -> None:
        """Close the whole file, and let ``place`` move it into a tree.

        Raises:
            VolumeError: the volume failed.
        """
        self.close()
        with disk_errors("placing", self.path):
            place(self.path)
            self._journal.path.unlink(missing_ok=True)


_HAS_PREAD: Final = hasattr(os, "pread")
_SEEK_LOCK: Final = threading.Lock()


def _pread(handle: int, count: int, offset: int) -> bytes:
    """Return ``count`` bytes, or fewer at the end of the file; a single read may return less (FUSE, network file systems)."""
    data = _pread_some(handle, count, offset)
    while len(data) < count and (more := _pread_some(handle, count - len(data), offset + len(data))):
        data += more
    return data


def _pread_some(handle: int, count: int, offset: int) -> bytes:
    if _HAS_PREAD:
        return os.pread(handle, count, offset)
    with _SEEK_LOCK:  # Windows has no such call
        os.lseek(handle, offset, os.SEEK_SET)
        return os.read(handle, count)


def _pwrite(handle: int, data: memoryview, offset: int) -> int:
    if _HAS_PREAD:
        return os.pwrite(handle, data, offset)
    with _SEEK_LOCK:
        os.lseek(handle, offset, os.SEEK_SET)
        return os.write(handle, data)
