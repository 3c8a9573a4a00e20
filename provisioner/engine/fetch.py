"""The bytes of one data set's artifacts: fetched, verified, and handed on to be unpacked or put into the staged tree.

A small file is held in memory until it is verified. A large one arrives in ranges over several connections, and an
archive is unpacked meanwhile. A file in between arrives over one connection.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from provisioner.catalog.answers import MAX_POINTER, is_pointer
from provisioner.engine.bundles import Bundle, bundled
from provisioner.engine.fetch_threads import FileJob
from provisioner.engine.unpack import ArrivingArchive
from provisioner.errors import DigestMismatchError, ProvisionerError, VolumeFullError
from provisioner.planning.capacity import LARGE, SMALL, can_come_in_part, most_bytes
from provisioner.units import format_bytes, format_share
from provisioner.volume.staging.blob import Blob, copy_file, take_in
from provisioner.volume.staging.hashing import checked_sha256
from provisioner.volume.staging.local_copies import file_facts
from provisioner.volume.staging.partial_file import PartialFile
from provisioner.volume.staging.ranged_file import RangedFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from provisioner.catalog.artifact import Artifact
    from provisioner.engine.adoption import TreeAdopter
    from provisioner.engine.build_limits import BuildLimits
    from provisioner.engine.build_progress import BuildProgress
    from provisioner.engine.fetch_threads import FetchThreads
    from provisioner.engine.plain_files import PlainFiles
    from provisioner.engine.staged_tree import Part
    from provisioner.engine.unpack import Unpacker
    from provisioner.planning.model import Retention
    from provisioner.remote.transfers import Transfers
    from provisioner.volume.archive.target import Choose
    from provisioner.volume.staging.local_copies import LocalCopy

_LOGGER = logging.getLogger(__name__)

_LEAST_FOR_BUNDLES: Final = 64
"""For fewer files than this, peers are not asked whether they can send many by one request."""


@dataclass(frozen=True, slots=True)
class NeededFile:
    """Bytes that are needed, for one artifact or for several with the same bytes."""

    artifacts: tuple[Artifact, ...]
    """At least one; a repository may hold several copies of a licence or of an empty file."""
    local_copy: Path | None
    """A file on this machine that had the right digest, or ``None`` if the bytes must be fetched."""
    local_facts: tuple[int, ...] = ()
    """Facts about that file that would differ if it had been changed since it was hashed."""

    @classmethod
    def found(cls, artifacts: tuple[Artifact, ...], copy: LocalCopy | None) -> NeededFile:
        """Return the needed bytes of some artifacts, with a copy on this machine, if there is one."""
        return cls(artifacts, None) if copy is None else cls(artifacts, copy.path, copy.facts)

    @property
    def artifact(self) -> Artifact:
        """The artifact whose URLs are requested."""
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
        """The number of bytes, or ``None`` if it is not known, or is only an estimate."""
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
        choose: Callable[[Artifact], Choose | None] = lambda _artifact: None,
        adopter: TreeAdopter | None = None,
    ) -> None:
        """Prepare.

        Args:
            transfers: fetches single files.
            threads: run the jobs; each uses one connection at a time.
            unpacker: is handed the archives.
            files: is handed all other files.
            progress: is told of bytes that arrived.
            blobs: the directory of partial files, which a later run resumes.
            retention: how many archives the volume can hold beside the tree.
            limits: all bytes that are written are charged to them.
            choose: returns which files of an archive are wanted; ``None`` means all.
            adopter: looks for the files of archives in trees that are here, or ``None`` if there are no such trees.
        """
        self._choose = choose
        self._transfers = transfers
        self._threads = threads
        self._unpacker = unpacker
        self._files = files
        self._progress = progress
        self._blobs = blobs
        self._limits = limits
        self._retention = retention
        self._adopter = adopter
        self.adopted: set[str] = set()
        """Content ids of archives whose files were already here, as far as a CRC-32 can tell."""
        self.pointers: list[str] = []
        """Paths of files that are Git LFS pointers, although their digest is the one that their source states."""

    def fetch_all(
        self, files: Iterable[NeededFile], parts: dict[str, Part], *, tree: Sequence[Artifact] = (), count: int = 0
    ) -> None:
        """Fetch everything, and add the parts of the tree to ``parts``, by content id; stop at the first failure.

        Args:
            files: the needed files.
            parts: receives the results.
            tree: all files of a peer's tree, in its order, if these are files of it.
            count: how many files are needed.

        Raises:
            ProvisionerError: the most telling of the failures.
        """
        self.pointers.clear()
        self.adopted.clear()
        self._limits.begin_files(keeps_all=self._keeps_archives)
        lock = threading.Lock()

        def job_of(needed: NeededFile | Bundle) -> FileJob:
            def fetch() -> None:
                fetched = self._fetch_bundle(needed) if isinstance(needed, Bundle) else self._fetch(needed)
                with lock:
                    parts.update(fetched)

            return FileJob(fetch, not isinstance(needed, Bundle) and needed.is_large)

        wanted: Iterable[NeededFile | Bundle] = files
        if tree and count >= _LEAST_FOR_BUNDLES and self._transfers.offers_bundles():
            wanted = bundled(files, tree)

        # If the volume has no space for all archives at once, they are fetched one after the other.
        files_at_once = self._transfers.small_files_at_once if self._keeps_archives else lambda: 1
        self._threads.run(map(job_of, wanted), files_at_once=files_at_once)

    @property
    def _keeps_archives(self) -> bool:
        return self._retention == "at_once"

    def _fetch(self, needed: NeededFile) -> dict[str, Part]:
        size = needed.exact_size
        if needed.local_copy is not None:
            try:
                return self._use_local_copy(needed, needed.local_copy)
            except (OSError, ProvisionerError) as error:
                # The file belongs to somebody else, and may be removed or changed at any time.
                if isinstance(error, ProvisionerError) and _is_unchanged(needed):
                    raise
                self._threads.check_cancelled()
                path = needed.local_copy
                _LOGGER.warning("%s: %s cannot be used any more (%s); it is fetched", self._threads.label, path, error)
                return self._fetch_alone(replace(needed, local_copy=None))
        if self._adopter is not None and len(needed.archives) == 1 and not needed.plain:
            (archive,) = needed.archives
            # For a part, the same index decides which members are fetched, and they are fewer.
            if self._choose(archive) is None and (part := self._adopter.adopt(archive)) is not None:
                self.adopted.add(archive.content_id)
                self._progress.add_present(size or 0)
                return {archive.content_id: part}
        if size is not None and needed.is_large:
            return self._fetch_in_ranges(needed, size)
        return self._fetch_alone(needed)

    def _fetch_bundle(self, bundle: Bundle) -> dict[str, Part]:
        """Fetch many small files by one request; fetch each that is missing from the response, or wrong, by itself."""
        start = bundle.start
        data = self._transfers.fetch_bundle(start, bundle.end)
        parts: dict[str, Part] = {}
        left: list[NeededFile] = []
        arrived = 0
        for first, end, needed in bundle.files:
            self._threads.check_cancelled()
            if data is None:
                left.append(needed)
                continue
            content = data[first - start : end - start]
            try:
                parts.update(self._write_small(needed, content)[0])
                arrived += len(content)
            except DigestMismatchError:
                left.append(needed)
        self._progress.add_arrived(arrived)
        for needed in left:
            parts.update(self._fetch_alone(needed))
        return parts

    def _fetch_alone(self, needed: NeededFile) -> dict[str, Part]:
        """Fetch a file over one connection, whatever its size."""
        if needed.is_small and needed.exact_size is not None:
            return self._fetch_small(needed, needed.exact_size)
        with self._open_blob(needed) as blob:
            self._report_resumed(needed, blob.have)
            parts: dict[str, Part] = {}

            def unpack() -> None:
                parts.update(self._unpacker.unpack_file(needed.archives, blob.path, choose=self._choose(needed.artifact)))

            sha256 = self._transfers.fetch(needed.artifact, blob, self._arrived, unpack)
            return parts | self._move_in(needed, blob, blob.have, sha256)

    def _use_local_copy(self, needed: NeededFile, path: Path) -> dict[str, Part]:
        is_share = path.is_relative_to(self._blobs.parent / "shares")
        # Publishing uses every file that the workers have fetched for this volume, so that is not worth a line.
        level = logging.DEBUG if is_share else logging.INFO
        _LOGGER.log(level, "%s: %s is used, nothing is fetched", self._threads.label, path)

        def check_unchanged() -> None:
            if not _is_unchanged(needed):
                raise DigestMismatchError(f"{path} was changed while it was read")

        size = path.stat().st_size
        parts = self._unpacker.unpack_file(needed.archives, path, check_unchanged, choose=self._choose(needed.artifact))
        if needed.plain and needed.is_small:
            parts |= self._write_small(needed, path.read_bytes())[0]
        elif needed.plain:
            # A file of a share is moved into the tree. Any other copy is copied, so that the tree does not depend on
            # it.
            if is_share:
                take_in(path, self._blobs, needed.artifact)
            with self._open_blob(needed) as blob:
                if not is_share:
                    copy_file(path, blob, self._threads.check_cancelled)
                sha256 = blob.seal()
                parts |= self._move_in(needed, blob, blob.have, sha256)
        self._progress.add_present(size)
        return parts

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
            archives: list[ArrivingArchive] = []
            parts: dict[str, Part] = {}

            def unpack() -> None:
                # If the volume has space for it, the next archive arrives while this one is unpacked.
                if archives and self._keeps_archives:
                    self._threads.release_connection()
                parts.update({archive.artifact.content_id: archive.part() for archive in archives})

            try:
                for artifact in needed.archives:
                    choose = self._choose(artifact)
                    archives.append(ArrivingArchive(self._unpacker, artifact, file, choose))
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
        with self._limits.using(artifact):
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
        """Open the file for the ranges: on the disk, or a window in memory if the disk cannot hold the archive."""
        artifact, check = needed.artifact, self._threads.check_cancelled
        connections, charge = self._threads.connections, self._charge_of(needed)
        is_one_archive = len(needed.artifacts) == len(needed.archives) == 1
        comes_in_part = is_one_archive and can_come_in_part(artifact) and self._choose(artifact) is not None
        file: RangedFile
        with contextlib.ExitStack() as opened:
            if self._retention == "streamed" and is_one_archive and not comes_in_part:
                file = RangedFile.in_memory(artifact, size, check_cancelled=check, connections=connections)
            else:
                opened.enter_context(self._limits.using(artifact))
                staged = PartialFile.in_staging if comes_in_part else RangedFile.on_disk
                file = staged(self._blobs, artifact, size, check_cancelled=check, connections=connections, charge=charge)
            opened.enter_context(file)
            opened.enter_context(_dropped_if_full(file))
            yield file

    def _charge_of(self, needed: NeededFile) -> Callable[[int], None]:
        """Return the function that is called with the number of bytes of a file before they are written."""
        return self._limits.budget.charge_plain if needed.plain else self._limits.budget.charge_staged

    def _report_resumed(self, needed: NeededFile, have: int) -> None:
        """Count the bytes that an earlier run left, and log that."""
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
    """Drop what has arrived if the volume is full: it would leave no space for the other data sets."""
    try:
        yield
    except VolumeFullError:
        staged.drop()
        raise


def _is_unchanged(needed: NeededFile) -> bool:
    """Return whether the local copy is still the file that was hashed."""
    try:
        return needed.local_copy is not None and file_facts(needed.local_copy) == needed.local_facts
    except OSError:
        return False
