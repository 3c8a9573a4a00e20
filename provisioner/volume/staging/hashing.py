"""Hashes of an artifact: the SHA-256 that manifests record, and the digest in the catalog or the listing."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Protocol

from provisioner.errors import DigestMismatchError
from provisioner.volume.fs.files import HASHED_AT_ONCE, open_file
from provisioner.volume.staging.content import check_content, looks_like

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from provisioner.catalog.artifact import Artifact


class _Hash(Protocol):
    def update(self, data: bytes | bytearray | memoryview, /) -> None: ...
    def hexdigest(self) -> str: ...


class Hasher:
    """The SHA-256 and the expected digest of the same bytes, computed in one pass."""

    def __init__(self, algorithm: str | None, size: int | None) -> None:
        """Begin without bytes.

        Args:
            algorithm: of the expected digest (``sha256``, ``sha1``, ``md5``, ``gitsha1`` or ``xet``), or ``None`` if none is
                known.
            size: number of bytes to come, which is part of the hash of a Git blob.
        """
        self._sha256 = hashlib.sha256()
        self._expected: _Hash | None = None
        if algorithm == "gitsha1":
            # https://git-scm.com/book/en/v2/Git-Internals-Git-Objects: "blob", a space, the length, a NUL, the bytes.
            self._expected = hashlib.sha1(f"blob {size or 0}\0".encode(), usedforsecurity=False)
        elif algorithm == "xet":
            # Imported here because few sources need it.
            from provisioner.volume.staging.xet_hash import XetHash  # noqa: PLC0415

            self._expected = XetHash()
        elif algorithm not in {None, "sha256"}:
            self._expected = hashlib.new(str(algorithm), usedforsecurity=False)

    @classmethod
    def for_artifact(cls, artifact: Artifact, size: int | None) -> Hasher:
        """Return a hasher for an artifact's expected digest; ``size`` is the number of bytes to come."""
        return cls(artifact.digest.algorithm if artifact.digest else None, size)

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Hash the next bytes."""
        self._sha256.update(data)
        if self._expected is not None:
            self._expected.update(data)

    def matches(self, artifact: Artifact) -> bool:
        """Return whether the bytes so far have the artifact's digest; ``False`` if none is known."""
        return artifact.digest is not None and self.hexdigest == artifact.digest.hex

    @property
    def sha256(self) -> str:
        """Hexadecimal SHA-256 of all bytes so far."""
        return self._sha256.hexdigest()

    @property
    def hexdigest(self) -> str:
        """Hexadecimal digest of all bytes so far by the algorithm of the expected digest, or else their SHA-256."""
        return self._expected.hexdigest() if self._expected is not None else self.sha256


def digest_mismatch(artifact: Artifact, found: str, head: bytes, size: int) -> DigestMismatchError:
    """Return the error for bytes whose hexadecimal digest is ``found`` instead of the artifact's.

    Args:
        artifact: the artifact that they should be.
        found: their digest.
        head: the first bytes, by which the content may be recognised.
        size: the number of bytes.
    """
    expected = artifact.digest
    algorithm = expected.algorithm if expected else "sha256"
    return DigestMismatchError(
        f"{artifact.name}: expected {expected}, got {algorithm}:{found}{looks_like(head, size)}; the bytes were dropped",
        hint="Bytes were changed on the way or upstream. Start again; if it stays, the stated digest is not that of this file.",
    )


def checked_sha256(artifact: Artifact, data: bytes) -> str:
    """Check the digest of a small file that is in memory, and return its SHA-256.

    Raises:
        DigestMismatchError, UnexpectedContentError: the bytes are not the artifact's.
    """
    hasher = Hasher.for_artifact(artifact, len(data))
    hasher.update(data)
    if artifact.digest is not None and not hasher.matches(artifact):
        raise digest_mismatch(artifact, hasher.hexdigest, data, len(data))
    check_content(artifact, data, len(data))
    return hasher.sha256


def hash_file(path: Path, artifact: Artifact, check_cancelled: Callable[[], None]) -> tuple[bool, str]:
    """Hash a file; return whether it has the artifact's digest, and its SHA-256.

    Raises:
        OSError: it cannot be read, or is not a regular file.
    """
    with open_file(path) as file:
        return hash_open_file(file.fileno(), artifact, check_cancelled)


def hash_open_file(handle: int, artifact: Artifact, check_cancelled: Callable[[], None]) -> tuple[bool, str]:
    """Hash a file that is open, from its beginning; return the same as :func:`hash_file`.

    Raises:
        OSError: it cannot be read.
    """
    hasher = Hasher.for_artifact(artifact, os.fstat(handle).st_size)
    while data := os.read(handle, HASHED_AT_ONCE):
        check_cancelled()
        hasher.update(data)
    return hasher.matches(artifact), hasher.sha256
