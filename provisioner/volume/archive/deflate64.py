"""Deflate64: deflate with a window of 64 KiB and longer matches, which Windows uses for files larger than 2 GiB.

Specification: APPNOTE.TXT 6.3.10, section 4.4.5 (method 9). The library decodes all of its input at once, and does not report
how much of it belonged to the stream; this class makes up for both.
"""

from __future__ import annotations

from typing import Final

import inflate64

_PIECE: Final = 512
"""Bytes decoded at once: they become 13 MiB at most, since two bits may stand for 65,538 bytes."""


class Deflate64Decoder:
    """A decoder of one Deflate64 stream, with the interface of ``bz2.BZ2Decompressor``."""

    def __init__(self, packed_size: int) -> None:
        """Expect ``packed_size`` bytes in all; the last of them are decoded one by one, to find the exact end."""
        self._inflater = inflate64.Inflater()
        self._expected = packed_size
        self._packed = memoryview(b"")
        self._content = memoryview(b"")
        self._unused = b""

    @property
    def eof(self) -> bool:
        """Whether the end of the stream was reached, and all of its content returned."""
        return bool(self._inflater.eof) and not self._content

    @property
    def needs_input(self) -> bool:
        """Whether more input is needed before more output can be returned."""
        return not self._packed and not self._content

    @property
    def unused_data(self) -> bytes:
        """Input beyond the end of the stream; if the stream ends long before the input, including some bytes of the stream."""
        return self._unused + bytes(self._packed)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Return at most ``max_length`` bytes; input that is not needed yet is kept."""
        if data:
            self._packed = memoryview(bytes(self._packed) + data)
        while not self._content and self._packed and not self._inflater.eof:
            self._decode()
        content, self._content = bytes(self._content[:max_length]), self._content[max_length:]
        return content

    def _decode(self) -> None:
        count = _PIECE if self._expected > _PIECE else 1
        piece, self._packed = bytes(self._packed[:count]), self._packed[count:]
        self._expected -= len(piece)
        self._content = memoryview(self._inflater.inflate(piece))
        if self._inflater.eof and count > 1:
            self._unused = piece
