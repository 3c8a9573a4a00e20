"""Run the benchmarks, or write the documents from what was found: ``python -m benchmarks --help``."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks import disk, facts, limits, neighbours, plot, report, rows, series
from benchmarks.data import Store
from benchmarks.rows import add_repos
from benchmarks.runner import run_row
from benchmarks.server import Server
from benchmarks.work import QUICK, ROOT, Bench, Scale

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RESULTS: Final = ROOT / "docs" / "performance.json"
PAGE: Final = ROOT / "docs" / "performance.md"
PLOTS: Final[dict[str, Callable[[list[dict[str, Any]]], str]]] = {"files": plot.by_files, "bytes": plot.by_bytes}
ROWS: Final = {**rows.ROWS, **neighbours.ROWS}
PARTS: Final = (*ROWS, "memory", "room", "growth", "curves")


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").partition(":")[0])
    parser.add_argument("what", nargs="?", choices=("run", "report"), default="run", help="report: tables and plots alone")
    parser.add_argument("--rows", help=f"only these, separated by commas: {', '.join(PARTS)}")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each (3)")
    parser.add_argument("--quick", action="store_true", help="small sizes: does the harness work? The figures say nothing")
    parser.add_argument("--json", type=Path, help="what was measured: written by run, read by report (docs/performance.json)")
    parser.add_argument("--update", action="store_true", help="with --rows: keep the other rows that the file has")
    parser.add_argument(
        "--work", type=Path, default=ROOT / "build" / "bench", help="where data is kept, and the disk that is meant"
    )
    parser.add_argument("--memory", type=Path, default=Path("/dev/shm"), help="a tmpfs to write to")  # noqa: S108
    parser.add_argument("--image", default="provisioner:latest", help="for the rows in a container")
    options = parser.parse_args(arguments)
    if options.json is None:  # small sizes never reach the documents by themselves
        options.json = options.work / "quick.json" if options.quick else RESULTS
    options.json.parent.mkdir(parents=True, exist_ok=True)
    chosen = options.rows.split(",") if options.rows else list(PARTS)
    if unknown := set(chosen) - set(PARTS):
        parser.error(f"no such rows: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if options.what == "report":
        write_documents(json.loads(options.json.read_text("utf-8")))
        return 0
    known = json.loads(options.json.read_text("utf-8")) if options.update and options.json.exists() else None
    run(options, chosen, known)
    return 0


def run(options: argparse.Namespace, chosen: Sequence[str], known: dict[str, Any] | None) -> None:
    """Measure, and write what was found after each row: a run that is broken off leaves what it had."""
    begun = time.monotonic()
    work = options.work.resolve() / ("quick" if options.quick else "full")
    memory = options.memory / f"provisioner-bench-{os.getpid()}"
    store = Store(work)
    scale = QUICK if options.quick else Scale()
    bench = Bench(scale, store, Server(work, store.files), work, memory, work / "targets")
    (work / "home").mkdir(exist_ok=True)
    memory.mkdir()
    document = known or {"rows": [], "limits": [], "curves": {}, "seconds": 0}
    earlier = document["seconds"]
    document |= {
        "machine": facts.machine(bench),
        "versions": facts.versions(),
        "commit": facts.commit(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "repeat": options.repeat,
        "quick": options.quick,
    }
    try:
        add_repos(bench)
        with bench.server:
            for name in chosen:
                _part(bench, name, document, options)
                document["seconds"] = earlier + round(time.monotonic() - begun)
                options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    finally:
        store.tidy()
        for folder in (memory, bench.disk):
            shutil.rmtree(folder, ignore_errors=True)


def _part(bench: Bench, name: str, document: dict[str, Any], options: argparse.Namespace) -> None:
    """Measure one part, and put it in the place of an older one."""
    say(f"{time.strftime('%H:%M:%S')} {name}")
    if name in ROWS:
        found = run_row(bench, ROWS[name](bench), options.repeat) | {"commit": document["commit"]}
        others = [row for row in document["rows"] if row["id"] != name]
        document["rows"] = sorted([*others, found], key=lambda row: list(ROWS).index(row["id"]))
    elif name == "curves":
        document["curves"] = {"files": series.by_files(bench, options.repeat), "bytes": series.by_bytes(bench, options.repeat)}
    else:
        document["limits"] = [one for one in document["limits"] if one["part"] != name]
        document["limits"] += [finding.document(name) for finding in _limits(bench, name, options.image)]


def _limits(bench: Bench, name: str, image: str) -> list[limits.Finding]:
    if name == "growth":
        return limits.growth(bench)
    if name == "memory":
        if limits.has_image(image):
            return limits.memory(bench, image)
        say(f"  left out: there is no Docker engine with {image}")
    elif disk.may_mount():
        return limits.room(bench)
    else:
        say("  left out: only root may mount a small volume")
    return []


def write_documents(document: dict[str, Any]) -> None:
    """Write the tables and the plots."""
    PAGE.write_text(report.with_tables(PAGE.read_text("utf-8"), document), encoding="utf-8")
    for name, draw in PLOTS.items():
        if document["curves"].get(name):
            (PAGE.parent / f"performance-{name}.svg").write_text(draw(document["curves"][name]), encoding="utf-8")


def say(text: str) -> None:
    """Tell the person who waits."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
