"""The paths of everything on the volume; this is the only module that knows them.

Only names are computed here; nothing is accessed. The layout is shown in ``docs/usage.md``.
"""

from __future__ import annotations

import os
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_NESTED: Final = re.compile(r"\w[\w.-]*(?:\+\w[\w.-]*)+", re.ASCII)
"""Matches the names of private directories of data sets with nested ids, such as ``owner/name``."""


def directory_name(dataset: str) -> str:
    """Return the name of a data set's private directories: its id, with ``+`` for ``/``, so that they are one level deep."""
    return dataset.replace("/", "+")


def dataset_of(directory: str) -> str:
    """Return the id of the data set whose private directories are named ``directory``; see :func:`directory_name`."""
    return directory.replace("+", "/") if _NESTED.fullmatch(directory) else directory


@dataclass(frozen=True, slots=True)
class VolumeLayout:
    """Paths below one volume's root."""

    root: Path
    staging_root: Path | None = None
    """This volume's own directory in ``STAGING_DIR``, which others may use too; ``None`` if staging is on the volume."""

    @property
    def status(self) -> Path:
        """The status file: for people, health checks and the app; never an input to planning."""
        return self.root / "dataset_status.json"

    @property
    def attribution(self) -> Path:
        """Licences and citations of what is on the volume."""
        return self.root / "ATTRIBUTION.md"

    @property
    def environment(self) -> Path:
        """``KEY=value`` lines for an app in another container."""
        return self.root / "provision.env"

    @property
    def datasets(self) -> Path:
        """The directory that the app reads."""
        return self.root / "datasets"

    @property
    def indexes(self) -> Path:
        """The indexes, for an app that wants examples instead of files."""
        return self.root / "index"

    @property
    def private(self) -> Path:
        """Everything that only this program reads and writes."""
        return self.root / ".provisioner"

    @property
    def lock(self) -> Path:
        """The file of the kernel lock, which is never removed."""
        return self.private / "lock"

    @property
    def locks(self) -> Path:
        """The locks for parts of the volume, used if several runs fill it at once."""
        return self.private / "locks"

    @property
    def writers(self) -> Path:
        """The records of the runs that are filling the volume now."""
        return self.private / "writers"

    @property
    def identity(self) -> Path:
        """The name that distinguishes this volume from others that share a ``STAGING_DIR``; created when first needed."""
        return self.private / "volume-id"

    @property
    def staging(self) -> Path:
        """Partial files and unfinished trees; survives a crash and is resumed."""
        return self.staging_root or self.private / "staging"

    @property
    def blobs(self) -> Path:
        """Files that are being fetched."""
        return self.staging / "blobs"

    @property
    def staged_trees(self) -> Path:
        """Unfinished trees, a directory for each data set."""
        return self.staging / "trees"

    @property
    def shares(self) -> Path:
        """The files that workers on several machines have fetched, and who fetched what; on the volume that they share."""
        return self.private / "staging" / "shares"

    @property
    def repository(self) -> Path:
        """The record of the user's data-set repositories."""
        return self.private / "repository.json"

    @property
    def run_record(self) -> Path:
        """The counts of the last run that had something to do, for a report on it."""
        return self.private / "last-run.json"

    @property
    def exported_catalog(self) -> Path:
        """The catalog entries of the versions in an export."""
        return self.private / "catalog.yaml"

    @property
    def exported_pins(self) -> Path:
        """The pins of the versions in an export."""
        return self.private / "pins.yaml"

    @property
    def receipts(self) -> Path:
        """All receipts, a directory for each data set."""
        return self.private / "receipts"

    @property
    def manifests(self) -> Path:
        """All manifests, a directory for each data set."""
        return self.private / "manifests"

    @property
    def store(self) -> Path:
        """All trees, a directory for each data set."""
        return self.private / "store"

    @property
    def index_records(self) -> Path:
        """Records of what each index was made from, one file for each data set."""
        return self.private / "indexes"

    def store_of(self, dataset: str) -> Path:
        """Return the directory of one data set's trees."""
        return self.store / directory_name(dataset)

    def lock_of(self, dataset: str) -> Path:
        """Return the lock of one data set, whose holder builds and publishes it."""
        return self.locks / "datasets" / directory_name(dataset)

    def receipts_of(self, dataset: str) -> Path:
        """Return the directory of one data set's receipts."""
        return self.receipts / directory_name(dataset)

    def manifests_of(self, dataset: str) -> Path:
        """Return the directory of one data set's manifests."""
        return self.manifests / directory_name(dataset)

    def staged_trees_of(self, dataset: str) -> Path:
        """Return the directory of one data set's unfinished trees."""
        return self.staged_trees / directory_name(dataset)

    def published(self, dataset: str) -> Path:
        """Return what the app reads: a link to one version's tree, or the tree itself."""
        return self.datasets / dataset

    def index(self, dataset: str) -> Path:
        """Return the index of one data set."""
        return self.indexes / dataset

    def index_record(self, dataset: str) -> Path:
        """Return the record of what one index was made from."""
        return self.index_records / f"{directory_name(dataset)}.json"

    def incoming_index(self) -> Path:
        """Return a new name for an index that is being written or removed."""
        return self.index_records / f".incoming-{secrets.token_hex(8)}"

    def tree(self, dataset: str, version: str) -> Path:
        """Return the directory of one version's tree."""
        return self.store_of(dataset) / version

    def joined_files(self, dataset: str, version: str) -> Path:
        """Return the path under which a served volume offers all files of a version concatenated; it is not on the disk."""
        return self.store_of(dataset) / f"{version}.files"

    def discarded(self, dataset: str, version: str) -> Path:
        """Return a new name for a version's tree that is being removed; an older one may not have been removable."""
        return self.store_of(dataset) / f".discarded-{version}-{secrets.token_hex(4)}"

    def incoming(self, dataset: str, version: str) -> Path:
        """Return a new name for a version's tree while it is copied from staging on another device."""
        return self.store_of(dataset) / f".incoming-{version}-{secrets.token_hex(4)}"

    def staging_discarded(self) -> Path:
        """Return a name for something staged that cannot be removed."""
        return self.staging / f".discarded-{secrets.token_hex(8)}"

    def link_target(self, dataset: str, version: str) -> str:
        """Return the target of the published link, which is relative, so that it is valid wherever the volume is mounted."""
        return os.path.relpath(self.tree(dataset, version), self.published(dataset).parent).replace(os.sep, "/")

    def manifest(self, dataset: str, version: str) -> Path:
        """Return one version's manifest with sizes, links and empty directories."""
        return self.manifests_of(dataset) / f"{version}.json"

    def checksums(self, dataset: str, version: str) -> Path:
        """Return one version's manifest for ``sha256sum -c`` in the tree."""
        return self.manifests_of(dataset) / f"{version}.sha256"

    def credits(self, dataset: str, version: str) -> Path:
        """Return the attributions of a version whose files have terms of their own: lines of Markdown."""
        return self.manifests_of(dataset) / f"{version}.credits"

    def receipt(self, dataset: str, version: str) -> Path:
        """Return one version's receipt, which is written last and proves that the version is complete."""
        return self.receipts_of(dataset) / f"{version}.json"

    def pending_receipt(self, dataset: str, version: str) -> Path:
        """Return the receipt that is written before the tree is moved, and by which a tree without a receipt is adopted."""
        return self.manifests_of(dataset) / f"{version}.origin"

    def cache_record(self, dataset: str, version: str) -> Path:
        """Return the file that records where in the Hub client's cache a version is shown."""
        return self.manifests_of(dataset) / f"{version}.cache"

    def version_of_directory(self, dataset: str) -> Path:
        """Return the file that names the version of a published *directory*; a link needs none."""
        return self.receipts_of(dataset) / "current"

    def versions_list(self, dataset: str) -> Path:
        """Return the list of one data set's versions in an export, for readers that cannot list its directories."""
        return self.receipts_of(dataset) / "versions"

    def staged_tree(self, dataset: str, version: str) -> Path:
        """Return the directory in which a version's tree is built."""
        return self.staged_trees_of(dataset) / version / "tree"

    def staged_parts(self, dataset: str, version: str) -> Path:
        """Return the directory with the records of what is complete in the staged tree."""
        return self.staged_trees_of(dataset) / version / "parts"
