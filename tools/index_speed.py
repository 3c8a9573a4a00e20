"""Measure the cost of NSynth's index: 305,979 notes with its names and tables, but only headers in place of audio.

    python -m tools.index_speed [NOTES]

The files are sparse, in a temporary directory: one page each, 1.3 GB in all if that is in memory (`TMPDIR=/dev/shm`).
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from provisioner.indexing.build import IndexBuilder
from provisioner.indexing.registry import reader_of
from provisioner.volume.parallel import usable_cores
from tests.support.media import wav
from tests.support.miniature import nsynth_note

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NOTES: Final = 305_979
SHARES: Final = {"train": 289_205 / NOTES, "valid": 12_678 / NOTES, "test": 4_096 / NOTES}
SAMPLES: Final = 64_000
LOADER: Final = """
import sys, time
begun = time.monotonic()
from datasets import disable_progress_bars, load_dataset
disable_progress_bars()
rows = load_dataset(sys.argv[1], split="train").remove_columns("audio")
print(f"{time.monotonic() - begun:.1f} s, {len(rows):,} rows, the first of pitch {rows[0]['pitch']}")
"""


def main(arguments: Sequence[str]) -> int:
    """Create the tree, build its index, and load it twice."""
    count = int(arguments[0]) if arguments else NOTES
    with tempfile.TemporaryDirectory(prefix="index-speed-") as directory:
        root = Path(directory)
        tree, index = root / "datasets" / "nsynth", root / "index" / "nsynth"
        for split, share in SHARES.items():
            make_split(tree / f"nsynth-{split}", round(share * count))
        index.mkdir(parents=True)
        choice = reader_of(tree)
        assert choice is not None  # noqa: S101 - for the type checker
        begun = time.monotonic()
        builder = IndexBuilder("nsynth", choice, tree, index, tree, workers=usable_cores(), check_cancelled=lambda: None)
        summary = builder.build({})
        seconds = time.monotonic() - begun
        own, helpers = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        size = sum(path.stat().st_size for path in index.rglob("*") if path.is_file())
        print(f"index: {seconds:.1f} s, {summary.total:,} rows, {size / 1e6:.0f} MB")
        print(
            f"memory: {own.ru_maxrss / 1024:.0f} MiB, and {helpers.ru_maxrss / 1024:.0f} MiB for each of {usable_cores()} workers"
        )
        environ = {**os.environ, "HF_HOME": str(root / "cache"), "HF_HUB_OFFLINE": "1"}
        for time_of in ("first", "second"):
            print(f"load_dataset, {time_of} time: ", end="", flush=True)
            subprocess.run([sys.executable, "-I", "-c", LOADER, str(index)], env=environ, check=True)  # noqa: S603 - this Python
    return 0


def make_split(top: Path, count: int) -> None:
    """Write ``examples.json`` and the files of a split; only the header of each takes up space."""
    header = wav(16_000, SAMPLES, "x")[:44]
    (top / "audio").mkdir(parents=True)
    with (top / "examples.json").open("w", encoding="utf-8") as table:
        for place, (name, note) in enumerate(notes(top.name, count)):
            table.write(f"{',' if place else '{'}\n    {json.dumps(name)}: {json.dumps(note, indent=8)}")
            with (top / "audio" / f"{name}.wav").open("wb") as file:
                file.write(header)
                file.truncate(len(header) + 2 * SAMPLES)
        table.write("\n}\n")


def notes(seed: str, count: int) -> Iterator[tuple[str, object]]:
    """Yield notes under unique names."""
    kinds = [nsynth_note(f"{seed}-{place}") for place in range(1000)]
    for place in range(count):
        note = kinds[place % len(kinds)]
        name = f"{note['note_str']}-{place}"
        yield name, note | {"note_str": name}


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
