"""The division of a plan's artifacts among workers, which each worker computes independently with the same result."""

from __future__ import annotations

import hashlib
import heapq
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_REQUEST_BYTES: Final = 64 << 10
"""Approximate cost of a request in bytes; it makes a thousand small files count as much as a large file that takes as long."""


def plan_id(sizes: Mapping[str, int]) -> str:
    """Return an identifier of the division, so that workers with different plans never mix.

    Args:
        sizes: bytes of each artifact, by its key.
    """
    lines = "".join(f"{key} {size}\n" for key, size in sorted(sizes.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def divide(sizes: Mapping[str, int], count: int) -> list[frozenset[str]]:
    """Return the keys of each share: artifacts in descending size, each to the share with the fewest bytes so far.

    Args:
        sizes: bytes of each artifact, by its key.
        count: number of shares.
    """
    shares: list[list[str]] = [[] for _ in range(count)]
    loads = [(0, index) for index in range(count)]
    for key, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0])):
        load, index = loads[0]
        shares[index].append(key)
        heapq.heapreplace(loads, (load + size + _REQUEST_BYTES, index))
    return [frozenset(share) for share in shares]
