"""Conditions on the columns of an index, as in ``where`` of a part; :mod:`.condition_parser` parses them.

A missing value (null) is equal only to null, and neither smaller nor larger than anything. There are only two truth values,
so that ``not`` takes exactly what a condition leaves out.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, NoReturn

from provisioner.catalog.document import nearest, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Kind = Literal["text", "number", "truth", "list", "other"]
"""The type of a column's values; ``list``: texts or numbers; ``other``: values that cannot be compared."""
Scalar = str | int | float | bool | None

ORDERED: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class ConditionError(Exception):
    """A condition is malformed, or does not fit the columns."""

    def __init__(self, problem: str, hint: str = "") -> None:
        """Remember the problem, and a hint."""
        super().__init__(problem)
        self.problem = problem
        self.hint = hint


class Compare(NamedTuple):
    """A column compared with a value."""

    column: str
    comparison: str
    value: Scalar

    def matches(self, values: Mapping[str, Any]) -> bool:
        """Return whether a row satisfies it."""
        found = values.get(self.column)
        if self.comparison in {"==", "!="}:
            return (_is_same(found, self.value)) is (self.comparison == "==")
        return kind_of(found) == kind_of(self.value) and ORDERED[self.comparison](found, self.value)

    def demands(self) -> tuple[Condition, ...]:
        """Return conditions that together are equivalent to this one."""
        return (self,)

    def tests(self) -> tuple[Test, ...]:
        """Return the tests of columns in it."""
        return (self,)

    def __str__(self) -> str:
        """Return the condition in its usual form."""
        return f"{self.column} {self.comparison} {shown(self.value)}"


class OneOf(NamedTuple):
    """A column that has one of several values."""

    column: str
    values: tuple[Scalar, ...]

    def matches(self, values: Mapping[str, Any]) -> bool:
        """Return whether a row satisfies it."""
        found = values.get(self.column)
        return any(_is_same(found, value) for value in self.values)

    def demands(self) -> tuple[Condition, ...]:
        """Return conditions that together are equivalent to this one."""
        return (self,)

    def tests(self) -> tuple[Test, ...]:
        """Return the tests of columns in it."""
        return (self,)

    def __str__(self) -> str:
        """Return the condition in its usual form."""
        return f"{self.column} in ({', '.join(map(shown, self.values))})"


class Contains(NamedTuple):
    """A column whose list contains a value."""

    column: str
    value: Scalar

    def matches(self, values: Mapping[str, Any]) -> bool:
        """Return whether a row satisfies it."""
        found = values.get(self.column)
        return isinstance(found, (list, tuple)) and any(_is_same(one, self.value) for one in found)

    def demands(self) -> tuple[Condition, ...]:
        """Return conditions that together are equivalent to this one."""
        return (self,)

    def tests(self) -> tuple[Test, ...]:
        """Return the tests of columns in it."""
        return (self,)

    def __str__(self) -> str:
        """Return the condition in its usual form."""
        return f"{shown(self.value)} in {self.column}"


class Not(NamedTuple):
    """The negation of a condition."""

    inner: Condition

    def matches(self, values: Mapping[str, Any]) -> bool:
        """Return whether a row satisfies it."""
        return not self.inner.matches(values)

    def demands(self) -> tuple[Condition, ...]:
        """Return conditions that together are equivalent to this one."""
        return (self,)

    def tests(self) -> tuple[Test, ...]:
        """Return the tests of columns in it."""
        return self.inner.tests()

    def __str__(self) -> str:
        """Return the condition in its usual form."""
        return f"not ({self.inner})" if isinstance(self.inner, Several) else f"not {self.inner}"


class Several(NamedTuple):
    """Several conditions, all or any of which must hold."""

    word: Literal["and", "or"]
    inner: tuple[Condition, ...]

    def matches(self, values: Mapping[str, Any]) -> bool:
        """Return whether a row satisfies it."""
        return (all if self.word == "and" else any)(one.matches(values) for one in self.inner)

    def demands(self) -> tuple[Condition, ...]:
        """Return conditions that together are equivalent to this one."""
        return tuple(each for one in self.inner for each in one.demands()) if self.word == "and" else (self,)

    def tests(self) -> tuple[Test, ...]:
        """Return the tests of columns in it."""
        return tuple(test for one in self.inner for test in one.tests())

    def __str__(self) -> str:
        """Return the condition in its usual form."""
        # "and" has precedence. Without redundant parentheses, the text is not nested deeper than it was written.
        return f" {self.word} ".join(
            f"({one})" if isinstance(one, Several) and (self.word, one.word) != ("or", "and") else str(one) for one in self.inner
        )


Test = Compare | OneOf | Contains
Condition = Compare | OneOf | Contains | Not | Several


def check_columns(condition: Condition, columns: Mapping[str, Kind]) -> None:
    """Refuse a condition on columns that do not exist, or with values that do not fit them.

    Args:
        condition: the condition to check.
        columns: the type of values, by name.

    Raises:
        ConditionError: a column does not exist, or has values of another type.
    """
    for test in condition.tests():
        kind = columns.get(test.column)
        if kind is None:
            raise ConditionError(f"there is no column {quoted(test.column)}", nearest(test.column, columns))
        values = test.values if isinstance(test, OneOf) else (test.value,)
        if isinstance(test, Contains):
            if kind != "list":
                _fail(test, kind, f"Write {test.column} == {shown(test.value)}.")
            continue
        for value in values:
            if value is None or kind_of(value) == kind:
                continue
            if kind == "list":
                _fail(test, kind, f"Write the value before the column: {shown(value)} in {test.column}.")
            quotes = f"Write '{shown(value)}', between quotes." if kind == "text" else ""
            _fail(test, kind, quotes)


def _fail(test: Test, kind: Kind, hint: str) -> NoReturn:
    raise ConditionError(f"the column {quoted(test.column)} has {_KINDS[kind]}, which {quoted(str(test))} does not fit", hint)


_KINDS: Final[Mapping[Kind, str]] = {
    "text": "texts",
    "number": "numbers",
    "truth": "true or false",
    "list": "lists",
    "other": "records",
}


def kind_of(value: object) -> Kind:
    """Return the type of a value; ``other`` if it is null or cannot be compared."""
    match value:
        case bool():
            return "truth"
        case int() | float():
            return "number"
        case str():
            return "text"
        case _:
            return "other"


def _is_same(found: object, value: Scalar) -> bool:
    """Return whether two values are equal; ``1`` is not ``true``."""
    return found is None if value is None else kind_of(found) == kind_of(value) and found == value


def shown(value: Scalar) -> str:
    """Return a value in the form in which a condition has it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return f'"{value}"' if "'" in value else f"'{value}'"
    return repr(value)
