"""The tree in which a version of a data set is built, and the records of the archives that are unpacked in it.

Both survive the death of a run: the next one hashes what is recorded, and reuses it if it is right.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, ClassVar, Final

from provisioner.errors import VolumeError
from provisioner.volume.fs.atomic import write_atomic
from provisioner.volume.fs.directories import make_directory
from provisioner.volume.fs.durable import WriteWatch, sync_tree
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.fs.files import open_file
from provisioner.volume.fs.paths import nearest_existing
from provisioner.volume.store.entry import Entry
from provisioner.volume.store.json_file import read_json
from provisioner.volume.store.manifest import Manifest
from provisioner.volume.store.tree_check import is_right
from provisioner.volume.tree.reader import TreeReader
from provisioner.volume.tree.writer import TreeWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from pathlib import Path

    from provisioner.catalog.artifact import Artifact
    from provisioner.volume.store.layout import VolumeLayout

_CHOICE: Final = "choice.json"


class Part(tuple[Entry, ...]):
    """The contribution of one artifact to the tree: its entries, sorted as in a manifest.

    It is a tuple because there may be as many parts as files, and an object around each would double the memory.
    """

    __slots__ = ()
    is_whole: ClassVar[bool] = True
    """Whether the entries are all that the artifact holds; otherwise, some of its files belong to an earlier artifact."""

    def __new__(cls, entries: Iterable[Entry], *, is_whole: bool) -> Part:  # noqa: PYI034 - by a class of its own
        """Return a part of these entries."""
        return super().__new__(Part if is_whole else _SharedPart, entries)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The entries."""
        return self


class _SharedPart(Part):
    """A part some of whose files belong to an earlier artifact."""

    __slots__ = ()
    is_whole: ClassVar[bool] = False


class StagedTree:
    """The directory in staging that becomes the published tree."""

    def __init__(
        self, layout: VolumeLayout, dataset: str, version: str, *, keeps_archives: bool, check_cancelled: Callable[[], None]
    ) -> None:
        """Name the directories; nothing is created yet.

        Args:
            layout: the volume's directories.
            dataset: its id.
            version: the version that is built.
            keeps_archives: archives stay in staging until the tree is complete, so that a lost record does no harm until then.
            check_cancelled: raises when the run must end.
        """
        self._staging = layout.staging
        self._root = layout.root
        self.watch = WriteWatch()
        """Watches for what the devices of staging and of the volume fail to store, while :meth:`watched` is active."""
        self.path = layout.staged_tree(dataset, version)
        self._records = layout.staged_parts(dataset, version)
        self._discarded = layout.staging_discarded
        self._keeps_archives = keeps_archives
        self._check_cancelled = check_cancelled

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Watch for writes that fail, from before the first one until the tree is published."""
        try:
            # Nothing is created before the source has answered.
            self.watch.begin(nearest_existing(self._staging), nearest_existing(self._root))
            yield
        finally:
            self.watch.close()

    def create(self, *, empty: bool = False) -> bool:
        """Create the directories, and return whether an earlier run has left something in the tree.

        Args:
            empty: first remove what an earlier run has left.

        Raises:
            VolumeError: the volume failed.
        """
        make_directory(self._staging)
        with disk_errors("making the staged tree", self.path), TreeWriter(self._staging) as staging:
            # Anything in the way is replaced, and no link is followed.
            for directory in (self.path, self._records):
                name = directory.relative_to(self._staging).as_posix()
                if empty:
                    staging.remove(name)
                staging.directory(name)
        with disk_errors("listing the staged tree", self.path), TreeReader(self.path) as tree:
            return next(tree.names(self._check_cancelled), None) is not None

    def remove_leftovers(self, kept: Callable[[], Collection[str]]) -> None:
        """Remove the files and links that an unfinished attempt left in the tree.

        Args:
            kept: returns the paths of files and links that stay; called after the tree is listed, since others may write to
                it.

        Raises:
            VolumeError: something cannot be removed, or the volume failed.
            ProvisionerError: the run must end.
        """
        with disk_errors("listing the staged tree", self.path), TreeReader(self.path) as tree:
            found = [path for path, kind in tree.names(self._check_cancelled) if kind != "folder"]
        paths = kept()
        with disk_errors("removing what an earlier attempt left", self.path), TreeWriter(self.path) as tree:
            for path in found:
                if path not in paths:
                    self._check_cancelled()
                    tree.remove(path)

    def set_aside(self) -> None:
        """Rename a tree in which something cannot be removed, so that it is out of the way, and create a new one.

        Raises:
            VolumeError: the volume failed.
        """
        with disk_errors("moving the staged tree out of the way", self.path):
            os.rename(self.path, self._discarded())
        self.create(empty=True)

    def recorded_part(self, artifact: Artifact) -> Part | None:
        """Return what an archive has put into the tree, if that is recorded and all its files hash right.

        Raises:
            ProvisionerError: the run must end.
        """
        for is_whole in (True, False):
            record = self._record(artifact, is_whole=is_whole)
            with contextlib.suppress(FileNotFoundError, VolumeError):
                with open_file(record) as lines:
                    manifest = Manifest.read(lines, str(record))
                # A run that died while publishing may have moved the tree, and another source may have changed it.
                with TreeReader(self.path) as tree:
                    has_all = is_right(tree, tuple(not_links(manifest)), check_cancelled=self._check_cancelled)
                if has_all:
                    return Part(manifest.entries, is_whole=is_whole)
                record.unlink()
        return None

    def record_part(self, artifact: Artifact, part: Part) -> None:
        """Record that an archive is unpacked in the tree, so that its bytes are not needed again.

        The tree is synced first only if the archive is removed: a recorded part is hashed before it is used.

        Raises:
            VolumeError: the volume failed.
        """
        if not self._keeps_archives:
            sync_tree(self.path, watch=self.watch)
        write_atomic(self._record(artifact, is_whole=part.is_whole), Manifest(part.entries).json_lines())

    def record_choice(self, source: str, left_out: Collection[str]) -> None:
        """Record which examples a part leaves out, so that a later run need not fetch more of the source than this one did.

        Args:
            source: the key of the resolved source from which that was decided.
            left_out: paths of examples.

        Raises:
            VolumeError: the volume failed.
        """
        write_atomic(self._records / _CHOICE, json.dumps({"source": source, "left_out": sorted(left_out)}).encode())

    def recorded_choice(self, source: str) -> frozenset[str] | None:
        """Return which examples an earlier run left out, or ``None`` if none decided that for this source."""
        found = read_json(self._records / _CHOICE) or {}
        paths = found.get("left_out")
        if found.get("source") != source or not isinstance(paths, list):
            return None
        return frozenset(path for path in paths if isinstance(path, str))

    def _record(self, artifact: Artifact, *, is_whole: bool) -> Path:
        return self._records / f"{artifact.content_id}{'' if is_whole else '-shared'}.json"


def not_links(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Yield all entries except symbolic links, which are made when the tree is complete."""
    return (entry for entry in entries if entry.kind != "link")


def file_entry(artifact: Artifact, size: int, sha256: str) -> Entry:
    """Return the manifest entry of an artifact that is not unpacked."""
    digest = str(artifact.digest) if artifact.digest else None
    return Entry(artifact.path, "file", size, sha256, source_digest=digest, artifact=artifact.content_id)
