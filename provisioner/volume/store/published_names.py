"""The published names of data sets, ``datasets/ID``, which the app reads: a link to one version's tree, or the tree itself.

Links are preferred, because switching one is a single step. Directories are used if the volume has no links or the user wants
none; a small file beside the receipts then names the version of the directory.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from provisioner.errors import ProvisionerError, VolumeError
from provisioner.volume.fs.atomic import temporary_name, write_atomic
from provisioner.volume.fs.directories import make_directory, make_plain_directory
from provisioner.volume.fs.durable import fsync_directory
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.fs.files import read_file
from provisioner.volume.fs.remove import remove_leftover, remove_tree
from provisioner.volume.store.listing import is_directory, is_version, names_in
from provisioner.volume.store.tree_moves import swap_trees

if TYPE_CHECKING:
    from pathlib import Path

    from provisioner.volume.store.index_files import IndexFiles
    from provisioner.volume.store.layout import VolumeLayout

PublishMode = Literal["link", "dir"]

_LOGGER = logging.getLogger(__name__)
_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EACCES})


@dataclass(frozen=True, slots=True)
class PublishedName:
    """The state of one data set's published name."""

    form: Literal["none", "link", "dir", "foreign"]
    """``foreign``: something that the provisioner did not put there."""
    version: str | None = None
    """The version that a link or directory shows."""


class PublishedNames:
    """The published names of all data sets on a volume."""

    def __init__(self, layout: VolumeLayout, mode: PublishMode, indexes: IndexFiles) -> None:
        """Remember the paths and the wanted form; nothing is read yet.

        Args:
            layout: where everything is.
            mode: whether the app gets a link or the tree itself.
            indexes: the indexes of published data sets.
        """
        self._indexes = indexes
        self._layout = layout
        self._mode = mode

    def look(self, dataset: str) -> PublishedName:
        """Return what is at a data set's published name.

        Raises:
            VolumeError: the volume cannot be read.
        """
        path = self._layout.published(dataset)
        if "/" in dataset and (found := self._look_above(path)) is not None:
            return found
        try:
            facts = os.lstat(path)
        except OSError:
            return PublishedName("none")
        if stat.S_ISLNK(facts.st_mode):
            target = os.readlink(path).replace(os.sep, "/")
            version = target.rsplit("/", 1)[-1]
            # Recognised by its text, whether or not the tree still exists: a dangling link of ours may be replaced.
            is_ours = target == self._layout.link_target(dataset, version)
            return PublishedName("link", version) if is_ours else PublishedName("foreign")
        if not stat.S_ISDIR(facts.st_mode):
            return PublishedName("foreign")
        with contextlib.suppress(OSError, UnicodeDecodeError):
            version = read_file(self._layout.version_of_directory(dataset)).decode("ascii").strip()
            # The version becomes part of a path, so any other text is ignored.
            if is_version(version):
                return PublishedName("dir", version)
        # An empty directory holds nothing that could be lost.
        return PublishedName("foreign" if next(names_in(path), None) else "none")

    def _look_above(self, path: Path) -> PublishedName | None:
        """Return what is in the way of a nested name; ``None`` if all directories above it are plain ones.

        A link among them would lead to another data set's tree, or to somebody else's directory. A directory among them may
        itself be another data set's tree.
        """
        for directory in reversed(path.relative_to(self._layout.datasets).parents[:-1]):
            above = self._layout.datasets / directory
            if not os.path.lexists(above):
                return PublishedName("none")
            if not is_directory(above) or self._layout.version_of_directory(directory.as_posix()).exists():
                return PublishedName("foreign")
        return None

    def version(self, dataset: str) -> str | None:
        """Return the version that the app reads, with or without a receipt, or ``None`` if there is none.

        Raises:
            VolumeError: the volume cannot be read.
        """
        name = self.look(dataset)
        return name.version if name.form in {"link", "dir"} and self._layout.published(dataset).is_dir() else None

    def version_in_wanted_form(self, dataset: str) -> str | None:
        """Return the version that the app reads, if it is published in the form that is wanted now.

        Raises:
            VolumeError: the volume cannot be read.
        """
        return self.version(dataset) if self.look(dataset).form == self.wanted_form(dataset) else None

    def switched_at(self, dataset: str) -> float | None:
        """Return when the app's version of a data set was last switched, in seconds since the epoch; ``None`` if never.

        A link, or the file that names the version of a directory, is rewritten at each switch and at no other time.

        Raises:
            VolumeError: the volume cannot be read.
        """
        form = self.look(dataset).form
        if form not in {"link", "dir"}:
            return None
        path = self._layout.published(dataset) if form == "link" else self._layout.version_of_directory(dataset)
        with disk_errors(f"reading {path}"):
            return os.lstat(path).st_mtime

    def is_not_ours(self, dataset: str) -> bool:
        """Return whether a data set's published name is taken by something that the provisioner did not put there.

        Raises:
            VolumeError: the volume cannot be read.
        """
        return self.look(dataset).form == "foreign"

    def wanted_form(self, dataset: str) -> PublishMode:
        """Return ``link``, unless directories are wanted or an earlier run found that this volume has no links."""
        return "dir" if self._mode == "dir" or self._layout.version_of_directory(dataset).exists() else "link"

    def switch(self, dataset: str, version: str) -> None:
        """Let the app read a version whose tree is complete.

        With links, a reader always finds either the old tree or the new one.

        Raises:
            VolumeError: the volume failed.
        """
        make_directory(self._layout.datasets)
        try:
            self._indexes.remove_other(dataset, version)
        except ProvisionerError as error:
            _LOGGER.warning("%s: its old index stays until the next run: %s", dataset, error.message)
        with disk_errors(f"publishing {dataset}"):
            self._make_parents(dataset)
            if self.wanted_form(dataset) == "link" and self._switch_link(dataset, version):
                return
            self._switch_directory(dataset, version)

    def _make_parents(self, dataset: str) -> None:
        """Create the directories between ``datasets`` and a published name, none of which may be a link."""
        for directory in reversed(self._layout.published(dataset).relative_to(self._layout.datasets).parents[:-1]):
            above = self._layout.datasets / directory
            if not is_directory(above):
                make_plain_directory(above)
                fsync_directory(above.parent)

    def _remove_parents(self, dataset: str) -> None:
        """Remove the directories between ``datasets`` and a published name, if they are empty."""
        for directory in self._layout.published(dataset).relative_to(self._layout.datasets).parents[:-1]:
            with contextlib.suppress(OSError):
                (self._layout.datasets / directory).rmdir()

    def remove(self, dataset: str) -> None:
        """Remove the published name of a data set; all its versions stay on the volume.

        Raises:
            VolumeError: the volume failed.
        """
        path = self._layout.published(dataset)
        name = self.look(dataset)
        with disk_errors(f"removing {path}"):
            if name.form == "link":
                path.unlink()
                fsync_directory(path.parent)
            elif name.form == "dir" and name.version:
                tree = self._layout.tree(dataset, name.version)
                make_plain_directory(tree.parent)
                remove_tree(tree)
                os.rename(path, tree)
                fsync_directory(path.parent)
            self._layout.version_of_directory(dataset).unlink(missing_ok=True)
        self._remove_parents(dataset)

    def _switch_link(self, dataset: str, version: str) -> bool:
        """Replace the link in one step; return ``False`` if this volume has no links."""
        path, target = self._layout.published(dataset), self._layout.link_target(dataset, version)
        if self.look(dataset).form == "none" and is_directory(path):
            path.rmdir()  # it is empty; otherwise it would be foreign
        try:
            # Only a link that replaces another one is first created under a temporary name.
            new = path.with_name(temporary_name()) if os.path.lexists(path) else path
            new.symlink_to(target, target_is_directory=True)
        except OSError as error:
            if error.errno in _NO_LINKS:
                _LOGGER.info("This volume has no symbolic links: datasets/%s becomes the directory itself", dataset)
                return False
            raise
        if new != path:
            try:
                os.replace(new, path)
            except OSError:
                new.unlink()
                raise
        fsync_directory(path.parent)
        if not path.is_dir():
            raise VolumeError(
                f"{path} does not lead to {self._layout.tree(dataset, version)}: {self._layout.datasets} is itself a link",
                hint="Make it a plain directory of the volume, or set PUBLISH=dir.",
            )
        return True

    def _switch_directory(self, dataset: str, version: str) -> None:
        """Move the published tree back to the store, and the other one out of it."""
        path, tree = self._layout.published(dataset), self._layout.tree(dataset, version)
        name = self.look(dataset)
        if name.form == "dir" and name.version == version:
            if not is_directory(tree):
                return
            # The published tree has no receipt, or it would not have been built again. It is removed in one step, not file by
            # file.
            gone = swap_trees(tree, path, self._layout.discarded(dataset, version))
            fsync_directory(path.parent)
            remove_leftover(gone)
            return
        make_plain_directory(self._layout.receipts_of(dataset))
        if name.form == "link":
            path.unlink()
        elif name.form == "dir" and name.version:
            os.rename(path, self._layout.tree(dataset, name.version))
        elif is_directory(path):
            path.rmdir()
        # Written before the rename: a death in between leaves the tree in the store, where it is found.
        write_atomic(self._layout.version_of_directory(dataset), version.encode())
        os.rename(tree, path)
        fsync_directory(path.parent)
