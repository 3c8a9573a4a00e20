"""Counts of what the tests did to the program: processes killed, faults fired, archives, processes and inputs."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Final, Literal, get_args

Kind = Literal["kills", "faults", "archives", "processes", "inputs"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

_TURN: Final = threading.Lock()
_COUNTS: Final[Counter[str]] = Counter()


def count(kind: Kind, number: int = 1) -> None:
    """Add to a count; called where the event happens, by any thread."""
    with _TURN:
        _COUNTS[kind] += number


def taken() -> dict[Kind, int]:
    """Return the counts since the previous call."""
    with _TURN:
        found = {kind: _COUNTS[kind] for kind in KINDS}
        _COUNTS.clear()
    return found
