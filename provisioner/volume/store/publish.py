"""The publication of a version of a data set on a volume.

The order never changes: the tree is completed and its manifest is written; the tree is moved into the store, and everything
is synced (before the move, if it replaces a tree that the app may be reading); the published name is switched; the receipt is
written. A death between any two of these steps leaves either the old state, or a tree with a manifest and no receipt, which
the next run hashes and adopts.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from typing import TYPE_CHECKING

from provisioner.errors import VolumeError
from provisioner.volume.fs.atomic import write_atomic
from provisioner.volume.fs.directories import make_plain_directory
from provisioner.volume.fs.durable import fsync_directory, sync_tree, syncing_meanwhile
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.fs.remove import remove_leftover
from provisioner.volume.store.json_file import check_readable
from provisioner.volume.store.newer_records import newer_record_error
from provisioner.volume.store.receipt_file import read_receipt, write_receipt
from provisioner.volume.store.tree_check import check_tree
from provisioner.volume.store.tree_moves import move_tree, replace_tree
from provisioner.volume.tree.links import TreeLink, make_links
from provisioner.volume.tree.writer import TreeWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from provisioner.planning.model import Receipt
    from provisioner.volume.fs.durable import WriteWatch
    from provisioner.volume.store.cleanup import StoreCleaner
    from provisioner.volume.store.finding import Finding
    from provisioner.volume.store.hub_cache import HubCache
    from provisioner.volume.store.inventory import StoreReader
    from provisioner.volume.store.layout import VolumeLayout
    from provisioner.volume.store.manifest import Manifest
    from provisioner.volume.store.published_names import PublishedNames

_LOGGER = logging.getLogger(__name__)


class Publisher:
    """Publishes trees on one volume, and writes their records."""

    def __init__(
        self,
        layout: VolumeLayout,
        published: PublishedNames,
        reader: StoreReader,
        cleaner: StoreCleaner,
        hub_cache: HubCache,
        *,
        program_version: str,
        check_cancelled: Callable[[], None],
    ) -> None:
        """Remember what publishing needs; nothing is read yet.

        Args:
            layout: where everything is.
            published: the names that the app reads.
            reader: what the volume holds.
            cleaner: removes a tree that turns out to be wrong.
            hub_cache: shows published repositories in the Hub client's cache.
            program_version: noted in receipts.
            check_cancelled: called between pieces of work; raises to end it.
        """
        self._layout = layout
        self._published = published
        self._reader = reader
        self._cleaner = cleaner
        self._hub_cache = hub_cache
        self._program_version = program_version
        self._check_cancelled = check_cancelled
        self._turn = threading.Lock()
        """Trees are written out one at a time: two at once would wait for each other's bytes."""

    def publish(
        self,
        receipt: Receipt,
        staged: Path,
        manifest: Manifest,
        *,
        switch: bool = True,
        prune: bool = False,
        origins: Mapping[str, tuple[str, int]] | None = None,
        watch: WriteWatch | None = None,
    ) -> None:
        """Complete a staged tree with its links, move it into the store, and let the app read it.

        A tree that is already there under the same version is wrong or unproven: it is replaced by this one, and removed.

        Args:
            receipt: written last; with it, the version counts as complete.
            staged: the tree; it is moved.
            manifest: everything that the tree must hold; names, kinds and sizes are compared.
            switch: let the app read this version; otherwise, a superseded version is replaced.
            prune: remove from the staged tree anything not in the manifest; otherwise, such a name is an error.
            origins: by artifact, name and depth (see :class:`TreeLink`) of the origin of its entries.
            watch: has watched for failed writes since before the tree was begun.

        Raises:
            UnsafeArchiveError: a link leaves the tree; nothing was published.
            VolumeError: the tree is not what its manifest says, or the volume failed; nothing was published.
        """
        with self._turn:
            self._publish(receipt, staged, manifest, switch=switch, prune=prune, origins=origins or {}, watch=watch)

    def _publish(
        self,
        receipt: Receipt,
        staged: Path,
        manifest: Manifest,
        *,
        switch: bool,
        prune: bool,
        origins: Mapping[str, tuple[str, int]],
        watch: WriteWatch | None,
    ) -> None:
        dataset, version = receipt.dataset, receipt.version
        if (newer := self._reader.newer_record(dataset, version)) is not None:
            raise newer_record_error(dataset, newer)
        # The view has links to the files of a tree that is about to be replaced.
        self._hub_cache.hide(dataset, version)
        make_links(staged, _links_of(manifest, dataset, origins))
        with syncing_meanwhile(staged, watch):
            self._check_staged(dataset, staged, manifest, prune=prune)
            for directory in self._record_directories(dataset):
                make_plain_directory(directory)
            old_receipt = self._reader.receipt(dataset, version)
            if old_receipt is not None and old_receipt != receipt:
                # It is about to become untrue.
                self.remove_receipt(dataset, version)
            write_atomic(self._layout.checksums(dataset, version), manifest.sha256sum_lines(), durable=False)
            write_receipt(self._layout.pending_receipt(dataset, version), receipt, self._program_version, durable=False)
            # Written before the tree is moved, so that the tree can be adopted; a manifest without its tree counts for nothing.
            write_atomic(self._layout.manifest(dataset, version), manifest.json_lines(), durable=False)
        self._put_in_place(dataset, version, staged, watch)
        if switch:
            self._published.switch(dataset, version)
        if old_receipt != receipt:
            self._write_receipt(receipt)

    def adopt(self, dataset: str, version: str, *, keep: bool = False) -> bool:
        """Hash a tree that has a manifest and no receipt: publish it if it is right, remove it if it is wrong.

        Args:
            dataset: its id.
            version: its version.
            keep: leave a wrong tree as it is, because nothing can be fetched to replace it.

        Returns:
            Whether the tree was right and is published.

        Raises:
            VolumeError: the volume failed, or a record cannot be read now, in which case nothing was removed.
        """
        tree = self._reader.tree_of(dataset, version)
        receipt = read_receipt(self._layout.pending_receipt(dataset, version), dataset, version)
        if tree is not None and receipt is not None and (manifest := self._reader.manifest(dataset, version)) is not None:
            findings = check_tree(tree, manifest, deep=True, check_cancelled=self._check_cancelled)
            # It is large, and removing a tree needs memory too.
            del manifest
            if not findings:
                self._published.switch(dataset, version)
                self._write_receipt(receipt)
                return True
            _LOGGER.warning("%s: the tree without a receipt is not right (%s); it is made anew", dataset, findings[0])
        elif tree is not None and not keep:
            for record in (self._layout.pending_receipt(dataset, version), self._layout.manifest(dataset, version)):
                check_readable(record)
        if not keep:
            self._cleaner.remove(dataset, version)
        return False

    def remove_receipt(self, dataset: str, version: str) -> None:
        """Remove a version's receipt, so that the version is hashed before it is published again.

        Raises:
            VolumeError: the volume failed.
        """
        path = self._layout.receipt(dataset, version)
        with disk_errors(f"removing {path}"):
            path.unlink(missing_ok=True)
            if path.parent.is_dir():
                fsync_directory(path.parent)

    def write_checksums(self, dataset: str, version: str, manifest: Manifest) -> None:
        """Write a version's list for ``sha256sum -c`` anew.

        Raises:
            VolumeError: the volume failed.
        """
        write_atomic(self._layout.checksums(dataset, version), manifest.sha256sum_lines())

    def _check_staged(self, dataset: str, staged: Path, manifest: Manifest, *, prune: bool) -> None:
        """Raise an error unless a staged tree matches its manifest; this is the only walk through it."""
        findings = check_tree(staged, manifest, deep=False, check_cancelled=self._check_cancelled)
        if prune:
            self._remove_extra(dataset, staged, findings)
            findings = [finding for finding in findings if finding.problem != "extra"]
        if findings:
            raise VolumeError(
                f"{dataset}: the staged tree is not what was put there ({findings[0]}); it was not published",
                hint="Something else writes into .provisioner/staging, or the device loses data. Start again.",
            )

    def _remove_extra(self, dataset: str, staged: Path, findings: Sequence[Finding]) -> None:
        """Remove from a staged tree what an earlier attempt left there."""
        with disk_errors("removing what does not belong there", staged), TreeWriter(staged) as tree:
            for finding in findings:
                if finding.problem != "extra":
                    continue
                try:
                    tree.remove(finding.path)
                except OSError as error:
                    self._cleaner.clear_staging(dataset)
                    raise VolumeError(
                        f"{dataset}: {finding.path!r}, which an earlier attempt left in the staged tree, cannot be removed;"
                        " it was moved aside, and nothing was published",
                        hint="Start again: the data set is then built in another place.",
                    ) from error

    def _put_in_place(self, dataset: str, version: str, staged: Path, watch: WriteWatch | None) -> None:
        """Move a staged tree to its version's place, and make it durable with its records."""
        old = self._reader.tree_of(dataset, version)
        incoming = self._layout.incoming(dataset, version)
        if old is None:
            tree = self._layout.tree(dataset, version)
            move_tree(staged, tree, incoming, self._check_cancelled)
            self._sync(dataset, tree, watch)
            return
        self._sync(dataset, staged, watch)
        gone = replace_tree(
            staged,
            old,
            incoming=incoming,
            discarded=self._layout.discarded(dataset, version),
            sync=lambda copy: self._sync(dataset, copy, watch),
            check_cancelled=self._check_cancelled,
        )
        fsync_directory(old.parent)
        if not remove_leftover(gone) and gone == staged:
            # It must not be in the way of the next tree that is built there.
            with contextlib.suppress(OSError):
                os.rename(gone, self._layout.discarded(dataset, version))

    def _record_directories(self, dataset: str) -> tuple[Path, ...]:
        return self._layout.manifests_of(dataset), self._layout.receipts_of(dataset), self._layout.store_of(dataset)

    def _sync(self, dataset: str, tree: Path, watch: WriteWatch | None) -> None:
        """Make a tree durable, with its manifest and all directories on the way to both."""
        layout = self._layout
        above = layout.manifests, layout.receipts, layout.store, tree.parent, layout.private, layout.root
        sync_tree(tree, *above, records=self._record_directories(dataset), watch=watch)

    def _write_receipt(self, receipt: Receipt) -> None:
        path = self._layout.receipt(receipt.dataset, receipt.version)
        make_plain_directory(path.parent)
        write_receipt(path, receipt, self._program_version)


def _links_of(manifest: Manifest, dataset: str, origins: Mapping[str, tuple[str, int]]) -> dict[str, TreeLink]:
    """Return the links of a manifest by path, with their origins."""
    return {
        entry.path: TreeLink(entry.target, *origins.get(entry.artifact, (dataset, 0)))
        for entry in manifest
        if entry.kind == "link"
    }
