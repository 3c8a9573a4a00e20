"""What is taken off a volume: versions, what interrupted runs left, and what is staged."""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING, Final

from provisioner.volume.fs.atomic import TEMPORARY_PREFIX
from provisioner.volume.fs.directories import make_directory
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.fs.remove import remove_tree
from provisioner.volume.fs.space import used_bytes
from provisioner.volume.store.listing import is_version, names_in

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from provisioner.volume.store.inventory import StoreReader
    from provisioner.volume.store.layout import VolumeLayout

ABANDONED_SECONDS: Final = 7 * 86_400
"""How long staged files that no run touches are kept."""
_LEFTOVER: Final = re.compile(
    rf"{re.escape(TEMPORARY_PREFIX)}[0-9a-f]+-[0-9a-f]{{16}}|\.incoming-[0-9a-f]+|\.discarded-[0-9a-f]+|\.[a-z0-9_-]+\.new"
)
"""Names of the program's own that a completed run does not leave behind."""


class StoreCleaner:
    """Removes versions, leftovers and staged files from one volume."""

    def __init__(self, layout: VolumeLayout, reader: StoreReader) -> None:
        """Take the paths; nothing is read yet.

        Args:
            layout: where everything lies.
            reader: what the volume holds.
        """
        self._layout = layout
        self._reader = reader

    def remove(self, dataset: str, version: str) -> None:
        """Remove one version: its receipt first, so that it does not count while it is being removed.

        The tree goes in one step and not file by file: a reader finds all of it or nothing, and can read on in files that it has
        open. The records that name the tree go last: after a death in between, the rest is still found.

        Raises:
            VolumeError: the volume failed.
        """
        layout = self._layout
        tree = self._reader.tree_of(dataset, version)
        with disk_errors(f"removing {dataset} {version}"):
            layout.receipt(dataset, version).unlink(missing_ok=True)
        if tree is not None:
            make_directory(layout.store / dataset)
            discarded = layout.discarded(dataset, version)
            remove_tree(discarded)
            with disk_errors(f"removing {tree}"):
                os.rename(tree, discarded)
            remove_tree(discarded)
        with disk_errors(f"removing {dataset} {version}"):
            for path in (layout.checksums, layout.pending_receipt, layout.manifest):
                path(dataset, version).unlink(missing_ok=True)

    # --- what is staged ------------------------------------------------------------------------------------------

    def clear_staging(self, dataset: str | None = None) -> None:
        """Remove the unfinished trees of one data set, or everything that is staged.

        Raises:
            VolumeError: the volume failed.
        """
        layout = self._layout
        if dataset:
            remove_tree(layout.staged_trees / dataset)
        elif layout.staging_root is None:
            remove_tree(layout.staging)
        else:
            # The directory that the user named for staging stays.
            remove_tree(layout.staged_trees)
            remove_tree(layout.blobs)

    def clear_blobs(self, keys: Collection[str]) -> None:
        """Remove files that were being fetched, by the keys of their artifacts.

        Raises:
            VolumeError: the volume failed.
        """
        for name in names_in(self._layout.blobs):
            if os.path.splitext(name)[0] in keys:
                remove_tree(self._layout.blobs / name)

    def clear_abandoned(self, datasets: Collection[str], now: float) -> None:
        """Remove what is staged of some data sets, and everything staged that was not touched for a week.

        Other data sets that were interrupted keep what had arrived: the next run that wants them resumes.

        Args:
            datasets: ids of data sets that are complete.
            now: seconds since the epoch.

        Raises:
            VolumeError: the volume failed.
        """
        for dataset in datasets:
            self.clear_staging(dataset)
        for path in list(self._abandoned(now)):
            remove_tree(path)
        for directory in (self._layout.blobs, self._layout.staged_trees):
            with contextlib.suppress(OSError):
                directory.rmdir()  # only if it is empty
        if self._layout.staging_root is None:
            with contextlib.suppress(OSError):
                self._layout.staging.rmdir()

    def _abandoned(self, now: float) -> Iterator[Path]:
        for directory in (self._layout.blobs, self._layout.staged_trees):
            for name in names_in(directory):
                with contextlib.suppress(FileNotFoundError):
                    if now - os.lstat(directory / name).st_mtime > ABANDONED_SECONDS:
                        yield directory / name

    # --- what interrupted runs left ------------------------------------------------------------------------------

    def clear_leftovers(self) -> None:
        """Remove what a run left that was killed in the middle of a write or a switch, except for what it had staged.

        Raises:
            VolumeError: the volume failed.
        """
        for path in self.leftovers():
            remove_tree(path)

    def leftovers(self, dataset: str | None = None) -> tuple[Path, ...]:
        """Return what :meth:`clear_leftovers` would remove, of the whole volume or of one data set's trees and records.

        Raises:
            VolumeError: the volume cannot be read.
        """
        return tuple(path for path in self._leftovers() if dataset is None or path.parent.name == dataset)

    def measure_leftovers(self, now: float) -> tuple[int, int]:
        """Return the bytes, and the number of names, that :meth:`clear_leftovers` and :meth:`clear_abandoned` would remove.

        Args:
            now: seconds since the epoch.

        Raises:
            VolumeError: the volume failed.
        """
        paths = [*self._leftovers(), *self._abandoned(now)]
        return sum(map(used_bytes, paths)), len(paths)

    def _leftovers(self) -> Iterator[Path]:
        layout = self._layout
        directories = [layout.root, layout.private, layout.datasets, layout.blobs]
        for parent in (layout.manifests, layout.receipts, layout.store):
            directories += [parent / name for name in names_in(parent)]
        for directory in directories:
            for name in names_in(directory):
                if _LEFTOVER.fullmatch(name) and (directory != layout.datasets or (directory / name).is_symlink()):
                    yield directory / name
        # Records are written before the tree and removed after it: without receipt and tree they mean nothing.
        for dataset in names_in(layout.manifests):
            for name in names_in(layout.manifests / dataset):
                version = os.path.splitext(name)[0]
                if (
                    is_version(version)
                    and not layout.receipt(dataset, version).exists()
                    and self._reader.tree_of(dataset, version) is None
                ):
                    yield layout.manifests / dataset / name
