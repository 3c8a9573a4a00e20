"""The symbolic links of one archive: none may leave the directory that the archive is unpacked into.

They are checked together, at the archive's end, because one link may lead through another that comes later. So a bad archive
is refused early; all links of the data set are checked again when its tree is complete (:mod:`..tree.links`).
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from provisioner.volume.archive.errors import unsafe_member
from provisioner.volume.tree.links import link_problem

if TYPE_CHECKING:
    from provisioner.volume.archive.duplicates import TreeContents
    from provisioner.volume.store.entry import Entry


class _UndecidedError(Exception):
    """A link leads through a name that is not in this archive, and that another archive may turn into a link."""


class ArchiveLinks:
    """The symbolic links of one archive, which are created when the whole tree is complete."""

    def __init__(self, archive: str, into: str, contents: TreeContents) -> None:
        """Start without any link.

        Args:
            archive: its name, for messages.
            into: the directory within the data set that links must not leave, or empty.
            contents: what is in the tree, including the links of earlier artifacts.
        """
        self._archive = archive
        self._depth = into.count("/") + 1 if into else 0
        self._contents = contents
        self._links: dict[str, str] = {}

    def add(self, entry: Entry) -> None:
        """Add a link."""
        self._links[entry.path] = entry.target

    def remove(self, path: str) -> None:
        """Forget the link at ``path``, if there is one, since something else takes its place."""
        self._links.pop(path, None)

    def check(self) -> None:
        """Check all links.

        Raises:
            UnsafeArchiveError: a link leaves the directory that the archive is unpacked into, or goes round in a circle.
        """
        for path, target in self._links.items():
            with contextlib.suppress(_UndecidedError):
                if problem := link_problem(path, target, self._target_of, depth=self._depth):
                    raise unsafe_member(self._archive, path, problem)

    def _target_of(self, path: str) -> str | None:
        entry = self._contents.at(path)
        if entry is None:
            raise _UndecidedError
        return entry.target if entry.kind == "link" else None
