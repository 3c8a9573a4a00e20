"""Sources of the kind ``hub``: a repository on the Hub, of data or of a model, whose listing names its files."""

from __future__ import annotations

import posixpath
import re
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from provisioner.catalog import fields, paths, urls
from provisioner.catalog.artifact import Artifact
from provisioner.catalog.card_parts import PART, files_of_parts
from provisioner.catalog.document import Value, quoted
from provisioner.catalog.globs import Globs
from provisioner.catalog.keys import DIGEST, FORMAT, GLOB, LAYOUT, RELATIVE, SPLIT, Key, Table, list_of, map_of, pattern, ref
from provisioner.catalog.selection import FileRules, Selection
from provisioner.catalog.size import Size
from provisioner.catalog.source import SourceKind
from provisioner.errors import DigestMismatchError, NotFoundError, SizeMismatchError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from provisioner.catalog.artifact import UnpackFormat
    from provisioner.catalog.card_parts import CardPart
    from provisioner.catalog.digest import Digest

NAME: Final = r"(?!.*(--|\.\.))(?!.*(\.git|[.-])$)(?=.{3,96}$)[A-Za-z0-9_][A-Za-z0-9._-]*/[A-Za-z0-9_][A-Za-z0-9._-]*"
"""``owner/name`` of a repository or a bucket, by the Hub's own rules."""
_REVISION: Final = r"(?!.*(\.\.|//))(?!.*[./]$)[A-Za-z0-9_][A-Za-z0-9._/-]*"
"""A branch, a tag, a commit, or a reference such as ``refs/convert/parquet``."""


PUBLIC_HUBS: Final = ("https://huggingface.co", "https://hf.co")
"""Addresses of the public Hub; in a reference, they mean the Hub in ``HF_ENDPOINT``."""
RepoType = Literal["dataset", "model"]
"""The Hub's name for the kind of a repository's content."""
REPO_TYPES: Final[tuple[RepoType, ...]] = ("dataset", "model")
REPOSITORY_WORDS: Final[dict[RepoType, str]] = {"dataset": "data-set repository", "model": "model repository"}
"""The words with which messages refer to a repository of each type."""


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository at a revision, as requested."""

    repo_type: RepoType
    repo: str
    """``owner/name``."""
    revision: str
    """Branch, tag or commit, as written."""

    @property
    def cache_folder(self) -> str:
        """The name of its directory in the Hub client's cache."""
        return f"{self.repo_type}s--{self.repo.replace('/', '--')}"


def repository_of(repo_type: object, repo: object, revision: object) -> Repository | None:
    """Return the repository that a record names, or ``None`` if the record is not valid."""
    if repo_type not in REPO_TYPES or not isinstance(repo, str) or not isinstance(revision, str):
        return None
    if not re.fullmatch(NAME, repo) or not re.fullmatch(_REVISION, revision):
        return None
    return Repository(repo_type, repo, revision)


@dataclass(frozen=True, slots=True)
class SelectedFiles:
    """The files that a source takes from a repository."""

    artifacts: tuple[Artifact, ...]
    warnings: tuple[str, ...]
    """Warnings about files that the catalog mentions and that do not exist."""


@dataclass(frozen=True, slots=True)
class HubSource:
    """A repository on the Hub."""

    repo: str
    """``owner/name``."""
    revision: str = "main"
    """Branch, tag or commit, as written."""
    include: tuple[str, ...] = ()
    """Globs over paths in the repository; empty means every file."""
    exclude: tuple[str, ...] = ()
    unpack: tuple[tuple[str, UnpackFormat], ...] = ()
    """From glob to format; the first match counts. A file without a match is not unpacked."""
    layout: str = "raw"
    splits: tuple[tuple[str, str], ...] = ()
    """From glob to split name; the first match counts. A file without a match belongs to every split."""
    digests: tuple[tuple[str, Digest], ...] = ()
    """From path in the repository to official digest, if the publisher states one."""
    size: Size | None = None
    """Bytes to transfer for all selected files together."""
    chosen: tuple[str, ...] = ()
    """Names of the splits that it is restricted to; empty means no restriction."""
    repo_type: RepoType = "dataset"
    parts: tuple[str, ...] = ()
    """Names of the parts on its card that it is restricted to; empty means no restriction."""
    commit: str = ""
    """The commit to use for the revision, which is not part of its identity; empty to ask the Hub."""

    @property
    def kind(self) -> str:
        """The kind's name."""
        return "hub"

    @property
    def name(self) -> str:
        """Repository and revision: ``owner/name@main``."""
        return f"{self.repo}@{self.revision}"

    @property
    def page(self) -> str:
        """The repository's page on the public Hub."""
        return f"{PUBLIC_HUBS[0]}/{'datasets/' if self.repo_type == 'dataset' else ''}{self.repo}"

    @property
    def artifacts(self) -> None:
        """``None``: unknown until the repository is asked for its listing; see :meth:`select`."""
        return

    @property
    def split_names(self) -> tuple[str, ...]:
        """The splits that it can deliver separately."""
        return tuple(dict.fromkeys(split for _, split in self.splits))

    @property
    def identity(self) -> Mapping[str, Any]:
        """Its part of a recipe: the repository and revision as written, and the selection."""
        return {
            "hub": self.repo,
            "revision": self.revision,
            "include": list(self.include),
            "exclude": list(self.exclude),
            "unpack": [list(pair) for pair in self.unpack],
            "splits": list(self.chosen),
            "digests": {path: str(digest) for path, digest in self.digests},
            # Only if it is not the usual one, so that versions from before other types existed stay the same.
            **({} if self.repo_type == "dataset" else {"repo_type": self.repo_type}),
            **({"parts": list(self.parts)} if self.parts else {}),
        }

    def for_splits(self, splits: Sequence[str]) -> HubSource | None:
        """Return the source restricted to ``splits``."""
        return replace(self, chosen=tuple(splits)) if set(splits) <= set(self.split_names) else None

    def is_at(self, url: str) -> bool:
        """Return whether ``url`` is the page of this repository, on any Hub."""
        is_dataset = url.endswith(f"/datasets/{self.repo}")
        return is_dataset if self.repo_type == "dataset" else url.endswith(f"/{self.repo}") and not is_dataset

    def pinned(self, pin: str) -> HubSource:
        """Return the source at the commit ``pin``."""
        return replace(self, revision=pin)

    @property
    def stated_pin(self) -> str:
        """The commit used for the revision."""
        return self.commit

    def held_at(self, pin: str, digests: Mapping[str, Digest] | None = None) -> HubSource:  # noqa: ARG002 - its listing has them
        """Return the source at the commit ``pin``, under the revision as written."""
        return replace(self, commit=pin)

    def divided(self, splits: Sequence[tuple[str, str]]) -> HubSource:
        """Return the source with these splits; unchanged if it takes only some of the files."""
        return self if self.splits or self.parts or self.include or self.exclude else replace(self, splits=tuple(splits))

    def as_entry(self) -> dict[str, Any]:
        """Return the source as it is written in a catalog."""
        return {
            "kind": "hub",
            **({"layout": self.layout} if self.layout != "raw" else {}),
            "repo": self.repo,
            **({"repo_type": self.repo_type} if self.repo_type != "dataset" else {}),
            "revision": self.revision,
            **({"parts": list(self.parts)} if self.parts else {}),
            **({"include": list(self.include)} if self.include else {}),
            **({"exclude": list(self.exclude)} if self.exclude else {}),
            **({"unpack": dict(self.unpack)} if self.unpack else {}),
            **({"splits": dict(self.splits)} if self.splits else {}),
            **({"digests": {path: str(digest) for path, digest in self.digests}} if self.digests else {}),
            **({"size": self.size.written} if self.size is not None else {}),
        }

    def sized(self, size: Size) -> HubSource:
        """Return the source with the size that the listing of its files states."""
        return replace(self, size=size)

    def select(
        self, listing: Collection[tuple[str, int, Digest | None]], url: str, card: Sequence[CardPart] = ()
    ) -> SelectedFiles:
        """Return the artifacts of the files that the source names.

        Args:
            listing: path, size in bytes and digest of every file in the repository.
            url: URL of the directory that the paths are relative to.
            card: the parts that the repository's card describes.

        Raises:
            NotFoundError: globs match nothing, the card has no such part, or a file whose digest the catalog states is
                missing.
            DigestMismatchError: by the listing itself, a file is not the publisher's.
            SizeMismatchError: the catalog states an exact size, and the listing a different one.
        """
        where = f"the {REPOSITORY_WORDS[self.repo_type]} {self.repo} at {self.revision}"
        rules = FileRules(self.include, self.exclude, self.unpack, self.splits, self.chosen)
        official, paths = dict(self.digests), [path for path, _, _ in listing]
        taken = files_of_parts(card, self.parts, paths, where) if self.parts else paths
        of_part = f"the part {quoted('+'.join(self.parts))} of " if self.parts else ""
        selection = Selection(rules, taken, of_part + where)
        warnings = selection.warnings + self._check_digests(paths, where)
        artifacts = []
        listed_bytes = 0
        for path, size, listed in listing:
            if path in selection.kept:
                listed_bytes += size
            if path not in selection.paths:
                continue
            digest = official.get(path)
            if digest and listed and digest.algorithm == listed.algorithm and digest != listed:
                raise DigestMismatchError(
                    f"{where} lists {path} as {listed}, and the publisher's digest is {digest}; nothing of it was fetched",
                    hint="The copy is not the original. A maintainer should correct the catalog, or drop this source.",
                )
            artifacts.append(
                Artifact(
                    name=path,
                    urls=(),
                    repository_url=url,
                    size=Size(size),
                    digest=digest or listed,
                    unpack=selection.format_of(path),
                    # Many files share a directory.
                    into=sys.intern(posixpath.dirname(path)),
                    verified_against="catalog" if digest else "listing" if listed else "none",
                    authorized=True,
                )
            )
        if self.size is not None and self.size.exact not in {None, listed_bytes}:
            raise SizeMismatchError(
                f"{where} lists {listed_bytes:,} bytes, and the catalog says {self.size.value:,}; nothing of it was fetched",
                hint="It was changed upstream. A maintainer should correct the catalog or pin it.",
            )
        return SelectedFiles(tuple(artifacts), tuple(warnings))

    def _check_digests(self, paths: Collection[str], where: str) -> list[str]:
        """Return warnings about digests for files that neither exist nor are wanted.

        Raises:
            NotFoundError: a wanted file does not exist.
        """
        missing = {path for path, _ in self.digests}.difference(paths)
        globs, warnings = Globs(paths), []
        for path in sorted(missing):
            hint = globs.hint(path)
            alone = Globs((path,))
            is_wanted = not self.include or any(map(alone.matches, self.include))
            if is_wanted and not any(map(alone.matches, self.exclude)):
                raise NotFoundError(
                    f"{where} does not hold {path}, whose digest the catalog states",
                    hint=hint or "It was changed upstream. A maintainer should correct the catalog.",
                )
            warnings.append(" ".join(filter(None, (f"'digests': {quoted(path)} names no file.", hint))))
        return warnings


# --- its entry in a catalog --------------------------------------------------------------------------------------------

_HUB_SOURCE: Final = Table(
    "A repository on the Hub.",
    (
        Key("kind", {"const": "hub"}, "What kind of source this is.", required=True),
        LAYOUT,
        Key("repo", pattern(NAME), "owner/name of a repository.", required=True),
        Key("repo_type", {"enum": list(REPO_TYPES)}, "What the repository holds: dataset (by default) or model."),
        Key("revision", pattern(_REVISION), "Branch, tag or commit; by default main."),
        Key(
            "parts",
            list_of(pattern(PART), least=1),
            "Parts that the card describes under 'configs': CONFIG, SPLIT or CONFIG/SPLIT; by default every file is taken.",
        ),
        Key("include", list_of(pattern(GLOB), least=1), "Globs of the files to take; by default every file."),
        Key("exclude", list_of(pattern(GLOB)), "Globs of the files to leave out."),
        Key("unpack", map_of(GLOB, FORMAT), "Glob to format; the first that matches counts."),
        Key("splits", map_of(GLOB, pattern(SPLIT)), "Glob to split; the first that matches counts, none: every split."),
        Key("digests", map_of(RELATIVE, pattern(DIGEST)), "Path to the publisher's own digest."),
        Key("size", ref("size"), "Bytes to transfer of all selected files."),
    ),
)


def parse_keys(keys: Mapping[str, Value]) -> HubSource:
    """Return the source that the values in an entry describe, by key.

    Raises:
        ConfigurationError: a value is wrong.
    """
    unpack = _entries(keys, "unpack")
    splits = _entries(keys, "splits")
    digests = _entries(keys, "digests")
    for glob, entry in (*unpack.items(), *splits.items()):
        entry.attempt(paths.check_glob, glob)
    for path, entry in digests.items():
        entry.attempt(paths.check_relative, path)
    repo_type = cast("RepoType", keys["repo_type"].attempt(Value.choice, REPO_TYPES)) if "repo_type" in keys else "dataset"
    if "parts" in keys and repo_type == "model":
        keys["parts"].report("a model repository has no parts", "Choose files under 'include'.")
    return HubSource(
        repo=keys["repo"].attempt(_repo),
        revision=keys["revision"].attempt(_revision) if "revision" in keys else "main",
        include=keys["include"].attempt(include_globs) if "include" in keys else (),
        exclude=keys["exclude"].attempt(exclude_globs) if "exclude" in keys else (),
        unpack=tuple((glob, entry.attempt(fields.unpack_format)) for glob, entry in unpack.items()),
        layout=fields.layout(keys),
        splits=tuple((glob, entry.attempt(fields.split)) for glob, entry in splits.items()),
        digests=tuple((path, entry.attempt(fields.stated_digest)) for path, entry in digests.items()),
        size=fields.optional_size(keys, "size"),
        repo_type=repo_type,
        parts=keys["parts"].attempt(_parts) if "parts" in keys else (),
    )


def _entries(keys: Mapping[str, Value], key: str) -> Mapping[str, Value]:
    """Return the mapping at a key; empty if there is none, or if it is something else."""
    return keys[key].attempt(Value.mapping) or {} if key in keys else {}


def include_globs(value: Value) -> tuple[str, ...]:
    """Return the globs under ``include``, of which there must be at least one."""
    return paths.globs(fields.filled(value, "glob"))


def exclude_globs(value: Value) -> tuple[str, ...]:
    """Return the globs under ``exclude``."""
    return paths.globs(value.items())


def _parts(value: Value) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item.attempt(_part) for item in fields.filled(value, "part")))


def _part(value: Value) -> str:
    return fields.word(
        value, PART, "the name of a part", "Write CONFIG, SPLIT or CONFIG/SPLIT, as the repository's card has them."
    )


def _repo(value: Value) -> str:
    repo = value.text()
    if not re.fullmatch(NAME, repo):
        found = re.search(r"(?:datasets/)?([\w.-]+/[\w.-]+?)(?:\.git)?/*$", repo)
        meant = found[1] if found and re.fullmatch(NAME, found[1]) else "keithito/lj_speech"
        strange = next((character for character in repo if not character.isascii()), None)
        shown = f"{strange!r} (U+{ord(strange):04X}) is in no name on the Hub. " if strange else ""
        value.fail(
            f"{urls.quoted_url(repo)} is not the name of a repository",
            f"{shown}Write owner/name, such as {meant}, without an address before it.",
        )
    return repo


def _revision(value: Value) -> str:
    return fields.word(value, _REVISION, "a revision", "Write a branch, a tag or a commit, such as main.")


KIND: Final = SourceKind("hub", _HUB_SOURCE, parse_keys)
