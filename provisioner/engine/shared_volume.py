"""The parts of a volume that are shared by the builds that run at the same time: its space, and the files in staging.

The bytes of an artifact have the same name in staging, whatever data set they are for, so that a later run finds them. For
that reason only one build may fetch them at a time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from provisioner.engine.writers import SoleWriter
from provisioner.planning.capacity import is_held_in_memory
from provisioner.volume.fs.tree_size import content_bytes
from provisioner.volume.fs.write_budget import SharedBounds, device_bound, kept_bound
from provisioner.volume.store.listing import names_in

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from provisioner.catalog.artifact import Artifact
    from provisioner.engine.volume_session import VolumeSession
    from provisioner.engine.writers import Writers

_LOGGER = logging.getLogger(__name__)

_POLL_SECONDS: Final = 0.1


@dataclass(slots=True, eq=False)
class Building:
    """One version of a data set that is being built."""

    dataset: str
    version: str
    label: str
    keys: frozenset[str] = frozenset()
    """Keys of the current source's artifacts, which no other build may fetch meanwhile."""
    plain_keys: frozenset[str] = frozenset()
    """Keys of those artifacts that become part of the tree as they are."""
    taken_over: int = 0
    """Bytes of the tree that are shared with another version, and so take no further space."""
    earlier_keys: set[str] = field(default_factory=set)
    """Keys of the sources that were tried before."""
    keeps_files: bool = True
    """Whether staging has space for all files of the current source at once."""
    open_keys: set[str] = field(default_factory=set)
    """Keys of the files in staging that are being fetched or unpacked now."""

    def kept_keys(self, *, spares_own: bool) -> Collection[str]:
        """Return the keys of the files in staging that must not be removed to free space.

        Args:
            spares_own: also keep the files that are not in use yet, even if the plan has space for only one file at a time.
        """
        return self.keys if self.keeps_files or spares_own else self.open_keys


class SharedVolume:
    """The space of one volume and the files in its staging, for all builds of a run; safe for several threads."""

    def __init__(self, session: VolumeSession, writers: Writers | None = None) -> None:
        """Measure nothing yet.

        Args:
            session: the volume.
            writers: the other runs that fill the volume, or ``None`` if there are none.
        """
        self._writers = writers or SoleWriter()
        self._store = session.store
        self._layout = session.layout
        self.limit = session.settings.max_storage_bytes
        """Bytes that may be kept on the volume (``MAX_STORAGE_GB``); ``None`` means no limit."""
        self._changed = threading.Condition()
        self._builds: list[Building] = []
        self._ended: dict[str, frozenset[str]] = {}
        """By data set, the keys of the files in staging that its last build claimed."""
        layout = session.layout
        is_elsewhere = layout.staging_root is not None
        staged_bytes = self._staged_for_volume if is_elsewhere else self._store.cleaner.staged_bytes
        on_volume = []
        if self.limit is not None:
            on_volume.append(kept_bound(self.limit, lambda: self.kept_bytes() + staged_bytes()))
        if session.measures_space:
            # Files that are staged elsewhere are written to the volume later.
            pending = self._staged_for_volume if is_elsewhere else lambda: 0
            on_volume.append(device_bound(layout.root, f"the volume {layout.root}", pending=pending))
        staged = [device_bound(layout.staging, f"STAGING_DIR {layout.staging}")] if is_elsewhere else on_volume
        self.bounds = SharedBounds(staged=staged, tree=on_volume if is_elsewhere else (), free=self._free_staging)
        """The bounds to which the bytes written by all builds are charged."""

    @contextlib.contextmanager
    def building(self, build: Building) -> Iterator[None]:
        """Count a version among those that are built while the block runs."""
        with self._changed:
            self._builds.append(build)
        try:
            yield
        finally:
            with self._changed:
                self._builds.remove(build)
                self._ended[build.dataset] = build.keys | build.earlier_keys
                self._changed.notify_all()

    def claim(self, build: Building, artifacts: Sequence[Artifact], check_cancelled: Callable[[], None]) -> None:
        """Wait until no other build fetches any of these artifacts, and claim them in place of those claimed before.

        All are claimed at once, after those of the previous source are released, so that no two builds wait for each other.

        Raises:
            ProvisionerError: the run must end.
        """
        # An artifact that is held in memory until it is verified has no file in staging.
        plain = {artifact.key: artifact.unpack == "none" for artifact in artifacts if not is_held_in_memory(artifact)}
        keys = frozenset(plain)
        with self._changed:
            build.earlier_keys |= build.keys
            build.keys = build.plain_keys = frozenset()
            self._changed.notify_all()
            while any(keys & other.keys for other in self._builds if other is not build) or not self._writers.claim(
                build.dataset, keys
            ):
                self._changed.wait(_POLL_SECONDS)
                check_cancelled()
            build.keys, build.keeps_files = keys, True
            build.plain_keys = frozenset(key for key, is_plain in plain.items() if is_plain)

    def clear_obsolete(self, build: Building) -> None:
        """Remove the staged files of a complete build and of the sources tried before, unless another build now fetches them.

        Raises:
            ProvisionerError: the volume failed, or the run must end.
        """
        with self._changed:
            in_use = {key for other in self._builds if other is not build for key in other.keys}
            if build.earlier_keys <= build.keys:
                self._store.cleaner.clear_blobs(build.keys - in_use)
                return
            with self._writers.others_kept() as (_, kept):
                self._store.cleaner.clear_blobs((build.keys | build.earlier_keys) - in_use - kept)

    def clear_given_up(self, dataset: str) -> None:
        """Remove everything staged for a data set that has no space, except files that other builds fetch, too.

        Raises:
            VolumeError: the volume failed, or the run must end.
        """
        self._store.cleaner.clear_staging(dataset)
        with self._changed:
            in_use = {key for build in self._builds for key in build.keys}
            with self._writers.others_kept() as (_, kept):
                self._store.cleaner.clear_blobs(self._ended.get(dataset, frozenset()) - in_use - kept)

    def kept_bytes(self, build: Building | None = None) -> int:
        """Return the bytes of all indexes and of all versions, except for the versions being built and files shared with them.

        Args:
            build: leave out only what this build shares with others; ``None`` means what any build shares.
        """
        inventory = self._store.reader.inventory(measured=False)
        builds = tuple(self._builds)
        built = {(each.dataset, each.version) for each in builds}
        kept = sum(receipt.size for key, receipt in inventory.receipts.items() if key not in built)
        return inventory.index_bytes + kept - sum(each.taken_over for each in builds if build is None or each is build)

    def _staged_for_volume(self) -> int:
        """Return the bytes in a separate staging directory that will move to the volume: trees, and files for them."""
        staged = {os.path.splitext(name)[0] for name in names_in(self._layout.blobs)}
        found = 0
        for build in tuple(self._builds):
            found += content_bytes(self._layout.staged_tree(build.dataset, build.version))
            found += sum(content_bytes(self._layout.blobs / f"{key}.part") for key in build.plain_keys & staged)
        return found

    @contextlib.contextmanager
    def using(self, build: Building, key: str) -> Iterator[None]:
        """Keep a file in staging while the block runs, even if its space is needed."""
        with self._changed:
            build.open_keys.add(key)
        try:
            yield
        finally:
            with self._changed:
                build.open_keys.discard(key)

    def _free_staging(self) -> bool:
        """Remove what is staged and needed by no build; if there is nothing, the files that are needed only later.

        The latter is done only for builds without space for all their files at once. The plan counts on the space of both.
        """
        return self._free_all_but(spares_own=True) or self._free_all_but(spares_own=False)

    def _free_all_but(self, *, spares_own: bool) -> bool:
        # With the lock held, no file comes into use while others are removed.
        with self._changed:
            builds = tuple(self._builds)
            keys = {key for build in builds for key in build.kept_keys(spares_own=spares_own)}
            versions = {(build.dataset, build.version) for build in builds}
            with self._writers.others_kept() as (datasets, others_keys):
                if not self._store.cleaner.clear_other_staging(versions, datasets, keys | others_keys):
                    return False
        _LOGGER.info(
            "%s: what was staged of other data sets, or before, is removed, since its space is needed",
            ", ".join(build.label for build in builds),
        )
        return True
