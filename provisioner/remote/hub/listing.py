"""Listings of repositories and buckets; every file that is taken must have a usable path, size and digest."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from provisioner.catalog.digest import Digest
from provisioner.catalog.relative_path import path_problem
from provisioner.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from huggingface_hub import BucketFile
    from huggingface_hub.hf_api import RepoFile

_EMPTY: Final = hashlib.sha256().hexdigest()


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a listing."""

    path: str
    """Path in the repository, with POSIX separators; without a problem, it is safe to use below a directory of ours."""
    size: int
    """Bytes."""
    digest: Digest
    """``sha256`` for a file in LFS, ``gitsha1`` (the SHA-1 of the Git blob) for others; ``xet`` in a bucket."""
    problem: str = ""
    """The reason why it must not be taken, as the predicate of a sentence about the path; empty if it may be taken."""


def checked_listing(repo: str, files: Iterable[RepoFile | BucketFile]) -> list[HubFile]:
    """Return the files of a listing, ordered by path, each with its problem, if any.

    An unusable file does no harm unless it is taken; see :func:`check_selected`.

    Raises:
        IntegrityError: a file has no path.
    """
    found: dict[str, HubFile] = {}
    for file in files:
        if not isinstance(file.path, str):
            raise _wrong_listing(repo, file.path, path_problem(file.path))
        checked = _checked_file(file)
        found[file.path] = replace(checked, problem="is there twice") if file.path in found else checked
    for path, listed in found.items():
        parts = path.split("/")
        if any("/".join(parts[:depth]) in found for depth in range(1, len(parts))):
            found[path] = replace(listed, problem=listed.problem or "lies below another file")
    return [found[path] for path in sorted(found)]


def check_selected(repo: str, files: Iterable[HubFile], paths: Collection[str]) -> None:
    """Refuse a listing if a file that is taken has a problem.

    Args:
        repo: the repository, for the message.
        files: its listing.
        paths: the paths of the files that are taken.

    Raises:
        IntegrityError: a file has no usable path, size or digest, is listed twice, or lies below another file.
    """
    for file in files:
        if file.problem and file.path in paths:
            raise _wrong_listing(repo, file.path, file.problem)


def _checked_file(file: RepoFile | BucketFile) -> HubFile:
    lfs = getattr(file, "lfs", None)
    size: object = file.size if lfs is None else lfs.size
    algorithm, digits, length = _stated_digest(file)
    problem = path_problem(file.path)
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        problem, size = problem or f"has {size!r} bytes", 0
    if not isinstance(digits, str) or not re.fullmatch(rf"[0-9a-fA-F]{{{length}}}", digits):
        problem, digits = problem or f"has no {algorithm} but {digits!r}", ""
    return HubFile(file.path, size, Digest(algorithm, digits.lower()), problem)


def _stated_digest(file: RepoFile | BucketFile) -> tuple[str, object, int]:
    """Return the algorithm, the digits and the number of digits of the digest in a listing."""
    from huggingface_hub import BucketFile  # noqa: PLC0415 - what asked has imported it

    if isinstance(file, BucketFile):
        # An empty file has no chunks, and its Xet hash is not always stated.
        return ("sha256", _EMPTY, 64) if file.size == 0 else ("xet", file.xet_hash, 64)
    return ("gitsha1", file.blob_id, 40) if file.lfs is None else ("sha256", file.lfs.sha256, 64)


def _wrong_listing(repo: str, path: object, problem: str) -> IntegrityError:
    return IntegrityError(
        f"the listing of {repo} is wrong, nothing was taken from it: {path!a:.200} {problem}",
        hint="Tell the repository's owner, or look at HF_ENDPOINT and URL_REWRITE: is it the Hub that answers?",
    )
