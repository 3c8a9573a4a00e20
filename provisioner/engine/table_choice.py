"""The choice of an archive's files by tables from another archive, made before any of these files is here."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from provisioner.catalog.examples import is_medium
from provisioner.catalog.parts import SPLIT_COLUMN, Example, choose
from provisioner.errors import PartError
from provisioner.planning.capacity import can_come_in_part
from provisioner.units import format_count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from provisioner.catalog.artifact import Artifact
    from provisioner.catalog.parts import PartRule

_LOGGER = logging.getLogger(__name__)

NEEDS_HEADERS: Final = frozenset({"duration", "sampling_rate"})
"""Columns of an index whose values come from the files themselves."""


class TableChoice:
    """The choice of one part by tables; it is asked by the unpacking thread, for one archive after the other."""

    def __init__(self, rule: PartRule, label: str, tree: Path, reader: str, *, check_cancelled: Callable[[], None]) -> None:
        """Read nothing yet.

        Args:
            rule: the rule of the part.
            label: names the part.
            tree: where the tables are.
            reader: name of the reader for these tables.
            check_cancelled: raises when the run must end.
        """
        self._rule = rule
        self._label = label
        self._tree = tree
        self._reader = reader
        self._check_cancelled = check_cancelled
        self.left_out: set[str] = set()
        """Paths of the files that were not taken, in the archives that have been asked about so far."""

    def choose(self, sizes: Mapping[str, int]) -> Callable[[str], bool]:
        """Return which of an archive's files are taken; see :data:`provisioner.volume.archive.target.Choose`.

        Raises:
            PartError: the tables cannot be read.
            ProvisionerError: the run must end.
        """
        if not sizes and self._rule.takes_some:
            return self._rule.matches_path  # a tar: its number of files is known only when it is unpacked
        chosen = choose(self._rule, self._examples(sizes))
        if sizes:
            # A file of which nothing is known cannot be said to belong to the part.
            left_out = {path for path in sizes if path in chosen.left_out or (is_medium(path) and path not in chosen.taken)}
            self.left_out |= left_out
            count = len(chosen.taken) + len(left_out)
            _LOGGER.info("%s: %s of %s belong to the part", self._label, f"{len(chosen.taken):,}", format_count(count, "example"))

        def is_taken(path: str) -> bool:
            if path in chosen.taken:
                return True
            return path not in chosen.left_out and not is_medium(path) and self._rule.matches_path(path)

        return is_taken

    def _examples(self, sizes: Mapping[str, int]) -> Iterator[Example]:
        from provisioner.indexing.model import ReaderError, Row  # noqa: PLC0415 - most data sets are taken whole
        from provisioner.indexing.registry import reader_named  # noqa: PLC0415 - the same

        read = reader_named(self._reader).read_tables
        assert read is not None  # noqa: S101 - the registry names only readers that have it
        try:
            for row in read(self._tree, sizes.keys()):
                if isinstance(row, Row) and row.file in sizes:
                    self._check_cancelled()
                    yield Example(row.file, sizes[row.file], {**row.values, SPLIT_COLUMN: row.split})
        except ReaderError as error:
            raise PartError(f"{self._label}: its examples cannot be read: {error}; nothing was published") from error


def tables_among(rule: PartRule, artifacts: Sequence[Artifact]) -> dict[str, str]:
    """Return the reader of each archive of tables, by content id; empty if the tables do not decide.

    Args:
        rule: the rule of the part.
        artifacts: the artifacts of the source.
    """
    from provisioner.indexing.registry import TABLES  # noqa: PLC0415 - most data sets are taken whole

    archives = [artifact for artifact in artifacts if artifact.unpack != "none"]
    found = {artifact.content_id: TABLES[stem] for artifact in archives if (stem := _stem(artifact)) in TABLES}
    others = len(archives) - len(found)
    # How many are taken from several archives together is not known until all of them are here.
    is_known = others == 1 if rule.takes_some else others > 0
    condition = rule.condition
    if condition is not None and not NEEDS_HEADERS.isdisjoint(test.column for test in condition.tests()):
        return {}
    return found if found and is_known else {}


def fetched_by_members(rule: PartRule | None, artifacts: Sequence[Artifact]) -> frozenset[str]:
    """Return the content ids of the archives from which a rule takes single members, if their servers allow that."""
    if rule is None:
        return frozenset()
    tables = {} if rule.is_by_path else tables_among(rule, artifacts)
    if not (tables or rule.is_by_path):
        return frozenset()
    found = (artifact.content_id for artifact in artifacts if can_come_in_part(artifact))
    return frozenset(content_id for content_id in found if content_id not in tables)


def _stem(artifact: Artifact) -> str:
    return artifact.name.rpartition("/")[2].partition(".")[0]
