"""Extended headers: what precedes a tar member and replaces fields of its header, because these are too small.

Specifications: POSIX.1-2017, "pax", "pax Header Block" (types ``x`` and ``g``); GNU tar manual, "Basic Tar Format" (types
``L`` and ``K``, a long name and a long link target).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from provisioner.volume.archive.errors import broken_archive, unsafe_archive
from provisioner.volume.archive.member import valid_time
from provisioner.volume.archive.tar.header import parse_text

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_EXTENDED_SIZE: Final = 1024 * 1024
"""Bytes of one extended header. It is held in memory, and the archive states its size."""
MAX_EXTENDED_COUNT: Final = 16
"""Extended headers in a row. Each belongs to the next member, and there must be one."""

_MAX_LENGTH_DIGITS: Final = 8
_MAX_DIGITS: Final = len(str(1 << 64))


@dataclass(slots=True)
class Extended:
    """What extended headers state about the next member; ``None`` where they state nothing."""

    path: bytes | None = None
    linkpath: bytes | None = None
    size: int | None = None
    mtime_ns: int | None = None

    def update(self, kind: int, data: bytes, archive: str) -> None:
        """Add what one more extended header states.

        Args:
            kind: its type: the code of ``x``, ``g``, ``X``, ``L`` or ``K``.
            data: its content.
            archive: name of the archive, for messages.

        Raises:
            BrokenArchiveError: the content is malformed.
            UnsafeArchiveError: it describes a sparse file.
        """
        if kind == ord("L"):
            self.path = parse_text(data)
        elif kind == ord("K"):
            self.linkpath = parse_text(data)
        else:
            for key, value in _records(data, archive):
                self._set(key, value, archive, is_global=kind == ord("g"))

    def _set(self, key: bytes, value: bytes, archive: str, *, is_global: bool) -> None:
        if key.startswith(b"GNU.sparse."):
            raise unsafe_archive(archive, "it holds sparse files", hint="Pack it again without --sparse.")
        if key not in {b"path", b"linkpath", b"size", b"mtime"}:
            return
        if is_global:
            # One name or size for all members cannot be meant. One time for all is ignored.
            if key != b"mtime":
                raise broken_archive(archive, f"a global header sets {key.decode()}")
        elif key == b"path":
            self.path = value
        elif key == b"linkpath":
            self.linkpath = value
        elif key == b"size":
            self.size = _decimal(value, archive)
        else:
            self.mtime_ns = _time(value)


def _records(data: bytes, archive: str) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of a pax header: ``LENGTH KEY=VALUE`` and a line feed; the length counts the whole record."""
    start = 0
    while start < len(data):
        blank = data.find(b" ", start, start + _MAX_LENGTH_DIGITS)
        length = _decimal(data[start:blank], archive) if blank > start else 0
        record = data[start : start + length]
        if len(record) != length or not record.endswith(b"\n") or blank >= start + length:
            raise broken_archive(archive, "an extended header that makes no sense")
        key, equals, value = record[blank - start + 1 : -1].partition(b"=")
        if not equals:
            raise broken_archive(archive, "an extended header that makes no sense")
        yield key, value
        start += length


def _decimal(text: bytes, archive: str) -> int:
    # Not int() alone, which takes signs, blanks and underscores.
    if not text.isdigit() or len(text) > _MAX_DIGITS:
        raise broken_archive(archive, f"an extended header with the number {text[:32]!r}")
    return int(text)


def _time(value: bytes) -> int | None:
    """Return seconds with a decimal fraction as nanoseconds, exactly; ``None`` if they are negative or no number."""
    whole, _, fraction = value[:32].partition(b".")
    if not whole.isdigit() or (fraction and not fraction.isdigit()):
        return None
    return valid_time(int(whole), int(fraction[:9].ljust(9, b"0")))
