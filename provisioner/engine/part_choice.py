"""Which files of a data set belong to the part that was requested, as known from paths, a listing, or its tables.

Files that can be ruled out in advance are not fetched. Archives and tables come first if a rule needs them; files in
them that do not belong to the part are unpacked into staging, but never published.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from provisioner.catalog.conditions import ConditionError, check_columns
from provisioner.catalog.document import quoted
from provisioner.catalog.examples import file_examples, is_medium, medium_of
from provisioner.catalog.parts import SPLIT_COLUMN, Example, choose
from provisioner.engine.rule_check import kind_of_feature
from provisioner.engine.staged_tree import Part
from provisioner.engine.table_choice import NEEDS_HEADERS, TableChoice, tables_among
from provisioner.errors import PartError
from provisioner.units import format_count

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, MutableMapping, Sequence
    from collections.abc import Set as AbstractSet

    from provisioner.catalog.artifact import Artifact
    from provisioner.catalog.conditions import Kind
    from provisioner.catalog.parts import PartRule
    from provisioner.engine.staged_tree import StagedTree
    from provisioner.indexing.model import Medium, Reader
    from provisioner.remote.resolved import Resolved
    from provisioner.volume.archive.target import Choose
    from provisioner.volume.store.entry import Entry

_LOGGER = logging.getLogger(__name__)

_BY_NAME: Final = frozenset({"audio_folder", "image_folder"})
"""Readers that know a tree by its file names alone: all names are listed for them, whether the files were fetched or not."""
_MIDI: Final = (".mid", ".midi")
_MOST_LINKS: Final = 40
"""How many symbolic links Linux follows in one path."""


class PartChoice:
    """Applies the rule of one part while it is built."""

    def __init__(
        self, rule: PartRule, label: str, tree: StagedTree, *, known: frozenset[str] | None, check_cancelled: Callable[[], None]
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            rule: the rule of the part.
            label: names the part.
            tree: where it is built.
            known: all paths of the part, if it is built again to be repaired, or ``None`` if they must be found out.
            check_cancelled: raises when the run must end.
        """
        self._rule = rule
        self._label = label
        self._tree = tree
        self._known = known
        self._check_cancelled = check_cancelled
        self._left_out: frozenset[str] | None = None
        self._medium: Medium = "none"
        """The kind of the data set's examples, as far as a reader knows it."""
        self._tables: dict[str, str] = {}
        """The reader of each archive of tables, by the content id of the archive."""
        self._by_tables: TableChoice | None = None

    def begin(self, resolved: Resolved) -> Resolved:
        """Return a source with what must be fetched first; if :attr:`is_decided` holds then, nothing else is needed.

        Raises:
            PartError: it holds nothing that the rule could take.
        """
        if self._known is not None or self._rule.is_by_path:
            self._left_out = frozenset()
        else:
            self._left_out = self._tree.recorded_choice(resolved.key)
        if self._left_out is not None:
            return self.reduced(resolved)
        if not any(artifact.unpack != "none" or _is_example(artifact.path) for artifact in resolved.artifacts):
            raise PartError(
                f"{self._label}: it has no audio, image or MIDI files and no archives, so nothing can be chosen by where, limit"
                " or bytes; nothing was fetched",
                hint="Choose files by include and exclude.",
            )
        return replace(resolved, artifacts=first_artifacts(self._rule, resolved.artifacts))

    def tables(self, resolved: Resolved) -> Resolved | None:
        """Return a source with the tables that decide which files of its archives are taken, or ``None`` if there are none."""
        self._tables, self._by_tables = {}, None
        if not self.is_decided:
            self._tables = tables_among(self._rule, resolved.artifacts)
        if not self._tables:
            return None
        found = tuple(artifact for artifact in resolved.artifacts if artifact.content_id in self._tables)
        return replace(resolved, artifacts=found)

    def use_tables(self) -> None:
        """Choose by the tables, which are now in the staged tree."""
        reader = next(iter(self._tables.values()))
        self._by_tables = TableChoice(self._rule, self._label, self._tree.path, reader, check_cancelled=self._check_cancelled)

    def chooser(self, artifact: Artifact) -> Choose | None:
        """Return the choice of an archive's files, as far as it is known before unpacking, or ``None`` if it is not known."""
        if self.is_decided:
            # In a tar, a hard link may refer to the content of a member that is left out, so all of it is unpacked
            # first.
            if artifact.unpack != "zip" and (self._known is not None or not self._rule.is_by_path):
                return None
            return lambda _sizes: self.keeps
        if self._by_tables is None or artifact.content_id in self._tables:
            return None
        return self._by_tables.choose

    @property
    def is_decided(self) -> bool:
        """Whether it is known which examples are left out."""
        return self._left_out is not None

    def decide(self, resolved: Resolved, parts: Mapping[str, Part]) -> None:
        """Find out which examples are left out, and record it.

        Args:
            resolved: the whole source.
            parts: what is in the staged tree, which is everything that :meth:`begin` named.

        Raises:
            PartError: the rule does not fit the data set, or takes nothing from it.
            ProvisionerError: the volume failed, or the run must end.
        """
        sizes = {entry.path: entry.size for part in parts.values() for entry in part.entries if entry.kind == "file"}
        here = frozenset(sizes)
        for artifact in resolved.artifacts:
            if artifact.unpack == "none" and artifact.path not in sizes:
                sizes[artifact.path] = artifact.exact_size or 0
        chosen = choose(self._rule, self._examples(sizes, here))
        earlier = self._by_tables.left_out if self._by_tables is not None else set()
        count = len(chosen.taken) + len(chosen.left_out | earlier)
        if not count:
            raise PartError(
                f"{self._label}: it has no examples that where, limit or bytes could choose; nothing was published",
                hint="Choose files by include and exclude.",
            )
        if not chosen.taken:
            raise PartError(
                f"{self._label}: the rule takes none of its {format_count(count, 'example')}; nothing was published",
                hint=f"The rule: {self._rule.words}. Loosen it, or leave it out.",
            )
        if self._by_tables is None:
            # Otherwise this was logged before the archive was opened.
            taken = f"{len(chosen.taken):,}"
            _LOGGER.info("%s: %s of %s belong to the part", self._label, taken, format_count(count, "example"))
        # Nothing is known of a file without a row: neither its licence nor anything else that a condition may test.
        known = chosen.taken | chosen.left_out
        unknown = {path for path in sizes if path not in known and self._is_example(path)}
        self._left_out = chosen.left_out | unknown | earlier
        self._tree.record_choice(resolved.key, self._left_out)

    def reduced(self, resolved: Resolved) -> Resolved:
        """Return a source with its archives, and of its other files those that belong to the part.

        Raises:
            PartError: nothing belongs to it.
        """
        artifacts = tuple(one for one in resolved.artifacts if one.unpack != "none" or self.keeps(one.path))
        if not artifacts:
            raise self._nothing()
        return replace(resolved, artifacts=artifacts)

    def keeps(self, path: str) -> bool:
        """Return whether a file of the tree belongs to the part, once that has been decided."""
        if self._known is not None:
            return path in self._known
        return path not in (self._left_out or ()) and self._rule.matches_path(path)

    def prune(self, artifacts: Sequence[Artifact], parts: MutableMapping[str, Part]) -> None:
        """Take what does not belong to the part out of archives' parts; the files go when the tree is published.

        Raises:
            PartError: nothing is left.
            VolumeError: the volume failed.
        """
        keeps = self._keeps_all(part for artifact in artifacts if (part := parts.get(artifact.content_id)) is not None)
        for artifact in artifacts:
            part = parts[artifact.content_id]
            if artifact.unpack == "none":
                continue
            entries = tuple(entry for entry in part.entries if keeps(entry))
            if len(entries) == len(part.entries):
                continue
            kept = Part(entries, is_whole=False)
            parts[artifact.content_id] = kept
            # If this run is killed while files are removed, the rest is still recorded as the archive's.
            self._tree.record_part(artifact, kept)
        if not any(entry.kind == "file" for part in parts.values() for entry in part.entries):
            raise self._nothing()

    def _keeps_all(self, parts: Iterable[Part]) -> Callable[[Entry], bool]:
        """Return a test for whether an entry of the whole tree belongs to the part: a link does only if its target does."""
        links: dict[str, str] = {}
        others: list[str] = []
        for entry in chain.from_iterable(part.entries for part in parts):
            if not self.keeps(entry.path):
                continue
            if entry.kind == "link":
                links.setdefault(entry.path, entry.target)
            else:
                others.append(entry.path)
        # A version that is being repaired has exactly the links that its manifest names.
        dangling = leading_nowhere(links, others) if links and self._known is None else frozenset()
        if dangling:
            _LOGGER.info(
                "%s: %s left out, since %s to nothing in the part, such as %s",
                self._label,
                "a link is" if len(dangling) == 1 else f"{len(dangling):,} links are",
                "it leads" if len(dangling) == 1 else "they lead",
                quoted(min(dangling)),
            )
        return lambda entry: self.keeps(entry.path) and (entry.kind != "link" or entry.path not in dangling)

    def _nothing(self) -> PartError:
        return PartError(
            f"{self._label}: the rule takes no file of it; nothing was published", hint=f"The rule: {self._rule.words}."
        )

    def _is_example(self, path: str) -> bool:
        """Return whether a file is of the kind that the data set's examples have."""
        if self._medium == "midi":
            return path.lower().endswith(_MIDI)
        return self._medium in ("audio", "image") and is_medium(path, self._medium)

    # --- rows

    def _examples(self, sizes: Mapping[str, int], here: frozenset[str]) -> Iterator[Example]:
        """Yield the examples among the files whose sizes are given.

        Raises:
            PartError: nothing knows the examples of this data set, or the rule does not fit them.
        """
        # Most data sets are taken whole and need none of the readers.
        from provisioner.indexing.model import ReaderError, Row  # noqa: PLC0415
        from provisioner.indexing.registry import reader_of  # noqa: PLC0415

        # Of a repository of single files, only the tables are here.
        missing = sizes.keys() - here
        found = reader_of(self._tree.path, missing and sizes.keys())
        if found is None or found.name in _BY_NAME or found.reader.medium == "table":
            # Rows of tables are not files that could be left out.
            yield from self._examples_by_name(sizes)
            return
        self._medium = found.reader.medium
        needed = self._check(found.reader, found.name)
        try:
            read_tables = found.reader.read_tables if missing else None
            for row in read_tables(self._tree.path, sizes.keys()) if read_tables else found.reader.read(self._tree.path):
                if isinstance(row, Row) and row.file in sizes:
                    self._check_cancelled()
                    values = {**row.values, SPLIT_COLUMN: row.split}
                    if needed:
                        values |= self._header(row.file, here)
                    yield Example(row.file, sizes[row.file], values)
        except ReaderError as error:
            raise PartError(f"{self._label}: its examples cannot be read: {error}; nothing was published") from error

    def _examples_by_name(self, sizes: Mapping[str, int]) -> Iterator[Example]:
        medium = medium_of(sizes)
        if medium is None:
            raise PartError(
                f"{self._label}: no reader of this program knows its examples, so nothing can be chosen by where, limit or bytes;"
                " nothing was published",
                hint="Choose files by include and exclude.",
            )
        self._check_columns({"label": "text"}, f"a directory of {medium} files")
        for split, path, name in file_examples(sorted(sizes), medium):
            yield Example(path, sizes[path], {"label": name, SPLIT_COLUMN: split})

    def _check(self, reader: Reader, name: str) -> bool:
        """Refuse a condition that does not fit a reader's columns; return whether it needs the headers of files."""
        from provisioner.indexing.card import all_columns  # noqa: PLC0415 - as above

        self._check_columns({column.name: kind_of_feature(column.feature) for column in all_columns(reader)}, name)
        condition = self._rule.condition
        return condition is not None and not NEEDS_HEADERS.isdisjoint(test.column for test in condition.tests())

    def _check_columns(self, columns: Mapping[str, Kind], what: str) -> None:
        if (condition := self._rule.condition) is None:
            return
        try:
            check_columns(condition, {**columns, SPLIT_COLUMN: "text"})
        except ConditionError as error:
            raise PartError(f"{self._label}: where: {error.problem} ({what}); nothing was published", hint=error.hint) from error

    def _header(self, file: str, here: frozenset[str]) -> dict[str, Any]:
        """Return what the header of a file says.

        Raises:
            PartError: the file is not here, since the choice is made before it is fetched.
        """
        from provisioner.indexing.media import BrokenMediaError, audio_facts  # noqa: PLC0415 - as above

        if file not in here:
            raise PartError(
                f"{self._label}: where: duration and sampling_rate are read from files, and of this source only the files of the"
                " part are fetched; nothing was published",
                hint="Choose by a column of its tables, or take the whole data set.",
            )
        try:
            facts = audio_facts(f"{self._tree.path}/{file}")
        except (OSError, BrokenMediaError):
            return {}
        return {"duration": facts.duration, "sampling_rate": facts.sampling_rate} if facts else {}


def first_artifacts(rule: PartRule | None, artifacts: Sequence[Artifact]) -> tuple[Artifact, ...]:
    """Return what is fetched before the examples of a part are known: archives and tables; everything if there is no rule."""
    if rule is None:
        return tuple(artifacts)

    def is_first(artifact: Artifact) -> bool:
        if artifact.unpack != "none":
            return True
        # Without a condition, a table is needed only if it is wanted itself.
        is_wanted = bool(rule.where) or rule.matches_path(artifact.path)
        return is_wanted and (rule.is_by_path or not _is_example(artifact.path))

    return tuple(filter(is_first, artifacts))


def _is_example(path: str) -> bool:
    return is_medium(path) or path.lower().endswith(_MIDI)


def leading_nowhere(links: Mapping[str, str], others: Iterable[str]) -> AbstractSet[str]:
    """Return the symbolic links of a tree whose targets are not in it.

    Args:
        links: the target of each link, by its path.
        others: paths of files and of empty directories.
    """
    others = tuple(others)
    left = dict(links)
    while True:
        there = _with_directories(left, others)
        nowhere = [path for path in left if not _leads_somewhere(path, left, there)]
        if not nowhere:
            return links.keys() - left.keys()
        # A directory that held nothing but these links is gone as well.
        for path in nowhere:
            del left[path]


def _with_directories(links: Iterable[str], others: Iterable[str]) -> set[str]:
    """Return the files and directories of a tree, without its links."""
    there = {"", *others}
    for path in chain(links, others):
        above = path.rpartition("/")[0]
        while above not in there:
            there.add(above)
            above = above.rpartition("/")[0]
    return there


def _leads_somewhere(path: str, links: Mapping[str, str], there: Collection[str]) -> bool:
    """Follow a path as the system does: name by name, resolving each link from the directory that it is in."""
    left, at, followed = path.split("/")[::-1], "", 0
    while left:
        name = left.pop()
        if name == "..":
            if not at:
                return False
            at = at.rpartition("/")[0]
            continue
        if name in {"", "."}:
            continue
        below = f"{at}/{name}" if at else name
        if (target := links.get(below)) is not None:
            followed += 1
            if followed > _MOST_LINKS or target.startswith("/"):
                return False
            left += target.split("/")[::-1]
        elif below in there:
            at = below
        else:
            return False
    return True
