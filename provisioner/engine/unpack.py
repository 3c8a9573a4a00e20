"""Unpack archives of one data set into its staged tree, both complete ones on the disk and ones that are still arriving."""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import TYPE_CHECKING

from provisioner.engine.fetch_threads import AbandonedError
from provisioner.engine.staged_tree import Part
from provisioner.errors import NOT_THE_FILE, IntegrityError, UpstreamChangedError
from provisioner.log_fields import carried
from provisioner.planning.capacity import most_bytes
from provisioner.volume.staging.incoming import LocalFile
from provisioner.volume.store.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence
    from pathlib import Path

    from provisioner.catalog.artifact import Artifact
    from provisioner.engine.build_limits import BuildLimits
    from provisioner.engine.build_progress import BuildProgress
    from provisioner.engine.path_claims import PathClaims
    from provisioner.engine.staged_tree import StagedTree
    from provisioner.volume.archive.member import Member
    from provisioner.volume.archive.target import Choose
    from provisioner.volume.staging.incoming import Incoming
    from provisioner.volume.staging.ranged_file import RangedFile
    from provisioner.volume.staging.ranged_file_reader import RangedFileReader

_LOGGER = logging.getLogger(__name__)


class Unpacker:
    """Unpacks archives into one staged tree, one at a time, since they share the disk and the record of taken paths."""

    def __init__(
        self,
        tree: StagedTree,
        claims: PathClaims,
        progress: BuildProgress,
        *,
        check_cancelled: Callable[[], None],
        limits: BuildLimits,
    ) -> None:
        """Prepare.

        Args:
            tree: the staged tree to unpack into.
            claims: which of its paths are taken.
            progress: is told of unpacked bytes.
            check_cancelled: raises when the work must end.
            limits: everything that comes out of archives is charged to them.
        """
        self._limits = limits
        self._tree = tree
        self._claims = claims
        self._progress = progress
        self._check_cancelled = check_cancelled
        self._turn = threading.Lock()

    def unpack_file(
        self,
        archives: Sequence[Artifact],
        path: Path,
        check_unchanged: Callable[[], None] = lambda: None,
        *,
        choose: Choose | None = None,
    ) -> dict[str, Part]:
        """Unpack a verified file, once for each artifact that has its bytes, and return the parts by content id.

        Args:
            archives: the artifacts.
            path: the path of the file.
            check_unchanged: called after everything is read; raises if the file is no longer the one that was verified.
            choose: see :meth:`unpack`.

        Raises:
            ProvisionerError: see :meth:`unpack`.
        """
        parts = {}
        for artifact in archives:
            with LocalFile(path, artifact.name.rsplit("/", 1)[-1]) as archive:
                # Whoever brings the file compares its bytes with the digest, if there is one.
                parts[artifact.content_id] = self.unpack(
                    artifact, archive, check_unchanged, is_proven=artifact.digest is not None, choose=choose
                )
        return parts

    def unpack_listed(self, artifact: Artifact, archive: Incoming, members: Iterable[Member]) -> Part:
        """Write the members of an archive whose content is elsewhere. Nothing is recorded, since no digest proves them.

        Args:
            artifact: the archive, and where in the tree it belongs.
            archive: its name and size.
            members: the members in its index, with their content.

        Raises:
            IntegrityError, ProvisionerError: see :meth:`unpack`.
        """
        return self.unpack(artifact, archive, is_proven=False, members=members)

    def unpack(
        self,
        artifact: Artifact,
        archive: Incoming,
        wait_verified: Callable[[], None] = lambda: None,
        *,
        is_proven: bool,
        choose: Choose | None = None,
        members: Iterable[Member] | None = None,
    ) -> Part:
        """Unpack an archive, and record it.

        Args:
            artifact: the archive, and where in the tree it belongs.
            archive: its bytes, which may still be arriving.
            wait_verified: returns when all bytes are verified; nothing is recorded before that.
            is_proven: whether all bytes are compared with a known digest, in ``wait_verified`` at the latest.
            choose: which of its files are wanted; ``None`` means all.
            members: see :meth:`unpack_listed`.

        Raises:
            IntegrityError: it is broken or unsafe, unpacks to more than planned, or has a different file at a path that is
                taken.
            NoRoomError: there is no space for what comes out.
            ProvisionerError: the volume failed, or the run must end.
        """
        # A data set without archives needs none of the readers.
        from provisioner.volume.archive.limits import Limits  # noqa: PLC0415
        from provisioner.volume.archive.target import UnpackTarget  # noqa: PLC0415
        from provisioner.volume.archive.unpack import unpack  # noqa: PLC0415

        with self._turn, self._cleared_after_wrong_bytes():
            self._progress.begin_unpacking(artifact.name, artifact.unpacked_size.value if artifact.unpacked_size else None)
            try:
                result = unpack(
                    archive,
                    artifact.unpack,
                    UnpackTarget(
                        self._tree.path,
                        artifact.into,
                        existing=self._claims.settle(),
                        artifact=artifact.content_id,
                        proven=is_proven,
                    ),
                    check_cancelled=self._check_cancelled,
                    advance=lambda count: self._advance(artifact, count),
                    limits=Limits(max_bytes=most_bytes(artifact.unpacked_size), charge=self._limits.budget.reserve_tree),
                    choose=choose,
                    members=members,
                )
            finally:
                self._progress.end_unpacking(artifact.name)
                self._limits.budget.clear_reserved()
            wait_verified()
            if result.oddities:
                _LOGGER.warning("%s is odd, and was unpacked as common readers do: %s", artifact.name, result.oddities)
            part = Part(Manifest.of(result.entries).entries, is_whole=result.is_whole and not result.shared)
            del result
            self._claims.add(part.entries)
            if members is None:
                self._tree.record_part(artifact, part)
        return part

    @contextlib.contextmanager
    def _cleared_after_wrong_bytes(self) -> Generator[None, None, None]:
        """Remove what came out of wrong bytes: the archive is fetched again, and must not be charged twice."""
        budget = self._limits.budget
        unpacked_before = budget.unpacked
        try:
            yield
        except (IntegrityError, UpstreamChangedError):
            self._tree.remove_leftovers(lambda: self._claims.settle().entries)
            budget.clear_unpacked(unpacked_before)
            raise

    def _advance(self, artifact: Artifact, count: int) -> None:
        self._limits.budget.settle(count)
        self._progress.add_unpacked(artifact.name, count)


class ArrivingArchive:
    """An archive that is unpacked on its own thread while it arrives."""

    def __init__(self, unpacker: Unpacker, artifact: Artifact, file: RangedFile, choose: Choose | None = None) -> None:
        """Start the thread.

        Args:
            unpacker: unpacks it.
            artifact: the archive.
            file: the file that its ranges are written to.
            choose: which of its files are wanted; ``None`` means all.
        """
        self.artifact = artifact
        self._choose = choose
        self._unpacker = unpacker
        self._file = file
        self._changed = threading.Condition()
        self._part: Part | None = None
        self._failure: BaseException | None = None
        self._failed_version: int | None = None
        """The version of the file that could not be unpacked; another URL may yet deliver a different one."""
        self._is_over = False
        self._thread = threading.Thread(target=carried(self._run), name=f"unpack-{artifact.name}", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until the unpacking has ended, successfully or not."""
        self._thread.join()

    def part(self) -> Part:
        """Wait for the unpacking, and return the resulting part.

        Raises:
            ProvisionerError: the unpacking failed.
            AbandonedError: another file of the same source has failed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_over or self._failed_version == self._file.version)
            if self._part is None:
                raise self._failure or AbandonedError
            return self._part

    def _run(self) -> None:
        try:
            while self._part is None:
                reader = self._file.reader()
                # The transfer starts over with the file's new version, and so does the unpacking.
                with contextlib.suppress(UpstreamChangedError):
                    self._part = self._unpack(reader)
        except BaseException as error:  # noqa: BLE001 - raised again on the thread that waits
            self._failure = error
            self._file.end(error)
        finally:
            with self._changed:
                self._is_over = True
                self._changed.notify_all()

    def _unpack(self, reader: RangedFileReader) -> Part:
        try:
            return self._unpacker.unpack(
                self.artifact, reader, reader.wait_sealed, is_proven=self._file.is_proven, choose=self._choose
            )
        except UpstreamChangedError:
            raise
        except NOT_THE_FILE as error:
            if self._file.is_proven:
                self._wait_for_digest(reader)
                raise
            # Without a digest, nothing shows whether these are the right bytes; another URL may have others.
            with self._changed:
                self._failure, self._failed_version = error, reader.version
                self._changed.notify_all()
            self._file.fail(error, reader.version)
            reader.wait_dropped()
            raise
        except IntegrityError:
            self._wait_for_digest(reader)
            raise

    @staticmethod
    def _wait_for_digest(reader: RangedFileReader) -> None:
        """Wait for all bytes: wrong bytes look like a broken archive, but the error about their digest leads to a retry."""
        reader.release(reader.size)
        reader.wait_sealed()
