"""A large file whose ranges arrive in parallel: it is hashed in order while they arrive, and can be read at the same time.

Ranges are claimed from the front, so that the hash keeps up with the arrival, and an archive can be unpacked while its end is
still arriving. A piece that a reader waits for and that is not being fetched yet (such as the index at the end of a zip) is
claimed next.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar, Protocol, Self

from provisioner.catalog.answers import HEAD
from provisioner.errors import RemoteUnavailableError, UnexpectedContentError, UpstreamChangedError
from provisioner.volume.staging.active_claims import ActiveClaims
from provisioner.volume.staging.arrival_window import WINDOW, ArrivalWindow
from provisioner.volume.staging.claims import Claim, ClaimedPieces
from provisioner.volume.staging.content import check_content
from provisioner.volume.staging.hashing import digest_mismatch
from provisioner.volume.staging.ordered_hash import OrderedHash
from provisioner.volume.staging.piece_file import PieceFile
from provisioner.volume.staging.piece_memory import PieceMemory
from provisioner.volume.staging.pieces import length_of_piece, number_of_pieces
from provisioner.volume.staging.ranged_file_reader import RangedFileReader
from provisioner.volume.staging.transfer_state import TransferState, WritesInProgress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from types import TracebackType

    from provisioner.catalog.artifact import Artifact
    from provisioner.volume.staging.pieces import Pieces


class DirectFetch(Protocol):
    """A function that fetches bytes by a separate request, independently of claims."""

    def __call__(self, offset: int, count: int) -> bytes:
        """Return between 1 and ``count`` bytes from ``offset`` on."""
        ...


class RangedFile:
    """One large artifact that is being fetched; safe for several threads."""

    on_demand: ClassVar[bool] = False
    """Whether only those ranges are fetched that a reader requests."""

    def __init__(
        self,
        artifact: Artifact,
        size: int,
        pieces: Pieces,
        *,
        check_cancelled: Callable[[], None],
        connections: Callable[[], int] = lambda: 1,
        window: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take over ``pieces``, including their content.

        Args:
            artifact: the artifact that the bytes belong to.
            size: exact number of bytes.
            pieces: stores the bytes.
            check_cancelled: raises when the run must end.
            connections: returns how many connections may fetch ranges at the same time now; decides the length of ranges.
            window: bytes that may be present ahead of the readers and the hash; ``None`` means all.
            clock: returns the seconds of a monotonic clock.
        """
        self.artifact = artifact
        self.size = size
        self.piece = pieces.piece
        """Bytes of a piece."""
        if not self.is_proven and pieces.origin is None:
            # Nothing could show later whether the bytes so far and those to come are of the same version.
            pieces.restart()
        self._pieces = pieces
        self._state = TransferState(check_cancelled)
        self._writes = WritesInProgress()
        self._window = ArrivalWindow(window)
        self._claims = ClaimedPieces(
            pieces.held, connections=connections, window=window, piece=self.piece, on_demand=self.on_demand
        )
        # With a window, ranges are short, and those beyond the window must wait, so none is divided.
        self._active = ActiveClaims(self.piece, clock, divides=window is None)
        self._hash = OrderedHash(artifact, size, pieces, self._state, advanced=self._hashed)
        self._version = 0
        """Counts the versions of the file; incremented each time that everything is dropped."""
        self._sealed = False
        self._fetch_directly: DirectFetch | None = None
        self.have = sum(length_of_piece(piece, size, self.piece) for piece, held in enumerate(pieces.held) if held)
        """Bytes of complete pieces."""
        self.resumed = self.have > 0
        """Whether some bytes are from an earlier run; if the whole file is wrong, they may be the reason."""
        self._head = pieces.read(0, HEAD) if pieces.held[:1] == b"\1" else b""
        """The first bytes, by which the file is recognised; empty if they have not arrived."""
        self._hash.start()

    @classmethod
    def on_disk(
        cls,
        directory: Path,
        artifact: Artifact,
        size: int,
        *,
        check_cancelled: Callable[[], None],
        connections: Callable[[], int],
        charge: Callable[[int], None] = lambda _count: None,
    ) -> RangedFile:
        """Return the file in staging, with what earlier runs left of it.

        Raises:
            VolumeError: the volume failed.
        """
        return cls(
            artifact,
            size,
            PieceFile(directory, artifact.key, size, check_cancelled=check_cancelled, charge=charge),
            check_cancelled=check_cancelled,
            connections=connections,
        )

    @classmethod
    def in_memory(
        cls, artifact: Artifact, size: int, *, check_cancelled: Callable[[], None], connections: Callable[[], int]
    ) -> RangedFile:
        """Return a file of which only a window is held in memory; none of it survives the death of the process."""
        return cls(artifact, size, PieceMemory(size), check_cancelled=check_cancelled, connections=connections, window=WINDOW)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # --- what threads that fetch use ---------------------------------------------------------------------------------

    @property
    def origin(self) -> tuple[str, str] | None:
        """URL and validator of the bytes so far, if known."""
        return self._pieces.origin

    @property
    def version(self) -> int:
        """The number of the current version, which is incremented each time that everything is dropped."""
        return self._version

    @property
    def is_proven(self) -> bool:
        """Whether all bytes are compared with a known digest before any of them is used."""
        return self.artifact.digest is not None

    @property
    def is_whole(self) -> bool:
        """Whether every piece is complete."""
        return self.have == self.size

    @property
    def wants_connection(self) -> bool:
        """Whether another connection would get a range: a free one, or part of one that takes long."""
        with self._state.condition:
            return self._claims.unclaimed > 0 or self._active.can_divide

    def record_origin(self, url: str, validator: str | None, version: int) -> None:
        """Record the origin of the bytes that follow.

        Raises:
            UpstreamChangedError: the file is at a different version than the claim for the bytes.
        """
        with self._state.condition:
            self._check_version(version)
            self._pieces.record_origin(url, validator)

    def claim(self, *, wait: bool) -> Claim | None:
        """Claim a range that is not being fetched or, if there is none, the second half of one that takes long.

        Args:
            wait: if everything is claimed, wait until another connection gives a range back, or takes long for one.

        Returns:
            The claim; ``None`` if the file is whole, or, without ``wait``, if everything is claimed.

        Raises:
            ProvisionerError: the transfer has failed, or the run must end.
        """
        with self._state.condition:
            while True:
                self._state.raise_failure()
                if self.is_whole:
                    return None
                if (claimed := self._claims.claim(self._bound())) is not None:
                    start, end = claimed
                    return self._begin(start * self.piece, min(end * self.piece, self.size))
                if not self._claims.unclaimed and (half := self._active.divide()) is not None:
                    return self._begin(*half)
                if not wait and not (self._claims.unclaimed and self._window.limit):
                    return None
                self._state.wait()

    def _begin(self, start: int, end: int) -> Claim:
        claim = Claim(self, self._version, start, end)
        self._active.add(claim)
        return claim

    def claim_all(self) -> Claim:
        """Claim the whole file, for a server without ranges. No other connection may be fetching meanwhile."""
        with self._state.condition:
            self._claims.claim_all()
            return Claim(self, self._version, 0, self.size)

    def set_direct_fetch(self, fetch: DirectFetch) -> None:
        """Set the function that fetches bytes outside the window."""
        with self._state.condition:
            self._fetch_directly = fetch
            self._state.condition.notify_all()

    def restart(self, version: int | None) -> int | None:
        """Drop everything, because the file has changed at its source.

        Args:
            version: of the claim that noticed the change; ``None`` means to drop the file whatever its version is.

        Returns:
            Number of bytes that were dropped; ``None`` if the version had already changed, and nothing was dropped.
        """
        with self._state.condition:
            return self._restart() if version in {None, self._version} else None

    def _restart(self) -> int:
        dropped = self.have
        self._version += 1
        # Bytes of the old version must not be written after the first bytes of the new one.
        self._writes.wait_until_none()
        self._pieces.restart()
        self._claims.restart(self._pieces.held)
        self._active.clear()
        self._window.restart()
        self._hash.restart()
        self._sealed = False
        self.have = 0
        self._head = b""
        self.resumed = False
        self._state.condition.notify_all()
        return dropped

    def fail(self, error: BaseException, version: int | None = None) -> None:
        """Stop the threads that fetch; readers go on waiting, since another URL may deliver the bytes.

        Args:
            error: the reason.
            version: the version of the file that the error is about, if it does not apply to others.
        """
        with self._state.condition:
            if version in {None, self._version}:
                self._state.fail(error)

    def end(self, error: BaseException) -> None:
        """Stop the threads that fetch and those that read: no more bytes will arrive."""
        self._state.end(error)

    def recover(self) -> None:
        """Forget a failure and all claims, because another source of the same bytes is tried."""
        with self._state.condition:
            self._state.recover()
            self._claims.reset(self._pieces.held)
            self._active.clear()

    # --- what claims use ---------------------------------------------------------------------------------------------

    def write(self, claim: Claim, data: memoryview) -> None:
        """Store bytes of one piece at the claim's position; wait while that is beyond the window.

        Raises:
            UpstreamChangedError: the file is at a different version than the claim.
            ProvisionerError: the volume or the transfer has failed, or the run must end.
        """
        with self._state.condition:
            while claim.version == self._version and claim.position // self.piece >= self._bound():
                self._state.raise_failure()
                self._state.wait()
            self._check_version(claim.version)
            if self._state.failure is not None:
                raise self._state.failure
            self._writes.begin()
        try:
            self._pieces.write(claim.position, data)
        finally:
            self._writes.end()

    def complete(self, claim: Claim, piece: int, crc: int) -> None:
        """Record that a claim has written all bytes of a piece.

        Raises:
            UnexpectedContentError: the file's beginning shows that the bytes are not the file's.
            UpstreamChangedError: the file is at a different version than the claim.
            VolumeError: the volume failed.
        """
        with self._state.condition:
            self._check_version(claim.version)
            self._pieces.complete(piece, crc)
            self.have += length_of_piece(piece, self.size, self.piece)
            self._state.condition.notify_all()
            if piece == 0:
                self._head = self._pieces.read(0, HEAD)
                # Checked here and not only at the end, so that no more of it is fetched.
                check_content(self.artifact, self._head, self.size)

    def give_back(self, claim: Claim) -> None:
        """Release what a claim has not completed, for other connections to fetch."""
        with self._state.condition:
            self._active.remove(claim)
            if claim.version == self._version:
                first, end = claim.position // self.piece, number_of_pieces(claim.end, self.piece)
                self._claims.give_back(first, end, self._pieces.held)
                self._state.condition.notify_all()

    def _bound(self) -> int:
        """Return the number of the first piece that must not be written yet."""
        return self._window.end(len(self._pieces.held))

    def _check_version(self, version: int) -> None:
        if version != self._version:
            raise UpstreamChangedError(f"{self.artifact.name}: it was changed upstream while it arrived; it starts anew")

    # --- the whole file ----------------------------------------------------------------------------------------------

    def _hashed(self, position: int) -> None:
        self._window.note_hashed(position)
        self._discard()

    def _discard(self) -> None:
        """Free the pieces that neither readers nor the hash need any more."""
        if self._window.limit is not None:
            self._pieces.discard_before(self._window.first)

    def seal(self) -> str:
        """Wait until the whole file is hashed, check its digest, and return its SHA-256.

        Raises:
            DigestMismatchError, UnexpectedContentError: the bytes are wrong; they were dropped.
            ProvisionerError: the transfer has failed, or the run must end.
        """
        with self._state.condition:
            while not self._hash.is_complete:
                self._state.raise_end()
                self._state.wait()
            self._state.raise_end()
            expected, found, head = self.artifact.digest, self._hash.hexdigest, self._head
            if expected is None or expected.hex == found:
                self._check_content()
                self._sealed = True
                self._state.condition.notify_all()
                return self._hash.sha256
            self._restart()
        raise digest_mismatch(self.artifact, found, head, self.size)

    def _check_content(self) -> None:
        """Drop a file that cannot be the requested one; bytes from an earlier run have not been checked before."""
        try:
            check_content(self.artifact, self._head, self.size)
        except UnexpectedContentError:
            self._restart()
            raise

    def close(self) -> None:
        """Stop all threads and close the files, which stay on the disk."""
        self._state.close(RemoteUnavailableError(f"{self.artifact.name}: it was closed before all of it had arrived"))
        self._hash.stop()
        self._pieces.close()

    def drop(self) -> None:
        """Close the file and remove what is on the disk.

        Raises:
            VolumeError: the volume failed.
        """
        self.close()
        self._pieces.drop()

    def move_to(self, place: Callable[[Path], None]) -> None:
        """Close the sealed file, and let ``place`` move it into a tree.

        Raises:
            VolumeError: the volume failed.
        """
        self.close()
        self._pieces.move_to(place)

    # --- what readers use --------------------------------------------------------------------------------------------

    def reader(self) -> RangedFileReader:
        """Return a reader of the file's current version."""
        with self._state.condition:
            return RangedFileReader(self, self._version)

    def read(self, version: int, offset: int, count: int) -> bytes:
        """Return bytes of a version of the file as soon as they have arrived; see :meth:`RangedFileReader.read_at`."""
        piece = offset // self.piece
        with self._state.condition:
            while True:
                self._check_version(version)
                if offset >= self.size or not count:
                    return b""
                if self._window.limit is not None and not self._window.first <= piece < self._bound():
                    if self._fetch_directly is not None:
                        fetch = self._fetch_directly
                        break
                elif self._pieces.held[piece]:
                    return self._read_held(piece, offset, count)
                else:
                    end = number_of_pieces(min(offset + count, self.size), self.piece)
                    self._claims.want(piece, end, self._pieces.held)
                self._state.raise_end()
                self._state.wait()
        return fetch(offset, min(count, self.size - offset))

    def expect(self, version: int, spans: Iterable[tuple[int, int]]) -> None:
        """Do nothing, since the whole file is fetched in any case."""

    def _read_held(self, piece: int, offset: int, count: int) -> bytes:
        """Return bytes of a complete piece and, if the file is on the disk, of the complete pieces right after it."""
        end = (piece + 1) * self.piece
        if self._window.limit is None:
            while end < offset + count and end < self.size and self._pieces.held[end // self.piece]:
                end += self.piece
        return self._pieces.read(offset, min(count, end - offset, self.size - offset))

    def release(self, version: int, offset: int) -> None:
        """Record that the reader needs no byte before ``offset``."""
        with self._state.condition:
            if version == self._version and self._window.release(offset):
                self._discard()
                self._state.condition.notify_all()

    def wait_dropped(self, version: int) -> None:
        """Wait until a version of the file is dropped; see :meth:`RangedFileReader.wait_dropped`."""
        with self._state.condition:
            while True:
                self._check_version(version)
                self._state.raise_end()
                self._state.wait()

    def wait_sealed(self, version: int) -> None:
        """Wait until a version of the file is sealed; see :meth:`RangedFileReader.wait_sealed`."""
        with self._state.condition:
            while True:
                self._check_version(version)
                if self._sealed:
                    return
                self._state.raise_end()
                self._state.wait()
