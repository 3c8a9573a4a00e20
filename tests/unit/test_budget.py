"""The division of a budget among data sets."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.catalog.model import Catalog, Phase
from provisioner.catalog.parts import PartRule
from provisioner.planning.budget import divide_bytes
from provisioner.planning.model import Inventory, Request, Rules
from provisioner.planning.plan import make_plan
from tests.unit.test_plan import MEGABYTE, data_set

GIGABYTE = 1000 * MEGABYTE


@pytest.mark.parametrize(
    ("budget", "sizes", "weights", "expected"),
    [
        (10, {"a": 3, "b": 7}, {"a": 1, "b": 5}, {}),
        (9, {"a": 100, "b": 100}, {"a": 1, "b": 2}, {"a": 3, "b": 6}),
        (9, {"a": 1, "b": 100}, {"a": 1, "b": 1}, {"b": 8}),
        (9, {"a": 1, "b": 100, "c": 4}, {"a": 1, "b": 1, "c": 1}, {"b": 4}),
        (9, {"a": None, "b": 2}, {"a": 1, "b": 1}, {"a": 7}),
        (0, {"a": 5}, {"a": 1}, {"a": 0}),
        (9, {}, {}, {}),
    ],
)
def test_division(budget: int, sizes: dict[str, int | None], weights: dict[str, int], expected: dict[str, int]) -> None:
    """Shares are proportional to the weights; what a small one leaves is divided among the others."""
    found = divide_bytes(
        budget * GIGABYTE, {name: None if size is None else size * GIGABYTE for name, size in sizes.items()}, weights
    )
    assert found == {name: max(1, share * GIGABYTE) for name, share in expected.items()}


@given(
    st.integers(0, 10**12),
    st.dictionaries(st.sampled_from("abcdefgh"), st.tuples(st.integers(0, 10**12), st.integers(1, 5))),
)
def test_a_budget_holds(budget: int, given_sets: dict[str, tuple[int, int]]) -> None:
    """All together never have more than the budget, and nobody gets more than he has."""
    sizes: dict[str, int | None] = {name: size for name, (size, _) in given_sets.items()}
    shares = divide_bytes(budget, sizes, {name: weight for name, (_, weight) in given_sets.items()})
    taken = [shares.get(name, size) for name, (size, _) in given_sets.items()]
    assert sum(taken) <= budget + len(shares)
    assert all(share <= max(1, given_sets[name][0]) for name, share in shares.items())


def test_a_plan_within_a_budget() -> None:
    """A plan names the parts; those asked for by a rule stay, and what is refused has no share. A second plan is the same."""
    sets = {
        "alpha": data_set("alpha", 100 * MEGABYTE, 900 * MEGABYTE, priority=4),
        "beta": data_set("beta", 10 * MEGABYTE, 20 * MEGABYTE, priority=1),
        "gamma": data_set("gamma", 100 * MEGABYTE, 900 * MEGABYTE, priority=1, commercial="forbidden"),
    }
    catalog = Catalog(sets, {"all": Phase("all", "", tuple(sets))})
    rules = Rules(budget_bytes=320 * MEGABYTE)
    plan = make_plan(Request("all"), catalog, Inventory(), rules)
    assert [(step.recipe.label, step.action) for step in plan.steps] == [
        ("alpha?bytes=300000000", "fetch"),
        ("beta", "fetch"),
        ("gamma", "skip"),
    ]
    assert plan.steps[0].unpacked is not None
    assert plan.steps[0].unpacked.value == 300 * MEGABYTE
    assert [step.recipe.version for step in make_plan(Request("all"), catalog, Inventory(), rules).steps] == [
        step.recipe.version for step in plan.steps
    ]
    plain = make_plan(Request("all"), catalog, Inventory(), replace(rules, budget_bytes=None))
    assert [step.recipe.label for step in plain.steps] == ["alpha", "beta", "gamma"]


def test_the_part_that_the_licence_policy_takes() -> None:
    """Of the part that the policy takes in place of the whole, the share is taken."""
    part = PartRule(where="license == 'CC0'", commercial="allowed", text=":free")
    mixed = replace(data_set("mixed", 1000 * MEGABYTE, 1000 * MEGABYTE, commercial="mixed"), parts={"free": part})
    rules = Rules(license_policy="commercial", budget_bytes=100 * MEGABYTE)
    (step,) = make_plan(
        Request("all"), Catalog({"mixed": mixed}, {"all": Phase("all", "", ("mixed",))}), Inventory(), rules
    ).steps
    assert step.recipe.label == "mixed:free?bytes=100000000"
    assert step.recipe.rule is not None
    assert step.recipe.rule.where == part.where
    assert step.action == "fetch"
