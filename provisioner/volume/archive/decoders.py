"""Decoders of one compressed stream: gzip (RFC 1952), deflate (RFC 1951), bzip2, xz, LZMA and Zstandard (RFC 8878).

All have the interface of ``bz2.BZ2Decompressor``. Which archive format uses which is decided by the callers.
"""

from __future__ import annotations

import bz2
import lzma
import sys
from typing import Final, Protocol, cast

from isal import igzip_lib

MEMORY_LIMIT: Final = 160 * 1024 * 1024
"""Bytes that a decoder may allocate. ``xz -9`` needs 65 MiB; an archive may ask for 4 GiB."""


class Decoder(Protocol):
    """A decoder of one stream, which is fed and emptied in pieces."""

    @property
    def eof(self) -> bool:
        """Whether the end of the stream was reached and its checksum, if any, was right."""

    @property
    def needs_input(self) -> bool:
        """Whether more input is needed before more output can be returned."""

    @property
    def unused_data(self) -> bytes:
        """Input beyond the end of the stream."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Return at most ``max_length`` bytes; input that is not needed yet is kept."""


def gzip_decoder() -> Decoder:
    """Return a decoder of one gzip member; it checks CRC-32 and length."""
    decoder: Decoder = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
    return decoder


def deflate_decoder() -> Decoder:
    """Return a decoder of raw deflate data, which have no checksum of their own."""
    decoder: Decoder = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_DEFLATE)
    return decoder


def deflate64_decoder(packed_size: int) -> Decoder:
    """Return a decoder of raw Deflate64 data, which have no checksum of their own; ``packed_size`` is their length in bytes."""
    # Imported here because few archives need it.
    from provisioner.volume.archive.deflate64 import Deflate64Decoder  # noqa: PLC0415

    return Deflate64Decoder(packed_size)


def bzip2_decoder() -> Decoder:
    """Return a decoder of one bzip2 stream."""
    return bz2.BZ2Decompressor()


def xz_decoder() -> Decoder:
    """Return a decoder of one xz stream that refuses to allocate more than ``MEMORY_LIMIT`` bytes."""
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY_LIMIT)


def old_lzma_decoder() -> Decoder:
    """Return a decoder of the format that came before xz (``.lzma``), which has no checksum; memory as for xz."""
    return lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=MEMORY_LIMIT)


def is_unchecked(decoder: Decoder) -> bool:
    """Return whether what a decoder has returned has a checksum of a kind that it does not know (xz)."""
    return isinstance(decoder, lzma.LZMADecompressor) and not lzma.is_check_supported(decoder.check)


def raw_lzma_decoder(properties: int, dictionary: int) -> Decoder:
    """Return a decoder of raw LZMA1 data.

    Args:
        properties: the byte that holds lc, lp and pb: ``(pb * 5 + lp) * 9 + lc``.
        dictionary: size of the dictionary, in bytes; the caller compares it with ``MEMORY_LIMIT``.
    """
    settings = {
        "id": lzma.FILTER_LZMA1,
        "dict_size": dictionary,
        "lc": properties % 9,
        "lp": properties // 9 % 5,
        "pb": properties // 45,
    }
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[settings])


def zstd_decoder() -> Decoder:
    """Return a decoder of one Zstandard frame; the library's default refuses windows above 128 MiB."""
    # Imported here because few archives need it.
    if sys.version_info >= (3, 14):
        from compression import zstd  # noqa: PLC0415
    else:
        from backports import zstd  # noqa: PLC0415
    return zstd.ZstdDecompressor()


def wants_memory(error: Exception) -> bool:
    """Return whether a decoder gave up because of its memory limit; the data may nevertheless be right."""
    # Neither library has a type or code for this error, but both use a distinct message: liblzma "Memory usage limit
    # exceeded", and libzstd "Frame requires too much memory for decoding".
    return "emory" in str(error)


def decoder_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that decoders raise for wrong input."""
    # The type stubs of isal declare an instance; it is a class of exceptions.
    deflate_error = cast("type[Exception]", igzip_lib.IsalError)
    found: list[type[Exception]] = [deflate_error, lzma.LZMAError, OSError, EOFError, ValueError]
    # Only a module that was loaded can have raised its error.
    found.extend(sys.modules[module].ZstdError for module in ("compression.zstd", "backports.zstd") if module in sys.modules)
    return tuple(found)
