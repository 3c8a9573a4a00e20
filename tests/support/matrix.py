"""A pytest plugin that writes the fault matrix: which faults the program was subjected to, how often, and whether it coped.

    python -m pytest -p tests.support.matrix --matrix docs/fault-matrix.md --matrix-alone

A section is a test module, named by the first sentence of its docstring. A row is a test: its name says what happens, and
its docstring what must hold then. The counts come from
:mod:`tests.support.tally`, that is, from the places where processes are killed or a server misbehaves.
"""

from __future__ import annotations

import inspect
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.support import tally

if TYPE_CHECKING:
    from collections.abc import Generator

BEGIN: Final = "<!-- matrix:begin -->"
_EXAMPLES: Final = re.compile(r"(\d+) passing, (\d+) failing")
"""Matches the counts in the statistics that hypothesis reports for a test."""
END: Final = "<!-- matrix:end -->"


RECORDED: Final = (
    "tests/faults",
    "tests/unit",
    "tests/contract/test_lock.py",
    "tests/contract/test_xet.py",
    "tests/e2e/test_faults.py",
    "tests/e2e/test_interruption.py",
    "tests/e2e/test_many_containers.py",
    "tests/e2e/test_image.py::test_secrets_of_a_checkout_are_in_no_layer",
)
"""The tests that are rows; of the unit tests, only those with generated input."""
_RECORDED: Final = re.compile(rf"({'|'.join(map(re.escape, RECORDED))})([/:@\[]|$)")
_KEY: Final = "matrix"
"""Name under which a report carries what happened in its test, from the worker process to the one that writes the matrix."""


@dataclass
class Row:
    """One test with all its cases."""

    happens: str
    holds: str
    cases: int = 0
    failed: int = 0
    skipped: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def verdict(self) -> str:
        """Return the outcome as a word."""
        if self.failed:
            return f"**{self.failed} red**"
        return f"{self.skipped} not run" if self.skipped else "green"


def is_recorded(item: pytest.Item) -> bool:
    """Return whether a test is a row of the matrix."""
    if not _RECORDED.match(item.nodeid):
        return False
    return "unit" not in item.path.parts or hasattr(getattr(item, "obj", None), "hypothesis")


class Matrix:
    """Collects the rows while tests run, in one process or in several."""

    def __init__(self, path: Path, *, alone: bool) -> None:
        """Start a matrix.

        Args:
            path: the document to write.
            alone: whether to run no other tests.
        """
        self._path = path
        self._alone = alone
        self._sections: dict[str, tuple[str, dict[tuple[int, str], Row]]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Attach to a report the row of its test, and the faults since the previous report."""
        report: pytest.TestReport = yield
        counts = Counter[str](tally.taken())
        if is_recorded(item):
            if report.when == "call":
                said = _EXAMPLES.findall(getattr(item, "hypothesis_statistics", ""))
                counts["inputs"] += sum(int(passing) + int(failing) for passing, failing in said)
            module, function = getattr(item, "module", None), getattr(item, "function", None)
            section = _sentence(inspect.getdoc(module)) if module else item.location[0]
            record = {"section": section, "holds": _sentence(inspect.getdoc(function)), "counts": dict(counts)}
            report.user_properties = [*report.user_properties, (_KEY, record)]
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add a report to its row."""
        record: dict[str, Any] | None = next((value for key, value in report.user_properties if key == _KEY), None)  # type: ignore[assignment]
        if record is None:
            return
        file, line, name = report.location
        name = name.partition("[")[0]
        rows = self._sections.setdefault(file, (record["section"], {}))[1]
        happens = name.removeprefix("test_").replace("_", " ").capitalize()
        row = rows.setdefault((line or 0, name), Row(happens, record["holds"]))
        row.counts.update(record["counts"])
        row.cases += report.when == "call" or (report.when == "setup" and not report.passed)
        row.failed += report.failed
        row.skipped += report.skipped

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Deselect tests that are not rows, if only the rows are wanted."""
        if self._alone:
            out = [item for item in items if not is_recorded(item)]
            items[:] = [item for item in items if is_recorded(item)]
            config.hook.pytest_deselected(items=out)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Write the table, and print the totals."""
        text = self._path.read_text("utf-8")
        head, _, rest = text.partition(BEGIN)
        _, _, tail = rest.partition(END)
        rows = [row for _, section in self._sections.values() for row in section.values()]
        sums = Counter({kind: sum(row.counts[kind] for row in rows) for kind in tally.KINDS})
        said = (
            f"{len(rows)} rows, {sum(row.cases for row in rows):,} cases: "
            + ", ".join(f"{sums[kind]:,} {kind}" for kind in tally.KINDS)
            + f"; {sum(row.failed for row in rows)} failed, {sum(row.skipped for row in rows)} not run."
        )
        self._path.write_text(f"{head}{BEGIN}\n{said}\n\n{self.table()}{END}{tail}", "utf-8")
        terminalreporter.write_line(said)

    def table(self) -> str:
        """Return all sections as Markdown."""
        lines = []
        for _, (section, rows) in sorted(self._sections.items()):
            lines += [f"### {section}", "", f"| what happens | what holds | cases | {' | '.join(tally.KINDS)} | |"]
            lines.append(f"| --- | --- | ---: |{' ---: |' * len(tally.KINDS)} --- |")
            for _, row in sorted(rows.items()):
                counts = " | ".join(f"{row.counts[kind]:,}" if row.counts[kind] else "" for kind in tally.KINDS)
                lines.append(f"| {row.happens} | {row.holds} | {row.cases:,} | {counts} | {row.verdict} |")
            lines.append("")
        return "\n".join(lines)


def _sentence(text: str | None) -> str:
    """Return the first paragraph of a docstring as one line that fits into a table."""
    return " ".join((text or "").partition("\n\n")[0].split()).replace("|", "\\|")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options for the file and for the selection of tests."""
    parser.addoption("--matrix", type=Path, help="Markdown file whose matrix is written anew")
    parser.addoption("--matrix-alone", action="store_true", help="run no test that is not a row of the matrix")


def pytest_configure(config: pytest.Config) -> None:
    """Register the plugin if a file was named."""
    if config.option.matrix:
        config.pluginmanager.register(Matrix(config.option.matrix, alone=config.option.matrix_alone), "matrix")
