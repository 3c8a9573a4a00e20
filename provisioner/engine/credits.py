"""The attributions of the files of a version: written when it is published, for ``ATTRIBUTION.md``."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from provisioner.volume.fs.atomic import write_atomic
from provisioner.volume.fs.directories import make_directory

if TYPE_CHECKING:
    from pathlib import Path

    from provisioner.planning.recipe import Recipe
    from provisioner.volume.store.layout import VolumeLayout
    from provisioner.volume.store.manifest import Manifest

_LOGGER = logging.getLogger(__name__)


def write_credits(layout: VolumeLayout, recipe: Recipe, tree: Path, manifest: Manifest) -> None:
    """Write whom to name for each file, if files have terms of their own and only some of them are in the version.

    Args:
        layout: the volume's directories.
        recipe: of the version.
        tree: its files.
        manifest: of the version.

    Raises:
        VolumeError: the volume failed.
    """
    if recipe.rule is None or recipe.dataset.license.commercial != "mixed":
        return
    from provisioner.indexing.credits import credits_of  # noqa: PLC0415 - few data sets have them
    from provisioner.indexing.model import ReaderError  # noqa: PLC0415 - the same

    try:
        lines = list(credits_of(tree, {entry.path for entry in manifest if entry.kind == "file"}))
    except ReaderError as error:
        _LOGGER.warning("%s: ATTRIBUTION.md does not name whose files these are: %s", recipe.label, error)
        return
    path = layout.credits(recipe.dataset.id, recipe.version)
    if not lines:
        # The tables may not belong to the part. What was written when they were there is still true of this version.
        if recipe.commercial_part == "allowed" and not path.exists():
            _LOGGER.warning("%s: ATTRIBUTION.md does not name whose files these are: no table here says it", recipe.label)
        return
    make_directory(path.parent)
    write_atomic(path, "".join(f"{line}\n" for line in lines).encode("utf-8", "replace"))
