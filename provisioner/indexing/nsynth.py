"""NSynth: ``examples.json`` of each split is one JSON object, from the name of a note to what is known of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provisioner.indexing.model import INTEGER, TEXT, TEXTS, Column, Problem, Reader, Row, label
from provisioner.indexing.tables import json_members

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from provisioner.indexing.model import Found

_SPLITS: Final = ("train", "valid", "test")
_FAMILIES: Final = (
    "bass", "brass", "flute", "guitar", "keyboard", "mallet", "organ", "reed", "string", "synth_lead", "vocal",
)  # fmt: skip
_SOURCES: Final = ("acoustic", "electronic", "synthetic")
_NAMED: Final = {
    "note_str": "note_str",
    "note": "note",
    "instrument_str": "instrument_str",
    "instrument": "instrument",
    "pitch": "pitch",
    "velocity": "velocity",
    "instrument_family_str": "instrument_family",
    "instrument_source_str": "instrument_source",
    "qualities_str": "qualities",
}
"""The keys in the file, with the columns that they become."""


def _recognizes(tree: Path) -> bool:
    return any((tree / f"nsynth-{split}" / "examples.json").is_file() for split in _SPLITS)


def _read(tree: Path) -> Iterator[Found]:
    for split in _SPLITS:
        top = f"nsynth-{split}"
        if not (tree / top).is_dir():
            continue
        name = f"{top}/examples.json"
        for note, facts in json_members(tree, name):
            if isinstance(facts, dict):
                values = {column: facts.get(key) for key, column in _NAMED.items()}
                yield Row(split, f"{top}/audio/{note}.wav", values | {"note_str": note})
            else:
                yield Problem(f"{name}:{note}", "no JSON object")


READER: Final = Reader(
    "audio",
    (
        Column("note_str", TEXT, "name of the note: instrument, pitch and velocity"),
        Column("note", INTEGER, "number of the note"),
        Column("instrument_str", TEXT, "name of the instrument: family, source and number"),
        Column("instrument", INTEGER, "number of the instrument"),
        Column("pitch", INTEGER, "MIDI pitch, 0 to 127"),
        Column("velocity", INTEGER, "MIDI velocity, 0 to 127"),
        Column("instrument_family", label(*_FAMILIES), "family of the instrument"),
        Column("instrument_source", label(*_SOURCES), "how the instrument makes its sound"),
        Column("qualities", TEXTS, "qualities of the sound, such as bright or percussive"),
    ),
    _recognizes,
    _read,
)
