"""Indexes of the miniature collection, row by row; and what readers do with trees that are wrong."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from provisioner.indexing import workers
from provisioner.indexing.build import IndexBuilder
from provisioner.indexing.fma import license_id
from provisioner.indexing.media import BrokenMediaError, audio_facts
from provisioner.indexing.model import Problem, ReaderError, Row, split_name
from provisioner.indexing.registry import TABLES, reader_named, reader_of
from provisioner.indexing.tables import csv_records, csv_rows, json_members
from provisioner.indexing.workers import WorkerLostError
from tests.support.media import ID3_TAG, mp3, wav
from tests.support.miniature_rows import expected_problems, expected_rows

if TYPE_CHECKING:
    from pathlib import Path

    from provisioner.indexing.build import Summary
    from tests.support.shelf import Miniature

DATASETS = ("ljspeech", "nsynth", "libritts", "musicnet", "urmp", "fma_small", "fma_large", "lakh_midi")


def build(dataset: str, tree: Path, target: Path, *, processes: int = 1) -> Summary:
    """Build the index of a tree."""
    choice = reader_of(tree)
    assert choice is not None
    target.mkdir(parents=True)
    return IndexBuilder(dataset, choice, tree, target, tree, workers=processes, check_cancelled=lambda: None).build({})


def rows(index: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of an index by split."""
    return {
        path.parent.name: [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        for path in index.glob("*/metadata.jsonl")
    }


@pytest.mark.parametrize("dataset", DATASETS)
def test_rows_are_what_the_generator_put_in(mini: Miniature, tmp_path: Path, dataset: str) -> None:
    """All columns of all rows, in their order; what is wrong in the data set is counted."""
    tree = mini.collection.tree(dataset)
    summary = build(dataset, tree, tmp_path / "index" / dataset)
    found = rows(tmp_path / "index" / dataset)
    for split, listed in found.items():
        assert summary.rows[split] == len(listed)
        for row in listed:
            path = str(row.pop("midi" if dataset == "lakh_midi" else "audio"))
            row["file"] = path.removeprefix(f"{tree}/")
            assert row.pop("file_name") == f"../../../datasets/{dataset}/{row['file']}"
    assert found == expected_rows(dataset)
    assert summary.problems == expected_problems(dataset)
    reported = tmp_path / "index" / dataset / "problems.jsonl"
    assert (len(reported.read_text("utf-8").splitlines()) if reported.exists() else 0) == sum(summary.problems.values())


WAV = wav(8000, 800, "x")


@pytest.mark.parametrize(
    ("files", "kept", "problems"),
    [
        # tables
        ({"metadata.csv": b"a|one|one\n\nb|two\nc|x|y|z\n"}, ["a"], {"2 fields instead of 3": 1, "4 fields instead of 3": 1}),
        ({"metadata.csv": b"a|one|one"}, ["a"], {}),
        ({"metadata.csv": b"\xef\xbb\xbfa|one|one\r\nb|two|two\r\n"}, ["a", "b"], {}),
        ({"metadata.csv": b"a|\xff|one\n"}, ["a"], {}),
        ({"metadata.csv": b""}, [], {}),
        ({"metadata.csv": b"a\x00b|x|y\n../wavs/a|x|y\n"}, [], {"its name cannot be that of a file of the data set": 2}),
        # files
        ({"metadata.csv": b"gone|x|y\na|x|y\n"}, ["a"], {"missing": 1}),
        ({"metadata.csv": b"a|x|y\n", "wavs/a.wav": b""}, [], {"empty": 1}),
        ({"metadata.csv": b"a|x|y\n", "wavs/a.wav": WAV[:30]}, [], {"ends in its header": 1}),
        ({"metadata.csv": b"a|x|y\n", "wavs/a.wav": WAV[:-1]}, [], {"ends early": 1}),
        ({"metadata.csv": b"a|x|y\n", "wavs/a.wav": b"<html>" * 20}, [], {"no WAV file": 1}),
        ({"metadata.csv": b"a|x|y\n", "wavs/a.wav": wav(8000, 0, "x")}, [], {"holds no audio": 1}),
        ({"metadata.csv": b"a|x|y\n", "wavs/a.wav/": b""}, [], {"cannot be read: Is a directory": 1}),
    ],
)
def test_what_is_wrong_is_counted(tmp_path: Path, files: dict[str, bytes], kept: list[str], problems: dict[str, int]) -> None:
    """A line or a file that cannot be used is left out and reported; all others are there."""
    top = tmp_path / "tree" / "LJSpeech-1.1"
    for name, content in ({"wavs/a.wav": WAV, "wavs/b.wav": WAV} | files).items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.unlink(missing_ok=True)
            path.mkdir()
        else:
            path.write_bytes(content)
    summary = build("ljspeech", tmp_path / "tree", tmp_path / "index")
    assert [row["id"] for row in rows(tmp_path / "index").get("train", [])] == kept
    assert summary.problems == problems


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no JSON object"),
        ("[]", "is no JSON object"),
        ('{"a" 1}', "is no JSON object"),
        ('{"a": {}', "ends in the middle"),
        ('{"a": {"b": ', "ends in the middle"),
        ('{"a": 1 "b": 2}', "is no valid JSON"),
        ("{1: 2}", "is no JSON object"),
    ],
)
def test_documents_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    """A document that cannot be read is an error that names it, whatever of it could be read."""
    (tmp_path / "x.json").write_text(text, "utf-8")
    with pytest.raises(ReaderError, match=message):
        list(json_members(tmp_path, "x.json"))


def test_documents_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Members are the same wherever the pieces of a text end."""
    document = {"a": 12345, "": {"b": [1, 2.5, "x\u00e9\\"]}, "c": None, "d": -1}
    (tmp_path / "x.json").write_text(json.dumps(document, indent=2, ensure_ascii=False), "utf-8")
    for size in (1, 2, 3, 7, 100):
        monkeypatch.setattr("provisioner.indexing.tables._CHUNK", size)
        assert list(json_members(tmp_path, "x.json")) == list(document.items())
    (tmp_path / "y.json").write_text(" { } ", "utf-8")
    assert list(json_members(tmp_path, "y.json")) == []


def xing(frames: int) -> bytes:
    """Return an MP3 file whose first frame says how many there are."""
    sound = mp3(4, "x")
    return ID3_TAG + sound[:36] + b"Xing\0\0\0\x01" + frames.to_bytes(4, "big") + sound[48:]


FLAC = b"fLaC\x00\x00\x00\x22" + bytes(10) + ((44100 << 44) | (1 << 41) | (15 << 36) | 88200).to_bytes(8, "big") + bytes(16)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.wav", WAV, (0.1, 8000)),
        ("a.WAV", wav(44100, 441, "x", bits=24), (0.01, 44100)),
        ("a.mp3", mp3(8, "x"), (8 * 417 * 8 / 128000, 44100)),
        ("a.mp3", ID3_TAG + mp3(8, "x"), (8 * 417 * 8 / 128000, 44100)),
        ("a.mp3", xing(1000), (1000 * 1152 / 44100, 44100)),
        ("a.flac", FLAC, (2.0, 44100)),
        ("a.ogg", b"", None),
        ("a.mp3", ID3_TAG, "holds no audio"),
        ("a.mp3", b"\xff" * 5000, "no MP3 frame in it"),
        ("a.mp3", b"", "empty"),
        ("a.flac", b"fLaC", "ends in its header"),
        ("a.flac", b"OggS" * 20, "no FLAC file"),
        ("a.wav", WAV[:12] + b"data" + bytes(4), "its header names no sampling rate"),
    ],
)
def test_headers(tmp_path: Path, name: str, content: bytes, expected: object) -> None:
    """Duration and sampling rate, or what is wrong."""
    path = tmp_path / name
    path.write_bytes(content)
    try:
        found: object = audio_facts(str(path))
    except BrokenMediaError as error:
        found = str(error)
    assert found == (pytest.approx(expected) if isinstance(expected, tuple) else expected)


@pytest.mark.parametrize(
    ("url", "title", "expected"),
    [
        ("http://creativecommons.org/licenses/by/4.0/", None, "CC-BY"),
        ("https://creativecommons.org/licenses/by-nc-nd/3.0/us/", None, "CC-BY-NC-ND"),
        ("http://creativecommons.org/licenses/by-nd-nc/1.0/", None, "CC-BY-NC-ND"),
        ("http://creativecommons.org/licenses/by-sa/2.5", None, "CC-BY-SA"),
        ("http://creativecommons.org/licenses/sampling+/1.0/", "Attribution", None),
        ("http://creativecommons.org/licenses/nc-sampling+/1.0/", None, None),
        (None, "Attribution-NonCommercial-NoDerivatives (aka Music Sharing) 3.0 International", "CC-BY-NC-ND"),
        ("http://freemusicarchive.org/FMA_Sound_Recording_Common_Law", "FMA-Limited: Download Only", None),
        ("http://creativecommons.org/publicdomain/zero/1.0/", None, "CC0"),
        ("http://creativecommons.org/publicdomain/mark/1.0/", None, "PDM"),
        ("http://www.freemusicarchive.org/FMA_License", "Attribution", None),
        ("", "Attribution-Noncommercial-No Derivative Works 3.0 United States", "CC-BY-NC-ND"),
        (None, "Creative Commons Attribution-NonCommercial-NoDerivatives 4.0", "CC-BY-NC-ND"),
        (None, "Attribution-ShareAlike 3.0 International", "CC-BY-SA"),
        (None, "CC0 1.0 Universal", "CC0"),
        (None, "Public Domain Mark 1.0", "PDM"),
        (None, "Non-Commercial Sampling Plus", None),
        (None, "Free Art License", None),
        (None, None, None),
        ("https://www.creativecommons.org/licenses/by/3.0/us/deed.en", "Attribution 3.0 United States", "CC-BY"),
        ("https://creativecommons.org/licenses/by-sa/4.0/legalcode", None, "CC-BY-SA"),
        ("https://evil.example/creativecommons.org/licenses/by/4.0/", None, None),
        ("https://creativecommons.org.evil.example/licenses/by/4.0/", None, None),
        ("https://evilcreativecommons.org/licenses/by/4.0/", None, None),
        ("https://creativecommons.org@evil.example/licenses/by/4.0/", None, None),
        ("https://evil.example/?to=https://creativecommons.org/licenses/by/4.0/", None, None),
        ("https://creativecommons.org/?to=https://creativecommons.org/licenses/by/4.0/", None, None),
        ("https://creativecommons.org/licenses/by/../by-nc/4.0/", None, None),
        ("https://creativecommons.org/licenses/by/4.0/../../by-nc/4.0/", None, None),
        ("https://creativecommons.org/licenses/by/4.0/?but=nc", None, None),
        ("https://creativecommons.org/licenses/by/4.0/\nhttps://creativecommons.org/licenses/by-nc/4.0/", None, None),
        ("https://creativecommons.org/licenses/bync/4.0/", None, None),
        ("javascript://creativecommons.org/licenses/by/4.0/", None, None),
        ("http://creativecommons.org/licenses/by/4.0/", "Attribution-NonCommercial 4.0 International", None),
        ("http://creativecommons.org/licenses/by/4.0/", "For non-commercial use only", None),
        ("http://creativecommons.org/licenses/by/4.0/", "Attribution required, no commercial use", None),
        ("http://creativecommons.org/licenses/by/4.0/", "CC BY-NC", None),
        ("http://creativecommons.org/licenses/by-nc/4.0/", "CC BY-NC", "CC-BY-NC"),
        ("http://creativecommons.org/licenses/by-nc/4.0/", "Attribution", None),
        ("http://creativecommons.org/publicdomain/zero/1.0/", "Non Commercial", None),
        ("http://creativecommons.org/licenses/by/4.0/", "My own words", "CC-BY"),
        (None, "Attribution 3.0 Non-Commercial", None),
        (None, "Attribution (for NonCommercial use)", None),
        (None, "Attribution, NC", None),
        (None, "Attribution required, no commercial use", None),
        (None, "Attributions-NonCommercial", None),
        (None, "CC0-like, noncommercial", None),
        (None, "CC0 but not for commercial use", None),
        (None, "Public Domain Mark 1.0, NonCommercial", None),
        (None, "NonCommercial Attribution", None),
        (None, "Attribution 4.0 not commercial", None),
        (None, "Attribution 4.0 for research only", None),
        (None, "Attribution-Share Alike 3.0 United States", "CC-BY-SA"),
        (None, "Attribution-NonCommercial-ShareAlike 3.0 Unported", "CC-BY-NC-SA"),
        (None, "Attribution 3.0 United States", "CC-BY"),
        (None, "Creative Commons Attribution 4.0 International", "CC-BY"),
        (None, "CC0 1.0 Universal (CC0 1.0) Public Domain Dedication", None),
    ],
)
def test_licenses(url: str | None, title: str | None, expected: str | None) -> None:
    """What is not certainly a known licence has no name."""
    assert license_id(url, title) == expected


def test_workers_give_the_same(mini: Miniature, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With processes an index is the same, byte for byte; they are gone afterwards."""
    tree = mini.collection.tree("fma_large")
    build("fma_large", tree, tmp_path / "one")
    monkeypatch.setattr("provisioner.indexing.build._BATCH", 10)
    build("fma_large", tree, tmp_path / "two", processes=2)
    contents = [
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in ("one", "two")
    ]
    assert contents[0] == contents[1]


def test_a_worker_that_is_lost(mini: Miniature, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is killed ends the work with an error, and no process is left."""
    monkeypatch.setattr("provisioner.indexing.build._BATCH", 10)
    monkeypatch.setattr("provisioner.indexing.workers._CODE", "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(WorkerLostError):
        build("fma_large", mini.collection.tree("fma_large"), tmp_path / "index", processes=2)


def test_a_worker_ends_with_its_input() -> None:
    """When the process that started it is gone, so is its end of the pipe, and a worker ends by itself."""
    process = workers._start()
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    assert process.wait(30) == 0
    process.stdout.close()


def test_splits_have_names_that_are_accepted() -> None:
    """``-`` and whatever else ``datasets`` refuses becomes a dot."""
    assert [split_name(name) for name in ("train", "train-clean-100", "a b", "-x-", "é", "")] == [
        "train",
        "train.clean.100",
        "a.b",
        "x",
        "é",
        "train",
    ]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["a.wav", "b.wav", "README"], {"train": [("a.wav", None), ("b.wav", None)]}),
        (["dog/a.wav", "cat/b.wav"], {"train": [("cat/b.wav", "cat"), ("dog/a.wav", "dog")]}),
        (["x/dog/a.wav", "cat/b.wav"], {"train": [("cat/b.wav", None), ("x/dog/a.wav", None)]}),
        (["train/a.wav", "test/b.wav"], {"train": [("train/a.wav", None)], "test": [("test/b.wav", None)]}),
        (["train/dog/a.wav", "dev/cat/b.wav"], {"train": [("train/dog/a.wav", "dog")], "dev": [("dev/cat/b.wav", "cat")]}),
        (["a.wav", ".git/x", ".git/y"], {"train": [("a.wav", None)]}),
        (["a.png", "b.JPG"], {"train": [("a.png", None), ("b.JPG", None)]}),
        (["a.wav", "b.txt", "c.txt"], None),
        (["a.json"], None),
        ([], None),
    ],
)
def test_other_trees(tmp_path: Path, files: list[str], expected: dict[str, list[tuple[str, str | None]]] | None) -> None:
    """Audio or images in directories have a row for each file; a tree of something else has no reader."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in files:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(WAV)
    if expected is None:
        assert reader_of(tree) is None
        return
    build("acme/sounds", tree, tmp_path / "index")
    found = {split: [(row["file_name"], row["label"]) for row in listed] for split, listed in rows(tmp_path / "index").items()}
    assert found == {
        split: [(f"../../../../datasets/acme/sounds/{name}", label) for name, label in listed]
        for split, listed in expected.items()
    }


def test_fma_by_its_tables_alone(mini: Miniature, tmp_path: Path) -> None:
    """The tables of FMA say which tracks there are before any of them is there: the same rows as of the whole tree."""
    whole = mini.collection.tree("fma_small")
    shutil.copytree(whole / "fma_metadata", tmp_path / "fma_metadata")
    reader = reader_named(TABLES["fma_metadata"])
    assert reader.read_tables is not None
    files = {path.relative_to(whole).as_posix() for path in (whole / "fma_small").rglob("*") if path.is_file()}
    assert list(reader.read_tables(tmp_path, files)) == list(reader.read(whole))
    assert list(reader.read_tables(tmp_path, {"fma_metadata/tracks.csv"})) == []


@pytest.mark.parametrize(("form", "suffix"), [("urmp", ".wav"), ("lakh_midi", ".mid")])
def test_a_tree_by_its_names_and_tables(mini: Miniature, tmp_path: Path, form: str, suffix: str) -> None:
    """Where names of files make the examples, a tree of which only the tables are there is recognized, and has the same rows."""
    whole = mini.collection.tree(form)
    files = {path.relative_to(whole).as_posix() for path in whole.rglob("*") if path.is_file()}
    shutil.copytree(whole, tmp_path / "tables", ignore=shutil.ignore_patterns(f"*{suffix}"))
    for directory in sorted((tmp_path / "tables").rglob("*/"), reverse=True):
        if not any(directory.iterdir()):
            directory.rmdir()
    found = reader_of(tmp_path / "tables", files)
    assert found is not None
    assert found.name == form
    assert found.reader.read_tables is not None
    expected = list(found.reader.read(whole))
    assert any(isinstance(one, Row) for one in expected)
    assert list(found.reader.read_tables(tmp_path / "tables", files)) == expected


def test_lines_of_tables_are_those_of_the_file(tmp_path: Path) -> None:
    """A problem names the line on which its row begins, also where a row before it has several lines."""
    (tmp_path / "t.csv").write_text('a,b\n"x\ny\nz",1\n\nbad\n"1\n2",3,4\n5,6\n')
    found = [one for one in csv_records(tmp_path, "t.csv") if isinstance(one, Problem)]
    assert [one.file for one in found] == ["t.csv:6", "t.csv:7"]
    assert [number for number, _ in csv_rows(tmp_path, "t.csv")] == [1, 2, 5, 6, 7, 9]
