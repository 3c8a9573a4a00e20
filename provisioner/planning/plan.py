"""The plan: desired (catalog) against actual (receipts), as data.

A plan is made from values alone, so that the same inputs always give the same plan, and a second run plans nothing.
Who acts on it (:mod:`provisioner.engine.run`) decides nothing more than it says here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal

from provisioner.catalog.license import judge
from provisioner.catalog.size import Size, total
from provisioner.errors import LicenseRefusedError, ProvisionerError, VolumeError, VolumeFullError
from provisioner.planning.recipe import Recipe, make_recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from provisioner.catalog.artifact import Artifact
    from provisioner.catalog.license import Policy
    from provisioner.catalog.model import Catalog, Phase

Room = Literal["at_once", "one_by_one", "streamed"]
"""How archives share the volume with what comes out of them. ``at_once``: all of them are kept until the data set is
published; a kill costs little. ``one_by_one``: each is kept until it is unpacked. ``streamed``: each is consumed as it
arrives, and a kill starts that archive again."""

LARGE: Final = 16 << 20
"""Bytes from which on a file is fetched by several connections, and can be consumed as it arrives. For smaller ones the
wait for the first answers is longer than what they save."""

Action = Literal["keep", "link", "adopt", "fetch", "skip", "refuse"]
"""``keep``: there. ``link``: there, only the published link is missing or old. ``adopt``: a whole tree without its
receipt, to be hashed. ``fetch``: to be made. ``skip``: left out by policy or space. ``refuse``: asked for by name, and
policy, space or what is in the way forbids it: an error."""

SkipReason = Literal["storage_limit", "license_policy"]

RATES: Final = (("100 Mbit/s", 100e6 / 8), ("1 Gbit/s", 1e9 / 8))
"""Bytes a second for which a plan gives times."""

FITTING_LIMITS: Final = (5_000_000_000, 50_000_000_000, 150_000_000_000)
"""Volume sizes, in bytes, for which a plan says what would fit."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The proof that one version of a data set is on the volume."""

    dataset: str
    version: str
    layout: str
    splits: tuple[str, ...]
    files: int
    size: int
    """Bytes of all files of the tree together."""
    license: str
    source_kind: str
    source_url: str
    """URL or repository; never signed, never with a query."""
    pin: str
    """What the source resolved to: a digest, or a commit."""
    verified_against: str
    published_at: str
    """UTC, ISO 8601."""
    content_ids: Mapping[str, str] = field(default_factory=dict)
    """Shape to key of each artifact (see :class:`provisioner.planning.recipe.Artifact`)."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a volume holds: all receipts, and what is published. Believed; only the trees' places were looked at."""

    receipts: Mapping[tuple[str, str], Receipt] = field(default_factory=dict)
    """By data set and version; a receipt whose tree is gone is not among them."""
    published: Mapping[str, str] = field(default_factory=dict)
    """Data set to the version that the app sees, where the tree behind it is in its place."""
    orphans: frozenset[tuple[str, str]] = frozenset()
    """Data set and version of trees that have a manifest and no receipt."""
    foreign: frozenset[str] = frozenset()
    """Data sets in whose place something lies that is not ours."""
    staged_bytes: int = 0
    """Bytes that already lie in staging: they are part of what a plan needs."""
    free_bytes: int | None = None
    """What the device has left; ``None``: not known."""
    staging_free_bytes: int | None = None
    """What the device of ``STAGING_DIR`` has left, what is staged there included; ``None``: staging is on the volume."""

    @property
    def kept_bytes(self) -> int:
        """Bytes of all trees that have a receipt."""
        return sum(receipt.size for receipt in self.receipts.values())


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for: a phase, or data sets by name."""

    phase: str | None = None
    datasets: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Id and splits; not empty: these instead of a phase."""
    layouts: Mapping[str, str] = field(default_factory=dict)
    """Layouts chosen instead of the data sets' own."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What decides between fetching and leaving out."""

    license_policy: Policy = "curated"
    accept_licenses: frozenset[str] = frozenset()
    limit_bytes: int | None = None
    """For all that is kept on the volume, staging included."""
    fail_on_shortfall: bool = False
    priorities: Mapping[str, int] = field(default_factory=dict)
    """Priorities that replace the catalog's."""


@dataclass(frozen=True, slots=True)
class Step:
    """One data set's part of a plan."""

    recipe: Recipe
    action: Action
    priority: int
    why: str
    """One sentence for the log."""
    reason: SkipReason | None = None
    error: ProvisionerError | None = None
    """Why a ``refuse`` is one."""
    warning: str | None = None
    """About its licence."""
    download: Size | None = None
    """Bytes to fetch if the first choice of source delivers; ``None``: nobody knows."""
    unpacked: Size | None = None
    """Bytes of the tree; ``None``: nobody knows."""
    peak_bytes: int = 0
    """Most bytes that this step adds to the volume at any moment."""
    left_bytes: int | None = None
    """Room that there is for this step, where there is a bound: what was not known while planning is held against it."""
    room: Room = "at_once"
    """How archives share the volume with what comes out of them."""

    @property
    def id(self) -> str:
        """The data set's id."""
        return self.recipe.dataset.id

    @property
    def works(self) -> bool:
        """Whether this step writes to the volume."""
        return self.action in {"link", "adopt", "fetch"}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run does, in the order in which it does it (highest priority first)."""

    phase: str | None
    steps: tuple[Step, ...]
    evict: tuple[tuple[str, str], ...] = ()
    """Superseded versions to take off first, since their space is needed."""
    not_in_phase: tuple[str, ...] = ()
    """Published data sets that were not asked for: they stay."""
    shortfall: ProvisionerError | None = None
    """Set: nothing may be fetched at all."""
    peak_bytes: int = 0
    """Most bytes that the run adds to what is on the volume now."""

    @property
    def work(self) -> tuple[Step, ...]:
        """The steps that write."""
        return tuple(step for step in self.steps if step.works)

    @property
    def download(self) -> Size:
        """Bytes to fetch, all steps together; an estimate if any is."""
        return total(step.download for step in self.steps if step.action == "fetch")

    @property
    def unpacked(self) -> Size:
        """Bytes of the trees to be made, all steps together."""
        return total(step.unpacked for step in self.steps if step.action == "fetch")


@dataclass(frozen=True, slots=True)
class Need:
    """What one recipe costs on an empty volume."""

    download: Size | None
    unpacked: Size | None
    peak_at_once: int
    """Bytes when all archives are there together with the tree."""
    peak_one_by_one: int
    """Bytes when each archive is unpacked and dropped before the next is fetched."""
    peak_streamed: int
    """Bytes when large archives are never there as a whole."""


def need_of(recipe: Recipe, there: Collection[str] = ()) -> Need:
    """Return what a recipe costs, by the first of its sources whose sizes are known.

    Args:
        recipe: the data set as asked for.
        there: shapes of artifacts whose files are taken over from trees that are there; they cost no download.
    """
    if recipe.artifacts is not None:
        return _need_of_files(recipe, recipe.artifacts, there)
    size = next((source.size for source in recipe.sources if source.size), None)
    unpacked = _stated_size(recipe) if not recipe.splits else None
    unpacked = unpacked or (Size(size.value, estimate=True) if size else None)
    peak = unpacked.value if unpacked else 0
    return Need(size, unpacked, peak, peak, peak)


def _need_of_files(recipe: Recipe, known: Sequence[Artifact], there: Collection[str]) -> Need:
    artifacts = [artifact for artifact in known if artifact.content_id not in there]
    download = total(artifact.size for artifact in artifacts)
    finals = [_final_size(artifact, recipe) for artifact in artifacts]
    unpacked = total(finals)
    stated = _stated_size(recipe)
    if stated and not recipe.splits and len(artifacts) == len(known):
        unpacked = stated
    archives = [artifact.size.value if artifact.size and artifact.unpack != "none" else 0 for artifact in artifacts]
    at_once = sum(archives) + unpacked.value
    one_by_one = min(at_once, max(_highest(archives, finals), unpacked.value))
    kept = [0 if _is_streamable(artifact) else archive for artifact, archive in zip(artifacts, archives, strict=True)]
    streamed = min(one_by_one, max(_highest(kept, finals), unpacked.value))
    return Need(download, unpacked, at_once, one_by_one, streamed)


def _highest(archives: Sequence[int], finals: Sequence[Size | None]) -> int:
    """Return the most bytes that are there at a time, when each archive goes as soon as it is unpacked."""
    so_far = highest = 0
    for archive, final in zip(archives, finals, strict=True):
        so_far += final.value if final else 0
        highest = max(highest, so_far + archive)
    return highest


def _is_streamable(artifact: Artifact) -> bool:
    return artifact.unpack != "none" and artifact.exact_size is not None and artifact.exact_size >= LARGE


def _stated_size(recipe: Recipe) -> Size | None:
    """Return the tree's size that the catalog states: it speaks of the data set's own layout."""
    return recipe.dataset.unpacked_size if recipe.layout == recipe.dataset.layout else None


def _final_size(artifact: Artifact, recipe: Recipe) -> Size | None:
    """Return an artifact's size in the tree; where it is not stated, its share of the data set's by what it weighs packed."""
    if artifact.size_in_tree is not None:
        return artifact.size_in_tree
    stated = _stated_size(recipe)
    whole = sum(
        other.size.value for source in recipe.dataset.sources_of(recipe.layout) for other in source.artifacts or () if other.size
    )
    if artifact.size is None or stated is None or not whole:
        return None
    return Size(stated.value * artifact.size.value // whole, estimate=True)


def wanted_recipes(wanted: Request, catalog: Catalog, phase: Phase | None) -> list[Recipe]:
    """Turn what was asked for into recipes, in the catalog's order.

    Raises:
        ConfigurationError, NotFoundError: a name, split or layout that the catalog does not have.
    """
    asked = wanted.datasets or tuple((name, ()) for name in (phase.datasets if phase else ()))
    return [make_recipe(catalog.datasets[name], layout=wanted.layouts.get(name), splits=splits) for name, splits in asked]


def make_plan(wanted: Request, catalog: Catalog, inventory: Inventory, rules: Rules) -> Plan:
    """Decide what a run does.

    Args:
        wanted: names are those of the catalog (checked by the caller); the phase ``auto`` takes the largest that fits.
        catalog: what should exist.
        inventory: what exists.
        rules: licences, limits and priorities.

    Raises:
        ConfigurationError, NotFoundError: a split or layout that the catalog does not have.
    """
    if wanted.datasets or wanted.phase != "auto":
        return _plan_phase(wanted, catalog, inventory, rules)
    by_size = sorted(catalog.phases.values(), key=lambda phase: -len(phase.datasets))
    for phase in by_size:
        plan = _plan_phase(replace(wanted, phase=phase.name), catalog, inventory, rules)
        if plan.shortfall is None and not any(step.reason == "storage_limit" for step in plan.steps):
            return plan
    return plan  # not even the smallest fits: what is to be left out is in its plan


def _plan_phase(wanted: Request, catalog: Catalog, inventory: Inventory, rules: Rules) -> Plan:
    phase = catalog.phases[wanted.phase] if wanted.phase and not wanted.datasets else None
    recipes = wanted_recipes(wanted, catalog, phase)
    by_name = bool(wanted.datasets)

    def priority(recipe: Recipe) -> int:
        return rules.priorities.get(recipe.dataset.id, recipe.dataset.priority)

    ordered = sorted(recipes, key=lambda recipe: -priority(recipe))

    def fit(evict: tuple[tuple[str, str], ...]) -> Plan:
        return _fit(ordered, priority, inventory, rules, by_name=by_name, evict=evict)

    plan = fit(())
    if _left_out_for_room(plan):
        plan = _with_eviction(plan, _superseded(recipes, inventory), fit)
    ids = {recipe.dataset.id for recipe in recipes}
    return replace(
        plan,
        phase=phase.name if phase else None,
        not_in_phase=tuple(name for name in sorted(inventory.published) if name not in ids),
    )


def _left_out_for_room(plan: Plan) -> bool:
    return any(step.reason == "storage_limit" for step in plan.steps)


def _with_eviction(plan: Plan, superseded: Sequence[tuple[str, str]], fit: Callable[[tuple[tuple[str, str], ...]], Plan]) -> Plan:
    """Return up superseded versions if that lets more data sets in, and no more of them than it takes."""
    evict = tuple(superseded)
    best = fit(evict)
    if _fetched(best) <= _fetched(plan):
        return plan
    for key in superseded:
        fewer = tuple(other for other in evict if other != key)
        attempt = fit(fewer)
        if _fetched(attempt) == _fetched(best):
            evict, best = fewer, attempt
    return best


def _fetched(plan: Plan) -> set[str]:
    return {step.id for step in plan.steps if step.action == "fetch"}


def _superseded(recipes: Sequence[Recipe], inventory: Inventory) -> tuple[tuple[str, str], ...]:
    """Versions that nobody sees and from which nothing that is wanted could be taken over."""
    wanted_shapes = {content_id for recipe in recipes for content_id in recipe.content_ids}
    wanted_versions = {(recipe.dataset.id, recipe.version) for recipe in recipes}
    return tuple(
        key
        for key, receipt in sorted(inventory.receipts.items())
        if inventory.published.get(receipt.dataset) not in {None, receipt.version}
        and key not in wanted_versions
        and not wanted_shapes & receipt.content_ids.keys()
    )


def _fit(
    recipes: Sequence[Recipe],
    priority: Callable[[Recipe], int],
    inventory: Inventory,
    rules: Rules,
    *,
    by_name: bool,
    evict: tuple[tuple[str, str], ...],
) -> Plan:
    """Walk the recipes by priority and take what has room."""
    given_up = sum(inventory.receipts[key].size for key in evict)
    room = _room(inventory, rules, given_up)
    there = {content_id for key, receipt in inventory.receipts.items() if key not in evict for content_id in receipt.content_ids}
    steps: list[Step] = []
    added = peak = 0
    shortfall: list[Step] = []
    for recipe in recipes:
        step = _settle(recipe, priority(recipe), inventory, rules, by_name=by_name)
        if step.action == "fetch":
            need = need_of(recipe, there)
            left = None if room is None else room - added
            step = _with_room(step, need, left, inventory.staging_free_bytes, by_name=by_name)
            if step.action == "fetch":
                elsewhere = inventory.staging_free_bytes is not None
                peak = max(peak, added + (_tree_size(need) if elsewhere else step.peak_bytes))
                added += need.unpacked.value if need.unpacked else 0
                there |= recipe.content_ids
            else:
                shortfall.append(step)
        steps.append(step)
    return Plan(None, tuple(steps), evict=evict, peak_bytes=peak, shortfall=_shortfall(steps, shortfall, room, rules))


def _room(inventory: Inventory, rules: Rules, given_up: int) -> int | None:
    """Bytes that may be added: by the device and by the limit, whichever is less; ``None``: no bound is known."""
    bounds = []
    if inventory.free_bytes is not None:
        bounds.append(inventory.free_bytes + inventory.staged_bytes + given_up)
    if rules.limit_bytes is not None:
        bounds.append(rules.limit_bytes - inventory.kept_bytes + given_up)
    return max(0, min(bounds)) if bounds else None


def _settle(recipe: Recipe, priority: int, inventory: Inventory, rules: Rules, *, by_name: bool) -> Step:
    """Decide one data set by all but its size."""
    key = (recipe.dataset.id, recipe.version)
    verdict = judge(rules.license_policy, recipe.dataset, rules.accept_licenses)
    receipt = inventory.receipts.get(key)
    unpacked = Size(receipt.size) if receipt else None
    if not verdict.allowed:
        # What is already there stays; it was allowed when it came, and nothing is taken away unasked.
        if receipt and inventory.published.get(recipe.dataset.id) == recipe.version:
            return Step(recipe, "keep", priority, f"is here; its licence is refused today: {verdict.reason}", unpacked=unpacked)
        if not by_name:
            return Step(recipe, "skip", priority, verdict.reason, reason="license_policy")
        error: ProvisionerError = LicenseRefusedError(
            f"{recipe.dataset.id}: its licence is refused: {verdict.reason}",
            hint=f"Read {recipe.dataset.license.url} and, if you may use it, set ACCEPT_LICENSES={recipe.dataset.id}.",
        )
        return Step(recipe, "refuse", priority, verdict.reason, reason="license_policy", error=error)
    if receipt and inventory.published.get(recipe.dataset.id) == recipe.version:
        return Step(recipe, "keep", priority, "is here", warning=verdict.warning, unpacked=unpacked)
    if recipe.dataset.id in inventory.foreign:
        error = VolumeError(
            f"datasets/{recipe.dataset.id} holds something that the provisioner did not put there; it was left alone",
            hint="Move it away (archives that were left in the volume's root are used), then start again.",
        )
        return Step(recipe, "refuse", priority, "something else is in its place", error=error)
    if receipt:
        return Step(recipe, "link", priority, "is here, its link is missing or old", warning=verdict.warning, unpacked=unpacked)
    if key in inventory.orphans:
        return Step(recipe, "adopt", priority, "has a tree and no receipt: it is hashed", warning=verdict.warning)
    old = inventory.published.get(recipe.dataset.id)
    why = "is missing" if old is None else "is here as another version"
    return Step(recipe, "fetch", priority, why, warning=verdict.warning)


def _with_room(step: Step, need: Need, left: int | None, staging: int | None, *, by_name: bool) -> Step:
    """Choose the way that fits, or give up; ``left`` and ``staging`` are bytes, on the volume and in a staging elsewhere."""
    sized = replace(step, download=need.download, unpacked=need.unpacked)
    ways: tuple[tuple[int, Room], ...] = (
        (need.peak_at_once, "at_once"),
        (need.peak_one_by_one, "one_by_one"),
        (need.peak_streamed, "streamed"),
    )
    for peak, way in ways:
        lack = _lack(peak, _tree_size(need), left, staging)
        if lack is None:
            return replace(sized, peak_bytes=peak, room=way, left_bytes=left)
    if not by_name:
        return replace(sized, action="skip", why=str(lack), reason="storage_limit", peak_bytes=need.peak_streamed)
    error = VolumeFullError(
        f"{step.id} {lack}", hint="Enlarge the volume, raise MAX_STORAGE_GB, or ask for a split of it (see 'list')."
    )
    return replace(sized, action="refuse", why=str(lack), reason="storage_limit", error=error, peak_bytes=need.peak_streamed)


def _lack(peak: int, tree: int, left: int | None, staging: int | None) -> str | None:
    """Return what there is not enough of; ``None``: it fits."""
    if staging is not None and peak > staging:
        return f"needs {peak:,} bytes in STAGING_DIR at its peak; {staging:,} are free there"
    needed = peak if staging is None else tree
    if left is not None and needed > left:
        return f"needs {needed:,} bytes at its peak; {left:,} are left"
    return None


def _tree_size(need: Need) -> int:
    return need.unpacked.value if need.unpacked else 0


def _shortfall(steps: Sequence[Step], short: Sequence[Step], room: int | None, rules: Rules) -> ProvisionerError | None:
    """Return whether the lack of room forbids the whole run."""
    if not short or room is None:
        return None
    nothing_fits = not any(step.action in {"keep", "link", "adopt", "fetch"} for step in steps)
    if not (rules.fail_on_shortfall or nothing_fits):
        return None
    needed = min(step.peak_bytes for step in short) if nothing_fits else sum(step.peak_bytes for step in short)
    names = ", ".join(step.id for step in short)
    problem = "none of the data sets fits" if nothing_fits else "not all data sets fit"
    return VolumeFullError(
        f"{problem}: {names}; {needed:,} bytes needed, {room:,} bytes free or allowed; nothing was fetched",
        hint="Enlarge the volume, raise MAX_STORAGE_GB, choose a smaller phase, or name data sets or splits in DATASETS.",
    )


def fitting(wanted: Request, catalog: Catalog, rules: Rules, limit: int) -> tuple[str, ...]:
    """Return the labels of what would be fetched onto an empty volume of ``limit`` bytes."""
    plan = make_plan(wanted, catalog, Inventory(free_bytes=limit), replace(rules, limit_bytes=None, fail_on_shortfall=False))
    return tuple(step.recipe.label for step in plan.steps if step.action == "fetch")


def phase_peak(catalog: Catalog, phase: str) -> int:
    """Return the bytes that an empty volume needs for all of a phase, licences apart."""
    return make_plan(Request(phase), catalog, Inventory(), Rules(license_policy="any")).peak_bytes
