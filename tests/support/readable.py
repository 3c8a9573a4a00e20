"""Which files can be read now: :manpage:`poll(2)`, since :manpage:`select(2)` knows descriptors below 1,024 only."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

T = TypeVar("T", bound="Any")


def readable(files: Sequence[T], seconds: float | None = None) -> list[T]:
    """Return those of some files, sockets or descriptors that can be read or have ended, as soon as there is one.

    Args:
        files: to be looked at.
        seconds: how long to wait; ``None`` means as long as it takes.
    """
    poll = select.poll()
    for file in files:
        poll.register(file, select.POLLIN)
    ready = {number for number, _ in poll.poll(None if seconds is None else seconds * 1000)}
    return [file for file in files if (file if isinstance(file, int) else file.fileno()) in ready]
