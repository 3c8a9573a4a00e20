"""Pieces, their journal, and how ranges are claimed: nothing is brought twice, nothing is believed that is not there."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.catalog.model import Digest, Size
from provisioner.errors import DigestMismatchError, RemoteUnavailableError, UpstreamChangedError
from provisioner.planning.recipe import Artifact
from provisioner.volume import pieces as pieces_module
from provisioner.volume.assembly import LARGEST_RANGE, Assembly
from provisioner.volume.pieces import PIECE, WINDOW
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
