"""Numbers of bytes, exact or estimated, and their sum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Size:
    """A number of bytes, exact or estimated."""

    value: int
    """Bytes."""
    estimate: bool = False

    @property
    def exact(self) -> int | None:
        """The number of bytes where it is exact; ``None`` for an estimate."""
        return None if self.estimate else self.value


def total(sizes: Iterable[Size | None]) -> Size:
    """Return the sum of sizes; it is an estimate if any of them is an estimate or is unknown (``None``)."""
    value, estimate = 0, False
    for size in sizes:
        value += size.value if size else 0
        estimate = estimate or size is None or size.estimate
    return Size(value, estimate)
