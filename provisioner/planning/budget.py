"""``BUDGET_GB``: reduce every data set, by its priority, to a part of limited size."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from provisioner.catalog.license import commercial_part, judge
from provisioner.catalog.parts import PartRule
from provisioner.planning.capacity import need_of
from provisioner.planning.recipe import make_recipe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioner.planning.model import Rules
    from provisioner.planning.recipe import Recipe

_DIGITS: Final = 4
"""Significant digits of a share, since people read it."""


def within_budget(recipes: Sequence[Recipe], rules: Rules, budget: int) -> list[Recipe]:
    """Return the recipes; those larger than their share of the budget become parts with that many bytes.

    A share is proportional to the priority. What a small data set leaves of its share is divided among the others.
    References, parts that were requested, and data sets that the licence policy refuses stay unchanged and count for nothing.
    If the policy takes a part in place of the whole, the share is taken of that part.

    Args:
        recipes: recipes of all data sets, each for the whole.
        rules: licences and priorities.
        budget: bytes for all data sets together.
    """
    counted = [
        recipe
        for recipe in recipes
        if recipe.rule in {None, commercial_part(rules.license_policy, recipe.dataset, rules.accept_licenses)}
        and recipe.dataset.reference is None
        and judge(rules.license_policy, recipe.dataset, rules.accept_licenses, recipe.rule, recipe.commercial_part).allowed
    ]
    sizes = {recipe.dataset.id: unpacked.value if (unpacked := need_of(recipe).unpacked) else None for recipe in counted}
    weights = {recipe.dataset.id: rules.priorities.get(recipe.dataset.id, recipe.dataset.priority) for recipe in counted}
    shares = divide_bytes(budget, sizes, weights)
    return [_part(recipe, shares[recipe.dataset.id]) if recipe.dataset.id in shares else recipe for recipe in recipes]


def divide_bytes(budget: int, sizes: Mapping[str, int | None], weights: Mapping[str, int]) -> dict[str, int]:
    """Return the bytes for each data set that does not get its full size.

    Args:
        budget: bytes for all data sets together.
        sizes: the size of each; ``None`` if it is not known.
        weights: the weight of each in the division.
    """
    left, rest = budget, dict(weights)
    while rest:
        total = sum(rest.values())
        whole = [name for name, weight in rest.items() if (size := sizes[name]) is not None and size * total <= left * weight]
        if not whole:
            return {name: _rounded(left * weight // total) for name, weight in rest.items()}
        for name in whole:
            left -= sizes[name] or 0
            del rest[name]
    return {}


def _rounded(share: int) -> int:
    """Return a share rounded down, but at least 1, since a part without a byte cannot be requested."""
    step = int("1" + "0" * max(0, len(str(share)) - _DIGITS))
    return max(1, share // step * step)


def _part(recipe: Recipe, share: int) -> Recipe:
    own = recipe.rule or PartRule()
    # The first examples of a part depend on its own seed and limit; the same text in a request means the same.
    rule = PartRule(bytes=share if own.bytes is None else min(share, own.bytes), limit=own.limit, seed=own.seed)
    written = {key: value for key, value in rule.identity.items() if key != "seed" or value}
    rule = replace(rule, text=f"?{'&'.join(f'{key}={value}' for key, value in sorted(written.items()))}")
    rule = own.narrowed(rule, of=recipe.dataset.label) if recipe.rule is not None else rule
    return make_recipe(recipe.dataset, layout=recipe.layout, splits=recipe.splits, rule=rule)
