"""Plans: the same inputs give the same plan, a second run plans nothing, and no plan needs more space than is free."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.catalog.digest import Digest
from provisioner.catalog.hub_source import HubSource
from provisioner.catalog.model import Catalog, DataSet, License, Phase
from provisioner.catalog.parts import PartRule
from provisioner.catalog.size import Size, total
from provisioner.catalog.url_source import UrlFile, UrlSource
from provisioner.errors import LicenseRefusedError, NotFoundError, VolumeError, VolumeFullError
from provisioner.planning.capacity import need_of
from provisioner.planning.model import Inventory, Plan, Receipt, Request, Rules, Step
from provisioner.planning.plan import fitting, make_plan, phase_peak
from provisioner.planning.recipe import Recipe, make_recipe

if TYPE_CHECKING:
    from random import Random

    from provisioner.catalog.license import Policy
    from provisioner.catalog.model import Commercial

MEGABYTE = 10**6


def data_set(name: str, packed: int = 0, unpacked: int = 0, **fields: Any) -> DataSet:
    """Return a data set of ``parts`` archives, each with ``packed`` bytes on the wire and ``unpacked`` bytes in the tree."""
    commercial: Commercial = fields.pop("commercial", "allowed")
    parts: int = fields.pop("parts", 1)
    files = tuple(
        UrlFile(
            f"https://example.org/{name}-{part}.zip",
            size=Size(packed),
            digest=Digest("sha256", f"{name.encode().hex()}{part}".ljust(64, "0")[:64]),
            unpack="zip",
            unpacked_size=Size(unpacked),
            split=f"part{part}" if parts > 1 else None,
        )
        for part in range(parts)
    )
    return DataSet(
        **{
            "id": name,
            "title": name,
            "homepage": "https://example.org",
            "description": "",
            "purpose": "",
            "priority": 3,
            "license": License("X", "X", "https://example.org", commercial, "e", ""),
            "sources": (UrlSource(files),),
            **fields,
        }
    )


def catalog(*datasets: DataSet) -> Catalog:
    """Return a catalog with two phases: ``small`` has the first data set alone, ``all`` has all of them."""
    names = tuple(each.id for each in datasets)
    phases = {"small": Phase("small", "", names[:1]), "all": Phase("all", "", names, "small", names[1:])}
    return Catalog({each.id: each for each in datasets}, phases)


def receipt(recipe: Recipe, size: int = MEGABYTE) -> Receipt:
    """Return the receipt of a recipe."""
    content_ids = {artifact.content_id: artifact.key for artifact in recipe.artifacts or ()}
    name, splits = recipe.dataset.id, recipe.splits
    return Receipt(name, recipe.version, "raw", splits, 1, size, "X", "url", "https://x", "p", "catalog", "2026", content_ids)


def after(plan: Plan, before: Inventory) -> Inventory:
    """Return the inventory after a plan was carried out."""
    receipts, published = dict(before.receipts), dict(before.published)
    for key in plan.evict:
        receipts.pop(key)
    for step in plan.work:
        key = (step.id, step.recipe.version)
        receipts[key] = receipt(step.recipe, step.unpacked.value if step.unpacked else 0)
        published[step.id] = step.recipe.version
    return replace(before, receipts=receipts, published=published, orphans=frozenset(), staged_bytes=0)


def actions(plan: Plan) -> dict[str, str]:
    """Return each data set's action, in the plan's order."""
    return {step.id: step.action for step in plan.steps}


ALPHA = data_set("alpha", 10 * MEGABYTE, 20 * MEGABYTE, priority=5)
BETA = data_set("beta", 5 * MEGABYTE, 8 * MEGABYTE, priority=3)
GAMMA = data_set("gamma", 1 * MEGABYTE, 2 * MEGABYTE, priority=4)
_ARCHIVE = UrlFile("https://example.org/open.zip", size=Size(20 * MEGABYTE), digest=Digest("md5", "0" * 32), unpack="zip")
UNKNOWN = data_set("unknown", priority=4, sources=(HubSource("acme/unknown"),))
OPEN_ENDED = replace(BETA, sources=(UrlSource((_ARCHIVE,)),))
SHELF = catalog(ALPHA, BETA, GAMMA)
ALL = Request("all")
NO_LIMIT = Rules()


def plan_of(inventory: Inventory | None = None, rules: Rules = NO_LIMIT, wanted: Request = ALL, shelf: Catalog = SHELF) -> Plan:
    """Return the plan for a request, an inventory and rules."""
    return make_plan(wanted, shelf, inventory or Inventory(), rules)


# --- what is there, and what is not ----------------------------------------------------------------------------------------


def test_an_empty_volume() -> None:
    """On an empty volume everything is fetched, by priority and then in the catalog's order; the plan's sizes are sums."""
    plan = plan_of()
    assert actions(plan) == {"alpha": "fetch", "gamma": "fetch", "beta": "fetch"}
    assert plan.download == Size(16 * MEGABYTE)
    assert plan.unpacked == Size(30 * MEGABYTE)
    # All archives beside all trees.
    assert plan.peak_bytes == (30 + 16) * MEGABYTE
    assert plan_of(rules=Rules(side_by_side=1)).peak_bytes == (20 + 2 + 8 + 5) * MEGABYTE
    tie = catalog(data_set("zeta"), data_set("eta"))
    assert list(actions(plan_of(shelf=tie))) == ["zeta", "eta"]


def test_a_second_run_plans_nothing() -> None:
    """After a plan was carried out, the next plan is empty."""
    done = after(plan_of(), Inventory())
    second = plan_of(done)
    assert second.work == ()
    assert set(actions(second).values()) == {"keep"}
    assert (second.download, second.peak_bytes) == (Size(0), 0)


def test_a_link_that_is_missing_or_old() -> None:
    """A version with a receipt that is not published is linked, not fetched."""
    done = after(plan_of(), Inventory())
    assert actions(plan_of(replace(done, published={})))["alpha"] == "link"
    assert actions(plan_of(replace(done, published={"alpha": "another"})))["alpha"] == "link"


def test_a_tree_without_a_receipt() -> None:
    """A whole tree without a receipt is adopted, not fetched again."""
    version = make_recipe(ALPHA).version
    assert actions(plan_of(Inventory(orphans=frozenset({("alpha", version)}))))["alpha"] == "adopt"
    assert actions(plan_of(Inventory(orphans=frozenset({("alpha", "another")}))))["alpha"] == "fetch"


def test_something_in_the_way() -> None:
    """Something that the provisioner did not create is left alone; the data set at that path is refused with an error."""
    plan = plan_of(Inventory(foreign=frozenset({"alpha"})))
    step = plan.steps[0]
    assert step.action == "refuse"
    assert isinstance(step.error, VolumeError)
    assert actions(plan)["beta"] == "fetch"


def test_what_was_not_asked_for() -> None:
    """A published data set that was not asked for is listed in the plan and stays."""
    done = after(plan_of(), Inventory())
    plan = plan_of(done, wanted=Request("small"))
    assert (actions(plan), plan.not_in_phase) == ({"alpha": "keep"}, ("beta", "gamma"))


def test_priorities_may_be_replaced() -> None:
    """Priorities from the settings replace those of the catalog and decide the order."""
    assert list(actions(plan_of(rules=Rules(priorities={"beta": 5, "alpha": 1})))) == ["beta", "gamma", "alpha"]


def test_splits() -> None:
    """One split needs only its own bytes; the whole data set later reuses that split without a download."""
    shelf = catalog(data_set("alpha", MEGABYTE, 3 * MEGABYTE, parts=3))
    one = plan_of(wanted=Request(datasets=(("alpha", ("part1",)),)), shelf=shelf)
    assert (one.phase, one.download, one.unpacked) == (None, Size(MEGABYTE), Size(3 * MEGABYTE))
    done = after(one, Inventory())
    whole = plan_of(done, wanted=Request(datasets=(("alpha", ()),)), shelf=shelf)
    assert whole.download == Size(2 * MEGABYTE)
    with pytest.raises(NotFoundError):
        plan_of(wanted=Request(datasets=(("alpha", ("part9",)),)), shelf=shelf)


def test_an_archive_of_two_data_sets_counts_once() -> None:
    """An archive that two data sets share is counted once: the second reuses what the first fetched."""
    shared = UrlFile("https://x/shared.zip", size=Size(7), digest=Digest("sha256", "7" * 64), unpack="zip", unpacked_size=Size(9))
    one, two = (data_set(name, sources=(UrlSource((shared,)),)) for name in ("one", "two"))
    plan = plan_of(shelf=catalog(one, two))
    assert plan.download == Size(7)


# --- licences --------------------------------------------------------------------------------------------------------------

TERMS = catalog(*(data_set(mark, 1, 1, commercial=mark) for mark in ("allowed", "mixed", "verify", "forbidden")))


@pytest.mark.parametrize(
    ("rules", "fetched"),
    [
        (Rules("commercial"), {"allowed"}),
        (Rules("curated"), {"allowed", "mixed", "verify"}),
        (Rules("any"), {"allowed", "mixed", "verify", "forbidden"}),
        (Rules("commercial", frozenset({"forbidden"})), {"allowed", "forbidden"}),
    ],
)
def test_policies(rules: Rules, fetched: set[str]) -> None:
    """A data set of a phase that the licence policy refuses is skipped, with its reason."""
    plan = plan_of(rules=rules, shelf=TERMS)
    assert {step.id for step in plan.work} == fetched
    assert {step.reason for step in plan.steps if step.action == "skip"} <= {"license_policy"}
    assert all(step.action == "skip" for step in plan.steps if step.id not in fetched)


def test_a_refused_licence_by_name() -> None:
    """A data set that was asked for by name and has a refused licence is an error."""
    plan = plan_of(wanted=Request(datasets=(("forbidden", ()), ("allowed", ()))), shelf=TERMS)
    assert actions(plan) == {"forbidden": "refuse", "allowed": "fetch"}
    assert isinstance(plan.steps[0].error, LicenseRefusedError)
    assert "ACCEPT_LICENSES=forbidden" in plan.steps[0].error.hint


def test_what_is_there_stays() -> None:
    """A data set that is published already stays when the policy becomes stricter."""
    done = after(plan_of(rules=Rules("any"), shelf=TERMS), Inventory())
    assert set(actions(plan_of(done, Rules("commercial"), shelf=TERMS)).values()) == {"keep"}


# --- space -----------------------------------------------------------------------------------------------------------------


def test_the_lowest_priorities_are_left_out() -> None:
    """Alpha needs 30 MB at its peak and 20 MB afterwards; gamma fits beside it, beta does not and is skipped."""
    plan = plan_of(Inventory(free_bytes=31 * MEGABYTE))
    assert actions(plan) == {"alpha": "fetch", "gamma": "fetch", "beta": "skip"}
    assert plan.steps[2].reason == "storage_limit"
    assert plan.shortfall is None
    assert plan.peak_bytes <= 31 * MEGABYTE


def test_a_smaller_one_may_fit_where_a_larger_does_not() -> None:
    """A data set that is too large does not keep smaller ones of lower priority out."""
    assert actions(plan_of(Inventory(free_bytes=14 * MEGABYTE))) == {"alpha": "skip", "gamma": "fetch", "beta": "skip"}
    assert actions(plan_of(Inventory(free_bytes=15 * MEGABYTE))) == {"alpha": "skip", "gamma": "fetch", "beta": "fetch"}


def test_whichever_bound_is_less() -> None:
    """Free space on the device and the limit both apply: the smaller of them decides."""
    assert actions(plan_of(Inventory(free_bytes=10**12), Rules(limit_bytes=3 * MEGABYTE)))["alpha"] == "skip"
    assert actions(plan_of(Inventory(free_bytes=3 * MEGABYTE), Rules(limit_bytes=10**12)))["alpha"] == "skip"


def test_what_is_kept_counts_towards_the_limit() -> None:
    """The limit applies to everything on the volume, also to what is there already."""
    kept = after(plan_of(wanted=Request("small")), Inventory())
    plan = plan_of(kept, Rules(limit_bytes=25 * MEGABYTE))
    assert actions(plan) == {"alpha": "keep", "gamma": "fetch", "beta": "skip"}


def test_bytes_in_staging_are_part_of_the_need() -> None:
    """Bytes of an interrupted download count as available for the rest of it."""
    assert actions(plan_of(Inventory(free_bytes=20 * MEGABYTE, staged_bytes=10 * MEGABYTE)))["alpha"] == "fetch"
    assert actions(plan_of(Inventory(free_bytes=20 * MEGABYTE)))["alpha"] == "skip"


def test_a_shortfall() -> None:
    """If not all fits, ON_SHORTFALL=fail fetches nothing; if nothing fits, that is an error in any case."""
    failing = plan_of(Inventory(free_bytes=31 * MEGABYTE), Rules(fail_on_shortfall=True))
    assert isinstance(failing.shortfall, VolumeFullError)
    assert "beta" in failing.shortfall.message
    assert "31.0 MB" in failing.shortfall.message
    nothing = plan_of(Inventory(free_bytes=5))
    assert isinstance(nothing.shortfall, VolumeFullError)
    kept = after(plan_of(wanted=Request("small")), Inventory())
    assert plan_of(replace(kept, free_bytes=5)).shortfall is None


def test_too_large_by_name() -> None:
    """A data set asked for by name that does not fit is an error, which has the needed and the free bytes."""
    plan = plan_of(Inventory(free_bytes=5 * MEGABYTE), wanted=Request(datasets=(("alpha", ()), ("gamma", ()))))
    assert actions(plan) == {"alpha": "refuse", "gamma": "fetch"}
    assert isinstance(plan.steps[0].error, VolumeFullError)
    assert "30.0 MB" in plan.steps[0].error.message


def test_archives_one_at_a_time() -> None:
    """Where all archives together do not fit, each is fetched and unpacked before the next."""
    shelf = catalog(data_set("alpha", 10, 20, parts=4))
    need = need_of(make_recipe(shelf.datasets["alpha"]))
    assert (need.download, need.unpacked) == (Size(40), Size(80))
    assert (need.peak_at_once, need.peak_one_by_one) == (120, 90)
    assert plan_of(Inventory(free_bytes=120), shelf=shelf).steps[0].retention == "at_once"
    assert plan_of(Inventory(free_bytes=119), shelf=shelf).steps[0].retention == "one_by_one"
    assert plan_of(Inventory(free_bytes=89), shelf=shelf).steps[0].action == "skip"


def test_superseded_versions_go_when_their_space_is_needed() -> None:
    """Superseded versions are evicted only for space, and never if a wanted data set can reuse an archive of theirs."""
    old = replace(receipt(make_recipe(ALPHA), 20 * MEGABYTE), version="old", content_ids={"other": "key"})
    now = after(plan_of(wanted=Request("small")), Inventory())
    both = replace(now, receipts={**now.receipts, ("alpha", "old"): old})
    assert plan_of(replace(both, free_bytes=100 * MEGABYTE)).evict == ()
    tight = plan_of(replace(both, free_bytes=3 * MEGABYTE))
    assert tight.evict == (("alpha", "old"),)
    assert actions(tight) == {"alpha": "keep", "gamma": "fetch", "beta": "fetch"}
    sharing = replace(old, content_ids=dict(receipt(make_recipe(BETA)).content_ids))
    shared = replace(now, receipts={**now.receipts, ("alpha", "old"): sharing}, free_bytes=3 * MEGABYTE)
    assert plan_of(shared).evict == ()


# --- phases by size --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("free", "phase"), [(10**9, "all"), (31 * MEGABYTE, "small"), (None, "all")])
def test_auto(free: int | None, phase: str) -> None:
    """PHASE=auto takes the largest phase that fits."""
    assert plan_of(Inventory(free_bytes=free), wanted=Request("auto")).phase == phase


def test_auto_where_nothing_fits() -> None:
    """If no phase fits, PHASE=auto takes the smallest, whose plan has the error."""
    plan = plan_of(Inventory(free_bytes=1), wanted=Request("auto"))
    assert plan.phase == "small"
    assert plan.shortfall is not None


def test_what_would_fit() -> None:
    """A plan lists what would fit on an empty volume of a given size."""
    assert fitting(ALL, SHELF, NO_LIMIT, 5 * MEGABYTE) == ("gamma",)
    assert fitting(ALL, SHELF, NO_LIMIT, 10**9) == ("alpha", "gamma", "beta")
    assert fitting(ALL, SHELF, Rules(fail_on_shortfall=True), 1) == ()
    assert phase_peak(SHELF, "small") == 30 * MEGABYTE


# --- sizes that are not known ----------------------------------------------------------------------------------------------


def test_totals() -> None:
    """A sum of sizes is an estimate if any of them is one, and a lower bound if any of them is unknown."""
    assert total([Size(1), Size(2)]) == Size(3)
    assert total([Size(1), Size(2, estimate=True)]) == Size(3, estimate=True)
    assert total([Size(1), None]) == Size(1, estimate=True, at_least=True)
    assert total([]) == Size(0)


def test_a_hub_source_with_and_without_a_size() -> None:
    """A repository of unknown size is planned with no bytes, and its size is given as unknown."""
    unknown = make_recipe(data_set("alpha", sources=(HubSource("ann/a"),)))
    assert need_of(unknown).download is None
    known = make_recipe(data_set("alpha", sources=(HubSource("ann/a", size=Size(50)),)))
    assert need_of(known) == need_of(known)
    assert (need_of(known).download, need_of(known).unpacked) == (Size(50), Size(50, estimate=True))
    stated = make_recipe(data_set("alpha", sources=(HubSource("ann/a", size=Size(50)),), unpacked_size=Size(80)))
    assert need_of(stated).peak_at_once == 80


def test_an_unpacked_size_is_shared_out() -> None:
    """An archive of unknown unpacked size is estimated by its share of the packed bytes."""
    files = tuple(
        UrlFile(f"https://x/{name}", size=Size(size), digest=Digest("sha256", name * 64), unpack="zip", split=name)
        for name, size in (("a", 10), ("b", 30))
    )
    recipe = make_recipe(data_set("alpha", sources=(UrlSource(files),), unpacked_size=Size(100)), splits=("b",))
    assert need_of(recipe).unpacked == Size(75, estimate=True)


# --- for any volume --------------------------------------------------------------------------------------------------------


@st.composite
def shelves(draw: st.DrawFn) -> Catalog:
    """Return any small catalog."""
    sizes = st.integers(0, 1000)
    return catalog(
        *(
            data_set(
                f"d{index}",
                draw(sizes),
                draw(sizes),
                priority=draw(st.integers(1, 5)),
                parts=draw(st.integers(1, 3)),
                commercial=draw(st.sampled_from(["allowed", "mixed", "forbidden"])),
            )
            for index in range(draw(st.integers(1, 5)))
        )
    )


@pytest.mark.parametrize(
    ("free", "side_by_side", "beside"),
    [
        (None, 4, (0, 1, 2)),
        (None, 2, (0, 1, 1)),
        (None, 1, (0, 0, 0)),
        # At their peaks, alpha needs 30, gamma 3 and beta 13 MB; as trees 20, 2 and 8.
        (46, 4, (0, 1, 2)),
        (45, 4, (0, 1, 1)),
        (36, 4, (0, 1, 1)),
        (35, 4, (0, 1, 0)),
        (33, 4, (0, 1, None)),
        (32, 4, (0, 0, None)),
    ],
)
def test_side_by_side(free: int | None, side_by_side: int, beside: tuple[int | None, ...]) -> None:
    """A step begins beside as many of those before it as there is space for; without a bound, as many as there may be."""
    plan = plan_of(Inventory(free_bytes=free and free * MEGABYTE), Rules(side_by_side=side_by_side))
    assert [step.id for step in plan.steps] == ["alpha", "gamma", "beta"]
    assert tuple(step.beside if step.action == "fetch" else None for step in plan.steps) == beside
    assert free is None or plan.peak_bytes <= free * MEGABYTE


@pytest.mark.parametrize(
    ("shelf", "inventory", "beside"),
    [
        # A size that is not known until it is asked for: another data set must not take the space that it needs.
        (
            catalog(ALPHA, UNKNOWN, GAMMA),
            Inventory(free_bytes=10**9),
            (0, 0, 0),
        ),
        (catalog(ALPHA, UNKNOWN, GAMMA), Inventory(), (0, 1, 2)),
        # To how much an archive unpacks may be unknown: five times its size are left free for it.
        (catalog(ALPHA, OPEN_ENDED), Inventory(free_bytes=(30 + 20 + 100) * MEGABYTE), (0, 1)),
        (catalog(ALPHA, OPEN_ENDED), Inventory(free_bytes=(30 + 20 + 100) * MEGABYTE - 1), (0, 0)),
        # Archives that are kept one by one, or not at all, would begin again after a kill.
        (
            catalog(ALPHA, data_set("beta", 20 * MEGABYTE, 30 * MEGABYTE, parts=2), GAMMA),
            Inventory(free_bytes=105 * MEGABYTE),
            (0, 1, 0),
        ),
        # Trees that are linked or hashed are not fetched: nothing runs ahead of them.
        (
            catalog(ALPHA, BETA, GAMMA),
            Inventory(orphans=frozenset({("gamma", make_recipe(GAMMA).version)})),
            (0, 0, 0),
        ),
    ],
)
def test_what_does_not_run_side_by_side(shelf: Catalog, inventory: Inventory, beside: tuple[int, ...]) -> None:
    """Only data sets whose peak is known, and whose archives all stay until they are published."""
    plan = plan_of(inventory, shelf=shelf)
    assert tuple(step.beside for step in plan.work) == beside


@given(
    shelf=shelves(),
    free=st.integers(0, 20_000),
    staging=st.none() | st.integers(0, 20_000),
    random=st.randoms(use_true_random=False),
)
def test_the_peak_is_kept_side_by_side(shelf: Catalog, free: int, staging: int | None, random: Random) -> None:
    """However the steps begin and end: what is being built, at its peak, and what is published stay below the plan's peak."""
    elsewhere = staging is not None
    plan = plan_of(Inventory(free_bytes=free, is_staging_elsewhere=elsewhere, staging_free_bytes=staging), shelf=shelf)
    pending, published = list(enumerate(plan.work)), 0
    running: list[tuple[int, Step]] = []
    while pending or running:
        rank, step = pending[0] if pending else (0, None)
        may_begin = step is not None and all(other >= rank - step.beside for other, _ in running)
        if may_begin and (not running or random.random() < 0.5):
            running.append(pending.pop(0))
        else:
            tree = running.pop(random.randrange(len(running)))[1].unpacked
            published += tree.value if tree else 0
        peaks = [each.peak_bytes for _, each in running]
        trees = [each.unpacked.value if each.unpacked else 0 for _, each in running]
        assert published + sum(trees if elsewhere else peaks) <= plan.peak_bytes <= free
        assert staging is None or sum(peaks) <= staging


@given(shelf=shelves(), free=st.integers(0, 6000), limit=st.none() | st.integers(0, 6000), fail=st.booleans())
def test_any_plan(shelf: Catalog, free: int, limit: int | None, fail: bool) -> None:
    """Any plan fits into the free space and is the same when made twice; once carried out it leaves nothing to do."""
    rules = Rules(limit_bytes=limit, fail_on_shortfall=fail)
    first = plan_of(Inventory(free_bytes=free), rules, shelf=shelf)
    assert first == plan_of(Inventory(free_bytes=free), rules, shelf=shelf) or first.shortfall
    available = min(free, limit) if limit is not None else free
    assert first.peak_bytes <= available
    assert sum(step.unpacked.value for step in first.work if step.unpacked) <= available
    priorities = [step.priority for step in first.steps]
    assert priorities == sorted(priorities, reverse=True)
    if first.shortfall is None:
        taken = sum(step.unpacked.value for step in first.work if step.unpacked)
        second = plan_of(replace(after(first, Inventory()), free_bytes=free - taken), rules, shelf=shelf)
        assert {step.id for step in second.work} & {step.id for step in first.work} == set()


@pytest.mark.parametrize(
    ("policy", "accepted", "label", "action", "commercial"),
    [
        ("commercial", (), "mixed:free", "fetch", "allowed"),
        ("commercial", ("mixed",), "mixed", "fetch", "mixed"),
        ("curated", (), "mixed", "fetch", "mixed"),
        ("any", (), "mixed", "fetch", "mixed"),
    ],
)
def test_the_policy_takes_a_part(policy: Policy, accepted: tuple[str, ...], label: str, action: str, commercial: str) -> None:
    """Where the policy would refuse a data set that has a part which may be used, that part is taken, and the plan says so."""
    free = PartRule(where="license == 'CC0'", commercial="allowed", download=Size(7), unpacked_size=Size(9), text=":free")
    mixed = replace(data_set("mixed", 100, 100, commercial="mixed"), parts={"free": free})
    rules = Rules(license_policy=policy, accept_licenses=frozenset(accepted))
    (step,) = make_plan(
        Request("all"), Catalog({"mixed": mixed}, {"all": Phase("all", "", ("mixed",))}), Inventory(), rules
    ).steps
    assert (step.recipe.label, step.action, step.recipe.commercial) == (label, action, commercial)
    assert ("takes only the part" in (step.warning or "")) == (label == "mixed:free")
    assert step.download == (Size(7) if label == "mixed:free" else Size(100))


def test_a_part_of_ones_own_is_narrowed() -> None:
    """A rule that the user writes is no verdict on licences: under the policy it narrows the part that may be used."""
    free = PartRule(where="license == 'CC0'", commercial="allowed", text=":free")
    mixed = replace(data_set("mixed", 100, 100, commercial="mixed"), parts={"free": free})
    wanted = Request(datasets=(("mixed", ()),), rules={"mixed": PartRule(where="year > 2000", limit=5, text="?limit=5")})
    (step,) = make_plan(wanted, Catalog({"mixed": mixed}, {}), Inventory(), Rules(license_policy="commercial")).steps
    assert step.action == "fetch"
    assert step.recipe.rule is not None
    assert step.recipe.rule.limit == 5
    assert {test.column for test in step.recipe.rule.condition.tests()} == {"license", "year"}  # type: ignore[union-attr]
