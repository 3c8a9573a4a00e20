"""The content of each path of a tree, and the rules for two members, or two archives, that have something at the same path.

The same thing twice is accepted. Two different things at one path contradict each other, which is an error, except for two
members of one archive whose bytes are proven to be the publisher's: the last one counts, as in all common readers (``tar -r``
appends a new version). A directory that holds something is never replaced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provisioner.errors import IntegrityError
from provisioner.volume.archive.errors import quoted, unsafe_member
from provisioner.volume.archive.names import colliding_names
from provisioner.volume.store.entry import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from provisioner.volume.tree.taken import TakenPaths

_DIRECTORY: Final = Entry("", "folder")
_CONFLICT_HINT: Final = "The two do not belong in one directory: give one of them its own with `into`."


class TreeContents:
    """The content that one archive has put into a tree so far, beside the content from earlier artifacts of the data set.

    Paths are looked up by their key: the path itself or, if the volume treats several names as the same, its folded form.
    """

    def __init__(self, archive: str, existing: TakenPaths, fold: Callable[[str], str] | None) -> None:
        """Start with nothing from the archive.

        Args:
            archive: its name, for messages.
            existing: what other artifacts have put there, or will put there.
            fold: maps names that the volume treats as the same to equal ones; ``None`` if it treats all as different.
        """
        self._archive = archive
        self._fold = fold
        self._added: dict[str, Entry] = {}
        self._nonempty: set[str] = set()
        self._positions: dict[str, int] = {}
        self._existing: Mapping[str, Entry] = existing.entries
        self._planned: Mapping[str, str] = existing.planned
        self._existing_directories: Mapping[str, str] = existing.directories
        self._others: dict[str, str] = {}
        """If the volume folds names: the paths of other artifacts' files, by their folded form."""
        if fold is not None:
            self._others = {fold(path): path for path in (*existing.planned, *existing.entries)}
            self._existing = {fold(path): entry for path, entry in existing.entries.items()}
            self._planned = {fold(path): name for path, name in existing.planned.items()}
            self._existing_directories = {fold(path): below for path, below in existing.directories.items()}

    def key(self, path: str) -> str:
        """Return the key by which ``path`` is looked up."""
        return path if self._fold is None else self._fold(path)

    def added(self, path: str) -> Entry | None:
        """Return the entry that this archive has put at ``path``.

        Raises:
            VolumeError: it has put something at another path that the volume treats as the same.
        """
        entry = self._added.get(self.key(path))
        if entry is not None and self._fold is not None and entry.path != path:
            raise colliding_names(self._archive, entry.path, path)
        return entry

    def existing(self, path: str) -> Entry | None:
        """Return the entry that an earlier artifact has put at ``path``.

        Raises:
            VolumeError: an artifact has a file at another path that the volume treats as the same.
        """
        key = self.key(path)
        other = self._others.get(key, path)
        if other != path:
            raise colliding_names(f"{self._archive}, together with another file of this data set,", other, path)
        return self._existing.get(key)

    def at(self, path: str) -> Entry | None:
        """Return the entry at ``path``, from any artifact; ``None`` if there is nothing, or a file that is still to come."""
        key = self.key(path)
        entry = self._added.get(key) or self._existing.get(key)
        return _DIRECTORY if entry is None and key in self._existing_directories else entry

    def add(self, path: str, entry: Entry) -> None:
        """Record what this archive has put at ``path``, or replace what was recorded."""
        self._added[self.key(path)] = entry

    def remove(self, path: str) -> None:
        """Forget what this archive has put at ``path``."""
        self._added.pop(self.key(path), None)

    def mark_nonempty(self, directory: str) -> None:
        """Record that something is in ``directory``."""
        self._nonempty.add(self.key(directory))

    def set_position(self, path: str, position: int) -> None:
        """Record the number in the archive of the first member with that path."""
        self._positions.setdefault(self.key(path), position)

    def is_last(self, path: str, position: int | None) -> bool:
        """Return whether a member comes after those of the same path so far, in the archive's order; if so, record its position.

        Args:
            path: of the member.
            position: its number in the archive; ``None`` if members come in the archive's order.
        """
        if position is None:
            return True
        key = self.key(path)
        if position < self._positions.get(key, -1):
            return False
        self._positions[key] = position
        return True

    # --- contradictions

    def check_directory(self, path: str) -> None:
        """Check that whatever other artifacts have put at ``path`` is a directory.

        Raises:
            IntegrityError: it is not.
        """
        existing = self.existing(path)
        if existing is not None:
            raise self._conflict(path, "a directory", existing)
        self._check_not_planned(path, "a directory")

    def _check_not_planned(self, path: str, here: str) -> None:
        if self._planned and (name := self._planned.get(self.key(path))) is not None:
            raise IntegrityError(
                f"{self._archive}: {quoted(path)} is {here}, and this data set has the file {quoted(name)} there",
                hint=_CONFLICT_HINT,
            )

    def check_not_directory(self, path: str) -> None:
        """Check that no other artifact has anything below ``path``.

        Raises:
            IntegrityError: one has.
        """
        if self._existing_directories and self.key(path) in self._existing_directories:
            below = self._existing_directories[self.key(path)]
            raise IntegrityError(
                f"{self._archive}: {quoted(path)} is no directory, and another file of this data set, {quoted(below)}, needs one",
                hint=_CONFLICT_HINT,
            )

    def check_same_file(self, path: str, size: int, sha256: str) -> None:
        """Check that whatever is at ``path`` is a file with that content.

        Raises:
            UnsafeArchiveError: this archive has put something else there.
            IntegrityError: an earlier artifact has.
        """
        added, existing = self.added(path), self.existing(path)
        if added is not None and (added.kind, added.size, added.sha256) != ("file", size, sha256):
            raise self._contradiction(path, added, _describe_file(size, sha256))
        if existing is not None and (existing.kind, existing.size, existing.sha256) != ("file", size, sha256):
            raise self._conflict(path, _describe_file(size, sha256), existing)

    def check_same_link(self, path: str, entry: Entry) -> None:
        """Check that whatever is at ``path`` equals ``entry``, which came from a symbolic or hard link.

        Raises:
            UnsafeArchiveError: this archive has put something else there.
            IntegrityError: an earlier artifact has.
        """
        existing = self.existing(path)
        if entry.kind == "link":
            self._check_not_planned(path, _describe(entry))
        for present in (self.added(path), existing):
            if present is None or same_thing(present, entry):
                continue
            if present is existing:
                raise self._conflict(path, _describe(entry), existing)
            raise self._contradiction(path, present, _describe(entry))

    def check_replaceable(self, path: str, added: Entry) -> None:
        """Check that this archive has not put a directory with content at ``path``.

        Raises:
            UnsafeArchiveError: it has.
            IntegrityError: another artifact has something in that directory.
        """
        if added.kind == "folder":
            self.check_not_directory(path)
            if self.key(path) in self._nonempty:
                raise self._contradiction(path, added, "something else")

    def _contradiction(self, path: str, first: Entry, second: str) -> Exception:
        return unsafe_member(self._archive, path, f"is there twice, and different: {_describe(first)}, then {second}")

    def _conflict(self, path: str, here: str, existing: Entry) -> IntegrityError:
        origin = f" from {existing.artifact}" if existing.artifact else ""
        return IntegrityError(
            f"{self._archive}: {quoted(path)} is {here}, "
            f"and an earlier file of this data set{origin} made it {_describe(existing)}",
            hint=_CONFLICT_HINT,
        )

    # --- result

    def take_all(self) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
        """Return everything that came from the archive, in its order, and forget it.

        Returns:
            Files and links, followed by empty directories; and the paths of those that earlier artifacts have put there as
            well.
        """
        self._sort()
        entries: list[Entry] = []
        empty: list[Entry] = []
        shared: list[str] = []
        for key, entry in self._added.items():
            if entry.kind == "folder":
                if key not in self._nonempty and key not in self._existing_directories and key not in self._existing:
                    empty.append(entry)
            elif key in self._existing:
                shared.append(entry.path)
            else:
                entries.append(entry)
        # Some hundred bytes per file, which are freed before the result is built.
        self._added.clear()
        entries += empty
        return tuple(entries), tuple(shared)

    def _sort(self) -> None:
        """Restore the archive's order, if its reader yielded members in another one."""
        if self._positions:
            # A directory that no member names comes first, and so before everything in it.
            self._added = dict(sorted(self._added.items(), key=lambda item: self._positions.get(item[0], -1)))
            self._positions.clear()


def same_thing(one: Entry, other: Entry) -> bool:
    """Return whether two files or links are the same, their paths aside."""
    return (one.kind, one.sha256, one.target) == (other.kind, other.sha256, other.target)


def _describe(entry: Entry) -> str:
    match entry.kind:
        case "file":
            return _describe_file(entry.size, entry.sha256)
        case "link":
            return f"a link to {quoted(entry.target)}"
        case _:
            return "a directory"


def _describe_file(size: int, sha256: str) -> str:
    return f"a file of {size} bytes, sha256 {sha256}"
