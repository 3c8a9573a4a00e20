"""Files that are not unpacked: each is put at its path in the staged tree."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

from provisioner.engine.staged_tree import Part, file_entry
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.tree.writer import TreeWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from provisioner.catalog.artifact import Artifact
    from provisioner.engine.path_claims import PathClaims
    from provisioner.volume.staging.blob import Blob
    from provisioner.volume.staging.ranged_file import RangedFile

_MAX_OPEN: Final = 16
"""Directories that each thread keeps open: files of the same directory mostly follow one another."""


class PlainFiles:
    """Puts verified files into one staged tree; safe for several threads. :meth:`close` closes the tree's directories."""

    def __init__(self, tree: Path, claims: PathClaims, *, charge: Callable[[int], None]) -> None:
        """Remember the tree; nothing is written yet.

        Args:
            tree: the staged tree's directory.
            claims: which of its paths are taken.
            charge: called with the number of bytes before they are written; raises if so many must not be written.
        """
        self._tree = tree
        self._shown = os.fspath(tree)
        self._claims = claims
        self._charge = charge
        self._idle: list[TreeWriter] = []
        """Writers that no thread is using; there are never more than threads."""

    def close(self) -> None:
        """Close the directories; no thread may use the tree after this."""
        while self._idle:
            self._idle.pop().close()

    def write(self, artifact: Artifact, data: bytes, sha256: str) -> Part:
        """Write a small file straight to its path.

        If the process dies meanwhile, part of the file is left there; the next run notices that by its hash.

        Raises:
            IntegrityError: something else is at its path, or in the way to it.
            VolumeError: the volume failed.
        """
        entry = file_entry(artifact, len(data), sha256)
        if self._claims.claim(entry):
            with self._writer() as tree, disk_errors(f"writing {self._shown}/{entry.path}", self._tree, needed=len(data)):
                tree.directory(entry.path.rpartition("/")[0])
                self._charge(len(data))
                tree.write(entry.path, data)
        return Part((entry,), is_whole=True)

    def move_in(
        self, artifacts: Sequence[Artifact], staged: Blob | RangedFile, size: int, sha256: str, *, keep: bool
    ) -> dict[str, Part]:
        """Move a staged file to the path of an artifact, and link or copy it to those of the others.

        Args:
            artifacts: those that have these bytes and are not unpacked; empty if only archives have them.
            staged: the verified bytes.
            size: the number of bytes.
            sha256: the SHA-256 of the bytes, hexadecimal.
            keep: leave the file in staging if it is not moved; otherwise remove it.

        Returns:
            The parts by content id.

        Raises:
            IntegrityError: something else is at one of the paths, or in the way to it.
            VolumeError: the volume failed.
        """
        parts: dict[str, Part] = {}
        moved: str | None = None
        for artifact in artifacts:
            entry = file_entry(artifact, size, sha256)
            if self._claims.claim(entry):
                self._put(staged, moved, entry.path, size)
                moved = moved or entry.path
            parts[artifact.content_id] = Part((entry,), is_whole=True)
        if moved is None and not keep:
            staged.drop()
        return parts

    def _put(self, staged: Blob | RangedFile, moved: str | None, path: str, size: int) -> None:
        """Move the staged file to a path, or link or copy it from where it was moved."""
        with self._writer() as tree, disk_errors(f"placing {self._shown}/{path}", self._tree, needed=size if moved else None):
            tree.directory(path.rpartition("/")[0])
            if moved is None:
                staged.move_to(lambda source: tree.place(source, path))
            else:
                tree.share_from(tree, moved, path, self._charge)

    @contextlib.contextmanager
    def _writer(self) -> Iterator[TreeWriter]:
        """Lend a writer, which one thread uses at a time."""
        try:
            tree = self._idle.pop()
        except IndexError:
            with disk_errors("opening the staged tree", self._tree):
                tree = TreeWriter(self._tree, max_open=_MAX_OPEN)
        try:
            yield tree
        finally:
            self._idle.append(tree)
