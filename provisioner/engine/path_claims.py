"""Which paths of a staged tree are taken, and by what: parts of a data set may share a path only with the same file at it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from provisioner.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from provisioner.volume.store.entry import Entry


class PathClaims:
    """The files and links of a staged tree by their path; safe for several threads.

    The record is kept in two halves. An archive that is being unpacked reads the first one without a lock, so it must not
    change meanwhile; plain files that arrive at that time are claimed in the second one.
    """

    def __init__(self, label: str) -> None:
        """Start without claims.

        Args:
            label: names the data set in messages.
        """
        self._label = label
        self._lock = threading.Lock()
        self._settled: dict[str, Entry] = {}
        self._recent: dict[str, Entry] = {}

    def clear(self) -> None:
        """Forget all claims, and free their memory: they are as large as the manifest."""
        with self._lock:
            self._settled, self._recent = {}, {}

    def claim(self, entry: Entry) -> bool:
        """Claim the path of a plain file.

        Returns:
            Whether the file must be written; ``False``: the same file is there already.

        Raises:
            IntegrityError: something else is at its path.
        """
        with self._lock:
            known = self._settled.get(entry.path) or self._recent.setdefault(entry.path, entry)
        if known is entry:
            return True
        self._compare(entry, known)
        return False

    def add(self, entries: Iterable[Entry]) -> None:
        """Record what an archive or an earlier run has put into the tree.

        Raises:
            IntegrityError: a plain file that arrived meanwhile has one of the paths.
        """
        with self._lock:
            for entry in entries:
                if entry.kind == "folder":
                    continue
                if (recent := self._recent.get(entry.path)) is not None:
                    self._compare(entry, recent)
                self._settled[entry.path] = entry

    def settle(self) -> Mapping[str, Entry]:
        """Return all claims so far; the mapping does not change before the next call of :meth:`add` or :meth:`settle`."""
        with self._lock:
            self._settled.update(self._recent)
            self._recent.clear()
            return self._settled

    def _compare(self, entry: Entry, known: Entry) -> None:
        if (known.kind, known.size, known.sha256, known.target) != (entry.kind, entry.size, entry.sha256, entry.target):
            raise IntegrityError(
                f"{self._label}: {entry.path!r} is a {entry.kind} of {entry.size:,} bytes, sha256 {entry.sha256},"
                f" and another part of the data set has something else there; nothing was published",
                hint="The two do not belong in one directory: give one of them its own with `into`.",
            )
