"""A file of which only parts arrive: what is asked for, and when that is all."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from provisioner.catalog.artifact import Artifact
from provisioner.catalog.digest import Digest
from provisioner.catalog.size import Size
from provisioner.errors import UpstreamChangedError
from provisioner.volume.staging.partial_file import NEAR, PartialFile
from provisioner.volume.staging.pieces import number_of_pieces, small_piece
from tests.support.media import noise
from tests.support.program import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from provisioner.volume.staging.claims import Claim

PIECE = 16 << 10
SIZE = 100 * PIECE + 77
CONTENT = noise("a part", SIZE)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[PartialFile]:
    """Return a file of which nothing is here."""
    artifact = Artifact("x.zip", ("https://x.example.org/x.zip",), Size(SIZE), Digest("sha1", "0" * 40), "zip", "", "catalog")
    with PartialFile.in_staging(tmp_path, artifact, SIZE, check_cancelled=lambda: None, connections=lambda: 1) as file:
        yield file


def claims(file: PartialFile) -> list[tuple[int, int]]:
    """Return the numbers of the pieces that can be claimed, as ranges."""
    found: list[Claim] = []
    while (claim := file.claim(wait=False)) is not None:
        found.append(claim)
    return [(claim.position // PIECE, -(-claim.end // PIECE)) for claim in found]


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([], []),
        ([(0, 1)], [(0, 1)]),
        ([(PIECE - 1, PIECE + 1)], [(0, 2)]),
        ([(0, 10), (10, 20)], [(0, 1)]),
        ([(0, PIECE), (PIECE + NEAR, PIECE + NEAR + 1)], [(0, 4)]),
        ([(0, PIECE), (PIECE + NEAR + PIECE, 5 * PIECE)], [(0, 1), (4, 5)]),
        ([(50 * PIECE, SIZE)], [(50, 101)]),
    ],
)
def test_what_is_fetched(file: PartialFile, spans: list[tuple[int, int]], expected: list[tuple[int, int]]) -> None:
    """Only pieces that were asked for can be claimed; a small gap between two ranges comes with them."""
    file.expect(0, spans)
    assert claims(file) == expected
    assert claims(file) == []


def test_it_is_whole_when_nothing_is_on_its_way(file: PartialFile) -> None:
    """After the reader has all that it needs, what other connections are fetching is still waited for: they may find a change."""
    reader = file.reader()
    reader.expect([(0, PIECE), (50 * PIECE, 51 * PIECE)])
    first, second = file.claim(wait=False), file.claim(wait=False)
    assert first
    assert second
    file.record_origin("u", '"1"', 0)
    first.write(CONTENT[:PIECE])
    assert reader.read_at(5, 10) == CONTENT[5:15]
    thread = threading.Thread(target=reader.wait_sealed)
    thread.start()
    wait_until(lambda: file._is_read, "the reader to need no more")
    assert not file.is_whole
    second.write(CONTENT[50 * PIECE : 51 * PIECE])
    assert file.is_whole
    assert file.claim(wait=True) is None
    assert file.seal() == ""
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_change_while_the_last_range_comes(file: PartialFile) -> None:
    """A change drops what was asked for with what has arrived: the next reader asks anew."""
    reader = file.reader()
    reader.expect([(0, PIECE)])
    assert file.claim(wait=False)
    assert file.restart(0) == 0
    with pytest.raises(UpstreamChangedError):
        reader.wait_sealed()
    with pytest.raises(UpstreamChangedError):
        reader.expect([(0, 1)])
    assert claims(file) == []
    file.reader().expect([(3 * PIECE, 4 * PIECE)])
    assert claims(file) == [(3, 4)]


def test_what_was_asked_for_is_asked_of_the_next_url(file: PartialFile) -> None:
    """Where another URL takes over, it is asked for what is missing, and for no more."""
    file.expect(0, [(0, PIECE), (50 * PIECE, 51 * PIECE)])
    claim = file.claim(wait=False)
    assert claim
    claim.write(CONTENT[:PIECE])
    file.claim_all()
    file.recover()
    assert claims(file) == [(50, 51)]


@pytest.mark.parametrize(("size", "expected"), [(1, 1 << 14), (1 << 35, 1 << 14), ((1 << 35) + 1, 1 << 15), (100 << 30, 1 << 16)])
def test_pieces_grow_with_the_file(size: int, expected: int) -> None:
    """There are never more than two million pieces, each of which takes memory."""
    assert small_piece(size) == expected
    assert number_of_pieces(size, small_piece(size)) <= 1 << 21
