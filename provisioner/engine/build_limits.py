"""The limits that hold while one data set is built: of the devices, and of what may be kept on the volume."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from provisioner.errors import NoRoomError, TreeTooLargeError
from provisioner.planning.capacity import most_bytes, stated_size
from provisioner.units import format_pair
from provisioner.volume.fs.tree_size import content_bytes
from provisioner.volume.fs.write_budget import Bound, Budget, device_bound, kept_bound
from provisioner.volume.store.listing import names_in

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provisioner.catalog.artifact import Artifact
    from provisioner.catalog.size import Size
    from provisioner.engine.volume_session import VolumeSession
    from provisioner.planning.recipe import Recipe
    from provisioner.volume.store.manifest import Manifest

_LOGGER = logging.getLogger(__name__)


class BuildLimits:
    """How many bytes may be written for one version of a data set."""

    def __init__(self, session: VolumeSession, recipe: Recipe) -> None:
        """Measure nothing yet.

        Args:
            session: the volume.
            recipe: what is built.
        """
        self._store = session.store
        self._limit = session.settings.max_storage_bytes
        self._label = label = recipe.label
        self._dataset, self._version = recipe.dataset.id, recipe.version
        self._stated = stated_size(recipe) if not recipe.splits else None
        self.most_tree_bytes = most_bytes(replace(self._stated, estimate=True)) if self._stated else None
        """How many bytes may be written for the tree, by the size that the catalog states; ``None``: it states none.

        The number speaks of the data set as a whole, by whatever source, with or without what lies beside the data; exact are
        the sizes of files, of archives and of repositories. So it is taken as an estimate, also where it is not called one.
        """
        self._taken_over = 0
        self._keys: set[str] = set()
        self._plain_keys: set[str] = set()
        layout = self._layout = session.layout
        is_elsewhere = layout.staging_root is not None
        staged_bytes = self._staged_for_volume if is_elsewhere else lambda: content_bytes(layout.staging)
        on_volume = []
        if self._limit is not None:
            on_volume.append(kept_bound(self._limit, lambda: self._kept() + staged_bytes()))
        if session.measures_space:
            # What is staged elsewhere is written to the volume later.
            pending = self._staged_for_volume if is_elsewhere else lambda: 0
            on_volume.append(device_bound(layout.root, f"the volume {layout.root}", pending=pending))
        staged = [device_bound(layout.staging, f"STAGING_DIR {layout.staging}")] if is_elsewhere else on_volume
        planned = [Bound(self._planned_rest, self._too_large, is_space=False)] if self.most_tree_bytes is not None else []
        further = [*planned, *(on_volume if is_elsewhere else [])]
        self.budget = Budget(label, staged=staged, tree=further, free=self._free_staging)
        """What is written for it is charged here."""

    def begin_source(self, artifacts: Iterable[Artifact]) -> None:
        """Begin again with another source, whose files in staging are resumed and not given up for their space."""
        self._plain_keys.clear()
        for artifact in artifacts:
            self._keys.add(artifact.key)
            if artifact.unpack == "none":
                self._plain_keys.add(artifact.key)
        self._taken_over = 0
        self.budget.clear_unpacked()

    def _planned_rest(self) -> int | None:
        """Return how many bytes more may come out of archives by the size that the catalog states."""
        budget = self.budget
        # What is reserved is counted by the budget itself.
        return self.most_tree_bytes - budget.unpacked + budget.reserved if self.most_tree_bytes is not None else None

    def _too_large(self, label: str, _count: int) -> TreeTooLargeError:
        return _larger_than_planned(label, f"more than {self.most_tree_bytes or 0:,} bytes", self._stated)

    def _staged_for_volume(self) -> int:
        """Return the bytes in a staging directory elsewhere that will be on the volume: the tree, and files that belong in it."""
        found = content_bytes(self._layout.staged_tree(self._dataset, self._version))
        for key in self._plain_keys & {os.path.splitext(name)[0] for name in names_in(self._layout.blobs)}:
            found += content_bytes(self._layout.blobs / f"{key}.part")
        return found

    def add_taken_over(self, count: int) -> None:
        """Note bytes that are shared with another version, and take no space again."""
        self._taken_over += count

    def check_tree(self, manifest: Manifest) -> None:
        """Compare the finished tree with the size that the catalog states, and with the limit of what may be kept.

        Raises:
            TreeTooLargeError: it is larger than the catalog says.
            NoRoomError: it is too large for the limit.
        """
        if self.most_tree_bytes is not None and manifest.bytes > self.most_tree_bytes:
            raise _larger_than_planned(self._label, f"{manifest.bytes:,} bytes", self._stated)
        if self._limit is None:
            return
        needed, left = manifest.bytes, self._limit - self._kept()
        if needed > left:
            shown, rest = format_pair(needed, max(0, left))
            raise NoRoomError(
                f"{self._label} has {shown}, and MAX_STORAGE_GB leaves {rest}; nothing was published",
                hint="Raise MAX_STORAGE_GB, or ask for a split of it (see 'list').",
            )

    def _kept(self) -> int:
        """Return the bytes of all versions but the one that is built, without those that it shares with them."""
        receipts = self._store.reader.inventory(measured=False).receipts
        kept = sum(receipt.size for key, receipt in receipts.items() if key != (self._dataset, self._version))
        return kept - self._taken_over

    def _free_staging(self) -> bool:
        """Remove what interrupted runs have staged of other data sets: the plan counts on its space."""
        if not self._store.cleaner.clear_other_staging(self._dataset, self._keys):
            return False
        _LOGGER.info("%s: what was staged of other data sets is removed, since its space is needed", self._label)
        return True


def _larger_than_planned(label: str, found: str, stated: Size | None) -> TreeTooLargeError:
    planned = f"{'about ' if stated.estimate else ''}{stated.value:,} bytes" if stated else "less"
    return TreeTooLargeError(
        f"{label}: it has {found}, and its catalog entry says {planned} (unpacked_size); nothing was published",
        hint="If the data set has grown, its entry in the catalog needs the new size. A maintainer should correct it.",
    )
