"""Where everything lies on the volume: the one module that knows the paths.

Only names are computed here; nothing is looked at. The picture of the layout is in ``docs/usage.md``.
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
"""The names of private directories of data sets whose ids have several parts, such as ``owner/name``."""


def directory_name(dataset: str) -> str:
    """Return what a data set's private directories are called: its id, with ``+`` for ``/``, so that they lie one level deep."""
    return dataset.replace("/", "+")


def dataset_of(directory: str) -> str:
    """Return the id of the data set whose private directories are called ``directory``; see :func:`directory_name`."""
    return directory.replace("+", "/") if _NESTED.fullmatch(directory) else directory


@dataclass(frozen=True, slots=True)
class VolumeLayout:
    """Paths below one volume's root."""

    root: Path
    staging_root: Path | None = None
    """This volume's own directory in ``STAGING_DIR``, which others use too; ``None``: staging is on the volume."""

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
        """What is derived from the data sets for an app that wants examples and not files."""
        return self.root / "index"

    @property
    def private(self) -> Path:
        """Everything that only this program reads and writes."""
        return self.root / ".provisioner"

    @property
    def lock(self) -> Path:
        """The kernel lock; the file stays."""
        return self.private / "lock"

    @property
    def locks(self) -> Path:
        """The locks for parts of the volume, where several runs fill it at once."""
        return self.private / "locks"

    @property
    def writers(self) -> Path:
        """The records of the runs that fill the volume now."""
        return self.private / "writers"

    @property
    def identity(self) -> Path:
        """The name that tells this volume from others which share a ``STAGING_DIR``; made when it is first needed."""
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
        """What workers on several machines have fetched, and which of them has fetched what; on the volume that they share."""
        return self.private / "staging" / "shares"

    @property
    def repository(self) -> Path:
        """What is remembered of the user's data-set repository."""
        return self.private / "repository.json"

    @property
    def run_record(self) -> Path:
        """What the last run that had something to do has counted, for a report on it."""
        return self.private / "last-run.json"

    @property
    def exported_catalog(self) -> Path:
        """The entries of what an export holds."""
        return self.private / "catalog.yaml"

    @property
    def exported_pins(self) -> Path:
        """The pins of what an export holds."""
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
        """What each index was made from, a file for each data set."""
        return self.private / "indexes"

    def store_of(self, dataset: str) -> Path:
        """Return the directory of one data set's trees."""
        return self.store / directory_name(dataset)

    def lock_of(self, dataset: str) -> Path:
        """Return the lock of one data set: who holds it builds and publishes it."""
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
        """Return a name for an index while it is written, or on its way out; another one each time."""
        return self.index_records / f".incoming-{secrets.token_hex(8)}"

    def tree(self, dataset: str, version: str) -> Path:
        """Return the directory of one version's tree."""
        return self.store_of(dataset) / version

    def joined_files(self, dataset: str, version: str) -> Path:
        """Return where a volume that is served has all files of a version one after the other; on the disk nothing is there."""
        return self.store_of(dataset) / f"{version}.files"

    def discarded(self, dataset: str, version: str) -> Path:
        """Return a name for a version's tree while it is removed: another one each time, since it may not go."""
        return self.store_of(dataset) / f".discarded-{version}-{secrets.token_hex(4)}"

    def incoming(self, dataset: str, version: str) -> Path:
        """Return a name for a version's tree while it is copied from staging on another device; another one each time."""
        return self.store_of(dataset) / f".incoming-{version}-{secrets.token_hex(4)}"

    def staging_discarded(self) -> Path:
        """Return a name for something staged that cannot be removed."""
        return self.staging / f".discarded-{secrets.token_hex(8)}"

    def link_target(self, dataset: str, version: str) -> str:
        """Return the text of the published link: relative, so that it holds wherever the volume is mounted."""
        return os.path.relpath(self.tree(dataset, version), self.published(dataset).parent).replace(os.sep, "/")

    def manifest(self, dataset: str, version: str) -> Path:
        """Return one version's manifest with sizes, links and empty directories."""
        return self.manifests_of(dataset) / f"{version}.json"

    def checksums(self, dataset: str, version: str) -> Path:
        """Return one version's manifest for ``sha256sum -c`` in the tree."""
        return self.manifests_of(dataset) / f"{version}.sha256"

    def credits(self, dataset: str, version: str) -> Path:
        """Return whom to name for each file of a version whose files have terms of their own: lines of Markdown."""
        return self.manifests_of(dataset) / f"{version}.credits"

    def receipt(self, dataset: str, version: str) -> Path:
        """Return one version's receipt: written last, the proof that the version is complete."""
        return self.receipts_of(dataset) / f"{version}.json"

    def pending_receipt(self, dataset: str, version: str) -> Path:
        """Return the receipt as it is written before the tree is moved; a tree whose own receipt is missing is adopted by it."""
        return self.manifests_of(dataset) / f"{version}.origin"

    def cache_record(self, dataset: str, version: str) -> Path:
        """Return the file that says where in the Hub client's cache a version is shown."""
        return self.manifests_of(dataset) / f"{version}.cache"

    def version_of_directory(self, dataset: str) -> Path:
        """Return the file that names the version of a published *directory*; a link names it by itself."""
        return self.receipts_of(dataset) / "current"

    def versions_list(self, dataset: str) -> Path:
        """Return the list of one data set's versions in an export, for those who cannot list its directories."""
        return self.receipts_of(dataset) / "versions"

    def staged_tree(self, dataset: str, version: str) -> Path:
        """Return the directory in which a version's tree is put together."""
        return self.staged_trees_of(dataset) / version / "tree"

    def staged_parts(self, dataset: str, version: str) -> Path:
        """Return the directory of the records of what is complete in the staged tree."""
        return self.staged_trees_of(dataset) / version / "parts"
