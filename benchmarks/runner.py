"""Run a row: everybody in turn, each in a fresh directory, again and again; results are checked after the clock stopped."""

from __future__ import annotations

import re
import shutil
import statistics
import sys
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from benchmarks import disk, measure
from benchmarks.data import GIB, MIB
from benchmarks.work import ROOT, Bench, Entrant, WrongResultError, empty, settle

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.measure import Measured
    from benchmarks.rows import Row

_REASON_LENGTH: Final = 200
_TOUCHED: Final = 2 * GIB


@dataclass
class Outcome:
    """How an entrant did."""

    name: str
    samples: list[Measured] = field(default_factory=list)
    failure: str = ""
    work_bytes: int = 0
    requests: int | None = None

    def document(self) -> dict[str, Any]:
        """Return it for the JSON file: all samples, and their medians."""
        document: dict[str, Any] = {"name": self.name, "runs": len(self.samples), "failure": self.failure or None}
        if self.samples and not self.failure:
            for key in ("wall_seconds", "cpu_seconds", "resident_bytes", "anonymous_bytes"):
                document[key] = statistics.median(getattr(each, key) for each in self.samples)
            document["work_bytes"] = self.work_bytes
            document["requests"] = self.requests
        document["samples"] = [_rounded(asdict(each)) for each in self.samples]
        return _rounded(document)


def run_row(bench: Bench, row: Row, repeat: int) -> dict[str, Any]:
    """Run it; give what goes into the JSON file."""
    with row.around():
        return _run_row(bench, row, repeat)


def _run_row(bench: Bench, row: Row, repeat: int) -> dict[str, Any]:
    outcomes = [Outcome(entrant.name, work_bytes=entrant.work_bytes) for entrant in row.entrants]
    for entrant, outcome in zip(row.entrants, outcomes, strict=True):
        if not entrant.fresh:
            _once(bench, entrant, outcome, _folder(bench.memory, row, entrant), counted=False)
    _touch(bench.memory / "touched", min(_TOUCHED, max((entrant.work_bytes for entrant in row.entrants), default=0)))
    pairs = list(zip(row.entrants, outcomes, strict=True))
    for attempt in range(repeat):
        first = attempt % len(pairs)  # nobody always goes first, or always after the same one
        for entrant, outcome in pairs[first:] + pairs[:first]:
            if outcome.failure or attempt >= (entrant.repeat or repeat):
                continue
            if row.place == "disk":
                with disk.fresh(bench.disk) as folder:
                    _once(bench, entrant, outcome, _folder(folder, row, entrant))
            else:
                _once(bench, entrant, outcome, _folder(bench.memory, row, entrant))
            last = outcome.samples[-1] if outcome.samples else None
            print(f"  {entrant.name:28} {_line(last, outcome.failure)}", file=sys.stderr, flush=True)
    shutil.rmtree(bench.memory / row.id, ignore_errors=True)
    return {
        "id": row.id,
        "title": row.title,
        "place": row.place,
        "note": row.note,
        "files": row.files,
        "targets": [asdict(target) for target in row.targets],
        "entrants": [outcome.document() for outcome in outcomes],
    }


def _touch(path: Path, count: int) -> None:
    """Use as much memory as a run will: a virtual machine gets it from its host at the first touch, which is slow."""
    with path.open("wb") as file:
        for _ in range(0, count, MIB):
            file.write(bytes(MIB))
    path.unlink()


def _folder(base: Path, row: Row, entrant: Entrant) -> Path:
    """Return the directory that an entrant fills."""
    return base / row.id / re.sub(r"[^a-z0-9]+", "-", entrant.name.lower()).strip("-") / "target"


def _once(bench: Bench, entrant: Entrant, outcome: Outcome, target: Path, *, counted: bool = True) -> None:
    """Let an entrant work once, and look at what it did."""
    home, log = bench.work / "home", bench.work / "last.log"
    if entrant.fresh or not counted:
        empty(target)
    empty(home)
    command = (entrant.start if counted or entrant.prepare is None else entrant.prepare)(target)
    settle()
    asked = bench.server.requests()
    measured = measure.run(command, home, log)
    outcome.requests = bench.server.requests() - asked
    if counted:
        outcome.samples.append(measured)
    if measured.code:
        outcome.failure = f"exit code {measured.code}: {_last_line(log, bench, target)}"
    else:
        try:
            entrant.check(target)
        except WrongResultError as error:
            outcome.failure = str(error)
    if entrant.fresh:
        shutil.rmtree(target, ignore_errors=True)


def _last_line(log: Path, bench: Bench, target: Path) -> str:
    """Return the end of what a tool said, without this machine's directories."""
    lines = [line for line in log.read_text("utf-8", errors="replace").splitlines() if line.strip()]
    text = re.sub(r"\x1b\[[0-9;]*m", "", " ".join(lines[-3:]))
    for path, name in ((target, "TARGET"), (bench.work, "WORK"), (bench.memory, "WORK"), (bench.disk, "WORK"), (ROOT, ".")):
        text = text.replace(str(path), name)
    return text[-_REASON_LENGTH:]


def _line(measured: Measured | None, failure: str) -> str:
    if failure or measured is None:
        return f"FAILED: {failure}"
    memory = measured.anonymous_bytes / 2**20
    return f"{measured.wall_seconds:8.2f} s  {measured.cpu_seconds:8.2f} s CPU  {memory:6.0f} MiB"


def _rounded(document: dict[str, Any]) -> dict[str, Any]:
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in document.items()}
