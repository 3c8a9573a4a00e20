"""Small but real media files, the same bytes in every run and on every machine.

Only integer arithmetic and SHAKE-128 decide the content: no floating point, no random module, no clock.
"""

from __future__ import annotations

import hashlib
import struct
from array import array
from typing import Final

_MP3_FRAME: Final = 417
"""Bytes of an MPEG-1 layer III frame at 128 kbit/s and 44.1 kHz without padding."""
MP3_FRAME_SECONDS: Final = 417 * 8 / 128_000
"""The duration of a file is derived from its size: it has no header with the number of frames."""
_MP3_HEADER: Final = b"\xff\xfb\x90\x00"
_MP3_SIDE_INFO: Final = bytes(32)
"""All zero: the frame decodes to silence, and the rest of it is ancillary data."""
ID3_TAG: Final = b"ID3\x03\x00\x00\x00\x00\x00\x0bTIT2\x00\x00\x00\x01\x00\x00\x00"
"""An MP3 file with a tag and no sound."""
_NO_SYNC: Final = bytes(byte & 0x7F for byte in range(256))


def noise(seed: str, size: int) -> bytes:
    """Return bytes that cannot be compressed."""
    return hashlib.shake_128(seed.encode()).digest(size)


def number(seed: str, low: int, high: int) -> int:
    """Return an integer from `low` to `high` that is derived from the seed."""
    return low + int.from_bytes(noise(seed, 4), "big") % (high - low + 1)


def wav(rate: int, frames: int, seed: str, *, bits: int = 16, noisy: bool = False) -> bytes:
    """Return a mono PCM WAV file: a triangle wave, or noise."""
    width = bits // 8
    if noisy:
        samples = noise(seed, frames * width)
    else:
        period = number(seed, 40, 160)
        wave = [8000 * (4 * abs(place - period // 2) - period) // period for place in range(period)]
        if width == 2:
            packed = struct.pack(f"<{period}h", *wave)
        else:
            packed = b"".join((value << 8).to_bytes(3, "little", signed=True) for value in wave)
        samples = (packed * (frames // period + 1))[: frames * width]
    header = struct.pack("<HHIIHH", 1, 1, rate, rate * width, width, bits)
    padding = b"\0" * (len(samples) % 2)
    size = 4 + 8 + len(header) + 8 + len(samples) + len(padding)
    return b"".join(
        (
            b"RIFF",
            struct.pack("<I", size),
            b"WAVEfmt ",
            struct.pack("<I", len(header)),
            header,
            b"data",
            struct.pack("<I", len(samples)),
            samples,
            padding,
        )
    )


def mp3(frames: int, seed: str) -> bytes:
    """Return MP3 frames (26 ms of silence each) whose unused bytes are noise."""
    filling = _MP3_FRAME - len(_MP3_HEADER) - len(_MP3_SIDE_INFO)
    filler = noise(seed, frames * filling).translate(_NO_SYNC)
    return b"".join(
        _MP3_HEADER + _MP3_SIDE_INFO + filler[start : start + filling] for start in range(0, frames * filling, filling)
    )


def midi(seed: str, notes: int) -> bytes:
    """Return a standard MIDI file (format 0, 480 ticks per quarter note)."""
    events = [b"\x00\xff\x51\x03\x07\xa1\x20"]  # 120 beats per minute
    for pitch in array("B", noise(seed, notes)):
        key = 48 + pitch % 36
        events.append(bytes((0x00, 0x90, key, 80)))
        events.append(bytes((0x83, 0x60, 0x80, key, 0)))  # 480 ticks later
    events.append(b"\x00\xff\x2f\x00")
    track = b"".join(events)
    return b"MThd" + struct.pack(">IHHH", 6, 0, 1, 480) + b"MTrk" + struct.pack(">I", len(track)) + track


def pdf(title: str) -> bytes:
    """Return a PDF of one page with a title."""
    text = title.replace("\\", "").replace("(", "").replace(")", "")
    stream = f"BT /F1 18 Tf 72 760 Td ({text}) Tj ET".encode("latin-1", "replace")
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        (b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>"),
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    content = b"%PDF-1.4\n"
    offsets = []
    for place, each in enumerate(objects, start=1):
        offsets.append(len(content))
        content += b"%d 0 obj\n%s\nendobj\n" % (place, each)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    head = b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    trailer = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(content))
    return content + head + table + trailer


def mp4(seed: str, size: int) -> bytes:
    """Return an MP4 container: file type, movie header without tracks, and `size` bytes of media data."""
    header = struct.pack(">IIIII", 0, 0, 0, 1000, 1000) + struct.pack(">IH", 0x00010000, 0x0100) + bytes(10)
    matrix = struct.pack(">9I", 0x00010000, 0, 0, 0, 0x00010000, 0, 0, 0, 0x40000000)
    movie = _box(b"moov", _box(b"mvhd", header + matrix + bytes(24) + struct.pack(">I", 1)))
    return _box(b"ftyp", b"isom" + struct.pack(">I", 512) + b"isomiso2mp41") + movie + _box(b"mdat", noise(seed, size))


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content) + 8) + kind + content
