"""The plan, as data: the difference between what is desired (catalog) and what exists (receipts).

A plan is made from values alone, so that the same inputs always give the same plan, and a second run has nothing to do.
:mod:`provisioner.engine.run` carries it out and makes no further decisions.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from provisioner.catalog.license import commercial_part, judge, mark_of
from provisioner.catalog.size import Size
from provisioner.errors import LicenseRefusedError, ProvisionerError, VolumeError, VolumeFullError
from provisioner.planning.capacity import FALSE_REPORT, Footprint, free_space, need_of, space_hint
from provisioner.planning.model import Inventory, Plan, Request, Rules, Step
from provisioner.planning.pinning import at_pins
from provisioner.planning.recipe import make_recipe
from provisioner.planning.references import nested_with, reference_in_place
from provisioner.units import format_pair

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provisioner.catalog.model import Catalog, DataSet, Phase
    from provisioner.catalog.parts import PartRule
    from provisioner.catalog.pins import DataSetPin
    from provisioner.planning.capacity import FreeSpace, Need
    from provisioner.planning.model import Receipt
    from provisioner.planning.recipe import Recipe
    from provisioner.planning.upstream import Newer

HERE: Final = "is here"
"""The reason for keeping a data set, if there is nothing else to say about it."""


def make_plan(wanted: Request, catalog: Catalog, inventory: Inventory, rules: Rules) -> Plan:
    """Decide what a run does.

    Args:
        wanted: the request; its names must be in the catalog (checked by the caller). The phase ``auto`` means the largest
            that fits.
        catalog: what should exist.
        inventory: what exists.
        rules: licences, limits and priorities.

    Raises:
        ConfigurationError, NotFoundError: a split or layout is not in the catalog.
    """
    if wanted.datasets or wanted.phase != "auto":
        return _plan_phase(wanted, catalog, inventory, rules)
    by_size = sorted(catalog.phases.values(), key=lambda phase: -len(phase.datasets))
    for phase in by_size:
        plan = _plan_phase(replace(wanted, phase=phase.name), catalog, inventory, rules)
        if plan.shortfall is None and not _lacks_space(plan):
            return plan
    return plan  # not even the smallest fits: its plan says what is left out


def fitting(wanted: Request, catalog: Catalog, rules: Rules, limit: int) -> tuple[str, ...]:
    """Return the labels of what would be fetched to an empty volume of ``limit`` bytes, as far as sizes are known."""
    plan = make_plan(wanted, catalog, Inventory(free_bytes=limit), replace(rules, limit_bytes=None, fail_on_shortfall=False))
    return tuple(step.recipe.label for step in plan.steps if step.action == "fetch" and step.is_peak_known)


def phase_peak(catalog: Catalog, phase: str) -> int:
    """Return the bytes that a whole phase needs on an empty volume, one data set after the other, regardless of licences."""
    return make_plan(Request(phase), catalog, Inventory(), Rules(license_policy="any", side_by_side=1)).peak_bytes


def _plan_phase(wanted: Request, catalog: Catalog, inventory: Inventory, rules: Rules) -> Plan:
    phase = catalog.phases[wanted.phase] if wanted.phase and not wanted.datasets else None
    recipes = _wanted_recipes(wanted, catalog, phase, inventory, rules)
    by_name = bool(wanted.datasets)
    ordered = sorted(recipes, key=lambda recipe: -_priority(recipe, rules))

    def plan_without(evict: tuple[tuple[str, str], ...]) -> Plan:
        return _plan_steps(ordered, inventory, rules, by_name=by_name, evict=evict)

    plan = plan_without(())
    if _lacks_space(plan):
        plan = _with_eviction(plan, _superseded(recipes, inventory), plan_without)
    ids = {recipe.dataset.id for recipe in recipes}
    return replace(
        plan,
        phase=phase.name if phase else None,
        not_in_phase=tuple(name for name in sorted(inventory.published) if name not in ids),
    )


def _wanted_recipes(wanted: Request, catalog: Catalog, phase: Phase | None, inventory: Inventory, rules: Rules) -> list[Recipe]:
    """Return the recipes for the request, in the order of the request or of the phase."""
    asked = wanted.datasets or tuple((name, ()) for name in (phase.datasets if phase else ()))
    recipes = [
        make_recipe(
            catalog.datasets[name],
            layout=wanted.layouts.get(name),
            splits=splits,
            rule=_rule_for(wanted, catalog.datasets[name], rules),
        )
        for name, splits in asked
    ]
    if rules.budget_bytes is not None:
        from provisioner.planning.budget import within_budget  # noqa: PLC0415 - most plans have no budget

        recipes = within_budget(recipes, rules, rules.budget_bytes)
    return [
        at_pins(recipe, inventory, wanted.pinned[recipe.dataset.id])
        if recipe.dataset.id in wanted.pinned
        else _at_state(recipe, inventory, wanted.newer.get(recipe.dataset.id))
        for recipe in recipes
    ]


def _rule_for(wanted: Request, dataset: DataSet, rules: Rules) -> PartRule | None:
    """Return which examples are taken: the requested ones, from the part that the licence policy takes of the whole."""
    asked = wanted.rules.get(dataset.id)
    part = commercial_part(rules.license_policy, dataset, rules.accept_licenses)
    if part is None or (asked is not None and mark_of(dataset, asked) == "allowed"):
        return asked
    if asked is not None and asked.text.partition("?")[0] == part.text:
        return asked  # it takes examples outside of that part, and is refused
    return part.narrowed(asked, of=dataset.label) if asked is not None else part


def _at_state(recipe: Recipe, inventory: Inventory, newer: Newer | None) -> Recipe:
    """Return a recipe for the wanted state of its source: a newer one, or the one on the volume."""
    held = inventory.satisfying(recipe.dataset.id, recipe.version, newer.pin if newer else "")
    wanted = recipe.moved(newer) if newer else recipe
    return wanted.as_version(held.version) if held else wanted


def _priority(recipe: Recipe, rules: Rules) -> int:
    return rules.priorities.get(recipe.dataset.id, recipe.dataset.priority)


def _lacks_space(plan: Plan) -> bool:
    return any(step.reason == "storage_limit" for step in plan.steps)


def fitted(step: Step, inventory: Inventory, rules: Rules, taken: int) -> Step:
    """Return a step as adapted to the space that is left now; skipped if it does not fit.

    Args:
        step: a step of a plan that was made before.
        inventory: what the volume holds now.
        rules: the limit is taken from them.
        taken: bytes that other runs may need while the step is carried out.
    """
    if step.action != "fetch":
        return step
    present = {content_id for receipt in inventory.receipts.values() for content_id in receipt.content_ids}
    return _with_retention(step, need_of(step.recipe, present), free_space(inventory, rules, 0, taken), by_name=False)


# --- eviction of superseded versions -------------------------------------------------------------------------------------


def _with_eviction(
    plan: Plan, superseded: Sequence[tuple[str, str]], plan_without: Callable[[tuple[tuple[str, str], ...]], Plan]
) -> Plan:
    """Return a plan that evicts superseded versions if more data sets then fit, and no more of them than necessary."""
    evict = tuple(superseded)
    best = plan_without(evict)
    if _fetched(best) <= _fetched(plan):
        return plan
    for key in superseded:
        fewer = tuple(other for other in evict if other != key)
        attempt = plan_without(fewer)
        if _fetched(attempt) == _fetched(best):
            evict, best = fewer, attempt
    return best


def _fetched(plan: Plan) -> set[str]:
    return {step.id for step in plan.steps if step.action == "fetch"}


def _superseded(recipes: Sequence[Recipe], inventory: Inventory) -> tuple[tuple[str, str], ...]:
    """Return the versions that are not published and have no files that a wanted recipe could link."""
    wanted_content = {content_id for recipe in recipes for content_id in recipe.content_ids}
    wanted_versions = {(recipe.dataset.id, recipe.version) for recipe in recipes}
    return tuple(
        key
        for key, receipt in sorted(inventory.receipts.items())
        if inventory.published.get(receipt.dataset) not in {None, receipt.version}
        and key not in wanted_versions
        and not receipt.is_newer
        and not wanted_content & receipt.content_ids.keys()
    )


# --- the steps -----------------------------------------------------------------------------------------------------------


def _plan_steps(
    recipes: Sequence[Recipe], inventory: Inventory, rules: Rules, *, by_name: bool, evict: tuple[tuple[str, str], ...]
) -> Plan:
    """Decide each recipe in the given order; each gets the space that those before it have left."""
    evicted_bytes = sum(inventory.receipts[key].size for key in evict)
    present = {
        content_id for key, receipt in inventory.receipts.items() if key not in evict for content_id in receipt.content_ids
    }
    steps: list[Step] = []
    too_large: list[Step] = []
    added = peak = 0
    unfinished: list[Footprint] = []
    for recipe in recipes:
        fallback = _fallback(recipe, inventory)
        step = _or_kept(_decide(recipe, inventory, rules, by_name=by_name), fallback)
        if step.action == "fetch":
            need = need_of(recipe, present)
            free = free_space(inventory, rules, evicted_bytes, added)
            step = _or_kept(_with_retention(step, need, free, by_name=by_name), fallback)
            if step.action == "fetch":
                footprint = Footprint(free.peak_on_volume(need, step.peak_bytes), step.peak_bytes, need.tree_bytes, need.reserve)
                # If not all archives are kept in staging, a kill during several builds would cost more than during one.
                fits_beside = step.retention == "at_once" and (need.is_download_known or free.volume is None)
                latest = unfinished[max(0, len(unfinished) + 1 - rules.side_by_side) :]
                unfinished = free.fitting_beside(footprint, latest) if fits_beside else []
                peak = max(peak, added + footprint.on_volume + sum(other.excess for other in unfinished))
                step = replace(step, beside=len(unfinished))
                added += need.tree_bytes
                unfinished = [*unfinished, footprint] if fits_beside else []
                present |= recipe.content_ids
            elif step.action != "keep":
                too_large.append(step)
        elif step.writes:
            unfinished = []
        steps.append(step)
    available = free_space(inventory, rules, evicted_bytes)
    return Plan(None, tuple(steps), evict=evict, peak_bytes=peak, shortfall=_shortfall(steps, too_large, available, rules))


def _fallback(recipe: Recipe, inventory: Inventory) -> Receipt | None:
    """Return the receipt of the published version, if that is a different state of what is wanted, and may stay."""
    if recipe.pin is not None or recipe.dataset.problem is not None:
        return None
    held = inventory.receipts.get((recipe.dataset.id, inventory.published.get(recipe.dataset.id, "")))
    return held if held is not None and held.asked == recipe.asked and held.version != recipe.version else None


def _or_kept(step: Step, fallback: Receipt | None) -> Step:
    """Return the step if it replaces a published version, or else one that keeps that version."""
    if fallback is None or step.action in {"keep", "link"}:
        return step
    if step.writes:
        return replace(step, fallback=fallback, why="has a newer version upstream")
    recipe, why = step.recipe.as_version(fallback.version), f"is here; the newer version is not taken: {step.why}"
    return Step(recipe, "keep", step.priority, why, unpacked=Size(fallback.size))


def _decide(recipe: Recipe, inventory: Inventory, rules: Rules, *, by_name: bool) -> Step:
    """Decide on one data set by everything except its size."""
    key = (recipe.dataset.id, recipe.version)
    priority = _priority(recipe, rules)
    verdict = judge(rules.license_policy, recipe.dataset, rules.accept_licenses, recipe.rule, recipe.commercial_part)
    receipt = inventory.receipts.get(key)
    warning = verdict.warning
    if rules.license_policy == "commercial" and recipe.rule is not None and recipe.commercial_part == "allowed":
        warning = _taken_in_part(recipe, recipe.rule)
    if recipe.dataset.problem is not None and receipt is None:
        return Step(recipe, "refuse", priority, recipe.dataset.problem.message, error=recipe.dataset.problem)
    is_here = receipt is not None and inventory.published.get(recipe.dataset.id) == recipe.version
    unpacked = Size(receipt.size) if receipt else None
    if not verdict.allowed:
        # A data set that is here stays: it was allowed when it was fetched, and nothing is removed without a request.
        if is_here:
            return Step(recipe, "keep", priority, f"is here; its licence is refused today: {verdict.reason}", unpacked=unpacked)
        if not by_name:
            return Step(recipe, "skip", priority, verdict.reason, reason="license_policy")
        error: ProvisionerError = LicenseRefusedError(
            f"{recipe.dataset.label}: its licence is refused: {verdict.reason}",
            hint=f"Read {recipe.dataset.license.url or 'its terms'} and, if you may use it, set"
            f" ACCEPT_LICENSES={recipe.dataset.accepted_as[0]}.",
        )
        return Step(recipe, "refuse", priority, verdict.reason, reason="license_policy", error=error)
    if is_here and recipe.dataset.id not in inventory.other_form:
        why = "is here, recorded by a newer version of this program" if receipt and receipt.is_newer else HERE
        return Step(recipe, "keep", priority, why, warning=warning, unpacked=unpacked)
    if (other := reference_in_place(recipe, inventory)) is not None:
        error = VolumeError(
            f"datasets/{recipe.dataset.id} is the place of {other} on this volume, and of something else in the catalog;"
            " nothing was fetched",
            hint=f"'remove {recipe.dataset.id}' makes place for it; or use another volume.",
        )
        return Step(recipe, "refuse", priority, "a reference is in its place", error=error)
    if recipe.dataset.id in inventory.foreign:
        nested = nested_with(recipe.dataset.id, {name for name, _ in inventory.receipts})
        error = (
            VolumeError(
                f"datasets/{recipe.dataset.id} and datasets/{nested}, which is on the volume, would lie one in the other;"
                " nothing was fetched",
                hint=f"'remove {nested}' makes place for it; or use another volume.",
            )
            if nested is not None
            else VolumeError(
                f"datasets/{recipe.dataset.id} holds something that the provisioner did not put there; it was left alone",
                hint="Move it away (archives that were left in the volume's root are used), then start again.",
            )
        )
        return Step(recipe, "refuse", priority, "something else is in its place", error=error)
    if key in inventory.newer:
        error = VolumeError(
            f"{recipe.dataset.label}: the volume has a record of this version that a newer version of the program wrote, but"
            " not the tree that belongs to it; it was left alone",
            hint=f"Use that version again, or remove the records of {recipe.version} below .provisioner by hand.",
        )
        return Step(recipe, "refuse", priority, "a newer version of the program recorded it", error=error)
    if receipt:
        why = "is here, in another form than PUBLISH asks for" if is_here else "is here, its link is missing or old"
        return Step(recipe, "link", priority, why, warning=warning, unpacked=unpacked)
    if key in inventory.orphans:
        return Step(recipe, "adopt", priority, "has a tree and no receipt: it is hashed", warning=warning)
    old = inventory.published.get(recipe.dataset.id)
    why = "is missing" if old is None else "is here as another version"
    if recipe.pin is not None and old is not None:
        why = f"is not what the pins name: {_pin_of(recipe, inventory, old)} is here, {_pinned(recipe.pin)} is pinned"
    return Step(recipe, "fetch", priority, why, warning=warning)


def _taken_in_part(recipe: Recipe, rule: PartRule) -> str:
    """Return the message about a data set of which the licence policy takes only a part."""
    return (
        f"{recipe.dataset.label}: LICENSE_POLICY=commercial takes only the part that may be used commercially ({rule.words});"
        f" ACCEPT_LICENSES={recipe.dataset.accepted_as[0]} would take all of it"
    )


def _pin_of(recipe: Recipe, inventory: Inventory, version: str) -> str:
    receipt = inventory.receipts[recipe.dataset.id, version]
    return receipt.pin if receipt.asked == recipe.asked else f"another recipe ({receipt.asked})"


def _pinned(pin: DataSetPin) -> str:
    names = " or ".join(source.pin for source in pin.sources)
    return f"{names} with the manifest {pin.manifest}" if pin.manifest else names


def _with_retention(step: Step, need: Need, free: FreeSpace, *, by_name: bool) -> Step:
    """Return the step with the first retention that fits; if none does, skip it, or refuse it if it was requested by name."""
    sized = replace(step, download=need.download, unpacked=need.unpacked)
    for retention, peak in need.peaks:
        shortage = free.shortage(need, peak)
        if shortage is None:
            return replace(sized, peak_bytes=peak, retention=retention, available_bytes=free.volume)
    why = str(shortage)
    if not by_name:
        return replace(sized, action="skip", why=why, reason="storage_limit", peak_bytes=need.peak_streamed)
    hint = space_hint(step.recipe) + (FALSE_REPORT if free.is_full else "")
    error = VolumeFullError(f"{step.recipe.label} {why}", hint=hint)
    return replace(sized, action="refuse", why=why, reason="storage_limit", error=error, peak_bytes=need.peak_streamed)


def _shortfall(steps: Sequence[Step], too_large: Sequence[Step], space: FreeSpace, rules: Rules) -> ProvisionerError | None:
    """Return the error that ends the whole run for lack of space, or ``None`` if what fits may be fetched."""
    available = min((bound for bound in (space.volume, space.staging) if bound is not None), default=None)
    if not too_large or available is None:
        return None
    nothing_fits = not any(step.action in {"keep", "link", "adopt", "fetch"} for step in steps)
    if not (rules.fail_on_shortfall or nothing_fits):
        return None
    peaks = [step.peak_bytes for step in too_large]
    needed = min(peaks) if nothing_fits else sum(peaks)
    names = ", ".join(step.recipe.dataset.label for step in too_large)
    problem = "none of the data sets fits" if nothing_fits else "not all data sets fit"
    shown, free = format_pair(needed, available)
    return VolumeFullError(
        f"{problem}: {names}; {shown} needed, {free} free or allowed; nothing was fetched",
        hint="Enlarge the volume, raise MAX_STORAGE_GB, choose a smaller phase, or name data sets or splits in DATASETS."
        + (FALSE_REPORT if space.is_full else ""),
    )
