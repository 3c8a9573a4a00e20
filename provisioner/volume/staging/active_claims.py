"""The ranges of a file that connections are fetching now; a slow one is divided when nothing else is left to claim.

Connections to one server differ in speed, because of a busy node, lost packets, or a limit for each connection. Without this,
all others would be idle while the slowest one fetches the last range.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from provisioner.volume.staging.pieces import PIECE

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.volume.staging.claims import Claim

_LONG: Final = 0.5
"""Minimum number of seconds left for a range that is divided, since another request has a cost, too."""
_AHEAD: Final = PIECE
"""Bytes that a connection may have received but not written yet; it keeps the part of its range this close to its position."""


class ActiveClaims:
    """The incomplete claims of one file. The caller of each method holds the lock."""

    def __init__(self, piece: int, clock: Callable[[], float], *, divides: bool = True) -> None:
        """Begin without claims.

        Args:
            piece: size of a piece in bytes.
            clock: returns the seconds of a monotonic clock.
            divides: whether ranges may be divided at all.
        """
        self._divides = divides
        self._piece = piece
        self._clock = clock
        self._begun: dict[Claim, tuple[int, float]] = {}
        """For each claim, the offset of its first byte and the time when it was claimed."""

    def add(self, claim: Claim) -> None:
        """Add a claim, which begins now."""
        self._begun = {one: begun for one, begun in self._begun.items() if one.position < one.end}
        self._begun[claim] = claim.position, self._clock()

    def remove(self, claim: Claim) -> None:
        """Remove a claim, the rest of which was given back."""
        self._begun.pop(claim, None)

    def clear(self) -> None:
        """Remove all claims."""
        self._begun.clear()

    @property
    def can_divide(self) -> bool:
        """Whether :meth:`divide` would return a range."""
        return self._longest() is not None

    def divide(self) -> tuple[int, int] | None:
        """Take the second half, from a boundary of pieces on, away from the claim that is expected to take longest.

        Returns:
            The offsets of the half's first byte and after its last byte; ``None`` if no claim is expected to take long.
        """
        claim = self._longest()
        if claim is None:
            return None
        start, end = self._middle(claim), claim.end
        claim.end = start
        return start, end

    def _longest(self) -> Claim | None:
        """Return the claim that is expected to take longest, or ``None`` if none takes long enough to be divided."""
        if not self._divides:
            return None
        now = self._clock()
        found = [(seconds, claim) for claim in self._begun if (seconds := self._seconds_left(claim, now)) >= _LONG]
        return max(found, key=lambda one: one[0])[1] if found else None

    def _seconds_left(self, claim: Claim, now: float) -> float:
        """Return how many more seconds a claim takes at its speed so far; 0 if nothing of it can be taken away."""
        if self._middle(claim) >= claim.end:
            return 0.0
        first, begun = self._begun[claim]
        arrived, elapsed = claim.position - first, now - begun
        if elapsed < _LONG:
            return 0.0  # too early to tell
        return (claim.end - claim.position) * elapsed / arrived if arrived else math.inf

    def _middle(self, claim: Claim) -> int:
        """Return the first offset of the half that can be taken away; it is not before the claim's end if there is none."""
        least = claim.position + _AHEAD
        middle = max(least, (claim.position + claim.end) // 2)
        return -(-middle // self._piece) * self._piece
