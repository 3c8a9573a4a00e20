"""All files of a version one after the other, in the order of its manifest: many small ones go by one request.

Who asks has the manifest, and so knows where each file begins. Nothing of this is on the disk.
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
"""Directories that stay open for one response: files of one mostly follow each other."""


class JoinedTrees:
    """The trees that were asked for last, with the places of their files; safe for several threads."""

    def __init__(self) -> None:
        """Read nothing yet."""
        self._lock = threading.Lock()
        self._latest: tuple[str, Sequence[str], array[int]] | None = None
        """Of one tree, since it takes memory: what is different when its manifest was replaced, its paths, and their ends."""

    def of(self, tree: Path, manifest: Path) -> JoinedFiles | None:
        """Return the files of a tree; ``None``: its manifest cannot be read."""
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
    """Return the paths of all files of a manifest, and the position behind the last byte of each.

    Raises:
        OSError: it is not there.
        VolumeError: it is damaged.
    """
    with open_file(path) as lines:
        files = [entry for entry in Manifest.read(lines, str(path)) if entry.kind == "file"]
    return [entry.path for entry in files], array("Q", itertools.accumulate(entry.size for entry in files))


class JoinedFiles:
    """The bytes of all files of one tree; used by one thread at a time."""

    def __init__(self, tree: TreeReader, paths: Sequence[str], ends: array[int], etag: str) -> None:
        """Read nothing yet.

        Args:
            tree: has the files, and is closed in the end.
            paths: those of the files.
            ends: the position behind the last byte of each.
            etag: of all of them.
        """
        self._tree = tree
        self._paths = paths
        self._ends = ends
        self.size = ends[-1] if ends else 0
        """Bytes."""
        self.etag = etag

    def read(self, start: int, count: int) -> bytes:
        """Return some bytes, up to ``count``; fewer, where a file is not what the manifest says."""
        parts: list[bytes] = []
        index = bisect_right(self._ends, start)
        while count > 0 and index < len(self._paths):
            end, begin = self._ends[index], self._ends[index - 1] if index else 0
            wanted = min(count, end - start)
            data = self._read_file(self._paths[index], start - begin, wanted) if wanted else b""
            parts.append(data)
            if len(data) < wanted:
                break  # a byte less shifts all that follow: whoever asked notices that the response ends early
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
