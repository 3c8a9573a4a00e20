"""Unpacking in tests: by default into an empty tree, without cancellation, progress or a limit of bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.volume.archive.limits import MAX_MEMBERS, Limits
from provisioner.volume.archive.unpack import Unpacked, UnpackTarget, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
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
    artifact: str = "",
    check_cancelled: Callable[[], None] = nothing,
    advance: Callable[[int], None] = nothing,
    max_bytes: int | None = None,
    max_members: int = MAX_MEMBERS,
    proven: bool = False,
) -> Unpacked:
    """Unpack ``archive`` into ``root/into`` and return what came out."""
    target = UnpackTarget(root, into, existing or {}, artifact, proven)
    limits = Limits(max_bytes, max_members)
    return unpack(archive, form, target, check_cancelled=check_cancelled, advance=advance, limits=limits)
