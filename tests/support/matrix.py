"""A pytest plugin that writes the matrix of faults: what was done to the program, how often, and whether it held.

    python -m pytest -p tests.support.matrix --matrix docs/fault-matrix.md tests/faults

A section is a module of tests, named by the first sentence of its docstring. A row is a test: its name says what happens, its
docstring what must hold then. The counts come from
:mod:`tests.support.tally`, that is, from the places where a process dies or a server misbehaves.
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
"""In what hypothesis says of a test."""
END: Final = "<!-- matrix:end -->"


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
        """How it went, in a word."""
        if self.failed:
            return f"**{self.failed} red**"
        return f"{self.skipped} not run" if self.skipped else "green"


class Matrix:
    """Collects the rows while tests run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sections: dict[str, dict[str, Row]] = {}

    def _row(self, item: pytest.Item) -> Row:
        module, function = getattr(item, "module", None), getattr(item, "function", None)
        section = _sentence(inspect.getdoc(module)) if module else item.location[0]
        rows = self._sections.setdefault(section, {})
        name = item.name.partition("[")[0]
        happens = name.removeprefix("test_").replace("_", " ").capitalize()
        return rows.setdefault(item.location[0] + name, Row(happens, _sentence(inspect.getdoc(function))))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Count what happens within one test, its fixtures included."""
        tally.taken()
        try:
            return (yield)
        finally:
            self._row(item).counts.update(tally.taken())

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Note how a test ended."""
        report: pytest.TestReport = yield
        row = self._row(item)
        row.cases += report.when == "call" or (report.when == "setup" and not report.passed)
        row.failed += report.failed
        row.skipped += report.skipped
        if report.when == "call":
            said = _EXAMPLES.findall(getattr(item, "hypothesis_statistics", ""))
            row.counts["inputs"] += sum(int(passing) + int(failing) for passing, failing in said)
        return report

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Of the units, those that take any input: the others are no faults."""
        out = [item for item in items if "unit" in item.path.parts and not hasattr(getattr(item, "obj", None), "hypothesis")]
        items[:] = [item for item in items if item not in out]
        config.hook.pytest_deselected(items=out)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Write the table, and say the sums."""
        text = self._path.read_text("utf-8")
        head, _, rest = text.partition(BEGIN)
        _, _, tail = rest.partition(END)
        rows = [row for section in self._sections.values() for row in section.values()]
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
        for section, rows in self._sections.items():
            lines += [f"### {section}", "", f"| what happens | what holds | cases | {' | '.join(tally.KINDS)} | |"]
            lines.append(f"| --- | --- | ---: |{' ---: |' * len(tally.KINDS)} --- |")
            for row in rows.values():
                counts = " | ".join(f"{row.counts[kind]:,}" if row.counts[kind] else "" for kind in tally.KINDS)
                lines.append(f"| {row.happens} | {row.holds} | {row.cases:,} | {counts} | {row.verdict} |")
            lines.append("")
        return "\n".join(lines)


def _sentence(text: str | None) -> str:
    """Return the first paragraph of a docstring on one line, fit for a table."""
    return " ".join((text or "").partition("\n\n")[0].split()).replace("|", "\\|")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the file."""
    parser.addoption("--matrix", type=Path, help="Markdown file whose matrix is written anew")


def pytest_configure(config: pytest.Config) -> None:
    """Begin, if a file was named."""
    if config.option.matrix:
        config.pluginmanager.register(Matrix(config.option.matrix), "matrix")
