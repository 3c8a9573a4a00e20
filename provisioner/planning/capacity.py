"""The number of bytes that a recipe needs, and the check whether there is space for them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from provisioner.catalog.size import Size, known_total
from provisioner.units import format_pair

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from provisioner.catalog.artifact import Artifact
    from provisioner.catalog.parts import PartRule
    from provisioner.planning.model import Inventory, Retention, Rules, Step
    from provisioner.planning.recipe import Recipe

SMALL: Final = 1 << 20
"""A file of up to so many bytes is held in memory until it is verified, and then written directly to its path."""
LARGE: Final = 16 << 20
"""A file of at least so many bytes is fetched over several connections, and can be unpacked as it arrives. For smaller files,
waiting for the first responses would take longer than the time that this saves."""


_TOLERANCE: Final = 2
"""Estimates are round figures of publishers: for another release, in units of 1000 or 1024, by blocks or by lengths, with or
without files beside the data. All that together stays below a factor of two; anything beyond it is not what was planned."""
_SLACK: Final = 64 << 20
"""Bytes by which an estimate may be exceeded in addition, since small sizes may be wrong by a larger factor."""
_UNPACKING_FACTOR: Final = 5
"""The factor by which an archive of unstated content grows: audio doubles, tables and texts grow by five to ten times."""


def is_held_in_memory(artifact: Artifact) -> bool:
    """Return whether an artifact is small enough to be held in memory until it is verified, without being staged."""
    return artifact.unpack == "none" and artifact.exact_size is not None and artifact.exact_size <= SMALL


def most_bytes(size: Size | None) -> int | None:
    """Return the upper bound for something that was planned with ``size``, or ``None`` if that is not known.

    An exact size is its own bound; an estimate may be exceeded by a factor of two.
    """
    if size is None or not size.estimate:
        return size.value if size else None
    return _TOLERANCE * size.value + _SLACK


@dataclass(frozen=True, slots=True)
class Need:
    """The space and the download that one recipe needs on an empty volume."""

    download: Size | None
    """Bytes to fetch; ``None`` means unknown."""
    unpacked: Size | None
    """Bytes of the tree; ``None`` means unknown."""
    peak_at_once: int
    """Bytes if all archives are kept together with the tree."""
    peak_one_by_one: int
    """Bytes if each archive is unpacked and removed before the next is fetched."""
    peak_streamed: int
    """Bytes if large archives are unpacked as they arrive."""

    @property
    def tree_bytes(self) -> int:
        """Bytes of the tree; 0 if not known."""
        return self.unpacked.value if self.unpacked else 0

    @property
    def is_download_known(self) -> bool:
        """Whether the number of bytes to fetch is known, at least roughly."""
        return self.download is not None and not self.download.at_least

    @property
    def reserve(self) -> int:
        """Bytes that are left free for the unknown part of the tree, while other data sets are built at the same time."""
        is_known = self.unpacked is not None and not self.unpacked.at_least
        return 0 if is_known or self.download is None else _UNPACKING_FACTOR * self.download.value

    @property
    def peaks(self) -> tuple[tuple[Retention, int], ...]:
        """Each retention with its peak in bytes, the preferred one first."""
        return (
            ("at_once", self.peak_at_once),
            ("one_by_one", self.peak_one_by_one),
            ("streamed", self.peak_streamed),
        )

    def retention_within(self, free: int | None) -> Retention:
        """Return the first retention that fits into ``free`` bytes (``None`` means no limit); ``streamed`` if none does."""
        return next((retention for retention, peak in self.peaks if free is None or peak <= free), "streamed")


FALSE_REPORT: Final = (
    " If a mount reports its free space wrongly: VOLUME_KIND=object makes that of the volume count for nothing (then set"
    " MAX_STORAGE_GB), and STAGING_DIR can be on another disk."
)
"""Added to a hint if nothing at all is free."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """The bytes that one data set takes while it is built, and afterwards."""

    on_volume: int
    """Upper bound on the volume."""
    staged: int
    """Upper bound in staging."""
    tree: int
    """Bytes on the volume once it is published."""
    reserve: int = 0
    """Further bytes to leave free for it while others are built, because the unpacked size of its archives is not known."""

    @property
    def excess(self) -> int:
        """Bytes on the volume in addition to those of the published tree."""
        return self.on_volume - self.tree


@dataclass(frozen=True, slots=True)
class FreeSpace:
    """The bytes that may be added on the volume, and in a staging directory on another device."""

    volume: int | None
    """``None`` if no bound is known."""
    staging: int | None = None
    """For a staging directory elsewhere; ``None`` if no bound is known, or if staging is on the volume."""
    is_staging_elsewhere: bool = False
    is_full: bool = False
    """Whether a file system reports no free space at all, as some do that cannot know better."""

    def shortage(self, need: Need, peak: int) -> str | None:
        """Return in words where there is too little space for a need with this peak in bytes, or ``None`` if it fits."""
        if self.staging is not None and peak > self.staging:
            shown, free = format_pair(peak, self.staging)
            return f"needs {shown} in STAGING_DIR at its peak; {free} are free there"
        needed = self.peak_on_volume(need, peak)
        if self.volume is not None and needed > self.volume:
            shown, left = format_pair(needed, self.volume)
            return f"needs {shown} at its peak; {left} are left"
        return None

    def fitting_beside(self, footprint: Footprint, unfinished: Sequence[Footprint]) -> list[Footprint]:
        """Return which of the data sets directly before one may be unfinished while it is built.

        Args:
            footprint: footprint of the data set, which fits by itself.
            unfinished: the earlier data sets in question; this object already counts their trees as added.
        """
        for first in range(len(unfinished)):
            beside = unfinished[first:]
            on_volume = footprint.on_volume + footprint.reserve + sum(other.excess + other.reserve for other in beside)
            staged = footprint.staged + sum(other.staged for other in beside)
            if (self.volume is None or on_volume <= self.volume) and (self.staging is None or staged <= self.staging):
                return list(beside)
        return []

    def peak_on_volume(self, need: Need, peak: int) -> int:
        """Return how many bytes of a peak are on the volume: with a staging directory elsewhere, only the tree."""
        return need.tree_bytes if self.is_staging_elsewhere else peak


def free_space(inventory: Inventory, rules: Rules, evicted_bytes: int, added_bytes: int = 0) -> FreeSpace:
    """Return what may be added to a volume, by the device or by the limit, whichever is less.

    Args:
        inventory: what the volume holds.
        rules: the limit is taken from them.
        evicted_bytes: bytes of trees that are removed first.
        added_bytes: bytes that earlier steps have added.
    """
    bounds = []
    if inventory.free_bytes is not None:
        bounds.append(inventory.free_bytes - inventory.reserved_bytes + inventory.staged_bytes + evicted_bytes)
    if rules.limit_bytes is not None:
        bounds.append(rules.limit_bytes - inventory.kept_bytes + evicted_bytes)
    volume = max(0, min(bounds)) - added_bytes if bounds else None
    is_full = inventory.free_bytes == 0 or inventory.staging_free_bytes == 0
    return FreeSpace(volume, inventory.staging_free_bytes, inventory.is_staging_elsewhere, is_full)


def space_of(step: Step) -> int | None:
    """Return how many bytes a step may need on the volume at any moment, or ``None`` if that is not known."""
    if step.action != "fetch":
        return 0
    if step.download is None or step.download.at_least:
        return None
    is_known = step.unpacked is not None and not step.unpacked.at_least
    return step.peak_bytes + (0 if is_known else _UNPACKING_FACTOR * step.download.value)


def space_hint(recipe: Recipe) -> str:
    """Return what a user can do about a data set that does not fit; splits are mentioned only if it has some."""
    has_splits = not recipe.splits and any(source.split_names for source in recipe.sources)
    split = ", or ask for a split of it (see 'list')" if has_splits else ""
    return f"Enlarge the volume, or raise MAX_STORAGE_GB if it is set{split}."


def need_of(recipe: Recipe, present: Collection[str] = ()) -> Need:
    """Return what a recipe needs, by the first of its sources with known sizes.

    Args:
        recipe: the requested data set.
        present: content ids of artifacts whose files are linked from trees on the volume, and so need no download.
    """
    whole = _need_of_splits(recipe, present)
    return whole if recipe.rule is None else _need_of_part(recipe, recipe.rule, whole)


def _need_of_part(recipe: Recipe, rule: PartRule, whole: Need) -> Need:
    """Return what a part needs; until its examples are known, everything that is unpacked takes space."""
    facts = recipe.dataset.facts
    if facts is not None and facts.taken is not None:
        taken = Size(facts.taken, estimate=rule.takes_some)
        return Need(taken, taken, taken.value, taken.value, taken.value)
    if rule.download is not None and rule.unpacked_size is not None:
        # A narrower rule takes less, but it is not known how much less.
        both = rule.download.value + rule.unpacked_size.value
        return Need(rule.download, rule.unpacked_size, both, both, both)
    if whole.unpacked is None or rule.bytes is None:
        # No more than the whole; how much less is known only when the tables are here.
        unpacked = replace(whole.unpacked, estimate=True) if whole.unpacked else None
    else:
        unpacked = Size(min(whole.unpacked.value, rule.bytes), estimate=True)
    return replace(whole, unpacked=unpacked)


def _need_of_splits(recipe: Recipe, present: Collection[str]) -> Need:
    """Return what all examples of the splits need."""
    if recipe.artifacts is not None:
        return _need_of_artifacts(recipe, recipe.artifacts, present)
    size = next((source.size for source in recipe.sources if source.size), None)
    unpacked = stated_size(recipe) if not recipe.splits else None
    unpacked = unpacked or (Size(size.value, estimate=True) if size else None)
    peak = unpacked.value if unpacked else 0
    return Need(size, unpacked, peak, peak, peak)


def _need_of_artifacts(recipe: Recipe, known: Sequence[Artifact], present: Collection[str]) -> Need:
    artifacts = [artifact for artifact in known if artifact.content_id not in present]
    download = known_total(artifact.size for artifact in artifacts)
    in_tree = _sizes_in_tree(recipe, artifacts)
    unpacked = known_total(in_tree)
    stated = stated_size(recipe)
    if stated and not recipe.splits and len(artifacts) == len(known):
        unpacked = stated
    archives = [artifact.size.value if artifact.size and artifact.unpack != "none" else 0 for artifact in artifacts]
    tree = unpacked.value if unpacked else 0
    at_once = sum(archives) + tree
    one_by_one = min(at_once, max(_peak(archives, in_tree), tree))
    stored = [0 if _is_streamable(artifact) else archive for artifact, archive in zip(artifacts, archives, strict=True)]
    streamed = min(one_by_one, max(_peak(stored, in_tree), tree))
    return Need(download, unpacked, at_once, one_by_one, streamed)


def _peak(archives: Sequence[int], in_tree: Sequence[Size | None]) -> int:
    """Return the peak in bytes if each archive is removed as soon as it is unpacked."""
    tree = peak = 0
    for archive, size in zip(archives, in_tree, strict=True):
        tree += size.value if size else 0
        peak = max(peak, tree + archive)
    return peak


def _is_streamable(artifact: Artifact) -> bool:
    return artifact.unpack != "none" and artifact.exact_size is not None and artifact.exact_size >= LARGE


def can_come_in_part(artifact: Artifact) -> bool:
    """Return whether fetching single members of an archive is possible and pays; the digest proves only the whole archive."""
    return artifact.unpack == "zip" and artifact.exact_size is not None and artifact.exact_size >= LARGE


def stated_size(recipe: Recipe) -> Size | None:
    """Return the size of the tree in the catalog, which applies to the data set's default layout."""
    return recipe.dataset.unpacked_size if recipe.layout == recipe.dataset.layout else None


def _sizes_in_tree(recipe: Recipe, artifacts: Sequence[Artifact]) -> list[Size | None]:
    """Return each artifact's size in the tree; if it is not stated, a share of the tree by the artifact's packed size."""
    stated = stated_size(recipe)
    whole = sum(
        artifact.size.value
        for source in recipe.dataset.sources_of(recipe.layout)
        for artifact in source.artifacts or ()
        if artifact.size
    )

    def estimate(artifact: Artifact) -> Size | None:
        if artifact.size is None or stated is None or not whole:
            return None
        return Size(stated.value * artifact.size.value // whole, estimate=True)

    return [artifact.size_in_tree or estimate(artifact) for artifact in artifacts]
