"""Compressed bytes as plain ones: gzip (RFC 1952), bzip2, xz and Zstandard (RFC 8878), one stream after the other.

Stricter than the standard library's file objects where that protects a data set: ``bz2`` and ``lzma`` there ignore what
follows the last stream. Zeros may follow (tapes and some tools pad), another stream may follow (``pigz``, ``pbzip2`` and
``zstd -T`` write many); anything else is a broken archive.
"""

from __future__ import annotations

import bz2
import io
import lzma
import sys
import zlib
from typing import TYPE_CHECKING, Final, Protocol

from provisioner.errors import BrokenArchiveError, ProvisionerError
from provisioner.volume.disk import CHUNK, disk_error
from provisioner.volume.member import DAMAGED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from _typeshed import WriteableBuffer

READ_SIZE: Final = 256 * 1024
"""Compressed bytes read at once: what is left of it is copied at the end of each stream, so it is not large."""
MEMORY_LIMIT: Final = 160 * 1024 * 1024
"""Bytes that a decoder may take. ``xz -9`` needs 65 MiB; an archive may ask for 4 GiB."""


class Decoder(Protocol):
    """What ``bz2.BZ2Decompressor`` and its like are: one stream, fed and emptied in pieces."""

    @property
    def eof(self) -> bool:
        """Whether the stream's own end was seen and checked."""

    @property
    def needs_input(self) -> bool:
        """Whether there is nothing more to give without more input."""

    @property
    def unused_data(self) -> bytes:
        """What was fed beyond the stream's end."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Give at most ``max_length`` bytes; what of ``data`` was not used yet is kept."""


class ZlibDecoder:
    """``zlib.decompressobj`` with the manners of the others."""

    def __init__(self, window_bits: int) -> None:
        """Start; ``window_bits`` is 31 for gzip and -15 for bare deflate."""
        self._inner = zlib.decompressobj(window_bits)
        self._tail = b""

    @property
    def eof(self) -> bool:
        """Whether the stream's own end was seen and checked."""
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        """Whether there is nothing more to give without more input."""
        return not self._tail

    @property
    def unused_data(self) -> bytes:
        """What was fed beyond the stream's end."""
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Give at most ``max_length`` bytes; what of ``data`` was not used yet is kept."""
        out = self._inner.decompress(self._tail + data if self._tail else data, max_length)
        self._tail = self._inner.unconsumed_tail
        return out


def zstd_decoder() -> Decoder:
    """Start one Zstandard frame. Windows above 128 MiB are refused by the library's own default."""
    # Late: few archives need it.
    if sys.version_info >= (3, 14):
        from compression import zstd  # noqa: PLC0415
    else:
        from backports import zstd  # noqa: PLC0415
    return zstd.ZstdDecompressor()


def decoder_errors() -> tuple[type[Exception], ...]:
    """Give the exceptions by which decoders say that their input is wrong."""
    found: list[type[Exception]] = [zlib.error, lzma.LZMAError, OSError, EOFError, ValueError]
    # Only a module that was loaded can have raised its error.
    found.extend(sys.modules[module].ZstdError for module in ("compression.zstd", "backports.zstd") if module in sys.modules)
    return tuple(found)


_DECODERS: Final[dict[str, Callable[[], Decoder]]] = {
    "tar.gz": lambda: ZlibDecoder(31),
    "tar.bz2": bz2.BZ2Decompressor,
    "tar.xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY_LIMIT),
    "tar.zst": zstd_decoder,
}


def read_error(error: OSError, path: Path) -> ProvisionerError:
    """Give the error for an archive that the disk does not let us read: that says nothing about its bytes."""
    return disk_error(error, f"reading the archive {path.name}", path=path)


class PlainStream(io.RawIOBase):
    """The archive's bytes as they are; a disk's failure is an error of ours and not the archive's."""

    def __init__(self, file: io.FileIO, path: Path) -> None:
        """Take over ``file``, which is ``path`` opened to read."""
        self._file, self._path = file, path

    def readable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read some bytes; 0 at the end.

        Raises:
            VolumeError: the disk failed.
        """
        try:
            return self._file.readinto(buffer)
        except OSError as error:
            raise read_error(error, self._path) from error

    def seekable(self) -> bool:
        """Say yes."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to another place.

        Raises:
            VolumeError: the disk failed.
        """
        try:
            return self._file.seek(offset, whence)
        except OSError as error:
            raise read_error(error, self._path) from error

    def take(self, count: int) -> bytes:
        """Give at most ``count`` bytes; none at the end.

        Raises:
            VolumeError: the disk failed.
        """
        try:
            return self._file.read(count)
        except OSError as error:
            raise read_error(error, self._path) from error

    def close(self) -> None:
        """Close the archive."""
        if not self.closed:
            self._file.close()
        super().close()


class DecompressedStream(io.RawIOBase):
    """What the compressed streams of an archive hold, one after the other."""

    def __init__(self, source: PlainStream, name: str, form: str) -> None:
        """Take over ``source``, compressed as ``form`` (``tar.gz``, ``tar.bz2``, ``tar.xz``, ``tar.zst``) says."""
        self._name, self._form = name, form
        self._make = _DECODERS[form]
        self._source = source
        self._decoder: Decoder | None = None
        self._pending = b""
        self._streams = 0
        self._consumed = 0
        self._given = 0

    def readable(self) -> bool:
        """Say yes."""
        return True

    def close(self) -> None:
        """Close the archive."""
        if not self.closed:
            self._source.close()
        super().close()

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Decompress some bytes; 0 at the end, when every stream was whole.

        Raises:
            BrokenArchiveError: not of that format, damaged, truncated, or followed by something else.
            VolumeError: the disk failed.
        """
        view = memoryview(buffer).cast("B")
        data = self._some(min(len(view), CHUNK))
        view[: len(data)] = data
        return len(data)

    def _some(self, limit: int) -> bytes:
        while True:
            decoder = self._decoder
            if decoder is None:
                if not self._next_stream():
                    return b""
                continue
            at_end = False
            if decoder.needs_input and not self._pending:
                self._pending = self._take()
                at_end = not self._pending
            try:
                data = decoder.decompress(self._pending, limit)
            except decoder_errors() as error:
                raise self._broken(f"{error}") from error
            self._pending = b""
            if decoder.eof:
                self._pending = decoder.unused_data
                self._decoder = None
            elif at_end and not data:
                raise self._broken("it ends in the middle of a compressed stream")
            if data:
                self._given += len(data)
                return data

    def _next_stream(self) -> bool:
        """Begin the next stream; ``False`` at the end of the archive."""
        self._pending = self._pending or self._take()
        if self._streams:
            self._pending = self._pending.lstrip(b"\0")
            while not self._pending and (more := self._take()):
                self._pending = more.lstrip(b"\0")
        elif not self._pending:
            raise self._broken("it is empty")
        if not self._pending:
            return False
        self._decoder = self._make()
        self._streams += 1
        self._given = 0
        return True

    def _take(self) -> bytes:
        data = self._source.take(READ_SIZE)
        self._consumed += len(data)
        return data

    def _broken(self, reason: str) -> BrokenArchiveError:
        if self._streams > 1 and not self._given:
            what = f"something that is no {self._form.removeprefix('tar.')} data follows its end"
        elif not self._given:
            what = f"it is no {self._form} file"
        else:
            what = f"damaged within its first {self._consumed} bytes"
        return BrokenArchiveError(f"{self._name}: {what}: {reason}", hint=DAMAGED)


def open_archive(path: Path, form: str, buffer: int) -> io.BufferedReader[io.RawIOBase]:
    """Open ``path`` and give its bytes, or what its compressed streams hold where ``form`` is one of a tar's.

    Raises:
        VolumeError: it cannot be opened.
    """
    try:
        plain = PlainStream(path.open("rb", buffering=0), path)
    except OSError as error:
        raise read_error(error, path) from error
    return io.BufferedReader(DecompressedStream(plain, path.name, form) if form in _DECODERS else plain, buffer)
