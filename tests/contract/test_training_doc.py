"""The examples of ``docs/training.md``, as they stand there, on the miniature collection."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.support.program import CHECKOUT
from tests.support.torch import NEEDS_TORCH, PYTHON

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.volume import Volume

EXAMPLES = re.findall(r"^```python\n(.*?)^```", (CHECKOUT / "docs" / "training.md").read_text("utf-8"), re.DOTALL | re.MULTILINE)
WITH_TORCH = [example for example in EXAMPLES if "import torch" in example]
CHECKS = """
assert speech.features["audio"].sampling_rate == 22050
assert len(notes) == len(paths) == 8, (len(notes), len(paths))
assert all(os.path.isfile(path) for path in paths), paths
assert (samples_of_first.shape, str(samples_of_first.dtype)) == ((4000,), "float32")
assert 0.1 < abs(samples_of_first).max() <= 1
assert all(row["instrument_family"] == family.str2int("bass") for row in bass.remove_columns("audio"))
assert set(free["license"]) == {"CC-BY"}, set(free["license"])
assert hours > 0
assert (len(samples), len(onsets)) == (8820 * 2, 6), (len(samples), len(onsets))
assert [(subset, count) for subset, count, _ in lengths] == [("dev-clean", 4)], lengths
"""
"""What the names in the examples must stand for."""
CHECKS_WITH_TORCH = """
assert spectra.shape == (4, 257, 32), spectra.shape
assert pitches.shape == (4,)
"""


def run(volume: Volume, home: Path, python: str, *code: str) -> None:
    """Run code in a process with nothing of ours and without a network."""
    environ = {"PATH": os.environ["PATH"], "HF_HUB_OFFLINE": "1", "HF_HOME": str(home / "cache")}
    text = "\n".join(["import os", *code]).replace("/data/", f"{volume.root}/")
    done = subprocess.run([python, "-I", "-c", text], env=environ, cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_examples_run(mini_volume: Volume, tmp_path: Path) -> None:
    """All examples one after the other, but for those with PyTorch."""
    examples = [example for example in EXAMPLES if example not in WITH_TORCH]
    assert len(examples) == 6
    named = ("ljspeech", "nsynth:valid", "fma_small", "musicnet", "libritts:dev-clean")
    mini_volume.ready(DATASETS=",".join(named), DATASET_REPO="none")
    run(mini_volume, tmp_path, sys.executable, *examples, CHECKS)


@NEEDS_TORCH
def test_the_example_with_torch_runs(mini_volume: Volume, tmp_path: Path) -> None:
    """It needs no other library."""
    (example,) = WITH_TORCH
    mini_volume.ready(DATASETS="nsynth:valid", DATASET_REPO="none")
    run(mini_volume, tmp_path, PYTHON, example, CHECKS_WITH_TORCH)
