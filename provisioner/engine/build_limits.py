"""The limits on the build of one data set: the space of the devices, ``MAX_STORAGE_GB``, and the size in its catalog entry."""

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
    """Limits of the number of bytes that may be written for one version of a data set."""

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
        """Maximum number of bytes of the tree, by the size that the catalog states, or ``None`` if it states none.

        The same number holds for all sources of the data set, which may differ in the files beside the data. So it gets
        the margin of an estimate, even if the catalog states it as exact.
        """
        self._build = Building(recipe.dataset.id, recipe.version, recipe.label)
        planned = [Bound(self._planned_rest, self._too_large)] if self.most_tree_bytes is not None else []
        self.budget = Budget(recipe.label, volume.bounds, tree=planned)
        """The budget to which all bytes written for this build are charged."""

    @contextlib.contextmanager
    def holding(self) -> Iterator[None]:
        """Apply the limits to the version that is built while the block runs."""
        with self._volume.building(self._build):
            try:
                yield
            finally:
                self.budget.close()

    def begin_source(self, artifacts: Sequence[Artifact], check_cancelled: Callable[[], None]) -> None:
        """Start over with another source, whose files in staging are then resumed, and no longer removed to free their space.

        Waits until no other build fetches any of the same files.

        Raises:
            ProvisionerError: the run must end.
        """
        self._volume.claim(self._build, artifacts, check_cancelled)

    def begin_files(self, *, keeps_all: bool) -> None:
        """Record whether staging has space for all files of the source at once; if not, only files in use are sure to stay."""
        self._build.keeps_files = keeps_all

    def using(self, artifact: Artifact) -> contextlib.AbstractContextManager[None]:
        """Return a context manager that marks an artifact's file in staging as in use, so that it is not removed."""
        return self._volume.using(self._build, artifact.key)

    def begin_tree(self) -> None:
        """Reset the count of bytes written for the tree, which is begun anew."""
        self._build.taken_over = 0
        self.budget.clear_unpacked()

    def clear_obsolete(self) -> None:
        """Remove the files in staging that are no longer needed, since the version is complete.

        Raises:
            ProvisionerError: the volume failed, or the run must end.
        """
        self._volume.clear_obsolete(self._build)

    def _planned_rest(self) -> int | None:
        """Return how many more bytes may come out of archives, by the size that the catalog states."""
        budget = self.budget
        # The budget itself counts what is reserved.
        return self.most_tree_bytes - budget.unpacked + budget.reserved if self.most_tree_bytes is not None else None

    def _too_large(self, label: str, _count: int) -> TreeTooLargeError:
        return _larger_than_planned(label, f"more than {self.most_tree_bytes or 0:,} bytes", self._stated)

    def add_taken_over(self, count: int) -> None:
        """Note bytes that are shared with another version, and so take no further space."""
        self._build.taken_over += count

    def check_tree(self, manifest: Manifest) -> None:
        """Compare the finished tree with the size that the catalog states, and with ``MAX_STORAGE_GB``.

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
