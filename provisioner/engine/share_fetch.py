"""Fetch the artifacts of one share, verify them, and keep them as they are until some worker publishes them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from provisioner.engine.fetch_threads import FetchThreads, FileJob
from provisioner.errors import IntegrityError
from provisioner.planning.capacity import LARGE, is_held_in_memory
from provisioner.volume.fs.directories import make_directory
from provisioner.volume.fs.write_budget import Budget, SharedBounds
from provisioner.volume.staging.blob import Blob, copy_file
from provisioner.volume.staging.hashing import checked_sha256
from provisioner.volume.staging.ranged_file import RangedFile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from provisioner.catalog.artifact import Artifact
    from provisioner.engine.build_progress import BuildProgress
    from provisioner.remote.transfers import Transfers
    from provisioner.volume.fs.write_budget import Bound
    from provisioner.volume.staging.local_copies import LocalCopy
    from provisioner.volume.store.shares import ShareStore

_LOGGER = logging.getLogger(__name__)


class ShareFetcher:
    """Fetches artifacts of one data set into the shares of a volume."""

    def __init__(
        self,
        transfers: Transfers,
        store: ShareStore,
        work: Path,
        progress: BuildProgress,
        *,
        label: str,
        bounds: Sequence[Bound],
        find: Callable[[Artifact], LocalCopy | None],
        check_cancelled: Callable[[], None],
    ) -> None:
        """Prepare.

        Args:
            transfers: fetches single files.
            store: receives complete files.
            work: the directory of partial files, which no other worker uses.
            progress: is told of bytes.
            label: names the data set.
            bounds: limits on what may be written.
            find: returns a file on this machine with an artifact's bytes.
            check_cancelled: raises when the run must end.
        """
        self._transfers = transfers
        self._store = store
        self._work = work
        self._progress = progress
        self._find = find
        self._label = label
        self._charge = Budget(label, SharedBounds(staged=bounds)).charge_staged
        self._threads = FetchThreads(transfers.requests_at_once, label=label, check_cancelled=check_cancelled)

    def fetch_all(self, artifacts: Sequence[Artifact]) -> None:
        """Fetch the artifacts that are not in the store yet.

        Raises:
            ProvisionerError: the most telling of the failures; what is complete is kept.
        """
        make_directory(self._work)
        jobs = [
            FileJob(lambda artifact=artifact: self._fetch(artifact), is_large=_is_large(artifact))  # type: ignore[misc]
            for artifact in artifacts
        ]
        self._threads.run(jobs, files_at_once=self._transfers.small_files_at_once)

    def _fetch(self, artifact: Artifact) -> None:
        size = artifact.exact_size
        if size is not None and self._store.has(artifact.key, size):
            self._progress.add_present(size)
        elif self._is_here(artifact):
            pass
        elif size is not None and is_held_in_memory(artifact):
            self._fetch_small(artifact, size)
        elif size is not None and _is_large(artifact):
            self._fetch_in_ranges(artifact, size)
        else:
            self._fetch_alone(artifact)

    def _is_here(self, artifact: Artifact) -> bool:
        """Return whether a local file has the bytes. It is copied, since the publishing worker may not have access to it."""
        copy = self._find(artifact)
        if copy is None:
            return False
        path = copy.path
        if path.parent == self._store.bytes:
            self._progress.add_present(path.stat().st_size)
            return True
        with Blob(self._work, artifact, check_cancelled=self._threads.check_cancelled, charge=self._charge) as blob:
            try:
                copy_file(path, blob, self._threads.check_cancelled)
                blob.seal()
            except (OSError, IntegrityError) as error:
                self._threads.check_cancelled()
                blob.drop()
                _LOGGER.warning("%s: %s cannot be used any more (%s); it is fetched", self._label, path, error)
                return False
            _LOGGER.info("%s: %s is used, nothing is fetched", self._label, path)
            self._progress.add_present(blob.have)
            blob.move_to(lambda staged: self._store.take(artifact.key, staged))
            return True

    def _fetch_small(self, artifact: Artifact, size: int) -> None:
        def accept(data: bytes) -> str:
            sha256 = checked_sha256(artifact, data)
            self._charge(len(data))
            self._store.put(artifact.key, data, self._work)
            return sha256

        self._transfers.fetch_small(artifact, size, accept, self._arrived)

    def _fetch_in_ranges(self, artifact: Artifact, size: int) -> None:
        threads = self._threads
        with RangedFile.on_disk(
            self._work,
            artifact,
            size,
            check_cancelled=threads.check_cancelled,
            connections=threads.connections,
            charge=self._charge,
        ) as file:
            self._progress.add_present(file.have)
            try:
                self._transfers.fetch_ranges(artifact, file, threads, self._arrived)
            except BaseException as error:
                file.end(error)
                raise
            file.move_to(lambda staged: self._store.take(artifact.key, staged))

    def _fetch_alone(self, artifact: Artifact) -> None:
        with Blob(self._work, artifact, check_cancelled=self._threads.check_cancelled, charge=self._charge) as blob:
            self._progress.add_present(blob.have)
            self._transfers.fetch(artifact, blob, self._arrived)
            blob.move_to(lambda staged: self._store.take(artifact.key, staged))

    def _arrived(self, count: int) -> None:
        self._progress.add_arrived(count)
        self._threads.check_cancelled()


def _is_large(artifact: Artifact) -> bool:
    return artifact.exact_size is not None and artifact.exact_size >= LARGE
