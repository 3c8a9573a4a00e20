"""Listings of repositories, taken only when every file has a path and a digest of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioner.catalog.digest import Digest
from provisioner.catalog.relative_path import path_problem
from provisioner.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from huggingface_hub.hf_api import RepoFile


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a listing."""

    path: str
    """In the repository, POSIX separators; safe to use below a directory of ours."""
    size: int
    """Bytes."""
    digest: Digest
    """``sha256`` of a file in LFS, ``gitsha1`` (the SHA-1 of the Git blob) of any other."""


def checked_listing(repo: str, files: Iterable[RepoFile]) -> list[HubFile]:
    """Return the files of a listing, ordered by path.

    Raises:
        IntegrityError: a file has no usable path, size or digest, or lies below another file; nothing of it is taken.
    """
    found: dict[str, HubFile] = {}
    for file in files:
        if problem := path_problem(file.path):
            raise _wrong_listing(repo, file.path, problem)
        if file.path in found:
            raise _wrong_listing(repo, file.path, "is there twice")
        found[file.path] = _checked_file(repo, file)
    for path in found:
        parts = path.split("/")
        for depth in range(1, len(parts)):
            if "/".join(parts[:depth]) in found:
                raise _wrong_listing(repo, path, "lies below another file")
    return [found[path] for path in sorted(found)]


def _checked_file(repo: str, file: RepoFile) -> HubFile:
    size = file.size if file.lfs is None else file.lfs.size
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise _wrong_listing(repo, file.path, f"has {size!r} bytes")
    algorithm, digits, length = ("gitsha1", file.blob_id, 40) if file.lfs is None else ("sha256", file.lfs.sha256, 64)
    if not isinstance(digits, str) or not re.fullmatch(rf"[0-9a-fA-F]{{{length}}}", digits):
        raise _wrong_listing(repo, file.path, f"has no {algorithm} but {digits!r}")
    return HubFile(file.path, size, Digest(algorithm, digits.lower()))


def _wrong_listing(repo: str, path: object, problem: str) -> IntegrityError:
    return IntegrityError(
        f"the listing of {repo} is wrong, nothing was taken from it: {path!a:.200} {problem}",
        hint="Tell the repository's owner, or look at HF_ENDPOINT and URL_REWRITE: is it the Hub that answers?",
    )
