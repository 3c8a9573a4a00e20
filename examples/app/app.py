"""An example of an app that the provisioner starts: it lists its data sets and opens one, offline.

It needs only its environment:

* `DATASETS_DIR`: the directory with one entry for each data set;
* `TRACKIO_DATASET_ID` or `TRACKIO_DATASET_REPO`: the repository for its experiment logs.

With `--serve` it runs until SIGTERM and then exits with 0, as a server would.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COLUMNS = ("id", "text", "normalized_text")
METADATA = Path("ljspeech", "LJSpeech-1.1", "metadata.csv")


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run the app, and return its exit code: 0 if it found its data."""
    parser = argparse.ArgumentParser(prog="app", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--serve", action="store_true", help="run until SIGTERM")
    options = parser.parse_args(arguments)
    ended = threading.Event()
    if options.serve:
        # Before anything else, so that a signal during the start is not lost.
        signal.signal(signal.SIGTERM, lambda *_: ended.set())
        signal.signal(signal.SIGINT, lambda *_: ended.set())
    directory = environment.get("DATASETS_DIR")
    if not directory:
        say("DATASETS_DIR is not set: start this app through the provisioner, or source provision.env first")
        return 78
    datasets = Path(directory)
    say(f"app: process {os.getpid()}, data sets in {datasets}")
    say(f"app: experiment logs would go to {log_repository(environment)}")
    if not datasets.is_dir() or not any(datasets.iterdir()):
        say("app: no data set is there")
        return 66
    for path in sorted(datasets.iterdir()):
        files, size = measure(path)
        say(f"app: {path.name:<12} {files:>8,} files {size:>16,} bytes")
    if (datasets / METADATA).is_file():
        say(f"app: first row of {METADATA}: {first_row(datasets / METADATA)}")
    if options.serve:
        say("app: serving until SIGTERM")
        ended.wait()
        say("app: asked to end, bye")
    return 0


def say(line: str) -> None:
    """Print a line at once, since a program may read it from a pipe."""
    print(line, flush=True)


def log_repository(environment: Mapping[str, str]) -> str:
    """Return the name of the repository for experiment logs."""
    return (
        environment.get("TRACKIO_DATASET_ID")
        or environment.get("TRACKIO_DATASET_REPO")
        or "nowhere (neither TRACKIO_DATASET_ID nor TRACKIO_DATASET_REPO is set)"
    )


def measure(directory: Path) -> tuple[int, int]:
    """Return the number of files below a directory (or a link to one), and their bytes."""
    files = size = 0
    for root, _, names in os.walk(directory):
        for name in names:
            files += 1
            size += Path(root, name).stat().st_size
    return files, size


def first_row(metadata: Path) -> dict[str, str]:
    """Return the first row of LJ Speech's table, read offline with `datasets`, or with `csv` if that is not installed.

    The table has no header, and its quotation marks are ordinary characters: it must be read without quoting.
    """
    with tempfile.TemporaryDirectory(prefix="app-") as cache:
        # The library reads these variables when it is imported.
        os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", HF_HOME=cache)
        try:
            library = importlib.import_module("datasets")
        except ImportError:
            say("app: the library `datasets` is not installed here (it is left out of the slim image); reading with csv")
            with metadata.open(encoding="utf-8", newline="") as stream:
                row = next(csv.reader(stream, delimiter="|", quoting=csv.QUOTE_NONE))
            return dict(zip(COLUMNS, row, strict=True))
        library.disable_progress_bars()
        table = library.load_dataset(
            "csv",
            data_files=str(metadata),
            split="train",
            cache_dir=cache,
            delimiter="|",
            quoting=csv.QUOTE_NONE,
            column_names=list(COLUMNS),
        )
        say(f"app: opened with datasets, offline: {table.num_rows} rows")
        return dict(table[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
