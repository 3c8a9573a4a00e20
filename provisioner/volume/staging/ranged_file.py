"""A large file put together from ranges that arrive in parallel: hashed in order behind them, and read meanwhile.

Ranges are claimed from the front, so that the hash, which must take the bytes in their order, keeps up with arrival, and an
archive can be unpacked while its end is still on its way. A reader that needs a piece that nobody has claimed (the index at
the end of a zip) has it fetched next.
"""

from __future__ import annotations

import threading
import zlib
from typing import TYPE_CHECKING, Final, Protocol, Self

from provisioner.errors import ProvisionerError, RemoteUnavailableError, UpstreamChangedError, VolumeError
from provisioner.volume.staging.hashing import Hasher, digest_mismatch
from provisioner.volume.staging.pieces import PIECE, WINDOW, PieceFile, PieceWindow, number_of_pieces

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from provisioner.catalog.artifact import Artifact
    from provisioner.volume.staging.pieces import Pieces

LARGEST_RANGE: Final = 32 * PIECE
"""Of a range: long enough that the wait for its answer is small beside it, on a line of 20 MB/s and 100 ms."""
SMALLEST_RANGE: Final = 4 * PIECE
"""Of a range, but for what is left over: shorter ones cost more requests than they save waiting at the end."""
_WAIT_SECONDS: Final = 0.2
"""How often whoever waits looks whether the run must end."""


class Far(Protocol):
    """Asks for some bytes alone, by a request of their own."""

    def __call__(self, offset: int, count: int) -> bytes:
        """Return between 1 and ``count`` bytes from ``offset`` on."""
        ...


class Claim:
    """A range that one connection brings; written in order from its start. Used by one thread."""

    def __init__(self, assembly: RangedFile, generation: int, start: int, end: int) -> None:
        """Begin at ``start``, which is a piece's; ``end`` is a piece's end as well."""
        self._assembly = assembly
        self.generation = generation
        self.position = start
        self.end = end
        self._safe = start
        """Before it all pieces are there, as far as this claim knows."""
        self._crc = 0

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes.

        Raises:
            UpstreamChangedError: the assembly was begun anew meanwhile.
            VolumeFullError, VolumeError: the volume failed.
        """
        view = memoryview(data)
        while view:
            piece = self.position // PIECE
            part = view[: (piece + 1) * PIECE - self.position]
            self._assembly.put(self, part)
            self._crc = zlib.crc32(part, self._crc)
            self.position += len(part)
            if self.position % PIECE == 0 or self.position == self._assembly.size:
                self._assembly.arrived(self, piece, self._crc)
                self._safe = self.position
                self._crc = 0
            view = view[len(part) :]

    def give_back(self) -> int:
        """Let others bring the rest of it.

        Returns:
            Bytes that are dropped with it: of a piece of which only a part came, or which came for a version that is gone.
        """
        self._assembly.give_back(self)
        return self.position - self._safe


class RangedFile:
    """One large artifact on its way in; safe for several threads."""

    def __init__(
        self,
        artifact: Artifact,
        size: int,
        pieces: Pieces,
        *,
        check_cancelled: Callable[[], None],
        connections: int = 1,
        window: int | None = None,
    ) -> None:
        """Take over ``pieces``, with what they hold.

        Args:
            artifact: what it is to become.
            size: bytes; exact.
            pieces: where they lie.
            check_cancelled: raises when the work must end.
            connections: how many may bring ranges at once; decides how long these are.
            window: bytes that may be there beyond what readers and hash have done with; ``None``: all of them.
        """
        self.artifact = artifact
        self.size = size
        self._pieces = pieces
        self._check_cancelled = check_cancelled
        self._connections = connections
        self._window = window
        self._condition = threading.Condition()
        self._quiet = threading.Condition()
        """Beside the other: whoever drops everything waits in it for those who are writing, and holds the other meanwhile."""
        self._writing = 0
        self._generation = 0
        self._failure: BaseException | None = None
        """Of the transfer from one URL; another one may be asked."""
        self._end: BaseException | None = None
        """Why no more bytes will come from anywhere."""
        self._far: Far | None = None
        if artifact.digest is None and pieces.origin is None:
            # Nobody could say later whether what is there belongs to what comes.
            pieces.restart()
        self._reset()
        self.resumed = self.have > 0
        """Some of it was there before; what is wrong with the whole may be wrong with that."""
        self._closed = False
        self._hash_thread = threading.Thread(target=self._hash, name=f"hash-{artifact.name}", daemon=True)
        self._hash_thread.start()

    @classmethod
    def on_disk(
        cls, directory: Path, artifact: Artifact, size: int, *, check_cancelled: Callable[[], None], connections: int
    ) -> RangedFile:
        """Go on with what lies in staging.

        Raises:
            VolumeError: the volume failed.
        """
        return cls(
            artifact,
            size,
            PieceFile(directory, artifact.key, size, check_cancelled=check_cancelled),
            check_cancelled=check_cancelled,
            connections=connections,
        )

    @classmethod
    def in_window(cls, artifact: Artifact, size: int, *, check_cancelled: Callable[[], None], connections: int) -> RangedFile:
        """Hold a window of it in memory, never the whole; a death loses it."""
        return cls(artifact, size, PieceWindow(size), check_cancelled=check_cancelled, connections=connections, window=WINDOW)

    def _reset(self) -> None:
        pieces = self._pieces
        self._claimed = bytearray(pieces.held)
        self._unclaimed = self._claimed.count(0)
        self._cursor = 0
        self._wanted: int | None = None
        self.have = sum(self._length_of(piece) for piece, there in enumerate(pieces.held) if there)
        """Bytes of whole pieces that are there."""
        digest = self.artifact.digest
        self._hasher = Hasher(digest.algorithm if digest else None, self.size)
        self._hashed = 0
        self._released = 0
        self._sealed = ""

    def _length_of(self, piece: int) -> int:
        return min(PIECE, self.size - piece * PIECE)

    # --- bringing --------------------------------------------------------------------------------------------------

    @property
    def origin(self) -> tuple[str, str] | None:
        """URL and validator of the bytes that are there, where they are known."""
        return self._pieces.origin

    def begin(self, url: str, validator: str | None, generation: int) -> None:
        """Note where the coming bytes are from.

        Raises:
            UpstreamChangedError: the assembly was begun anew since the claim they are for.
        """
        with self._condition:
            if generation != self._generation:
                raise self._restarted()
            self._pieces.begin(url, validator)

    @property
    def is_whole(self) -> bool:
        """Whether every piece is there."""
        return self.have == self.size

    def claim(self, *, patient: bool) -> Claim | None:
        """Return a range that nobody brings yet.

        Args:
            patient: wait when all are claimed: others may give some back.

        Returns:
            ``None`` when everything is there, or, for the impatient, claimed.

        Raises:
            ProvisionerError: the transfer has failed, or the work must end.
        """
        with self._condition:
            while True:
                self._raise_failure()
                if self.is_whole:
                    return None
                if (start := self._next()) is not None:
                    return self._take(start)
                if not patient and not (self._unclaimed and self._window):
                    return None
                self._wait()

    @property
    def unclaimed(self) -> int:
        """Pieces that nobody brings yet."""
        return self._unclaimed

    def claim_all(self) -> Claim:
        """Claim the whole, from its first byte: the server gives no ranges. Nobody else may be bringing anything."""
        with self._condition:
            self._claimed = bytearray(b"\1") * number_of_pieces(self.size)
            self._unclaimed = 0
            return Claim(self, self._generation, 0, self.size)

    def give_back(self, claim: Claim) -> None:
        """Let others bring what this claim has not; called by the claim."""
        with self._condition:
            if claim.generation != self._generation:
                return
            for piece in range(claim.position // PIECE, number_of_pieces(claim.end)):
                if not self._pieces.held[piece] and self._claimed[piece]:
                    self._claimed[piece] = 0
                    self._unclaimed += 1
            self._cursor = min(self._cursor, claim.position // PIECE)
            self._condition.notify_all()

    def _next(self) -> int | None:
        """Return the first piece to be claimed now."""
        if not self._unclaimed:
            return None
        wanted, self._wanted = self._wanted, None
        if wanted is not None and not self._claimed[wanted]:
            return wanted
        start = self._claimed.find(0, self._cursor)
        if start < 0:
            return None
        self._cursor = start
        return start if start < self._bound() else None

    def _bound(self) -> int:
        """Return the piece before which pieces may be put now."""
        if self._window is None:
            return len(self._claimed)
        return (min(self._released, self._hashed) + self._window) // PIECE

    def _take(self, start: int) -> Claim:
        smallest, largest = SMALLEST_RANGE, LARGEST_RANGE
        if self._window is not None:
            smallest = largest = max(PIECE, self._window // (2 * self._connections))
        # Each takes a share of what is left, so that all end at about the same time.
        share = self._unclaimed * PIECE // (2 * self._connections)
        count = max(1, min(largest, max(smallest, share)) // PIECE)
        bound = min(start + count, self._bound(), len(self._claimed))
        end = start
        while end < bound and not self._claimed[end]:
            self._claimed[end] = 1
            end += 1
        self._unclaimed -= end - start
        return Claim(self, self._generation, start * PIECE, min(end * PIECE, self.size))

    def put(self, claim: Claim, data: memoryview) -> None:
        """Keep some bytes of one piece; called by the claim. Waits where they are beyond the window."""
        with self._condition:
            while claim.generation == self._generation and claim.position // PIECE >= self._bound():
                self._raise_failure()
                self._wait()
            if claim.generation != self._generation:
                raise self._restarted()
            if self._failure is not None:
                raise self._failure
            with self._quiet:
                self._writing += 1
        try:
            self._pieces.put(claim.position, data)
        finally:
            with self._quiet:
                self._writing -= 1
                self._quiet.notify_all()

    def arrived(self, claim: Claim, piece: int, crc: int) -> None:
        """All of a piece has been put; called by the claim."""
        with self._condition:
            if claim.generation != self._generation:
                raise self._restarted()
            self._pieces.done(piece, crc)
            self.have += self._length_of(piece)
            self._condition.notify_all()

    def restart(self, generation: int | None) -> int | None:
        """Drop everything, since the file is another one now; give the bytes that were dropped.

        Args:
            generation: of the claim that found out; ``None``: in any case.

        Returns:
            ``None`` when another claim found out before, and nothing was dropped.
        """
        with self._condition:
            return self._restart() if generation in {None, self._generation} else None

    def _restart(self) -> int:
        dropped = self.have
        self._generation += 1
        with self._quiet:
            # What is being written is of the old version, and must not come after the first bytes of the new one.
            while self._writing:
                self._quiet.wait()
        self._pieces.restart()
        self._reset()
        self.resumed = False
        self._condition.notify_all()
        return dropped

    def _restarted(self) -> UpstreamChangedError:
        return UpstreamChangedError(f"{self.artifact.name}: it was changed upstream while it arrived; it starts anew")

    def fail(self, error: BaseException) -> None:
        """End the work of all who bring bytes; readers go on waiting, since another URL may give them."""
        with self._condition:
            self._failure = self._failure or error
            self._condition.notify_all()

    def end(self, error: BaseException) -> None:
        """End the work of everybody: no more bytes will come."""
        with self._condition:
            self._failure = self._failure or error
            self._end = self._end or error
            self._condition.notify_all()

    def recover(self) -> None:
        """Take up the work after a failure: another source of the same bytes is asked."""
        with self._condition:
            self._failure = self._end
            self._claimed = bytearray(self._pieces.held)
            self._unclaimed = self._claimed.count(0)
            self._cursor = 0

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure
        self._check_cancelled()

    def _raise_end(self) -> None:
        if self._end is not None:
            raise self._end
        self._check_cancelled()

    def _wait(self) -> None:
        self._condition.wait(_WAIT_SECONDS)

    # --- hashing ---------------------------------------------------------------------------------------------------

    def _hash(self) -> None:
        """Hash what is there, in order, as it arrives; the body of a thread."""
        try:
            while (work := self._to_hash()) is not None:
                generation, hasher, piece = work
                data = self._pieces.load(piece * PIECE, self._length_of(piece))
                hasher.update(data)
                self._note_hashed(generation, piece, len(data))
        except BaseException as error:  # noqa: BLE001 - raised again by whoever waits for the hash
            self.end(error)

    def _note_hashed(self, generation: int, piece: int, count: int) -> None:
        with self._condition:
            if generation != self._generation:
                return
            if count != self._length_of(piece):
                raise VolumeError(f"{self.artifact.name}: what was written of it is not there any more")
            self._hashed += count
            self._make_way()
            self._condition.notify_all()

    def _to_hash(self) -> tuple[int, Hasher, int] | None:
        """Wait for the next piece to be hashed; ``None`` when the assembly is closed."""
        with self._condition:
            while not self._closed:
                piece = self._hashed // PIECE
                if self._hashed < self.size and self._pieces.held[piece]:
                    return self._generation, self._hasher, piece
                self._condition.wait()
        return None

    def seal(self) -> str:
        """Wait for the hash of the whole, compare it, and give the SHA-256.

        Raises:
            DigestMismatchError: the bytes are wrong; they were dropped.
            ProvisionerError: the transfer has failed, or the work must end.
        """
        with self._condition:
            while self._hashed < self.size:
                self._raise_end()
                self._wait()
            self._raise_end()
            expected, found = self.artifact.digest, self._hasher.hexdigest
            if expected is None or expected.hex == found:
                self._sealed = self._hasher.sha256
                self._condition.notify_all()
                return self._sealed
            self._restart()
        raise digest_mismatch(self.artifact, found)

    def wait_sealed(self, generation: int) -> None:
        """Wait until the whole has turned out to be right.

        Raises:
            UpstreamChangedError: it was begun anew: what was read of that generation is worth nothing.
            ProvisionerError: it will never be right, or the work must end.
        """
        with self._condition:
            while True:
                if generation != self._generation:
                    raise self._restarted()
                if self._sealed:
                    return
                self._raise_end()
                self._wait()

    # --- reading ---------------------------------------------------------------------------------------------------

    def reader(self) -> RangedFileReader:
        """Return a view of it as it is now; one that is dropped and begun anew is another."""
        with self._condition:
            return RangedFileReader(self, self._generation)

    def reach_far_with(self, far: Far) -> None:
        """Return how bytes outside the window are asked for."""
        with self._condition:
            self._far = far
            self._condition.notify_all()

    def read(self, generation: int, offset: int, count: int) -> bytes:
        """Return bytes of a generation as soon as they are there; see :meth:`RangedFileReader.read_at`."""
        piece = offset // PIECE
        with self._condition:
            while True:
                if generation != self._generation:
                    raise self._restarted()
                if offset >= self.size or not count:
                    return b""
                if self._window is not None and not self._base() <= piece < self._bound():
                    if self._far is not None:
                        far = self._far
                        break
                elif self._pieces.held[piece]:
                    return self._load(piece, offset, count)
                elif not self._claimed[piece]:
                    self._wanted = piece
                self._raise_end()
                self._wait()
        return far(offset, min(count, self.size - offset))

    def _load(self, piece: int, offset: int, count: int) -> bytes:
        end = (piece + 1) * PIECE
        if self._window is None:
            while end < offset + count and end < self.size and self._pieces.held[end // PIECE]:
                end += PIECE
        return self._pieces.load(offset, min(count, end - offset, self.size - offset))

    def release(self, generation: int, offset: int) -> None:
        """Nothing before ``offset`` is needed by the reader any more."""
        with self._condition:
            if generation == self._generation and offset > self._released:
                self._released = offset
                self._make_way()
                self._condition.notify_all()

    def _base(self) -> int:
        """Return the first piece that is still needed by somebody."""
        return min(self._released, self._hashed) // PIECE

    def _make_way(self) -> None:
        if self._window is not None:
            self._pieces.let_go(self._base())

    # --- the end ---------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End the hash's thread and close the files; what they hold stays."""
        with self._condition:
            self._closed = True
            self._end = self._failure = self._failure or _closed_error(self.artifact.name)
            self._condition.notify_all()
        self._hash_thread.join()
        self._pieces.close()

    def drop(self) -> None:
        """Close it and remove what was kept."""
        self.close()
        if isinstance(self._pieces, PieceFile):
            self._pieces.drop()

    def move_to(self, destination: Path) -> None:
        """Put the sealed file in its place in a tree.

        Raises:
            VolumeError: the volume failed.
        """
        self.close()
        if isinstance(self._pieces, PieceFile):
            self._pieces.move_to(destination)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class RangedFileReader:
    """What a reader of an archive sees of an assembly; an :class:`~provisioner.volume.staging.incoming.Incoming`."""

    def __init__(self, assembly: RangedFile, generation: int) -> None:
        """See the assembly as it is in one generation."""
        self._assembly = assembly
        self._generation = generation
        self.name = assembly.artifact.name.rsplit("/", 1)[-1]
        self.size = assembly.size

    def read_at(self, offset: int, count: int) -> bytes:
        """Return between 1 and ``count`` bytes from ``offset`` on, none at the end; waits until there are some.

        Raises:
            UpstreamChangedError: the file was changed upstream meanwhile.
            ProvisionerError: the transfer has failed, or the work must end.
        """
        return self._assembly.read(self._generation, offset, count)

    def release(self, offset: int) -> None:
        """Say that nothing before ``offset`` will be read again."""
        self._assembly.release(self._generation, offset)

    def wait_sealed(self) -> None:
        """Wait until what was read has turned out to be right.

        Raises:
            UpstreamChangedError: the file was begun anew.
            ProvisionerError: it will never be right.
        """
        self._assembly.wait_sealed(self._generation)


def _closed_error(name: str) -> ProvisionerError:
    return RemoteUnavailableError(f"{name}: it was closed while somebody waited for it")
