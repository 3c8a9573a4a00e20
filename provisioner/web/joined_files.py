"""All files of a version concatenated, in the order of its manifest, so that many small ones need only one request.

A client has the manifest, and so knows where each file begins. The concatenation is not stored on the disk.
"""

from __future__ import annotations

import itertools
import os
import threading
from array import array
from bisect import bisect_right
from typing import TYPE_CHECKING

from provisioner.errors import IntegrityError, VolumeError
from provisioner.volume.fs.files import open_file
from provisioner.volume.store.manifest import Manifest
from provisioner.volume.tree.reader import TreeReader

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_MAX_OPEN = 8
"""Directories that stay open for one response: files of the same directory mostly follow one another."""


class JoinedTrees:
    """The tree that was last requested, with the positions of its files; safe for several threads."""

    def __init__(self) -> None:
        """Prepare; nothing is read yet."""
        self._lock = threading.Lock()
        self._latest: tuple[str, Sequence[str], array[int]] | None = None
        """For one tree only, to save memory: a key that changes with its manifest, its paths, and their end positions."""

    def of(self, tree: Path, manifest: Path) -> JoinedFiles | None:
        """Return the files of a tree, or ``None`` if its manifest cannot be read."""
        try:
            facts = manifest.stat()
            key = f'"{facts.st_ino:x}-{facts.st_size:x}-{facts.st_mtime_ns:x}"'
            with self._lock:
                if self._latest is None or self._latest[0] != key:
                    self._latest = key, *_places(manifest)
                _, paths, ends = self._latest
            return JoinedFiles(TreeReader(tree, max_open=_MAX_OPEN), paths, ends, key)
        except (OSError, VolumeError):
            return None


def _places(path: Path) -> tuple[Sequence[str], array[int]]:
    """Return the paths of all files in a manifest, and the position after the last byte of each.

    Raises:
        OSError: the manifest does not exist.
        VolumeError: the manifest is damaged.
    """
    with open_file(path) as lines:
        files = [entry for entry in Manifest.read(lines, str(path)) if entry.kind == "file"]
    return [entry.path for entry in files], array("Q", itertools.accumulate(entry.size for entry in files))


class JoinedFiles:
    """The bytes of all files of one tree; used by one thread at a time."""

    def __init__(self, tree: TreeReader, paths: Sequence[str], ends: array[int], etag: str) -> None:
        """Prepare; nothing is read yet.

        Args:
            tree: the tree with the files, which :meth:`close` closes.
            paths: the paths of the files.
            ends: the position after the last byte of each file.
            etag: the ETag for all of them.
        """
        self._tree = tree
        self._paths = paths
        self._ends = ends
        self.size = ends[-1] if ends else 0
        """Number of bytes."""
        self.etag = etag

    def read(self, start: int, count: int) -> bytes:
        """Return up to ``count`` bytes; fewer if a file differs from the manifest."""
        parts: list[bytes] = []
        index = bisect_right(self._ends, start)
        while count > 0 and index < len(self._paths):
            end, begin = self._ends[index], self._ends[index - 1] if index else 0
            wanted = min(count, end - start)
            data = self._read_file(self._paths[index], start - begin, wanted) if wanted else b""
            parts.append(data)
            if len(data) < wanted:
                break  # A missing byte would shift all that follow; the client notices that the response ends early.
            start, count, index = start + wanted, count - wanted, index + 1
        return b"".join(parts)

    def _read_file(self, path: str, start: int, count: int) -> bytes:
        try:
            handle = self._tree.open(path)
        except (OSError, IntegrityError):
            return b""
        try:
            return os.pread(handle, count, start)
        except OSError:
            return b""
        finally:
            os.close(handle)

    def close(self) -> None:
        """Close the tree."""
        self._tree.close()
