"""The indexes of published data sets: what is in them, and how they come and go."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from provisioner import DatasetManager
from provisioner.errors import ConfigurationError, NotFoundError
from provisioner.volume.store.index_files import IndexFiles
from provisioner.volume.store.layout import VolumeLayout
from provisioner.volume.store.published_names import PublishedNames
from tests.faults.test_death import deaths
from tests.support.media import wav
from tests.support.miniature import NSYNTH_SPLITS
from tests.support.miniature_rows import expected_rows
from tests.support.program import CHECKOUT
from tests.support.shelf import some_files
from tests.support.volume import files_under

if TYPE_CHECKING:
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume


def rows(volume: Volume, dataset: str, split: str) -> list[dict[str, Any]]:
    """Return the rows of a split."""
    text = (volume.root / "index" / dataset / split / "metadata.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def spoken(mini_volume: Volume) -> Volume:
    """Return a volume with LJ Speech and its index."""
    mini_volume.settings["DATASET_REPO"] = "none"
    mini_volume.ready("--dataset", "ljspeech")
    return mini_volume


def test_it_comes_stays_and_goes(spoken: Volume) -> None:
    """An index is made once, removed by nobody's request but ``INDEX=off`` and ``remove``, and made anew when it is gone."""
    index = spoken.root / "index" / "ljspeech"
    found = rows(spoken, "ljspeech", "train")
    assert len(found) == 24
    for row in found:
        assert (index / "train" / row["file_name"]).samefile(row["audio"])
    before = spoken.snapshot()
    assert "Nothing to do" in spoken.ready("--dataset", "ljspeech").err
    assert spoken.snapshot() == before

    shutil.rmtree(index)
    spoken.ready("--dataset", "ljspeech")
    assert rows(spoken, "ljspeech", "train") == found

    spoken.ready("--dataset", "ljspeech", INDEX="off")
    assert not index.exists()
    assert "Nothing to do" in spoken.ready("--dataset", "ljspeech", INDEX="off").err

    spoken.ready("--dataset", "ljspeech")
    assert index.exists()
    spoken.ready("remove", "ljspeech")
    assert not index.exists()
    assert not os.listdir(spoken.private / "indexes")


def test_it_is_named_and_counted(spoken: Volume) -> None:
    """Its rows are in ``info`` and ``list``, its bytes count for the limit, and it comes only if the limit has space for it."""
    index = spoken.root / "index" / "ljspeech"
    size = sum(path.stat().st_size for path in files_under(index))
    facts = {"path": "index/ljspeech", "rows": {"train": 24}, "bytes": size}
    assert "Index: index/ljspeech, 24 examples (train 24)" in spoken.ready("info", "ljspeech").out
    assert spoken.ready("info", "ljspeech", "--json").json["on_volume"]["index"] == facts
    text = spoken.ready("list").out
    assert re.search(r"\nindex +examples +splits\nindex/ljspeech +24 +train 24\n", text), text
    listed = spoken.ready("list", "--json").json["datasets"]
    assert (listed["ljspeech"]["index"], listed["nsynth"]["index"]) == (facts, None)
    used = spoken.status["volume"]["used_bytes"]
    assert used - size == spoken.status["datasets"]["ljspeech"]["bytes_done"]

    shutil.rmtree(index)
    tight = {"MAX_STORAGE_GB": f"{(used - size + 100) / 10**9:.9f}"}
    assert (
        "no index: it needs more than the 100 B that MAX_STORAGE_GB leaves" in spoken.ready("--dataset", "ljspeech", **tight).err
    )
    assert not index.exists()
    assert spoken.status["state"] == "ready"
    assert "Nothing to do" in spoken.ready("--dataset", "ljspeech", **tight).err
    roomy = {"MAX_STORAGE_GB": f"{used / 10**9:.9f}"}
    assert "index/ljspeech has 24 examples" in spoken.ready("--dataset", "ljspeech", **roomy).err


def test_what_is_not_ours_is_left_alone(mini_volume: Volume) -> None:
    """Something else at the path of an index stays; the data set is ready all the same."""
    mine = mini_volume.root / "index" / "ljspeech" / "notes.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine", "utf-8")
    outcome = mini_volume.ready("--dataset", "ljspeech", DATASET_REPO="none")
    assert "index/ljspeech holds something that the provisioner did not put there" in outcome.err
    assert mine.read_text("utf-8") == "mine"
    mini_volume.ready("remove", "ljspeech")
    assert mine.exists()


@pytest.mark.parametrize("above", ["index", "index/owner"])
def test_a_link_above_an_index_is_not_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture, above: str) -> None:
    """Where somebody has put a link to another directory, what is there stays when the index is removed."""
    layout = VolumeLayout(tmp_path / "volume")
    indexes = IndexFiles(layout)
    indexes.write_record("owner/name", {"version": "0" * 16, "reader": "ljspeech"})
    elsewhere = tmp_path / "elsewhere"
    mine = elsewhere / Path("index/owner/name").relative_to(above) / "README.md"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine", "utf-8")
    (layout.root / above).parent.mkdir(exist_ok=True)
    (layout.root / above).symlink_to(elsewhere)
    indexes.remove("owner/name")
    assert mine.read_text("utf-8") == "mine"
    assert indexes.record("owner/name") is None
    assert f"{layout.root / above} is a link" in caplog.text


@pytest.mark.parametrize("record", [{"reader": None}, {"reader": "ljspeech", "problem": "no text"}], ids=["none", "failed"])
def test_what_was_put_where_no_index_was_made_is_left_alone(tmp_path: Path, record: dict[str, Any]) -> None:
    """A record that says why there is no index is no reason to remove what somebody has put at its path since."""
    layout = VolumeLayout(tmp_path)
    indexes = IndexFiles(layout)
    indexes.write_record("songs", {"version": "0" * 16, **record})
    mine = layout.index("songs") / "README.md"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine", "utf-8")
    assert indexes.is_foreign("songs", "made by the provisioner")
    indexes.remove("songs")
    assert mine.read_text("utf-8") == "mine"


LOADER = """
import json, sys
from datasets import Audio, load_dataset
found = {}
for index in sys.argv[1:]:
    for split, data in load_dataset(index).items():
        features = data.features
        labels = {name: features[name].names for name in features if "ClassLabel" in repr(features[name])}
        if "audio" in features:
            data = data.cast_column("audio", Audio(decode=False))
        rows = list(data)
        found.setdefault(index, {})[split] = {"features": repr(features), "rows": rows, "labels": labels}
first = next(iter(load_dataset(index, split=split, streaming=True).decode(False)))
assert first == rows[0], (first, rows[0])
json.dump(found, sys.stdout)
"""
"""All splits of some indexes as JSON; the last one is read as a stream too."""


def loaded(indexes: list[Path], home: Path) -> Any:
    """Load indexes with ``datasets`` in a process of its own, offline, with nothing of ours."""
    environ = {"PATH": os.environ["PATH"], "HF_HUB_OFFLINE": "1", "HF_HOME": str(home)}
    command = [sys.executable, "-I", "-c", LOADER, *map(str, indexes)]
    done = subprocess.run(command, env=environ, cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


TYPES = {
    "ljspeech": {"audio": "Audio(sampling_rate=22050", "text": "Value('string')", "duration": "Value('float64')"},
    "nsynth": {"audio": "Audio(sampling_rate=16000", "instrument_family": "ClassLabel", "qualities": "List(Value('string'))"},
    "libritts": {"audio": "Audio(sampling_rate=24000", "sex": "ClassLabel", "speaker": "Value('int64')"},
    "musicnet": {"audio": "Audio(sampling_rate=44100", "notes": "List({'start_time': Value('int64')"},
    "urmp": {"audio": "Audio(sampling_rate=48000", "notes": "List({'onset': Value('float64')", "f0": "List(Value('float64'))"},
    "fma_small": {"audio": "Audio(sampling_rate=44100", "genre": "ClassLabel", "genres": "List(Value('string'))"},
    "fma_large": {"audio": "Audio(sampling_rate=44100", "genre": "ClassLabel", "license": "Value('string')"},
    "lakh_midi": {"midi": "Value('string')", "paths": "List(Value('string'))", "matches": "List({'track_id': Value('string')"},
}
"""How the types of some columns begin, as ``datasets`` shows them."""


def check_split(index: Path, split: str, found: Any, expected: list[dict[str, Any]]) -> None:
    """Compare what ``datasets`` gave of a split with what must be there."""
    for column, kind in TYPES[index.name].items():
        assert f"'{column}': {kind}" in found["features"], (index, column)
    for row, right in zip(found["rows"], expected, strict=True):
        path = row["midi"] if index.name == "lakh_midi" else row["audio"]["path"]
        assert (index / split / row["file_name"]).samefile(path)
        assert path.endswith(right["file"])
        for column, value in right.items():
            given = row.get(column)
            if column in found["labels"] and given is not None:
                given = found["labels"][column][given]
            assert column == "file" or given == value, (index, column)


def test_all_eight_load(mini_volume: Volume, tmp_path: Path) -> None:
    """``load_dataset`` gives the rows of every split with their types; nothing on the volume changes."""
    mini_volume.ready(PHASE="comprehensive", DATASET_REPO="none")
    before = mini_volume.snapshot()
    indexes = {path.name: path for path in (mini_volume.root / "index").iterdir()}
    assert sorted(indexes) == sorted(TYPES)
    found = loaded(list(indexes.values()), tmp_path)
    assert mini_volume.snapshot() == before
    for dataset, index in indexes.items():
        expected = expected_rows(dataset)
        assert found[str(index)].keys() == expected.keys()
        for split, rows_of_split in expected.items():
            check_split(index, split, found[str(index)][split], rows_of_split)


@pytest.mark.parametrize(("split", "rows_of_it"), [("dev-clean", 4), ("dev-clean[:1]+dev.clean[-2:]", 3)])
def test_load_in_one_call(mini_volume: Volume, split: str, rows_of_it: int) -> None:
    """``DatasetManager.load`` fetches, and understands splits as they are published."""
    environ = mini_volume.environ(DATASET_REPO="none")
    data = DatasetManager(mini_volume.root, environ=environ).load(
        "libritts:dev-clean", split=split, cache_dir=str(mini_volume.root.parent / "cache")
    )
    assert len(data) == rows_of_it
    assert data.features["sex"].names == ["F", "M"]


def test_load_says_what_is_missing(shelf: Shelf, volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ``datasets`` nothing is fetched; a data set without an index has its files."""
    shelf.add("songs", shelf.file("songs.tar.gz", some_files("songs")))
    manager = DatasetManager(volume.root, environ=volume.environ())
    with pytest.raises(NotFoundError, match="songs has no index: no reader knows its files"):
        manager.load("songs")
    monkeypatch.setitem(sys.modules, "datasets", None)
    shelf.server.log.clear()
    with pytest.raises(ConfigurationError, match="cannot be imported") as caught:
        manager.load("songs")
    assert "pip install datasets" in caught.value.hint
    assert shelf.server.log.entries() == ()


@pytest.mark.parametrize("part", range(2))
def test_death_while_it_is_made(spoken: Volume, tmp_path: Path, part: int) -> None:
    """Killed at any change, a run leaves an index that is whole or none; the next run makes it, and nothing is left over."""
    index, expected = spoken.root / "index" / "ljspeech", rows(spoken, "ljspeech", "train")
    shutil.rmtree(index)
    for _ in deaths(spoken, tmp_path, part, "--dataset", "ljspeech"):
        if index.exists():
            assert (index / "README.md").exists()
            assert rows(spoken, "ljspeech", "train") == expected
        spoken.ready("--dataset", "ljspeech")
        assert rows(spoken, "ljspeech", "train") == expected
        assert [path for path in (spoken.private / "indexes").iterdir() if path.name != "ljspeech.json"] == []


@pytest.mark.parametrize("publish", ["link", "dir"])
def test_a_reference_to_audio(shelf: Shelf, volume: Volume, publish: str) -> None:
    """A repository of audio has an index under its name; a new version replaces it, and removal leaves no directory."""
    shelf.add("songs", shelf.file("songs.tar.gz", some_files("songs")))
    shelf.server.hub.add_repo("acme/sounds", {"train/a.wav": wav(8000, 80, "a"), "train/broken.wav": b"", "README.md": b"# x"})
    volume.settings["PUBLISH"] = publish
    outcome = volume.ready("--dataset", "hf://datasets/acme/sounds")
    assert volume.status["datasets"]["hf://datasets/acme/sounds"]["index"] == "index/acme/sounds"
    assert "(empty: 1): see index/acme/sounds/problems.jsonl" in outcome.err
    index = volume.root / "index" / "acme" / "sounds"
    (row,) = rows(volume, "acme/sounds", "train")
    assert (index / "train" / row["file_name"]).read_bytes() == wav(8000, 80, "a")
    volume.ready("--dataset", "hf://datasets/acme/sounds@main/train/a.wav")
    assert rows(volume, "acme/sounds", "train") == [row]
    assert not (index / "problems.jsonl").exists()
    volume.ready("remove", "hf://datasets/acme/sounds@main/train/a.wav")
    assert not index.parent.exists()


def test_on_a_bucket(mini_volume: Volume) -> None:
    """Where trees are published as directories and nothing is linked, an index is made, replaced and left alone as elsewhere."""
    mini_volume.settings |= {"VOLUME_KIND": "object", "LOCK": "external", "DATASET_REPO": "none"}
    mini_volume.ready("--dataset", "nsynth:test")
    found = rows(mini_volume, "nsynth", "test")
    assert len(found) == 6
    assert not mini_volume.tree("nsynth").is_symlink()
    assert all((mini_volume.root / "index/nsynth/test" / row["file_name"]).samefile(row["audio"]) for row in found)
    assert "Nothing to do" in mini_volume.ready("--dataset", "nsynth:test").err
    mini_volume.ready("--dataset", "nsynth:test", "--dataset", "nsynth:valid")
    assert rows(mini_volume, "nsynth", "test") == found
    assert len(rows(mini_volume, "nsynth", "valid")) == 8


def test_of_shares(mini_volume: Volume) -> None:
    """A share makes no index; the one that publishes does."""
    mini_volume.settings |= {"DATASET_REPO": "none", "DATASETS": "nsynth"}
    mini_volume.ready(SHARD="0/2")
    assert not (mini_volume.root / "index").exists()
    mini_volume.ready(SHARD="1/2")
    mini_volume.ready("provision", "--finish")
    assert [len(rows(mini_volume, "nsynth", split)) for split, _, _ in NSYNTH_SPLITS] == [notes for _, notes, _ in NSYNTH_SPLITS]


def test_a_volume_that_cannot_be_written(spoken: Volume) -> None:
    """A volume that lost its index and cannot be written to is as ready as before, and says so."""
    shutil.rmtree(spoken.root / "index")
    (spoken.root / "index").write_text("in the way", "utf-8")
    outcome = spoken.ready("--dataset", "ljspeech")
    assert "ljspeech: no index: " in outcome.err
    assert spoken.status["state"] == "ready"


def test_under_another_root(spoken: Volume, tmp_path: Path) -> None:
    """Paths are absolute: a run on the same volume at another place makes its index anew."""
    spoken.root.rename(tmp_path / "moved")
    spoken.root = tmp_path / "moved"
    spoken.ready("--dataset", "ljspeech")
    assert all(row["audio"].startswith(f"{tmp_path}/moved/datasets/") for row in rows(spoken, "ljspeech", "train"))


def test_a_reader_that_fails(spoken: Volume) -> None:
    """A bug of a reader is a warning, and is not met again at each start; the data set is ready."""
    shutil.rmtree(spoken.root / "index")
    code = """
import os, sys
from provisioner.indexing import ljspeech
from provisioner.indexing.model import Reader
def fail(tree):
    raise KeyError("x")
    yield
found = ljspeech.READER
ljspeech.READER = Reader(found.medium, found.columns, found.recognizes, fail)
from provisioner.cli.main import main
sys.exit(main(sys.argv[1:], os.environ))
"""
    command = [sys.executable, "-c", code, "--dataset", "ljspeech"]
    done = subprocess.run(command, env=spoken.environ(), cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "WARNING ljspeech: no index: its reader failed, which is a bug of this program: KeyError: 'x'" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Nothing to do" in spoken.ready("--dataset", "ljspeech").err


def test_an_index_goes_with_its_version(spoken: Volume) -> None:
    """What the app reads changes: the index of the other version is gone before that, and comes back at the end of the run."""
    layout = VolumeLayout(spoken.root)
    indexes = IndexFiles(layout)
    published = PublishedNames(layout, "link", indexes)
    current, other = spoken.version("ljspeech"), "0" * len(spoken.version("ljspeech"))
    published.switch("ljspeech", current)
    assert indexes.is_there("ljspeech")
    layout.tree("ljspeech", other).mkdir()
    published.switch("ljspeech", other)
    assert not indexes.is_there("ljspeech")
    assert "index/ljspeech has 24 examples" in spoken.ready("--dataset", "ljspeech").err
