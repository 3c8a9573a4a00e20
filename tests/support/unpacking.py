"""Helpers for unpacking in tests: by default into an empty tree, without cancellation, progress or size limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.volume.archive.limits import MAX_MEMBERS, Limits
from provisioner.volume.archive.target import Choose, Unpacked, UnpackTarget
from provisioner.volume.archive.unpack import unpack
from provisioner.volume.tree.links import TreeLink, make_links
from provisioner.volume.tree.taken import TakenPaths

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from provisioner.catalog.artifact import UnpackFormat
    from provisioner.volume.staging.incoming import Incoming
    from provisioner.volume.store.entry import Entry


def nothing(*_: object) -> None:
    """Accept anything and do nothing: a callback for tests that need none."""


def unpack_into(
    root: Path,
    archive: Incoming,
    form: UnpackFormat,
    into: str = "",
    *,
    existing: Mapping[str, Entry] | None = None,
    planned: Collection[str] = (),
    artifact: str = "",
    check_cancelled: Callable[[], None] = nothing,
    advance: Callable[[int], None] = nothing,
    max_bytes: int | None = None,
    max_members: int = MAX_MEMBERS,
    proven: bool = False,
    choose: Choose | None = None,
) -> Unpacked:
    """Unpack ``archive`` into ``root/into``, create its links as for the last archive, and return the result."""
    taken = TakenPaths((existing or {}).values())
    for path in planned:
        taken.plan(path, path)
    target = UnpackTarget(root, into, taken, artifact, proven)
    limits = Limits(max_bytes, max_members)
    done = unpack(archive, form, target, check_cancelled=check_cancelled, advance=advance, limits=limits, choose=choose)
    depth = into.count("/") + 1 if into else 0
    make_links(
        root,
        {
            entry.path: TreeLink(entry.target, archive.name, depth)
            for entry in (*(existing or {}).values(), *done.entries)
            if entry.kind == "link"
        },
    )
    return done
