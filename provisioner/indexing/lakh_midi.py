"""Lakh MIDI: each file is named by its MD5; one table has the paths it was found under, another the songs it matches."""

from __future__ import annotations

import os
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from provisioner.indexing.model import TEXT, TEXTS, Column, Problem, Reader, Row, records
from provisioner.indexing.tables import json_members

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from pathlib import Path

    from provisioner.indexing.model import Found

_TOPS: Final = ("lmd_full", "lmd_matched", "lmd_aligned", "clean_midi")
_PATHS: Final = "md5_to_paths.json"
_SCORES: Final = "match_scores.json"


def _recognizes(tree: Path) -> bool:
    return any((tree / top).is_dir() for top in _TOPS)


def _recognizes_paths(files: Collection[str]) -> bool:
    return any(path.startswith(tuple(f"{top}/" for top in _TOPS)) and _is_midi(path) for path in files)


def _read(tree: Path) -> Iterator[Found]:
    return _rows(tree, lambda top: _files(tree, top))


def _read_tables(tree: Path, files: Collection[str]) -> Iterator[Found]:
    below: dict[str, list[str]] = {top: [] for top in _TOPS}
    for path in filter(_is_midi, files):
        below.get(path.partition("/")[0], []).append(path)
    # As in a walk: the files of a directory before those of its subdirectories.
    return _rows(tree, lambda top: sorted(below[top], key=lambda path: (path.split("/")[:-1], path)))


def _rows(tree: Path, files_of: Callable[[str], Iterable[str]]) -> Iterator[Found]:
    paths: dict[bytes, list[str]] = {}
    matches: dict[bytes, list[tuple[str, float]]] = defaultdict(list)
    for name, facts in _members(tree, _PATHS):
        if isinstance(facts, list) and (digest := _digest(name)) is not None:
            paths[digest] = [path for path in facts if isinstance(path, str)]
        else:
            yield Problem(f"{_PATHS}:{name}", "no list of paths")
    for track, facts in _members(tree, _SCORES):
        for name, score in facts.items() if isinstance(facts, dict) else ():
            if isinstance(score, (int, float)) and (digest := _digest(name)) is not None:
                matches[digest].append((track, float(score)))
    for top in _TOPS:
        for file in files_of(top):
            name = file.rpartition("/")[2][:-4]
            digest = _digest(name)
            values: dict[str, Any] = {"id": name}
            if digest is not None:
                values["paths"] = paths.get(digest)
                values["matches"] = [{"track_id": track, "score": score} for track, score in matches.get(digest, ())]
            if top == "clean_midi":
                values |= {"artist": file.split("/")[1], "title": name}
            elif top != "lmd_full":
                values["track_id"] = file.split("/")[-2]
            yield Row("train", file, values)


def _members(tree: Path, name: str) -> Iterator[tuple[str, Any]]:
    if (tree / name).is_file():
        yield from json_members(tree, name)


def _files(tree: Path, top: str) -> Iterator[str]:
    """Yield the MIDI files below a directory, in the order of their paths."""
    for directory, directories, names in os.walk(tree / top):
        directories.sort()
        below = os.path.relpath(directory, tree).replace(os.sep, "/")
        for name in sorted(names):
            if _is_midi(name):
                yield f"{below}/{name}"


def _is_midi(path: str) -> bool:
    return path.lower().endswith((".mid", ".midi"))


def _digest(name: str) -> bytes | None:
    """Return an MD5 as bytes, since there are many, or ``None`` if the name is not an MD5."""
    try:
        return bytes.fromhex(name)
    except ValueError:
        return None


READER: Final = Reader(
    "midi",
    (
        Column("id", TEXT, "name of the file: the MD5 of its content"),
        Column("paths", TEXTS, "names under which the file was found, often artist and title"),
        Column(
            "matches",
            records(track_id="string", score="float64"),
            "songs of the Million Song Dataset that it matches, with the score of the match",
        ),
        Column("track_id", TEXT, "of a file of lmd_matched or lmd_aligned: the song that it was matched with"),
        Column("artist", TEXT, "of a file of clean_midi"),
        Column("title", TEXT, "of a file of clean_midi"),
    ),
    _recognizes,
    _read,
    _read_tables,
    recognizes_paths=_recognizes_paths,
)
