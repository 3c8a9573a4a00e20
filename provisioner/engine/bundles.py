"""Small files of one tree that lie one after the other, fetched by one request where a peer offers that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from provisioner.planning.capacity import SMALL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from provisioner.catalog.artifact import Artifact
    from provisioner.engine.fetch import NeededFile

LEAST_FILES: Final = 2
"""Of fewer, each is asked for by itself."""
_MOST_FILES: Final = 2_000
_MOST_BYTES: Final = 1 << 19
"""Of one bundle, which is held in memory."""
_LARGEST_GAP: Final = 16 << 10
"""Bytes of files between two of a bundle that are not needed, and fetched all the same."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """Some files that are needed, and where they are among the bytes of all files of the tree."""

    files: tuple[tuple[int, int, NeededFile], ...]
    """Each with the positions of its first byte and behind its last byte."""

    @property
    def start(self) -> int:
        """The position of the first byte."""
        return self.files[0][0]

    @property
    def end(self) -> int:
        """The position behind the last byte."""
        return self.files[-1][1]


def bundled(files: Iterable[NeededFile], artifacts: Sequence[Artifact]) -> Iterator[Bundle | NeededFile]:
    """Yield files in bundles, as far as they are small; the others by themselves.

    Args:
        files: those that are needed, in the order of the tree.
        artifacts: all files of the tree, in its order; none is unpacked.
    """
    waiting: list[tuple[int, int, NeededFile]] = []
    last = 0
    for start, end, file in _places(files, artifacts):
        if end - start > SMALL or file.local_copy is not None:
            yield file
            continue
        if waiting and (start - last > _LARGEST_GAP or end - waiting[0][0] > _MOST_BYTES or len(waiting) >= _MOST_FILES):
            yield from _closed(waiting)
            waiting = []
        waiting.append((start, end, file))
        last = end
    yield from _closed(waiting)


def _closed(waiting: list[tuple[int, int, NeededFile]]) -> Iterator[Bundle | NeededFile]:
    if len(waiting) >= LEAST_FILES:
        yield Bundle(tuple(waiting))
    else:
        yield from (file for _, _, file in waiting)


def _places(files: Iterable[NeededFile], artifacts: Sequence[Artifact]) -> Iterator[tuple[int, int, NeededFile]]:
    """Yield each file with the positions of its first byte and behind its last byte, among the bytes of all files."""
    rest = iter(artifacts)
    start = 0
    for file in files:
        wanted = file.artifacts[0]
        for artifact in rest:
            end = start + (artifact.exact_size or 0)
            if artifact is wanted:
                yield start, end, file
                start = end
                break
            start = end
