"""Where symbolic links may point: nowhere outside the directory that their archive is unpacked into.

Links are followed by name and not on the disk: when they are judged, they are not made yet, and what they point to may be
missing. They are judged together, at the end, because one link may lead through another that comes later.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from provisioner.volume.archive.errors import quoted, unsafe_member

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provisioner.volume.archive.duplicates import TreeContents
    from provisioner.volume.store.entry import Entry

_MAX_LINKS_FOLLOWED: Final = 40
"""Links that a link may lead through: as many as Linux follows."""


class ArchiveLinks:
    """The symbolic links of one archive, which are to be made in the end."""

    def __init__(self, archive: str, into: str, contents: TreeContents) -> None:
        """Start without any link.

        Args:
            archive: its name, for messages.
            into: the directory within the data set that links must stay in, or empty.
            contents: what is in the tree, the links of earlier artifacts included.
        """
        self._archive = archive
        self._depth = len(into.split("/")) if into else 0
        self._contents = contents
        self._links: dict[str, Entry] = {}

    def add(self, entry: Entry) -> None:
        """Add a link."""
        self._links[self._contents.key(entry.path)] = entry

    def take_all(self) -> Iterator[Entry]:
        """Check all links, and then yield and forget them.

        Raises:
            UnsafeArchiveError: a link leaves the directory that the archive is unpacked into, or goes round in a circle.
        """
        for entry in self._links.values():
            self._check(entry)
        yield from self._links.values()
        self._links.clear()

    def _check(self, entry: Entry) -> None:
        """Follow a link through the other links of the data set, as the kernel would."""
        target = entry.target
        if not target or "\0" in target:
            raise self._refused(entry, f"is a link to {quoted(target)}")
        directory = entry.path.split("/")[:-1]
        remaining = self._steps(entry, entry)
        followed = 0
        while remaining:
            step = remaining.pop()
            if step == "..":
                if len(directory) <= self._depth:
                    raise self._refused(entry, f"is a link out of its directory, to {quoted(target)}")
                directory.pop()
                continue
            path = "/".join([*directory, step])
            link = self._links.get(self._contents.key(path)) or self._contents.existing(path)
            if link is None or link.kind != "link":
                directory.append(step)
                continue
            followed += 1
            if followed > _MAX_LINKS_FOLLOWED:
                raise self._refused(
                    entry, f"is a link, to {quoted(target)}, that leads through more than {_MAX_LINKS_FOLLOWED} others"
                )
            remaining += self._steps(link, entry)

    def _steps(self, link: Entry, entry: Entry) -> list[str]:
        """Return the parts of a link's target, in reverse order; ``entry`` is the link that is being checked."""
        target = link.target
        if target.startswith("/") or (os.name == "nt" and (":" in target or "\\" in target)):
            raise self._refused(entry, f"is a link to the absolute path {quoted(target)}")
        return [step for step in reversed(target.split("/")) if step not in {"", "."}]

    def _refused(self, entry: Entry, reason: str) -> Exception:
        return unsafe_member(self._archive, entry.path, reason)
