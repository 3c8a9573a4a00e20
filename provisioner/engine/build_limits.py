"""The limits that hold while one data set is built: of the devices, of what may be kept, and of what its catalog entry says."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from provisioner.engine.shared_volume import Building
from provisioner.errors import NoRoomError, TreeTooLargeError
from provisioner.planning.capacity import most_bytes, stated_size
from provisioner.units import format_pair
from provisioner.volume.fs.write_budget import Bound, Budget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from provisioner.catalog.artifact import Artifact
    from provisioner.catalog.size import Size
    from provisioner.engine.shared_volume import SharedVolume
    from provisioner.planning.recipe import Recipe
    from provisioner.volume.store.manifest import Manifest


class BuildLimits:
    """How many bytes may be written for one version of a data set."""

    def __init__(self, volume: SharedVolume, recipe: Recipe) -> None:
        """Measure nothing yet.

        Args:
            volume: what all builds share.
            recipe: what is built.
        """
        self._volume = volume
        self._recipe = recipe
        self._stated = stated_size(recipe) if not recipe.splits else None
        self.most_tree_bytes = most_bytes(replace(self._stated, estimate=True)) if self._stated else None
        """How many bytes may be written for the tree, by the size that the catalog states; ``None``: it states none.

        The same number holds for all sources of the data set, which may differ in what lies beside the data. So it gets the
        margin of an estimate, also where it is not called one.
        """
        self._build = Building(recipe.dataset.id, recipe.version, recipe.label)
        planned = [Bound(self._planned_rest, self._too_large)] if self.most_tree_bytes is not None else []
        self.budget = Budget(recipe.label, volume.bounds, tree=planned)
        """What is written for it is charged here."""

    @contextlib.contextmanager
    def holding(self) -> Iterator[None]:
        """Hold for the version that is built while the block runs."""
        with self._volume.building(self._build):
            try:
                yield
            finally:
                self.budget.close()

    def begin_source(self, artifacts: Sequence[Artifact], check_cancelled: Callable[[], None]) -> None:
        """Begin again with another source, whose files in staging are resumed and not given up for their space.

        Waits until no other data set that is built has files in common with it.

        Raises:
            ProvisionerError: the run must end.
        """
        self._volume.claim(self._build, artifacts, check_cancelled)

    def begin_tree(self) -> None:
        """Count anew what is written for the tree: it is begun."""
        self._build.taken_over = 0
        self.budget.clear_unpacked()

    def clear_obsolete(self) -> None:
        """Remove the files in staging that are of no use any more: the version is complete.

        Raises:
            ProvisionerError: the volume failed, or the run must end.
        """
        self._volume.clear_obsolete(self._build)

    def _planned_rest(self) -> int | None:
        """Return how many bytes more may come out of archives by the size that the catalog states."""
        budget = self.budget
        # What is reserved is counted by the budget itself.
        return self.most_tree_bytes - budget.unpacked + budget.reserved if self.most_tree_bytes is not None else None

    def _too_large(self, label: str, _count: int) -> TreeTooLargeError:
        return _larger_than_planned(label, f"more than {self.most_tree_bytes or 0:,} bytes", self._stated)

    def add_taken_over(self, count: int) -> None:
        """Note bytes that are shared with another version, and take no space again."""
        self._build.taken_over += count

    def check_tree(self, manifest: Manifest) -> None:
        """Compare the finished tree with the size that the catalog states, and with the limit of what may be kept.

        Raises:
            TreeTooLargeError: it is larger than the catalog says.
            NoRoomError: it is too large for the limit.
        """
        if self.most_tree_bytes is not None and manifest.bytes > self.most_tree_bytes:
            raise _larger_than_planned(self._recipe.label, f"{manifest.bytes:,} bytes", self._stated)
        if self._volume.limit is None:
            return
        needed, left = manifest.bytes, self._volume.limit - self._volume.kept_bytes(self._build)
        if needed > left:
            shown, rest = format_pair(needed, max(0, left))
            raise NoRoomError(
                f"{self._recipe.label} has {shown}, and MAX_STORAGE_GB leaves {rest}; nothing was published",
                hint="Raise MAX_STORAGE_GB, or ask for a split of it (see 'list').",
            )


def _larger_than_planned(label: str, found: str, stated: Size | None) -> TreeTooLargeError:
    planned = f"{'about ' if stated.estimate else ''}{stated.value:,} bytes" if stated else "less"
    return TreeTooLargeError(
        f"{label}: it has {found}, and its entry says {planned} (unpacked_size); nothing was published",
        hint="If the data set has grown, its entry needs the new size.",
    )
