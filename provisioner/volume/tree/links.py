"""The rule for targets of symbolic links: never outside the tree that they are in.

A link is followed by name through the other links of the tree: those that will be created, and then those on the disk, where
the file system may treat several names as the same.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

from provisioner.errors import UnsafeArchiveError
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.tree.reader import TreeReader
from provisioner.volume.tree.writer import TreeWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


class TreeLink(NamedTuple):
    """One symbolic link that a tree will have."""

    target: str
    """The text of the link."""
    origin: str
    """Its origin, for messages: an archive, or a data set."""
    depth: int = 0
    """Depth below the tree's root of the directory that it must not leave."""


_MAX_LINKS_FOLLOWED: Final = 40
"""Links that a link may lead through; the limit on Linux."""
_HINT: Final = (
    "No data set that we know needs this. Do not unpack its archives by hand either before you know where they are from."
)


def link_problem(path: str, target: str, target_of: Callable[[str], str | None], *, depth: int = 0) -> str:
    """Return what is wrong with a symbolic link, as the predicate of a sentence; empty if it stays inside.

    Args:
        path: of the link, relative to the tree's root.
        target: its text.
        target_of: returns the target of the link at a path, or ``None`` if there is no link.
        depth: depth below the root of the directory that it must not leave.
    """
    if not target or "\0" in target:
        return f"is a link to {target!r:.200}"
    directory = path.split("/")[:-1]
    remaining: list[str] = []
    followed = 0
    text: str | None = target
    while True:
        if text is not None:
            if text.startswith("/") or (os.name == "nt" and (":" in text or "\\" in text)):
                return f"is a link to the absolute path {text!r:.200}"
            remaining += [step for step in reversed(text.split("/")) if step not in {"", "."}]
        if not remaining:
            return ""
        step = remaining.pop()
        text = None
        if step == "..":
            if len(directory) <= depth:
                return f"is a link out of its directory, to {target!r:.200}"
            directory.pop()
            continue
        directory.append(step)
        text = target_of("/".join(directory))
        if text is not None:
            directory.pop()
            followed += 1
            if followed > _MAX_LINKS_FOLLOWED:
                return f"is a link, to {target!r:.200}, that leads through more than {_MAX_LINKS_FOLLOWED} others"


def check_links(links: Mapping[str, TreeLink]) -> None:
    """Check all links of a tree against each other, before any of them is created.

    Args:
        links: all links, by path.

    Raises:
        UnsafeArchiveError: one of them leaves its directory, or is part of a cycle.
    """

    def target_of(path: str) -> str | None:
        link = links.get(path)
        return link.target if link is not None else None

    for path, link in links.items():
        if problem := link_problem(path, link.target, target_of, depth=link.depth):
            raise _refused(link, path, problem)


def check_links_on_disk(tree: Path, links: Mapping[str, TreeLink]) -> None:
    """Check all links of a tree as they are on the disk, which may treat names as the same that differ in a manifest.

    Raises:
        UnsafeArchiveError: one of them leaves its directory; it is on the disk.
        VolumeError: the tree cannot be opened.
    """
    if not links:
        return
    with disk_errors("looking at links", tree), TreeReader(tree) as reader:
        for path, link in links.items():
            if problem := link_problem(path, link.target, reader.link_target, depth=link.depth):
                raise _refused(link, path, f"{problem}, on this file system")


def make_links(tree: Path, links: Mapping[str, TreeLink]) -> None:
    """Check and create all links of a tree, when everything else in it is there.

    Raises:
        UnsafeArchiveError: one of them leaves its directory, or is part of a cycle; none was created.
        VolumeError: the disk refused.
    """
    check_links(links)
    if not links:
        return
    with disk_errors("making links", tree), TreeWriter(tree) as writer:
        for path, link in links.items():
            with disk_errors(f"making the link {path!r:.200} of {link.origin}", tree):
                writer.directory(path.rpartition("/")[0])
                writer.symlink(path, link.target)
        try:
            check_links_on_disk(tree, links)
        except UnsafeArchiveError:
            for path in links:
                writer.remove(path)
            raise


def _refused(link: TreeLink, path: str, problem: str) -> UnsafeArchiveError:
    return UnsafeArchiveError(f"{link.origin}: member {path!r:.200} {problem}", hint=_HINT)
