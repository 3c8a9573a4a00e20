"""Conditions on columns: the grammar, what is refused with which advice, and that they choose as logic says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.catalog.condition_parser import MAX_DEPTH, MAX_LENGTH, parse_condition
from provisioner.catalog.conditions import (
    Compare,
    Condition,
    ConditionError,
    Contains,
    Not,
    OneOf,
    Several,
    check_columns,
)

if TYPE_CHECKING:
    from provisioner.catalog.conditions import Kind

ROW: Final[dict[str, Any]] = {
    "license": "CC-BY",
    "duration": 2.5,
    "pitch": 60,
    "is_live": True,
    "genres": ["Rock", "Pop"],
    "title": None,
}
COLUMNS: Final[dict[str, Kind]] = {
    "license": "text",
    "duration": "number",
    "pitch": "number",
    "is_live": "truth",
    "genres": "list",
    "title": "text",
    "notes": "other",
}


@pytest.mark.parametrize(
    ("text", "is_true"),
    [
        ("license == 'CC-BY'", True),
        ('"CC-BY"==license', True),
        ("license in ('CC-BY', 'CC0')", True),
        ("license not in ('CC0',)", True),
        ("NOT license IN ('CC0')", True),
        ("duration > 2 and duration <= 2.5", True),
        ("3 > duration", True),
        ("pitch == 60.0", True),
        ("pitch == +6e1", True),
        ("is_live == true", True),
        ("is_live == 1", False),
        ("pitch == true", False),
        ("'Rock' in genres", True),
        ("'Jazz' not in genres", True),
        ("title == null", True),
        ("title != 'x'", True),
        ("title < 'x' or title >= 'x'", False),
        ("missing == null", True),
        ("pitch == 1 or pitch == 60 and duration < 1", False),
        ("(pitch == 1 or pitch == 60) and not duration < 1", True),
        ("license < 'D'", True),
        ("license > 5", False),
    ],
)
def test_condition(text: str, *, is_true: bool) -> None:
    """A condition holds for a row as its words say; a missing value is equal to null alone, and 1 is not true."""
    assert parse_condition(text).matches(ROW) is is_true


@pytest.mark.parametrize(
    ("text", "problem", "hint"),
    [
        ("", "is empty", "license in"),
        ("   ", "is empty", ""),
        ("a = 1", "'=' at character 3", "Write ==."),
        ("a <> 1", "'<>' at character 3", "Write !=."),
        ("a ==", "the end of the condition", ""),
        ("a", "behind 'a'", ""),
        ("a == b", "'b' at character 6", "'b'"),
        ("1 == 2", "'2' at character 6", "name of a column"),
        ("a == 'x", '"\'" at character 6', "Close"),
        ("a == 'x' b == 1", "'b' at character 10", "and, or"),
        ("(a == 1", "the end of the condition", "Close the '('"),
        ("a == 1)", "')' at character 7", ""),
        ("a in 'x'", "\"'x'\" at character 6", "parentheses"),
        ("a in ()", "')' at character 7", ""),
        ("a in ('x' 'y')", "\"'y'\" at character 11", "','"),
        ("a not == 1", "'==' at character 7", "not in"),
        ("a < null", "smaller or larger than null", "a == null"),
        ("a < true", "smaller or larger than true", ""),
        ("a == 1 and", "the end of the condition", ""),
        ("and", "'and' at character 1", ""),
        ("a.b == 1", "'.' at character 2", ""),
        ("a == 1x", "'1' at character 6", ""),
        ("a == -", "'-' at character 6", ""),
        ("__import__('os')", "'(' at character 11", ""),
        ("a == 1e999", "'1e999'", ""),
        ("not " * (MAX_DEPTH + 1) + "a == 1", "nested too deeply", str(MAX_DEPTH)),
        ("(" * 1000 + "a == 1", "nested too deeply", str(MAX_DEPTH)),
        (f"a in ({','.join(map(str, range(1000)))})", "the condition has 4", str(MAX_LENGTH)),
        ("a == 1 or " * MAX_LENGTH, "characters", str(MAX_LENGTH)),
    ],
)
def test_malformed(text: str, problem: str, hint: str) -> None:
    """A condition that is malformed, too long or too deep is refused at the character that is wrong, with advice."""
    with pytest.raises(ConditionError) as caught:
        parse_condition(text)
    assert problem in caught.value.problem
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("text", "problem", "hint"),
    [
        ("licence == 'x'", "no column 'licence'", "'license'"),
        ("pitch == 1 or durration < 3", "no column 'durration'", "'duration'"),
        ("license == 5", "has texts", "'5'"),
        ("pitch == '60'", "has numbers", ""),
        ("pitch in (1, '60')", "has numbers", ""),
        ("is_live == 1", "has true or false", ""),
        ("genres == 'Rock'", "has lists", "'Rock' in genres"),
        ("'CC' in license", "has texts", "license == 'CC'"),
        ("notes == 5", "has records", ""),
    ],
)
def test_columns(text: str, problem: str, hint: str) -> None:
    """A column that is not there is answered with the nearest one, and a value of another kind with what the column has."""
    with pytest.raises(ConditionError) as caught:
        check_columns(parse_condition(text), COLUMNS)
    assert problem in caught.value.problem
    assert hint in caught.value.hint


def test_columns_that_fit() -> None:
    """Null fits every column."""
    check_columns(parse_condition("notes != null and title == null and 'x' in genres and 1 < pitch and genres != null"), COLUMNS)


_VALUES = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from(["", "a", "it's"]))
_NAMES = st.sampled_from(["a", "b", "c"])
_TESTS = st.one_of(
    st.builds(Compare, _NAMES, st.sampled_from(["==", "!="]), _VALUES),
    st.builds(Compare, _NAMES, st.sampled_from(["<", "<=", ">", ">="]), st.integers(-3, 3)),
    st.builds(OneOf, _NAMES, st.lists(_VALUES, min_size=1, max_size=3, unique_by=repr).map(tuple)),
    st.builds(Contains, _NAMES, _VALUES),
)
CONDITIONS: st.SearchStrategy[Condition] = st.recursive(
    _TESTS,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(Several, st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)
ROWS = st.dictionaries(_NAMES, st.one_of(_VALUES, st.lists(_VALUES, max_size=2)))


@given(CONDITIONS, ROWS)
def test_logic(condition: Condition, row: dict[str, Any]) -> None:
    """What ``not`` takes is what the condition leaves, and the usual form of a condition means the same and is its own."""
    holds = condition.matches(row)
    assert Not(condition).matches(row) is not holds
    assert Not(Not(condition)).matches(row) is holds
    again = parse_condition(str(condition))
    assert again.matches(row) is holds
    assert str(parse_condition(str(again))) == str(again)


@given(CONDITIONS, CONDITIONS, ROWS)
def test_de_morgan(one: Condition, other: Condition, row: dict[str, Any]) -> None:
    """``not (a and b)`` is ``not a or not b``."""
    both = Several("and", (one, other))
    assert Not(both).matches(row) is Several("or", (Not(one), Not(other))).matches(row)
