"""Duration and sampling rate of audio files, from their headers alone; it is an error if a file is not of its format.

Sources: "Multimedia Programming Interface and Data Specifications 1.0" (RIFF), RFC 9639 (FLAC), ISO/IEC 11172-3 and the
descriptions of the Xing and VBRI headers (MP3), and the Standard MIDI Files specification.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

_BEGINNING: Final = 4096
"""Bytes of a file that are read first; most headers are shorter."""
_LONGEST_SEARCH: Final = 1 << 16
"""Bytes after the tag in which the first frame of an MP3 file must begin."""


class BrokenMediaError(Exception):
    """A file is not what its name says, or is truncated; the message says how, in a few words."""


class AudioFacts(NamedTuple):
    """The facts in a header."""

    duration: float
    """Seconds."""
    sampling_rate: int


def audio_facts(path: str) -> AudioFacts | None:
    """Return the facts in the header of an audio file, or ``None`` if its format is not known here.

    Raises:
        BrokenMediaError: it is damaged or empty.
        OSError: it cannot be read.
    """
    read = _FORMATS.get(os.path.splitext(path)[1].lower())
    if read is None:
        return None
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        file = _File(handle)
        try:
            return read(file)
        except struct.error:
            raise BrokenMediaError("ends in its header" if file.size else "empty") from None
    finally:
        os.close(handle)


def check_midi(path: str) -> tuple[int, int]:
    """Return format and number of tracks of a MIDI file.

    Raises:
        BrokenMediaError: it is not a MIDI file.
        OSError: it cannot be read.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        beginning = os.read(handle, 14)
    finally:
        os.close(handle)
    if len(beginning) < 14 or beginning[:4] != b"MThd":  # noqa: PLR2004 - the length of the header
        raise BrokenMediaError("no MIDI file" if beginning else "empty")
    _, kind, tracks = struct.unpack_from(">IHH", beginning, 4)
    return kind, tracks


class _File:
    """An open file, of which little is read."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._beginning = os.read(handle, _BEGINNING)
        self.size = len(self._beginning)
        if self.size == _BEGINNING:
            self.size = os.fstat(handle).st_size

    def at(self, offset: int, count: int) -> bytes:
        """Return the bytes at an offset; fewer at the end of the file."""
        if offset + count <= len(self._beginning) or len(self._beginning) == self.size:
            return self._beginning[offset : offset + count]
        os.lseek(self._handle, offset, os.SEEK_SET)
        return os.read(self._handle, count)


def _wav(file: _File) -> AudioFacts:
    riff, _, wave = struct.unpack("<4sI4s", file.at(0, 12))
    if riff not in {b"RIFF", b"RF64"} or wave != b"WAVE":
        raise BrokenMediaError("no WAV file")
    offset, rate, bytes_per_second = 12, 0, 0
    while True:
        kind, size = struct.unpack("<4sI", file.at(offset, 8))
        offset += 8
        if kind == b"fmt ":
            rate, bytes_per_second = struct.unpack("<II", file.at(offset + 4, 8))
        elif kind == b"data":
            break
        offset += size + size % 2
    if not rate or not bytes_per_second:
        raise BrokenMediaError("its header names no sampling rate")
    if riff == b"RF64":
        size = file.size - offset
    if offset + size > file.size:
        raise BrokenMediaError("ends early")
    if not size:
        raise BrokenMediaError("holds no audio")
    return AudioFacts(size / bytes_per_second, rate)


def _flac(file: _File) -> AudioFacts:
    magic, kind = struct.unpack(">4sB", file.at(0, 5))
    if magic != b"fLaC" or kind & 0x7F:
        raise BrokenMediaError("no FLAC file")
    (packed,) = struct.unpack(">Q", file.at(18, 8))
    rate, samples = packed >> 44, packed & ((1 << 36) - 1)
    if not rate:
        raise BrokenMediaError("its header names no sampling rate")
    if not samples:
        raise BrokenMediaError("holds no audio")
    return AudioFacts(samples / rate, rate)


_MP3_RATES: Final = ((11025, 12000, 8000), (), (22050, 24000, 16000), (44100, 48000, 32000))
"""By version (2.5, reserved, 2, 1)."""
_MP3_KBITS: Final = (
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
)
"""For layer III, for versions 2 and 2.5, and for version 1."""


class _Frame(NamedTuple):
    version: int
    rate: int
    bits_per_second: int
    size: int
    samples: int
    side: int
    """Bytes of side information."""


def _mp3(file: _File) -> AudioFacts:
    offset = 0
    tag = file.at(0, 10)
    if tag[:3] == b"ID3":
        length = 0
        for byte in tag[6:10]:
            length = length << 7 | byte & 0x7F
        offset = 10 + length
    if offset >= file.size:
        raise BrokenMediaError("holds no audio" if file.size else "empty")
    begin, frame = _first_frame(file, offset)
    # The first frame may hold no sound but the number of the other frames.
    head = file.at(begin, 4 + frame.side + 18)
    mark = head[4 + frame.side :]
    if mark[:4] in {b"Xing", b"Info"} and len(mark) >= 12 and mark[7] & 1:  # noqa: PLR2004
        (frames,) = struct.unpack_from(">I", mark, 8)
    elif (vbri := file.at(begin + 36, 18))[:4] == b"VBRI":
        (frames,) = struct.unpack_from(">I", vbri, 14)
    else:
        return AudioFacts((file.size - begin) * 8 / frame.bits_per_second, frame.rate)
    if not frames:
        raise BrokenMediaError("holds no audio")
    return AudioFacts(frames * frame.samples / frame.rate, frame.rate)


def _first_frame(file: _File, offset: int) -> tuple[int, _Frame]:
    """Return offset and header of the first frame, which is followed by another frame or the end of the file."""
    window = file.at(offset, _LONGEST_SEARCH)
    at = window.find(b"\xff")
    while 0 <= at < len(window) - 3:
        frame = _frame(window[at : at + 4])
        if frame is not None:
            after = offset + at + frame.size
            if after >= file.size or _frame(file.at(after, 4)) is not None:
                return offset + at, frame
        at = window.find(b"\xff", at + 1)
    raise BrokenMediaError("no MP3 frame in it")


def _frame(header: bytes) -> _Frame | None:
    """Return the values in the header of a layer III frame, or ``None`` if it is not one."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:  # noqa: PLR2004
        return None
    version, mono = header[1] >> 3 & 3, header[3] >> 6 == 3  # noqa: PLR2004
    bits, rate, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    is_first = version == 3  # noqa: PLR2004
    if version == 1 or rate == 3 or bits in {0, 15}:  # noqa: PLR2004
        return None
    hertz, bits_per_second = _MP3_RATES[version][rate], _MP3_KBITS[is_first][bits] * 1000
    samples = 1152 if is_first else 576
    side = (17 if mono else 32) if is_first else (9 if mono else 17)
    return _Frame(version, hertz, bits_per_second, samples // 8 * bits_per_second // hertz + padding, samples, side)


_FORMATS: Final[dict[str, Callable[[_File], AudioFacts]]] = {
    ".wav": _wav,
    ".flac": _flac,
    ".mp3": _mp3,
}
