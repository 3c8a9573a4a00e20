"""Licences: what each policy allows, and the text of attributions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provisioner.catalog.license import MEANINGS, POLICIES, Policy, attribution_text, judge
from provisioner.catalog.model import COMMERCIAL, Commercial, DataSet
from provisioner.catalog.parse import parse_catalog
from tests.unit.test_catalog_parse import GOOD


def dataset(commercial: Commercial = "allowed") -> DataSet:
    """Return a data set with the given mark."""
    one = parse_catalog(GOOD, "c.yaml").datasets["speech"]
    return replace(one, license=replace(one.license, commercial=commercial))


@pytest.mark.parametrize(
    ("policy", "commercial", "allowed", "warned"),
    [
        ("commercial", "allowed", True, False),
        ("commercial", "mixed", False, False),
        ("commercial", "verify", False, False),
        ("commercial", "forbidden", False, False),
        ("curated", "allowed", True, False),
        ("curated", "mixed", True, True),
        ("curated", "verify", True, True),
        ("curated", "forbidden", False, False),
        ("any", "allowed", True, False),
        ("any", "mixed", True, False),
        ("any", "verify", True, False),
        ("any", "forbidden", True, False),
    ],
)
def test_each_policy_for_each_mark(policy: Policy, commercial: Commercial, *, allowed: bool, warned: bool) -> None:
    """Each policy allows or refuses by the mark; a refusal says what would accept it, a warning where the terms are."""
    verdict = judge(policy, dataset(commercial), ())
    assert verdict.allowed is allowed
    assert (verdict.warning is not None) is warned
    assert f"LICENSE_POLICY={policy}" in verdict.reason
    assert ("ACCEPT_LICENSES=speech" in verdict.reason) is not allowed
    if verdict.warning:
        assert verdict.warning.startswith(
            "speech: CC BY 4.0: commercial use" if commercial == "mixed" else "speech: CC BY 4.0: whether"
        )
        assert "https://example.org/licence" in verdict.warning
        assert verdict.warning.count("ACCEPT_LICENSES=speech accepts it") == 1


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("commercial", COMMERCIAL)
def test_accepted_by_name_passes_whatever_the_policy(policy: Policy, commercial: Commercial) -> None:
    """A data set whose licence was accepted by name is allowed by every policy, without a warning."""
    verdict = judge(policy, dataset(commercial), {"speech", "other"})
    assert (verdict.allowed, verdict.warning) == (True, None)
    assert "accepted by name" in verdict.reason


def test_accepting_another_data_set_changes_nothing() -> None:
    """Accepting one data set's licence does not accept another's."""
    assert not judge("commercial", dataset("verify"), ["other"]).allowed


def test_each_mark_has_its_meaning() -> None:
    """Every mark for commercial use has a meaning in words."""
    assert set(MEANINGS) == set(COMMERCIAL)


def test_attribution_names_terms_evidence_and_whom_to_cite() -> None:
    """The attribution has terms, evidence and citation of the given data sets, and of no other."""
    catalog = parse_catalog(GOOD, "c.yaml")
    text = attribution_text([catalog.datasets["speech"]])
    for words in (
        *("## Speech", "datasets/speech", "https://example.org/speech", "CC BY 4.0 (SPDX `CC-BY-4.0`)"),
        *("https://example.org/licence", "**allowed**", "its README", "Jane Doe"),
    ):
        assert words in text
    assert "Notes" not in text
    assert "none asked for" in attribution_text([catalog.datasets["notes"]])
    assert text.endswith("\n")


def test_attribution_of_an_empty_volume_says_so() -> None:
    """The attribution of an empty volume says that there is no data set."""
    assert "no data set" in attribution_text([])


def test_attribution_is_the_same_for_the_same_data_sets() -> None:
    """The attribution of the same data sets is always the same text."""
    catalog = parse_catalog(GOOD, "c.yaml")
    assert attribution_text(catalog.datasets.values()) == attribution_text(list(catalog.datasets.values()))
