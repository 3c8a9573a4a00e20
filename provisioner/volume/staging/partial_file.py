"""A large file of which only the ranges that its reader requests are fetched: a zip archive with only some wanted members.

The server states that all ranges are of one version of the file; its digest cannot be compared. If a server offers no ranges,
or none that are certainly of one version, the whole file is fetched, and its digest is checked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from provisioner.volume.staging.piece_file import PieceFile
from provisioner.volume.staging.pieces import number_of_pieces, small_piece
from provisioner.volume.staging.ranged_file import RangedFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from provisioner.catalog.artifact import Artifact

NEAR: Final = 32 << 10
"""Two wanted ranges with at most so many bytes in between are fetched as one: those bytes take less time than a request."""


class PartialFile(RangedFile):
    """A part of one artifact that is being fetched; safe for several threads."""

    on_demand: ClassVar[bool] = True
    _is_read = False
    """Whether the reader has everything that it needs."""

    @classmethod
    def in_staging(
        cls,
        directory: Path,
        artifact: Artifact,
        size: int,
        *,
        check_cancelled: Callable[[], None],
        connections: Callable[[], int],
        charge: Callable[[int], None] = lambda _count: None,
    ) -> PartialFile:
        """Return the file in staging, with the ranges that earlier runs left of it.

        Raises:
            VolumeError: the volume failed.
        """
        pieces = PieceFile(directory, artifact.key, size, check_cancelled=check_cancelled, charge=charge, piece=small_piece(size))
        return cls(artifact, size, pieces, check_cancelled=check_cancelled, connections=connections)

    @property
    def is_proven(self) -> bool:
        """Return ``False``: the digest of a part is never known."""
        return False

    @property
    def is_whole(self) -> bool:
        """Whether the reader has read everything that it needs, and no connection is fetching any more."""
        return self.have == self.size or (self._is_read and not self._claims.lacks(self._pieces.held))

    def expect(self, version: int, spans: Iterable[tuple[int, int]]) -> None:
        """Request several ranges that will be read.

        Args:
            version: the version of the file that they belong to.
            spans: offset of the first byte and the offset after the last byte of each range, in order.

        Raises:
            UpstreamChangedError: the file was changed upstream meanwhile.
        """
        # Done here, since computing the ranges may read the index, and wait for its bytes.
        ranges = list(spans)
        with self._state.condition:
            self._check_version(version)
            reached = 0
            for start, end in ranges:
                # What lies between two nearby ranges is fetched along with them.
                begin = reached if reached and start - reached <= NEAR else start
                self._claims.ask(begin // self.piece, number_of_pieces(end, self.piece), self._pieces.held)
                reached = end
            self._state.condition.notify_all()

    def seal(self) -> str:
        """Accept a part as it has arrived; check the digest if the whole file was fetched.

        Returns:
            The SHA-256 of the whole file; empty for a part, whose members the reader has checked.

        Raises:
            DigestMismatchError, UnexpectedContentError: the whole file has arrived and is wrong; it was dropped.
            ProvisionerError: the transfer has failed, or the run must end.
        """
        with self._state.condition:
            is_part = self.have < self.size
            if is_part:
                self._state.raise_end()
                self._sealed = True
                self._state.condition.notify_all()
        return "" if is_part else super().seal()

    def wait_sealed(self, version: int) -> None:
        """Record that the reader needs no more, and wait until the ranges are accepted; see the base class."""
        with self._state.condition:
            self._check_version(version)
            self._is_read = True
            self._state.condition.notify_all()
        super().wait_sealed(version)

    def _restart(self) -> int:
        self._is_read = False
        return super()._restart()
