"""The ranges of a file that connections are fetching now: one that takes long is divided when nothing else is left to claim.

Connections to one server differ: a node that is busy, a line that loses packets, or a limit for each connection makes some of
them slow. Without this, all others would be idle while the slowest one brings the last range.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from provisioner.volume.staging.pieces import PIECE

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.volume.staging.claims import Claim

_LONG: Final = 0.5
"""Seconds that the rest of a range must take at least to be divided: a further request has a cost too."""
_AHEAD: Final = PIECE
"""Bytes that a connection may have received and not written yet: what is this close to its position remains its own."""


class ActiveClaims:
    """The claims of one file that are not complete. The caller holds the lock."""

    def __init__(self, piece: int, clock: Callable[[], float], *, divides: bool = True) -> None:
        """Begin without any.

        Args:
            piece: bytes of a piece.
            clock: returns seconds that never go back.
            divides: whether ranges may be divided at all.
        """
        self._divides = divides
        self._piece = piece
        self._clock = clock
        self._begun: dict[Claim, tuple[int, float]] = {}
        """For each claim, its first byte and when it was claimed."""

    def add(self, claim: Claim) -> None:
        """Add a claim that begins now."""
        self._begun = {one: begun for one, begun in self._begun.items() if one.position < one.end}
        self._begun[claim] = claim.position, self._clock()

    def remove(self, claim: Claim) -> None:
        """Remove a claim whose rest was given back."""
        self._begun.pop(claim, None)

    def clear(self) -> None:
        """Remove all claims."""
        self._begun.clear()

    @property
    def can_divide(self) -> bool:
        """Whether :meth:`divide` would return a range."""
        return self._longest() is not None

    def divide(self) -> tuple[int, int] | None:
        """Take away the second half of the range that would take longest, at a boundary of pieces.

        Returns:
            The offset of the half's first byte and the one after its last byte; ``None`` if no range would take long.
        """
        claim = self._longest()
        if claim is None:
            return None
        start, end = self._middle(claim), claim.end
        claim.end = start
        return start, end

    def _longest(self) -> Claim | None:
        """Return the claim that would take longest, if that is long enough and something of it can be taken."""
        if not self._divides:
            return None
        now = self._clock()
        found = [(seconds, claim) for claim in self._begun if (seconds := self._seconds_left(claim, now)) >= _LONG]
        return max(found, key=lambda one: one[0])[1] if found else None

    def _seconds_left(self, claim: Claim, now: float) -> float:
        """Return how long a claim would take if it went on as it did so far; 0 if nothing of it can be taken."""
        if self._middle(claim) >= claim.end:
            return 0.0
        first, begun = self._begun[claim]
        arrived, elapsed = claim.position - first, now - begun
        if elapsed < _LONG:
            return 0.0  # too early to tell
        return (claim.end - claim.position) * elapsed / arrived if arrived else math.inf

    def _middle(self, claim: Claim) -> int:
        """Return the first offset of the half that could be taken, or an offset beyond the end of the claim."""
        least = claim.position + _AHEAD
        middle = max(least, (claim.position + claim.end) // 2)
        return -(-middle // self._piece) * self._piece
