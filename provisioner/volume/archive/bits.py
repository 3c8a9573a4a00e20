"""Bits within bytes, the first bit of a byte being its highest: reading numbers, packing them, and searching for them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

PATTERN_BITS: Final = 48
"""Length of the patterns that :func:`find_pattern` searches for."""


def bytes_for(bits: int) -> int:
    """Return how many bytes hold so many bits."""
    return (bits + 7) // 8


def read_bits(data: bytes | bytearray, position: int, count: int) -> int | None:
    """Return the number in the ``count`` bits from bit ``position`` on; ``None`` if ``data`` ends before."""
    end = bytes_for(position + count)
    if end > len(data):
        return None
    return int.from_bytes(data[position // 8 : end], "big") >> -(position + count) % 8 & (1 << count) - 1


def pack_bits(*fields: tuple[int, int]) -> bytes:
    """Return the fields, each a value and its number of bits, one after the other, padded with zeros to a whole byte."""
    total = count = 0
    for value, bits in fields:
        total, count = total << bits | value, count + bits
    return (total << -count % 8).to_bytes(bytes_for(count), "big")


def find_pattern(data: bytearray, pattern: int, start: int) -> Iterator[int]:
    """Yield the bit positions, from ``start`` on and in order, at which the 48 bits of ``pattern`` are."""
    while True:
        best, end = None, len(data)
        for shift, core in _whole_bytes(pattern):
            index = start // 8
            while (index := data.find(core, index + 1, end)) >= 0:
                position = (index - 1) * 8 + shift
                if position >= start and read_bits(data, position, PATTERN_BITS) == pattern:
                    best, end = position, position // 8 + len(core) + 1
                    break
        if best is None:
            return
        yield best
        start = best + 1


@cache
def _whole_bytes(pattern: int) -> tuple[tuple[int, bytes], ...]:
    """Return, for each bit of a byte at which a pattern can begin, the five whole bytes that it fills after that byte."""
    return tuple((shift, (pattern << 8 - shift).to_bytes(7, "big")[1:6]) for shift in range(8))
