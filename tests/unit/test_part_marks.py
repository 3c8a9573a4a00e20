"""A verdict on the commercial use of a part holds for the examples of that part, and for no others."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.catalog.license import attribution_text, mark_of
from provisioner.catalog.model import Catalog, Phase
from provisioner.catalog.parts import Example, PartRule, choose
from provisioner.catalog.size import Size
from provisioner.catalog.written_parts import parse_query
from provisioner.catalog.written_reference import WrittenReference
from provisioner.errors import LicenseRefusedError, PartError
from provisioner.planning.model import Inventory, Request, Rules
from provisioner.planning.plan import make_plan
from tests.unit.test_plan import MEGABYTE, data_set

if TYPE_CHECKING:
    from provisioner.catalog.model import DataSet
    from provisioner.planning.model import Step

PARTS: Final = {
    "lim": PartRule(limit=2, seed=3, commercial="allowed"),
    "size": PartRule(bytes=900, commercial="allowed"),
    "free": PartRule(where="l in ('a', 'b') and n < 9", exclude=("x/*",), commercial="allowed"),
    "files": PartRule(include=("a/*",), commercial="allowed"),
}


def query(text: str) -> PartRule:
    """Return a rule as it is written behind ``?``."""
    return parse_query(text, WrittenReference(text, repr(text), 0, ""))


def mixed(*names: str) -> DataSet:
    """Return a data set of which some parts may be used commercially."""
    parts = {name: PARTS[name].named(name) for name in names}
    return replace(data_set("mixed", 1000 * MEGABYTE, 1000 * MEGABYTE, commercial="mixed"), parts=parts)


def planned(dataset: DataSet, rule: PartRule | None, *, budget: int | None = None, splits: tuple[str, ...] = ()) -> Step:
    """Return the step of a plan under LICENSE_POLICY=commercial."""
    request = Request(
        "all" if rule is None else None,
        datasets=() if rule is None else (("mixed", splits),),
        rules={} if rule is None else {"mixed": rule},
    )
    catalog = Catalog({"mixed": dataset}, {"all": Phase("all", "", ("mixed",))})
    rules = Rules(license_policy="commercial", budget_bytes=budget)
    return make_plan(request, catalog, Inventory(), rules).steps[0]


@pytest.mark.parametrize(
    ("part", "asked", "holds"),
    [
        ("lim", "limit=1&seed=3", True),
        ("lim", "limit=2&seed=3", True),
        ("lim", "bytes=5&limit=2&seed=3", True),
        ("lim", "limit=1000&seed=3", False),
        ("lim", "limit=1", False),
        ("lim", "limit=2&seed=4", False),
        ("lim", "bytes=5&seed=3", False),
        ("lim", "where=n==1", False),
        ("lim", "exclude=x/*", False),
        ("lim", "include=x/*", False),
        ("size", "bytes=900", True),
        ("size", "bytes=5&limit=3", True),
        ("size", "bytes=901", False),
        ("size", "limit=1", False),
        ("free", "limit=1000&seed=8", True),
        ("free", "where=n==1 or n==2", True),
        ("free", "exclude=y/*", True),
        ("free", "include=y/*", True),
        ("files", "limit=5", True),
        ("files", "exclude=a/b", True),
    ],
)
def test_a_verdict_holds_for_no_other_examples(part: str, asked: str, *, holds: bool) -> None:
    """With other examples than those of a marked part a run is refused (77); plan and ATTRIBUTION.md say the same of the rest."""
    dataset = mixed(part)
    rule = dataset.parts[part].narrowed(query(asked))
    step = planned(dataset, rule)
    assert (step.action, step.recipe.commercial) == (("fetch", "allowed") if holds else ("refuse", "mixed"))
    assert step.recipe.label == f"mixed:{part}{query(asked).text}"
    text = attribution_text([dataset], (), {"mixed": rule}, {"mixed": mark_of(dataset, rule)})
    assert ("**allowed** for this part" in text) is holds
    if not holds:
        assert isinstance(step.error, LicenseRefusedError)
        assert step.error.exit_code == 77
        assert f"allowed for the examples of mixed:{part}, and this may take others" in step.error.message


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        (PartRule(where="n < 9 and l in ('a', 'b')", exclude=("x/*", "y")), True),
        (PartRule(where="(l in ('a', 'b') and n < 9) and m == 1", exclude=("x/*",)), True),
        (PartRule(where="l in ('a', 'b') and n < 9"), False),
        (PartRule(where="l in ('a', 'b') and n < 9 or n == 10", exclude=("x/*",)), False),
        (PartRule(limit=1, exclude=("x/*",)), False),
    ],
)
def test_a_rule_that_says_what_a_part_says(rule: PartRule, *, holds: bool) -> None:
    """A rule without a name has the verdict of a part of which it is certainly a part."""
    assert mark_of(mixed("free"), rule) == ("allowed" if holds else None)


@given(
    st.sampled_from([*PARTS.values(), PartRule(limit=5), PartRule(where="l == 'a'", limit=6, seed=1)]),
    st.sampled_from(
        ["limit=1", "limit=4&seed=3", "bytes=300", "where=n<4", "exclude=a/1*", "include=a/*", "where=l!='a'&limit=2"]
    ),
)
def test_what_is_covered_is_taken(part: PartRule, asked: str) -> None:
    """What a rule takes that a part covers, the part takes too."""
    examples = [Example(f"{'xa'[n % 2]}/{n}", 90 + n, {"n": n % 12, "l": "abc"[n % 3]}) for n in range(40)]
    try:
        rule = part.narrowed(query(asked))
    except PartError:
        return  # both choose files by include
    if part.covers(rule):
        assert choose(rule, examples).taken <= choose(part, examples).taken


@pytest.mark.parametrize(("part", "written"), [("lim", "?bytes=100000000&limit=2&seed=3"), ("free", "?bytes=100000000")])
def test_a_budget_takes_the_first_examples_of_a_part(part: str, written: str) -> None:
    """A share of a part has its seed and its limit, so that its verdict holds; the text means the same when it is asked for."""
    dataset = mixed(part)
    step = planned(dataset, None, budget=100 * MEGABYTE)
    assert (step.action, step.recipe.commercial) == ("fetch", "allowed")
    assert step.recipe.label == f"mixed:{part}{written}"
    assert step.recipe.rule == dataset.parts[part].narrowed(query(written[1:]))
    assert dataset.parts[part].covers(step.recipe.rule)


def test_sizes_of_a_part_are_not_those_of_more() -> None:
    """What a part is said to have of bytes is not said of other examples."""
    part = replace(PARTS["lim"], download=Size(7), unpacked_size=Size(8))
    fewer, more = (part.narrowed(query(f"limit={count}&seed=3")) for count in (1, 9))
    assert (fewer.download, fewer.unpacked_size) == (Size(7), Size(8))
    assert (more.download, more.unpacked_size) == (None, None)


def test_a_number_of_examples_of_other_splits() -> None:
    """A verdict on a number of examples is none on as many examples of one split, and none on another layout."""
    dataset = mixed("lim", "free")
    assert mark_of(dataset, PARTS["lim"]) == "allowed"
    assert mark_of(dataset, PARTS["lim"], splits=("train",)) is None
    assert mark_of(dataset, PARTS["free"], splits=("train",)) == "allowed"
    assert mark_of(dataset, PARTS["free"], layout="parquet") is None
