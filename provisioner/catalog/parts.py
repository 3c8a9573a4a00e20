"""Parts by rule: which examples of a data set are taken, and which files of its tree are left out with the others.

A rule is a small value. What it takes depends only on it and on the data set, not on a clock, the order of a listing, or the
machine.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace
from fnmatch import translate
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from provisioner.errors import PartError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from provisioner.catalog.conditions import Condition
    from provisioner.catalog.model import Commercial
    from provisioner.catalog.size import Size

SPLIT_COLUMN: Final = "split"
"""A column that every row has for conditions: the split that it belongs to."""


class Example(NamedTuple):
    """One row of an index, as far as rules need it."""

    path: str
    """Path of its file in the tree."""
    size: int
    """Bytes of that file."""
    values: Mapping[str, Any]


class Chosen(NamedTuple):
    """The result of applying a rule to the examples of a data set."""

    taken: frozenset[str]
    """Paths of the examples that belong to the part."""
    left_out: frozenset[str]
    """Paths of the examples that do not belong to it."""


@dataclass(frozen=True, slots=True)
class PartRule:
    """The definition of a part. All given conditions must hold; ``limit`` and ``bytes`` then take some of what remains."""

    include: tuple[str, ...] = ()
    """Globs over the paths of the tree; empty means every file."""
    exclude: tuple[str, ...] = ()
    where: str = ""
    """A condition on the columns of the index, in its usual form; empty means none."""
    limit: int | None = None
    """The largest number of examples."""
    bytes: int | None = None
    """The largest total size of the examples' files, in bytes."""
    seed: int = 0
    """Determines which examples ``limit`` and ``bytes`` take."""
    commercial: Commercial | None = field(default=None, compare=False)
    """Whether the part may be used commercially; ``None`` if the mark of the whole data set applies."""
    download: Size | None = field(default=None, compare=False)
    """Bytes to transfer, if only the part is fetched; ``None`` if unknown."""
    unpacked_size: Size | None = field(default=None, compare=False)
    """Bytes of its tree; ``None`` means unknown."""
    text: str = field(default="", compare=False)
    """The text after the data set's name: ``:tiny``, or ``?limit=100&seed=1``."""

    @property
    def identity(self) -> dict[str, Any]:
        """Its part of a recipe, as JSON values: equal for rules that are written differently but mean the same."""
        found: dict[str, Any] = {}
        if self.include:
            found["include"] = sorted(set(self.include))
        if self.exclude:
            found["exclude"] = sorted(set(self.exclude))
        if self.where:
            found["where"] = self.where
        if self.limit is not None:
            found["limit"] = self.limit
        if self.bytes is not None:
            found["bytes"] = self.bytes
        return found | ({"seed": self.seed} if self.takes_some else {})

    @property
    def takes_some(self) -> bool:
        """Whether it takes a number of examples, and not all that match."""
        return self.limit is not None or self.bytes is not None

    @property
    def is_by_path(self) -> bool:
        """Whether it depends on paths alone, so that nothing must be read to apply it."""
        return not self.where and not self.takes_some

    @property
    def condition(self) -> Condition | None:
        """The condition under ``where``."""
        if not self.where:
            return None
        from provisioner.catalog.condition_parser import parse_condition  # noqa: PLC0415 - a start with nothing to do has no use for it

        return parse_condition(self.where)

    @property
    def words(self) -> str:
        """The rule in words: ``where license in ('CC-BY'), at most 100 examples (seed 1)``."""
        found = [f"{word} {', '.join(globs)}" for word, globs in (("only", self.include), ("not", self.exclude)) if globs]
        found += [f"where {self.where}"] if self.where else []
        found += [f"at most {self.limit:,} examples"] if self.limit is not None else []
        found += [f"at most {self.bytes:,} bytes of examples"] if self.bytes is not None else []
        return ", ".join(found) + (f" (seed {self.seed})" if self.takes_some else "")

    def matches_path(self, path: str) -> bool:
        """Return whether ``include`` and ``exclude`` keep a file of the tree in the part."""
        is_in = not self.include or any(_names(glob, path) for glob in self.include)
        return is_in and not any(_names(glob, path) for glob in self.exclude)

    def narrowed(self, other: PartRule, *, of: str = "") -> PartRule:
        """Return this part narrowed by another rule, whose ``limit`` and ``bytes`` replace its own.

        The catalog's statements about the part are kept only if no other examples are taken. Errors name the data set ``of``.

        Raises:
            PartError: both choose files by ``include``, or their combined condition is too long.
        """
        from provisioner.catalog.condition_parser import parse_condition  # noqa: PLC0415 - as above
        from provisioner.catalog.conditions import ConditionError  # noqa: PLC0415 - as above

        both = f"{f'{of}: ' if of else ''}the part {self.text!r} narrowed by {other.text!r}"
        if self.include and other.include:
            raise PartError(f"{both}: both choose files by include", hint="Leave files out by exclude.")
        wheres = [one for one in (self.where, other.where) if one]
        try:
            where = str(parse_condition(" and ".join(f"({one})" for one in wheres))) if wheres else ""
        except ConditionError as error:
            raise PartError(f"{both}: {error.problem}", hint=error.hint) from error
        takes = other if other.takes_some else self
        found = PartRule(
            include=other.include or self.include,
            exclude=self.exclude + other.exclude,
            where=where,
            limit=takes.limit,
            bytes=takes.bytes,
            seed=takes.seed,
            text=self.text + other.text,
        )
        if not self.covers(found):
            return found
        return replace(found, commercial=self.commercial, download=self.download, unpacked_size=self.unpacked_size)

    def covers(self, other: PartRule) -> bool:
        """Return whether another rule for the same tree certainly takes no example that this one does not take.

        A number of examples covers only the first ones of the same examples in the same order: among other examples, even
            fewer of them, different ones come first.
        """
        if self.takes_some:
            return (
                (set(self.include), set(self.exclude), self.where, self.seed)
                == (set(other.include), set(other.exclude), other.where, other.seed)
                and _is_within(self.limit, other.limit)
                and _is_within(self.bytes, other.bytes)
            )
        return (
            (not self.include or set(self.include) == set(other.include))
            and set(self.exclude) <= set(other.exclude)
            and self._demands() <= other._demands()
        )

    def _demands(self) -> set[str]:
        """Return the conditions that must all hold."""
        condition = self.condition
        return set() if condition is None else {str(one) for one in condition.demands()}

    def named(self, name: str) -> PartRule:
        """Return the rule as the part with this name in a catalog."""
        return replace(self, text=f":{name}")


def _is_within(bound: int | None, number: int | None) -> bool:
    return bound is None or (number is not None and number <= bound)


def choose(rule: PartRule, examples: Iterable[Example]) -> Chosen:
    """Return which examples a rule takes, regardless of their order.

    An example may have several rows, one of which must satisfy the condition. Among the matching examples, those with the
    smallest hashes of seed and path are taken, so a higher limit takes the same ones and more.
    """
    condition = rule.condition
    sizes: dict[str, int] = {}
    fitting: set[str] = set()
    for path, size, values in examples:
        sizes[path] = size
        if rule.matches_path(path) and (condition is None or condition.matches(values)):
            fitting.add(path)
    taken = frozenset(_some(rule, fitting, sizes) if rule.takes_some else fitting)
    return Chosen(taken, frozenset(sizes.keys() - taken))


def _some(rule: PartRule, paths: Iterable[str], sizes: Mapping[str, int]) -> Iterable[str]:
    left = rule.bytes
    for number, path in enumerate(sorted(paths, key=lambda path: (_place(rule.seed, path), path))):
        if rule.limit is not None and number >= rule.limit:
            return
        if left is not None:
            left -= sizes[path]
            if left < 0:
                return
        yield path


def _place(seed: int, path: str) -> bytes:
    return hashlib.sha256(f"{seed}\n{path}".encode("utf-8", "surrogateescape")).digest()


def _names(glob: str, path: str) -> bool:
    """Return whether a glob matches a file: by its path, or by that of a directory above it."""
    return glob == path or _pattern(glob).match(path) is not None


@cache
def _pattern(glob: str) -> re.Pattern[str]:
    plain = glob.removeprefix("./").rstrip("/")
    below = translate(f"{plain}/*")
    return re.compile(below if glob.endswith("/") else f"{translate(plain)}|{below}")
