"""Plans where a source has a newer state than the version that is published."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from provisioner.catalog.hub_source import HubSource
from provisioner.catalog.model import Catalog, DataSet, License, Phase
from provisioner.planning.model import Inventory, Receipt, Request, Rules
from provisioner.planning.plan import make_plan
from provisioner.planning.recipe import make_recipe
from provisioner.planning.upstream import Newer

if TYPE_CHECKING:
    from provisioner.catalog.license import Policy
    from provisioner.planning.model import Step

SOURCE = HubSource("ann/songs")
LICENSE = License("X", "X", "https://example.org", "allowed", "e", "")
SONGS = DataSet("songs", "Songs", "https://example.org", "", "", 3, LICENSE, (SOURCE,))
CATALOG = Catalog({"songs": SONGS}, {"all": Phase("all", "", ("songs",))})
RECIPE = make_recipe(SONGS)
FIRST = Receipt("songs", RECIPE.version, "raw", (), 1, 5, "X", "hub", "https://hub/datasets/ann/songs", "a", "listing", "2026-01")
NEWER = Newer("b", SONGS, SOURCE.held_at("b"))
SECOND = replace(FIRST, version=RECIPE.moved(NEWER).version, recipe=RECIPE.version, pin="b", published_at="2026-02")


def step(published: Receipt | None, *others: Receipt, newer: Newer | None = NEWER, policy: Policy = "curated") -> Step:
    """Return the step for the data set, where some versions are on the volume."""
    versions = (*([published] if published else ()), *others)
    inventory = Inventory(
        {("songs", one.version): one for one in versions}, {"songs": published.version} if published else {}, free_bytes=10**9
    )
    request = Request("all", newer={"songs": newer} if newer else {})
    (found,) = make_plan(request, CATALOG, inventory, Rules(license_policy=policy)).steps
    return found


def test_the_newer_state_has_a_version_of_its_own() -> None:
    """It is the same for the same commit, differs from the recipe's, and knows what it satisfies."""
    moved = RECIPE.moved(NEWER)
    assert moved.version not in {RECIPE.version, RECIPE.moved(replace(NEWER, pin="c")).version}
    assert (moved.asked, moved.moved(NEWER)) == (RECIPE.version, moved)
    assert make_recipe(replace(SONGS, sources=(SOURCE.held_at("b"),))).version == RECIPE.version


@pytest.mark.parametrize(
    ("published", "others", "newer", "action", "version"),
    [
        (FIRST, (), NEWER, "fetch", SECOND.version),
        (FIRST, (), None, "keep", FIRST.version),
        (FIRST, (SECOND,), NEWER, "link", SECOND.version),
        (FIRST, (SECOND,), None, "keep", FIRST.version),  # it was switched back
        (SECOND, (FIRST,), None, "keep", SECOND.version),
        (SECOND, (), None, "keep", SECOND.version),  # the first one was removed
        (SECOND, (FIRST,), Newer("a", SONGS, SOURCE.held_at("a")), "link", FIRST.version),  # the branch moved back
        (None, (FIRST, SECOND), None, "link", SECOND.version),  # the link was lost
        (None, (FIRST,), None, "link", FIRST.version),
    ],
)
def test_what_is_done(
    published: Receipt | None, others: tuple[Receipt, ...], newer: Newer | None, action: str, version: str
) -> None:
    """The published version satisfies; a newer state is linked where it is there, and else built beside it."""
    found = step(published, *others, newer=newer)
    assert (found.action, found.recipe.version) == (action, version)
    assert found.fallback == (published if action == "fetch" else None)


def test_what_is_not_taken() -> None:
    """Where the newer state may not be had, the published version is kept, and the reason is said."""
    forbidden = replace(SONGS, license=replace(LICENSE, commercial="forbidden"))
    found = step(FIRST, newer=replace(NEWER, dataset=forbidden), policy="commercial")
    assert (found.action, found.recipe.version) == ("keep", FIRST.version)
    assert "the newer version is not taken" in found.why
