"""Indexes of data sets whose files are tables: they name the files, which stay where they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from provisioner.indexing.build import IndexBuilder
from provisioner.indexing.registry import reader_of
from provisioner.indexing.table_files import grouped
from tests.support.shelf import some_files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.support.shelf import Shelf
    from tests.support.volume import Volume


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.csv"], {"default": {"train": ["a.csv"]}}),
        (["train.csv", "test.csv"], {"default": {"train": ["train.csv"], "test": ["test.csv"]}}),
        (["x.csv", "notes.txt", "y.jsonl", "z.csv"], {"x": {"train": ["x.csv"]}, "z": {"train": ["z.csv"]}}),
        (
            ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "data/valid-00000-of-00001.parquet"],
            {
                "default": {
                    "train": ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"],
                    "valid": ["data/valid-00000-of-00001.parquet"],
                }
            },
        ),
        (["dev/0.tsv", "dev/1.tsv", "train/0.tsv"], {"default": {"train": ["train/0.tsv"], "dev": ["dev/*.tsv"]}}),
        (["de/test.jsonl", "en/test.jsonl"], {"de": {"test": ["de/test.jsonl"]}, "en": {"test": ["en/test.jsonl"]}}),
        ([f"{letter * 3}{letter2}.csv" for letter in "abcdefgh" for letter2 in "abcdefgh"], {"default": {"train": ["*.csv"]}}),
        (["a[1].csv", "b.jsonl", "c/x.csv"], {"a": {"train": ["a[[]1].csv"]}, "c.x": {"train": ["c/x.csv"]}}),
    ],
)
def test_what_names_tell(names: list[str], expected: Mapping[str, Any]) -> None:
    """Files whose names differ only by split and number are pieces of one table; of several formats one is taken."""
    assert grouped(names) == expected


LOADER = """
import json, sys
from datasets import get_dataset_config_names, load_dataset
found = {}
for index in sys.argv[1:]:
    found[index] = {
        name: {split: [repr(data.features), list(data)] for split, data in load_dataset(index, name).items()}
        for name in get_dataset_config_names(index)
    }
json.dump(found, sys.stdout)
"""


def loaded(home: Path, *indexes: Path) -> list[Any]:
    """Load all tables of some indexes with ``datasets``, offline and with nothing of ours; without types, the rows by split."""
    environ = {"PATH": os.environ["PATH"], "HF_HUB_OFFLINE": "1", "HF_HOME": str(home)}
    command = [sys.executable, "-I", "-c", LOADER, *map(str, indexes)]
    done = subprocess.run(command, env=environ, cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return [found[str(index)] for index in indexes]


def rows(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rows of a table by split, without its types."""
    return {split: listed for split, (_, listed) in table.items()}


CARD = b"""---
license: cc-by-4.0
configs:
- config_name: songs
  data_files:
  - split: train
    path: songs/*.csv
  - split: test
    path: other.csv
  sep: ";"
- config_name: gone
  data_files: gone/*.csv
- config_name: outside
  data_files: ../../secret.csv
dataset_info:
- config_name: songs
  features:
  - name: title
    dtype: string
  - name: genre
    dtype:
      class_label:
        names: {'0': folk, '1': rock}
---
"""


def test_they_load(volume: Volume, shelf: Shelf, tmp_path: Path) -> None:
    """A repository's card says how its tables are read, else their names do; the rows are those of the published files."""
    shelf.server.hub.add_repo(
        "acme/songs",
        {"README.md": CARD, "songs/1.csv": b"title;genre\na;rock\n", "songs/2.csv": b"title;genre\nb;folk\n",
         "other.csv": b"title;genre\nc;rock\n"},
    )  # fmt: skip
    shelf.server.hub.add_repo("acme/plain", {"README.md": b"# x\n", "train.jsonl": b'{"n": 1}\n', "test.jsonl": b'{"n": 2}\n'})
    shelf.add("songs", shelf.file("songs.tar.gz", some_files("songs")))
    references = ("hf://datasets/acme/songs", "hf://datasets/acme/plain")
    outcome = volume.ready("--dataset", references[0], "--dataset", references[1])
    assert "index/acme/songs names 1 table" in outcome.err
    assert volume.status["datasets"][references[1]]["index"] == "index/acme/plain"
    assert volume.status["datasets"][references[1]]["index_rows"] == {}
    assert "Index: index/acme/plain\n" in volume.ready("info", references[1]).out + "\n"
    before = volume.snapshot()
    stated, plain = loaded(tmp_path, volume.root / "index/acme/songs", volume.root / "index/acme/plain")
    assert volume.snapshot() == before
    assert "ClassLabel" in stated["songs"]["train"][0]
    assert {name: rows(table) for name, table in stated.items()} == {
        "songs": {"train": [{"title": "a", "genre": 1}, {"title": "b", "genre": 0}], "test": [{"title": "c", "genre": 1}]}
    }
    assert {name: rows(table) for name, table in plain.items()} == {"default": {"train": [{"n": 1}], "test": [{"n": 2}]}}
    assert "Nothing to do" in volume.ready("--dataset", references[0], "--dataset", references[1]).err


CONTENTS = {".csv": b"a,b\n1,x\n", ".tsv": b"a\tb\n1\tx\n", ".jsonl": b'{"a": 1, "b": "x"}\n'}


def test_formats(tmp_path: Path) -> None:
    """CSV, TSV, JSON lines and Parquet are read; of many pieces the index has one glob, and odd names are no globs."""
    table = tmp_path / "table.parquet"
    pq.write_table(pa.table({"a": [1], "b": ["x"]}), table)
    indexes = []
    for suffix, content in {**CONTENTS, ".parquet": table.read_bytes()}.items():
        tree = tmp_path / "datasets" / suffix[1:]
        (tree / "train").mkdir(parents=True)
        for name in (f"train/1{suffix}", f"train/2{suffix}", f"a[te*st] x{suffix}", "LICENSE"):
            (tree / name).write_bytes(content)
        choice = reader_of(tree)
        assert choice is not None
        index = tmp_path / "index" / tree.name
        index.mkdir(parents=True)
        IndexBuilder(tree.name, choice, tree, index, tree, workers=1, check_cancelled=lambda: None).build({})
        assert os.listdir(index) == ["README.md"]
        indexes.append(index)
    one = {"a": 1, "b": "x"}
    expected = {"a_te_st_x": {"train": [one]}, "default": {"train": [one, one]}}
    assert [{name: rows(each) for name, each in found.items()} for found in loaded(tmp_path, *indexes)] == [expected] * 4


@pytest.mark.parametrize("names", [["a.csv", "a.bin", "b.bin", "c.bin"], ["a.txt"], ["a.json"], ["README.md"], []])
def test_trees_that_are_no_tables(tmp_path: Path, names: list[str]) -> None:
    """A tree most of whose files are something else has no index."""
    for name in names:
        (tmp_path / name).write_bytes(b"---\nconfigs: 7\n---\n" if name == "README.md" else b"x")
    assert reader_of(tmp_path) is None
