"""Which paths of a tree are taken while it is being filled, and by what."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provisioner.volume.store.entry import Entry


class TakenPaths:
    """The paths that some artifacts have put into a tree, or will put there; not safe for several threads."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        """Begin with ``entries``."""
        self.entries: dict[str, Entry] = {}
        """Files and links, by path."""
        self.planned: dict[str, str] = {}
        """Paths of files that are still to come, whatever their content, with the names of the artifacts that bring them."""
        self.directories: dict[str, str] = {}
        """Every directory, with a path that requires it: one in it, or its own if it is empty."""
        for entry in entries:
            self.add(entry)

    def add(self, entry: Entry) -> None:
        """Record a file, a link or an empty directory."""
        if entry.kind == "folder":
            self._add_directories(entry.path, entry.path)
            return
        self.entries[entry.path] = entry
        self._add_directories(entry.path.rpartition("/")[0], entry.path)

    def plan(self, path: str, name: str) -> None:
        """Record a file that is still to come."""
        self.planned[path] = name
        self._add_directories(path.rpartition("/")[0], path)

    def update(self, other: TakenPaths) -> None:
        """Record all that ``other`` has."""
        self.entries.update(other.entries)
        self.planned.update(other.planned)
        self.directories.update(other.directories)

    def above(self, path: str) -> str | None:
        """Return the path of a present or future file or link where ``path`` needs a directory; ``None`` if there is none."""
        directory = path.rpartition("/")[0]
        while directory and directory not in self.directories:
            if directory in self.entries or directory in self.planned:
                return directory
            directory = directory.rpartition("/")[0]
        return None

    def what_is_at(self, path: str) -> str:
        """Return what is, or will be, at a taken path, for messages."""
        if (entry := self.entries.get(path)) is not None:
            return "a link" if entry.kind == "link" else "a file"
        if (name := self.planned.get(path)) is not None:
            return f"the file {name}"
        return "a directory"

    def _add_directories(self, directory: str, needed_by: str) -> None:
        while directory and directory not in self.directories:
            self.directories[directory] = needed_by
            directory = directory.rpartition("/")[0]
