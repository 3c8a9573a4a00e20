"""A file that arrives in ranges: nothing is fetched twice, and bytes of two versions are never mixed."""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.catalog.artifact import Artifact
from provisioner.catalog.digest import Digest
from provisioner.catalog.size import Size
from provisioner.errors import (
    DigestMismatchError,
    NotFoundError,
    RemoteUnavailableError,
    UpstreamChangedError,
    VolumeError,
)
from provisioner.volume.staging.arrival_window import WINDOW
from provisioner.volume.staging.claims import LARGEST_RANGE
from provisioner.volume.staging.piece_file import PieceFile
from provisioner.volume.staging.piece_memory import PieceMemory
from provisioner.volume.staging.pieces import PIECE, number_of_pieces
from provisioner.volume.staging.ranged_file import RangedFile
from tests.support.media import noise
from tests.support.program import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from provisioner.volume.staging.claims import Claim

SIZE = 5 * PIECE + 1000
CONTENT = noise("a piece", PIECE) * 5 + noise("the end", 1000)
KEY = "0" * 64


def nothing() -> None:
    """Never cancel."""


def artifact(content: bytes | None = CONTENT) -> Artifact:
    """Return the artifact for a file."""
    digest = None if content is None else Digest("sha256", hashlib.sha256(content).hexdigest())
    return Artifact("f.bin", ("https://files.example.org/f.bin",), Size(SIZE), digest, "none", "", "catalog")


# --- claims ----------------------------------------------------------------------------------------------------------------


class NoBytes:
    """A store of pieces that keeps no bytes."""

    piece = PIECE

    def __init__(self, held: bytes) -> None:
        self.held = bytearray(held)
        self.origin: tuple[str, str] | None = None

    def record_origin(self, url: str, validator: str | None) -> None:
        """Do nothing."""

    def write(self, offset: int, data: memoryview) -> None:
        """Do nothing."""

    def complete(self, piece: int, crc: int) -> None:  # noqa: ARG002 - the protocol's
        """Record that a piece is complete."""
        assert not self.held[piece], "fetched twice"
        self.held[piece] = 1

    def read(self, offset: int, count: int) -> bytes:  # noqa: ARG002 - the protocol's
        """Return zeros."""
        return bytes(count)

    def restart(self) -> None:
        """Drop everything."""
        self.held = bytearray(len(self.held))

    def discard_before(self, piece: int) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    def drop(self) -> None:
        """Do nothing."""

    def move_to(self, place: Callable[[Path], None]) -> None:
        """Do nothing."""


@settings(max_examples=100, deadline=None)
@given(there=st.binary(min_size=1, max_size=120).map(lambda raw: bytes(byte & 1 for byte in raw)), data=st.data())
def test_claims_cover_what_is_missing_and_never_overlap(there: bytes, data: st.DataObject) -> None:
    """Whatever has arrived before, however many connections there are, and whichever gives up, each piece is fetched once."""
    connections = data.draw(st.integers(1, 16))
    pieces = NoBytes(there)
    size = len(there) * PIECE
    open_claims: list[Claim] = []
    with RangedFile(artifact(), size, pieces, check_cancelled=nothing, connections=lambda: connections) as file:
        while not file.is_whole:
            claim = file.claim(wait=False) if len(open_claims) < connections else None
            if claim is not None:
                assert claim.position < claim.end <= size
                assert claim.end - claim.position <= LARGEST_RANGE
                spans = [(other.position, other.end) for other in open_claims]
                assert all(claim.end <= start or end <= claim.position for start, end in spans)
                open_claims.append(claim)
                continue
            chosen = open_claims.pop(data.draw(st.integers(0, len(open_claims) - 1)))
            share = data.draw(st.sampled_from((1.0, 0.5, 0.1)))
            chosen.write(bytes(int(share * (chosen.end - chosen.position))))
            if chosen.position < chosen.end:
                assert chosen.give_back() == chosen.position % PIECE
        assert file.have == size


@settings(max_examples=100, deadline=None)
@given(count=st.integers(1, 60), data=st.data())
def test_ranges_that_take_long_are_divided(count: int, data: st.DataObject) -> None:
    """Whichever connection is slow, and whenever another one is idle, each piece is written exactly once."""
    now = 0.0
    connections = data.draw(st.integers(2, 6))
    pieces, size = NoBytes(bytes(count)), count * PIECE
    open_claims: list[Claim] = []
    with RangedFile(
        artifact(), size, pieces, check_cancelled=nothing, connections=lambda: connections, clock=lambda: now
    ) as file:
        while not file.is_whole:
            # A connection may have received this before it learns that another one has taken part of its range.
            received = [(claim, min(PIECE, claim.end - claim.position)) for claim in open_claims]
            wants = file.wants_connection
            claim = file.claim(wait=False) if len(open_claims) < connections else None
            assert claim is None or wants
            if claim is not None:
                open_claims.append(claim)
            if received:
                chosen, length = received[data.draw(st.integers(0, len(received) - 1))]
                chosen.write(bytes(data.draw(st.sampled_from((length, length // 3)))))
                assert chosen.position <= chosen.end
            now += data.draw(st.sampled_from((0.0, 0.2, 5.0)))
            open_claims = [one for one in open_claims if one.position < one.end]
            spans = sorted((one.position, one.end) for one in open_claims)
            assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
        assert file.have == size


@pytest.mark.parametrize(
    ("arrived", "seconds", "taken"),
    [
        (0, 0.4, None),  # too early to tell
        (0, 0.6, (10, 20)),
        (4, 0.6, (12, 20)),
        (4, 0.1, None),
        (16, 1.0, None),  # the rest would arrive before another request is answered
        (16, 4.0, (18, 20)),
        (17, 60.0, (19, 20)),
        (18, 60.0, (19, 20)),
        (19, 60.0, None),  # it may have been received already
    ],
)
def test_how_a_range_is_divided(arrived: int, seconds: float, taken: tuple[int, int] | None) -> None:
    """The second half, from a boundary of pieces on, is taken from the range that is expected to take longest."""
    now = 0.0
    with RangedFile(
        artifact(), 20 * PIECE, NoBytes(bytes(20)), check_cancelled=nothing, connections=lambda: 0, clock=lambda: now
    ) as file:
        file._claims._connections = lambda: 1 / 2  # type: ignore[assignment, return-value] # one range for the whole file
        slow = file.claim(wait=False)
        assert slow is not None
        assert (slow.position, slow.end) == (0, 20 * PIECE)
        slow.write(bytes(arrived * PIECE))
        now = seconds
        assert file.wants_connection == (taken is not None)
        half = file.claim(wait=False)
        assert (half and (half.position // PIECE, half.end // PIECE)) == taken
        assert slow.end == (taken[0] if taken else 20) * PIECE


def test_a_window_is_never_exceeded() -> None:
    """While nothing is released, no more is claimed than the window holds."""
    pieces = NoBytes(bytes(100))
    with RangedFile(artifact(), 100 * PIECE, pieces, check_cancelled=nothing, connections=lambda: 2, window=WINDOW) as file:
        claimed = 0
        while file._claims.unclaimed > 100 - WINDOW // PIECE:
            claim = file.claim(wait=True)
            assert claim is not None
            claimed += claim.end - claim.position
            assert claim.end <= WINDOW
        assert claimed == WINDOW


def test_a_claim_of_the_old_version(tmp_path: Path) -> None:
    """After a restart the bytes of an older claim are refused, and those that it had written are reported as dropped."""
    with RangedFile.on_disk(tmp_path, artifact(), SIZE, check_cancelled=nothing, connections=lambda: 2) as file:
        claim = file.claim(wait=False)
        assert claim is not None
        claim.write(CONTENT[: PIECE + 10])
        assert file.restart(claim.version) == PIECE
        assert file.restart(claim.version) is None
        with pytest.raises(UpstreamChangedError):
            claim.write(CONTENT[PIECE + 10 : PIECE + 20])
        assert claim.give_back() == 10
        assert file.have == 0


def test_the_whole_file(tmp_path: Path) -> None:
    """A whole file is sealed with its SHA-256; the failure of one URL is forgotten for the next URL, an end is not."""
    with RangedFile.on_disk(tmp_path, artifact(), SIZE, check_cancelled=nothing, connections=lambda: 2) as file:
        file.fail(RemoteUnavailableError("one URL"))
        with pytest.raises(RemoteUnavailableError):
            file.claim(wait=True)
        file.recover()
        while (claim := file.claim(wait=False)) is not None:
            claim.write(CONTENT[claim.position : claim.end])
        assert file.seal() == hashlib.sha256(CONTENT).hexdigest()
        file.end(RemoteUnavailableError("all URLs"))
        file.recover()
        with pytest.raises(RemoteUnavailableError):
            file.claim(wait=True)


def test_a_disk_that_reads_less_than_it_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A short read is not taken for the end of the file: all bytes that arrived are hashed, and an earlier run is resumed."""
    short: list[int] = []
    real = os.pread

    def read(handle: int, count: int, offset: int) -> bytes:
        short.append(min(count, 300_000))
        return real(handle, short[-1], offset)

    monkeypatch.setattr(os, "pread", read)
    with RangedFile.on_disk(tmp_path, artifact(), SIZE, check_cancelled=nothing, connections=lambda: 1) as file:
        first = file.claim(wait=False)
        assert first is not None
        first.write(CONTENT[:PIECE])
    with RangedFile.on_disk(tmp_path, artifact(), SIZE, check_cancelled=nothing, connections=lambda: 1) as file:
        assert file.have == PIECE
        fetch_rest(file)
        assert file.seal() == hashlib.sha256(CONTENT).hexdigest()
    assert 300_000 in short


def test_wrong_bytes(tmp_path: Path) -> None:
    """Wrong bytes are found, dropped, and not resumed by the next run."""
    with RangedFile.on_disk(tmp_path, artifact(), SIZE, check_cancelled=nothing, connections=lambda: 1) as file:
        while (claim := file.claim(wait=False)) is not None:
            claim.write(bytes(claim.end - claim.position))
        with pytest.raises(DigestMismatchError):
            file.seal()
        assert file.have == 0
    with RangedFile.on_disk(tmp_path, artifact(), SIZE, check_cancelled=nothing, connections=lambda: 1) as file:
        assert file.have == 0
    assert number_of_pieces(SIZE) == 6


# --- readers ---------------------------------------------------------------------------------------------------------------


def fetch_rest(file: RangedFile, content: bytes = CONTENT) -> None:
    """Fetch everything that is not claimed yet."""
    while (claim := file.claim(wait=False)) is not None:
        claim.write(content[claim.position : claim.end])


class Reading(threading.Thread):
    """A thread that reads; a test can wait until the thread itself waits for bytes."""

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._act = act
        self.waits = threading.Event()
        self.result: object = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """Read."""
        try:
            self.result = self._act()
        except BaseException as error:  # noqa: BLE001 - compared by the test
            self.error = error

    def check(self) -> None:
        """Record that the thread is about to wait; a ranged file checks for cancellation then."""
        if threading.current_thread() is self:
            self.waits.set()

    def after_waiting(self) -> Self:
        """Start the thread, and return when it waits."""
        self.start()
        assert self.waits.wait(PATIENCE)
        return self

    def ended(self) -> Self:
        """Wait for the end of the thread."""
        self.join(PATIENCE)
        assert not self.is_alive()
        return self


READINGS: list[Reading] = []


def check_cancelled() -> None:
    """Tell all reading threads that one of them is about to wait."""
    for reading in READINGS:
        reading.check()


@pytest.fixture
def file(tmp_path: Path) -> Iterator[RangedFile]:
    """Return a ranged file on the disk of which nothing has arrived."""
    with RangedFile.on_disk(tmp_path, artifact(), SIZE, check_cancelled=check_cancelled, connections=lambda: 2) as made:
        yield made
    READINGS.clear()


def reading(act: Callable[[], object]) -> Reading:
    """Start a thread that reads, and return when it waits for bytes."""
    made = Reading(act)
    READINGS.append(made)
    return made.after_waiting()


def test_a_wanted_piece_is_claimed_next(file: RangedFile) -> None:
    """A piece that a reader waits for, such as the index at the end of a zip, is claimed next."""
    thread = reading(lambda: file.reader().read_at(SIZE - 10, 100))
    claim = file.claim(wait=False)
    assert claim is not None
    assert (claim.position, claim.end) == (5 * PIECE, SIZE)
    claim.write(CONTENT[claim.position : claim.end])
    assert thread.ended().result == CONTENT[-10:]
    following = file.claim(wait=False)
    assert following is not None
    assert following.position == 0


def test_complete_pieces_are_read_at_once(file: RangedFile) -> None:
    """A read returns bytes up to the first gap; it returns none behind the end, and none if it asks for none."""
    claim = file.claim(wait=False)
    assert claim is not None
    claim.write(CONTENT[: 2 * PIECE + 5])
    reader = file.reader()
    assert (reader.name, reader.size) == ("f.bin", SIZE)
    assert reader.read_at(10, 20) == CONTENT[10:30]
    assert reader.read_at(PIECE - 5, 3 * PIECE) == CONTENT[PIECE - 5 : 2 * PIECE]
    assert reader.read_at(SIZE, 5) == reader.read_at(5, 0) == b""


def test_a_reader_of_an_old_version(file: RangedFile) -> None:
    """A reader of a dropped version gets an error, whether it waits, reads, or waits for the seal."""
    old = file.reader()
    thread = reading(lambda: old.read_at(0, 10))
    file.restart(None)
    assert isinstance(thread.ended().error, UpstreamChangedError)
    fetch_rest(file)
    file.seal()
    for ask in (lambda: old.read_at(0, 10), old.wait_sealed):
        with pytest.raises(UpstreamChangedError):
            ask()
    fresh = file.reader()
    fresh.wait_sealed()
    assert fresh.read_at(0, 10) == CONTENT[:10]


def test_a_failure_of_one_url_is_not_the_end_for_a_reader(file: RangedFile) -> None:
    """After the failure of one URL a reader waits on, and gets its bytes from the next."""
    thread = reading(lambda: file.reader().read_at(0, 10))
    file.fail(RemoteUnavailableError("one URL"))
    thread.waits.clear()
    assert thread.waits.wait(PATIENCE)
    file.recover()
    fetch_rest(file)
    assert thread.ended().result == CONTENT[:10]


@pytest.mark.parametrize("way", ["end", "close"])
def test_the_end_for_a_reader(file: RangedFile, way: str) -> None:
    """A thread that waits for bytes or for the seal gets the error that ended the transfer."""
    threads = [reading(lambda: file.reader().read_at(0, 10)), reading(lambda: file.reader().wait_sealed())]
    if way == "end":
        file.end(NotFoundError("all URLs"))
    else:
        file.close()
    expected = NotFoundError if way == "end" else RemoteUnavailableError
    assert [type(thread.ended().error) for thread in threads] == [expected, expected]


def test_a_recovery_claims_what_is_missing_again(file: RangedFile) -> None:
    """What one URL had claimed and not brought is claimed again for the next; complete pieces are not."""
    claim = file.claim(wait=False)
    assert claim is not None
    claim.write(CONTENT[:PIECE])
    file.fail(RemoteUnavailableError("one URL"))
    with pytest.raises(RemoteUnavailableError):
        claim.write(CONTENT[PIECE : 2 * PIECE])
    file.recover()
    following = file.claim(wait=False)
    assert following is not None
    assert following.position == PIECE


@pytest.mark.parametrize("algorithm", ["sha1", "md5", "gitsha1", None])
def test_other_digests(tmp_path: Path, algorithm: str | None) -> None:
    """Whatever the algorithm of the known digest, the SHA-256 is returned."""
    made = {
        "sha1": hashlib.sha1(CONTENT, usedforsecurity=False).hexdigest(),
        "md5": hashlib.md5(CONTENT, usedforsecurity=False).hexdigest(),
        "gitsha1": hashlib.sha1(b"blob %d\0" % SIZE + CONTENT, usedforsecurity=False).hexdigest(),
    }
    what = replace(artifact(), digest=Digest(algorithm, made[algorithm]) if algorithm else None)
    with RangedFile.on_disk(tmp_path, what, SIZE, check_cancelled=nothing, connections=lambda: 1) as file:
        fetch_rest(file)
        assert file.seal() == hashlib.sha256(CONTENT).hexdigest()


def test_bytes_without_digest_and_validator(tmp_path: Path) -> None:
    """Without a digest, existing bytes are resumed if they have a validator, and dropped if not."""
    for validator, expected in ((None, 0), ('"one"', PIECE)):
        with RangedFile.on_disk(tmp_path, artifact(None), SIZE, check_cancelled=nothing, connections=lambda: 1) as file:
            file.restart(None)
            file.record_origin("https://files.example.org/f.bin", validator, file.claim_all().version)
            file.recover()
            claim = file.claim(wait=False)
            assert claim is not None
            claim.write(CONTENT[:PIECE])
        with RangedFile.on_disk(tmp_path, artifact(None), SIZE, check_cancelled=nothing, connections=lambda: 1) as file:
            assert (file.have, file.resumed) == (expected, expected > 0)


def test_a_late_answer_about_an_old_version(file: RangedFile) -> None:
    """The validator of an old version is not recorded as the origin of the new one."""
    claim = file.claim(wait=False)
    assert claim is not None
    file.restart(None)
    with pytest.raises(UpstreamChangedError):
        file.record_origin("https://files.example.org/f.bin", '"old"', claim.version)
    assert file.origin is None


# --- restarts while other threads work -------------------------------------------------------------------------------------


class Slow(PieceMemory):
    """Pieces in memory whose first write or read takes long."""

    def __init__(self, size: int, what: str) -> None:
        super().__init__(size)
        self._what = what
        self.entered = threading.Event()
        self.go = threading.Event()
        self.drops = 0
        self.mixed = False
        """Whether bytes of the old version were written among those of the new one."""

    def _delay(self, what: str) -> None:
        if what == self._what and not self.entered.is_set():
            self.entered.set()
            # A restart may have to wait for this write, so this wait must end by itself.
            self.go.wait(0.3)

    def write(self, offset: int, data: memoryview) -> None:
        """Store bytes, late."""
        drops = self.drops
        self._delay("write")
        self.mixed |= self.drops != drops
        super().write(offset, data)

    def read(self, offset: int, count: int) -> bytes:
        """Return bytes, late."""
        self._delay("read")
        return super().read(offset, count)

    def restart(self) -> None:
        """Drop everything."""
        super().restart()
        self.drops += 1
        self.go.set()


def test_a_restart_while_a_connection_writes() -> None:
    """No byte of an old version is written among those of the new one, not even by a write that was under way."""
    pieces = Slow(SIZE, "write")
    with RangedFile(artifact(), SIZE, pieces, check_cancelled=nothing, connections=lambda: 1) as file:
        claim = file.claim(wait=False)
        assert claim is not None
        thread = Reading(lambda: claim.write(bytes(PIECE)))
        thread.start()
        assert pieces.entered.wait(PATIENCE)
        file.restart(None)
        assert isinstance(thread.ended().error, UpstreamChangedError)
        assert not pieces.mixed
        fetch_rest(file)
        file.seal()


def test_a_restart_while_a_piece_is_hashed() -> None:
    """The hash of an old version is dropped, and the new version is hashed from its start."""
    pieces = Slow(SIZE, "read")
    with RangedFile(artifact(), SIZE, pieces, check_cancelled=nothing, connections=lambda: 1) as file:
        claim = file.claim(wait=False)
        assert claim is not None
        claim.write(bytes(PIECE))
        assert pieces.entered.wait(PATIENCE)
        file.restart(None)
        fetch_rest(file)
        assert file.seal() == hashlib.sha256(CONTENT).hexdigest()


class Shortened(PieceFile):
    """Pieces on the disk, whose file gets shorter."""

    def read(self, offset: int, count: int) -> bytes:
        """Return bytes, and only a few of the third piece."""
        if offset == 2 * PIECE:
            os.truncate(self.path, offset + 5)
        return super().read(offset, count)


def test_a_file_that_becomes_shorter_while_it_is_hashed(tmp_path: Path) -> None:
    """A file that gets shorter while it is hashed is an error of the volume, and no thread waits for ever."""
    pieces = Shortened(tmp_path, artifact().key, SIZE, check_cancelled=nothing)
    with RangedFile(artifact(), SIZE, pieces, check_cancelled=nothing, connections=lambda: 1) as file:
        claim = file.claim_all()
        claim.write(CONTENT[: 3 * PIECE])
        with pytest.raises(VolumeError, match=r"f\.bin"):
            file.seal()
        with pytest.raises(VolumeError, match=r"f\.bin"):
            file.seal()


# --- a window -------------------------------------------------------------------------------------------------------------


class Counted(PieceMemory):
    """Pieces in memory that count how many there are at most."""

    most = 0

    def write(self, offset: int, data: memoryview) -> None:
        """Store bytes."""
        super().write(offset, data)
        self.most = max(self.most, len(self._pieces))


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("step", [1, PIECE // 2, 3 * PIECE])
def test_a_window_moves_with_its_reader(step: int, *, whole: bool) -> None:
    """A whole file passes through a window of four pieces, in ranges or by one connection, and there are never more pieces."""
    pieces = Counted(SIZE)
    with RangedFile(artifact(), SIZE, pieces, check_cancelled=nothing, connections=lambda: 2, window=4 * PIECE) as file:

        def write() -> None:
            if whole:
                file.claim_all().write(CONTENT)
                return
            while (claim := file.claim(wait=True)) is not None:
                claim.write(CONTENT[claim.position : claim.end])

        thread = Reading(write)
        thread.start()
        reader, got = file.reader(), bytearray()
        while data := reader.read_at(len(got), 65_536):
            got += data
            reader.release(len(got) - len(got) % step)
        reader.release(SIZE)
        assert thread.ended().error is None
        assert got == CONTENT
        assert file.seal() == hashlib.sha256(CONTENT).hexdigest()
    assert pieces.most <= 4


def test_what_is_outside_the_window_is_fetched_directly() -> None:
    """The index at the end of an archive, and bytes that the reader has released, are fetched by requests of their own."""
    asked: list[tuple[int, int]] = []

    def fetch(offset: int, count: int) -> bytes:
        asked.append((offset, count))
        return CONTENT[offset : offset + count]

    with RangedFile(
        artifact(), SIZE, PieceMemory(SIZE), check_cancelled=check_cancelled, connections=lambda: 1, window=2 * PIECE
    ) as file:
        thread = reading(lambda: file.reader().read_at(SIZE - 10, 100))
        file.set_direct_fetch(fetch)
        assert thread.ended().result == CONTENT[-10:]
        claim = file.claim(wait=False)
        assert claim is not None
        claim.write(CONTENT[claim.position : claim.end])
        reader = file.reader()
        reader.release(PIECE)
        wait_until(lambda: reader.read_at(0, 7) == CONTENT[:7] and (0, 7) in asked, "the first piece was discarded")
        assert asked[0] == (SIZE - 10, 10)
    READINGS.clear()
