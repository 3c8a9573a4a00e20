"""The partial file of an artifact that arrives over one connection: written in order, hashed on arrival, and resumable.

It is named by the artifact's digest if that is known, so that any source of the same bytes can continue where another stopped.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Final, Self

from provisioner.catalog.answers import HEAD
from provisioner.errors import SizeMismatchError, UnexpectedContentError
from provisioner.volume.fs.atomic import write_atomic
from provisioner.volume.fs.directories import make_directory
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.fs.files import CHUNK, read_file
from provisioner.volume.fs.private_files import open_private_file
from provisioner.volume.staging.content import check_content, looks_like
from provisioner.volume.staging.hashing import Hasher, digest_mismatch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from provisioner.catalog.artifact import Artifact

RESUMABLE: Final = 1 << 20
"""Bytes. The origin of a smaller file is not recorded, since fetching it again costs little."""


class Blob:
    """One artifact's bytes in staging, as the sink of a fetch. Not safe for several threads at the same time."""

    def __init__(
        self,
        directory: Path,
        artifact: Artifact,
        *,
        check_cancelled: Callable[[], None],
        charge: Callable[[int], None] = lambda _count: None,
        max_bytes: int | None = None,
    ) -> None:
        """Open the partial file and hash its content, so that a fetch can continue after its last byte.

        Args:
            directory: the directory of the partial file, which is created if it is missing.
            artifact: the artifact that the bytes belong to.
            check_cancelled: called between blocks of the existing bytes; raises to end the work.
            charge: called with the number of bytes before they are written; raises if they must not be written.
            max_bytes: the most bytes that may come, if their exact number is not known; ``None`` means any number.

        Raises:
            VolumeError: the volume failed.
        """
        self.artifact = artifact
        self.path = directory / f"{artifact.key}.part"
        self._origin_path = directory / f"{artifact.key}.json"
        self._check_cancelled = check_cancelled
        self._charge = charge
        self._max_bytes = max_bytes
        self.origin: tuple[str, str] | None = None
        """URL and validator (ETag or date) of the bytes so far, if known."""
        with disk_errors(f"staging {artifact.name}"):
            make_directory(directory)
            # Unbuffered: what counts as written has been passed to the kernel, and survives the death of this process.
            self._file = open_private_file(self.path)
            self.have = os.fstat(self._file).st_size
        self._hasher = self._new_hasher()
        if self.have:
            self._resume()
        else:
            with disk_errors(f"staging {artifact.name}"):
                # These records describe bytes that never arrived, and would be applied to the bytes that arrive now.
                self._origin_path.unlink(missing_ok=True)
                self.path.with_suffix(".journal").unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the partial file, which stays on the disk."""
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.close(self._file)
            self._file = -1

    def _new_hasher(self) -> Hasher:
        size = self.artifact.size
        return Hasher.for_artifact(self.artifact, size.value if size else None)

    def _resume(self) -> None:
        """Hash what an earlier run left; drop it if neither a digest nor an origin could show later whether it was right."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            record = json.loads(read_file(self._origin_path))
            self.origin = (str(record["url"]), str(record["validator"]))
        size = self.artifact.exact_size
        journal = self.path.with_suffix(".journal")
        if journal.exists():
            # Ranges were written to the file, with holes between them.
            self.restart()
            with disk_errors(f"staging {self.artifact.name}"):
                journal.unlink(missing_ok=True)
            return
        too_long = size is not None and self.have > size
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
        """Drop all bytes: the next ones are the first of the file.

        Raises:
            VolumeError: the volume failed.
        """
        with disk_errors(f"staging {self.artifact.name}"):
            os.ftruncate(self._file, 0)
            os.lseek(self._file, 0, os.SEEK_SET)
        self.have = 0
        self._forget_origin()
        self._hasher = self._new_hasher()

    def record_origin(self, url: str, validator: str | None) -> None:
        """Record the origin of the bytes that follow, before the first of them is written.

        Raises:
            VolumeError: the volume failed.
        """
        if validator is None:
            self._forget_origin()
            return
        if self.origin == (url, validator):
            return
        self.origin = (url, validator)
        size = self.artifact.size
        if size is None or size.value >= RESUMABLE:
            write_atomic(self._origin_path, json.dumps({"url": url, "validator": validator}).encode(), durable=False)

    def _forget_origin(self) -> None:
        """Remove the record of an origin that the next bytes do not have, since a later run would trust it."""
        if self.origin is not None:
            self.origin = None
            with disk_errors(f"staging {self.artifact.name}"):
                self._origin_path.unlink(missing_ok=True)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append and hash bytes.

        Raises:
            UnexpectedContentError: the file's beginning shows that they are not the file's; they were not appended.
            SizeMismatchError: there are more bytes than planned; they were dropped.
            NoRoomError: they must not be written; the bytes before them are kept.
            VolumeFullError, VolumeError: the volume failed; the bytes before them are kept.
        """
        view = memoryview(data)
        if self.artifact.digest is None and self.have < HEAD <= self.have + len(view):
            # Checked here and not only at the end, so that a large wrong file is not fetched to its end.
            check_content(self.artifact, self.head() + bytes(view[: HEAD - self.have]), self.artifact.exact_size or HEAD + 1)
        if self._max_bytes is not None and self.have + len(view) > self._max_bytes:
            raise self._too_many()
        self._charge(len(view))
        size = self.artifact.size
        needed = max(len(view), size.value - self.have if size else 0)
        with disk_errors(f"staging {self.artifact.name}", self.path, needed=needed):
            written = 0
            while written < len(view):
                written += os.write(self._file, view[written:])
        self._hasher.update(view)
        self.have += len(view)

    def _too_many(self) -> SizeMismatchError:
        self.restart()
        return SizeMismatchError(
            f"{self.artifact.name}: more than {self._max_bytes:,} bytes came, and its entry says far less; they were dropped",
            hint="If the file has grown, its entry needs the new size.",
        )

    def seal(self) -> str:
        """Check the size and the digest of the whole file, and return its SHA-256.

        Raises:
            SizeMismatchError, DigestMismatchError, UnexpectedContentError: the bytes are wrong; they were dropped.
        """
        artifact, have = self.artifact, self.have
        if artifact.exact_size not in {None, have}:
            what = looks_like(self.head(), have)
            self.restart()
            raise SizeMismatchError(
                f"{artifact.name}: expected {artifact.exact_size:,} bytes, got {have:,}{what}; they were dropped",
                hint="The file was changed upstream, or an error page came in its place.",
            )
        if artifact.digest is not None and not self._hasher.matches(artifact):
            error = digest_mismatch(artifact, self._hasher.hexdigest, self.head(), have)
            self.restart()
            raise error
        if artifact.digest is None:
            try:
                check_content(artifact, self.head(), have)
            except UnexpectedContentError:
                self.restart()
                raise
        return self._hasher.sha256

    def head(self) -> bytes:
        """Return the first bytes that have arrived."""
        with disk_errors(f"staging {self.artifact.name}"):
            os.lseek(self._file, 0, os.SEEK_SET)
            data = os.read(self._file, HEAD)
            # A single read may return fewer bytes than there are.
            while len(data) < min(HEAD, self.have) and (more := os.read(self._file, HEAD - len(data))):
                data += more
            os.lseek(self._file, 0, os.SEEK_END)
        return data

    def drop(self) -> None:
        """Remove the partial file and the record of its origin.

        Raises:
            VolumeError: the volume failed.
        """
        self.close()
        for path in (self.path, self._origin_path):
            with disk_errors(f"removing {path.name}"):
                path.unlink(missing_ok=True)

    def move_to(self, place: Callable[[Path], None]) -> None:
        """Close the sealed file, and let ``place`` move it into a tree.

        Raises:
            VolumeError: the volume failed.
        """
        self.close()
        with disk_errors(f"placing {self.artifact.name}"):
            place(self.path)
            self._origin_path.unlink(missing_ok=True)


def take_in(source: Path, directory: Path, artifact: Artifact) -> None:
    """Move a whole file into staging, in place of what an interrupted fetch of the same artifact left there.

    Args:
        source: the file, on the same file system.
        directory: the directory of partial files, which is created if it is missing.
        artifact: the artifact that the file's bytes belong to.

    Raises:
        OSError: the file cannot be moved.
        VolumeError: the volume failed.
    """
    make_directory(directory)
    partial = directory / f"{artifact.key}.part"
    # A record left behind would be applied to the new bytes; with the journal of a fetch in ranges, they would be dropped.
    # The partial file is removed first, since without its journal its holes would count as bytes.
    for left in (partial, partial.with_suffix(".journal"), partial.with_suffix(".json")):
        with disk_errors(f"staging {artifact.name}"):
            left.unlink(missing_ok=True)
    os.replace(source, partial)


def copy_file(source: Path, blob: Blob, check_cancelled: Callable[[], None]) -> None:
    """Write a file on this machine into a blob, from its beginning.

    Raises:
        OSError: it cannot be read.
        ProvisionerError: the blob cannot be written, or the work must end.
    """
    blob.restart()
    with source.open("rb", buffering=0) as file:
        while data := file.read(1 << 20):
            check_cancelled()
            blob.write(data)


def _read_into(descriptor: int, buffer: memoryview) -> int:
    data = os.read(descriptor, len(buffer))
    buffer[: len(data)] = data
    return len(data)
