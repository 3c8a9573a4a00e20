"""``BUDGET_GB``: every data set gives its share, by priority, as a part of so many bytes."""

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
"""Of a share, the digits that are not 0: it is read by people."""


def within_budget(recipes: Sequence[Recipe], rules: Rules, budget: int) -> list[Recipe]:
    """Return the recipes, of which those that are larger than their share of the budget are parts of so many bytes.

    A share is proportional to the priority. What a small data set leaves of its own is divided among the others. References,
    parts that were asked for and what the licence policy refuses stay as they are, and count for nothing. Of a part that the
    policy takes in place of the whole, the share is taken.

    Args:
        recipes: of all data sets, whole.
        rules: licences and priorities.
        budget: bytes for all together.
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
    """Return the bytes for each of those that do not get all that they have.

    Args:
        budget: bytes for all together.
        sizes: what each has; ``None``: nobody knows.
        weights: of their shares.
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
    """Return a share rounded down; one without a byte cannot be asked for."""
    step = int("1" + "0" * max(0, len(str(share)) - _DIGITS))
    return max(1, share // step * step)


def _part(recipe: Recipe, share: int) -> Recipe:
    own = recipe.rule or PartRule()
    # The first examples of a part are those of its own seed and limit; asked for by hand, the text means the same.
    rule = PartRule(bytes=share if own.bytes is None else min(share, own.bytes), limit=own.limit, seed=own.seed)
    written = {key: value for key, value in rule.identity.items() if key != "seed" or value}
    rule = replace(rule, text=f"?{'&'.join(f'{key}={value}' for key, value in sorted(written.items()))}")
    rule = own.narrowed(rule, of=recipe.dataset.label) if recipe.rule is not None else rule
    return make_recipe(recipe.dataset, layout=recipe.layout, splits=recipe.splits, rule=rule)
