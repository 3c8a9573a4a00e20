"""How little a connection may bring before it has failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SLOW_SECONDS: Final = 30.0
"""So long a connection may be waited for in all before what it brought is counted."""
SLOW_BYTES: Final = 30_000
"""A line that brings fewer bytes than this in :data:`SLOW_SECONDS` of waiting, over all connections of a run, has failed.

That is 1,000 bytes a second, the limit that package managers and ``git`` use as well: a poor line brings more, and a
server that sends a byte now and then does not. Only waiting counts, not what we do with the bytes, and bytes of other
connections count as well, so that many connections may share a slow line.
"""


class TooSlowError(TimeoutError):
    """A connection brought next to nothing for a long time."""


@dataclass(slots=True)
class Pace:
    """What the connections of a run bring, together."""

    seconds: float = SLOW_SECONDS
    least: int = SLOW_BYTES
    total: int = 0
    """Bytes that all connections have brought; nearly exact, since threads count without a lock."""
