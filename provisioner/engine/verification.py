"""Trees against their manifests: what ``verify`` shows, and what ``repair`` begins with.

Nothing is changed and no lock is taken, so that a volume can be looked at that is mounted read-only, or filled right now.
Every version is looked at that a receipt names, whether or not the app sees it: going back to a superseded one is a link, and
files that versions share are the same file, right or wrong in all of them. No catalog is needed.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from provisioner.catalog.document import nearest
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

_TIMES: Final = 3
"""How often a tree is looked at anew that another process replaced meanwhile."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of looking at one version, or at the place where a data set is shown."""

    dataset: str
    version: str
    """Empty: the place where the data set is shown."""
    shown: bool
    """The app sees this version."""
    files: int = 0
    size: int = 0
    """Bytes, by the manifest."""
    findings: tuple[Finding, ...] = ()
    signs: object = None
    """What changes when another process replaces the version."""

    @property
    def label(self) -> str:
        """The data set, with the version where it is not the one that the app sees."""
        return self.dataset if self.shown or not self.version else f"{self.dataset} {self.version} (superseded)"

    def as_record(self) -> dict[str, Any]:
        """Return the form in which ``--json`` carries it."""
        return {
            "dataset": self.dataset,
            "version": self.version or None,
            "shown": self.shown,
            "files": self.files,
            "bytes": self.size,
            "right": not self.findings,
            "findings": [finding.as_record() for finding in self.findings],
        }


class Verifier:
    """Looks at the versions on one volume."""

    def __init__(self, store: Store, *, deep: bool, check_cancelled: Callable[[], None], progress: Progress) -> None:
        """Prepare.

        Args:
            store: the volume's trees.
            deep: also read and hash every file.
            check_cancelled: raises when the work must end.
            progress: is told of bytes that are hashed.
        """
        self._store = store
        self._layout = store.layout
        self._deep = deep
        self._check_cancelled = check_cancelled
        self._progress = progress

    def check(self, ids: Sequence[str] = ()) -> Iterator[Checked]:
        """Look at all data sets on the volume, or at some.

        Raises:
            NotFoundError: one of them is not there, or nothing is there at all.
            VolumeError: the volume cannot be looked at.
        """
        for dataset in known_ids(self._store, ids):
            yield from self.check_dataset(dataset)

    def check_dataset(self, dataset: str) -> Iterator[Checked]:
        """Look at one data set: where it is shown, and each of its versions."""
        current = self._store.published.version(dataset)
        versions = self._store.reader.versions(dataset)
        place = f"datasets/{dataset}"
        if self._store.published.is_not_ours(dataset):
            words = "is something that the provisioner did not put there"
            yield Checked(dataset, "", shown=False, findings=(Finding(place, "foreign", actual=words),))
        elif current is None and versions:
            words = "shows none of the versions that are there"
            yield Checked(dataset, "", shown=False, findings=(Finding(place, "not-shown", actual=words),))
        for version in versions:
            if version != current and not self._layout.receipt(dataset, version).exists():
                # Nothing but a manifest: it was never published, or is not believed any more, and is hashed before it is shown.
                continue
            checked = self.check_version(dataset, version, shown=version == current)
            if checked is not None:
                yield checked

    def check_version(self, dataset: str, version: str, *, shown: bool) -> Checked | None:
        """Look at one version; ``None``: it went away meanwhile."""
        for _ in range(_TIMES):
            before = self.signs(dataset, version)
            checked = replace(self._look(dataset, version, shown=shown), signs=before)
            if not checked.findings or before == self.signs(dataset, version):
                break
            if version not in self._store.reader.versions(dataset):
                return None
        return checked

    def signs(self, dataset: str, version: str) -> object:
        """Return what changes when another process replaces a version."""
        paths = [self._layout.receipt(dataset, version), self._layout.manifest(dataset, version)]
        return [_identity(path) for path in (*paths, self._store.reader.tree_of(dataset, version)) if path is not None]

    def _look(self, dataset: str, version: str, *, shown: bool) -> Checked:
        findings: list[Finding] = []
        receipt = self._layout.receipt(dataset, version)
        if self._store.reader.receipt(dataset, version) is None:
            findings.append(Finding(self._below(receipt), "no-receipt", actual="is no receipt: nothing proves this version"))
        manifest = self._store.reader.manifest(dataset, version)
        if manifest is None:
            words = "is no manifest: nothing says what the tree should be"
            findings.append(Finding(self._below(self._layout.manifest(dataset, version)), "no-manifest", actual=words))
        tree = self._store.reader.tree_of(dataset, version)
        if tree is None:
            place = self._below(self._layout.tree(dataset, version))
            findings.append(Finding(place, "no-tree", actual="the whole tree is missing"))
        if manifest is None:
            return Checked(dataset, version, shown, findings=tuple(findings))
        if not self._store.reader.has_checksums(dataset, version, manifest):
            words = "is not what the manifest says: 'sha256sum -c' cannot be trusted"
            findings.append(Finding(self._below(self._layout.checksums(dataset, version)), "checksums", actual=words))
        if tree is not None:
            findings += self._compare(tree, manifest, dataset)
        return Checked(dataset, version, shown, manifest.files, manifest.bytes, tuple(findings))

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
        NotFoundError: one of them is not there, or nothing is there at all.
    """
    there = store.reader.datasets()
    for name in ids:
        if name not in there:
            hint = "Versions are looked at whole: leave out the split." if ":" in name else nearest(name, there)
            raise NotFoundError(f"{name!r} is not on the volume {store.layout.root}; nothing was done", hint=hint)
    if not there:
        raise NotFoundError(
            f"there is no data set on the volume {store.layout.root}",
            hint="Run 'provision' first, or give the volume with --data-dir.",
        )
    return tuple(dict.fromkeys(ids)) or there


def _identity(path: Path) -> tuple[int, ...]:
    try:
        facts = os.lstat(path)
    except OSError:
        return ()
    return facts.st_dev, facts.st_ino
