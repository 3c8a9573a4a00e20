"""Which files of a repository a source takes, by its globs. A glob that matches no file is never ignored silently."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from provisioner.catalog.document import quoted
from provisioner.catalog.globs import Globs, is_literal
from provisioner.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from provisioner.catalog.artifact import UnpackFormat

T = TypeVar("T")

_CORRECT: Final = "Look at the repository's files. If they were changed upstream, correct the catalog, or the reference."


@dataclass(frozen=True, slots=True)
class FileRules:
    """A source's rules about the files that it takes."""

    include: tuple[str, ...] = ()
    """Globs; empty means every file."""
    exclude: tuple[str, ...] = ()
    unpack: tuple[tuple[str, UnpackFormat], ...] = ()
    """From glob to format; the first that matches a file counts."""
    splits: tuple[tuple[str, str], ...] = ()
    """From glob to split; the first that matches a file counts."""
    chosen: tuple[str, ...] = ()
    """Splits that are taken; empty means all."""


class Selection:
    """The files of one listing that the rules take."""

    def __init__(self, rules: FileRules, paths: Collection[str], where: str) -> None:
        """Apply the rules.

        Args:
            rules: the rules of the source.
            paths: paths of all files in the repository.
            where: names the repository and its revision in messages.

        Raises:
            NotFoundError: the rules name files that do not exist.
        """
        self._globs = Globs(paths)
        self._where = where
        self.warnings: list[str] = []
        """Warnings about globs that match no file, although the selection may be right."""
        included = self._included(rules.include, paths)
        excluded = {glob: self._globs.matches(glob) for glob in rules.exclude}
        self._warn("exclude", excluded)
        self.kept = kept = included.difference(*excluded.values())
        """The files that are taken, and those of splits that are not."""
        if not kept:
            raise self._error("holds no file" if not included else "holds no file that 'exclude' leaves")
        self._formats = self._first_matches("unpack", rules.unpack, kept)
        splits = self._first_matches("splits", rules.splits, kept)
        for name in rules.chosen:
            if name not in splits.values():
                raise self._error(f"holds no file of the split {quoted(name)}")
        self.paths = frozenset(path for path in kept if not rules.chosen or splits.get(path) in {None, *rules.chosen})
        """The files that are taken."""

    def format_of(self, path: str) -> UnpackFormat:
        """Return how a file is unpacked."""
        return self._formats.get(path, "none")

    def _included(self, globs: tuple[str, ...], paths: Collection[str]) -> frozenset[str]:
        if not globs:
            return frozenset(paths)
        found = {glob: self._globs.matches(glob) for glob in globs}
        for glob, matched in found.items():
            # A file named by its exact path must exist. Among several globs, some may match only in other repositories.
            if not matched and (is_literal(glob) or not any(found.values())):
                raise self._error(f"does not hold {glob}, which 'include' names", glob)
        self._warn("include", found)
        return frozenset().union(*found.values())

    def _first_matches(self, key: str, globs: Iterable[tuple[str, T]], kept: frozenset[str]) -> dict[str, T]:
        """Return, for each file, the value of the first glob that matches it.

        Raises:
            NotFoundError: there are globs of splits, and none matches any file.
        """
        values: dict[str, T] = {}
        found = {glob: (self._globs.matches(glob) & kept, value) for glob, value in globs}
        for matched, value in found.values():
            for path in matched:
                values.setdefault(path, value)
        if found and not values and key != "unpack":
            glob = next(iter(found))
            raise self._error(f"holds no file that {quoted(glob)} under {key!r} names", glob)
        # Without an archive there is nothing to unpack, and every file is taken unchanged.
        self._warn(key, {glob: matched for glob, (matched, _) in found.items()})
        return values

    def _warn(self, key: str, found: Mapping[str, Collection[str]]) -> None:
        for glob, matched in found.items():
            if not matched:
                self.warnings.append(" ".join(filter(None, (f"{key!r}: {quoted(glob)} names no file.", self._globs.hint(glob)))))

    def _error(self, problem: str, glob: str = "") -> NotFoundError:
        hint = self._globs.hint(glob) if glob else ""
        return NotFoundError(f"{self._where} {problem}", hint=" ".join(filter(None, (hint, _CORRECT))))
