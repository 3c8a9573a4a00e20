"""Digests, with which bytes are verified."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

DIGEST_LENGTHS: Final[Mapping[str, int]] = {"sha256": 64, "sha1": 40, "md5": 32}
"""Digest algorithms that a catalog may use, with the number of hexadecimal digits of each."""


@dataclass(frozen=True, slots=True, init=False)
class Digest:
    """The expected hash of some bytes; written ``sha256:be1a…``."""

    algorithm: str
    """``sha256``, ``sha1`` or ``md5``; a Hub's listings also use ``gitsha1`` (the SHA-1 of a Git blob) and ``xet`` (for a
    file in a bucket)."""
    raw: bytes
    """The bytes of the hash, which take less memory than digits, since there may be very many files."""

    def __init__(self, algorithm: str, digits: str) -> None:
        """Create the digest with these hexadecimal digits.

        Raises:
            ValueError: the digits are not hexadecimal.
        """
        object.__setattr__(self, "algorithm", algorithm)
        object.__setattr__(self, "raw", bytes.fromhex(digits))

    @property
    def hex(self) -> str:
        """Its hexadecimal digits, in lower case."""
        return self.raw.hex()

    def __str__(self) -> str:
        """Return the digest in the form that a catalog uses."""
        return f"{self.algorithm}:{self.hex}"
