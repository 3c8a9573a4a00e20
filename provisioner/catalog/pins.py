"""Pins: the state of the sources of data sets at one moment, as a file that people can read in a diff.

No source is asked here: pins are formatted as text, and parsed.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from provisioner.catalog.digest import Digest
from provisioner.catalog.document import Value, parse_document, quoted
from provisioner.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from provisioner.catalog.artifact import Artifact

VERSION: Final = 1
MAX_FILES: Final = 500
"""Files of a source that are listed one by one; for more files, the pin has only a digest over all of them."""
_DIGEST: Final = re.compile(r"([a-z0-9]+):([0-9a-f]{32,64})")
_FILE: Final = re.compile(r"(unknown|[0-9]{1,19}) (none|[a-z0-9]+:[0-9a-f]{32,64})")
_PLAIN: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*")
_HEAD: Final = """\
# What the sources of these data sets were when this file was written, by 'provisioner catalog pin'.
# With PINS naming it, a run accepts nothing else. Files: size in bytes, and digest.
"""


@dataclass(frozen=True, slots=True)
class FilePin:
    """The state of one file of a source."""

    size: int | None
    """Bytes, or ``None`` if not stated."""
    digest: Digest | None

    def __str__(self) -> str:
        """Return the form that the file of pins uses."""
        return f"{'unknown' if self.size is None else self.size} {self.digest or 'none'}"


@dataclass(frozen=True, slots=True)
class SourcePin:
    """The state of one source."""

    kind: str
    name: str
    """The name of the source: a repository and its revision as written, or the URL of its first file."""
    pin: str
    """The state that the source resolved to: a commit, or the digest of its files."""
    count: int
    listing: str
    """The digest over paths, sizes and digests of all files."""
    files: Mapping[str, FilePin] = field(default_factory=dict)
    """By path; empty if there are too many to list."""

    def difference(self, pin: str, artifacts: Sequence[Artifact]) -> str:
        """Return how a source differs from the pin, naming both; empty if it does not.

        Args:
            pin: what the source resolved to.
            artifacts: its files, or some of them.
        """
        # For some of the files, the digest over all cannot match, so each file is compared instead; a commit is the same.
        is_whole = ":" not in self.pin or len(artifacts) == self.count or not self.files
        if pin != self.pin and is_whole:
            return f"it resolves to {pin}, and the pins name {self.pin}"
        for artifact in artifacts if self.files else ():
            found, wanted = file_pin(artifact), self.files.get(artifact.path)
            if wanted is None:
                return f"it holds {artifact.path}, which the pins do not name"
            if found != wanted:
                return f"it holds {artifact.path} as {found}, and the pins name {wanted}"
        if not self.files and len(artifacts) == self.count and listing_digest(artifacts) != self.listing:
            return f"its files are {listing_digest(artifacts)} together, and the pins name {self.listing}"
        return ""


@dataclass(frozen=True, slots=True)
class DataSetPin:
    """The state of one data set."""

    recipe: str
    """The version of the requested recipe."""
    sources: tuple[SourcePin, ...]
    manifest: str = ""
    """The digest of the list of checksums of the version that was published; empty if none was."""

    @property
    def text(self) -> str:
        """Everything in it as one short text, which is the key of the version that is built from it."""
        return " ".join([self.manifest, *(source.pin for source in self.sources)])

    def of(self, kind: str, name: str) -> SourcePin | None:
        """Return the pin of a source, or ``None`` if it has none."""
        return next((source for source in self.sources if (source.kind, source.name) == (kind, name)), None)


@dataclass(frozen=True, slots=True)
class Pins:
    """The pins of some data sets."""

    file: str
    """The name of the file, for messages."""
    datasets: Mapping[str, DataSetPin]
    """By id, or by reference."""


def file_pin(artifact: Artifact) -> FilePin:
    """Return the state of a file."""
    return FilePin(artifact.exact_size, artifact.digest)


def listing_digest(artifacts: Iterable[Artifact]) -> str:
    """Return a digest over paths, sizes and digests of all files, regardless of their order."""
    lines = sorted(f"{file_pin(artifact)} {artifact.path}\n" for artifact in artifacts)
    return f"sha256:{hashlib.sha256(''.join(lines).encode('utf-8', 'surrogatepass')).hexdigest()}"


def source_pin(kind: str, name: str, pin: str, artifacts: Sequence[Artifact]) -> SourcePin:
    """Return the pin of a resolved source.

    Args:
        kind: kind of the source.
        name: name of the source.
        pin: what it resolved to.
        artifacts: all its files.
    """
    files = {one.path: file_pin(one) for one in artifacts}
    return SourcePin(kind, name, pin, len(artifacts), listing_digest(artifacts), files if len(files) <= MAX_FILES else {})


# --- as a file ---------------------------------------------------------------------------------------------------------


def pins_text(datasets: Mapping[str, DataSetPin]) -> str:
    """Return pins as the text of a file: sorted, and without anything that changes by itself."""
    lines = [f"version: {VERSION}", "datasets:" if datasets else "datasets: {}"]
    for name, dataset in sorted(datasets.items()):
        lines += [f"  {_key(name)}:", f"    recipe: {dataset.recipe!r}"]
        lines += [f"    manifest: {dataset.manifest}"] if dataset.manifest else []
        lines.append("    sources:")
        for source in dataset.sources:
            lines += [f"      - kind: {source.kind}", f"        name: {_key(source.name)}", f"        pin: {_key(source.pin)}"]
            lines += [f"        count: {source.count}", f"        listing: {source.listing}"]
            lines += ["        files:"] if source.files else []
            lines += [f"          {_key(path)}: {pin}" for path, pin in sorted(source.files.items())]
    return _HEAD + "".join(f"{line}\n" for line in lines)


def _key(text: str) -> str:
    """Return a text in YAML: plain if that is certain to be text."""
    is_plain = _PLAIN.fullmatch(text) and not re.fullmatch(r"[0-9_.eE+-]+|true|false|yes|no|on|off|null|y|n", text, re.IGNORECASE)
    return text if is_plain else f'"{"".join(map(_escaped, text))}"'


def _escaped(character: str) -> str:
    """Return a character as it is written between double quotes in YAML, which has no surrogate pairs of escapes."""
    if character in {'"', "\\"}:
        return f"\\{character}"
    return character if character.isprintable() else f"\\U{ord(character):08x}"


def parse_pins(text: str, file: str) -> Pins:
    """Return the pins in a text.

    Raises:
        ConfigurationError: it is not a valid file of pins; the message begins with ``file:line: key:``.
    """
    top = parse_document(text, file).mapping(("version", "datasets"), ("version", "datasets"))
    if (version := top["version"].integer()) != VERSION:
        top["version"].fail(f"version {version} of the format is not known", f"This program reads version {VERSION}.")
    return Pins(file, {name: _dataset(value) for name, value in top["datasets"].mapping().items()})


def _dataset(value: Value) -> DataSetPin:
    keys = value.mapping(("recipe", "manifest", "sources"), ("recipe", "sources"))
    manifest = str(_digest(keys["manifest"], keys["manifest"].text())) if "manifest" in keys else ""
    return DataSetPin(keys["recipe"].text(), tuple(_sources(keys["sources"])), manifest)


def _sources(value: Value) -> Iterator[SourcePin]:
    for item in value.items():
        keys = item.mapping(("kind", "name", "pin", "count", "listing", "files"), ("kind", "name", "pin", "count", "listing"))
        files = keys["files"].mapping() if "files" in keys else {}
        yield SourcePin(
            keys["kind"].text(),
            keys["name"].text(),
            keys["pin"].text(),
            keys["count"].integer(0),
            str(_digest(keys["listing"], keys["listing"].text())),
            {path: _file(one) for path, one in files.items()},
        )


def _file(value: Value) -> FilePin:
    found = _FILE.fullmatch(value.text())
    if found is None:
        value.fail(f"{quoted(value.text())} is no size and digest", "For example: 1234 sha256:be1a…")
    size, digest = found.groups()
    return FilePin(None if size == "unknown" else int(size), None if digest == "none" else _digest(value, digest))


def _digest(value: Value, text: str) -> Digest:
    found = _DIGEST.fullmatch(text)
    if found is None:
        raise ConfigurationError(f"{value.file}:{value.line}: {value.key}: {quoted(text)} is no digest", hint="sha256:be1a…")
    return Digest(found[1], found[2])
