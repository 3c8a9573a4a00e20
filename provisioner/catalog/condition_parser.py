"""The grammar of conditions: ``license in ('CC-BY', 'CC0') and duration < 30``.

Keywords are not case-sensitive::

    several    = all ("or" all)*
    all        = one ("and" one)*
    one        = "not" one | "(" several ")" | test
    test       = column OP value | value OP column         OP: == != < <= > >=
               | column ["not"] "in" "(" value ("," value)* ")"
               | value ["not"] "in" column                 of a column with lists
    value      = 'text' | "text" | number | true | false | null
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, NoReturn

from provisioner.catalog.conditions import ORDERED, Compare, ConditionError, Contains, Not, OneOf, Several, kind_of, shown
from provisioner.catalog.document import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.catalog.conditions import Condition, Scalar

MAX_LENGTH: Final = 4000
"""Characters of a condition, and of its usual form."""
MAX_DEPTH: Final = 40
"""Nesting depth of parentheses and ``not`` around a test."""

_TOKEN: Final = re.compile(
    r"\s*(?:(?P<text>'[^']*'|\"[^\"]*\")|(?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?)(?![\w.])"
    r"|(?P<word>[^\W\d]\w*)|(?P<mark>==|!=|<=|>=|<>|[<>=(),]))"
)
_CONSTANTS: Final[Mapping[str, Scalar]] = {"true": True, "false": False, "null": None, "none": None}
_WORDS: Final = frozenset({"and", "or", "not", "in", *_CONSTANTS})
_COMPARISONS: Final = frozenset({"==", "!=", *ORDERED})
_TURNED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_MEANT: Final = {"=": "==", "<>": "!="}


def parse_condition(text: str) -> Condition:
    """Return the condition in a text.

    Raises:
        ConditionError: it is malformed, too long, or nested too deeply.
    """
    _check_length(text)
    found = _Parser(text).parse()
    # The usual form, which has more blanks, is what is stored and parsed again.
    _check_length(str(found))
    return found


def _check_length(text: str) -> None:
    if len(text) > MAX_LENGTH:
        raise ConditionError(f"the condition has {len(text)} characters", f"Write at most {MAX_LENGTH}.")


class _Token(NamedTuple):
    """A word, a symbol or a value in a condition."""

    kind: str
    text: str
    place: int
    """Position, counted from 1."""


class _Parser:
    """Parses one condition."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._at = 0
        self._depth = 0

    def parse(self) -> Condition:
        """Return the condition in the whole text."""
        if self._token.kind == "end":
            raise ConditionError("the condition is empty", "Write one, such as license in ('CC-BY', 'CC0').")
        found = self._several("or")
        if self._token.kind != "end":
            self._fail("is not expected", "Join two conditions by and, or.")
        return found

    @property
    def _token(self) -> _Token:
        return self._tokens[self._at]

    def _fail(self, problem: str, hint: str = "") -> NoReturn:
        kind, text, place = self._token
        what = "the end of the condition" if kind == "end" else f"{quoted(text)} at character {place} of the condition"
        raise ConditionError(f"{what} {problem}", hint)

    def _takes(self, text: str) -> bool:
        """Skip a word or symbol; return ``False`` if something else is there."""
        token = self._token
        is_there = token.kind in {"word", "mark"} and token.text.lower() == text
        self._at += is_there
        return is_there

    def _several(self, word: Literal["and", "or"]) -> Condition:
        inner = [self._several("and") if word == "or" else self._one()]
        while self._takes(word):
            inner.append(self._several("and") if word == "or" else self._one())
        return inner[0] if len(inner) == 1 else Several(word, tuple(inner))

    def _one(self) -> Condition:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._fail("is nested too deeply", f"Write at most {MAX_DEPTH} parentheses and 'not' around a test.")
        try:
            if self._takes("not"):
                return Not(self._one())
            if self._takes("("):
                found = self._several("or")
                if not self._takes(")"):
                    self._fail("is not expected", "Close the '(' with a ')'.")
                return found
            return self._test()
        finally:
            self._depth -= 1

    def _test(self) -> Condition:
        if self._is_column:
            column = self._next().text
            return self._test_of(column)
        value = self._value("a column, a value, 'not' or '('")
        negated = self._takes("not")
        if self._takes("in"):
            contains = Contains(self._column(), value)
            return Not(contains) if negated else contains
        comparison = self._comparison("==, !=, <, <=, >, >= or in")
        return self._compare(self._column(), _TURNED[comparison], value)

    def _test_of(self, column: str) -> Condition:
        negated = self._takes("not")
        if self._takes("in"):
            one_of = OneOf(column, self._values())
            return Not(one_of) if negated else one_of
        if negated:
            self._fail("is not expected behind 'not'", f"Write {column} not in (…), or not {column} == ….")
        comparison = self._comparison(f"==, !=, <, <=, >, >= or in behind {quoted(column)}")
        return self._compare(column, comparison, self._value("a value"))

    def _compare(self, column: str, comparison: str, value: Scalar) -> Compare:
        if comparison in ORDERED and kind_of(value) not in {"text", "number"}:
            raise ConditionError(f"nothing is smaller or larger than {shown(value)}", f"Write {column} == {shown(value)}, or !=.")
        return Compare(column, comparison, value)

    def _comparison(self, expected: str) -> str:
        text = self._token.text
        if text in _MEANT:
            self._fail("compares nothing", f"Write {_MEANT[text]}.")
        if text not in _COMPARISONS or self._token.kind != "mark":
            self._fail(f"is not expected: there must be {expected}")
        return self._next().text

    def _values(self) -> tuple[Scalar, ...]:
        if not self._takes("("):
            self._fail("is not expected", "Write the values between parentheses, such as ('CC-BY', 'CC0').")
        values = [self._value("a value")]
        while self._takes(","):
            if self._token.text == ")" and self._token.kind == "mark":
                break
            values.append(self._value("a value"))
        if not self._takes(")"):
            self._fail("is not expected", "Separate values by ',', and close the '(' with a ')'.")
        return tuple(dict.fromkeys(values))

    def _value(self, expected: str) -> Scalar:
        kind, text, _ = self._token
        if kind == "text":
            self._at += 1
            return text[1:-1]
        if kind == "number":
            self._at += 1
            is_whole = text.lstrip("+-").isdigit()
            number = int(text) if is_whole else float(text)
            if not math.isfinite(number):
                raise ConditionError(f"{quoted(text)} is too large a number")
            return number
        if kind == "word" and text.lower() in _CONSTANTS:
            self._at += 1
            return _CONSTANTS[text.lower()]
        hint = f"Put a text between quotes: '{text}'." if self._is_column else ""
        return self._fail(f"is not expected: there must be {expected}", hint)

    def _column(self) -> str:
        if not self._is_column:
            self._fail("is no column", "One side of a comparison is the name of a column, without quotes.")
        return self._next().text

    @property
    def _is_column(self) -> bool:
        return self._token.kind == "word" and self._token.text.lower() not in _WORDS

    def _next(self) -> _Token:
        token = self._token
        self._at += 1
        return token


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    at = 0
    end = len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            place = at + len(text[at:]) - len(text[at:].lstrip())
            wrong = text[place]
            hint = "Close the text with the same quote." if wrong in "'\"" else "Put a text between quotes."
            raise ConditionError(f"{quoted(wrong)} at character {place + 1} of the condition is not expected", hint)
        kind = str(match.lastgroup)
        found.append(_Token(kind, match[kind], match.start(kind) + 1))
        at = match.end()
    return [*found, _Token("end", "", len(text) + 1)]
