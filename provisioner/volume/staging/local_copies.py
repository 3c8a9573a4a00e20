"""Files already on this machine: in the Hub client's cache, beside ``datasets/``, or in directories that the user names.

A file is used only after its digest was compared. No file that is found is changed or removed.
"""

from __future__ import annotations

import logging
import os
import posixpath
from typing import TYPE_CHECKING, Final, NamedTuple

from provisioner.volume.staging.hashing import hash_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from provisioner.catalog.artifact import Artifact

_LOGGER = logging.getLogger(__name__)

_LEFTOVER_DEPTH: Final = 2
_FURTHER_DEPTH: Final = 16
_TELLING_SIZE: Final = 64 << 10
"""Bytes: many smaller files may have the same size, and each would have to be hashed."""
_NOT_SEARCHED: Final = frozenset({".provisioner", "lost+found"})
_NOT_SEARCHED_ON_VOLUME: Final = _NOT_SEARCHED | {"datasets"}
_SIZE: Final = 2
"""Index of the size in what :func:`file_facts` returns."""


class LocalCopy(NamedTuple):
    """A file that had the right digest when it was hashed."""

    path: Path
    facts: tuple[int, ...]
    """See :func:`file_facts`; they are read before the file is hashed, so that a change during the hashing is noticed too."""


def file_facts(path: Path) -> tuple[int, ...]:
    """Return facts about a file that differ if it was changed or replaced.

    Raises:
        OSError: the file does not exist.
    """
    facts = path.stat()
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


class LocalCopies:
    """The files on this machine that may be artifacts; listed on first use. Safe for several threads."""

    def __init__(
        self,
        root: Path,
        hub_cache: Path | None,
        check_cancelled: Callable[[], None],
        *,
        shares: Path | None = None,
        further: Sequence[Path] = (),
        has_trees: bool = False,
    ) -> None:
        """Remember where to look; nothing is listed yet.

        Args:
            root: the volume's root; the files in it and in its directories are considered.
            hub_cache: the Hub client's cache (``HF_HUB_CACHE``); ``None`` if it is not to be used.
            check_cancelled: called between blocks that are hashed; raises to end the work.
            shares: a directory of files fetched by workers, named by the keys of artifacts; ``None`` if there is none.
            further: directories whose files may have any name (``SEARCH_DIRS``).
            has_trees: whether their files may also be members of archives.
        """
        self.has_trees = has_trees
        self._further = further
        self._found: _Found | None = None
        self._shares = shares
        self._root = root
        self._hub_cache = hub_cache
        self._check_cancelled = check_cancelled
        self._blobs: dict[str, Path] | None = None
        self._leftovers: dict[str, list[Path]] | None = None

    def find(self, artifact: Artifact) -> LocalCopy | None:
        """Return a file with the artifact's size and digest; ``None`` if there is none, or if no digest is known."""
        if artifact.digest is None:
            return None
        for path in self._candidates(artifact):
            try:
                facts = file_facts(path)
                if artifact.exact_size not in {None, facts[_SIZE]}:
                    continue
                if hash_file(path, artifact, self._check_cancelled)[0]:
                    return LocalCopy(path, facts)
                if artifact.unpack != "none":
                    _LOGGER.warning("%s: it is not %s, whose digest is %s: not used", path, artifact.name, artifact.digest)
            except OSError:
                continue  # a file that cannot be read is of no use
        return None

    def named_like(self, path: str) -> list[Path]:
        """Return the files of those directories with the last component of a path, those in the same directories first."""
        if self._found is None:
            self._found = _Found(self._further, self._check_cancelled)
        return self._found.named_like(path)

    def _candidates(self, artifact: Artifact) -> Iterator[Path]:
        assert artifact.digest is not None  # noqa: S101 - for the type checker
        if self._shares is not None:
            yield self._shares / artifact.key
        if self._blobs is None:
            self._blobs = dict(_hub_blobs(self._hub_cache)) if self._hub_cache else {}
        if artifact.digest.hex in self._blobs:
            yield self._blobs[artifact.digest.hex]
        if self._leftovers is None:
            leftovers: dict[str, list[Path]] = {}
            for path in _files_below(self._root, _LEFTOVER_DEPTH, _NOT_SEARCHED_ON_VOLUME):
                leftovers.setdefault(path.name, []).append(path)
            self._leftovers = leftovers
        yield from self._leftovers.get(posixpath.basename(artifact.name), ())
        if self._further:
            if self._found is None:
                self._found = _Found(self._further, self._check_cancelled)
            yield from self._found.like(artifact)


class _Found:
    """The files of the directories that the user named, by name and by size; listed once."""

    def __init__(self, directories: Sequence[Path], check_cancelled: Callable[[], None]) -> None:
        self._by_name: dict[str, list[Path]] = {}
        self._by_size: dict[int, list[Path]] = {}
        for directory in directories:
            is_named = directory.is_file()
            for path in (directory,) if is_named else _files_below(directory, _FURTHER_DEPTH, with_links=True):
                check_cancelled()
                self._by_name.setdefault(path.name, []).append(path)
                try:
                    size = path.stat().st_size
                except OSError:
                    continue  # it may disappear at any time
                if is_named or size >= _TELLING_SIZE:
                    self._by_size.setdefault(size, []).append(path)

    def like(self, artifact: Artifact) -> Iterator[Path]:
        """Yield the files with an artifact's name, then those with its size only, since browsers rename what they save.

        Among files with the same name, those whose directories match too come first.
        """
        named = self.named_like(artifact.name)
        yield from named
        for path in self._by_size.get(artifact.exact_size or -1, ()):
            if path not in named:
                yield path

    def named_like(self, path: str) -> list[Path]:
        """Return the files with the last component of a path; those in the same directories come first."""
        named = self._by_name.get(posixpath.basename(path), [])
        return sorted(named, key=lambda one: not one.as_posix().endswith(f"/{path}")) if len(named) > 1 else named


def _hub_blobs(cache: Path) -> Iterator[tuple[str, Path]]:
    """Yield name and path of each blob in the Hub client's cache, for data-set repositories.

    The client names a blob by its ETag: the SHA-256 of a large file, the Git SHA-1 of a small one.
    """
    try:
        with os.scandir(cache) as repositories:
            names = sorted(entry.name for entry in repositories if entry.name.startswith("datasets--"))
    except OSError:
        return
    for name in names:
        blobs = cache / name / "blobs"
        try:
            with os.scandir(blobs) as entries:
                found = [entry.name for entry in entries]
        except OSError:
            continue
        for blob in found:
            if "." not in blob:  # other names are locks and partial downloads
                yield blob, blobs / blob


def _files_below(
    directory: Path, depth: int, left_out: frozenset[str] = _NOT_SEARCHED, *, with_links: bool = False
) -> Iterator[Path]:
    """Yield the files below a directory; ``with_links`` includes links to files, which some tools build their trees of."""
    try:
        with os.scandir(directory) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return
    for entry in found:
        if _is_file(entry, with_links=with_links):
            yield directory / entry.name
        elif depth > 1 and entry.is_dir(follow_symlinks=False) and entry.name not in left_out:
            yield from _files_below(directory / entry.name, depth - 1, left_out, with_links=with_links)


def _is_file(entry: os.DirEntry[str], *, with_links: bool) -> bool:
    try:
        return entry.is_file(follow_symlinks=with_links)
    except OSError:
        return False  # a link to itself
