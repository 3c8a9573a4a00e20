"""The examples of ``docs/training.md``, as they stand there, on the miniature collection."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.support.program import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.volume import Volume

EXAMPLE = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
CHECKS = """
assert speech.features["audio"].sampling_rate == 22050
assert len(notes) == len(paths) == 8, (len(notes), len(paths))
assert all(os.path.isfile(path) for path in paths), paths
assert all(row["instrument_family"] == family.str2int("bass") for row in bass.remove_columns("audio"))
assert set(free["license"]) == {"CC-BY"}, set(free["license"])
assert hours > 0
assert (len(samples), len(onsets)) == (8820 * 2, 6), (len(samples), len(onsets))
"""
"""What the names in the examples must stand for."""


def test_the_examples_run(mini_volume: Volume, tmp_path: Path) -> None:
    """All examples one after the other, in a process with nothing of ours and without a network."""
    text = (CHECKOUT / "docs" / "training.md").read_text("utf-8")
    examples = EXAMPLE.findall(text)
    assert len(examples) == 4
    mini_volume.ready("--dataset", "ljspeech", "--dataset", "nsynth", "--dataset", "fma_small", "--dataset", "musicnet")
    code = "\n".join(["import os", *examples, CHECKS]).replace("/data/", f"{mini_volume.root}/")
    environ = {"PATH": os.environ["PATH"], "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], env=environ, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
