"""LibriTTS: a table of texts in each chapter (``*.trans.tsv``), beside files with the same texts; speakers in a table above."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from provisioner.indexing.model import INTEGER, TEXT, Column, Problem, Reader, ReaderError, Row, label
from provisioner.indexing.tables import lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from provisioner.indexing.model import Found

_TOP: Final = "LibriTTS"
_PARTS: Final = 4
"""Numbers in the name of an utterance: speaker, chapter, paragraph, sentence."""
_TEXT_FIELDS: Final = 3
_SPEAKER_FIELDS: Final = 5


def _splits(tree: Path) -> list[str]:
    try:
        names = sorted(os.listdir(tree / _TOP))
    except OSError:
        return []
    return [name for name in names if name.startswith(("dev-", "test-", "train-")) and (tree / _TOP / name).is_dir()]


def _recognizes(tree: Path) -> bool:
    return bool(_splits(tree))


def _read(tree: Path) -> Iterator[Found]:
    speakers: dict[str, dict[str, Any]] = {}
    for one in _speakers(tree):
        if isinstance(one, Problem):
            yield one
        else:
            speakers[one[0]] = one[1]
    for split in _splits(tree):
        for speaker in _names(tree, f"{_TOP}/{split}"):
            for chapter in _names(tree, f"{_TOP}/{split}/{speaker}"):
                yield from _chapter(tree, split, f"{_TOP}/{split}/{speaker}/{chapter}", speakers.get(speaker, {}))


def _names(tree: Path, directory: str) -> list[str]:
    """Return the names of the directories in a directory, in the order of their numbers."""
    with os.scandir(tree / directory) as found:
        names = [item.name for item in found if item.is_dir()]
    return sorted(names, key=lambda name: (len(name), name))


def _speakers(tree: Path) -> Iterator[tuple[str, dict[str, Any]] | Problem]:
    """Yield the facts about each speaker: ``speakers.tsv`` has headings, ``SPEAKERS.txt`` has comments and ``|``."""
    if (tree / _TOP / "SPEAKERS.txt").is_file():
        for number, line in lines(tree, f"{_TOP}/SPEAKERS.txt"):
            fields = [field.strip() for field in line.split("|", _SPEAKER_FIELDS - 1)]
            if line.startswith(";") or not line.strip():
                continue
            if len(fields) == _SPEAKER_FIELDS:
                speaker, sex, _, _, name = fields
                yield speaker, {"sex": sex or None, "speaker_name": name or None}
            else:
                yield Problem(f"{_TOP}/SPEAKERS.txt:{number}", f"{len(fields)} fields instead of {_SPEAKER_FIELDS}")
    if (tree / _TOP / "speakers.tsv").is_file():
        for number, line in lines(tree, f"{_TOP}/speakers.tsv"):
            fields = [field.strip() for field in line.split("\t")]
            if number == 1 or not line.strip():
                continue
            if len(fields) >= _SPEAKER_FIELDS - 1:
                speaker, sex, _, name = fields[:4]
                yield speaker, {"sex": sex or None, "speaker_name": name or None}
            else:
                yield Problem(f"{_TOP}/speakers.tsv:{number}", f"{len(fields)} fields instead of {_SPEAKER_FIELDS - 1}")


def _chapter(tree: Path, split: str, directory: str, speaker: Mapping[str, Any]) -> Iterator[Found]:
    """Yield the utterances of a chapter: those with audio, and those that are only in the table."""
    names = sorted(os.listdir(tree / directory))
    texts: dict[str, list[str]] = {}
    for table in (name for name in names if name.endswith(".trans.tsv")):
        for one in _texts(tree, f"{directory}/{table}"):
            if isinstance(one, Problem):
                yield one
            else:
                texts[one[0]] = one[1:]
    audio = {name[:-4] for name in names if name.endswith(".wav")}
    for name in sorted(audio | texts.keys()):
        file = f"{directory}/{name}.wav"
        parts = name.split("_")
        if len(parts) != _PARTS or not all(part.isascii() and part.isdigit() for part in parts):
            yield Problem(file, "its name has not four numbers")
            continue
        text, normalized = texts.get(name) or (_text(tree, directory, name, kind, names) for kind in ("original", "normalized"))
        if name in audio and (text is None or normalized is None):
            yield Problem(file, "a text of it is missing")
        ids = {"id": name, "speaker": int(parts[0]), "chapter": int(parts[1])}
        yield Row(split, file, {**ids, "text": text, "normalized_text": normalized, "subset": split, **speaker})


def _texts(tree: Path, name: str) -> Iterator[list[str] | Problem]:
    """Yield id, text and normalized text of each line of a chapter's table."""
    for number, line in lines(tree, name):
        fields = line.split("\t")
        if len(fields) == _TEXT_FIELDS:
            yield fields
        elif line:
            yield Problem(f"{name}:{number}", f"{len(fields)} fields instead of {_TEXT_FIELDS}")


def _text(tree: Path, directory: str, name: str, kind: str, names: list[str]) -> str | None:
    """Return a text that is in a separate file, or ``None`` if there is none."""
    file = f"{name}.{kind}.txt"
    if file not in names:
        return None
    try:
        return "\n".join(line for _, line in lines(tree, f"{directory}/{file}")).strip() or None
    except ReaderError:
        return None


READER: Final = Reader(
    "audio",
    (
        Column("id", TEXT, "speaker, chapter, paragraph and sentence, such as 19_198_000000_000000"),
        Column("text", TEXT, "what is read, as printed"),
        Column("normalized_text", TEXT, "the same with numbers and abbreviations written out"),
        Column("speaker", INTEGER, "number of the reader"),
        Column("sex", label("F", "M"), "of the reader"),
        Column("speaker_name", TEXT, "name of the reader, as LibriVox has it"),
        Column("chapter", INTEGER, "number of the chapter"),
        Column("subset", TEXT, "the split, as published"),
    ),
    _recognizes,
    _read,
)
