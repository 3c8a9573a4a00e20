"""The catalog as values: what should exist, where it comes from, and under which terms.

Nothing here touches a network, a disk, a clock or the environment. Instances are made by
:mod:`provisioner.catalog.parse`, which has already refused everything that is not well formed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

Commercial = Literal["allowed", "forbidden", "mixed", "verify"]
UnpackFormat = Literal["none", "zip", "tar", "tar.gz", "tar.bz2", "tar.xz", "tar.zst"]

COMMERCIAL: Final[tuple[Commercial, ...]] = ("allowed", "forbidden", "mixed", "verify")
UNPACK_FORMATS: Final[tuple[UnpackFormat, ...]] = ("none", "zip", "tar", "tar.gz", "tar.bz2", "tar.xz", "tar.zst")
DIGEST_LENGTHS: Final[Mapping[str, int]] = {"sha256": 64, "sha1": 40, "md5": 32}
"""Digest algorithms a catalog may name, with the number of hexadecimal digits of each."""


@dataclass(frozen=True, slots=True)
class Size:
    """A number of bytes, exact or estimated."""

    value: int
    """Bytes."""
    estimate: bool = False


@dataclass(frozen=True, slots=True)
class Digest:
    """What a run of bytes must hash to; written ``sha256:be1a…``."""

    algorithm: str
    """``sha256``, ``sha1`` or ``md5``; a Hub listing also gives ``gitsha1`` (the SHA-1 of a Git blob)."""
    hex: str
    """Lower case."""

    def __str__(self) -> str:
        """Return it as a catalog writes it."""
        return f"{self.algorithm}:{self.hex}"


@dataclass(frozen=True, slots=True)
class License:
    """The terms of a data set, with the reason why we believe them."""

    spdx: str
    name: str
    url: str
    commercial: Commercial
    evidence: str
    attribution: str


@dataclass(frozen=True, slots=True)
class UrlFile:
    """One file behind a direct URL (and its mirrors)."""

    url: str
    mirrors: tuple[str, ...] = ()
    size: Size | None = None
    """Bytes on the wire; ``None`` where nobody knows."""
    digest: Digest | None = None
    """``None``: unverified, and shown as that everywhere."""
    unpack: UnpackFormat = "none"
    into: str = ""
    """Subdirectory of the data set, POSIX separators, empty for its root."""
    split: str | None = None
    """``None``: belongs to every split."""
    unpacked_size: Size | None = None

    @property
    def name(self) -> str:
        """The file's own name: the last part of the URL's path."""
        return unquote(urlsplit(self.url).path).rstrip("/").rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True)
class HubSource:
    """A data-set repository on the Hub."""

    repo: str
    """``owner/name``."""
    revision: str = "main"
    """Branch, tag or commit, as written."""
    include: tuple[str, ...] = ()
    """Globs over paths in the repository; empty: every file."""
    exclude: tuple[str, ...] = ()
    unpack: tuple[tuple[str, UnpackFormat], ...] = ()
    """Glob to format, the first that matches; a file that none matches is taken as it is."""
    layout: str = "raw"
    splits: tuple[tuple[str, str], ...] = ()
    """Glob to split name, the first that matches; a file that none matches belongs to every split."""
    digests: tuple[tuple[str, Digest], ...] = ()
    """Path in the repository to its official digest, where the publisher states one."""
    size: Size | None = None
    """Bytes on the wire of the selected files together."""

    kind: Literal["hub"] = field(default="hub", init=False)

    @property
    def split_names(self) -> tuple[str, ...]:
        """The splits that it can deliver one by one."""
        return tuple(dict.fromkeys(split for _, split in self.splits))


@dataclass(frozen=True, slots=True)
class UrlSource:
    """Direct URLs."""

    files: tuple[UrlFile, ...]
    layout: str = "raw"

    kind: Literal["url"] = field(default="url", init=False)

    @property
    def split_names(self) -> tuple[str, ...]:
        """The splits that it can deliver one by one."""
        return tuple(dict.fromkeys(file.split for file in self.files if file.split is not None))


Source = HubSource | UrlSource


@dataclass(frozen=True, slots=True)
class DataSet:
    """One data set: what it is, what it may be used for, and where its bytes are."""

    id: str
    title: str
    homepage: str
    description: str
    purpose: str
    priority: int
    """1 to 5; higher is fetched first and given up last."""
    license: License
    sources: tuple[Source, ...]
    """In the order in which they are tried."""
    unpacked_size: Size | None = None
    optional: bool = False
    """Its failure makes the run partial, not failed."""
    layout: str = "raw"
    notes: tuple[str, ...] = ()
    """What a user of the data should know, one sentence each."""

    def sources_of(self, layout: str) -> tuple[Source, ...]:
        """Return the sources that deliver ``layout``, in their order."""
        return tuple(source for source in self.sources if source.layout == layout)

    @property
    def layouts(self) -> tuple[str, ...]:
        """All layouts that some source delivers, the data set's own first."""
        return tuple(dict.fromkeys((self.layout, *(source.layout for source in self.sources))))

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits that can be asked for in its own layout, in the catalog's order."""
        return self.splits_of(self.layout)

    def splits_of(self, layout: str) -> tuple[str, ...]:
        """Return the names of the splits that can be asked for in ``layout``."""
        return tuple(dict.fromkeys(name for source in self.sources_of(layout) for name in source.split_names))


@dataclass(frozen=True, slots=True)
class Phase:
    """A named set of data sets."""

    name: str
    description: str
    datasets: tuple[str, ...]
    """Ids, those of the extended phases first."""
    extends: str | None = None
    own: tuple[str, ...] = ()
    """Ids that this phase itself adds."""


@dataclass(frozen=True, slots=True)
class Excluded:
    """A data set that was looked at and left out."""

    id: str
    title: str
    license: str
    reason: str


@dataclass(frozen=True, slots=True)
class Catalog:
    """All that can be provisioned."""

    datasets: Mapping[str, DataSet]
    phases: Mapping[str, Phase]
    excluded: Mapping[str, Excluded] = field(default_factory=dict)
