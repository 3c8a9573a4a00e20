"""Compares what a volume holds with its manifests: all of ``verify``, and the first step of ``repair``.

Nothing is written and no lock is taken, so that a read-only volume, or one that another run is filling, can be checked too.
Every version that has a receipt is checked, published or not: a superseded one can be published again without fetching, and a
file that several versions share is right or wrong in all of them. No catalog is needed.
"""

from __future__ import annotations

import logging
import os
import re
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from provisioner.catalog.document import nearest
from provisioner.catalog.references import is_reference
from provisioner.errors import NotFoundError
from provisioner.volume.store.finding import Finding
from provisioner.volume.store.tree_check import check_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from provisioner.reporting.progress import Progress
    from provisioner.volume.store.manifest import Manifest
    from provisioner.volume.store.store import Store

_LOGGER = logging.getLogger(__name__)

_ATTEMPTS: Final = 3
"""Maximum number of checks of a version that another process replaces or moves meanwhile, and of looks at a name."""
_PAUSE_SECONDS: Final = 0.2
"""Pause before a published name is looked at again: a run that is switching it may have removed it for a moment."""


@dataclass(frozen=True, slots=True)
class Checked:
    """One version, or the published name of one data set, with what is wrong with it."""

    dataset: str
    version: str
    """Empty if the published name of the data set (``datasets/ID``) was checked."""
    published: bool
    """Whether the app reads this version."""
    files: int = 0
    size: int = 0
    """Bytes, according to the manifest."""
    findings: tuple[Finding, ...] = ()
    identity: object = None
    """A value that differs after another process has replaced the version."""

    @property
    def label(self) -> str:
        """The data set, with its version unless that is the published one."""
        return self.dataset if self.published or not self.version else f"{self.dataset} {self.version} (superseded)"

    def as_record(self) -> dict[str, Any]:
        """Return the form in which ``--json`` carries it."""
        return {
            "dataset": self.dataset,
            "version": self.version or None,
            "shown": self.published,
            "files": self.files,
            "bytes": self.size,
            "right": not self.findings,
            "findings": [finding.as_record() for finding in self.findings],
        }


class Verifier:
    """Checks the versions on one volume."""

    def __init__(  # noqa: D417 - `pause` is for tests
        self,
        store: Store,
        *,
        deep: bool,
        check_cancelled: Callable[[], None],
        progress: Progress,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Remember what checking needs; nothing is read yet.

        Args:
            store: the volume's trees.
            deep: also read and hash every file.
            check_cancelled: called between pieces of work; raises to end the check.
            progress: is told how many bytes have been hashed.
        """
        self._store = store
        self._layout = store.layout
        self._deep = deep
        self._check_cancelled = check_cancelled
        self._progress = progress
        self._pause = pause

    def check(self, ids: Sequence[str] = ()) -> Iterator[Checked]:
        """Yield the results for all data sets on the volume, or for some of them.

        Raises:
            NotFoundError: one of them is not on the volume, or the volume has none.
            VolumeError: the volume cannot be read.
        """
        for dataset in known_ids(self._store, ids):
            yield from self.check_dataset(dataset)

    def check_dataset(self, dataset: str) -> Iterator[Checked]:
        """Yield the results for one data set: for its published name if that is wrong, and for each of its versions.

        Raises:
            VolumeError: the volume cannot be read.
        """
        current, versions, finding = self._look_at_name(dataset)
        if finding is not None:
            yield Checked(dataset, "", published=False, findings=(finding,))
        for version in versions:
            if version != current and not self._layout.receipt(dataset, version).exists():
                # A version without a receipt does not count; it is hashed before it is published.
                continue
            if (newer := self._store.reader.newer_record(dataset, version)) is not None:
                _LOGGER.warning("%s: not checked: %s was written by a newer version of this program", dataset, newer)
                continue
            checked = self.check_version(dataset, version, published=version == current)
            if checked is not None:
                yield checked

    def _look_at_name(self, dataset: str) -> tuple[str | None, Sequence[str], Finding | None]:
        """Return the published version, all versions, and what is wrong with the published name, if it stays wrong."""
        path, published = f"datasets/{dataset}", self._store.published
        for attempt in range(_ATTEMPTS):
            current, versions, finding = published.version(dataset), self._store.reader.versions(dataset), None
            if published.is_not_ours(dataset):
                finding = Finding(path, "foreign", actual="is something that the provisioner did not put there")
            elif current is None and versions:
                finding = Finding(path, "not-shown", actual="none of the versions on the volume is published")
            if finding is None:
                break
            if attempt + 1 < _ATTEMPTS:
                self._pause(_PAUSE_SECONDS)
                self._check_cancelled()
        return current, versions, finding

    def check_version(self, dataset: str, version: str, *, published: bool) -> Checked | None:
        """Return the result for one version; ``None`` if another process removes it or keeps moving it meanwhile.

        Raises:
            VolumeError: the volume cannot be read.
        """
        for _ in range(_ATTEMPTS):
            before = self.identity_of(dataset, version)
            checked = replace(self._check(dataset, version, published=published), identity=before)
            if not checked.findings or before == self.identity_of(dataset, version):
                return checked
            if version not in self._store.reader.versions(dataset):
                return None
        _LOGGER.warning("%s %s: not checked: another process replaces or moves it again and again", dataset, version)
        return None

    def identity_of(self, dataset: str, version: str) -> object:
        """Return a value that differs after another process has replaced a version or moved its tree."""
        tree = self._store.reader.tree_of(dataset, version)
        # A tree that was moved is still the same directory, but paths looked up below its old place were not found.
        paths = (self._layout.receipt(dataset, version), self._layout.manifest(dataset, version), tree)
        return str(tree), [_identity(path) for path in paths if path is not None]

    def _check(self, dataset: str, version: str, *, published: bool) -> Checked:
        findings: list[Finding] = []
        receipt = self._layout.receipt(dataset, version)
        if self._store.reader.receipt(dataset, version) is None:
            words = "missing or damaged: without a receipt the version does not count"
            findings.append(Finding(self._below(receipt), "no-receipt", actual=words))
        manifest = self._store.reader.manifest(dataset, version)
        if manifest is None:
            words = "missing or damaged: without a manifest the tree cannot be checked"
            findings.append(Finding(self._below(self._layout.manifest(dataset, version)), "no-manifest", actual=words))
        tree = self._store.reader.tree_of(dataset, version)
        if tree is None:
            path = self._below(self._layout.tree(dataset, version))
            findings.append(Finding(path, "no-tree", actual="the whole tree is missing"))
        if manifest is None:
            return Checked(dataset, version, published, findings=tuple(findings))
        if not self._store.reader.has_checksums(dataset, version, manifest):
            words = "differs from the manifest: 'sha256sum -c' cannot be trusted"
            findings.append(Finding(self._below(self._layout.checksums(dataset, version)), "checksums", actual=words))
        if tree is not None:
            findings += self._compare(tree, manifest, dataset)
        return Checked(dataset, version, published, manifest.files, manifest.bytes, tuple(findings))

    def _compare(self, tree: Path, manifest: Manifest, dataset: str) -> list[Finding]:
        if self._deep:
            self._progress.start(dataset, "verify", manifest.bytes)
        try:
            return check_tree(
                tree,
                manifest,
                deep=self._deep,
                check_cancelled=self._check_cancelled,
                advance=lambda count: self._progress.advance(dataset, count),
            )
        finally:
            self._progress.finish(dataset)

    def _below(self, path: Path) -> str:
        return path.relative_to(self._layout.root).as_posix()


def known_ids(store: Store, ids: Sequence[str]) -> tuple[str, ...]:
    """Return the data sets that were asked for, or all that are on the volume.

    Raises:
        NotFoundError: one of them is not on the volume, or the volume has none.
    """
    present = store.reader.datasets()
    empty = "Run 'provision' first, or give the volume with --data-dir."
    for name in ids:
        if name not in present:
            has_part = (":" in name or "?" in name) and not is_reference(name)
            hint = nearest(name, present) or empty
            if has_part:
                whole = re.split("[:?]", name)[0]
                hint = f"It takes data sets as they are here: leave out the split, part and rules, and write {whole!r}."
            if is_reference(name):
                hint = "Write it as 'status' shows it, or use its path below datasets/."
            raise NotFoundError(f"{name!r} is not on the volume {store.layout.root}; nothing was done", hint=hint)
    if not present:
        raise NotFoundError(
            f"there is no data set on the volume {store.layout.root}",
            hint=empty,
        )
    return tuple(dict.fromkeys(ids)) or present


def _identity(path: Path) -> tuple[int, ...]:
    try:
        facts = os.lstat(path)
    except OSError:
        return ()
    return facts.st_dev, facts.st_ino
