"""The division of a plan's artifacts among workers: the same for each of them, without talking."""

from __future__ import annotations

import hashlib
import heapq
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_REQUEST_BYTES: Final = 64 << 10
"""Bytes that a request costs, about: with them a thousand small files are as much work as one large file that takes as long."""


def plan_id(sizes: Mapping[str, int]) -> str:
    """Return an identifier of what is divided: workers that plan something else never mix with these.

    Args:
        sizes: bytes of each artifact, by its key.
    """
    lines = "".join(f"{key} {size}\n" for key, size in sorted(sizes.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def divide(sizes: Mapping[str, int], count: int) -> list[frozenset[str]]:
    """Return the keys of each share: the largest artifact first, each to the share with the fewest bytes so far.

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
