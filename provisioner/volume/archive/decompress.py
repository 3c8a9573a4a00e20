"""Compressed bytes as plain ones: gzip (RFC 1952), bzip2, xz and Zstandard (RFC 8878), one stream after the other.

Stricter than the standard library's file objects where that protects a data set: ``bz2`` and ``lzma`` there ignore what
follows the last stream. Zeros may follow (tapes and some tools pad), another stream may follow (``pigz``, ``pbzip2`` and
``zstd -T`` write many); anything else is a broken archive.

Where there is more than one core, a thread decompresses ahead of who reads, and bzip2 is decoded by several
(:mod:`~provisioner.volume.archive.bzip2`).
"""

from __future__ import annotations

import bz2
import io
import lzma
import sys
from typing import TYPE_CHECKING, Final, Protocol, cast

from isal import igzip_lib

from provisioner.errors import BrokenArchiveError
from provisioner.volume.archive import workers
from provisioner.volume.archive.member import DAMAGED
from provisioner.volume.fs.files import CHUNK

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from _typeshed import WriteableBuffer

    from provisioner.volume.staging.incoming import Incoming

READ_SIZE: Final = 256 * 1024
"""Compressed bytes read at once: what is left of it is copied at the end of each stream, so it is not large."""
MEMORY_LIMIT: Final = 160 * 1024 * 1024
"""Bytes that a decoder may take. ``xz -9`` needs 65 MiB; an archive may ask for 4 GiB."""
_PIECE: Final = 256 * 1024
"""Bytes decompressed at once: it stays in the processor's cache until it is read."""
_AHEAD: Final = 8
"""Pieces that are decompressed before they are asked for."""


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
        """Return at most ``max_length`` bytes; what of ``data`` was not used yet is kept."""


def gzip_decoder() -> Decoder:
    """Start one gzip member; its CRC-32 and length are checked."""
    decoder: Decoder = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
    return decoder


def deflate_decoder() -> Decoder:
    """Start bare deflate data (RFC 1951), which have no checksum of their own."""
    decoder: Decoder = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_DEFLATE)
    return decoder


def zstd_decoder() -> Decoder:
    """Start one Zstandard frame. Windows above 128 MiB are refused by the library's own default."""
    # Late: few archives need it.
    if sys.version_info >= (3, 14):
        from compression import zstd  # noqa: PLC0415
    else:
        from backports import zstd  # noqa: PLC0415
    return zstd.ZstdDecompressor()


def decoder_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions by which decoders say that their input is wrong."""
    # The package's own types call it an exception, and it is a class of them.
    deflate_error = cast("type[Exception]", igzip_lib.IsalError)
    found: list[type[Exception]] = [deflate_error, lzma.LZMAError, OSError, EOFError, ValueError]
    # Only a module that was loaded can have raised its error.
    found.extend(sys.modules[module].ZstdError for module in ("compression.zstd", "backports.zstd") if module in sys.modules)
    return tuple(found)


_DECODERS: Final[dict[str, Callable[[], Decoder]]] = {
    "tar.gz": gzip_decoder,
    "tar.bz2": bz2.BZ2Decompressor,
    "tar.xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY_LIMIT),
    "tar.zst": zstd_decoder,
}


class Cursor:
    """A place in an archive that only moves on; what lies behind it is released."""

    def __init__(self, archive: Incoming) -> None:
        """Start at the beginning."""
        self._archive = archive
        self.name = archive.name
        self.at = 0
        """Bytes taken."""
        self._released = 0

    def take(self, count: int) -> bytes:
        """Return between 1 and ``count`` bytes; none at the end.

        Raises:
            ProvisionerError: as the archive's ``read_at``.
        """
        data = self._archive.read_at(self.at, count)
        self.at += len(data)
        if self.at - self._released >= CHUNK:
            self._released = self.at
            self._archive.release(self.at)
        return data

    def pieces(self) -> Iterator[bytes]:
        """Return all the rest.

        Raises:
            ProvisionerError: as the archive's ``read_at``.
        """
        while data := self.take(CHUNK):
            yield data


def decompress(source: Cursor, form: str) -> Generator[bytes, None, None]:
    """Return what the compressed streams of an archive hold, one after the other, in pieces of at most 256 KiB.

    Raises:
        BrokenArchiveError: not of that format, damaged, truncated, or followed by something else.
        ProvisionerError: as the archive's ``read_at``.
    """
    make = _DECODERS[form]
    pending = source.take(READ_SIZE)
    streams = 0
    while True:
        if streams:
            pending = pending.lstrip(b"\0")
            while not pending and (more := source.take(READ_SIZE)):
                pending = more.lstrip(b"\0")
            if not pending:
                return
        elif not pending:
            raise broken(source, form, "it is empty", given=False, streams=0)
        decoder = make()
        streams += 1
        given = False
        while not decoder.eof:
            at_end = False
            if decoder.needs_input and not pending:
                pending = source.take(READ_SIZE)
                at_end = not pending
            try:
                data = decoder.decompress(pending, _PIECE)
            except decoder_errors() as error:
                raise broken(source, form, f"{error}", given=given, streams=streams) from error
            pending = b""
            if data:
                given = True
                yield data
            elif at_end and not decoder.eof:
                raise broken(source, form, "it ends in the middle of a compressed stream", given=given, streams=streams)
        pending = decoder.unused_data or source.take(READ_SIZE)


def broken(source: Cursor, form: str, reason: str, *, given: bool, streams: int) -> BrokenArchiveError:
    """Return the error for compressed data that make no sense.

    Args:
        source: where they are from, and how far it was read.
        form: what they should be.
        reason: in the decoder's words.
        given: whether the present stream has given any bytes.
        streams: how many there were, this one included.
    """
    if given:
        what = f"damaged within its first {source.at} bytes"
    elif streams > 1:
        what = f"something that is no {form.removeprefix('tar.')} data follows its end"
    else:
        what = f"it is no {form} file"
    return BrokenArchiveError(f"{source.name}: {what}: {reason}", hint=DAMAGED)


class PieceStream(io.RawIOBase):
    """Pieces of bytes as a stream of them."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        """Take over ``pieces``; closed with the stream where they can be."""
        self._pieces = pieces
        self._left = memoryview(b"")

    def readable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Return some bytes; 0 at the end.

        Raises:
            ProvisionerError: whatever the pieces raise.
        """
        if not self._left:
            self._left = memoryview(next(self._pieces, b""))
        view = memoryview(buffer).cast("B")
        data = self._left[: len(view)]
        self._left = self._left[len(data) :]
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the pieces."""
        if not self.closed:
            close = getattr(self._pieces, "close", None)
            if close is not None:
                close()
        super().close()


def open_tar(archive: Incoming, form: str) -> io.BufferedReader[io.RawIOBase]:
    """Return the bytes of a tar archive, decompressed where ``form`` says that it is compressed.

    Reading raises what :func:`decompress` does. Closing ends the threads that decompress.
    """
    source = Cursor(archive)
    pieces: Iterator[bytes]
    cores = workers.usable_cores()
    if form not in _DECODERS:
        pieces = source.pieces()
    elif cores == 1:
        pieces = decompress(source, form)
    elif form == "tar.bz2":
        # Late: few archives need it.
        from provisioner.volume.archive.bzip2 import decompress_blocks  # noqa: PLC0415

        pieces = decompress_blocks(source, cores)
    else:
        pieces = workers.ReadAhead(decompress(source, form), _AHEAD, "decompress")
    return io.BufferedReader(PieceStream(pieces), CHUNK)
