"""The inventory of a volume, from its receipts and manifests; nothing here writes, and no tree is hashed."""

from __future__ import annotations

import hashlib
import itertools
import logging
from typing import TYPE_CHECKING

from provisioner.errors import VolumeError
from provisioner.planning.model import Inventory, Receipt
from provisioner.volume.fs.files import open_file
from provisioner.volume.fs.free_space import device_space
from provisioner.volume.fs.tree_size import content_bytes
from provisioner.volume.store.layout import dataset_of
from provisioner.volume.store.listing import is_directory, is_version, json_names_in, names_in
from provisioner.volume.store.manifest import SCHEMA_VERSION as MANIFEST_SCHEMA
from provisioner.volume.store.manifest import Manifest
from provisioner.volume.store.newer_records import is_newer_file
from provisioner.volume.store.receipt_file import RECEIPT_SCHEMA, read_receipt

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path

    from provisioner.volume.store.index_files import IndexFiles
    from provisioner.volume.store.layout import VolumeLayout
    from provisioner.volume.store.published_names import PublishedNames

_LOGGER = logging.getLogger(__name__)


class StoreReader:
    """The versions on one volume, with their trees and records."""

    def __init__(
        self, layout: VolumeLayout, published: PublishedNames, indexes: IndexFiles, *, measures_space: bool = True
    ) -> None:
        """Remember the paths; nothing is read yet.

        Args:
            layout: where everything is.
            published: the names that the app reads.
            indexes: the indexes of published data sets.
            measures_space: whether the free space that the volume's file system states can be believed.
        """
        self._measures_space = measures_space
        self._layout = layout
        self._published = published
        self._indexes = indexes

    def inventory(self, others: Iterable[str] = (), *, measured: bool = True) -> Inventory:
        """Return what is there. A version counts if it has a valid receipt and a tree, whose content is not examined.

        Args:
            others: nested ids (such as ``owner/name``) without a version whose published names are checked for foreign files.
            measured: also measure staging, which takes time if an interrupted run left many files there.

        Raises:
            VolumeError: the volume cannot be read.
        """
        receipts = {(receipt.dataset, receipt.version): receipt for receipt in self._receipts()}
        orphans = set(self._orphans(receipts.keys()))
        newer = {key for key in orphans | self._treeless() if self.newer_record(*key) is not None}
        published: dict[str, str] = {}
        foreign: set[str] = set()
        other_form: set[str] = set()
        for dataset in itertools.chain(names_in(self._layout.datasets), sorted(self._nested(receipts, others))):
            name = self._published.look(dataset)
            if name.form == "foreign":
                foreign.add(dataset)
            elif (
                name.form in {"link", "dir"}
                and name.version
                and (dataset, name.version) in receipts
                # Checked through the link: if `datasets` itself is a link, the link's text is right, but the app still finds
                # nothing.
                and self._layout.published(dataset).is_dir()
            ):
                published[dataset] = name.version
                if name.form != self._published.wanted_form(dataset):
                    other_form.add(dataset)
        is_elsewhere = self._layout.staging_root is not None
        staged = content_bytes(self._layout.staging) if measured else 0
        space = device_space(self._layout.root) if self._measures_space else None
        staging_space = device_space(self._layout.staging) if is_elsewhere else None
        return Inventory(
            receipts=receipts,
            published=published,
            other_form=frozenset(other_form),
            orphans=frozenset(key for key in orphans if key not in newer),
            newer=frozenset(newer),
            foreign=frozenset(foreign),
            indexes=self._indexes.all(),
            staged_bytes=0 if is_elsewhere else staged,
            free_bytes=space.free if space else None,
            reserved_bytes=space.reserve if space else 0,
            is_staging_elsewhere=is_elsewhere,
            staging_free_bytes=max(0, staging_space.free - staging_space.reserve) + staged if staging_space else None,
        )

    def datasets(self) -> tuple[str, ...]:
        """Return the ids of all data sets that have a version; see :meth:`versions`.

        Raises:
            VolumeError: the volume cannot be read.
        """
        return tuple(dataset for dataset in sorted(self._recorded()) if self.versions(dataset))

    def nested(self) -> tuple[str, ...]:
        """Return the nested ids (such as ``owner/name``) of all data sets with records.

        Raises:
            VolumeError: the volume cannot be read.
        """
        return tuple(dataset for dataset in sorted(self._recorded()) if "/" in dataset)

    def versions(self, dataset: str) -> tuple[str, ...]:
        """Return the versions that have a receipt, with or without a tree, and those that have a manifest and a tree.

        Raises:
            VolumeError: the volume cannot be read.
        """
        receipts = {version for version in json_names_in(self._layout.receipts_of(dataset)) if is_version(version)}
        manifests = {version for version in json_names_in(self._layout.manifests_of(dataset)) if is_version(version)}
        return tuple(sorted(receipts | {version for version in manifests - receipts if self.tree_of(dataset, version)}))

    def untracked_trees(self) -> Iterator[tuple[str, str]]:
        """Yield data set and version of each tree that is not published and has neither receipt nor manifest.

        Raises:
            VolumeError: the volume cannot be read.
        """
        layout = self._layout
        for dataset in map(dataset_of, names_in(layout.store)):
            known = {*json_names_in(layout.receipts_of(dataset)), *json_names_in(layout.manifests_of(dataset))}
            known.add(self._published.look(dataset).version or "")
            trees = layout.store_of(dataset)
            for name in names_in(trees) if is_directory(trees) else ():
                if is_version(name) and name not in known and is_directory(layout.tree(dataset, name)):
                    yield dataset, name

    def tree_of(self, dataset: str, version: str) -> Path | None:
        """Return the directory of a version's tree, in the store or published, or ``None`` if there is none.

        Raises:
            VolumeError: the volume cannot be read.
        """
        tree = self._layout.tree(dataset, version)
        if is_directory(tree.parent) and is_directory(tree):
            return tree
        name = self._published.look(dataset)
        return self._layout.published(dataset) if name.form == "dir" and name.version == version else None

    def staged_directory(self, dataset: str, version: str) -> Path | None:
        """Return the directory of what is staged for one version, or ``None`` if nothing is."""
        directory = self._layout.staged_tree(dataset, version).parent
        return directory if is_directory(directory) else None

    def receipt(self, dataset: str, version: str) -> Receipt | None:
        """Return a version's receipt, or ``None`` if there is none, or it is damaged."""
        return read_receipt(self._layout.receipt(dataset, version), dataset, version)

    def manifest(self, dataset: str, version: str) -> Manifest | None:
        """Return a version's manifest, or ``None`` if there is none, or it is damaged (which is logged)."""
        path = self._layout.manifest(dataset, version)
        try:
            with open_file(path) as lines:
                return Manifest.read(lines, str(path))
        except FileNotFoundError:
            return None
        except OSError as error:
            _LOGGER.warning("%s: %s", path, error.strerror or error)
            return None
        except VolumeError as error:
            _LOGGER.warning("%s", error)
            return None

    def newer_record(self, dataset: str, version: str) -> Path | None:
        """Return a record of this version that was written by a newer version of the program, or ``None`` if there is none."""
        layout = self._layout
        for path, schema in (
            (layout.receipt(dataset, version), RECEIPT_SCHEMA),
            (layout.pending_receipt(dataset, version), RECEIPT_SCHEMA),
            (layout.manifest(dataset, version), MANIFEST_SCHEMA),
        ):
            if is_newer_file(path, schema):
                return path
        return None

    def checksums_digest(self, dataset: str, version: str) -> str:
        """Return the digest of a version's list for ``sha256sum -c``; empty if it cannot be read."""
        try:
            with open_file(self._layout.checksums(dataset, version)) as lines:
                return f"sha256:{hashlib.file_digest(lines, 'sha256').hexdigest()}"
        except OSError:
            return ""

    def has_checksums(self, dataset: str, version: str, manifest: Manifest) -> bool:
        """Return whether a version's list for ``sha256sum -c`` matches ``manifest``."""
        try:
            with open_file(self._layout.checksums(dataset, version)) as lines:
                # A line feed in a name is escaped, so the lines of the file are the lines of the list.
                pairs = itertools.zip_longest(lines, manifest.sha256sum_lines())
                return all(line == expected for line, expected in pairs)
        except OSError:
            return False

    def _recorded(self) -> set[str]:
        """Return the ids of all data sets that have a directory of receipts or manifests."""
        directories = itertools.chain(names_in(self._layout.receipts), names_in(self._layout.manifests))
        return set(map(dataset_of, directories))

    @staticmethod
    def _nested(receipts: Iterable[tuple[str, str]], others: Iterable[str]) -> set[str]:
        """Return the nested ids, whose published names are not directly below ``datasets``."""
        return {dataset for dataset in itertools.chain((name for name, _ in receipts), others) if "/" in dataset}

    def _receipts(self) -> Iterator[Receipt]:
        """Yield the receipts of versions that have a tree."""
        for dataset in map(dataset_of, names_in(self._layout.receipts)):
            for version in json_names_in(self._layout.receipts_of(dataset)):
                if self.tree_of(dataset, version) is not None:
                    receipt = self.receipt(dataset, version)
                    if receipt is not None:
                        yield receipt

    def _treeless(self) -> set[tuple[str, str]]:
        """Return data set and version of receipts whose tree is missing."""
        return {
            (dataset, version)
            for dataset in map(dataset_of, names_in(self._layout.receipts))
            for version in json_names_in(self._layout.receipts_of(dataset))
            if self.tree_of(dataset, version) is None
        }

    def _orphans(self, known: Collection[tuple[str, str]]) -> Iterator[tuple[str, str]]:
        """Yield data set and version of trees that have a manifest and no receipt."""
        for dataset in map(dataset_of, names_in(self._layout.manifests)):
            for version in json_names_in(self._layout.manifests_of(dataset)):
                if (dataset, version) not in known and self.tree_of(dataset, version):
                    yield dataset, version
