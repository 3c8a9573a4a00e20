"""A copy of a whole tree on another file system."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.volume.fs.directories import make_directory
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.tree.links import TreeLink, check_links_on_disk
from provisioner.volume.tree.reader import TreeReader
from provisioner.volume.tree.writer import TreeWriter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def copy_tree(source: Path, target: Path, check_cancelled: Callable[[], None]) -> None:
    """Copy a tree to an unused path; links are copied last, and as links.

    Args:
        source: the tree.
        target: its copy.
        check_cancelled: called for every name; raises to end the work.

    Raises:
        VolumeError: the volume failed, or takes two of the names for the same; a part of the copy may be there.
        UnsafeArchiveError: a link leads out of the copy, although it did not lead out of the original tree.
    """
    make_directory(target)
    links: dict[str, TreeLink] = {}
    with disk_errors(f"copying {source} to {target}", target), TreeReader(source) as reader, TreeWriter(target) as writer:
        for path, kind in reader.names(check_cancelled):
            if kind == "folder":
                writer.directory(path)
            elif kind == "link":
                links[path] = TreeLink(reader.link_target(path) or "", source.name)
            else:
                writer.link_from(reader, path, path)
        for path, link in links.items():
            writer.symlink(path, link.target)
    check_links_on_disk(target, links)
