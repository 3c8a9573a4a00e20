"""The indexes of published data sets: what is in them, and how they come and go."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

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


def loaded(index: Path, home: Path, split: str) -> Any:
    """Load an index with ``datasets`` in a process of its own, offline."""
    code = """
import json, sys
from datasets import Audio, load_dataset
data = load_dataset(sys.argv[1], split=sys.argv[2])
features = repr(data.features)
rows = list(data.cast_column("audio", Audio(decode=False)))
json.dump({"features": features, "rows": rows}, sys.stdout)
"""
    environ = {"PATH": os.environ["PATH"], "HF_HUB_OFFLINE": "1", "HF_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(index), split], env=environ, cwd=home, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_datasets_reads_it(spoken: Volume, tmp_path: Path) -> None:
    """``load_dataset`` with nothing of ours gives typed rows whose audio is the published file."""
    found = loaded(spoken.root / "index" / "ljspeech", tmp_path, "train")
    assert "'audio': Audio(sampling_rate=22050" in found["features"]
    assert len(found["rows"]) == 24
    for row, expected in zip(found["rows"], rows(spoken, "ljspeech", "train"), strict=True):
        assert row == expected | {"audio": {"bytes": None, "path": expected["audio"]}}
