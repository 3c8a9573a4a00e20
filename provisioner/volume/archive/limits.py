"""Limits on what may come out of one archive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from provisioner.errors import ArchiveTooLargeError
from provisioner.volume.archive.errors import unsafe_archive

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_MEMBERS: Final = 2_000_000
"""Members of one archive. The largest known archive (of LibriTTS) has some 615,000, and each takes memory."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the output of an archive."""

    max_bytes: int | None = None
    """Bytes of file content; ``None`` for any number."""
    max_members: int = MAX_MEMBERS
    """Members, directories and links included."""
    charge: Callable[[int], None] = lambda _count: None
    """Called with the number of bytes before they are written; raises if they must not be written."""


class LimitCounter:
    """The output of one archive so far, compared with its limits."""

    def __init__(self, archive: str, limits: Limits) -> None:
        """Start at zero; ``archive`` is its name, for messages."""
        self._archive = archive
        self._max_bytes, self._max_members = limits.max_bytes, limits.max_members
        self._charge = limits.charge
        self._bytes = self._members = 0

    def add_member(self) -> None:
        """Count one member.

        Raises:
            UnsafeArchiveError: there are too many.
        """
        self._members += 1
        if self._members > self._max_members:
            raise unsafe_archive(self._archive, f"it has more than {self._max_members} members")

    def add_bytes(self, size: int, *, replaced: int = 0) -> None:
        """Count bytes before they are written: the size stated in the archive, which the reader enforces.

        Raises:
            ArchiveTooLargeError: there are too many.
            ProvisionerError: see :attr:`Limits.charge`.
        """
        self._bytes += size - replaced
        if self._max_bytes is not None and self._bytes > self._max_bytes:
            raise ArchiveTooLargeError(
                f"{self._archive}: it unpacks to more than {self._max_bytes:,} bytes",
                hint="The catalog expects less. If the data set has grown, its entry needs the new size.",
            )
        self._charge(size)
