"""Whether the rule of a part can fit at all, before anything is fetched."""

from __future__ import annotations

import pytest

from provisioner.catalog.condition_parser import parse_condition
from provisioner.catalog.parts import PartRule
from provisioner.engine.rule_check import check_rule
from provisioner.errors import PartError


def rule(where: str) -> PartRule:
    """Return a rule with a condition."""
    return PartRule(where=str(parse_condition(where)))


@pytest.mark.parametrize(
    ("dataset", "where"),
    [
        ("nsynth", "pitch > 60 and split == 'train'"),
        ("nsynth_small", "instrument_family == 'bass'"),
        ("fma_small", "license in ('CC-BY', 'CC0')"),
        ("mine", "license == 'CC0'"),
        ("mine", "label == 'dog'"),
        ("ann/sounds", "pitch == 60"),
        ("nsynth", "label == 'a tree that is called so'"),
    ],
)
def test_what_may_fit(dataset: str, where: str) -> None:
    """A condition that fits the columns of one index that the data set may have is accepted."""
    check_rule(rule(where), dataset, dataset)


@pytest.mark.parametrize(
    ("dataset", "where", "problem", "hint"),
    [
        ("nsynth", "pitsh > 60", "the index of nsynth has no column 'pitsh'", "Did you mean 'pitch'?"),
        ("nsynth", "license == 'CC0'", "the index of nsynth has no column 'license'", "Known: "),
        ("fma_large", "pitch == 60", "the index of fma_large has no column 'pitch'", "Did you mean 'split'?"),
        ("nsynth", "pitch > 'a'", "the column 'pitch' has numbers", ""),
        ("mine", "pitch > 'a'", "the column 'pitch' has numbers", ""),
        ("mine", "genre_of_it == 'x'", "no index has a column 'genre_of_it'", ""),
        ("mine", "pitch > 60 and license == 'CC0'", "no index has all of the columns 'license', 'pitch'", ""),
    ],
)
def test_what_cannot_fit(dataset: str, where: str, problem: str, hint: str) -> None:
    """What no such index can answer is refused, and nothing was fetched for it."""
    with pytest.raises(PartError) as caught:
        check_rule(rule(where), dataset, dataset)
    assert problem in caught.value.message
    assert "nothing was fetched" in caught.value.message
    assert caught.value.hint.startswith(hint)


def test_a_rule_without_a_condition() -> None:
    """There is nothing to compare."""
    check_rule(PartRule(limit=5), "mine", "mine")
