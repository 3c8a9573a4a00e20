"""The trees on a volume: what is there, how a new one is published, and how one is taken away.

The order never changes: the tree is whole and its manifest is written; everything is synced; the tree is put in its place;
the published name is switched; the receipt is written. Death between any two of these leaves either the old state or a
tree with a manifest and no receipt, which the next run hashes and adopts.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import os
import re
import stat
from typing import TYPE_CHECKING, Final, Literal

from provisioner.errors import ProvisionerError, VolumeError
from provisioner.planning.plan import Inventory, Receipt
from provisioner.planning.recipe import VERSION_DIGITS
from provisioner.volume.fs.atomic import TEMPORARY_PREFIX, exchange, write_atomic
from provisioner.volume.fs.directories import make_directory
from provisioner.volume.fs.durable import fsync_directory, sync_tree
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.fs.files import open_file, read_file
from provisioner.volume.fs.links import link_or_copy
from provisioner.volume.fs.remove import remove_tree
from provisioner.volume.fs.space import free_bytes, used_bytes
from provisioner.volume.store.manifest import Manifest
from provisioner.volume.store.receipt_file import read_receipt, write_receipt
from provisioner.volume.store.tree_check import check_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from provisioner.volume.store.layout import VolumeLayout

Publish = Literal["link", "dir"]

_LOGGER = logging.getLogger(__name__)
ABANDONED_SECONDS: Final = 7 * 86_400
_VERSION: Final = re.compile(rf"[0-9a-f]{{{VERSION_DIGITS}}}")
_LEFTOVER: Final = re.compile(
    rf"{re.escape(TEMPORARY_PREFIX)}[0-9a-f]+-[0-9a-f]{{16}}|\.incoming-[0-9a-f]+|\.discarded-[0-9a-f]+|\.[a-z0-9_-]+\.new"
)
"""Names of ours that no finished run leaves."""
_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EACCES})


class Store:
    """The trees of one volume."""

    def __init__(
        self, layout: VolumeLayout, publish: Publish, *, program_version: str, check_cancelled: Callable[[], None]
    ) -> None:
        """Look at nothing yet.

        Args:
            layout: where everything lies.
            publish: whether the app gets a link or the tree itself.
            program_version: noted in receipts.
            check_cancelled: called between pieces of work; raises to end it.
        """
        self.layout = layout
        self._publish = publish
        self._program_version = program_version
        self._check_cancelled = check_cancelled

    # --- looking -------------------------------------------------------------------------------------------------

    def inventory(self, *, measured: bool = True) -> Inventory:
        """See what is there, by its receipts and by the places of their trees; no tree is hashed or counted.

        Args:
            measured: also measure staging, which takes its time when a killed run left many files there.

        Raises:
            VolumeError: the volume cannot be looked at.
        """
        receipts: dict[tuple[str, str], Receipt] = {}
        published: dict[str, str] = {}
        foreign: set[str] = set()
        for dataset in _names(self.layout.receipts):
            for name in _names(self.layout.receipts / dataset):
                version, suffix = os.path.splitext(name)
                if suffix != ".json" or self.tree_of(dataset, version) is None:
                    continue
                receipt = read_receipt(self.layout.receipt(dataset, version), dataset, version)
                if receipt is not None:
                    receipts[dataset, version] = receipt
        for dataset in _names(self.layout.datasets):
            form, current = self._form(dataset)
            if form == "foreign":
                foreign.add(dataset)
            elif (
                form == self._form_wanted(dataset)
                and current
                and (dataset, current) in receipts
                # Through the link: where `datasets` itself leads elsewhere, its text is right and the app finds nothing.
                and self.layout.published(dataset).is_dir()
            ):
                published[dataset] = current
        staged = used_bytes(self.layout.staging) if measured else 0
        return Inventory(
            receipts=receipts,
            published=published,
            orphans=frozenset(self._orphans(receipts.keys())),
            foreign=frozenset(foreign),
            staged_bytes=staged if self.layout.staging_root is None else 0,
            free_bytes=free_bytes(self.layout.root),
            staging_free_bytes=free_bytes(self.layout.staging) + staged if self.layout.staging_root else None,
        )

    def tree_of(self, dataset: str, version: str) -> Path | None:
        """Return the directory of a version's tree; ``None`` when it is gone."""
        tree = self.layout.tree(dataset, version)
        if _is_directory(tree):
            return tree
        form, current = self._form(dataset)
        return self.layout.published(dataset) if form == "dir" and current == version else None

    def manifest(self, dataset: str, version: str) -> Manifest | None:
        """Return a version's manifest; ``None`` when there is none that can be understood."""
        path = self.layout.manifest(dataset, version)
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

    def datasets(self) -> tuple[str, ...]:
        """Return the ids of all data sets of which there is a version, see :meth:`versions`."""
        directories = itertools.chain(_names(self.layout.receipts), _names(self.layout.manifests))
        return tuple(name for name in sorted(set(directories)) if self.versions(name))

    def versions(self, dataset: str) -> tuple[str, ...]:
        """Return the versions that a receipt names, be their trees there or not, and trees that have but a manifest."""
        receipts = {version for version in _stems(self.layout.receipts / dataset) if _VERSION.fullmatch(version)}
        manifests = {version for version in _stems(self.layout.manifests / dataset) if _VERSION.fullmatch(version)}
        return tuple(sorted(receipts | {version for version in manifests - receipts if self.tree_of(dataset, version)}))

    def strays(self) -> Iterator[tuple[str, str]]:
        """Return data set and version of each tree that the app does not see and of which neither receipt nor manifest speaks."""
        for dataset in _names(self.layout.store):
            known = {*_stems(self.layout.receipts / dataset), *_stems(self.layout.manifests / dataset), self._form(dataset)[1]}
            for name in _names(self.layout.store / dataset):
                if _VERSION.fullmatch(name) and name not in known and _is_directory(self.layout.tree(dataset, name)):
                    yield dataset, name

    def receipt(self, dataset: str, version: str) -> Receipt | None:
        """Return a version's receipt; ``None`` when there is none that can be understood."""
        return read_receipt(self.layout.receipt(dataset, version), dataset, version)

    def shown(self, dataset: str) -> str | None:
        """Return the version that the app sees, believed or not; ``None``: it sees none."""
        form, version = self._form(dataset)
        return version if form in {"link", "dir"} and self.layout.published(dataset).is_dir() else None

    def is_foreign(self, dataset: str) -> bool:
        """Return whether something lies in a data set's place that is not ours."""
        return self._form(dataset)[0] == "foreign"

    def has_checksums(self, dataset: str, version: str, manifest: Manifest) -> bool:
        """Return whether the list for ``sha256sum -c`` is that of a manifest."""
        try:
            with open_file(self.layout.checksums(dataset, version)) as lines:
                # Names may hold line feeds only when they are escaped, so that lines are lines on both sides.
                pairs = itertools.zip_longest(lines, manifest.sha256sum_lines())
                return all(line == expected for line, expected in pairs)
        except OSError:
            return False

    def _orphans(self, known: object) -> Iterator[tuple[str, str]]:
        for dataset in _names(self.layout.manifests):
            for name in _names(self.layout.manifests / dataset):
                version, suffix = os.path.splitext(name)
                if suffix == ".json" and (dataset, version) not in known and self.tree_of(dataset, version):  # type: ignore[operator]
                    yield dataset, version

    def _form(self, dataset: str) -> tuple[Literal["none", "link", "dir", "foreign"], str | None]:
        """Return what lies in a data set's published place, and which version it is."""
        place = self.layout.published(dataset)
        try:
            facts = os.lstat(place)
        except OSError:
            return "none", None
        if stat.S_ISLNK(facts.st_mode):
            target = os.readlink(place).replace(os.sep, "/")
            version = target.rsplit("/", 1)[-1]
            # Ours by its text, whether or not the tree is still there: a dangling one may be replaced.
            return ("link", version) if target == self.layout.link_target(dataset, version) else ("foreign", None)
        if not stat.S_ISDIR(facts.st_mode):
            return "foreign", None
        with contextlib.suppress(OSError, UnicodeDecodeError):
            version = read_file(self.layout.current(dataset)).decode("ascii").strip()
            # It becomes part of a path: whatever is no version is not believed.
            if _VERSION.fullmatch(version):
                return "dir", version
        # An empty directory holds nothing that could be lost.
        return ("foreign", None) if next(_names(place), None) else ("none", None)

    def _form_wanted(self, dataset: str) -> Publish:
        """Links, unless directories are wanted or an earlier run found that this volume has no links."""
        return "dir" if self._publish == "dir" or self.layout.current(dataset).exists() else "link"

    # --- changing ------------------------------------------------------------------------------------------------

    def publish(self, receipt: Receipt, staged: Path, manifest: Manifest, *, show: bool = True) -> None:
        """Make a staged tree the one that the app sees.

        A tree that is there already under the same version is wrong, or nobody vouches for it: the two change places.

        Args:
            receipt: what will be believed of it.
            staged: the tree; it is moved.
            manifest: all that is in it; checked against the tree's names, kinds and sizes.
            show: otherwise what the app sees stays as it is: a superseded version is mended.

        Raises:
            VolumeError: the tree is not what it should be, or the volume failed; nothing was published.
        """
        dataset, version = receipt.dataset, receipt.version
        findings = check_tree(staged, manifest, deep=False, check_cancelled=self._check_cancelled)
        if findings:
            raise VolumeError(
                f"{dataset}: the staged tree is not what was put there ({findings[0]}); it was not published",
                hint="Something else writes into .provisioner/staging, or the device loses data. Start again.",
            )
        for directory in (self.layout.manifests / dataset, self.layout.receipts / dataset, self.layout.store / dataset):
            make_directory(directory)
        believed = self.receipt(dataset, version)
        if believed is not None and believed != receipt:
            # What it says is about to become untrue.
            self.withdraw(dataset, version)
        write_atomic(self.layout.checksums(dataset, version), manifest.sha256sum_lines(), durable=False)
        write_receipt(self._origin(dataset, version), receipt, self._program_version, durable=False)
        # Before the tree, so that one which is there can be adopted; a manifest without its tree is nothing.
        write_atomic(self.layout.manifest(dataset, version), manifest.json_lines(), durable=False)
        old = self.tree_of(dataset, version)
        if old is None:
            tree = self.layout.tree(dataset, version)
            self._move_in(staged, tree)
            self._sync(dataset, tree)
        else:
            self._change_places(dataset, staged, old, self.layout.tree(dataset, version))
        if show:
            self._place(dataset, version)
        if believed != receipt:
            self._write_receipt(receipt)

    def withdraw(self, dataset: str, version: str) -> None:
        """Stop believing a version: before it is shown again it is hashed.

        Raises:
            VolumeError: the volume failed.
        """
        path = self.layout.receipt(dataset, version)
        with disk_errors(f"removing {path}"):
            path.unlink(missing_ok=True)
            if path.parent.is_dir():
                fsync_directory(path.parent)

    def write_checksums(self, dataset: str, version: str, manifest: Manifest) -> None:
        """Write the list for ``sha256sum -c`` anew.

        Raises:
            VolumeError: the volume failed.
        """
        write_atomic(self.layout.checksums(dataset, version), manifest.sha256sum_lines())

    def link(self, dataset: str, version: str) -> None:
        """Make a version that is there, receipt and all, the one that the app sees.

        Raises:
            VolumeError: the volume failed.
        """
        self._place(dataset, version)

    def adopt(self, dataset: str, version: str, *, keep: bool = False) -> bool:
        """Hash a tree that has a manifest and no receipt, and publish it if it is right; a wrong one is removed.

        Args:
            dataset: its id.
            version: its version.
            keep: a wrong one stays as it is, since nothing may be made in its place.

        Raises:
            VolumeError: the volume failed.
        """
        tree = self.tree_of(dataset, version)
        receipt = read_receipt(self._origin(dataset, version), dataset, version)
        if tree is not None and receipt is not None and (manifest := self.manifest(dataset, version)) is not None:
            findings = check_tree(tree, manifest, deep=True, check_cancelled=self._check_cancelled)
            # Large, and removing a tree takes memory too.
            del manifest
            if not findings:
                self._place(dataset, version)
                self._write_receipt(receipt)
                return True
            _LOGGER.warning("%s: the tree without a receipt is not right (%s); it is made anew", dataset, findings[0])
        if not keep:
            self.remove(dataset, version)
        return False

    def remove(self, dataset: str, version: str) -> None:
        """Take one version off the volume: the receipt first, so that nobody believes what is going.

        The tree goes in one step and not file by file: a reader finds all of it or nothing, and keeps what he has opened. What
        names it goes last: after a death in between whatever is left is found.

        Raises:
            VolumeError: the volume failed.
        """
        tree = self.tree_of(dataset, version)
        with disk_errors(f"removing {dataset} {version}"):
            self.layout.receipt(dataset, version).unlink(missing_ok=True)
        if tree is not None:
            make_directory(self.layout.store / dataset)
            discarded = self._discarded(dataset, version)
            remove_tree(discarded)
            with disk_errors(f"removing {tree}"):
                os.rename(tree, discarded)
            remove_tree(discarded)
        with disk_errors(f"removing {dataset} {version}"):
            for path in (self.layout.checksums, self._origin, self.layout.manifest):
                path(dataset, version).unlink(missing_ok=True)

    def clear_staging(self, dataset: str | None = None) -> None:
        """Remove the half-made trees of one data set, or everything that is staged.

        Raises:
            VolumeError: the volume failed.
        """
        directory = self.layout.staging / "trees" / dataset if dataset else self.layout.staging
        if dataset or self.layout.staging_root is None:
            remove_tree(directory)
            return
        for name in ("trees", "blobs"):  # a directory that the user gave stays
            remove_tree(directory / name)

    def clear_blobs(self, keys: Collection[str]) -> None:
        """Remove some files on their way in, by the artifacts' keys."""
        for name in _names(self.layout.blobs):
            if os.path.splitext(name)[0] in keys:
                remove_tree(self.layout.blobs / name)

    def clear_abandoned(self, datasets: Collection[str], now: float) -> None:
        """Remove what is staged of some data sets, and whatever nobody has touched for a week.

        Other data sets that were interrupted keep what had arrived: the next run that wants them carries on.

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
        for directory in (self.layout.blobs, self.layout.staging / "trees"):
            with contextlib.suppress(OSError):
                directory.rmdir()  # unless something is left in it
        if self.layout.staging_root is None:
            with contextlib.suppress(OSError):
                self.layout.staging.rmdir()

    def clear_leftovers(self) -> None:
        """Remove what a run left that died in the middle of a write or a switch, but for what it had staged.

        Raises:
            VolumeError: the volume failed.
        """
        for path in self.leftovers():
            remove_tree(path)

    def leftovers(self, dataset: str | None = None) -> tuple[Path, ...]:
        """Return what :meth:`clear_leftovers` would remove, of all or of one data set's trees and records.

        Raises:
            VolumeError: the volume cannot be looked at.
        """
        return tuple(path for path in self._leftovers() if dataset is None or path.parent.name == dataset)

    def staged(self, dataset: str, version: str) -> Path | None:
        """Return the directory of what is staged of one version; ``None``: nothing is."""
        directory = self.layout.staged_tree(dataset, version).parent
        return directory if _is_directory(directory) else None

    def measure_leftovers(self, now: float) -> tuple[int, int]:
        """Return the bytes, and the number of names, that :meth:`clear_leftovers` and :meth:`clear_abandoned` would remove.

        Raises:
            VolumeError: the volume failed.
        """
        paths = [*self._leftovers(), *self._abandoned(now)]
        return sum(map(used_bytes, paths)), len(paths)

    def hide(self, dataset: str) -> None:
        """Let the app see no version of a data set; all of them stay.

        Raises:
            VolumeError: the volume failed.
        """
        place = self.layout.published(dataset)
        form, current = self._form(dataset)
        with disk_errors(f"removing {place}"):
            if form == "link":
                place.unlink()
                fsync_directory(place.parent)
            elif form == "dir" and current:
                tree = self.layout.tree(dataset, current)
                make_directory(tree.parent)
                remove_tree(tree)
                os.rename(place, tree)
                fsync_directory(place.parent)
            self.layout.current(dataset).unlink(missing_ok=True)

    def _leftovers(self) -> Iterator[Path]:
        layout = self.layout
        directories = [layout.root, layout.private, layout.datasets, layout.blobs]
        for parent in (layout.manifests, layout.receipts, layout.store):
            directories += [parent / name for name in _names(parent)]
        for directory in directories:
            for name in _names(directory):
                if _LEFTOVER.fullmatch(name) and (directory != layout.datasets or (directory / name).is_symlink()):
                    yield directory / name
        # What is written before a tree is, and removed after it: without receipt and tree it is nothing.
        for dataset in _names(layout.manifests):
            for name in _names(layout.manifests / dataset):
                version = os.path.splitext(name)[0]
                if (
                    _VERSION.fullmatch(version)
                    and not layout.receipt(dataset, version).exists()
                    and self.tree_of(dataset, version) is None
                ):
                    yield layout.manifests / dataset / name

    def _abandoned(self, now: float) -> Iterator[Path]:
        for directory in (self.layout.blobs, self.layout.staging / "trees"):
            for name in _names(directory):
                with contextlib.suppress(FileNotFoundError):
                    if now - os.lstat(directory / name).st_mtime > ABANDONED_SECONDS:
                        yield directory / name

    def _origin(self, dataset: str, version: str) -> Path:
        return self.layout.manifests / dataset / f"{version}.origin"

    def _write_receipt(self, receipt: Receipt) -> None:
        path = self.layout.receipt(receipt.dataset, receipt.version)
        make_directory(path.parent)
        write_receipt(path, receipt, self._program_version)

    def _discarded(self, dataset: str, version: str) -> Path:
        return self.layout.tree(dataset, f".discarded-{version}")

    def _sync(self, dataset: str, tree: Path) -> None:
        """Make a tree durable, with its manifest and all names on the way to both."""
        layout = self.layout
        parents = (layout.manifests, layout.receipts, layout.store)
        sync_tree(tree, *(each / dataset for each in parents), *parents, tree.parent, layout.private, layout.root)

    def _change_places(self, dataset: str, staged: Path, old: Path, tree: Path) -> None:
        """Put a staged tree where a wrong one is, which then goes.

        In one step where the system can; otherwise there is a moment with neither. What a death leaves in staging is complete
        until it is in its place, and taken up from there.
        """
        self._sync(dataset, staged)
        discarded = tree.with_name(f".discarded-{tree.name}")
        try:
            gone = self._swap(staged, old, discarded)
        except OSError as error:
            if error.errno != errno.EXDEV:
                with disk_errors(f"putting {old} in its place"):
                    raise
            incoming = tree.with_name(f".incoming-{tree.name}")
            remove_tree(incoming)
            try:
                self._copy_tree(staged, incoming)
                self._sync(dataset, incoming)
                with disk_errors(f"putting {old} in its place"):
                    gone = self._swap(incoming, old, discarded)
            except ProvisionerError:
                # Half a copy would keep the other data sets out, and the next attempt makes it anew.
                remove_tree(incoming)
                raise
            remove_tree(staged)
        fsync_directory(old.parent)
        remove_tree(gone)

    @staticmethod
    def _swap(new: Path, old: Path, discarded: Path) -> Path:
        """Let a tree take another one's place; give where the other is now.

        Raises:
            OSError: as the system gives it; the old tree is where it was.
        """
        if exchange(new, old):
            return new
        remove_tree(discarded)
        os.rename(old, discarded)
        try:
            os.rename(new, old)
        except OSError:
            os.rename(discarded, old)
            raise
        return discarded

    def _move_in(self, staged: Path, tree: Path) -> None:
        try:
            os.rename(staged, tree)
            return
        except OSError as error:
            if error.errno != errno.EXDEV:
                with disk_errors(f"putting {tree} in its place"):
                    raise
        # Staging is on another device: copy beside the final place, then rename.
        incoming = tree.with_name(f".incoming-{tree.name}")
        remove_tree(incoming)
        try:
            self._copy_tree(staged, incoming)
            with disk_errors(f"putting {tree} in its place"):
                os.rename(incoming, tree)
        except ProvisionerError:
            # Half a copy would keep the other data sets out, and the next attempt makes it anew.
            remove_tree(incoming)
            raise
        remove_tree(staged)

    def _copy_tree(self, source: Path, target: Path) -> None:
        make_directory(target)
        with disk_errors(f"listing {source}"), os.scandir(source) as entries:
            for entry in entries:
                self._check_cancelled()
                if entry.is_dir(follow_symlinks=False):
                    self._copy_tree(source / entry.name, target / entry.name)
                else:
                    link_or_copy(source / entry.name, target / entry.name)

    def _place(self, dataset: str, version: str) -> None:
        """Switch what the app sees. With links a reader sees the old tree or the new, never neither."""
        make_directory(self.layout.datasets)
        with disk_errors(f"publishing {dataset}"):
            if self._form_wanted(dataset) == "link" and self._place_link(dataset, version):
                return
            self._place_directory(dataset, version)

    def _place_link(self, dataset: str, version: str) -> bool:
        place, target = self.layout.published(dataset), self.layout.link_target(dataset, version)
        fresh = place.with_name(f".{dataset}.new")
        with contextlib.suppress(FileNotFoundError):
            fresh.unlink()
        try:
            fresh.symlink_to(target, target_is_directory=True)
        except OSError as error:
            if error.errno in _NO_LINKS:
                _LOGGER.info("This volume has no symbolic links: datasets/%s becomes the folder itself", dataset)
                return False
            raise
        if self._form(dataset)[0] == "none" and _is_directory(place):
            place.rmdir()  # empty, or it would be foreign
        os.replace(fresh, place)
        fsync_directory(place.parent)
        if not place.is_dir():
            raise VolumeError(
                f"{place} does not lead to {self.layout.tree(dataset, version)}: {self.layout.datasets} is itself a link",
                hint="Make it a plain folder of the volume, or set PUBLISH=dir.",
            )
        return True

    def _place_directory(self, dataset: str, version: str) -> None:
        place = self.layout.published(dataset)
        form, current = self._form(dataset)
        if form == "dir" and current == version:
            if not _is_directory(self.layout.tree(dataset, version)):
                return
            # What is there has no receipt, or it would not have been made again. It goes in one step, not file by file.
            gone = self._swap(self.layout.tree(dataset, version), place, self._discarded(dataset, version))
            fsync_directory(place.parent)
            remove_tree(gone)
            return
        make_directory(self.layout.receipts / dataset)
        if form == "link":
            place.unlink()
        elif form == "dir" and current:
            os.rename(place, self.layout.tree(dataset, current))
        elif _is_directory(place):
            place.rmdir()
        # Before the rename: a death in between leaves the tree in the store, where it is found.
        write_atomic(self.layout.current(dataset), version.encode())
        os.rename(self.layout.tree(dataset, version), place)
        fsync_directory(place.parent)


def _names(directory: Path) -> Iterator[str]:
    try:
        yield from sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        with disk_errors(f"listing {directory}"):
            raise error from None


def _stems(directory: Path) -> Iterator[str]:
    """Return the names in a directory that end in ``.json``, without it."""
    for name in _names(directory):
        stem, suffix = os.path.splitext(name)
        if suffix == ".json":
            yield stem


def _is_directory(path: Path) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False
