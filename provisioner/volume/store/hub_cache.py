"""Show published repositories in the Hub client's cache, in that client's own layout and without copying any bytes.

``{datasets,models}--OWNER--NAME/blobs/ETAG`` is a hard link to the file in the store, ``snapshots/COMMIT/PATH`` a symbolic
link to the blob, as the client makes it, and ``refs/REVISION`` holds the commit. Hard links, because clients that remove a
revision also remove the targets of its links: with symbolic links into the store, that would be the store's own file.

A blob is ours if it is the same file as one in the store. Everything else in the cache is left alone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from typing import TYPE_CHECKING, Any, Final

from provisioner.catalog.relative_path import path_problem
from provisioner.errors import ProvisionerError
from provisioner.volume.fs.atomic import write_atomic
from provisioner.volume.fs.directories import make_directory, make_plain_directory
from provisioner.volume.fs.durable import sync_tree
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.fs.files import read_file
from provisioner.volume.store.json_file import read_json, write_json
from provisioner.volume.store.listing import is_directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from provisioner.planning.model import Inventory, Receipt
    from provisioner.volume.store.entry import Entry
    from provisioner.volume.store.inventory import StoreReader
    from provisioner.volume.store.layout import VolumeLayout
    from provisioner.volume.store.manifest import Manifest

_LOGGER = logging.getLogger(__name__)

_SCHEMA: Final = 1
_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class HubCache:
    """The view of one volume's repositories in one cache."""

    def __init__(self, layout: VolumeLayout, reader: StoreReader, directory: Path | None) -> None:
        """Remember the paths; nothing is read yet.

        Args:
            layout: where everything is.
            reader: what the volume holds.
            directory: the cache (``HF_HUB_CACHE``), or ``None`` if no view is wanted.
        """
        self.directory = directory
        self._layout = layout
        self._reader = reader

    def outdated(self, inventory: Inventory) -> tuple[tuple[str, str], ...]:
        """Return data set and version of the repositories whose view is missing, or is not wanted."""
        return tuple(
            key
            for key, receipt in inventory.receipts.items()
            if receipt.repository is not None and not receipt.is_newer and not self._is_right(*key)
        )

    def update(self, inventory: Inventory) -> None:
        """Create the views that are missing, and point each revision to the published version; the lock is held.

        On a file system without links there is no view, which is logged.

        Raises:
            VolumeError: the records of what was created cannot be written.
        """
        for dataset, version in self.outdated(inventory):
            self.hide(dataset, version)
            if self.directory is not None:
                self._show(inventory.receipts[dataset, version])
        for dataset, version in inventory.published.items():
            receipt = inventory.receipts[dataset, version]
            record = self._record(dataset, version)
            if receipt.repository is not None and record is not None and record.get("shown") is True:
                with contextlib.suppress(OSError, ProvisionerError):
                    self._write_reference(receipt, inventory)

    def hide(self, dataset: str, version: str) -> None:
        """Remove the view of one version, before its tree is removed or replaced; files that other versions use stay.

        Raises:
            VolumeError: the volume failed.
        """
        record = self._record(dataset, version)
        if record is None:
            return
        place = self._place(record)
        receipt = self._reader.receipt(dataset, version)
        manifest, tree = self._reader.manifest(dataset, version), self._reader.tree_of(dataset, version)
        with disk_errors(f"removing the view of {dataset}"):
            if receipt is not None and manifest is not None and place is not None and is_directory(place):
                _remove_links(place, receipt.pin, _own_etags(place, manifest, tree, record), manifest)
                _remove_empty(place, receipt)
            path = self._layout.cache_record(dataset, version)
            # A link in place of the records' directory is not ours to follow.
            if is_directory(path.parent):
                path.unlink(missing_ok=True)
        if place is not None and self.directory is not None:
            self._show_again(place.name, dataset, version)

    # --- records -----------------------------------------------------------------------------------------------------

    def _record(self, dataset: str, version: str) -> dict[str, Any] | None:
        return read_json(self._layout.cache_record(dataset, version))

    def _is_right(self, dataset: str, version: str) -> bool:
        record = self._record(dataset, version)
        if self.directory is None or record is None:
            return self.directory is None and record is None
        if record.get("schema_version") != _SCHEMA or record.get("directory") != self._written(self.directory):
            return False
        place, commit = self._place(record), record.get("commit")
        return record.get("shown") is not True or (place is not None and is_directory(place / "snapshots" / str(commit)))

    def _written(self, directory: Path) -> str:
        """Return the recorded form of a cache's path: relative if it is on the volume, so that the volume can be moved."""
        root = self._layout.root
        return directory.relative_to(root).as_posix() if directory.is_relative_to(root) else str(directory)

    def _place(self, record: Mapping[str, Any]) -> Path | None:
        """Return the directory of a repository in the cache that a record names."""
        directory, folder = record.get("directory"), record.get("folder")
        if not isinstance(directory, str) or not isinstance(folder, str) or path_problem(folder) or "/" in folder:
            return None
        return self._layout.root / directory / folder

    def _show_again(self, folder: str, dataset: str, version: str) -> None:
        """Complete the views of other versions of the same repository, whose files may be links that the removed one made."""
        for (other, its_version), receipt in self._reader.inventory(measured=False).receipts.items():
            record = self._record(other, its_version)
            is_same = record is not None and record.get("folder") == folder and record.get("shown") is True
            if is_same and (other, its_version) != (dataset, version) and receipt.repository is not None:
                self._show(receipt)

    # --- making a view -----------------------------------------------------------------------------------------------

    def _show(self, receipt: Receipt) -> None:
        assert self.directory is not None  # noqa: S101 - for the type checker
        assert receipt.repository is not None  # noqa: S101 - the same
        dataset, version = receipt.dataset, receipt.version
        manifest, tree = self._reader.manifest(dataset, version), self._reader.tree_of(dataset, version)
        if manifest is None or tree is None or not _COMMIT.fullmatch(receipt.pin) or path_problem(receipt.repository.revision):
            return
        folder = receipt.repository.cache_folder
        place, problem = self.directory / folder, ""
        foreign: list[str] = []
        try:
            foreign = _make_links(place, receipt.pin, manifest, tree)
            self._write_reference(receipt, None)
            sync_tree(place, self.directory)
        except (OSError, ProvisionerError) as error:
            problem = (error.message if isinstance(error, ProvisionerError) else error.strerror) or type(error).__name__
        record = {
            "schema_version": _SCHEMA,
            "directory": self._written(self.directory),
            "folder": folder,
            "commit": receipt.pin,
            "shown": not problem,
            "foreign": foreign,
        }
        path = self._layout.cache_record(dataset, version)
        make_plain_directory(path.parent)
        write_json(path, record)
        if problem:
            _LOGGER.warning("%s: not shown in the Hub client's cache %s: %s", receipt.label, self.directory, problem)
            with contextlib.suppress(OSError):
                _remove_links(place, receipt.pin, _own_etags(place, manifest, tree, record), manifest)
                _remove_empty(place, receipt)

    def _write_reference(self, receipt: Receipt, inventory: Inventory | None) -> None:
        """Point a revision to a version's commit, unless it points to a commit that is not ours.

        Args:
            receipt: of the version.
            inventory: the versions whose commits are ours, or ``None`` to write only a reference that is missing.
        """
        assert self.directory is not None  # noqa: S101 - for the type checker
        assert receipt.repository is not None  # noqa: S101 - the same
        revision = receipt.repository.revision
        if _COMMIT.fullmatch(revision):
            return
        references = self.directory / receipt.repository.cache_folder / "refs"
        path = references / revision
        found = _text(path)
        ours = {other.pin for other in inventory.receipts.values()} if inventory else set()
        if found == receipt.pin or (found is not None and found not in ours):
            return
        make_plain_directory(references)
        make_directory(path.parent)
        write_atomic(path, receipt.pin.encode())


def _own_etags(place: Path, manifest: Manifest, tree: Path | None, record: Mapping[str, Any]) -> frozenset[str]:
    """Return the blobs in a repository's directory that are ours.

    Args:
        place: the repository's directory in the cache.
        manifest: of the version.
        tree: its tree; a blob that is the same file as one in it is ours. If the tree was lost (``None``), those blobs are
            ours that were not there before.
        record: of the view.
    """
    blobs = place / "blobs"
    files = ((entry, _etag(entry)) for entry in manifest if entry.kind == "file")
    if tree is not None:
        # Several files with the same content have one blob, which is the same file as one of them.
        return frozenset(etag for entry, etag in files if _is_same_file(blobs / etag, tree / entry.path))
    foreign = record.get("foreign")
    known = frozenset(foreign if isinstance(foreign, list) else ())
    return frozenset(etag for entry, etag in files if etag not in known and _size(blobs / etag) == entry.size)


def _remove_links(place: Path, commit: str, ours: frozenset[str], manifest: Manifest) -> None:
    """Remove the links of a snapshot to some blobs, and the blobs that no other snapshot needs.

    Raises:
        OSError: the system reported it.
    """
    snapshot, blobs = place / "snapshots" / commit, place / "blobs"
    etags = {entry.path: _etag(entry) for entry in manifest if entry.kind == "file"}
    own = {str(snapshot / path) for path in etags}
    # Links that the client has made for another revision stay, and their blobs are then the client's.
    used = {target.rpartition("/")[2] for path, target in _links_below(place / "snapshots") if path not in own}
    for path, etag in etags.items():
        link = snapshot / path
        with contextlib.suppress(OSError):
            if etag in ours and os.readlink(link).rpartition("/")[2] == etag:
                link.unlink()
    for etag in ours - used:
        (blobs / etag).unlink()


def _make_links(place: Path, commit: str, manifest: Manifest, tree: Path) -> list[str]:
    """Link a version's files as blobs, and the blobs as the files of a snapshot; what is already there stays.

    Returns:
        The blobs that were already there and are not ours.

    Raises:
        OSError: the system reported it: links are not supported, or the cache is on another file system.
        VolumeError: a directory cannot be made, or a link is in its place.
    """
    snapshot, blobs = place / "snapshots" / commit, place / "blobs"
    make_directory(place.parent)
    for directory in (place, blobs, snapshot.parent, snapshot):
        make_plain_directory(directory)
    # As text: there may be many files, and a path object costs more than creating the two links.
    source, store, view = (f"{os.fspath(directory)}{os.sep}" for directory in (tree, blobs, snapshot))
    made = {""}
    linked: set[str] = set()
    foreign: set[str] = set()
    for entry in manifest:
        if entry.kind != "file":
            continue
        etag, path = _etag(entry), entry.path
        above = path.rpartition("/")[0]
        if above not in made:
            _make_above(snapshot, above, made)
        try:
            os.link(source + path, store + etag, follow_symlinks=False)
            linked.add(etag)
        except FileExistsError:
            if etag not in linked and not _is_same_file(store + etag, source + path):
                foreign.add(etag)
        with contextlib.suppress(FileExistsError):
            os.symlink(f"{'../' * (2 + path.count('/'))}blobs/{etag}", view + path)  # noqa: PTH211 - as above
    return sorted(foreign)


def _make_above(snapshot: Path, path: str, made: set[str]) -> None:
    """Make the directories down to ``path`` in a snapshot that are not among those that were ``made``."""
    if path not in made:
        _make_above(snapshot, path.rpartition("/")[0], made)
        make_plain_directory(snapshot / path)
        made.add(path)


def _etag(entry: Entry) -> str:
    """Return the Hub's name for a file's content: the SHA-256 of a file in LFS, else the SHA-1 of the Git blob."""
    algorithm, _, digits = (entry.source_digest or "").partition(":")
    return digits if algorithm == "gitsha1" else entry.sha256


def _is_same_file(path: Path | str, other: Path | str) -> bool:
    try:
        facts, others = os.lstat(path), os.lstat(other)
    except OSError:
        return False
    return (facts.st_dev, facts.st_ino) == (others.st_dev, others.st_ino)


def _size(path: Path) -> int | None:
    try:
        return os.lstat(path).st_size
    except OSError:
        return None


def _links_below(directory: Path) -> Iterator[tuple[str, str]]:
    """Yield path and target of each symbolic link below a directory."""
    for place, directories, names in os.walk(directory):
        for name in (*names, *directories):
            path = os.path.join(place, name)  # noqa: PTH118 - there may be many
            if os.path.islink(path):  # noqa: PTH114 - the same
                # The Hub client may remove it at any time.
                with contextlib.suppress(FileNotFoundError):
                    yield path, os.readlink(path)


def _remove_empty(place: Path, receipt: Receipt) -> None:
    """Remove empty directories of a repository in the cache, and the reference to a snapshot that is gone."""
    if receipt.repository is None:
        return
    snapshot = place / "snapshots" / receipt.pin
    for directory, _, _ in os.walk(snapshot, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(directory)  # noqa: PTH106 - there may be many
    references = place / "refs"
    path = references / receipt.repository.revision
    if not snapshot.exists() and _text(path) == receipt.pin:
        path.unlink()
        for above in path.relative_to(references).parents[:-1]:
            with contextlib.suppress(OSError):
                (references / above).rmdir()
    for name in ("blobs", "refs", "snapshots", ""):
        with contextlib.suppress(OSError):
            (place / name).rmdir()


def _text(path: Path) -> str | None:
    try:
        return read_file(path).decode("ascii", "replace").strip()
    except OSError:
        return None
