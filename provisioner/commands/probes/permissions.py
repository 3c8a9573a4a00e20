"""Check that this user may write where a run writes: on a volume begun by another user, some of it may not be writable."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from provisioner.errors import VolumeError, VolumeNotWritableError
from provisioner.volume.store.layout import directory_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from provisioner.planning.model import Plan
    from provisioner.volume.store.layout import VolumeLayout


def try_permissions(layout: VolumeLayout, plan: Plan | None) -> str:
    """Return a text if everything that a run writes is writable.

    Args:
        layout: the volume's paths.
        plan: what a run would do, or ``None`` if that is not known.

    Raises:
        VolumeNotWritableError: something is not writable.
        VolumeError: something else is in its place.
    """
    for directory in _directories(layout, plan):
        if os.path.lexists(directory):
            _check_directory(directory)
    for file in (layout.status, layout.environment, layout.attribution, layout.lock):
        if file.is_dir():
            raise VolumeError(f"{file} is a directory, where a file is to be written", hint="Move it away.")
    if layout.lock.exists() and not os.access(layout.lock, os.R_OK | os.W_OK):
        raise _closed(layout.lock)
    return "what is there already may be changed"


def _directories(layout: VolumeLayout, plan: Plan | None) -> Iterator[Path]:
    above = (layout.store, layout.manifests, layout.receipts, layout.staged_trees)
    yield from (layout.private, layout.datasets, layout.staging, layout.blobs, *above)
    for step in plan.work if plan else ():
        yield from (directory / directory_name(step.id) for directory in above)


def _check_directory(directory: Path) -> None:
    if not directory.is_dir():
        raise VolumeError(f"{directory} is there, and is no directory", hint="Move it away.")
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        raise _closed(directory)


def _closed(path: Path) -> VolumeNotWritableError:
    uid = os.geteuid() if hasattr(os, "geteuid") else "?"
    return VolumeNotWritableError(
        f"{path} may not be written by this user (uid {uid})",
        hint=f"Give the volume to this user: 'chown -R {uid}:0 DIR && chmod -R g+rwX DIR' on the host.",
    )
