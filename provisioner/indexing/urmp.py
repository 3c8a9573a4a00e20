"""URMP: a directory for each piece, with the mix, each part by itself, and for each part its notes and frequencies."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Final

from provisioner.indexing.model import INTEGER, NUMBERS, TEXT, TEXTS, Column, Problem, Reader, ReaderError, Row, records
from provisioner.indexing.tables import lines

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from provisioner.indexing.model import Found

_INSTRUMENTS: Final = {
    "vn": "violin", "va": "viola", "vc": "cello", "db": "double bass", "fl": "flute", "ob": "oboe", "cl": "clarinet",
    "sax": "saxophone", "bn": "bassoon", "tpt": "trumpet", "hn": "horn", "tbn": "trombone", "tba": "tuba",
}  # fmt: skip
_PIECE: Final = re.compile(r"(\d+_[^_]+)((?:_[a-z]+)+)")
"""For example ``01_Jupiter_vn_vc``: number and title, and the instrument of each part."""
_TOPS: Final = ("", "Dataset/")
"""Some copies have a directory around the pieces."""
_KINDS: Final = ("AuSep_", "AuMix_", "Notes_", "Vid_")
_PART: Final = re.compile(r"(AuSep|F0s|Notes)_(\d+)_.*\.(?:wav|txt)")


def _pieces(tree: Path) -> dict[str, list[str]]:
    """Return the names in the directory of each piece."""
    tops = [top for top in _TOPS if (tree / top).is_dir()]
    found = sorted(f"{top}{name}" for top in tops for name in os.listdir(tree / top) if _PIECE.fullmatch(name))
    return {piece: os.listdir(tree / piece) for piece in found if (tree / piece).is_dir()}


def _pieces_among(files: Collection[str]) -> dict[str, list[str]]:
    """Return the same for a tree of which not all files are here."""
    found: dict[str, list[str]] = {}
    for path in sorted(files):
        piece, _, name = path.rpartition("/")
        if any(piece.startswith(top) and _PIECE.fullmatch(piece, len(top)) for top in _TOPS):
            found.setdefault(piece, []).append(name)
    return dict(sorted(found.items()))


def _recognizes(tree: Path) -> bool:
    return any(name.startswith(_KINDS) for names in list(_pieces(tree).values())[:1] for name in names)


def _recognizes_paths(files: Collection[str]) -> bool:
    return any(name.startswith(_KINDS) for names in list(_pieces_among(files).values())[:1] for name in names)


def _read(tree: Path) -> Iterator[Found]:
    return _rows(tree, _pieces(tree))


def _read_tables(tree: Path, files: Collection[str]) -> Iterator[Found]:
    return _rows(tree, _pieces_among(files))


def _rows(tree: Path, pieces: Mapping[str, Collection[str]]) -> Iterator[Found]:
    for piece, listed in pieces.items():
        match = _PIECE.fullmatch(piece.rpartition("/")[2])
        if match is None:
            continue
        names = sorted(listed)
        codes = match[2].strip("_").split("_")
        instruments = [_INSTRUMENTS.get(code, code) for code in codes]
        common: dict[str, Any] = {"piece": match[1], "instruments": instruments}
        for kind, column in (("Sco", "score"), ("Vid", "video")):
            suffix = ".mid" if kind == "Sco" else ".mp4"
            file = next((name for name in names if name.startswith(f"{kind}_") and name.endswith(suffix)), None)
            common[column] = f"{piece}/{file}" if file else None
        yield from _parts(tree, piece, names, codes, common)
        for name in names:
            if name.startswith("AuMix_") and name.endswith(".wav"):
                yield Row("mix", f"{piece}/{name}", common)


def _parts(tree: Path, piece: str, names: list[str], codes: list[str], common: dict[str, Any]) -> Iterator[Found]:
    """Yield the rows of a piece's parts; instruments come from the directory, since file names are wrong in one piece."""
    files: dict[int, dict[str, str]] = {}
    for name in names:
        if part := _PART.fullmatch(name):
            files.setdefault(int(part[2]), {})[part[1]] = f"{piece}/{name}"
    if not any("AuSep" in kinds for kinds in files.values()):
        return  # the split with the tracks was not requested
    for number, kinds in sorted(files.items()):
        if "AuSep" not in kinds:
            # It is missing, or a part by rule leaves it out; the index builder knows which.
            notes = next(iter(kinds.values()))
            stem = notes.removeprefix(f"{piece}/").removesuffix(".txt").partition("_")[2]
            yield Row("tracks", f"{piece}/AuSep_{stem}.wav", common | {"part": number})
            continue
        values = common | {"part": number}
        if 1 <= number <= len(codes):
            values["instrument"] = _INSTRUMENTS.get(codes[number - 1], codes[number - 1])
        for kind in ("Notes", "F0s"):
            if kind not in kinds:
                yield Problem(kinds["AuSep"], f"{kind} are missing")
                continue
            try:
                table = _numbers(tree, kinds[kind], 3 if kind == "Notes" else 2)
            except ReaderError as error:
                yield Problem(kinds[kind], str(error))
                continue
            if kind == "Notes":
                values["notes"] = [{"onset": onset, "frequency": tone, "duration": length} for onset, tone, length in table]
            else:
                values["f0_times"], values["f0"] = [row[0] for row in table], [row[1] for row in table]
        yield Row("tracks", kinds["AuSep"], values)


def _numbers(tree: Path, name: str, width: int) -> list[list[float]]:
    """Return a table of numbers.

    Raises:
        ReaderError: the file cannot be read, or is not such a table.
    """
    table = []
    for number, line in lines(tree, name):
        if not line.strip():
            continue
        try:
            row = [float(field) for field in line.split()]
        except ValueError:
            row = []
        if len(row) != width:
            raise ReaderError(f"line {number} has not {width} numbers")
        table.append(row)
    return table


READER: Final = Reader(
    "audio",
    (
        Column("piece", TEXT, "number and title, such as 01_Jupiter"),
        Column("instruments", TEXTS, "the instruments of the piece, in the order of its parts"),
        Column("part", INTEGER, "number of the part, from 1; null for the mix"),
        Column("instrument", TEXT, "the instrument of the part; null for the mix"),
        Column(
            "notes",
            records(onset="float64", frequency="float64", duration="float64"),
            "notes of the part: seconds, hertz, seconds; null for the mix",
        ),
        Column("f0_times", NUMBERS, "seconds of the frames of f0; null for the mix"),
        Column("f0", NUMBERS, "fundamental frequency in hertz, frame by frame, 0 where there is none; null for the mix"),
        Column("score", TEXT, "the MIDI file of the score, by its path in the data set"),
        Column("video", TEXT, "the video, by its path in the data set"),
    ),
    _recognizes,
    _read,
    _read_tables,
    recognizes_paths=_recognizes_paths,
)
