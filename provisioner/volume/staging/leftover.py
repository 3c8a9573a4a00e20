"""The part of an artifact that an earlier run left in staging, estimated from the sizes of files and journals alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.volume.staging.journal import Journal
from provisioner.volume.staging.pieces import length_of_piece, number_of_pieces

if TYPE_CHECKING:
    from pathlib import Path

    from provisioner.catalog.artifact import Artifact


def leftover_bytes(directory: Path, artifact: Artifact) -> int:
    """Return the number of bytes that the next run will probably resume from; nothing is hashed.

    Args:
        directory: the directory of partial files.
        artifact: the artifact that they belong to.
    """
    journal = directory / f"{artifact.key}.journal"
    try:
        length = (directory / f"{artifact.key}.part").stat().st_size
        has_journal = journal.exists()
        has_origin = (directory / f"{artifact.key}.json").exists()
    except OSError:
        return 0
    if has_journal:
        size = artifact.exact_size
        content = Journal(journal, size).read() if size is not None else None
        if content is None or size is None:
            return 0
        has_origin = content.origin is not None
        pieces = [piece for piece in content.records if piece < number_of_pieces(size)]
        length = min(length, sum(length_of_piece(piece, size) for piece in pieces))
    # Without a digest or an origin, nothing could show whether the rest is of the same version, so it is fetched from the
    # start.
    return length if artifact.digest is not None or has_origin else 0
