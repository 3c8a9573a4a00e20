"""Pieces and their journal: after a death just those count that were written down and are right, whatever else lies there."""

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
    """Stands for the death of the process: nothing after it happens."""


def nothing() -> None:
    """Look whether the run must end: never."""


def open_pieces(folder: Path, size: int = SIZE) -> PieceFile:
    """Open what is there."""
    return PieceFile(folder, KEY, size, check_cancelled=nothing)


def content_of(number: int) -> bytes:
    """Return the right bytes of a piece."""
    return CONTENT[number * PIECE : (number + 1) * PIECE]


def put(pieces: PieceFile | PieceMemory, *numbers: int) -> None:
    """Bring some pieces."""
    for number in numbers:
        data = content_of(number)
        pieces.write(number * PIECE, memoryview(data[:1000]))
        pieces.write(number * PIECE + 1000, memoryview(data[1000:]))
        pieces.complete(number, zlib.crc32(data))


def journal_of(folder: Path) -> Path:
    """Return the journal's path."""
    return folder / f"{KEY}.journal"


def file_of(folder: Path) -> Path:
    """Return the path of the pieces."""
    return folder / f"{KEY}.part"


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """Return a directory where a run died that had brought pieces 0, 3 and the last one."""
    pieces = open_pieces(tmp_path)
    pieces.record_origin(URL, '"one"')
    put(pieces, 0, 3, 5)
    pieces.close()
    return tmp_path


def held(folder: Path, size: int = SIZE) -> list[int]:
    """Return the pieces that the next run believes."""
    pieces = open_pieces(folder, size)
    try:
        return [number for number, there in enumerate(pieces.held) if there]
    finally:
        pieces.close()


def test_numbers_of_pieces() -> None:
    """The last one may be shorter."""
    sizes = [0, 1, PIECE - 1, PIECE, PIECE + 1, SIZE]
    assert [number_of_pieces(size) for size in sizes] == [0, 1, 1, 1, 2, 6]


# --- after a death -----------------------------------------------------------------------------------------------------------


def test_what_a_dead_run_had_brought(begun: Path) -> None:
    """All of it is there, and where it was from."""
    pieces = open_pieces(begun)
    assert list(pieces.held) == [1, 0, 0, 1, 0, 1]
    assert pieces.origin == (URL, '"one"')
    assert pieces.read(3 * PIECE, PIECE) == content_of(3)
    assert pieces.read(5 * PIECE, PIECE) == content_of(5)
    pieces.close()


def test_a_piece_that_was_not_written_down(begun: Path) -> None:
    """Bytes alone are nothing: the death came before the record."""
    pieces = open_pieces(begun)
    pieces.write(PIECE, memoryview(content_of(1)))
    pieces.close()
    assert held(begun) == [0, 3, 5]


@pytest.mark.parametrize("cut", range(1, 9))
def test_a_torn_record(begun: Path, cut: int) -> None:
    """A death while the last record was written costs that piece, and what is appended later is read right."""
    journal = journal_of(begun)
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
    with file_of(begun).open("r+b") as file:
        file.seek(piece * PIECE + 500)
        file.write(b"\0\0\0\0")
    assert held(begun) == [number for number in (0, 3, 5) if number != piece]


def test_a_shorter_file(begun: Path) -> None:
    """Records of pieces that lie behind the file's end are not believed."""
    with file_of(begun).open("r+b") as file:
        file.truncate(3 * PIECE)
    assert held(begun) == [0]


def test_a_journal_without_its_file(begun: Path) -> None:
    """It speaks of nothing that is there."""
    file_of(begun).unlink()
    assert held(begun) == []
    pieces = open_pieces(begun)
    put(pieces, 2)
    pieces.close()
    assert held(begun) == [2]


@pytest.mark.parametrize("record", [struct.pack("<II", 6, 0), struct.pack("<II", 2**32 - 1, 0), struct.pack("<II", 1, 0)])
def test_a_record_of_what_is_not_there(begun: Path, record: bytes) -> None:
    """A sum over nothing is no piece, and neither is one beyond the end."""
    with journal_of(begun).open("ab") as file:
        file.write(record)
    assert held(begun) == [0, 3, 5]


def test_another_source_goes_on(begun: Path) -> None:
    """The pieces stay, and the journal says from now on where the next ones are from."""
    pieces = open_pieces(begun)
    pieces.record_origin(MIRROR, '"two"')
    put(pieces, 1)
    pieces.close()
    assert held(begun) == [0, 1, 3, 5]
    pieces = open_pieces(begun)
    assert pieces.origin == (MIRROR, '"two"')
    pieces.close()


def test_a_death_while_another_source_is_noted(begun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal is replaced as a whole: at no moment does it speak of fewer pieces than are there."""
    write = write_atomic

    def write_and_die(path: Path, data: Any, **options: Any) -> None:
        write(path, data, **options)
        raise KilledError

    pieces = open_pieces(begun)
    monkeypatch.setattr(journal_module, "write_atomic", write_and_die)
    with pytest.raises(KilledError):
        pieces.record_origin(MIRROR, '"two"')
    pieces.close()
    monkeypatch.undo()
    assert held(begun) == [0, 3, 5]


def test_a_death_while_everything_is_dropped(begun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal forgets first; the bytes that lie there still are nobody's."""
    write = write_atomic

    def write_and_die(path: Path, data: Any, **options: Any) -> None:
        write(path, data, **options)
        raise KilledError

    pieces = open_pieces(begun)
    monkeypatch.setattr(journal_module, "write_atomic", write_and_die)
    with pytest.raises(KilledError):
        pieces.restart()
    pieces.close()
    monkeypatch.undo()
    assert held(begun) == []


def test_dropped(begun: Path) -> None:
    """Neither bytes nor origin are left; what is put afterwards counts."""
    pieces = open_pieces(begun)
    pieces.restart()
    assert (sum(pieces.held), pieces.origin, file_of(begun).stat().st_size) == (0, None, 0)
    put(pieces, 4)
    pieces.close()
    assert held(begun) == [4]


# --- journals that say nothing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, PIECE, 3 * PIECE + 5, SIZE])
def test_a_file_without_a_journal(tmp_path: Path, length: int) -> None:
    """A single connection wrote it from its front: its whole pieces count, and from now on there is a journal."""
    tmp_path.mkdir(exist_ok=True)
    file_of(tmp_path).write_bytes(CONTENT[:length])
    expected = list(range(6 if length == SIZE else length // PIECE))
    assert held(tmp_path) == expected
    assert journal_of(tmp_path).exists()
    assert held(tmp_path) == expected


@pytest.mark.parametrize("journal", [True, False])
def test_a_file_that_is_too_long(begun: Path, *, journal: bool) -> None:
    """What lies behind the end is cut off: it would be published with the rest."""
    file_of(begun).write_bytes(CONTENT + b"and more")
    if not journal:
        journal_of(begun).unlink()
    pieces = open_pieces(begun)
    put(pieces, *[number for number, there in enumerate(pieces.held) if not there])
    pieces.move_to(begun / "tree" / "f.bin")
    assert (begun / "tree" / "f.bin").read_bytes() == CONTENT


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
def test_a_journal_that_says_nothing(begun: Path, journal: bytes) -> None:
    """Ranges were written there, with holes between them: without the journal nobody knows which, so none is believed."""
    journal_of(begun).write_bytes(journal)
    pieces = open_pieces(begun)
    assert (sum(pieces.held), pieces.origin) == (0, None)
    put(pieces, 2)
    pieces.close()
    assert held(begun) == [2]


@pytest.mark.parametrize("origin", [{}, {"url": URL}, {"validator": '"one"'}, {"url": URL, "validator": None}])
def test_a_journal_without_an_origin(begun: Path, origin: dict[str, Any]) -> None:
    """The pieces count, and where they are from is not known."""
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
    """Return a directory with the bytes of pieces 0, 3 and 5, and holes."""
    folder = tmp_path_factory.mktemp("there")
    with file_of(folder).open("wb") as file:
        for number in (0, 3, 5):
            file.seek(number * PIECE)
            file.write(content_of(number))
    return folder


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(journal=JOURNALS)
def test_any_bytes_as_a_journal(there: Path, journal: bytes) -> None:
    """None of them is an error, and no piece is believed whose bytes are not those that a record speaks of."""
    journal_of(there).write_bytes(journal)
    records = {journal[at : at + 8] for at in range(len(journal))}
    pieces = open_pieces(there)
    try:
        for number in [number for number, believed in enumerate(pieces.held) if believed]:
            data = pieces.read(number * PIECE, PIECE)
            assert struct.pack("<II", number, zlib.crc32(data)) in records
    finally:
        pieces.close()


# --- the disk ----------------------------------------------------------------------------------------------------------------


def test_told_to_stop_while_taking_stock(begun: Path) -> None:
    """Many pieces take their time to be read: somebody looks between them, and nothing is lost for it."""

    def stop() -> None:
        raise InterruptedBySignal(15)

    with pytest.raises(InterruptedBySignal):
        PieceFile(begun, KEY, SIZE, check_cancelled=stop)
    assert held(begun) == [0, 3, 5]


@pytest.mark.parametrize("path", [file_of, journal_of])
def test_a_folder_in_the_way(tmp_path: Path, path: Any) -> None:
    """An error of ours."""
    path(tmp_path).mkdir()
    with pytest.raises(VolumeError):
        open_pieces(tmp_path)


def test_a_record_that_is_written_in_two_goes(begun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system may take fewer bytes than it was given; the rest follows, and no later record is shifted."""
    write = os.write
    pieces = open_pieces(begun)
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, bytes(data)[:3]))
    put(pieces, 1, 2)
    monkeypatch.undo()
    pieces.close()
    assert held(begun) == [0, 1, 2, 3, 5]


def test_removed_and_moved(begun: Path) -> None:
    """Either way nothing is left in staging."""
    pieces = open_pieces(begun)
    put(pieces, 1, 2, 4)
    pieces.move_to(begun / "tree" / "d" / "f.bin")
    assert hashlib.sha256((begun / "tree" / "d" / "f.bin").read_bytes()).digest() == hashlib.sha256(CONTENT).digest()
    assert [path.name for path in begun.iterdir()] == ["tree"]
    pieces = open_pieces(begun)
    put(pieces, 1)
    pieces.drop()
    assert [path.name for path in begun.iterdir()] == ["tree"]


# --- in memory ---------------------------------------------------------------------------------------------------------------


def test_a_window() -> None:
    """Pieces are held until they are let go, and no longer."""
    window = PieceMemory(SIZE)
    window.record_origin(URL, '"one"')
    put(window, 0, 3, 5)
    assert (list(window.held), window.origin) == ([1, 0, 0, 1, 0, 1], (URL, '"one"'))
    assert window.read(3 * PIECE + 10, 100) == content_of(3)[10:110]
    assert window.read(5 * PIECE, PIECE) == content_of(5)
    window.discard_before(3)
    assert window.read(0, 100) == b""
    assert window.read(3 * PIECE, PIECE) == content_of(3)
    window.restart()
    assert (sum(window.held), window.origin) == (0, None)
    # Whoever was about to read when everything was dropped finds nothing, as at a file's end.
    assert window.read(3 * PIECE, PIECE) == b""


def test_a_window_does_not_know_where_bytes_without_a_validator_are_from() -> None:
    """Nobody could ask for more of the same."""
    window = PieceMemory(SIZE)
    window.record_origin(URL, '"one"')
    window.record_origin(URL, None)
    assert window.origin is None
