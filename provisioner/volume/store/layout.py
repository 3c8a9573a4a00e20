"""Where everything lies on the volume: the one module that knows the paths.

Only names are computed here; nothing is looked at. The picture of the layout is in ``docs/usage.md``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class VolumeLayout:
    """Paths below one volume's root."""

    root: Path
    staging_root: Path | None = None
    """Staging elsewhere (``STAGING_DIR``); ``None``: on the volume."""

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
    def private(self) -> Path:
        """Everything that is ours alone."""
        return self.root / ".provisioner"

    @property
    def lock(self) -> Path:
        """The kernel lock; the file stays."""
        return self.private / "lock"

    @property
    def staging(self) -> Path:
        """Partial bytes and half-made trees; survives a crash and is resumed."""
        return self.staging_root or self.private / "staging"

    @property
    def blobs(self) -> Path:
        """Files on their way in."""
        return self.staging / "blobs"

    @property
    def repository(self) -> Path:
        """What is remembered of the user's data-set repository."""
        return self.private / "repository.json"

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

    def published(self, dataset: str) -> Path:
        """What the app reads: a link to the current version, or the tree itself."""
        return self.datasets / dataset

    def tree(self, dataset: str, version: str) -> Path:
        """One version's tree."""
        return self.store / dataset / version

    def link_target(self, dataset: str, version: str) -> str:
        """Return the text of the published link: relative, so that it holds wherever the volume is mounted."""
        return os.path.relpath(self.tree(dataset, version), self.datasets).replace(os.sep, "/")

    def manifest(self, dataset: str, version: str) -> Path:
        """One version's manifest with sizes, links and empty directories."""
        return self.manifests / dataset / f"{version}.json"

    def checksums(self, dataset: str, version: str) -> Path:
        """One version's manifest for ``sha256sum -c`` in the tree."""
        return self.manifests / dataset / f"{version}.sha256"

    def receipt(self, dataset: str, version: str) -> Path:
        """One version's receipt: written last, the proof that it is there."""
        return self.receipts / dataset / f"{version}.json"

    def current(self, dataset: str) -> Path:
        """Which version a published *directory* is; a link says so by itself."""
        return self.receipts / dataset / "current"

    def staged_tree(self, dataset: str, version: str) -> Path:
        """Return the directory in which a version's tree is put together."""
        return self.staging / "trees" / dataset / version / "tree"

    def staged_parts(self, dataset: str, version: str) -> Path:
        """Return the directory of the records of what is complete in the staged tree."""
        return self.staging / "trees" / dataset / version / "parts"
