"""``load_dataset("OWNER/NAME")``, unchanged, offline and read-only: the rows are those that the Hub gives."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.media import wav

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.hub_server import HubServer
    from tests.support.volume import Volume


def parquet(numbers: list[int]) -> bytes:
    """Return a table."""
    stream = io.BytesIO()
    pq.write_table(pa.table({"number": numbers, "text": [f"row {number}" for number in numbers]}), stream)
    return stream.getvalue()


TABLES_CARD = b"""---
license: cc0-1.0
configs:
- config_name: small
  default: true
  data_files:
  - {split: train, path: small/train-*.parquet}
  - {split: test, path: small/test-*.parquet}
- config_name: large
  data_files: large/*.parquet
---
"""
REPOSITORIES: dict[str, dict[str, bytes]] = {
    "acme/tables": {
        "README.md": TABLES_CARD,
        "small/train-00000.parquet": parquet([1, 2]),
        "small/train-00001.parquet": parquet([3]),
        "small/test-00000.parquet": parquet([4]),
        "large/all.parquet": parquet([5, 6, 7]),
    },
    "acme/lines": {"train.jsonl": b'{"a": 1, "b": ["x"]}\n{"a": 2, "b": []}\n', "validation.jsonl": b'{"a": 3, "b": ["y"]}\n'},
    "acme/Comma-Separated": {
        "data/train.csv": b"file,seconds\na.wav,1.5\nb.wav,2\n",
        "data/test.csv": b"file,seconds\nc.wav,3\n",
    },
    "acme/clips": {
        "README.md": b"---\nlicense: cc-by-4.0\n---\n# Clips\n",
        "train/metadata.csv": b"file_name,text\na.wav,hello\nb.wav,world\n",
        "train/a.wav": wav(8000, 400, "a"),
        "train/b.wav": wav(8000, 400, "b"),
        "test/metadata.csv": b"file_name,text\nc.wav,there\n",
        "test/c.wav": wav(8000, 400, "c"),
    },
}
"""One of each kind: Parquet with configurations, JSON lines, CSV, and a folder of audio files with their texts."""
QUESTIONS: list[dict[str, Any]] = [
    {"path": "acme/tables"},
    {"path": "acme/tables", "name": "large", "split": "train[1:]"},
    {"path": "acme/tables", "name": "small", "split": "test", "streaming": True},
    {"path": "acme/tables", "data_files": "large/*.parquet", "split": "train"},
    {"path": "acme/lines"},
    {"path": "acme/lines", "split": "validation"},
    {"path": "acme/Comma-Separated"},
    {"path": "acme/clips"},
    {"path": "acme/clips", "split": "test"},
]
APP = """
import hashlib, json, sys, types
from pathlib import Path
from datasets import Audio, disable_progress_bars, load_dataset
disable_progress_bars()

# The library imports torch before it stores the path of an audio file, which does not need it.
encode, absent = Audio.encode_example, {name: types.ModuleType(name) for name in ("torch", "torchcodec", "torchcodec.encoders")}
absent["torchcodec.encoders"].AudioEncoder = None

def encode_path(self, value):
    sys.modules.update(absent)
    try:
        return encode(self, value)
    finally:
        for name in absent:
            del sys.modules[name]

Audio.encode_example = encode_path

def plain(row):
    audio = row.get("audio")
    if audio:
        content = audio["bytes"] or Path(audio["path"]).read_bytes()
        row = row | {"audio": [Path(audio["path"]).name, hashlib.sha256(content).hexdigest()]}
    return row

def rows(found):
    if "audio" in found.features:
        found = found.cast_column("audio", Audio(decode=False))
    return [str(found.features), [plain(row) for row in found]]

answers = []
for question in json.loads(sys.argv[1]):
    try:
        found = load_dataset(**question)
        answers.append({split: rows(found[split]) for split in found} if isinstance(found, dict) else rows(found))
    except Exception as error:
        answers.append(type(error).__name__)
print(json.dumps(answers))
"""
"""The unchanged line of an app, and the rows as values; audio as a name and a digest, since the paths differ."""


def answers(home: Path, questions: list[dict[str, Any]], cwd: Path, **environ: str) -> Any:
    """Return what the app reads in a process of its own, whose prepared data are below ``home`` alone."""
    values = {"PATH": os.environ["PATH"], "HOME": str(home), "DATASETS_VERBOSITY": "error", **environ}
    command = [sys.executable, "-c", APP, json.dumps(questions)]
    done = subprocess.run(command, env=values, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@contextlib.contextmanager
def read_only(root: Path, place: Path) -> Iterator[Path]:
    """Return a volume that nobody can write to: mounted read-only elsewhere if we may do so, else by its modes."""
    if os.geteuid() == 0:
        place.mkdir()
        subprocess.run(["mount", "--bind", str(root), str(place)], check=True)
        try:
            subprocess.run(["mount", "-o", "remount,bind,ro", str(place)], check=True)
            yield place
        finally:
            subprocess.run(["umount", str(place)], check=True)
        return
    subprocess.run(["chmod", "-R", "a-w", str(root)], check=True)
    try:
        yield root
    finally:
        subprocess.run(["chmod", "-R", "u+w", str(root)], check=True)


def test_rows_by_name(volume: Volume, hub: HubServer, tmp_path: Path) -> None:
    """Four kinds of repositories, with configurations, splits, slices and streams: the same features and rows as online.

    What asks for a revision, or for the Hub itself, fails or gets the published revision, as the documents say.
    """
    for repo, files in REPOSITORIES.items():
        hub.hub.add_repo(repo, files)
    del volume.settings["CATALOG_PATH"]
    volume.ready(DATASETS=",".join(f"hf://datasets/{repo}" for repo in REPOSITORIES))
    homes = [tmp_path / name for name in ("online", "offline")]
    online = answers(homes[0], QUESTIONS, tmp_path, HF_ENDPOINT=hub.endpoint)
    assert online[0]["train"][1][0] == {"number": 1, "text": "row 1"}
    assert [row["text"] for row in online[-1][1]] == ["there"]
    hub.stop()
    impossible = [{"path": "hf://datasets/acme/tables"}, {"path": "acme/missing"}]
    with read_only(volume.root, tmp_path / "mounted") as root:
        before = volume.snapshot()
        found = answers(
            homes[1], [*QUESTIONS, {"path": "acme/lines", "revision": "v9"}, *impossible], root / "datasets", HF_HUB_OFFLINE="1"
        )
        assert volume.snapshot() == before
    assert found[: len(QUESTIONS)] == online
    assert found[len(QUESTIONS) :] == [online[QUESTIONS.index({"path": "acme/lines"})], "ConnectionError", "ConnectionError"]


def test_where_the_app_starts(volume: Volume, hub: HubServer, tmp_path: Path) -> None:
    """The app starts where the provisioner did, or with ``APP_WORKDIR=datasets`` where the published data sets are.

    Words of its command line that name a file only from here are said, and its own executable is found from here.
    """
    hub.hub.add_repo("acme/lines", REPOSITORIES["acme/lines"])
    del volume.settings["CATALOG_PATH"]
    app = tmp_path / "app"
    app.write_text("#!/bin/sh\npwd; ls\n")
    app.chmod(0o755)
    relative = os.path.relpath(app, Path(__file__).parents[2])
    wanted = {"DATASETS": "hf://datasets/acme/lines"}
    kept = volume.ready("--", str(app), **wanted)
    assert kept.out.splitlines()[0] == str(Path(__file__).parents[2])
    there = volume.ready("--", relative, "README.md", "--x", **wanted, APP_WORKDIR="datasets")
    assert there.out.split() == [str(volume.root / "datasets"), "acme"]
    assert "where there is no 'README.md': write /" in there.err
    assert "where there is no '--x'" not in there.err


def test_a_directory_that_cannot_be_entered(volume: Volume, hub: HubServer, tmp_path: Path) -> None:
    """If the app may not enter the directory it does not start elsewhere: 126, with what helps."""
    hub.hub.add_repo("acme/lines", REPOSITORIES["acme/lines"])
    del volume.settings["CATALOG_PATH"]
    (tmp_path / "file").write_text("no directory")
    outcome = volume.run(
        "--", "true", DATASETS="hf://datasets/acme/lines", APP_WORKDIR="datasets", DATA_DIR=str(tmp_path / "file"),
        ON_FAILURE="degraded",
    )  # fmt: skip
    assert outcome.code == 126, outcome.err
    assert "APP_WORKDIR=keep" in outcome.err


def test_parts_of_a_repository(volume: Volume, hub: HubServer, tmp_path: Path) -> None:
    """The card's first configuration as a part is read by the unchanged line; of another part the files must be named."""
    hub.hub.add_repo("acme/tables", REPOSITORIES["acme/tables"])
    del volume.settings["CATALOG_PATH"]
    volume.ready(DATASETS="hf://datasets/acme/tables:small,hf://datasets/acme/tables:large#name=acme/large")
    questions = [
        {"path": "acme/tables", "name": "small", "split": "train"},
        {"path": "acme/large", "name": "large", "split": "train"},
        {"path": "acme/large", "data_files": "large/*.parquet", "split": "train"},
    ]
    first, second, named = answers(tmp_path, questions, volume.root / "datasets", HF_HUB_OFFLINE="1")
    assert [row["number"] for row in first[1]] == [1, 2, 3]
    assert second == "DataFilesNotFoundError"
    assert [row["number"] for row in named[1]] == [5, 6, 7]
