"""Bundles: small files of one tree that lie one after the other and are fetched by one request, if a peer offers that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from provisioner.planning.capacity import SMALL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from provisioner.catalog.artifact import Artifact
    from provisioner.engine.fetch import NeededFile

LEAST_FILES: Final = 2
"""Fewer files than this are requested one by one."""
_MOST_FILES: Final = 2_000
_MOST_BYTES: Final = 1 << 19
"""Bytes of one bundle, which is held in memory."""
_LARGEST_GAP: Final = 16 << 10
"""Bytes of unneeded files between two needed ones that are fetched along with them at most."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """Some needed files, and where they are in the concatenation of all files of the tree."""

    files: tuple[tuple[int, int, NeededFile], ...]
    """Each file with the positions of its first byte and just after its last byte."""

    @property
    def start(self) -> int:
        """The position of the first byte."""
        return self.files[0][0]

    @property
    def end(self) -> int:
        """The position just after the last byte."""
        return self.files[-1][1]


def bundled(files: Iterable[NeededFile], artifacts: Sequence[Artifact]) -> Iterator[Bundle | NeededFile]:
    """Yield small files in bundles, and all others by themselves.

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
    """Yield each file with the positions of its first byte and just after its last byte in the concatenation of all files."""
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
