"""The recipe of a data set: all that decides which bytes end up where, and nothing else.

A recipe's short hash is the *version* under which a tree is kept on the volume. Digests, selection, unpacking and layout
are part of it; URLs, mirrors and texts are not, so that a moved mirror or a corrected description refetches nothing.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final, Literal

from provisioner.catalog.document import nearest
from provisioner.catalog.model import DataSet, Digest, HubSource, Size, Source, UnpackFormat, UrlFile, UrlSource
from provisioner.errors import ConfigurationError, DigestMismatchError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

VerifiedAgainst = Literal["catalog", "listing", "none"]

VERSION_DIGITS: Final = 16
"""Hexadecimal digits of a version; 64 bits are far beyond chance for the few versions of one data set."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file to fetch, with what is known of it and what becomes of it."""

    name: str
    """For messages and for finding it among files that are already here: its name, or its path in the repository."""
    urls: tuple[str, ...]
    """Where it is, in the order in which to ask; empty where a source is not resolved yet."""
    size: Size | None
    digest: Digest | None
    unpack: UnpackFormat
    into: str
    """Directory in the tree: where it is unpacked, or where it is put."""
    verified_against: VerifiedAgainst
    authorized: bool = False
    """Send the Hub token with the request (to the Hub's own origin alone)."""
    unpacked_size: Size | None = None

    @property
    def path(self) -> str:
        """Where a file that is not unpacked lands in the tree."""
        return posixpath.join(self.into, posixpath.basename(self.name))

    @property
    def key(self) -> str:
        """A name for these bytes, fit for a file name: the digest where one is known, else a hash of the first URL."""
        if self.digest is not None:
            return f"{self.digest.algorithm}-{self.digest.hex}"
        return f"url-{hashlib.sha256(self.urls[0].encode()).hexdigest()[:32]}"

    @property
    def content_id(self) -> str:
        """A name for the part of a tree that this artifact makes: same shape, same files."""
        place = self.into if self.unpack != "none" else self.path
        return hashlib.sha256(f"{self.key}\n{self.unpack}\n{place}".encode()).hexdigest()[:32]

    @property
    def final_size(self) -> Size | None:
        """Bytes that it takes in the tree."""
        return self.size if self.unpack == "none" else self.unpacked_size


@dataclass(frozen=True, slots=True)
class Recipe:
    """One data set as it was asked for: its layout, its splits, and the sources that give just that."""

    dataset: DataSet
    layout: str
    splits: tuple[str, ...]
    """Names of the chosen splits; empty: all of it."""
    sources: tuple[Source, ...]
    """The sources of that layout, reduced to the splits, in the order in which they are tried."""
    version: str

    @property
    def label(self) -> str:
        """How a user would ask for it: ``nsynth:test``."""
        return f"{self.dataset.id}:{'+'.join(self.splits)}" if self.splits else self.dataset.id


def make_recipe(dataset: DataSet, *, layout: str | None = None, splits: Sequence[str] = ()) -> Recipe:
    """Reduce a data set to one layout and some of its splits.

    Args:
        dataset: what the catalog says.
        layout: the layout to take; ``None``: the data set's own.
        splits: names of splits; empty: all of it.

    Raises:
        NotFoundError: the data set has no such split.
        ConfigurationError: no source gives that layout.
    """
    layout = layout or dataset.layout
    sources = dataset.sources_of(layout)
    if not sources:
        raise ConfigurationError(f"{dataset.id} has no source with the layout {layout!r}", hint=nearest(layout, dataset.layouts))
    known = _splits_of(sources)
    for split in splits:
        if split not in known:
            raise NotFoundError(
                f"{dataset.id} has no split {split!r}" + (f" in the layout {layout!r}" if layout != dataset.layout else ""),
                hint=nearest(split, known) if known else f"{dataset.id} is not divided: ask for '{dataset.id}'.",
            )
    chosen = tuple(split for split in known if split in splits)
    if len(chosen) == len(known):
        chosen = ()  # all of them by name is the whole
    reduced = tuple(part for source in sources if (part := _reduce(source, chosen)) is not None)
    document = {
        "recipe": 1,
        "layout": layout,
        "sources": [_identity(source, chosen) for source in reduced],
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    version = hashlib.sha256(text.encode()).hexdigest()[:VERSION_DIGITS]
    return Recipe(dataset, layout, chosen, reduced, version)


def url_artifacts(source: UrlSource) -> tuple[Artifact, ...]:
    """Return the artifacts of direct URLs; all is known without asking anybody."""
    return tuple(
        Artifact(
            name=file.name,
            urls=(file.url, *file.mirrors),
            size=file.size,
            digest=file.digest,
            unpack=file.unpack,
            into=file.into,
            verified_against="catalog" if file.digest else "none",
            unpacked_size=file.unpacked_size,
        )
        for file in source.files
    )


def hub_artifacts(
    source: HubSource,
    splits: Sequence[str],
    listing: Iterable[tuple[str, int, Digest | None]],
    url_of: Callable[[str], str],
) -> tuple[Artifact, ...]:
    """Choose from a repository's listing what the source names.

    Args:
        source: the repository and its globs.
        splits: names of the chosen splits; empty: all of it.
        listing: path, size in bytes and digest of every file in the repository.
        url_of: gives the URL of a path.

    Raises:
        NotFoundError: the globs match nothing, or a file that the catalog names by its digest is not there.
        DigestMismatchError: the listing itself says that a file is not the publisher's.
    """
    official = dict(source.digests)
    artifacts = []
    for path, size, listed in listing:
        if not is_selected(source, splits, path):
            continue
        unpack: UnpackFormat = next((form for glob, form in source.unpack if fnmatchcase(path, glob)), "none")
        digest = official.pop(path, None)
        if digest and listed and digest.algorithm == listed.algorithm and digest != listed:
            raise DigestMismatchError(
                f"the data-set repository {source.repo} at {source.revision} lists {path} as {listed},"
                f" and the publisher's digest is {digest}; nothing of it was fetched",
                hint="The copy is not the original. A maintainer should correct the catalog, or drop this source.",
            )
        artifacts.append(
            Artifact(
                name=path,
                urls=(url_of(path),),
                size=Size(size),
                digest=digest or listed,
                unpack=unpack,
                into=posixpath.dirname(path),
                verified_against="catalog" if digest else "listing" if listed else "none",
                authorized=True,
            )
        )
    missing = [path for path in official if is_selected(source, splits, path)]
    if missing or not artifacts:
        what = missing[0] if missing else " ".join(source.include) or "any file"
        raise NotFoundError(
            f"the data-set repository {source.repo} at {source.revision} does not hold {what}",
            hint="It was changed upstream; the next source is tried. A maintainer should correct the catalog.",
        )
    return tuple(artifacts)


def is_selected(source: HubSource, splits: Sequence[str], path: str) -> bool:
    """Return whether a repository's file is among those that the source and the chosen splits name."""
    if source.include and not any(fnmatchcase(path, glob) for glob in source.include):
        return False
    if any(fnmatchcase(path, glob) for glob in source.exclude):
        return False
    split = next((name for glob, name in source.splits if fnmatchcase(path, glob)), None)
    return not splits or split is None or split in splits


def _splits_of(sources: Sequence[Source]) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for source in sources:
        if isinstance(source, UrlSource):
            names.update((file.split, None) for file in source.files if file.split is not None)
        else:
            names.update((split, None) for _, split in source.splits)
    return tuple(names)


def _reduce(source: Source, chosen: Sequence[str]) -> Source | None:
    """Keep what belongs to the chosen splits; ``None`` for a source that cannot tell them apart."""
    if not chosen:
        return source
    if isinstance(source, HubSource):
        return source if {name for _, name in source.splits} >= set(chosen) else None
    files = tuple(file for file in source.files if file.split is None or file.split in chosen)
    if not set(chosen) <= {file.split for file in files}:
        return None
    return replace(source, files=files)


def _identity(source: Source, chosen: Sequence[str]) -> Mapping[str, Any]:
    """What of a source decides which bytes end up where."""
    if isinstance(source, HubSource):
        return {
            "hub": source.repo,
            "revision": source.revision,
            "include": list(source.include),
            "exclude": list(source.exclude),
            "unpack": [list(pair) for pair in source.unpack],
            "splits": list(chosen),
            "digests": {path: str(digest) for path, digest in source.digests},
        }
    return {"files": [_file_identity(file) for file in source.files]}


def _file_identity(file: UrlFile) -> Mapping[str, Any]:
    place = {"into": file.into, "unpack": file.unpack} if file.unpack != "none" else {"into": file.into, "name": file.name}
    if file.digest is not None:
        return {"digest": str(file.digest), **place}
    # Without a digest a file is known by its name and size alone.
    return {"unverified": file.name, "size": file.size.value if file.size else None, **place}
