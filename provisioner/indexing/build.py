"""Build one index: the rows of a tree, written to a separate directory in a form that ``datasets`` reads."""

from __future__ import annotations

import contextlib
import json
import os
from collections import defaultdict
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Final

from provisioner.indexing.card import card, card_of_tables
from provisioner.indexing.model import IndexTooLargeError, Problem, Row, split_name
from provisioner.indexing.rendering import Batch, Place
from provisioner.indexing.workers import rendered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from provisioner.indexing.model import Found
    from provisioner.indexing.registry import Choice

_BATCH: Final = 500
"""Rows that are rendered at once."""
PROBLEMS: Final = "problems.jsonl"
"""The file of problems found in the tree, one per line."""


@dataclass(slots=True)
class Summary:
    """The content of an index."""

    rows: dict[str, int] = field(default_factory=dict)
    """Number of rows by split, under a name that ``datasets`` accepts."""
    problems: dict[str, int] = field(default_factory=dict)
    """Number of occurrences of each problem."""
    tables: tuple[str, ...] = ()
    """Names of the tables whose files contain the rows, which are not counted."""

    @property
    def total(self) -> int:
        """Number of rows in all splits."""
        return sum(self.rows.values())


class IndexBuilder:
    """Writes one index."""

    def __init__(
        self,
        dataset: str,
        choice: Choice,
        tree: Path,
        target: Path,
        published: Path,
        *,
        workers: int,
        most_bytes: int | None = None,
        check_cancelled: Callable[[], None],
        is_part: bool = False,
    ) -> None:
        """Prepare; nothing is read or written yet.

        Args:
            dataset: its id.
            choice: the reader that recognises the tree.
            tree: the files.
            target: an empty directory.
            published: the path at which the app finds the files.
            workers: processes that read headers.
            most_bytes: the most bytes that the rows may have; ``None`` means no limit.
            check_cancelled: called for every batch; raises to end the work.
            is_part: whether the tree has only some of the examples in its tables, so that missing files are not a problem.
        """
        self._dataset = dataset
        self._name, self._reader = choice
        self._tree = tree
        self._target = target
        # From index/ID, where ID may have several components; rows are in index/ID/SPLIT.
        self._top = f"{'../' * (2 + dataset.count('/'))}datasets/{dataset}"
        self._place = Place(str(tree), str(published), f"../{self._top}")
        self._workers = workers
        self._most_bytes = most_bytes
        self._size = 0
        self._check_cancelled = check_cancelled
        self._is_part = is_part
        self._summary = Summary()
        self._files: dict[str, IO[bytes]] = {}
        self._rates: set[int] = set()
        self._labels: dict[str, set[str]] = defaultdict(set)
        self._open = contextlib.ExitStack()

    def build(self, facts: Mapping[str, str]) -> Summary:
        """Read the tree, and write everything; if there is no row, nothing but empty files is left.

        Args:
            facts: facts about the origin of the index, for the card.

        Raises:
            ReaderError: the tree cannot be read.
            IndexTooLargeError: the rows exceed the limit.
            WorkerLostError: a worker process was killed.
            OSError: the target cannot be written.
        """
        if self._reader.describe is not None:
            front = self._reader.describe(self._tree, self._top)
            self._summary.tables = tuple(config["config_name"] for config in front["configs"])
            (self._target / "README.md").write_text(card_of_tables(self._dataset, front, facts), "utf-8")
            return self._summary
        with self._open:
            problems = self._open.enter_context((self._target / PROBLEMS).open("wb"))
            batches = self._batches(self._reader.read(self._tree), problems)
            with contextlib.closing(rendered(batches, self._workers)) as results:
                for batch, lines in results:
                    self._check_cancelled()
                    self._size += len(lines.data)
                    if self._most_bytes is not None and self._size > self._most_bytes:
                        raise IndexTooLargeError
                    self._file_of(batch.rows[0].split).write(lines.data)
                    self._summary.rows[split_name(batch.rows[0].split)] += lines.count
                    self._rates |= lines.rates
                    for name, values in lines.labels.items():
                        self._labels[name] |= values
                    for problem in lines.problems:
                        self._note(problem, problems)
        self._summary.rows = dict(sorted(self._summary.rows.items(), key=_place_of_split))
        text = card(
            self._dataset,
            self._reader,
            self._summary.rows,
            labels={name: sorted(values) for name, values in self._labels.items()},
            rate=next(iter(self._rates)) if len(self._rates) == 1 else None,
            problems=self._summary.problems,
            facts=facts,
        )
        (self._target / "README.md").write_text(text, "utf-8")
        if not self._summary.problems:
            (self._target / PROBLEMS).unlink()
        return self._summary

    def _batches(self, found: Iterable[Found], problems: IO[bytes]) -> Iterator[Batch]:
        """Yield the rows of each split in batches; write problems to their file."""
        columns = tuple(column.name for column in self._reader.columns)
        labels = tuple(column.name for column in self._reader.columns if _is_open_label(column.feature))
        waiting: dict[str, list[Row]] = defaultdict(list)

        def batch(split: str) -> Batch:
            return Batch(self._place, self._reader.medium, columns, labels, waiting.pop(split))

        for one in found:
            if isinstance(one, Problem):
                self._note(one, problems)
                continue
            if self._is_part and not self._is_there(one.file):
                continue
            rows = waiting[one.split]
            rows.append(one)
            if len(rows) >= _BATCH:
                yield batch(one.split)
        for split in list(waiting):
            yield batch(split)

    def _is_there(self, file: str) -> bool:
        """Return whether the file of a row is in the tree; names come from tables, which may hold anything."""
        return "\0" not in file and os.path.lexists(f"{self._tree}/{file}")

    def _file_of(self, split: str) -> IO[bytes]:
        """Return the open file of a split."""
        name = split_name(split)
        if name not in self._files:
            directory = self._target / name
            directory.mkdir()
            self._files[name] = self._open.enter_context((directory / "metadata.jsonl").open("wb"))
            self._summary.rows[name] = 0
        return self._files[name]

    def _note(self, problem: Problem, problems: IO[bytes]) -> None:
        reason = problem.reason
        self._summary.problems[reason] = self._summary.problems.get(reason, 0) + 1
        record = {"file": problem.file.encode("utf-8", "backslashreplace").decode(), "problem": reason}
        problems.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")


def _place_of_split(split: tuple[str, int]) -> tuple[int, str]:
    """Return the key by which splits are sorted: those for training first, those for testing last."""
    name = split[0]
    places = (place for place, begin in enumerate(("tr", "val", "dev", "")) if name.startswith(begin))
    return (4 if name.startswith("test") else next(places), name)


def _is_open_label(feature: Mapping[str, object]) -> bool:
    """Return whether a label column's values are collected from the rows."""
    dtype = feature.get("dtype")
    return isinstance(dtype, dict) and dtype.get("class_label") == {"names": {}}
