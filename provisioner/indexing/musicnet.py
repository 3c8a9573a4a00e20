"""MusicNet: a table of recordings, and for each recording a table of its notes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from provisioner.indexing.model import NUMBER, TEXT, Column, Problem, Reader, ReaderError, Row, records
from provisioner.indexing.tables import csv_records

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from provisioner.indexing.model import Found

_TOP: Final = "musicnet"
_METADATA: Final = "musicnet_metadata.csv"
_TEXTS: Final = ("composer", "composition", "movement", "ensemble", "source", "transcriber", "catalog_name")


def _recognizes(tree: Path) -> bool:
    return (tree / _TOP / "train_labels").is_dir() or (tree / _TOP / "test_labels").is_dir()


def _read(tree: Path) -> Iterator[Found]:
    facts: dict[str, dict[str, Any]] = {}
    if (tree / _METADATA).is_file():
        for record in csv_records(tree, _METADATA):
            if isinstance(record, Problem):
                yield record
                continue
            values: dict[str, Any] = {name: record.get(name) or None for name in _TEXTS}
            facts[record.get("id", "")] = values | {"seconds": _number(record.get("seconds", ""))}
    else:
        yield Problem(_METADATA, "missing")
    scores = _scores(tree)
    for split in ("train", "test"):
        for name in _recordings(tree, split):
            file = f"{_TOP}/{split}_data/{name}.wav"
            if name not in facts:
                yield Problem(file, f"not in {_METADATA}")
            notes: list[dict[str, Any]] | None = []
            for one in _notes(tree, f"{_TOP}/{split}_labels/{name}.csv"):
                if isinstance(one, Problem):
                    yield one
                    notes = None
                elif notes is not None:
                    notes.append(one)
            yield Row(split, file, {"id": name, "notes": notes, "score": scores.get(name), **facts.get(name, {})})


def _recordings(tree: Path, split: str) -> list[str]:
    """Return the ids of the recordings of a split, including those with labels but no audio."""
    found = set()
    for directory, suffix in ((f"{split}_data", ".wav"), (f"{split}_labels", ".csv")):
        path = tree / _TOP / directory
        if path.is_dir():
            found |= {name.removesuffix(suffix) for name in os.listdir(path) if name.endswith(suffix)}
    return sorted(found, key=lambda name: (len(name), name))


def _notes(tree: Path, name: str) -> Iterator[dict[str, Any] | Problem]:
    """Yield the notes of a recording in the order of the file; after a problem they cannot be used."""
    try:
        for number, record in enumerate(csv_records(tree, name), 2):
            if isinstance(record, Problem):
                yield record
                return
            try:
                yield {
                    "start_time": int(record["start_time"]),
                    "end_time": int(record["end_time"]),
                    "instrument": int(record["instrument"]),
                    "note": int(record["note"]),
                    "start_beat": float(record["start_beat"]),
                    "end_beat": float(record["end_beat"]),
                    "note_value": record["note_value"],
                }
            except (KeyError, ValueError):
                yield Problem(f"{name}:{number}", "no note")
                return
    except ReaderError:
        yield Problem(name, "the notes cannot be read, or are missing")


def _scores(tree: Path) -> dict[str, str]:
    """Return the path of each recording's MIDI file in the tree, by the recording's id."""
    found: dict[str, str] = {}
    for directory, _, names in os.walk(tree / "musicnet_midis"):
        below = os.path.relpath(directory, tree).replace(os.sep, "/")
        found |= {name.partition("_")[0]: f"{below}/{name}" for name in sorted(names) if name.endswith(".mid")}
    return found


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


READER: Final = Reader(
    "audio",
    (
        Column("id", TEXT, "number of the recording"),
        Column("composer", TEXT, "its composer"),
        Column("composition", TEXT, "the work"),
        Column("movement", TEXT, "the movement of the work"),
        Column("ensemble", TEXT, "who plays, such as Solo Piano"),
        Column("source", TEXT, "where the recording is from: licences differ by source"),
        Column("transcriber", TEXT, "who made the score that the labels are from"),
        Column("catalog_name", TEXT, "number of the work in a catalogue"),
        Column("seconds", NUMBER, "duration, as the table has it"),
        Column(
            "notes",
            records(
                start_time="int64",
                end_time="int64",
                instrument="int64",
                note="int64",
                start_beat="float64",
                end_beat="float64",
                note_value="string",
            ),
            "every note: times in samples of 44.1 kHz, MIDI program and pitch, and the place in the score",
        ),
        Column("score", TEXT, "the MIDI file of the score, by its path in the data set"),
    ),
    _recognizes,
    _read,
)
