"""The hash of a file whose pieces arrive in any order, computed in the order of the file while they arrive."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from provisioner.errors import VolumeError
from provisioner.volume.staging.hashing import Hasher
from provisioner.volume.staging.pieces import length_of_piece

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.catalog.artifact import Artifact
    from provisioner.volume.staging.pieces import Pieces
    from provisioner.volume.staging.transfer_state import TransferState


class OrderedHash:
    """A thread that hashes each piece as soon as it and all pieces before it are complete."""

    def __init__(
        self, artifact: Artifact, size: int, pieces: Pieces, state: TransferState, *, advanced: Callable[[int], None]
    ) -> None:
        """Prepare; :meth:`start` starts the thread.

        Args:
            artifact: the file and its digest.
            size: bytes of the whole file.
            pieces: holds the bytes.
            state: holds the lock; it is ended if hashing fails.
            advanced: called after each piece, with the number of bytes hashed so far, while the lock is held.
        """
        self._artifact = artifact
        self._size = size
        self._pieces = pieces
        self._piece = pieces.piece
        self._state = state
        self._advanced = advanced
        self._hasher = Hasher.for_artifact(artifact, size)
        self._position = 0
        """Number of bytes that have been hashed."""
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=f"hash-{artifact.name}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread and wait for its end."""
        with self._state.condition:
            self._stopped = True
            self._state.condition.notify_all()
        self._thread.join()

    def restart(self) -> None:
        """Begin again with the first byte of the file. The caller holds the lock."""
        self._hasher = Hasher.for_artifact(self._artifact, self._size)
        self._position = 0

    @property
    def is_complete(self) -> bool:
        """Whether all bytes are hashed. The caller holds the lock."""
        return self._position == self._size

    @property
    def sha256(self) -> str:
        """Hexadecimal SHA-256 of the bytes so far."""
        return self._hasher.sha256

    @property
    def hexdigest(self) -> str:
        """Hexadecimal digest of the bytes so far, by the algorithm of the artifact's digest."""
        return self._hasher.hexdigest

    def _run(self) -> None:
        try:
            while (work := self._next_piece()) is not None:
                hasher, piece = work
                data = self._pieces.read(piece * self._piece, length_of_piece(piece, self._size, self._piece))
                hasher.update(data)
                self._advance(hasher, piece, len(data))
        except BaseException as error:  # noqa: BLE001 - raised again in the threads that wait for the hash
            self._state.end(error)

    def _next_piece(self) -> tuple[Hasher, int] | None:
        """Wait for the next piece to hash; return ``None`` when the thread must stop."""
        with self._state.condition:
            while not self._stopped:
                piece = self._position // self._piece
                if self._position < self._size and self._pieces.held[piece]:
                    return self._hasher, piece
                self._state.condition.wait()
        return None

    def _advance(self, hasher: Hasher, piece: int, count: int) -> None:
        with self._state.condition:
            if hasher is not self._hasher:
                return  # the file was dropped while the piece was being hashed
            if count != length_of_piece(piece, self._size, self._piece):
                raise VolumeError(f"{self._artifact.name}: what was written of it is not there any more")
            self._position += count
            self._advanced(self._position)
            self._state.condition.notify_all()
