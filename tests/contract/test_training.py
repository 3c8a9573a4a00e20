"""The programs in ``examples`` that train: from an index on a volume to a model, with PyTorch and nothing else."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.program import CHECKOUT
from tests.support.torch import NEEDS_TORCH, PYTHON

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.volume import Volume

pytestmark = NEEDS_TORCH


def train(volume: Volume, program: str, dataset: str, output: Path) -> tuple[list[float], str]:
    """Train for some steps; return the loss of the first, the mean of the ten that follow and so on, and all that was said."""
    command = [PYTHON, "-I", str(CHECKOUT / "examples" / program), str(volume.root / "index" / dataset)]
    command += ["--steps", "20", "--batch", "12", "--seconds", "600", "--output", str(output)]
    # One thread adds in the same order on every machine.
    done = subprocess.run(command, env={"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [float(loss) for loss in re.findall(r"^step \d+: loss ([\d.]+)$", done.stdout, re.MULTILINE)], done.stdout


@pytest.mark.parametrize(("program", "dataset"), [("train_tts.py", "ljspeech"), ("train_notes.py", "nsynth")])
def test_the_loss_falls(mini_volume: Volume, tmp_path: Path, program: str, dataset: str) -> None:
    """In 20 steps on the miniature it falls to less than half; workers read the sounds, and the volume stays as it is."""
    mini_volume.ready("--dataset", dataset, DATASET_REPO="none")
    before = mini_volume.snapshot()
    (first, *_, last), said = train(mini_volume, program, dataset, tmp_path / "model.pt")
    assert last < first / 2, said  # the mean of the last ten steps
    assert (tmp_path / "model.pt").stat().st_size > 100_000
    assert mini_volume.snapshot() == before
    if dataset == "nsynth":
        assert re.search(r"^valid: \d+\.\d% of the pitches are right$", said, re.MULTILINE)
