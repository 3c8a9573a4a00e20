"""Numbers of bytes, exact or estimated, and their sum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Size:
    """A number of bytes: exact, estimated, or the sum of the known parts of a whole."""

    value: int
    """Bytes."""
    estimate: bool = False
    at_least: bool = False
    """Whether some parts of the sum are unknown; with a value of 0, all of them are."""

    @property
    def exact(self) -> int | None:
        """The number of bytes if it is exact; ``None`` for an estimate, or if parts are unknown."""
        return None if self.estimate or self.at_least else self.value

    @property
    def written(self) -> int | dict[str, int | bool]:
        """The size as written in a catalog."""
        return {"value": self.value, "estimate": True} if self.estimate else self.value

    @property
    def is_unknown(self) -> bool:
        """Whether nothing at all is known."""
        return self.at_least and not self.value


def total(sizes: Iterable[Size | None]) -> Size:
    """Return the sum of sizes: an estimate if any of them is one, a lower bound if any of them is unknown (``None``)."""
    value, estimate, at_least = 0, False, False
    for size in sizes:
        value += size.value if size else 0
        at_least = at_least or size is None or size.at_least
        estimate = estimate or size is None or size.estimate
    return Size(value, estimate, at_least)


def known_total(sizes: Iterable[Size | None]) -> Size | None:
    """Return the sum of sizes, or ``None`` if none of them is known."""
    found = total(sizes)
    return None if found.is_unknown else found
