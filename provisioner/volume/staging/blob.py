"""Bytes on their way in: written in order, hashed as they come, resumed after a crash, believed only when they are whole.

A blob is named by its digest where one is known, so that any source of the same bytes carries on where another stopped.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from typing import TYPE_CHECKING, Final, Protocol, Self

from provisioner.errors import DigestMismatchError, SizeMismatchError
from provisioner.volume.fs.atomic import write_atomic
from provisioner.volume.fs.directories import make_directory
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.fs.files import read_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from provisioner.planning.recipe import Artifact

CHUNK: Final = 1 << 20
"""Bytes that are read, hashed and written at once."""

RESUMABLE: Final = 1 << 20
"""Bytes from which on a partial file is worth a note of where it came from."""


class _Hash(Protocol):
    def update(self, data: bytes | bytearray | memoryview, /) -> None: ...
    def hexdigest(self) -> str: ...


class Hasher:
    """SHA-256 for the manifest, and what the catalog or the listing names, in one pass."""

    def __init__(self, algorithm: str | None, size: int | None) -> None:
        """Start.

        Args:
            algorithm: ``sha256``, ``sha1``, ``md5``, ``gitsha1`` or ``None``.
            size: bytes to come; a Git blob's hash begins with it.
        """
        self._sha256 = hashlib.sha256()
        self._named: _Hash | None = None
        if algorithm == "gitsha1":
            # https://git-scm.com/book/en/v2/Git-Internals-Git-Objects: "blob", a space, the length, a NUL, the bytes.
            self._named = hashlib.sha1(f"blob {size or 0}\0".encode(), usedforsecurity=False)
        elif algorithm not in {None, "sha256"}:
            self._named = hashlib.new(str(algorithm), usedforsecurity=False)

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Take more bytes."""
        self._sha256.update(data)
        if self._named is not None:
            self._named.update(data)

    @property
    def sha256(self) -> str:
        """Hexadecimal SHA-256 of all bytes so far."""
        return self._sha256.hexdigest()

    @property
    def named(self) -> str:
        """Hexadecimal digest by the algorithm that was asked for."""
        return self._named.hexdigest() if self._named is not None else self.sha256


class Blob:
    """One artifact's bytes in staging; the sink of a fetch. Used by one thread at a time."""

    def __init__(self, directory: Path, artifact: Artifact, *, check_cancelled: Callable[[], None]) -> None:
        """Open what is there and hash it, so that a fetch can go on behind it.

        Raises:
            VolumeError: the volume failed.
        """
        self.artifact = artifact
        self.path = directory / f"{artifact.key}.part"
        self._note = directory / f"{artifact.key}.json"
        self._check_cancelled = check_cancelled
        self.origin: tuple[str, str] | None = None
        """URL and validator (ETag or date) of the bytes that are there, where they are known."""
        with disk_errors(f"staging {artifact.name}"):
            make_directory(directory)
            # Unbuffered, so that what was counted as written is with the kernel and survives our death.
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o664)
            self.have = os.fstat(self._file).st_size
        self._hasher = self._fresh_hasher()
        if self.have:
            self._take_stock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what it holds stays."""
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.close(self._file)
            self._file = -1

    def _fresh_hasher(self) -> Hasher:
        digest, size = self.artifact.digest, self.artifact.size
        return Hasher(digest.algorithm if digest else None, size.value if size else None)

    def _take_stock(self) -> None:
        """Hash what an earlier run left, or drop it when nobody could say later whether it was right."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            record = json.loads(read_file(self._note))
            self.origin = (str(record["url"]), str(record["validator"]))
        size = self.artifact.size
        too_long = size is not None and not size.estimate and self.have > size.value
        if too_long or (self.artifact.digest is None and self.origin is None):
            self.restart()
            return
        with disk_errors(f"staging {self.artifact.name}"):
            buffer = memoryview(bytearray(CHUNK))
            os.lseek(self._file, 0, os.SEEK_SET)
            while count := os.readv(self._file, [buffer]) if hasattr(os, "readv") else _read_into(self._file, buffer):
                self._check_cancelled()
                self._hasher.update(buffer[:count])

    def restart(self) -> None:
        """Drop what is there: the next bytes are the first."""
        with disk_errors(f"staging {self.artifact.name}"):
            os.ftruncate(self._file, 0)
            os.lseek(self._file, 0, os.SEEK_SET)
        self.have = 0
        self.origin = None
        self._hasher = self._fresh_hasher()

    def begin(self, url: str, validator: str | None) -> None:
        """Note where the coming bytes are from, before the first of them is written."""
        if validator is None or self.origin == (url, validator):
            return
        self.origin = (url, validator)
        size = self.artifact.size
        if size is None or size.value >= RESUMABLE:
            write_atomic(self._note, json.dumps({"url": url, "validator": validator}).encode(), durable=False)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append and hash.

        Raises:
            VolumeFullError, VolumeError: the volume failed; what was there before stays.
        """
        view = memoryview(data)
        size = self.artifact.size
        needed = max(len(view), size.value - self.have if size else 0)
        with disk_errors(f"staging {self.artifact.name}", self.path, needed=needed):
            written = 0
            while written < len(view):
                written += os.write(self._file, view[written:])
        self._hasher.update(view)
        self.have += len(view)

    def seal(self) -> str:
        """Check size and digest, and give the SHA-256 of the whole.

        Raises:
            SizeMismatchError, DigestMismatchError: the bytes are wrong; they were dropped.
        """
        artifact = self.artifact
        if artifact.size is not None and not artifact.size.estimate and self.have != artifact.size.value:
            have = self.have
            self.restart()
            raise SizeMismatchError(
                f"{artifact.name}: expected {artifact.size.value:,} bytes, got {have:,}; they were dropped",
                hint="The file was changed upstream, or an error page came in its place.",
            )
        if artifact.digest is not None and self._hasher.named != artifact.digest.hex:
            found = self._hasher.named
            self.restart()
            raise mismatch(artifact, found)
        return self._hasher.sha256

    def drop(self) -> None:
        """Remove the blob and its note."""
        self.close()
        for path in (self.path, self._note):
            with disk_errors(f"removing {path.name}"):
                path.unlink(missing_ok=True)

    def move_to(self, destination: Path) -> None:
        """Put the sealed blob in its place in a tree on the same file system."""
        self.close()
        with disk_errors(f"placing {self.artifact.name}"):
            make_directory(destination.parent)
            os.replace(self.path, destination)
            self._note.unlink(missing_ok=True)


def mismatch(artifact: Artifact, found: str) -> DigestMismatchError:
    """Return the error for bytes whose digest is ``found`` and not the artifact's."""
    expected = artifact.digest
    algorithm = expected.algorithm if expected else "sha256"
    return DigestMismatchError(
        f"{artifact.name}: expected {expected}, got {algorithm}:{found}; the bytes were dropped",
        hint="Bytes were changed on the way or upstream. Start again; if it stays, the catalog needs a correction.",
    )


def checked_sha256(artifact: Artifact, data: bytes) -> str:
    """Check a whole small file, and give its SHA-256.

    Raises:
        DigestMismatchError: it is another one.
    """
    hasher = Hasher(artifact.digest.algorithm if artifact.digest else None, len(data))
    hasher.update(data)
    if artifact.digest is not None and hasher.named != artifact.digest.hex:
        raise mismatch(artifact, hasher.named)
    return hasher.sha256


def _read_into(descriptor: int, buffer: memoryview) -> int:
    data = os.read(descriptor, len(buffer))
    buffer[: len(data)] = data
    return len(data)


def hash_file(path: Path, artifact: Artifact, check_cancelled: Callable[[], None]) -> tuple[bool, str]:
    """Hash a file that may be an artifact; give whether it is, and its SHA-256.

    Raises:
        OSError: the file cannot be read.
    """
    size = path.stat().st_size
    hasher = Hasher(artifact.digest.algorithm if artifact.digest else None, size)
    buffer = memoryview(bytearray(CHUNK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            check_cancelled()
            hasher.update(buffer[:count])
    return artifact.digest is not None and hasher.named == artifact.digest.hex, hasher.sha256
