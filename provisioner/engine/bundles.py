"""Small files of one tree that lie one after the other, fetched by one request where a peer offers that."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from provisioner.catalog.artifact import Artifact
    from provisioner.engine.fetch import NeededFile

LEAST_FILES: Final = 16
"""Of fewer, each is asked for by itself."""
_MOST_FILES: Final = 2_000
_MOST_BYTES: Final = 4 << 20
"""Of one bundle, which is held in memory."""
_LARGEST_GAP: Final = 16 << 10
"""Bytes of files between two of a bundle that are not needed, and fetched all the same."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """Some files that are needed, and where they are among the bytes of all files of the tree."""

    files: tuple[tuple[int, NeededFile], ...]
    """Each with the position of its first byte."""

    @property
    def start(self) -> int:
        """The position of the first byte."""
        return self.files[0][0]

    @property
    def end(self) -> int:
        """The position behind the last byte."""
        position, last = self.files[-1]
        return position + (last.exact_size or 0)


def bundled(files: Iterable[NeededFile], artifacts: Sequence[Artifact]) -> Iterator[Bundle | NeededFile]:
    """Yield files in bundles, as far as they are small; the others by themselves.

    Args:
        files: those that are needed, in the order of the tree.
        artifacts: all files of the tree, in its order.
    """
    waiting: list[tuple[int, NeededFile]] = []
    end = 0
    for position, file in _positions(files, artifacts):
        if file.local_copy is not None or not file.is_small:
            yield file
            continue
        size = file.exact_size or 0
        begins = position - end > _LARGEST_GAP or position + size - (waiting[0][0] if waiting else 0) > _MOST_BYTES
        if waiting and (begins or len(waiting) >= _MOST_FILES):
            yield from _closed(waiting)
            waiting = []
        waiting.append((position, file))
        end = position + size
    yield from _closed(waiting)


def _closed(waiting: list[tuple[int, NeededFile]]) -> Iterator[Bundle | NeededFile]:
    if len(waiting) >= LEAST_FILES:
        yield Bundle(tuple(waiting))
    else:
        yield from (file for _, file in waiting)


def _positions(files: Iterable[NeededFile], artifacts: Sequence[Artifact]) -> Iterator[tuple[int, NeededFile]]:
    """Yield each file with the position of its first byte among those of all files."""
    ends = itertools.accumulate(artifact.exact_size or 0 for artifact in artifacts)
    places = zip(artifacts, ends, strict=True)
    for file in files:
        wanted = file.artifact
        end = next(end for artifact, end in places if artifact is wanted)
        yield end - (wanted.exact_size or 0), file
