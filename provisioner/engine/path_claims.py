"""Which paths of a staged tree are taken, and by which part of the data set.

Two parts of a data set may share a path only if both have the same file there, and none may put anything below
another's file or link.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from provisioner.errors import IntegrityError
from provisioner.volume.tree.taken import TakenPaths

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provisioner.catalog.artifact import Artifact
    from provisioner.volume.store.entry import Entry

_HINT = "The two do not belong in one directory: give one of them its own with `into`."


class PathClaims:
    """The files and links of a staged tree, by path; safe for several threads.

    The record is kept in two halves. An archive that is being unpacked reads the first one without a lock, so that half
    must not change meanwhile; plain files that arrive at that time are claimed in the second one.
    """

    def __init__(self, label: str) -> None:
        """Start without claims.

        Args:
            label: names the data set in messages.
        """
        self._label = label
        self._lock = threading.Lock()
        self._settled = TakenPaths()
        self._recent = TakenPaths()

    def clear(self) -> None:
        """Forget all claims, and free their memory: they are as large as the manifest."""
        with self._lock:
            self._settled, self._recent = TakenPaths(), TakenPaths()

    def plan(self, artifacts: Iterable[Artifact]) -> None:
        """Record where plain files will be, so that an archive which needs one of these paths is refused at once.

        Raises:
            IntegrityError: one of them is below another, or below something that is already there, or has a directory's
                path.
        """
        with self._lock:
            for artifact in artifacts:
                self._check_place(artifact.path, f"the file {artifact.name}")
                self._settled.plan(artifact.path, artifact.name)

    def claim(self, entry: Entry) -> bool:
        """Claim the path of a plain file.

        Returns:
            Whether the file must be written; ``False`` if the same file is there already.

        Raises:
            IntegrityError: something else is at its path, or in the way to it.
        """
        with self._lock:
            known = self._settled.entries.get(entry.path) or self._recent.entries.get(entry.path)
            if known is None:
                self._check_place(entry.path, "a file")
                self._recent.add(entry)
                return True
        self._compare(entry, known)
        return False

    def add(self, entries: Iterable[Entry]) -> None:
        """Record what an archive or an earlier run has put into the tree.

        Raises:
            IntegrityError: something else has one of the paths, or is in the way to it.
        """
        with self._lock:
            for entry in entries:
                path = entry.path
                known = self._settled.entries.get(path) or self._recent.entries.get(path)
                if known is not None:
                    self._compare(entry, known)
                    continue
                if entry.kind == "folder":
                    # A directory that holds something is not an empty directory of the whole tree.
                    self._check_above(path, "a directory")
                else:
                    self._check_place(path, "a link" if entry.kind == "link" else "a file")
                self._settled.add(entry)

    def settle(self) -> TakenPaths:
        """Return all claims so far; they do not change before the next call of :meth:`add` or :meth:`settle`."""
        with self._lock:
            if self._recent.entries:
                self._settled.update(self._recent)
                self._recent = TakenPaths()
            return self._settled

    def _check_place(self, path: str, what: str) -> None:
        """Check that a path for a file or link has nothing below it, and no file or link above it."""
        for taken in (self._settled, self._recent):
            if (below := taken.directories.get(path)) is not None:
                raise IntegrityError(
                    f"{self._label}: {path!r:.200} is {what}, and another part of the data set has a directory there"
                    f" (for {below!r:.200}); nothing was published",
                    hint=_HINT,
                )
        self._check_above(path, what)

    def _check_above(self, path: str, what: str) -> None:
        for taken in (self._settled, self._recent):
            if (above := taken.above(path)) is not None:
                raise IntegrityError(
                    f"{self._label}: {path!r:.200} is {what}, and another part of the data set has {taken.what_is_at(above)}"
                    f" at {above!r:.200}; nothing was published",
                    hint=_HINT,
                )

    def _compare(self, entry: Entry, known: Entry) -> None:
        if (known.kind, known.size, known.sha256, known.target) != (entry.kind, entry.size, entry.sha256, entry.target):
            raise IntegrityError(
                f"{self._label}: {entry.path!r} is a {entry.kind} of {entry.size:,} bytes, sha256 {entry.sha256},"
                f" and another part of the data set has something else there; nothing was published",
                hint=_HINT,
            )
