"""Files that are not unpacked: each is put at its path in the staged tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.engine.staged_tree import Part, file_entry
from provisioner.volume.fs.atomic import write_new
from provisioner.volume.fs.directories import make_directory
from provisioner.volume.fs.links import share_or_copy
from provisioner.volume.fs.remove import remove_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from provisioner.catalog.artifact import Artifact
    from provisioner.engine.path_claims import PathClaims
    from provisioner.volume.staging.blob import Blob
    from provisioner.volume.staging.ranged_file import RangedFile


class PlainFiles:
    """Puts verified files into one staged tree; safe for several threads."""

    def __init__(self, tree: Path, claims: PathClaims, *, charge: Callable[[int], None]) -> None:
        """Remember the tree; nothing is written yet.

        Args:
            tree: the staged tree's directory.
            claims: which of its paths are taken.
            charge: called with the number of bytes before they are written; raises if there must not be more.
        """
        self._tree = tree
        self._claims = claims
        self._charge = charge
        self._created: set[Path] = set()

    def write(self, artifact: Artifact, data: bytes, sha256: str) -> Part:
        """Write a small file straight to its path.

        A death in the middle leaves a part of the file there; the next run finds that by its hash.

        Raises:
            IntegrityError: something else is at its path.
            VolumeError: the volume failed.
        """
        entry = file_entry(artifact, len(data), sha256)
        if self._claims.claim(entry):
            target = self._tree / artifact.path
            if target.parent not in self._created:
                make_directory(target.parent)
                self._created.add(target.parent)
            self._charge(len(data))
            write_new(target, data)
        return Part((entry,), is_whole=True)

    def move_in(
        self, artifacts: Sequence[Artifact], staged: Blob | RangedFile, size: int, sha256: str, *, keep: bool
    ) -> dict[str, Part]:
        """Move a staged file to the path of an artifact, and link or copy it to those of the others.

        Args:
            artifacts: those that have these bytes and are not unpacked; none, if only archives have them.
            staged: the verified bytes.
            size: their number.
            sha256: their SHA-256, hexadecimal.
            keep: leave the file in staging if it is not moved; otherwise remove it.

        Returns:
            The parts by content id.

        Raises:
            IntegrityError: something else is at one of the paths.
            VolumeError: the volume failed.
        """
        parts: dict[str, Part] = {}
        moved: Path | None = None
        for artifact in artifacts:
            entry = file_entry(artifact, size, sha256)
            target = self._tree / artifact.path
            if self._claims.claim(entry):
                make_directory(target.parent)
                if target.is_symlink() or target.exists():
                    remove_tree(target)  # an earlier, unfinished attempt left it
                if moved is None:
                    staged.move_to(target)
                    moved = target
                elif not share_or_copy(moved, target):
                    self._charge(size)
            parts[artifact.content_id] = Part((entry,), is_whole=True)
        if moved is None and not keep:
            staged.drop()
        return parts
