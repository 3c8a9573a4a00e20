"""Removal from a volume: of versions, of what interrupted runs left, and of what is staged."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from provisioner.errors import ProvisionerError
from provisioner.volume.fs.atomic import TEMPORARY_NAME
from provisioner.volume.fs.directories import make_plain_directory
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.fs.remove import remove_leftover
from provisioner.volume.fs.tree_size import content_bytes, used_bytes
from provisioner.volume.store.layout import dataset_of, directory_name
from provisioner.volume.store.listing import is_directory, is_version, names_in
from provisioner.volume.store.newer_records import newer_record_error

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from provisioner.volume.store.hub_cache import HubCache
    from provisioner.volume.store.inventory import StoreReader
    from provisioner.volume.store.layout import VolumeLayout

ABANDONED_SECONDS: Final = 7 * 86_400
"""Seconds for which staged files that no run uses are kept."""
_PRIVATE_LEFTOVER: Final = re.compile(
    rf"{TEMPORARY_NAME.pattern}|\.(incoming|discarded)-[0-9a-f]+(-[0-9a-f]{{8}})?|\.tmp-[0-9a-f]+-[0-9a-f]{{16}}"
)
"""Names that a completed run leaves nowhere, in directories only this program uses; the last form is of older versions."""

_OLD_NEW_LINK: Final = re.compile(r"\.([a-z0-9_-]+)\.new")


class StoreCleaner:
    """Removes versions, leftovers and staged files from one volume."""

    def __init__(self, layout: VolumeLayout, reader: StoreReader, hub_cache: HubCache) -> None:
        """Remember the paths; nothing is read yet.

        Args:
            layout: where everything is.
            reader: what the volume holds.
            hub_cache: the cache in which published repositories are shown as well.
        """
        self._hub_cache = hub_cache
        self._layout = layout
        self._reader = reader

    def remove(self, dataset: str, version: str) -> None:
        """Remove one version, its receipt first, so that it does not count while it is being removed.

        The tree disappears in one step and not file by file: a reader finds all of it or nothing, and can go on reading files
            that it has open. The records that name the tree are removed last, so that after a death in between, the rest is
            still found. If part of the tree cannot be removed, that is reported, and it stays under a name that nobody reads.

        Raises:
            VolumeError: the volume failed, or a newer version of the program recorded the version.
        """
        layout = self._layout
        if (newer := self._reader.newer_record(dataset, version)) is not None:
            raise newer_record_error(dataset, newer)
        tree = self._reader.tree_of(dataset, version)
        self._hub_cache.hide(dataset, version)
        with disk_errors(f"removing {dataset} {version}"):
            _unlink(layout.receipt(dataset, version))
        if tree is not None:
            make_plain_directory(layout.store_of(dataset))
            discarded = layout.discarded(dataset, version)
            try:
                os.rename(tree, discarded)
            except OSError:
                # It is mounted or immutable itself, but its content can still be removed.
                discarded = tree
            remove_leftover(discarded)
        with disk_errors(f"removing {dataset} {version}"):
            for path in (layout.checksums, layout.pending_receipt, layout.credits, layout.manifest):
                _unlink(path(dataset, version))

    def remove_lock(self, dataset: str) -> None:
        """Remove the lock of a data set that is being removed; the lock of the whole volume, which is held, includes it."""
        with contextlib.suppress(OSError):
            self._layout.lock_of(dataset).unlink(missing_ok=True)

    # --- what is staged ------------------------------------------------------------------------------------------

    def staged_bytes(self) -> int:
        """Return the bytes of staged files and trees, without records, since plans do not count those.

        Raises:
            VolumeError: the volume failed.
        """
        layout = self._layout
        records = [layout.blobs / name for name in names_in(layout.blobs) if os.path.splitext(name)[1] != ".part"]
        for name in names_in(layout.staged_trees):
            trees = layout.staged_trees / name
            records += [trees / version / "parts" for version in names_in(trees) if is_directory(trees)]
        return max(0, content_bytes(layout.staging) - sum(map(content_bytes, records)))

    def clear_staging(self, dataset: str | None = None, version: str | None = None) -> None:
        """Remove the unfinished trees of one data set, or of one version of it, or everything that is staged."""
        layout = self._layout
        if dataset and version:
            trees = layout.staged_trees_of(dataset)
            # A link in its place is not ours to follow; the link itself is removed.
            self._remove_staged(layout.staged_tree(dataset, version).parent if is_directory(trees) else trees)
            with contextlib.suppress(OSError):
                trees.rmdir()
        elif dataset:
            self._remove_staged(layout.staged_trees_of(dataset))
        else:
            self._remove_staged(layout.staged_trees)
            self._remove_staged(layout.blobs)
            with contextlib.suppress(OSError):
                layout.staging.rmdir()  # only if it is empty

    def clear_other_staging(
        self, versions: Collection[tuple[str, str]], datasets: Collection[str], keys: Collection[str]
    ) -> bool:
        """Remove what is staged of other versions and data sets, and return whether anything was removed.

        Args:
            versions: the data set and version of each unfinished tree that stays.
            datasets: data sets of which all unfinished trees stay.
            keys: the keys of artifacts whose files stay.

        Raises:
            VolumeError: the volume failed.
        """
        layout = self._layout
        own = {(directory_name(dataset), version) for dataset, version in versions}
        own_names, kept_names = {name for name, _ in own}, set(map(directory_name, datasets))
        others: list[Path] = []
        for name in names_in(layout.staged_trees):
            trees = layout.staged_trees / name
            if name in own_names and is_directory(trees):
                others += [trees / version for version in names_in(trees) if (name, version) not in own]
            elif name not in kept_names:
                others.append(trees)
        others += [layout.blobs / name for name in names_in(layout.blobs) if os.path.splitext(name)[0] not in keys]
        for path in others:
            self._remove_staged(path)
        return any(not os.path.lexists(path) for path in others)

    def _remove_staged(self, path: Path) -> None:
        """Remove something staged; if part of it cannot be removed, rename it so that its name is free."""
        if not remove_leftover(path):
            with contextlib.suppress(OSError):
                os.rename(path, self._layout.staging_discarded())

    def clear_blobs(self, keys: Collection[str]) -> None:
        """Remove files that were being fetched, by the keys of their artifacts.

        Raises:
            VolumeError: the volume failed.
        """
        for name in names_in(self._layout.blobs):
            if os.path.splitext(name)[0] in keys:
                self._remove_staged(self._layout.blobs / name)

    def clear_abandoned(self, datasets: Collection[str], now: float) -> None:
        """Remove what is staged of some data sets, and anything staged that was not used for a week.

        Other data sets that were interrupted keep what had arrived, for the next run to resume.

        Args:
            datasets: ids of data sets that are complete.
            now: seconds since the epoch.

        Raises:
            VolumeError: the volume failed.
        """
        for dataset in datasets:
            self.clear_staging(dataset)
        for path in list(self._abandoned(now)):
            self._remove_staged(path)
        for directory in (self._layout.blobs, self._layout.staged_trees, self._layout.staging):
            with contextlib.suppress(OSError):
                directory.rmdir()  # only if it is empty

    def _abandoned(self, now: float) -> Iterator[Path]:
        for directory in (self._layout.blobs, self._layout.staged_trees):
            for name in names_in(directory):
                if now - _changed_at(directory / name, now) > ABANDONED_SECONDS:
                    yield directory / name
        # Workers use together what they have fetched, so all of it counts as used when the latest part was.
        shares = self._layout.shares
        touched = [_changed_at(Path(place), now) for place, _, _ in os.walk(shares)]
        if touched and now - max(touched) > ABANDONED_SECONDS:
            yield shares

    # --- what interrupted runs left ------------------------------------------------------------------------------

    def clear_leftovers(self) -> None:
        """Remove what a run left that was killed in the middle of a write or a switch, except for what it had staged.

        Raises:
            VolumeError: the volume failed.
        """
        for path in self.leftovers():
            remove_leftover(path)

    def leftovers(self, dataset: str | None = None) -> tuple[Path, ...]:
        """Return what :meth:`clear_leftovers` would remove, from the whole volume or from one data set's trees and records.

        Raises:
            VolumeError: the volume cannot be read.
        """
        return tuple(path for path in self._leftovers() if dataset is None or path.parent.name == directory_name(dataset))

    def measure_leftovers(self, now: float) -> tuple[int, int]:
        """Return the bytes, and the number of names, that :meth:`clear_leftovers` and :meth:`clear_abandoned` would remove.

        Args:
            now: seconds since the epoch.

        Raises:
            VolumeError: the volume failed.
        """
        paths = [*self._leftovers(), *self._abandoned(now)]
        return sum(map(used_bytes, paths)), len(paths)

    def _is_old_link(self, path: Path) -> bool:
        """Return whether an older version of the program created this link, in order to replace a published one."""
        name = _OLD_NEW_LINK.fullmatch(path.name)
        try:
            target = os.readlink(path).replace(os.sep, "/")
        except OSError:
            return False  # another process has removed it
        return name is not None and target == self._layout.link_target(name[1], target.rpartition("/")[2])

    def _leftovers(self) -> Iterator[Path]:
        layout = self._layout
        # Other programs use these two directories as well, so only names count that nobody else would choose.
        for name in _names_if_listable(layout.root):
            if TEMPORARY_NAME.fullmatch(name):
                yield layout.root / name
        for directory in (layout.datasets, *sorted({layout.published(dataset).parent for dataset in self._reader.nested()})):
            for name in _names_if_listable(directory):
                path = directory / name
                if path.is_symlink() and (TEMPORARY_NAME.fullmatch(name) or self._is_old_link(path)):
                    yield path
        directories = [layout.private, layout.writers, layout.staging, layout.blobs]
        directories.append(layout.index_records)
        for parent in (layout.manifests, layout.receipts, layout.store):
            directories += [parent / name for name in _names_if_listable(parent) if is_directory(parent / name)]
        for directory in directories:
            for name in _names_if_listable(directory):
                if _PRIVATE_LEFTOVER.fullmatch(name):
                    yield directory / name
        yield from self._records_without_tree()

    def _records_without_tree(self) -> Iterator[Path]:
        """Yield records that are written before the tree and removed after it; without receipt and tree, they mean nothing."""
        layout = self._layout
        for name_of_directory in names_in(layout.manifests):
            dataset, records = dataset_of(name_of_directory), layout.manifests / name_of_directory
            for name in names_in(records) if is_directory(records) else ():
                version = os.path.splitext(name)[0]
                if (
                    is_version(version)
                    and not layout.receipt(dataset, version).exists()
                    and self._reader.tree_of(dataset, version) is None
                    and self._reader.newer_record(dataset, version) is None
                ):
                    yield records / name


def _names_if_listable(directory: Path) -> Iterator[str]:
    """Yield the names in a directory; none if it cannot be listed, since leftovers must not stop a run."""
    with contextlib.suppress(ProvisionerError):
        yield from names_in(directory)


def _changed_at(path: Path, now: float) -> float:
    """Return when a path was changed, in seconds since the epoch; ``now`` if another process has just removed it."""
    try:
        return os.lstat(path).st_mtime
    except OSError:
        return now


def _unlink(record: Path) -> None:
    """Remove a record, unless its directory is a link, and so is not ours."""
    if is_directory(record.parent):
        record.unlink(missing_ok=True)
