"""The destination of a file's bytes, as seen by a fetch; implemented in the staging area."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Sink(Protocol):
    """A file that is written from its first byte to its last."""

    @property
    def have(self) -> int:
        """Bytes that have arrived."""
        ...

    @property
    def origin(self) -> tuple[str, str] | None:
        """URL and validator of these bytes, or ``None`` if unknown."""
        ...

    def restart(self) -> None:
        """Drop what has arrived."""
        ...

    def record_origin(self, url: str, validator: str | None) -> None:
        """Record the origin of the bytes that follow."""
        ...

    def write(self, data: bytes | memoryview, /) -> None:
        """Append bytes; the buffer may be reused after the call."""
        ...

    def seal(self) -> str:
        """Check the whole file and return its SHA-256; wrong bytes are dropped."""
        ...


class RangeClaim(Protocol):
    """A range that one connection fetches."""

    position: int
    """Offset of the next byte in the file."""
    end: int
    """Offset after the last byte; it decreases if another connection takes over part of the range."""
    version: int
    """The version of the file that it belongs to; the number changes when everything is dropped."""

    def write(self, data: bytes | memoryview, /) -> None:
        """Write the next bytes; the buffer may be reused after the call."""
        ...

    def give_back(self) -> int:
        """Release the rest of the range to other connections, and return how many bytes were dropped."""
        ...


class RangeTarget(Protocol):
    """A file that arrives in ranges; safe for several threads."""

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        ...

    @property
    def have(self) -> int:
        """Bytes that have arrived."""
        ...

    @property
    def is_whole(self) -> bool:
        """Whether all bytes have arrived."""
        ...

    @property
    def wants_connection(self) -> bool:
        """Whether another connection would get a range to fetch."""
        ...

    @property
    def origin(self) -> tuple[str, str] | None:
        """URL and validator of the bytes that have arrived, or ``None`` if unknown."""
        ...

    def record_origin(self, url: str, validator: str | None, version: int) -> None:
        """Record the origin of the bytes that follow, for a claim of this version."""
        ...

    def claim(self, *, wait: bool) -> RangeClaim | None:
        """Claim a range to fetch; ``None`` if there is none or, without ``wait``, if there is none now."""
        ...

    def claim_all(self) -> RangeClaim:
        """Return a claim of the whole file, from its first byte."""
        ...

    def restart(self, version: int | None) -> int | None:
        """Drop everything and return the number of dropped bytes, or ``None`` if the file is already at another version."""
        ...

    def fail(self, error: BaseException) -> None:
        """Raise ``error`` in every thread that uses the file."""
        ...

    def set_direct_fetch(self, fetch: Callable[[int, int], bytes], /) -> None:
        """Set the function that fetches bytes independently of claims, given an offset and a number of bytes."""
        ...


class SealedTarget(RangeTarget, Protocol):
    """A file that arrives in ranges and is checked at its end."""

    @property
    def is_proven(self) -> bool:
        """Whether all bytes are compared with a known digest before any of them is used."""
        ...

    @property
    def resumed(self) -> bool:
        """Whether some of the bytes were there before this run."""
        ...

    def recover(self) -> None:
        """Accept claims again after a failure."""
        ...

    def seal(self) -> str:
        """Check the whole file and return its SHA-256; wrong bytes are dropped."""
        ...
