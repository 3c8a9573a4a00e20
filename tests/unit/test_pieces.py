"""Pieces and their journal: after the process died, a piece counts only if it is in the journal and its bytes are right."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provisioner.errors import InterruptedBySignal, VolumeError
from provisioner.volume.fs.atomic import write_atomic
from provisioner.volume.staging import journal as journal_module
from provisioner.volume.staging.piece_file import PieceFile
from provisioner.volume.staging.piece_memory import PieceMemory
from provisioner.volume.staging.pieces import PIECE, number_of_pieces
from tests.support.media import noise

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 5 * PIECE + 1000
CONTENT = noise("a piece", PIECE) * 5 + noise("the end", 1000)
KEY = "0" * 64
URL = "https://files.example.org/f.bin"
MIRROR = "https://mirror.example.org/f.bin"
HEADER = {"version": 1, "size": SIZE, "piece": PIECE}


class KilledError(BaseException):
    """An exception that stands for the death of the process."""


def nothing() -> None:
    """Never cancel."""


def open_pieces(directory: Path, size: int = SIZE) -> PieceFile:
    """Open the pieces in a directory."""
    return PieceFile(directory, KEY, size, check_cancelled=nothing)


def content_of(number: int) -> bytes:
    """Return the right bytes of a piece."""
    return CONTENT[number * PIECE : (number + 1) * PIECE]


def write(pieces: PieceFile | PieceMemory, *numbers: int) -> None:
    """Write whole pieces."""
    for number in numbers:
        data = content_of(number)
        pieces.write(number * PIECE, memoryview(data[:1000]))
        pieces.write(number * PIECE + 1000, memoryview(data[1000:]))
        pieces.complete(number, zlib.crc32(data))


def journal_of(directory: Path) -> Path:
    """Return the journal's path."""
    return directory / f"{KEY}.journal"


def file_of(directory: Path) -> Path:
    """Return the path of the file of pieces."""
    return directory / f"{KEY}.part"


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """Return a directory where a run died after it had written pieces 0, 3 and 5, the last one."""
    pieces = open_pieces(tmp_path)
    pieces.record_origin(URL, '"one"')
    write(pieces, 0, 3, 5)
    pieces.close()
    return tmp_path


def held(directory: Path, size: int = SIZE) -> list[int]:
    """Return the numbers of the pieces that count for the next run."""
    pieces = open_pieces(directory, size)
    try:
        return [number for number, there in enumerate(pieces.held) if there]
    finally:
        pieces.close()


def test_numbers_of_pieces() -> None:
    """The last piece may be shorter than the others, and still counts."""
    sizes = [0, 1, PIECE - 1, PIECE, PIECE + 1, SIZE]
    assert [number_of_pieces(size) for size in sizes] == [0, 1, 1, 1, 2, 6]


# --- after a death -----------------------------------------------------------------------------------------------------------


def test_pieces_survive_a_death(begun: Path) -> None:
    """After a death, all pieces and their origin are known."""
    pieces = open_pieces(begun)
    assert list(pieces.held) == [1, 0, 0, 1, 0, 1]
    assert pieces.origin == (URL, '"one"')
    assert pieces.read(3 * PIECE, PIECE) == content_of(3)
    assert pieces.read(5 * PIECE, PIECE) == content_of(5)
    pieces.close()


def test_a_piece_without_a_record(begun: Path) -> None:
    """A piece whose record was not written before the death does not count."""
    pieces = open_pieces(begun)
    pieces.write(PIECE, memoryview(content_of(1)))
    pieces.close()
    assert held(begun) == [0, 3, 5]


@pytest.mark.parametrize("cut", range(1, 9))
def test_a_record_that_was_written_in_part(begun: Path, cut: int) -> None:
    """A record that was written only in part costs its piece; records that are appended later are read right."""
    journal = journal_of(begun)
    with journal.open("r+b") as file:
        file.truncate(journal.stat().st_size - cut)
    assert held(begun) == [0, 3]
    pieces = open_pieces(begun)
    write(pieces, 1)
    pieces.close()
    assert held(begun) == [0, 1, 3]


@pytest.mark.parametrize("piece", [0, 3, 5])
def test_a_piece_with_other_bytes(begun: Path, piece: int) -> None:
    """A piece that a power cut took, but not its record, does not count: its CRC is wrong."""
    with file_of(begun).open("r+b") as file:
        file.seek(piece * PIECE + 500)
        file.write(b"\0\0\0\0")
    assert held(begun) == [number for number in (0, 3, 5) if number != piece]


def test_a_shorter_file(begun: Path) -> None:
    """Pieces behind the end of the file do not count, whatever the journal says."""
    with file_of(begun).open("r+b") as file:
        file.truncate(3 * PIECE)
    assert held(begun) == [0]


def test_a_journal_without_its_file(begun: Path) -> None:
    """Without the file, no piece counts, whatever the journal says."""
    file_of(begun).unlink()
    assert held(begun) == []
    pieces = open_pieces(begun)
    write(pieces, 2)
    pieces.close()
    assert held(begun) == [2]


@pytest.mark.parametrize("record", [struct.pack("<II", 6, 0), struct.pack("<II", 2**32 - 1, 0), struct.pack("<II", 1, 0)])
def test_a_record_of_a_missing_piece(begun: Path, record: bytes) -> None:
    """A record with the CRC of no bytes does not count, and neither does one beyond the last piece."""
    with journal_of(begun).open("ab") as file:
        file.write(record)
    assert held(begun) == [0, 3, 5]


def test_another_source_continues(begun: Path) -> None:
    """When another source continues, the pieces are kept and the journal has the new origin."""
    pieces = open_pieces(begun)
    pieces.record_origin(MIRROR, '"two"')
    write(pieces, 1)
    pieces.close()
    assert held(begun) == [0, 1, 3, 5]
    pieces = open_pieces(begun)
    assert pieces.origin == (MIRROR, '"two"')
    pieces.close()


def test_a_death_while_another_origin_is_recorded(begun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal is replaced in one step: at no moment does it name fewer pieces than there are."""

    def write_and_die(path: Path, data: Any, **options: Any) -> None:
        write_atomic(path, data, **options)
        raise KilledError

    pieces = open_pieces(begun)
    monkeypatch.setattr(journal_module, "write_atomic", write_and_die)
    with pytest.raises(KilledError):
        pieces.record_origin(MIRROR, '"two"')
    pieces.close()
    monkeypatch.undo()
    assert held(begun) == [0, 3, 5]


def test_a_death_while_everything_is_dropped(begun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal is emptied before the file: after a death in between, no piece counts."""

    def write_and_die(path: Path, data: Any, **options: Any) -> None:
        write_atomic(path, data, **options)
        raise KilledError

    pieces = open_pieces(begun)
    monkeypatch.setattr(journal_module, "write_atomic", write_and_die)
    with pytest.raises(KilledError):
        pieces.restart()
    pieces.close()
    monkeypatch.undo()
    assert held(begun) == []


def test_a_restart(begun: Path) -> None:
    """After a restart neither bytes nor origin are left; pieces that are written afterwards count."""
    pieces = open_pieces(begun)
    pieces.restart()
    assert (sum(pieces.held), pieces.origin, file_of(begun).stat().st_size) == (0, None, 0)
    write(pieces, 4)
    pieces.close()
    assert held(begun) == [4]


# --- damaged journals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, PIECE, 3 * PIECE + 5, SIZE])
def test_a_file_without_a_journal(tmp_path: Path, length: int) -> None:
    """The whole pieces of a file without a journal count, because one connection wrote it from the front; it gets a journal."""
    tmp_path.mkdir(exist_ok=True)
    file_of(tmp_path).write_bytes(CONTENT[:length])
    expected = list(range(6 if length == SIZE else length // PIECE))
    assert held(tmp_path) == expected
    assert journal_of(tmp_path).exists()
    assert held(tmp_path) == expected


@pytest.mark.parametrize("journal", [True, False])
def test_a_file_that_is_too_long(begun: Path, *, journal: bool) -> None:
    """Bytes behind the end of the file are cut off, so that they are not published."""
    file_of(begun).write_bytes(CONTENT + b"and more")
    if not journal:
        journal_of(begun).unlink()
    pieces = open_pieces(begun)
    write(pieces, *[number for number, there in enumerate(pieces.held) if not there])
    pieces.move_to(lambda path: os.replace(path, begun / "f.bin"))
    assert (begun / "f.bin").read_bytes() == CONTENT


BAD_JOURNALS = [
    b"",
    b"\n",
    b"{",
    b"[]\n",
    b"null\n",
    b'"version"\n',
    b"[" * 99_999,
    b"\xff" * 100,
    b"9" * 9999 + b"\n",
    json.dumps(HEADER).encode()[:-1],
    json.dumps(HEADER).encode(),
    json.dumps({**HEADER, "version": 2}).encode() + b"\n",
    json.dumps({**HEADER, "piece": 2 * PIECE}).encode() + b"\n",
    json.dumps({**HEADER, "size": SIZE - PIECE}).encode() + b"\n",
]


@pytest.mark.parametrize("journal", BAD_JOURNALS)
def test_a_damaged_journal(begun: Path, journal: bytes) -> None:
    """With a damaged journal no piece counts, because the file has holes in unknown places."""
    journal_of(begun).write_bytes(journal)
    pieces = open_pieces(begun)
    assert (sum(pieces.held), pieces.origin) == (0, None)
    write(pieces, 2)
    pieces.close()
    assert held(begun) == [2]


@pytest.mark.parametrize("origin", [{}, {"url": URL}, {"validator": '"one"'}, {"url": URL, "validator": None}])
def test_a_journal_without_an_origin(begun: Path, origin: dict[str, Any]) -> None:
    """Pieces count without an origin; it is unknown."""
    records = journal_of(begun).read_bytes().partition(b"\n")[2]
    journal_of(begun).write_bytes(json.dumps({**HEADER, **origin}).encode() + b"\n" + records)
    pieces = open_pieces(begun)
    assert (list(pieces.held), pieces.origin) == ([1, 0, 0, 1, 0, 1], None)
    pieces.close()


RECORDS = st.tuples(st.integers(0, 2**32 - 1) | st.integers(0, 6), st.integers(0, 2**32 - 1)).map(
    lambda record: struct.pack("<II", *record)
)
TRUE_RECORDS = st.integers(0, 5).map(lambda number: struct.pack("<II", number, zlib.crc32(content_of(number))))
HEADERS = st.fixed_dictionaries(
    {"version": st.sampled_from([1, 1, 2, None]), "size": st.sampled_from([SIZE, SIZE, 5]), "piece": st.just(PIECE)},
    optional={"url": st.text() | st.none(), "validator": st.text() | st.integers()},
).map(lambda header: json.dumps(header).encode() + b"\n")
JOURNALS = st.binary(max_size=300) | st.builds(
    lambda header, records, rest: header + b"".join(records) + rest,
    HEADERS,
    st.lists(RECORDS | TRUE_RECORDS, max_size=20),
    st.binary(max_size=9),
)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with a file that has pieces 0, 3 and 5, and holes between them."""
    directory = tmp_path_factory.mktemp("there")
    with file_of(directory).open("wb") as file:
        for number in (0, 3, 5):
            file.seek(number * PIECE)
            file.write(content_of(number))
    return directory


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(journal=JOURNALS)
def test_any_bytes_as_a_journal(there: Path, journal: bytes) -> None:
    """No journal is an error, and no piece counts unless a record has the CRC of its bytes."""
    journal_of(there).write_bytes(journal)
    records = {journal[at : at + 8] for at in range(len(journal))}
    pieces = open_pieces(there)
    try:
        for number in [number for number, there in enumerate(pieces.held) if there]:
            data = pieces.read(number * PIECE, PIECE)
            assert struct.pack("<II", number, zlib.crc32(data)) in records
    finally:
        pieces.close()


# --- the disk ----------------------------------------------------------------------------------------------------------------


def test_cancelled_while_opening(begun: Path) -> None:
    """Cancellation ends the reading of existing pieces, which are kept."""

    def stop() -> None:
        raise InterruptedBySignal(15)

    with pytest.raises(InterruptedBySignal):
        PieceFile(begun, KEY, SIZE, check_cancelled=stop)
    assert held(begun) == [0, 3, 5]


@pytest.mark.parametrize("path", [file_of, journal_of])
def test_a_directory_in_the_way(tmp_path: Path, path: Any) -> None:
    """A directory in place of the file or of its journal is an error of the volume."""
    path(tmp_path).mkdir()
    with pytest.raises(VolumeError):
        open_pieces(tmp_path)


def test_a_record_that_is_written_in_two_steps(begun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the system writes only a part of a record, the rest follows, and later records are read right."""
    os_write = os.write
    pieces = open_pieces(begun)
    monkeypatch.setattr(os, "write", lambda handle, data: os_write(handle, bytes(data)[:3]))
    write(pieces, 1, 2)
    monkeypatch.undo()
    pieces.close()
    assert held(begun) == [0, 1, 2, 3, 5]


def test_dropped_and_moved(begun: Path) -> None:
    """Nothing is left in staging after the pieces were dropped or moved into a tree."""
    pieces = open_pieces(begun)
    write(pieces, 1, 2, 4)
    pieces.move_to(lambda path: os.replace(path, begun / "f.bin"))
    assert hashlib.sha256((begun / "f.bin").read_bytes()).digest() == hashlib.sha256(CONTENT).digest()
    assert [path.name for path in begun.iterdir()] == ["f.bin"]
    pieces = open_pieces(begun)
    write(pieces, 1)
    pieces.drop()
    assert [path.name for path in begun.iterdir()] == ["f.bin"]


# --- in memory ---------------------------------------------------------------------------------------------------------------


def test_pieces_in_memory() -> None:
    """Pieces are in memory until they are discarded."""
    pieces = PieceMemory(SIZE)
    pieces.record_origin(URL, '"one"')
    write(pieces, 0, 3, 5)
    assert (list(pieces.held), pieces.origin) == ([1, 0, 0, 1, 0, 1], (URL, '"one"'))
    assert pieces.read(3 * PIECE + 10, 100) == content_of(3)[10:110]
    assert pieces.read(5 * PIECE, PIECE) == content_of(5)
    pieces.discard_before(3)
    assert pieces.read(0, 100) == b""
    assert pieces.read(3 * PIECE, PIECE) == content_of(3)
    pieces.restart()
    assert (sum(pieces.held), pieces.origin) == (0, None)
    # A thread that reads after everything was dropped gets no bytes, as at the end of a file.
    assert pieces.read(3 * PIECE, PIECE) == b""


def test_no_origin_without_a_validator() -> None:
    """Without a validator the bytes have no origin: more bytes of the same version could not be asked for."""
    pieces = PieceMemory(SIZE)
    pieces.record_origin(URL, '"one"')
    pieces.record_origin(URL, None)
    assert pieces.origin is None
