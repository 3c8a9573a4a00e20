"""Which files of an archive a part takes, by tables that came in an archive of their own: before any of these files is there."""

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
"""Columns of an index that come from the files themselves."""


class TableChoice:
    """The choice of one part by tables; it is asked by the thread that unpacks, one archive after the other."""

    def __init__(self, rule: PartRule, label: str, tree: Path, reader: str, *, check_cancelled: Callable[[], None]) -> None:
        """Read nothing yet.

        Args:
            rule: of the part.
            label: names the part.
            tree: where the tables are.
            reader: name of the reader that understands them.
            check_cancelled: raises when the run must end.
        """
        self._rule = rule
        self._label = label
        self._tree = tree
        self._reader = reader
        self._check_cancelled = check_cancelled
        self.left_out: set[str] = set()
        """Paths of the files that were not taken, as far as archives have been asked for."""

    def choose(self, sizes: Mapping[str, int]) -> Callable[[str], bool]:
        """Return which of an archive's files are taken, as for :data:`provisioner.volume.archive.target.Choose`.

        Raises:
            PartError: the tables cannot be read.
            ProvisionerError: the run must end.
        """
        if not sizes and self._rule.takes_some:
            return self._rule.matches_path  # a tar: how many are in it is known when it is unpacked
        chosen = choose(self._rule, self._examples(sizes))
        if sizes:
            # What nothing is known of cannot be said to belong to the part.
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
    """Return the content ids of the archives of tables, with the reader of each; nothing, if the tables do not decide.

    Args:
        rule: of the part.
        artifacts: of the source.
    """
    from provisioner.indexing.registry import TABLES  # noqa: PLC0415 - most data sets are taken whole

    archives = [artifact for artifact in artifacts if artifact.unpack != "none"]
    found = {artifact.content_id: TABLES[stem] for artifact in archives if (stem := _stem(artifact)) in TABLES}
    others = len(archives) - len(found)
    # How many are taken of several archives together is not known before all of them are there.
    is_known = others == 1 if rule.takes_some else others > 0
    condition = rule.condition
    if condition is not None and not NEEDS_HEADERS.isdisjoint(test.column for test in condition.tests()):
        return {}
    return found if found and is_known else {}


def fetched_by_members(rule: PartRule | None, artifacts: Sequence[Artifact]) -> frozenset[str]:
    """Return the content ids of the archives of which a rule takes single members, as far as their servers allow it."""
    if rule is None:
        return frozenset()
    tables = {} if rule.is_by_path else tables_among(rule, artifacts)
    if not (tables or rule.is_by_path):
        return frozenset()
    found = (artifact.content_id for artifact in artifacts if can_come_in_part(artifact))
    return frozenset(content_id for content_id in found if content_id not in tables)


def _stem(artifact: Artifact) -> str:
    return artifact.name.rpartition("/")[2].partition(".")[0]
