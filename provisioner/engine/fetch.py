"""The bytes of one data set's artifacts: fetched, verified, and handed on to be unpacked or put into the staged tree.

A small file is held in memory until it is verified. A large one arrives in ranges by several connections, and an archive is
unpacked meanwhile. Anything between arrives by one connection.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioner.catalog.answers import MAX_POINTER, is_pointer
from provisioner.engine.fetch_threads import FileJob
from provisioner.engine.unpack import ArrivingArchive
from provisioner.errors import VolumeFullError
from provisioner.planning.capacity import LARGE, SMALL, most_bytes
from provisioner.units import format_bytes, format_share
from provisioner.volume.staging.blob import Blob
from provisioner.volume.staging.hashing import checked_sha256
from provisioner.volume.staging.ranged_file import RangedFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from provisioner.catalog.artifact import Artifact
    from provisioner.engine.build_limits import BuildLimits
    from provisioner.engine.build_progress import BuildProgress
    from provisioner.engine.fetch_threads import FetchThreads
    from provisioner.engine.plain_files import PlainFiles
    from provisioner.engine.staged_tree import Part
    from provisioner.engine.unpack import Unpacker
    from provisioner.planning.model import Retention
    from provisioner.remote.transfers import Transfers

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NeededFile:
    """Bytes that are needed, for one artifact or for several that have the same."""

    artifacts: tuple[Artifact, ...]
    """At least one; repositories repeat licences and empty files."""
    local_copy: Path | None
    """A file on this machine with the right digest; ``None``: they must be fetched."""

    @property
    def artifact(self) -> Artifact:
        """The artifact whose URLs are asked."""
        return self.artifacts[0]

    @property
    def archives(self) -> list[Artifact]:
        """The artifacts that are unpacked."""
        return [artifact for artifact in self.artifacts if artifact.unpack != "none"]

    @property
    def plain(self) -> list[Artifact]:
        """The artifacts that are not unpacked."""
        return [artifact for artifact in self.artifacts if artifact.unpack == "none"]

    @property
    def exact_size(self) -> int | None:
        """The number of bytes; ``None``: it is not known, or only an estimate."""
        return self.artifact.exact_size

    @property
    def is_small(self) -> bool:
        """Whether it is held in memory until it is verified."""
        return not self.archives and self.exact_size is not None and self.exact_size <= SMALL

    @property
    def is_large(self) -> bool:
        """Whether it is fetched in ranges."""
        return self.local_copy is None and self.exact_size is not None and self.exact_size >= LARGE


class Fetcher:
    """Fetches the artifacts of one data set."""

    def __init__(
        self,
        transfers: Transfers,
        threads: FetchThreads,
        unpacker: Unpacker,
        files: PlainFiles,
        progress: BuildProgress,
        *,
        blobs: Path,
        retention: Retention,
        limits: BuildLimits,
    ) -> None:
        """Prepare.

        Args:
            transfers: fetches single files.
            threads: each uses one connection at a time.
            unpacker: is handed the archives.
            files: is handed all other files.
            progress: is told of bytes that arrived.
            blobs: the directory of partial files, which a later run resumes.
            retention: how many archives the volume can hold beside the tree.
            limits: is charged with all bytes that are written.
        """
        self._transfers = transfers
        self._threads = threads
        self._unpacker = unpacker
        self._files = files
        self._progress = progress
        self._blobs = blobs
        self._limits = limits
        self._retention = retention
        self.pointers: list[str] = []
        """Paths of files that are Git LFS pointers, with the digest that their source states."""

    def fetch_all(self, files: Iterable[NeededFile], parts: dict[str, Part]) -> None:
        """Fetch everything, and add the parts of the tree to ``parts``, by content id; the first failure ends it.

        Raises:
            ProvisionerError: the most telling of the failures.
        """
        self.pointers.clear()
        lock = threading.Lock()

        def job_of(needed: NeededFile) -> FileJob:
            def fetch() -> None:
                fetched = self._fetch(needed)
                with lock:
                    parts.update(fetched)

            return FileJob(fetch, needed.is_large)

        # Archives that do not all have space on the volume come one after the other.
        files_at_once = self._transfers.small_files_at_once if self._keeps_archives else lambda: 1
        self._threads.run(map(job_of, files), files_at_once=files_at_once)

    @property
    def _keeps_archives(self) -> bool:
        return self._retention == "at_once"

    def _fetch(self, needed: NeededFile) -> dict[str, Part]:
        size = needed.exact_size
        if needed.local_copy is not None:
            return self._use_local_copy(needed, needed.local_copy)
        if needed.is_small and size is not None:
            return self._fetch_small(needed, size)
        if size is not None and needed.is_large:
            return self._fetch_in_ranges(needed, size)
        with self._open_blob(needed) as blob:
            self._report_resumed(needed, blob.have)
            parts: dict[str, Part] = {}

            def unpack() -> None:
                parts.update(self._unpacker.unpack_file(needed.archives, blob.path))

            sha256 = self._transfers.fetch(needed.artifact, blob, self._arrived, unpack)
            return parts | self._move_in(needed, blob, blob.have, sha256)

    def _use_local_copy(self, needed: NeededFile, path: Path) -> dict[str, Part]:
        _LOGGER.info("%s: %s is used, nothing is fetched", self._threads.label, path)
        self._progress.add_present(path.stat().st_size)
        parts = self._unpacker.unpack_file(needed.archives, path)
        if not needed.plain:
            return parts
        if needed.is_small:
            return self._write_small(needed, path.read_bytes())[0]
        # The tree gets bytes of its own, whatever becomes of the copy.
        with self._open_blob(needed) as blob:
            _copy(path, blob, self._threads.check_cancelled)
            sha256 = blob.seal()
            return parts | self._move_in(needed, blob, blob.have, sha256)

    def _fetch_small(self, needed: NeededFile, size: int) -> dict[str, Part]:
        parts: dict[str, Part] = {}

        def accept(data: bytes) -> str:
            written, sha256 = self._write_small(needed, data)
            parts.update(written)
            return sha256

        self._transfers.fetch_small(needed.artifact, size, accept, self._arrived)
        return parts

    def _write_small(self, needed: NeededFile, data: bytes) -> tuple[dict[str, Part], str]:
        sha256 = checked_sha256(needed.artifact, data)
        if len(data) <= MAX_POINTER and is_pointer(data):
            self.pointers += [artifact.path for artifact in needed.artifacts]
        return {artifact.content_id: self._files.write(artifact, data, sha256) for artifact in needed.artifacts}, sha256

    def _fetch_in_ranges(self, needed: NeededFile, size: int) -> dict[str, Part]:
        with self._open_ranged_file(needed, size) as file:
            self._report_resumed(needed, file.have)
            archives = [ArrivingArchive(self._unpacker, artifact, file) for artifact in needed.archives]
            parts: dict[str, Part] = {}

            def unpack() -> None:
                # Where the volume can hold it, the next archive arrives while this one is unpacked.
                waits = self._threads.releasing_connection() if archives and self._keeps_archives else contextlib.nullcontext()
                with waits:
                    parts.update({archive.artifact.content_id: archive.part() for archive in archives})

            try:
                sha256 = self._transfers.fetch_ranges(needed.artifact, file, self._threads, self._arrived, unpack)
            except BaseException as error:
                file.end(error)
                for archive in archives:
                    archive.wait()
                raise
            return parts | self._move_in(needed, file, size, sha256)

    def _move_in(self, needed: NeededFile, staged: Blob | RangedFile, size: int, sha256: str) -> dict[str, Part]:
        if isinstance(staged, Blob) and size <= MAX_POINTER and is_pointer(staged.head()):
            self.pointers += [artifact.path for artifact in needed.plain]
        return self._files.move_in(needed.plain, staged, size, sha256, keep=self._keeps_archives)

    @contextlib.contextmanager
    def _open_blob(self, needed: NeededFile) -> Iterator[Blob]:
        artifact = needed.artifact
        limit = most_bytes(artifact.size) if artifact.size else self._limits.most_tree_bytes if needed.plain else None
        blob = Blob(
            self._blobs,
            artifact,
            check_cancelled=self._threads.check_cancelled,
            charge=self._charge_of(needed),
            max_bytes=limit,
        )
        with blob, _dropped_if_full(blob):
            yield blob

    @contextlib.contextmanager
    def _open_ranged_file(self, needed: NeededFile, size: int) -> Iterator[RangedFile]:
        """Open the file that the ranges go to: on the disk, or a window in memory where the disk cannot hold the archive."""
        artifact, threads = needed.artifact, self._threads
        is_one_archive = len(needed.artifacts) == len(needed.archives) == 1
        if self._retention == "streamed" and is_one_archive:
            file = RangedFile.in_memory(artifact, size, check_cancelled=threads.check_cancelled, connections=threads.connections)
        else:
            file = RangedFile.on_disk(
                self._blobs,
                artifact,
                size,
                check_cancelled=threads.check_cancelled,
                connections=threads.connections,
                charge=self._charge_of(needed),
            )
        with file, _dropped_if_full(file):
            yield file

    def _charge_of(self, needed: NeededFile) -> Callable[[int], None]:
        """Return what is called with the bytes of a file before they are written."""
        return self._limits.budget.charge_plain if needed.plain else self._limits.budget.charge_staged

    def _report_resumed(self, needed: NeededFile, have: int) -> None:
        """Count the bytes that an earlier run left, and say so."""
        if have:
            size, total = needed.artifact.size, format_bytes(have)
            if size is not None and have <= size.value:
                total = format_share(have, size.value, estimate=size.estimate)
            _LOGGER.info("%s: %s is resumed: %s are here already", self._threads.label, needed.artifact.name, total)
        self._progress.add_present(have)
        self._threads.check_cancelled()

    def _arrived(self, count: int) -> None:
        self._progress.add_arrived(count)
        self._threads.check_cancelled()


@contextlib.contextmanager
def _dropped_if_full(staged: Blob | RangedFile) -> Iterator[None]:
    """Drop what has arrived when the volume is full: it would leave no space for the other data sets."""
    try:
        yield
    except VolumeFullError:
        staged.drop()
        raise


def _copy(source: Path, blob: Blob, check_cancelled: Callable[[], None]) -> None:
    blob.restart()
    with source.open("rb", buffering=0) as file:
        while data := file.read(1 << 20):
            check_cancelled()
            blob.write(data)
