"""The journal of a file that arrives in pieces: which of its pieces have been written.

The first line is a JSON object that identifies the file: ``version``, ``size``, ``piece`` and, if known, ``url`` and
``validator``. It is followed by records of eight bytes, one for each complete piece: its number and the CRC-32 of its
content, both little-endian. A record is appended once its piece has been written.

A process that is killed loses what had no record yet: at most one piece per connection. After a power cut, a record may have
survived without its piece, so a piece counts only if its content has the CRC-32 in its record. CRC-32 protects against lost
writes, not against malice: the whole file is accepted by its digest.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from provisioner.volume.fs.atomic import write_atomic
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.fs.files import read_file
from provisioner.volume.staging.pieces import PIECE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_RECORD: Final = struct.Struct("<II")
_VERSION: Final = 1


class JournalContent(NamedTuple):
    """The content of a journal."""

    origin: tuple[str, str] | None
    """URL and validator of the bytes, if known."""
    records: dict[int, int]
    """Number and CRC-32 of each piece."""


class Journal:
    """The journal beside a file of pieces; open for appending after :meth:`open` or :meth:`replace`."""

    def __init__(self, path: Path, size: int, piece: int = 0) -> None:
        """Open nothing yet.

        Args:
            path: the journal.
            size: bytes of the whole file.
            piece: bytes of a piece; 0 means the usual size.
        """
        self.path = path
        self._size = size
        self._piece = piece or PIECE
        self._file = -1

    def read(self) -> JournalContent | None:
        """Return the content of the journal; ``None`` if it is missing, damaged, or for another size of file or piece."""
        try:
            line, end, rest = read_file(self.path).partition(b"\n")
            header = json.loads(line) if end else None
        except (OSError, ValueError, RecursionError):
            return None
        expected = (_VERSION, self._size, self._piece)
        if not isinstance(header, dict) or (header.get("version"), header.get("size"), header.get("piece")) != expected:
            return None
        url, validator = header.get("url"), header.get("validator")
        origin = (url, validator) if isinstance(url, str) and isinstance(validator, str) else None
        whole = len(rest) - len(rest) % _RECORD.size
        return JournalContent(origin, dict(_RECORD.iter_unpack(rest[:whole])))

    def replace(self, origin: tuple[str, str] | None, records: Iterable[tuple[int, int]]) -> None:
        """Replace the journal in one step, so that it never names fewer pieces than before and after.

        Raises:
            VolumeError: the volume failed.
        """
        header: dict[str, str | int] = {"version": _VERSION, "size": self._size, "piece": self._piece}
        if origin is not None:
            header["url"], header["validator"] = origin
        packed = b"".join(_RECORD.pack(piece, crc) for piece, crc in records)
        write_atomic(self.path, json.dumps(header).encode() + b"\n" + packed, durable=False)
        self.open()

    def open(self) -> None:
        """Open the journal for appending.

        Raises:
            VolumeError: the volume failed.
        """
        with disk_errors("staging", self.path):
            if self._file >= 0:
                os.close(self._file)
            self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0))
            # Before a death, part of the last record may have been written, which would shift the records that follow.
            length = os.fstat(self._file).st_size
            head = read_file(self.path).find(b"\n") + 1
            os.ftruncate(self._file, length - (length - head) % _RECORD.size)

    def append(self, piece: int, crc: int) -> None:
        """Record that a piece was written.

        Raises:
            VolumeFullError, VolumeError: the volume failed; the next run will not count the piece.
        """
        record = _RECORD.pack(piece, crc)
        with disk_errors("staging", self.path):
            # One write may take only part of the record, which would shift the records that follow.
            while record:
                record = record[os.write(self._file, record) :]

    def close(self) -> None:
        """Close the journal, which stays on the disk."""
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.close(self._file)
        self._file = -1
