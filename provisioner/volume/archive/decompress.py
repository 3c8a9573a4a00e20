"""The bytes of a compressed tar archive: its gzip, bzip2, xz or Zstandard streams, decompressed one after the other.

Stricter than the file objects of the standard library where that protects a data set: those of ``bz2`` and ``lzma`` ignore
what follows the last stream. Here zeros may follow (tapes and some tools pad) and another stream may follow (``pigz``,
``pbzip2`` and ``zstd -T`` write many); anything else is judged by :mod:`~provisioner.volume.archive.trailer`.

Where there is more than one core, a thread decompresses ahead of the reader, and bzip2 is decoded by several threads
(:mod:`~provisioner.volume.archive.bzip2`).
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from provisioner.volume.archive import workers
from provisioner.volume.archive.cursor import Cursor
from provisioner.volume.archive.decoders import (
    bzip2_decoder,
    decoder_errors,
    gzip_decoder,
    is_unchecked,
    old_lzma_decoder,
    wants_memory,
    xz_decoder,
    zstd_decoder,
)
from provisioner.volume.archive.errors import broken_stream, memory_refused
from provisioner.volume.archive.trailer import next_stream
from provisioner.volume.fs.files import CHUNK

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from _typeshed import WriteableBuffer

    from provisioner.volume.archive.decoders import Decoder
    from provisioner.volume.archive.oddities import Oddities
    from provisioner.volume.staging.incoming import Incoming

_READ_SIZE: Final = 256 * 1024
"""Compressed bytes read at once. Kept small because the unused rest is copied at the end of each stream."""
_PIECE_SIZE: Final = 256 * 1024
"""Bytes decompressed at once: they stay in the processor's cache until they are read."""
_PIECES_AHEAD: Final = 8
"""Pieces that are decompressed before the reader asks for them."""

_OLD_LZMA: Final = b"\x5d\0\0"

_DECODERS: Final[dict[str, Callable[[], Decoder]]] = {
    "tar.gz": gzip_decoder,
    "tar.bz2": bzip2_decoder,
    "tar.xz": xz_decoder,
    "tar.zst": zstd_decoder,
}


def open_tar(archive: Incoming, form: str, oddities: Oddities) -> io.BufferedReader[io.RawIOBase]:
    """Return the bytes of a tar archive, decompressed if ``form`` is a compressed one.

    Reading raises what :func:`decompress` raises. Closing ends the threads that decompress.
    """
    source = Cursor(archive)
    pieces: Iterator[bytes]
    cores = workers.usable_cores()
    if form not in _DECODERS:
        pieces = source.pieces()
    elif cores == 1:
        pieces = decompress(source, form, oddities)
    elif form == "tar.bz2":
        # Imported here because few archives need it.
        from provisioner.volume.archive.bzip2 import decompress_blocks  # noqa: PLC0415

        pieces = decompress_blocks(source, cores, oddities)
    else:
        pieces = workers.ReadAhead(decompress(source, form, oddities), _PIECES_AHEAD, "decompress")
    return io.BufferedReader(PieceStream(pieces), CHUNK)


def decompress(source: Cursor, form: str, oddities: Oddities) -> Generator[bytes, None, None]:
    """Yield the content of an archive's compressed streams, one after the other, in pieces of at most 256 KiB.

    Args:
        source: the archive.
        form: its format.
        oddities: is told of anything odd, and raises if it cannot be accepted.

    Raises:
        BrokenArchiveError: not of that format, damaged, truncated, or followed by something else.
        UnsafeArchiveError: a decoder would need too much memory.
        ProvisionerError: raised by the archive's ``read_at``.
    """
    new_decoder = _DECODERS[form]
    pending = source.read(_READ_SIZE)
    streams = 0
    has_output = False

    def broken(reason: str) -> Exception:
        return broken_stream(source.name, form, reason, bytes_read=source.position, has_output=has_output, stream_number=streams)

    if not pending:
        raise broken("it is empty")
    if form == "tar.xz" and pending.startswith(_OLD_LZMA) and oddities.proven:
        # As the program xz does.
        oddities.accept("it is an LZMA file of the old format and no xz file")
        new_decoder = old_lzma_decoder
    while pending:
        decoder = new_decoder()
        streams += 1
        has_output = False
        while not decoder.eof:
            at_end = False
            if decoder.needs_input and not pending:
                pending = source.read(_READ_SIZE)
                at_end = not pending
            try:
                data = decoder.decompress(pending, _PIECE_SIZE)
            except decoder_errors() as error:
                raise (memory_refused(source.name, "it") if wants_memory(error) else broken(f"{error}")) from error
            pending = b""
            if data:
                has_output = True
                yield data
            elif at_end and not decoder.eof:
                raise broken("it ends in the middle of a compressed stream")
        if is_unchecked(decoder):
            oddities.accept("its checksums are of an unknown kind, and were not compared")
        pending = next_stream(source, decoder.unused_data or source.read(_READ_SIZE), form, oddities, streams)


class PieceStream(io.RawIOBase):
    """A readable stream of the bytes that an iterator yields."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        """Take over ``pieces``: closing the stream closes them, if they can be closed."""
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """Return ``True``."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill at most the whole of ``buffer`` and return the number of bytes; 0 at the end.

        Raises:
            ProvisionerError: raised by the iterator.
        """
        if not self._rest:
            self._rest = memoryview(next(self._pieces, b""))
        view = memoryview(buffer).cast("B")
        data = self._rest[: len(view)]
        self._rest = self._rest[len(data) :]
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the iterator."""
        if not self.closed:
            close = getattr(self._pieces, "close", None)
            if close is not None:
                close()
        super().close()
