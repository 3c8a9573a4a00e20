"""Sources of the kind ``bucket``: a storage bucket on the Hub, whose listing names its present files.

A bucket has no revisions. Its files are identified by their Xet hashes; see :mod:`provisioner.remote.bucket_source`.
"""

from __future__ import annotations

import posixpath
import re
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from provisioner.catalog import fields, hub_source, paths
from provisioner.catalog.artifact import Artifact
from provisioner.catalog.document import Value
from provisioner.catalog.keys import FORMAT, GLOB, LAYOUT, SPLIT, Key, Table, list_of, map_of, pattern, ref
from provisioner.catalog.selection import FileRules, Selection
from provisioner.catalog.size import Size
from provisioner.catalog.source import SourceKind
from provisioner.errors import SizeMismatchError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from provisioner.catalog.artifact import UnpackFormat
    from provisioner.catalog.digest import Digest


@dataclass(frozen=True, slots=True)
class BucketSource:
    """A storage bucket on the Hub."""

    bucket: str
    """``owner/name``."""
    include: tuple[str, ...] = ()
    """Globs over paths in the bucket; empty means every file."""
    exclude: tuple[str, ...] = ()
    unpack: tuple[tuple[str, UnpackFormat], ...] = ()
    """From glob to format; the first match counts. A file without a match is not unpacked."""
    layout: str = "raw"
    splits: tuple[tuple[str, str], ...] = ()
    """From glob to split name; the first match counts. A file without a match belongs to every split."""
    size: Size | None = None
    """Bytes to transfer for all selected files together."""
    chosen: tuple[str, ...] = ()
    """Names of the splits that it is restricted to; empty means no restriction."""

    @property
    def kind(self) -> str:
        """The kind's name."""
        return "bucket"

    @property
    def name(self) -> str:
        """``buckets/owner/name``."""
        return f"buckets/{self.bucket}"

    @property
    def page(self) -> str:
        """The bucket's page on the public Hub."""
        return f"https://huggingface.co/buckets/{self.bucket}"

    @property
    def artifacts(self) -> None:
        """``None``: unknown until the bucket is asked for its listing; see :meth:`select`."""
        return

    @property
    def split_names(self) -> tuple[str, ...]:
        """The splits that it can deliver separately."""
        return tuple(dict.fromkeys(split for _, split in self.splits))

    @property
    def identity(self) -> Mapping[str, Any]:
        """Its part of a recipe: the bucket, and the selection."""
        return {
            "bucket": self.bucket,
            "include": list(self.include),
            "exclude": list(self.exclude),
            "unpack": [list(pair) for pair in self.unpack],
            "splits": list(self.chosen),
        }

    def for_splits(self, splits: Sequence[str]) -> BucketSource | None:
        """Return the source restricted to ``splits``."""
        return replace(self, chosen=tuple(splits)) if set(splits) <= set(self.split_names) else None

    def is_at(self, url: str) -> bool:
        """Return whether ``url`` is the page of this bucket, on any Hub."""
        return url.endswith(f"/buckets/{self.bucket}")

    def pinned(self, pin: str) -> BucketSource:  # noqa: ARG002 - a bucket keeps no earlier state
        """Return the source itself, since a bucket keeps no earlier state."""
        return self

    @property
    def stated_pin(self) -> str:
        """Empty: its content is known only after asking."""
        return ""

    def held_at(self, pin: str, digests: Mapping[str, Digest] | None = None) -> BucketSource:  # noqa: ARG002 - as above
        """Return the source itself."""
        return self

    def divided(self, splits: Sequence[tuple[str, str]]) -> BucketSource:
        """Return the source with these splits; unchanged if it takes only some of the files."""
        return self if self.splits or self.include or self.exclude else replace(self, splits=tuple(splits))

    def as_entry(self) -> dict[str, Any]:
        """Return the source as it is written in a catalog."""
        return {
            "kind": "bucket",
            **({"layout": self.layout} if self.layout != "raw" else {}),
            "bucket": self.bucket,
            **({"include": list(self.include)} if self.include else {}),
            **({"exclude": list(self.exclude)} if self.exclude else {}),
            **({"unpack": dict(self.unpack)} if self.unpack else {}),
            **({"splits": dict(self.splits)} if self.splits else {}),
            **({"size": self.size.written} if self.size is not None else {}),
        }

    def sized(self, size: Size) -> BucketSource:
        """Return the source with the size that the listing of its files states."""
        return replace(self, size=size)

    def select(
        self, listing: Collection[tuple[str, int, Digest | None]], url: str
    ) -> tuple[tuple[Artifact, ...], tuple[str, ...]]:
        """Return the artifacts of the files that the source names, and warnings.

        Args:
            listing: path, size in bytes and digest of every file in the bucket.
            url: URL of the directory that the paths are relative to.

        Raises:
            NotFoundError: globs match nothing.
            SizeMismatchError: the catalog states an exact size, and the listing a different one.
        """
        where = f"the bucket {self.bucket}"
        rules = FileRules(self.include, self.exclude, self.unpack, self.splits, self.chosen)
        selection = Selection(rules, [path for path, _, _ in listing], where)
        listed_bytes = sum(size for path, size, _ in listing if path in selection.kept)
        if self.size is not None and self.size.exact not in {None, listed_bytes}:
            raise SizeMismatchError(
                f"{where} lists {listed_bytes:,} bytes, and the catalog says {self.size.value:,}; nothing of it was fetched",
                hint="It was changed. A maintainer should correct the catalog, or leave the size out.",
            )
        artifacts = tuple(
            Artifact(
                name=path,
                urls=(),
                repository_url=url,
                size=Size(size),
                digest=digest,
                unpack=selection.format_of(path),
                # Many files share a directory.
                into=sys.intern(posixpath.dirname(path)),
                verified_against="listing" if digest else "none",
                authorized=True,
            )
            for path, size, digest in listing
            if path in selection.paths
        )
        return artifacts, tuple(selection.warnings)


# --- its entry in a catalog --------------------------------------------------------------------------------------------

_BUCKET_SOURCE: Final = Table(
    "A storage bucket on the Hub.",
    (
        Key("kind", {"const": "bucket"}, "What kind of source this is.", required=True),
        LAYOUT,
        Key("bucket", pattern(hub_source.NAME), "owner/name of a bucket.", required=True),
        Key("include", list_of(pattern(GLOB), least=1), "Globs of the files to take; by default every file."),
        Key("exclude", list_of(pattern(GLOB)), "Globs of the files to leave out."),
        Key("unpack", map_of(GLOB, FORMAT), "Glob to format; the first that matches counts."),
        Key("splits", map_of(GLOB, pattern(SPLIT)), "Glob to split; the first that matches counts, none: every split."),
        Key("size", ref("size"), "Bytes to transfer of all selected files."),
    ),
)


def parse_keys(keys: Mapping[str, Value]) -> BucketSource:
    """Return the source that the values in an entry describe, by key.

    Raises:
        ConfigurationError: a value is wrong.
    """
    unpack = keys["unpack"].attempt(Value.mapping) or {} if "unpack" in keys else {}
    splits = keys["splits"].attempt(Value.mapping) or {} if "splits" in keys else {}
    for glob, entry in (*unpack.items(), *splits.items()):
        entry.attempt(paths.check_glob, glob)
    return BucketSource(
        bucket=keys["bucket"].attempt(_bucket),
        include=keys["include"].attempt(hub_source.include_globs) if "include" in keys else (),
        exclude=keys["exclude"].attempt(hub_source.exclude_globs) if "exclude" in keys else (),
        unpack=tuple((glob, entry.attempt(fields.unpack_format)) for glob, entry in unpack.items()),
        layout=fields.layout(keys),
        splits=tuple((glob, entry.attempt(fields.split)) for glob, entry in splits.items()),
        size=fields.optional_size(keys, "size"),
    )


def _bucket(value: Value) -> str:
    bucket = value.text()
    if not re.fullmatch(hub_source.NAME, bucket):
        value.fail(f"{bucket!r} is not the name of a bucket", "Write owner/name, such as acme/recordings.")
    return bucket


KIND: Final = SourceKind("bucket", _BUCKET_SOURCE, parse_keys)
