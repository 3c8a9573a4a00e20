"""The part of a plan's downloads that an earlier run left in staging. Nothing is hashed: the numbers are only informative."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from provisioner.volume.staging.leftover import leftover_bytes

if TYPE_CHECKING:
    from provisioner.catalog.artifact import Artifact
    from provisioner.planning.model import Plan, Step
    from provisioner.volume.store.layout import VolumeLayout


def with_staged_bytes(plan: Plan, layout: VolumeLayout) -> Plan:
    """Return the plan with the number of staged bytes in each step that fetches."""
    if not layout.staging.is_dir():
        return plan
    steps = tuple(
        replace(step, staged_bytes=_staged_bytes(step, layout)) if step.action == "fetch" else step for step in plan.steps
    )
    return replace(plan, steps=steps)


def _staged_bytes(step: Step, layout: VolumeLayout) -> int:
    if step.download is None:
        return 0
    artifacts = step.recipe.artifacts
    if artifacts is None:
        # The file names of a repository are not known yet, but everything in its tree was fetched.
        found = _bytes_of_files(layout.staged_tree(step.id, step.recipe.version))
    else:
        found = sum(_held(artifact, step, layout) for artifact in artifacts)
    return min(found, step.download.value)


def _held(artifact: Artifact, step: Step, layout: VolumeLayout) -> int:
    """Return how many bytes of an artifact are here: unpacked, moved into the tree, or partly fetched."""
    size = artifact.exact_size
    if size is not None:
        records = layout.staged_parts(step.id, step.recipe.version)
        if any((records / f"{artifact.content_id}{end}.json").is_file() for end in ("", "-shared")):
            return size
        if artifact.unpack == "none" and _size_of(layout, step, artifact) == size:
            return size
    return min(leftover_bytes(layout.blobs, artifact), size if size is not None else artifact.size.value if artifact.size else 0)


def _bytes_of_files(directory: Path) -> int:
    total = 0
    for place, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(OSError):
                total += Path(place, name).lstat().st_size
    return total


def _size_of(layout: VolumeLayout, step: Step, artifact: Artifact) -> int | None:
    try:
        return (layout.staged_tree(step.id, step.recipe.version) / artifact.path).stat(follow_symlinks=False).st_size
    except (OSError, ValueError):
        return None
