"""Pieces, their journal, and how ranges are claimed: nothing is brought twice, nothing is believed that is not there."""

from __future__ import annotations

import hashlib
import struct
import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provisioner.catalog.model import Digest, Size
from provisioner.errors import DigestMismatchError, RemoteUnavailableError, UpstreamChangedError
from provisioner.planning.recipe import Artifact
from provisioner.volume import pieces as pieces_module
from provisioner.volume.assembly import LARGEST_RANGE, Assembly
from provisioner.volume.pieces import PIECE, WINDOW, PieceFile
from tests.support.media import noise

if TYPE_CHECKING:
    from pathlib import Path

    from provisioner.volume.assembly import Claim

SIZE = 5 * PIECE + 1000
CONTENT = noise("a piece", PIECE) * 5 + noise("the end", 1000)
KEY = "0" * 64


def nothing() -> None:
    """Look whether the run must end: never."""


def artifact(content: bytes | None = CONTENT) -> Artifact:
    """Describe a file."""
    digest = None if content is None else Digest("sha256", hashlib.sha256(content).hexdigest())
    return Artifact("f.bin", ("https://files.example.org/f.bin",), Size(SIZE), digest, "none", "", "catalog")


def open_pieces(folder: Path) -> PieceFile:
    """Open what is there."""
    return PieceFile(folder, KEY, SIZE, check=nothing)


def put(pieces: PieceFile, *numbers: int) -> None:
    """Bring some pieces."""
    for number in numbers:
        data = CONTENT[number * PIECE : (number + 1) * PIECE]
        pieces.put(number * PIECE, memoryview(data))
        pieces.done(number, zlib.crc32(data))


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """Give a folder where a run died that had brought pieces 0, 3 and the last one."""
    pieces = open_pieces(tmp_path)
    pieces.begin("https://files.example.org/f.bin", '"one"')
    put(pieces, 0, 3, 5)
    pieces.close()
    return tmp_path


def held(folder: Path) -> list[int]:
    """Give the pieces that the next run believes."""
    pieces = open_pieces(folder)
    try:
        return [number for number, there in enumerate(pieces.held) if there]
    finally:
        pieces.close()


# --- the journal -----------------------------------------------------------------------------------------------------------


def test_what_a_dead_run_had_brought(begun: Path) -> None:
    """All of it is there, and where it was from."""
    pieces = open_pieces(begun)
    assert list(pieces.held) == [1, 0, 0, 1, 0, 1]
    assert pieces.origin == ("https://files.example.org/f.bin", '"one"')
    assert pieces.load(3 * PIECE, PIECE) == CONTENT[3 * PIECE : 4 * PIECE]
    pieces.close()


@pytest.mark.parametrize("cut", range(1, 9))
def test_a_torn_record(begun: Path, cut: int) -> None:
    """A death while the last record was written costs that piece, and what is appended later is read right."""
    journal = begun / f"{KEY}.journal"
    with journal.open("r+b") as file:
        file.truncate(journal.stat().st_size - cut)
    assert held(begun) == [0, 3]
    pieces = open_pieces(begun)
    put(pieces, 1)
    pieces.close()
    assert held(begun) == [0, 1, 3]


@pytest.mark.parametrize("piece", [0, 3, 5])
def test_a_piece_whose_bytes_are_others(begun: Path, piece: int) -> None:
    """A power cut kept the journal's record and not the piece: its CRC tells."""
    with (begun / f"{KEY}.part").open("r+b") as file:
        file.seek(piece * PIECE + 500)
        file.write(b"\0\0\0\0")
    assert held(begun) == [number for number in (0, 3, 5) if number != piece]


def test_a_shorter_file(begun: Path) -> None:
    """Records of pieces that lie behind the file's end are not believed."""
    with (begun / f"{KEY}.part").open("r+b") as file:
        file.truncate(3 * PIECE)
    assert held(begun) == [0]


@pytest.mark.parametrize("record", [struct.pack("<II", 6, 0), struct.pack("<II", 2**32 - 1, 0), struct.pack("<II", 1, 0)])
def test_a_record_of_what_is_not_there(begun: Path, record: bytes) -> None:
    """A sum over nothing is no piece, and neither is one beyond the end."""
    with (begun / f"{KEY}.journal").open("ab") as file:
        file.write(record)
    assert held(begun) == [0, 3, 5]


def test_a_journal_of_another_file(begun: Path) -> None:
    """Of another size: what lies in the file is taken as a beginning, for the digest to decide."""
    pieces = PieceFile(begun, KEY, SIZE - PIECE, check=nothing)
    assert pieces.origin is None
    pieces.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(journal=st.binary(max_size=300))
def test_any_bytes_as_a_journal(begun: Path, journal: bytes) -> None:
    """None of them is an error, and with a digest the result is right or begins anew."""
    (begun / f"{KEY}.journal").write_bytes(journal)
    open_pieces(begun).close()


# --- claims ----------------------------------------------------------------------------------------------------------------


class Sized:
    """Pieces of a file of any size, none of which is kept."""

    def __init__(self, held: bytes) -> None:
        self.held = bytearray(held)
        self.origin: tuple[str, str] | None = None
        self.most = 0

    def begin(self, url: str, validator: str | None) -> None:
        """Note nothing."""

    def put(self, offset: int, data: memoryview) -> None:
        """Keep nothing."""

    def done(self, piece: int, crc: int) -> None:  # noqa: ARG002 - the protocol's
        """Note that it is there."""
        assert not self.held[piece], "brought twice"
        self.held[piece] = 1

    def load(self, offset: int, count: int) -> bytes:  # noqa: ARG002 - the protocol's
        """Give zeros."""
        return bytes(count)

    def restart(self) -> None:
        """Drop everything."""
        self.held = bytearray(len(self.held))

    def let_go(self, piece: int) -> None:
        """Note nothing."""

    def close(self) -> None:
        """Do nothing."""


@settings(max_examples=100, deadline=None)
@given(there=st.binary(min_size=1, max_size=120).map(lambda raw: bytes(byte & 1 for byte in raw)), data=st.data())
def test_claims_cover_what_is_missing_and_never_overlap(there: bytes, data: st.DataObject) -> None:
    """Whatever is there, however many connections, whoever gives up: each piece is brought once."""
    connections = data.draw(st.integers(1, 16))
    pieces = Sized(there)
    size = len(there) * PIECE
    open_claims: list[Claim] = []
    with Assembly(artifact(), size, pieces, check=nothing, connections=connections) as assembly:
        while not assembly.is_whole:
            claim = assembly.claim(patient=False) if len(open_claims) < connections else None
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
    with Assembly(artifact(), 100 * PIECE, pieces, check=nothing, connections=2, window=WINDOW) as assembly:
        claimed = 0
        while assembly.unclaimed > 100 - WINDOW // PIECE:
            claim = assembly.claim(patient=True)
            assert claim is not None
            claimed += claim.end - claim.position
            assert claim.end <= WINDOW
        assert claimed == WINDOW


def test_a_claim_of_the_old_version(tmp_path: Path) -> None:
    """After a restart its bytes are refused, and those it had brought are given back to the count."""
    with Assembly.on_disk(tmp_path, artifact(), SIZE, check=nothing, connections=2) as assembly:
        claim = assembly.claim(patient=False)
        assert claim is not None
        claim.write(CONTENT[: PIECE + 10])
        assert assembly.restart(claim.generation) == PIECE
        assert assembly.restart(claim.generation) is None
        with pytest.raises(UpstreamChangedError):
            claim.write(CONTENT[PIECE + 10 : PIECE + 20])
        assert claim.give_back() == 10
        assert assembly.have == 0


def test_the_whole(tmp_path: Path) -> None:
    """It is sealed with its SHA-256; a failure of one address is forgotten for the next, an end is not."""
    with Assembly.on_disk(tmp_path, artifact(), SIZE, check=nothing, connections=2) as assembly:
        assembly.fail(RemoteUnavailableError("one address"))
        with pytest.raises(RemoteUnavailableError):
            assembly.claim(patient=True)
        assembly.recover()
        while (claim := assembly.claim(patient=False)) is not None:
            claim.write(CONTENT[claim.position : claim.end])
        assert assembly.seal() == hashlib.sha256(CONTENT).hexdigest()
        assembly.end(RemoteUnavailableError("all of them"))
        assembly.recover()
        with pytest.raises(RemoteUnavailableError):
            assembly.claim(patient=True)


def test_wrong_bytes(tmp_path: Path) -> None:
    """They are found out, dropped, and not resumed by the next run."""
    with Assembly.on_disk(tmp_path, artifact(), SIZE, check=nothing, connections=1) as assembly:
        while (claim := assembly.claim(patient=False)) is not None:
            claim.write(bytes(claim.end - claim.position))
        with pytest.raises(DigestMismatchError):
            assembly.seal()
        assert assembly.have == 0
    with Assembly.on_disk(tmp_path, artifact(), SIZE, check=nothing, connections=1) as assembly:
        assert assembly.have == 0
    assert pieces_module.number_of_pieces(SIZE) == 6
