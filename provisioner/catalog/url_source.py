"""Sources of the kind ``url``: files behind direct URLs, which the catalog describes completely."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from provisioner.catalog import fields, paths, urls
from provisioner.catalog.artifact import Artifact
from provisioner.catalog.document import quoted
from provisioner.catalog.file_names import is_named_by, name_in_url, name_problem
from provisioner.catalog.keys import DIGEST, FORMAT, LAYOUT, NAME, RELATIVE, SPLIT, URL, Key, Table, list_of, pattern, ref
from provisioner.catalog.size import known_total
from provisioner.catalog.source import SourceKind
from provisioner.redaction import show_url

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from provisioner.catalog.artifact import UnpackFormat
    from provisioner.catalog.digest import Digest
    from provisioner.catalog.document import Value
    from provisioner.catalog.size import Size


@dataclass(frozen=True, slots=True)
class UrlFile:
    """One file behind a direct URL (and its mirrors)."""

    url: str
    mirrors: tuple[str, ...] = ()
    size: Size | None = None
    """Bytes to transfer, or ``None`` if unknown."""
    digest: Digest | None = None
    """``None`` means unverified, which is shown everywhere."""
    unpack: UnpackFormat = "none"
    into: str = ""
    """Subdirectory of the data set, with POSIX separators; empty for its root."""
    split: str | None = None
    """``None`` if it belongs to every split."""
    unpacked_size: Size | None = None
    given_name: str = ""
    """The name that the catalog gives it; empty to use that of its URL, or of its server."""
    stated_size: Size | None = None
    """Bytes to transfer according to its server, if the catalog does not state them; not part of its identity."""
    known_digest: Digest | None = None
    """The digest in the pins, if the catalog states none; not part of its identity."""

    @property
    def name(self) -> str:
        """The file's own name: the given one, or the last component of the URL's path."""
        return self.given_name or name_in_url(self.url)

    @property
    def is_named(self) -> bool:
        """Whether its name is known without asking its server; an archive needs none."""
        return bool(self.given_name) or self.unpack != "none" or is_named_by(self.url)

    def as_entry(self) -> dict[str, Any]:
        """Return the file as it is written in a catalog."""
        size = self.size or self.stated_size
        return {
            "url": self.url,
            **({"name": self.given_name} if self.given_name else {}),
            **({"mirrors": list(self.mirrors)} if self.mirrors else {}),
            **({"size": size.written} if size is not None else {}),
            "digest": str(self.digest) if self.digest else "none",
            **({"unpack": self.unpack} if self.unpack != "none" else {}),
            **({"into": self.into} if self.into else {}),
            **({"split": self.split} if self.split else {}),
            **({"unpacked_size": self.unpacked_size.written} if self.unpacked_size is not None else {}),
        }

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that decides which bytes end up at which path; this includes neither URL nor mirrors."""
        target = {"into": self.into, "unpack": self.unpack} if self.unpack != "none" else {"into": self.into, "name": self.name}
        if self.digest is not None:
            return {"digest": str(self.digest), **target}
        # Without a digest, a file is identified by its name and size alone.
        return {"unverified": self.name, "size": self.size.value if self.size else None, **target}


@dataclass(frozen=True)
class UrlSource:
    """Direct URLs."""

    files: tuple[UrlFile, ...]
    layout: str = "raw"

    @property
    def kind(self) -> str:
        """The kind's name."""
        return "url"

    @property
    def name(self) -> str:
        """The first file's URL."""
        return self.files[0].url

    @property
    def page(self) -> str:
        """The URL of the first file, without anything that may be secret; empty for a file on this machine."""
        return show_url(self.files[0].url) if self.files[0].url.startswith("http") else ""

    @property
    def size(self) -> Size | None:
        """Bytes to transfer for all files together."""
        return known_total(file.size or file.stated_size for file in self.files)

    @cached_property
    def artifacts(self) -> tuple[Artifact, ...]:
        """One artifact for each file; no request is needed."""
        return tuple(
            Artifact(
                name=file.name,
                urls=(file.url, *file.mirrors),
                size=file.size or file.stated_size,
                digest=file.digest or file.known_digest,
                unpack=file.unpack,
                into=file.into,
                verified_against="catalog" if file.digest or file.known_digest else "none",
                unpacked_size=file.unpacked_size,
                is_named=file.is_named,
            )
            for file in self.files
        )

    @property
    def split_names(self) -> tuple[str, ...]:
        """The splits that any file belongs to."""
        return tuple(dict.fromkeys(file.split for file in self.files if file.split is not None))

    @property
    def identity(self) -> Mapping[str, Any]:
        """Its part of a recipe."""
        return {"files": [file.identity for file in self.files]}

    def for_splits(self, splits: Sequence[str]) -> UrlSource | None:
        """Return the source with only the files of ``splits``, and those that belong to every split."""
        if not set(splits) <= set(self.split_names):
            return None
        return replace(self, files=tuple(file for file in self.files if file.split is None or file.split in splits))

    def is_at(self, url: str) -> bool:
        """Return whether ``url`` is that of the first file; a receipt has it without its query."""
        return show_url(self.files[0].url) == url

    def pinned(self, pin: str) -> UrlSource:  # noqa: ARG002 - the digests are in the catalog
        """Return the source itself, since its digests do not change."""
        return self

    @property
    def stated_pin(self) -> str:
        """The digest of its only file, or one over the digests of all its files."""
        return pin_of(self.artifacts)

    def held_at(self, pin: str, digests: Mapping[str, Digest] | None = None) -> UrlSource:  # noqa: ARG002 - a server has one state
        """Return the source with digests of files for which the catalog states none; they are not part of its identity."""
        paths = (artifact.path for artifact in self.artifacts)
        known = digests or {}
        files = (
            replace(file, known_digest=known[path]) if path in known and file.unpack == "none" else file
            for file, path in zip(self.files, paths, strict=True)
        )
        return replace(self, files=tuple(files)) if known else self

    def divided(self, splits: Sequence[tuple[str, str]]) -> UrlSource:  # noqa: ARG002 - a server of files describes none
        """Return the source itself."""
        return self

    def as_entry(self) -> dict[str, Any]:
        """Return the source as written in a catalog."""
        files = [file.as_entry() for file in self.files]
        return {"kind": "url", **({"layout": self.layout} if self.layout != "raw" else {}), "files": files}

    def sized(self, size: Size) -> UrlSource:
        """Return the source with the size that the server of its file states; unchanged if it has several files."""
        return replace(self, files=(replace(self.files[0], stated_size=size),)) if len(self.files) == 1 else self


def pin_of(artifacts: Sequence[Artifact]) -> str:
    """Return the pin of some files: the digest of a single one, or one over the digests of several."""
    pins = [str(artifact.digest) if artifact.digest else f"unverified:{artifact.name}" for artifact in artifacts]
    return pins[0] if len(pins) == 1 else f"sha256:{hashlib.sha256(' '.join(pins).encode()).hexdigest()}"


# --- its entry in a catalog --------------------------------------------------------------------------------------------

_URL_FILE: Final = Table(
    "One file behind a direct URL.",
    (
        Key("url", pattern(URL), "http, https or file; its last part is the file's name.", required=True),
        Key(
            "name",
            pattern(NAME),
            "The file's name; by default that of its URL, or what its server states where that says nothing.",
        ),
        Key("mirrors", list_of(pattern(URL)), "The same bytes elsewhere, tried in this order."),
        Key("size", ref("size"), "Bytes to transfer."),
        Key(
            "digest",
            pattern(f"none|{DIGEST}"),
            "sha256:…, sha1:…, md5:…, or none: the file is then reported as unverified.",
            required=True,
        ),
        Key("unpack", FORMAT, "How to unpack it; none: it is taken as it is."),
        Key("into", {"type": "string", "pattern": f"^(?:{RELATIVE})?$"}, "Subdirectory of the data set; empty: its root."),
        Key("split", pattern(SPLIT), "The split it belongs to; a file without one belongs to every split."),
        Key("unpacked_size", ref("size"), "Bytes after unpacking."),
    ),
)
_URL_SOURCE: Final = Table(
    "Direct URLs.",
    (
        Key("kind", {"const": "url"}, "What kind of source this is.", required=True),
        LAYOUT,
        Key("files", list_of(ref("url_file"), least=1), "Its files.", required=True),
    ),
)


def _parse(keys: Mapping[str, Value]) -> UrlSource:
    entries = fields.filled(keys["files"], "file")
    files = tuple(entry.attempt(_file) for entry in entries)
    if all(file is not None and file.url and file.into is not None and file.unpack for file in files):
        _check_collisions(entries, files)
    return UrlSource(files=files, layout=fields.layout(keys))


def _file(value: Value) -> UrlFile:
    keys = value.mapping(_URL_FILE.names)
    value.mapping(required=[key for key in _URL_FILE.required if key != "digest"])
    if "digest" not in keys:
        value.report(
            "the key 'digest' is missing",
            "Add 'digest: sha256:…'; 'digest: none' where nobody states one: the file is then shown as unverified.",
        )
    unpack = keys["unpack"].attempt(fields.unpack_format) if "unpack" in keys else "none"
    if unpack == "none" and "unpacked_size" in keys:
        keys["unpacked_size"].report("the file is not unpacked", "Say how with 'unpack', or write 'size' instead.")
    return UrlFile(
        url=keys["url"].attempt(lambda url: urls.file_url(url, is_named="name" in keys)) if "url" in keys else "",
        mirrors=keys["mirrors"].attempt(_mirrors) if "mirrors" in keys else (),
        size=value.attempt(lambda _: fields.optional_size(keys, "size")),
        digest=keys["digest"].attempt(fields.optional_digest) if "digest" in keys else None,
        unpack=unpack,
        into=keys["into"].attempt(paths.directory) if "into" in keys else "",
        split=keys["split"].attempt(fields.split) if "split" in keys else None,
        unpacked_size=value.attempt(lambda _: fields.optional_size(keys, "unpacked_size")),
        given_name=keys["name"].attempt(_name) if "name" in keys else "",
    )


def _name(value: Value) -> str:
    name = value.text()
    if problem := name_problem(name):
        value.fail(f"{quoted(name)} {problem}", "Write the plain name of a file, such as clips.csv; a directory is 'into'.")
    return name


def _mirrors(value: Value) -> tuple[str, ...]:
    return tuple(item.attempt(urls.file_url) for item in value.items())


def _check_collisions(entries: Collection[Value], files: Collection[UrlFile]) -> None:
    """Refuse two files with the same path, and a file where another one needs a directory.

    Paths are compared ignoring case, because a volume's file system may not distinguish it.
    """
    lines: dict[str, int] = {}
    seen: dict[tuple[str, str, str], int] = {}
    for entry, file in zip(entries, files, strict=True):
        address = (file.url, file.into.casefold(), file.given_name.casefold())
        if address in seen:
            entry.fail(f"the URL of line {seen[address]} stands here again, with the same 'into'", "Remove one of the two.")
        seen[address] = entry.line
        path = _folded_path(file)
        if path is None:
            continue
        if path in lines:
            entry.fail(
                f"lands on the same path as the file of line {lines[path]}: {quoted(path)}",
                "Give one of them another 'into' or 'name'.",
            )
        lines[path] = entry.line
    for entry, file in zip(entries, files, strict=True):
        parts = file.into.casefold().split("/")
        for depth in range(1, len(parts) + 1):
            if (directory := "/".join(parts[:depth])) in lines:
                entry.mapping()["into"].fail(
                    f"needs a directory where the file of line {lines[directory]} lands: {quoted(directory)}",
                    "Choose another directory.",
                )


def _folded_path(file: UrlFile) -> str | None:
    """Return the path of a file that is not unpacked, ignoring case; ``None`` for an archive, or if its server names it."""
    if file.unpack != "none" or not file.is_named:
        return None
    return f"{file.into}/{file.name}".lstrip("/").casefold()


KIND: Final = SourceKind("url", _URL_SOURCE, _parse, {"url_file": _URL_FILE})
