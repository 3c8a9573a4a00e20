"""How ranges are claimed, hashed, read and dropped: nothing is brought twice, nothing of two versions comes together."""

from __future__ import annotations

import hashlib
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
    """Look whether the run must end: never."""


def artifact(content: bytes | None = CONTENT) -> Artifact:
    """Describe a file."""
    digest = None if content is None else Digest("sha256", hashlib.sha256(content).hexdigest())
    return Artifact("f.bin", ("https://files.example.org/f.bin",), Size(SIZE), digest, "none", "", "catalog")


# --- claims ----------------------------------------------------------------------------------------------------------------


class Sized:
    """Pieces of a file of any size, none of which is kept."""

    def __init__(self, held: bytes) -> None:
        self.held = bytearray(held)
        self.origin: tuple[str, str] | None = None
        self.most = 0

    def record_origin(self, url: str, validator: str | None) -> None:
        """Note nothing."""

    def write(self, offset: int, data: memoryview) -> None:
        """Keep nothing."""

    def complete(self, piece: int, crc: int) -> None:  # noqa: ARG002 - the protocol's
        """Note that it is there."""
        assert not self.held[piece], "brought twice"
        self.held[piece] = 1

    def read(self, offset: int, count: int) -> bytes:  # noqa: ARG002 - the protocol's
        """Return zeros."""
        return bytes(count)

    def restart(self) -> None:
        """Drop everything."""
        self.held = bytearray(len(self.held))

    def discard_before(self, piece: int) -> None:
        """Note nothing."""

    def close(self) -> None:
        """Do nothing."""

    def drop(self) -> None:
        """Do nothing."""

    def move_to(self, destination: Path) -> None:
        """Do nothing."""


@settings(max_examples=100, deadline=None)
@given(there=st.binary(min_size=1, max_size=120).map(lambda raw: bytes(byte & 1 for byte in raw)), data=st.data())
def test_claims_cover_what_is_missing_and_never_overlap(there: bytes, data: st.DataObject) -> None:
    """Whatever is there, however many connections, whoever gives up: each piece is brought once."""
    connections = data.draw(st.integers(1, 16))
    pieces = Sized(there)
    size = len(there) * PIECE
    open_claims: list[Claim] = []
    with RangedFile(artifact(), size, pieces, check_cancelled=nothing, connections=connections) as assembly:
        while not assembly.is_whole:
            claim = assembly.claim(wait=False) if len(open_claims) < connections else None
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
        assert assembly.have == size


def test_a_window_is_never_exceeded() -> None:
    """Where nobody has done with what is there, no more may come than the window holds."""
    pieces = Sized(bytes(100))
    with RangedFile(artifact(), 100 * PIECE, pieces, check_cancelled=nothing, connections=2, window=WINDOW) as assembly:
        claimed = 0
        while assembly.unclaimed > 100 - WINDOW // PIECE:
            claim = assembly.claim(wait=True)
            assert claim is not None
            claimed += claim.end - claim.position
            assert claim.end <= WINDOW
        assert claimed == WINDOW


def test_a_claim_of_the_old_version(tmp_path: Path) -> None:
    """After a restart its bytes are refused, and those it had brought are given back to the count."""
    with RangedFile.on_disk(tmp_path, artifact(), SIZE, check_cancelled=nothing, connections=2) as assembly:
        claim = assembly.claim(wait=False)
        assert claim is not None
        claim.write(CONTENT[: PIECE + 10])
        assert assembly.restart(claim.version) == PIECE
        assert assembly.restart(claim.version) is None
        with pytest.raises(UpstreamChangedError):
            claim.write(CONTENT[PIECE + 10 : PIECE + 20])
        assert claim.give_back() == 10
        assert assembly.have == 0


def test_the_whole(tmp_path: Path) -> None:
    """It is sealed with its SHA-256; a failure of one address is forgotten for the next, an end is not."""
    with RangedFile.on_disk(tmp_path, artifact(), SIZE, check_cancelled=nothing, connections=2) as assembly:
        assembly.fail(RemoteUnavailableError("one address"))
        with pytest.raises(RemoteUnavailableError):
            assembly.claim(wait=True)
        assembly.recover()
        while (claim := assembly.claim(wait=False)) is not None:
            claim.write(CONTENT[claim.position : claim.end])
        assert assembly.seal() == hashlib.sha256(CONTENT).hexdigest()
        assembly.end(RemoteUnavailableError("all of them"))
        assembly.recover()
        with pytest.raises(RemoteUnavailableError):
            assembly.claim(wait=True)


def test_wrong_bytes(tmp_path: Path) -> None:
    """They are found out, dropped, and not resumed by the next run."""
    with RangedFile.on_disk(tmp_path, artifact(), SIZE, check_cancelled=nothing, connections=1) as assembly:
        while (claim := assembly.claim(wait=False)) is not None:
            claim.write(bytes(claim.end - claim.position))
        with pytest.raises(DigestMismatchError):
            assembly.seal()
        assert assembly.have == 0
    with RangedFile.on_disk(tmp_path, artifact(), SIZE, check_cancelled=nothing, connections=1) as assembly:
        assert assembly.have == 0
    assert number_of_pieces(SIZE) == 6


# --- those who read it -----------------------------------------------------------------------------------------------------


def bring(assembly: RangedFile, content: bytes = CONTENT) -> None:
    """Bring all that nobody brings yet."""
    while (claim := assembly.claim(wait=False)) is not None:
        claim.write(content[claim.position : claim.end])


class Reading(threading.Thread):
    """A thread that reads some bytes; can be waited for until it waits itself."""

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._act = act
        self.waits = threading.Event()
        self.result: object = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """Act."""
        try:
            self.result = self._act()
        except BaseException as error:  # noqa: BLE001 - looked at by the test
            self.error = error

    def check(self) -> None:
        """Note that the thread has found nothing and is about to wait; an assembly calls this then."""
        if threading.current_thread() is self:
            self.waits.set()

    def after_waiting(self) -> Self:
        """Start, and come back when it waits."""
        self.start()
        assert self.waits.wait(PATIENCE)
        return self

    def ended(self) -> Self:
        """Wait for its end."""
        self.join(PATIENCE)
        assert not self.is_alive()
        return self


CHECKS: list[Reading] = []


def checks() -> None:
    """Tell whoever wants to know."""
    for reading in CHECKS:
        reading.check()


@pytest.fixture
def assembly(tmp_path: Path) -> Iterator[RangedFile]:
    """Return an assembly on disk of which nothing has arrived; who waits in it calls what ``checks`` has."""
    with RangedFile.on_disk(tmp_path, artifact(), SIZE, check_cancelled=checks, connections=2) as made:
        yield made
    CHECKS.clear()


def reading(act: Callable[[], object]) -> Reading:
    """Let a thread read until it must wait."""
    made = Reading(act)
    CHECKS.append(made)
    return made.after_waiting()


def test_a_wanted_piece_is_claimed_next(assembly: RangedFile) -> None:
    """The index at the end of a zip is wanted before all that lies before it."""
    thread = reading(lambda: assembly.reader().read_at(SIZE - 10, 100))
    claim = assembly.claim(wait=False)
    assert claim is not None
    assert (claim.position, claim.end) == (5 * PIECE, SIZE)
    claim.write(CONTENT[claim.position : claim.end])
    assert thread.ended().result == CONTENT[-10:]
    following = assembly.claim(wait=False)
    assert following is not None
    assert following.position == 0


def test_what_is_there_is_read_at_once(assembly: RangedFile) -> None:
    """As far as it goes without a gap; nothing behind the end, and nothing where nothing is asked for."""
    claim = assembly.claim(wait=False)
    assert claim is not None
    claim.write(CONTENT[: 2 * PIECE + 5])
    reader = assembly.reader()
    assert (reader.name, reader.size) == ("f.bin", SIZE)
    assert reader.read_at(10, 20) == CONTENT[10:30]
    assert reader.read_at(PIECE - 5, 3 * PIECE) == CONTENT[PIECE - 5 : 2 * PIECE]
    assert reader.read_at(SIZE, 5) == reader.read_at(5, 0) == b""


def test_a_reader_of_the_old_version(assembly: RangedFile) -> None:
    """It learns that it is one, whether it waits, asks, or wants to know whether all was right."""
    old = assembly.reader()
    thread = reading(lambda: old.read_at(0, 10))
    assembly.restart(None)
    assert isinstance(thread.ended().error, UpstreamChangedError)
    bring(assembly)
    assembly.seal()
    for ask in (lambda: old.read_at(0, 10), old.wait_sealed):
        with pytest.raises(UpstreamChangedError):
            ask()
    fresh = assembly.reader()
    fresh.wait_sealed()
    assert fresh.read_at(0, 10) == CONTENT[:10]


def test_a_failure_of_one_address_is_not_the_end_for_a_reader(assembly: RangedFile) -> None:
    """It waits on: the next address may bring what it wants."""
    thread = reading(lambda: assembly.reader().read_at(0, 10))
    assembly.fail(RemoteUnavailableError("one address"))
    thread.waits.clear()
    assert thread.waits.wait(PATIENCE)
    assembly.recover()
    bring(assembly)
    assert thread.ended().result == CONTENT[:10]


@pytest.mark.parametrize("way", ["end", "close"])
def test_the_end_for_a_reader(assembly: RangedFile, way: str) -> None:
    """Whoever waits for bytes, or for the seal, is told why they will never come."""
    threads = [reading(lambda: assembly.reader().read_at(0, 10)), reading(lambda: assembly.reader().wait_sealed())]
    if way == "end":
        assembly.end(NotFoundError("all addresses"))
    else:
        assembly.close()
    expected = NotFoundError if way == "end" else RemoteUnavailableError
    assert [type(thread.ended().error) for thread in threads] == [expected, expected]


def test_a_recovery_claims_what_is_missing_anew(assembly: RangedFile) -> None:
    """What one address had claimed and not brought is brought by the next; what had arrived is not."""
    claim = assembly.claim(wait=False)
    assert claim is not None
    claim.write(CONTENT[:PIECE])
    assembly.fail(RemoteUnavailableError("one address"))
    with pytest.raises(RemoteUnavailableError):
        claim.write(CONTENT[PIECE : 2 * PIECE])
    assembly.recover()
    following = assembly.claim(wait=False)
    assert following is not None
    assert following.position == PIECE


@pytest.mark.parametrize("algorithm", ["sha1", "md5", "gitsha1", None])
def test_other_digests(tmp_path: Path, algorithm: str | None) -> None:
    """Whatever the publisher names, or nothing, the SHA-256 is told."""
    made = {
        "sha1": hashlib.sha1(CONTENT, usedforsecurity=False).hexdigest(),
        "md5": hashlib.md5(CONTENT, usedforsecurity=False).hexdigest(),
        "gitsha1": hashlib.sha1(b"blob %d\0" % SIZE + CONTENT, usedforsecurity=False).hexdigest(),
    }
    what = replace(artifact(), digest=Digest(algorithm, made[algorithm]) if algorithm else None)
    with RangedFile.on_disk(tmp_path, what, SIZE, check_cancelled=nothing, connections=1) as assembly:
        bring(assembly)
        assert assembly.seal() == hashlib.sha256(CONTENT).hexdigest()


def test_a_beginning_that_nobody_can_judge(tmp_path: Path) -> None:
    """Neither digest nor validator: it is dropped; with a validator it is gone on with."""
    for validator, expected in ((None, 0), ('"one"', PIECE)):
        with RangedFile.on_disk(tmp_path, artifact(None), SIZE, check_cancelled=nothing, connections=1) as assembly:
            assembly.restart(None)
            assembly.record_origin("https://files.example.org/f.bin", validator, assembly.claim_all().version)
            assembly.recover()
            claim = assembly.claim(wait=False)
            assert claim is not None
            claim.write(CONTENT[:PIECE])
        with RangedFile.on_disk(tmp_path, artifact(None), SIZE, check_cancelled=nothing, connections=1) as assembly:
            assert (assembly.have, assembly.resumed) == (expected, expected > 0)


def test_an_answer_to_a_question_about_the_old_version(assembly: RangedFile) -> None:
    """What it says of itself is not noted as the origin of the new one."""
    claim = assembly.claim(wait=False)
    assert claim is not None
    assembly.restart(None)
    with pytest.raises(UpstreamChangedError):
        assembly.record_origin("https://files.example.org/f.bin", '"old"', claim.version)
    assert assembly.origin is None


# --- dropping everything while others are at work ---------------------------------------------------------------------------


class Held(PieceMemory):
    """Pieces in memory that hold whoever puts or loads, until they are let go."""

    def __init__(self, size: int, what: str) -> None:
        super().__init__(size)
        self._what = what
        self.entered = threading.Event()
        self.go = threading.Event()
        self.drops = 0
        self.mixed = False
        """Bytes of the old version came among those of the new one."""

    def _hold(self, what: str) -> None:
        if what == self._what and not self.entered.is_set():
            self.entered.set()
            # Whoever drops everything may have to wait for us, so that this wait must end.
            self.go.wait(0.3)

    def write(self, offset: int, data: memoryview) -> None:
        """Keep some bytes, late."""
        drops = self.drops
        self._hold("write")
        self.mixed |= self.drops != drops
        super().write(offset, data)

    def read(self, offset: int, count: int) -> bytes:
        """Return bytes, late."""
        self._hold("read")
        return super().read(offset, count)

    def restart(self) -> None:
        """Drop everything."""
        super().restart()
        self.drops += 1
        self.go.set()


def test_everything_is_dropped_while_a_connection_writes() -> None:
    """No byte of the old version lands among those of the new one, not even one that was being written."""
    pieces = Held(SIZE, "write")
    with RangedFile(artifact(), SIZE, pieces, check_cancelled=nothing, connections=1) as assembly:
        claim = assembly.claim(wait=False)
        assert claim is not None
        thread = Reading(lambda: claim.write(bytes(PIECE)))
        thread.start()
        assert pieces.entered.wait(PATIENCE)
        assembly.restart(None)
        assert isinstance(thread.ended().error, UpstreamChangedError)
        assert not pieces.mixed
        bring(assembly)
        assembly.seal()


def test_everything_is_dropped_while_a_piece_is_hashed() -> None:
    """The hash of the old version ends nowhere, and the new one is hashed from its start."""
    pieces = Held(SIZE, "read")
    with RangedFile(artifact(), SIZE, pieces, check_cancelled=nothing, connections=1) as assembly:
        claim = assembly.claim(wait=False)
        assert claim is not None
        claim.write(bytes(PIECE))
        assert pieces.entered.wait(PATIENCE)
        assembly.restart(None)
        bring(assembly)
        assert assembly.seal() == hashlib.sha256(CONTENT).hexdigest()


class Cut(PieceFile):
    """Pieces whose file somebody cuts."""

    def read(self, offset: int, count: int) -> bytes:
        """Return bytes; of the third piece, what is left."""
        if offset == 2 * PIECE:
            os.truncate(self.path, offset + 5)
        return super().read(offset, count)


def test_a_file_that_becomes_shorter_while_it_is_hashed(tmp_path: Path) -> None:
    """Somebody cut it: that is an error of the volume, and nobody waits for ever."""
    pieces = Cut(tmp_path, artifact().key, SIZE, check_cancelled=nothing)
    with RangedFile(artifact(), SIZE, pieces, check_cancelled=nothing, connections=1) as assembly:
        claim = assembly.claim_all()
        claim.write(CONTENT[: 3 * PIECE])
        with pytest.raises(VolumeError, match=r"f\.bin"):
            assembly.seal()
        with pytest.raises(VolumeError, match=r"f\.bin"):
            assembly.seal()


# --- a window -------------------------------------------------------------------------------------------------------------


class Counted(PieceMemory):
    """Pieces in memory, and how many there were at most."""

    most = 0

    def write(self, offset: int, data: memoryview) -> None:
        """Keep some bytes."""
        super().write(offset, data)
        self.most = max(self.most, len(self._pieces))


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("step", [1, PIECE // 2, 3 * PIECE])
def test_a_window_moves_with_its_reader(step: int, *, whole: bool) -> None:
    """All of a file passes through a window of four pieces, in ranges or by one connection; never are there more."""
    pieces = Counted(SIZE)
    with RangedFile(artifact(), SIZE, pieces, check_cancelled=nothing, connections=2, window=4 * PIECE) as assembly:

        def write() -> None:
            if whole:
                assembly.claim_all().write(CONTENT)
                return
            while (claim := assembly.claim(wait=True)) is not None:
                claim.write(CONTENT[claim.position : claim.end])

        thread = Reading(write)
        thread.start()
        reader, got = assembly.reader(), bytearray()
        while data := reader.read_at(len(got), 65_536):
            got += data
            reader.release(len(got) - len(got) % step)
        reader.release(SIZE)
        assert thread.ended().error is None
        assert got == CONTENT
        assert assembly.seal() == hashlib.sha256(CONTENT).hexdigest()
    assert pieces.most <= 4


def test_what_is_outside_the_window_is_asked_for_alone() -> None:
    """The index at the end of an archive, and what a reader has let go; never more than there is."""
    asked: list[tuple[int, int]] = []

    def far(offset: int, count: int) -> bytes:
        asked.append((offset, count))
        return CONTENT[offset : offset + count]

    with RangedFile(artifact(), SIZE, PieceMemory(SIZE), check_cancelled=checks, connections=1, window=2 * PIECE) as assembly:
        thread = reading(lambda: assembly.reader().read_at(SIZE - 10, 100))
        assembly.set_direct_fetch(far)
        assert thread.ended().result == CONTENT[-10:]
        claim = assembly.claim(wait=False)
        assert claim is not None
        claim.write(CONTENT[claim.position : claim.end])
        reader = assembly.reader()
        reader.release(PIECE)
        wait_until(lambda: reader.read_at(0, 7) == CONTENT[:7] and (0, 7) in asked, "the first piece is let go")
        assert asked[0] == (SIZE - 10, 10)
    CHECKS.clear()
