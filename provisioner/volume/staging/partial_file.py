"""A large file of which only those ranges arrive that its reader asks for: a zip archive of which some members are wanted.

The ranges are of one version of the file, as its server says; the file's digest cannot be compared with them. Where a server
gives no ranges, or none that are certainly of one version, the whole file arrives, and its digest is checked.
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
"""Bytes between two wanted ranges up to which they are fetched as one: less than what a request costs in time."""


class PartialFile(RangedFile):
    """A part of one artifact on its way in; safe for several threads."""

    on_demand: ClassVar[bool] = True
    _is_read = False
    """The reader has all that it needs."""

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
        """Return ``False``: no digest is known of a part."""
        return False

    @property
    def is_whole(self) -> bool:
        """Whether the reader has read all that it needs, and no connection is fetching anything any more."""
        return self.have == self.size or (self._is_read and not self._claims.lacks(self._pieces.held))

    def expect(self, version: int, spans: Iterable[tuple[int, int]]) -> None:
        """Have several ranges fetched that will be read.

        Args:
            version: of the file.
            spans: index of the first byte and after the last one of each range, in their order.

        Raises:
            UpstreamChangedError: the file was changed upstream meanwhile.
        """
        # Reading the index for them may wait for bytes.
        ranges = list(spans)
        with self._state.condition:
            self._check_version(version)
            reached = 0
            for start, end in ranges:
                # What lies between two ranges that are near each other comes with them.
                begin = reached if reached and start - reached <= NEAR else start
                self._claims.ask(begin // self.piece, number_of_pieces(end, self.piece), self._pieces.held)
                reached = end
            self._state.condition.notify_all()

    def seal(self) -> str:
        """Accept what has arrived if it is a part; check the digest if it is the whole.

        Returns:
            The SHA-256 of the whole; empty for a part, whose members the reader has checked.

        Raises:
            DigestMismatchError, UnexpectedContentError: the whole has arrived and is wrong; it was dropped.
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
