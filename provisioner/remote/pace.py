"""The minimum speed of a connection, below which it counts as failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SLOW_SECONDS: Final = 30.0
"""After so many seconds of waiting for a connection, the bytes that it brought are judged."""
SLOW_BYTES: Final = 30_000
"""A connection that brings fewer bytes in :data:`SLOW_SECONDS` of waiting, over all connections of a run, has failed.

That is 1,000 bytes per second, the limit of package managers and ``git`` as well: a poor line is faster, and a server that
sends a byte now and then is not. Only the time of waiting counts, not our own processing, and bytes of other connections
count as well, so that many connections may share a slow line.
"""


class TooSlowError(TimeoutError):
    """A connection brought next to nothing for a long time."""


@dataclass(slots=True)
class Pace:
    """The number of bytes that the connections of a run have received together."""

    seconds: float = SLOW_SECONDS
    least: int = SLOW_BYTES
    total: int = 0
    """Bytes that all connections have brought; only nearly exact, since threads count without a lock."""
