"""The compression methods of a zip's members, and a decoder for each.

Specification: APPNOTE.TXT 6.3.10, sections 4.4.4 (flags), 4.4.5 (methods), 5.8 (LZMA) and 5.10 (xz).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provisioner.volume.archive.decoders import (
    bzip2_decoder,
    deflate_decoder,
    xz_decoder,
    zstd_decoder,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from provisioner.volume.archive.decoders import Decoder

STORED: Final = 0
DEFLATE: Final = 8
DEFLATE64: Final = 9
BZIP2: Final = 12
LZMA: Final = 14
METHODS: Final = {
    STORED: "stored",
    DEFLATE: "deflate",
    DEFLATE64: "Deflate64",
    BZIP2: "bzip2",
    LZMA: "LZMA",
    20: "Zstandard",
    93: "Zstandard",
    95: "xz",
}
"""The compression methods that can be read."""
OTHER_METHODS: Final = {
    1: "shrunk", 2: "reduced", 3: "reduced", 4: "reduced", 5: "reduced", 6: "imploded", 10: "imploded", 18: "IBM TERSE",
    19: "IBM LZ77", 94: "MP3", 96: "JPEG", 97: "WavPack", 98: "PPMd",
}  # fmt: skip
"""Methods that are known only by name."""
FAST_METHODS: Final = frozenset({STORED, DEFLATE})
ENCRYPTED: Final = 1 << 0 | 1 << 6 | 1 << 13
"""Flags of members that are encrypted, or whose headers are."""

NEW_DECODERS: Final[Mapping[int, Callable[[], Decoder]]] = {
    DEFLATE: deflate_decoder,
    BZIP2: bzip2_decoder,
    20: zstd_decoder,
    93: zstd_decoder,
    95: xz_decoder,
}
"""Decoders of the methods that need no parameters besides the data."""
SEVERAL_STREAMS: Final = frozenset({BZIP2, 20, 93, 95})
"""Methods that allow several streams one after the other in one member."""
