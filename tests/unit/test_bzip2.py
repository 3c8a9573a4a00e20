"""bzip2 decoded block by block gives the same bytes as the standard library, or an error."""

from __future__ import annotations

import bz2
import random
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.errors import BrokenArchiveError, VolumeError
from provisioner.volume.archive import bzip2
from provisioner.volume.archive.bzip2 import decompress_blocks
from provisioner.volume.archive.cursor import Cursor
from provisioner.volume.archive.decompress import decompress
from provisioner.volume.archive.oddities import Oddities
from tests.support.incoming import Arriving

if TYPE_CHECKING:
    from collections.abc import Iterator

NOISE = random.Random(0).randbytes(1_000_000)  # noqa: S311 - no secret
PI = f"{0x314159265359:048b}"
UNPROVEN = Oddities("archive", proven=False)
ROOT = f"{0x177245385090:048b}"


def unpacked(data: bytes, *, piece: int = 50_000, cores: int = 2) -> bytes:
    """Return the decompressed bytes of an archive that is still arriving."""
    with Arriving(data, piece=piece) as archive:
        return b"".join(decompress_blocks(Cursor(archive), cores, UNPROVEN))


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """Assert that every thread has ended, whatever the test does."""
    before = threading.active_count()
    yield
    assert threading.active_count() == before


@pytest.mark.parametrize("level", range(1, 10))
def test_every_level(level: int) -> None:
    """A stream of many blocks, of the level's size, that begin at any bit, is decoded."""
    data = NOISE + bytes(5_000_000) + NOISE[:345_678]
    assert unpacked(bz2.compress(data, level)) == data


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_streams_in_a_row(data: st.DataObject) -> None:
    """Streams of any sizes and levels, also empty ones, with zeros between them, are decoded, however the bytes arrive."""
    packed = whole = b""
    for _ in range(data.draw(st.integers(1, 6))):
        size, start = data.draw(st.integers(0, 250_000)), data.draw(st.integers(0, 1000))
        part = NOISE[start : start + size] if data.draw(st.booleans()) else bytes([start % 256]) * size
        whole += part
        packed += bz2.compress(part, data.draw(st.integers(1, 9))) + bytes(data.draw(st.sampled_from([0, 0, 3, 500])))
    assert unpacked(packed, piece=data.draw(st.integers(1000, 100_000)), cores=data.draw(st.integers(1, 3))) == whole


@settings(max_examples=100, deadline=None)
@given(place=st.floats(0, 1), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found(place: float, bit: int) -> None:
    """A flipped bit is an error or harmless (in padding): blocks have checksums, and so has the stream."""
    packed = bytearray(bz2.compress(NOISE[:250_000], 1))
    packed[min(int(place * len(packed)), len(packed) - 1)] ^= 1 << bit
    try:
        assert unpacked(bytes(packed)) == NOISE[:250_000]
    except BrokenArchiveError:
        return
    assert len(packed) * (1 - place) <= 1 or packed[3] != ord("1")


def bits(data: bytes) -> str:
    """Return bytes as a text of zeros and ones."""
    return "".join(f"{byte:08b}" for byte in data)


def packed_bits(text: str) -> bytes:
    """Return a text of zeros and ones as bytes, padded with zeros."""
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


def with_selectors(stream: bytes, extra: str) -> bytes:
    """Return a stream of one block with extra bits among its selectors: decoders skip these, as no symbol uses them.

    After the magic number (48 bits), CRC (32), a flag, a pointer (24) and a map of the used bytes come the number of tables (3),
    that of selectors (15), and the selectors, each as many ones as its number and a zero.
    """
    text = bits(stream)
    at = 32 + 48 + 32 + 1 + 24
    at += 16 + 16 * text[at : at + 16].count("1")
    assert int(text[at : at + 3], 2) >= 3
    count = int(text[at + 3 : at + 18], 2)
    end = at + 18
    for _ in range(count):
        end = text.index("0", end) + 1
    return packed_bits(text[: at + 3] + f"{count + extra.count('0'):015b}" + text[at + 18 : end] + extra + text[end:])


@pytest.mark.parametrize("extra", [PI + "0", f"{PI}0{PI}0", PI + "0" * 100 + PI + "0"], ids=["one", "two", "far"])
def test_bits_that_only_look_like_a_block(extra: str) -> None:
    """The 48 bits that begin a block may occur within another one, whose parts are then joined and decoded."""
    data = NOISE[:3000]
    hostile = with_selectors(bz2.compress(data), extra)
    assert bz2.decompress(hostile) == data
    assert unpacked(hostile) == data
    assert unpacked(bz2.compress(NOISE[:2000]) + hostile + hostile) == NOISE[:2000] + data * 2


def test_a_checksum_of_checksums() -> None:
    """A stream whose own checksum is wrong is an error, though each block is right."""
    packed = bytearray(bz2.compress(NOISE[:250_000], 1))
    text = bits(bytes(packed))
    at = text.rindex(ROOT) + 48 + 5
    packed[at // 8] ^= 0x80 >> at % 8
    with pytest.raises(BrokenArchiveError, match="checksum"):
        unpacked(bytes(packed))


def test_blocks_in_another_order() -> None:
    """Blocks in the wrong order are an error, though each block is right."""
    text = bits(bz2.compress(NOISE[:199_000], 1))
    first, second, end = text.index(PI), text.index(PI, 200), text.rindex(ROOT)
    changed = packed_bits(text[:first] + text[second:end] + text[first:second] + text[end:])
    with pytest.raises(BrokenArchiveError, match="checksum"):
        unpacked(changed)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it is empty"),
        (b"BZ", "no tar.bz2 file"),
        (b"BZh0" + bz2.compress(b"a")[4:], "no tar.bz2 file"),
        (b"BZh9 and no block", "no tar.bz2 file"),
        (bz2.compress(NOISE)[:-11], "damaged"),
        (bz2.compress(NOISE)[:-3], "in the middle"),
        (bz2.compress(NOISE)[:700_000], "in the middle"),
        (bz2.compress(b"a") + b"x", "follows its end"),
        (bz2.compress(b"a") + bytes(100_000) + b"BZh9", "follows its end"),
        (bz2.compress(NOISE[:900], 1)[:100] + random.Random(1).randbytes(800_000), "no tar.bz2 file"),  # noqa: S311
    ],
)
def test_wrong_data_are_refused(data: bytes, reason: str) -> None:
    """Data that are not bzip2, truncated, or followed by something else are refused, with the reason."""
    with pytest.raises(BrokenArchiveError, match=reason) as caught:
        unpacked(data)
    assert caught.value.hint


def test_closing_before_the_end() -> None:
    """Closing ends the threads, even if blocks were found and are not decoded yet."""
    with Arriving(bz2.compress(NOISE, 1), piece=10_000_000) as archive:
        pieces = decompress_blocks(Cursor(archive), 2, UNPROVEN)
        assert next(pieces)
        pieces.close()


def test_an_error_of_the_transfer_is_passed_on() -> None:
    """The error of a transfer is raised unchanged, after the bytes that came before it."""
    packed = bz2.compress(NOISE, 1)
    with Arriving(packed, piece=400_000, error=VolumeError("lost")) as archive:
        got: list[bytes] = []
        with pytest.raises(VolumeError, match="lost"):
            got.extend(decompress_blocks(Cursor(archive), 2, UNPROVEN))
    assert NOISE.startswith(b"".join(got))
    assert len(b"".join(got)) > 500_000


def test_the_sequential_reader_agrees() -> None:
    """The decoder without threads, which is used on one core, gives the same bytes."""
    packed = bz2.compress(NOISE, 3) + bz2.compress(NOISE[:10]) + bytes(7)
    with Arriving(packed) as archive:
        assert b"".join(decompress(Cursor(archive), "tar.bz2", UNPROVEN)) == unpacked(packed)


def test_every_bit_has_its_leading_block() -> None:
    """There is a leading block for each bit of a byte at which a block can begin."""
    assert sorted(bzip2._leading_blocks()) == list(range(8))
