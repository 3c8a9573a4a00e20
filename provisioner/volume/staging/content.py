"""Refuse bytes that cannot be the requested file, if no digest proves that they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.catalog.answers import HEAD, hint_for, mistaken_answer, recognise_answer
from provisioner.errors import UnexpectedContentError

if TYPE_CHECKING:
    from provisioner.catalog.artifact import Artifact


def check_content(artifact: Artifact, head: bytes, size: int) -> None:
    """Refuse a web page, an error document, a Git LFS pointer or empty content in place of an artifact without a digest.

    Args:
        artifact: the artifact that the bytes should be.
        head: the first bytes.
        size: the number of bytes.

    Raises:
        UnexpectedContentError: they look like something else.
    """
    if artifact.digest is not None or (not size and artifact.exact_size == 0):
        return
    answer = mistaken_answer(head[:HEAD], size, artifact.name, is_archive=artifact.unpack != "none")
    if answer is not None:
        raise UnexpectedContentError(
            f"{artifact.name}: what came is not the file: it looks like {answer.words}; it was dropped", hint=hint_for(answer)
        )


def looks_like(head: bytes, size: int) -> str:
    """Return in words, for a message about wrong bytes, what they look like; empty if they look like data."""
    answer = recognise_answer(head[:HEAD], size)
    return f" (it looks like {answer.words})" if answer else ""
