"""What a data set's tree must hold, entry by entry, and whether a tree on the disk does.

A manifest is written beside the published tree in two forms. The first is what ``sha256sum -c`` reads (GNU coreutils,
"sha256sum invocation": a name with a backslash, a line feed or a carriage return is escaped, and its line begins with a
backslash). The second is JSON that also has sizes, links and empty directories. Names are bytes: what is not UTF-8 is kept
as ``surrogateescape`` and comes out as it went in.

Nothing here decides what to do about a difference, and nothing here writes.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import stat
from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _quoted
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from provisioner.errors import VolumeError
from provisioner.volume.fs.errors import disk_error
from provisioner.volume.fs.files import CHUNK, OPEN_READ
from provisioner.volume.fs.paths import from_native, to_native

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

Kind = Literal["file", "link", "folder"]
Problem = Literal["missing", "extra", "kind", "size", "digest", "target", "unreadable"]

SCHEMA_VERSION: Final = 1

_DIGEST: Final = 32
"""Bytes of a SHA-256."""
_OPENING: Final = b'"entries":[\n'
_CLOSING: Final = b"]}\n"
_SEEN: Final = ("", "file", "link", "folder", "other")
_NO_NAMES: Final = frozenset({"", ".", ".."})
_SHA256: Final = re.compile(r"[0-9a-f]{64}\Z")
_KINDS: Final[dict[str, Kind]] = {"file": "file", "link": "link", "folder": "folder"}
_KEYS: Final = frozenset({"path", "kind", "size", "sha256", "target", "executable", "source_digest", "artifact"})
_SPECIAL: Final = re.compile(rb"[\\\n\r]")
_ESCAPES: Final = {b"\\": b"\\\\", b"\n": b"\\n", b"\r": b"\\r"}


class _Rest(NamedTuple):
    """What most entries of an artifact have in common."""

    kind: Kind
    target: str
    executable: bool
    source_digest: str | None
    artifact: str


@lru_cache(maxsize=256)
def _shared(kind: Kind, target: str, executable: bool, source_digest: str | None, artifact: str) -> _Rest:  # noqa: FBT001
    """Return one object for equal values that come in a row, or nearly."""
    return _Rest(kind, target, executable, source_digest, artifact)


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Entry:
    """One name in a data set's tree.

    There may be a million of them at once, so they are small: some 130 bytes and the path.
    """

    path: str
    """Relative to the data set's root, POSIX separators; bytes that are not UTF-8 as ``surrogateescape``."""
    _content: bytes
    """Of a file: its SHA-256 (32 bytes), then its size, little-endian, in as few bytes as it takes."""
    _rest: _Rest

    def __init__(
        self,
        path: str,
        kind: Kind,
        size: int = 0,
        sha256: str = "",
        *,
        target: str = "",
        executable: bool = False,
        source_digest: str | None = None,
        artifact: str = "",
    ) -> None:
        """Make one.

        Args:
            path: relative to the data set's root.
            kind: a directory is listed only where nothing else implies it: it is empty.
            size: bytes of a file; 0 for links and directories.
            sha256: of a file's content: 64 lower-case hexadecimal digits; empty for links and directories.
            target: what a link says.
            executable: whether the owner may execute it; the rest of the mode is ours (0664, or 0775).
            source_digest: what the source's own listing calls this file's content (``gitsha1:…``), where there was one.
            artifact: key of the artifact (downloaded file) that it came from.

        Raises:
            ValueError: a file without its SHA-256, or something else with one, or with a size.
        """
        digest = bytes.fromhex(sha256)
        if len(digest) != (_DIGEST if kind == "file" else 0) or (size and not digest):
            raise ValueError(f"{path!r} is a {kind} of {size} bytes with the sha256 {sha256!r}")
        set_field = object.__setattr__
        set_field(self, "path", path)
        set_field(self, "_content", digest + size.to_bytes((size.bit_length() + 7) // 8, "little"))
        set_field(self, "_rest", _shared(kind, target, executable, source_digest, artifact))

    def moved(self, path: str, artifact: str) -> Entry:
        """Return the same content under another path, from another artifact."""
        kind, target, executable, source_digest, _ = self._rest
        return Entry(
            path,
            kind,
            self.size,
            self.sha256,
            target=target,
            executable=executable,
            source_digest=source_digest,
            artifact=artifact,
        )

    def __repr__(self) -> str:
        rest = ", ".join(f"{name}={value!r}" for name, value in self._rest._asdict().items() if value)
        return f"Entry({self.path!r}, {rest}, size={self.size}, sha256={self.sha256!r})"

    @property
    def kind(self) -> Kind:
        """What it is; a directory is listed only where nothing else implies it: it is empty."""
        return self._rest.kind

    @property
    def size(self) -> int:
        """Bytes; 0 for links and directories."""
        return int.from_bytes(self._content[_DIGEST:], "little")

    @property
    def sha256(self) -> str:
        """Of a file's content: 64 lower-case hexadecimal digits; empty for links and directories."""
        return self._content[:_DIGEST].hex()

    @property
    def target(self) -> str:
        """What a link says."""
        return self._rest.target

    @property
    def executable(self) -> bool:
        """Whether the owner may execute it; the rest of the mode is ours (0664, or 0775)."""
        return self._rest.executable

    @property
    def source_digest(self) -> str | None:
        """What the source's own listing calls this file's content (``gitsha1:…``), where there was one."""
        return self._rest.source_digest

    @property
    def artifact(self) -> str:
        """Key of the artifact (downloaded file) that it came from."""
        return self._rest.artifact


@dataclass(frozen=True, slots=True)
class Finding:
    """One way in which a tree is not what its manifest says."""

    path: str
    problem: Problem
    expected: str = ""
    actual: str = ""

    def __str__(self) -> str:
        match self.problem:
            case "missing" | "extra":
                return f"{self.path}: {self.problem}"
            case "unreadable":
                return f"{self.path}: cannot be read: {self.actual}"
            case _:
                return f"{self.path}: {self.problem} is {self.actual}, expected {self.expected}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """All entries of a tree, sorted by the bytes of their paths, no path twice.

    Made by :meth:`of`, :meth:`merged` or :meth:`read`; or of entries taken out of another, in its order.
    """

    entries: tuple[Entry, ...] = ()

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Manifest:
        """Sort ``entries``.

        Raises:
            ValueError: a path is there twice; whoever collected them had to settle that.
        """
        ordered = sorted(entries, key=_order)
        for before, after in itertools.pairwise(ordered):
            if before.path == after.path:
                raise ValueError(f"path twice in a manifest: {after.path!r}")
        return cls(tuple(ordered))

    @classmethod
    def merged(cls, parts: Iterable[Iterable[Entry]]) -> Manifest:
        """Put together what several artifacts made.

        Of several entries of one path the first counts, and a directory that one left empty and another filled is dropped.
        """
        ordered = sorted(itertools.chain.from_iterable(parts), key=_order)
        return cls(
            tuple(
                entry
                for before, entry in zip(itertools.chain((None,), ordered), ordered, strict=False)
                if (before is None or before.path != entry.path)
                and (entry.kind != "folder" or not _is_filled(ordered, entry.path))
            )
        )

    @property
    def files(self) -> int:
        """How many files there are; links and directories do not count."""
        return sum(1 for entry in self.entries if entry._rest.kind == "file")  # noqa: SLF001 - of this module

    @property
    def bytes(self) -> int:
        """The lengths of all files together."""
        return sum(entry.size for entry in self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def sha256sum_lines(self) -> Iterator[_Bytes]:
        """Return the lines that ``sha256sum -c`` checks when it runs inside the tree, line feeds included; files only."""
        for entry in self.entries:
            if entry.kind != "file":
                continue
            name = entry.path.encode("utf-8", "surrogateescape")
            if name == b"-":
                # sha256sum would read its standard input.
                name = b"./-"
            escaped = _SPECIAL.sub(lambda found: _ESCAPES[found[0]], name)
            yield b"%s%s  %s\n" % (b"" if escaped == name else b"\\", entry.sha256.encode(), escaped)

    def json_lines(self) -> Iterator[_Bytes]:
        """Return the lines of the JSON form: ASCII, one entry a line, keys that say nothing left out.

        Artifact keys are long and few, so entries name them by their place in ``artifacts``.
        """
        artifacts = {
            key: place for place, key in enumerate(dict.fromkeys(entry.artifact for entry in self.entries if entry.artifact))
        }
        head = {"schema_version": SCHEMA_VERSION, "files": self.files, "bytes": self.bytes, "artifacts": list(artifacts)}
        yield json.dumps(head, separators=(",", ":")).encode("ascii")[:-1] + b"," + _OPENING
        for left, entry in zip(range(len(self.entries) - 1, -1, -1), self.entries, strict=True):
            # By hand: the encoder would want a dictionary for each of what may be a million files.
            kind, target, executable, source_digest, artifact = entry._rest  # noqa: SLF001 - of this module
            line = f'{{"path":{_quoted(entry.path)},"kind":"{kind}"'
            if kind == "file":
                content = entry._content  # noqa: SLF001 - the same
                line += f',"size":{int.from_bytes(content[_DIGEST:], "little")},"sha256":"{content[:_DIGEST].hex()}"'
            if target:
                line += f',"target":{_quoted(target)}'
            if executable:
                line += ',"executable":true'
            if source_digest is not None:
                line += f',"source_digest":{_quoted(source_digest)}'
            if artifact:
                line += f',"artifact":{artifacts[artifact]}'
            line += "},\n" if left else "}\n"
            yield line.encode("ascii")
        yield _CLOSING

    @classmethod
    def read(cls, lines: Iterable[_Bytes], source: str) -> Manifest:
        """Read what :meth:`json_lines` gave; ``source`` is the name of the file for messages.

        The volume may hold anything: every value is looked at, and no path leaves the tree. JSON that has not one entry a
        line was not written here and is refused.

        Args:
            lines: those of an open file; nothing but a line at a time is held besides the entries.
            source: for messages.

        Raises:
            VolumeError: this is no manifest of this schema; says which file and why.
            OSError: as ``lines`` raises it.
        """
        try:
            rest = iter(lines)
            head = _head(next(rest, b""))
            manifest = cls.of(_entries(rest, head["artifacts"]))
            _compare_totals(head, manifest)
        except (ValueError, RecursionError) as error:
            raise VolumeError(
                f"{source} is not a manifest: {error}", hint="Remove the file: the data set is then checked or fetched anew."
            ) from error
        return manifest


_Bytes = bytes
"""The type, where a class has a property of that name."""


class _NotAManifestError(ValueError):
    """Something in a manifest file is not what it should be; says why."""


def _head(line: bytes) -> dict[str, Any]:
    """Return what the first line of a file says, all of which is looked at but the totals."""
    if not line.endswith(_OPENING):
        raise _NotAManifestError("its first line does not end where the entries begin")
    document = json.loads((line + _CLOSING).decode("ascii"))
    if not isinstance(document, dict):
        raise _NotAManifestError("its top level is no object")
    if (version := document.get("schema_version")) != SCHEMA_VERSION or isinstance(version, bool):
        raise _NotAManifestError(f"its schema_version is {version!r}, and this program reads {SCHEMA_VERSION}")
    artifacts = document.setdefault("artifacts", [])
    if not isinstance(artifacts, list) or not all(isinstance(key, str) for key in artifacts):
        raise _NotAManifestError("artifacts is no list of strings")
    if document.get("entries") != []:
        raise _NotAManifestError("entries is no list")
    return document


def _entries(lines: Iterator[bytes], artifacts: Sequence[str]) -> Iterator[Entry]:
    """Return the entries of the lines after the first, to the file's end."""
    place, more = 1, False
    for line in lines:
        if line == _CLOSING and not more:
            if next(lines, b""):
                raise _NotAManifestError("something follows its end")
            return
        if place > 1 and not more:
            raise _NotAManifestError(f"something follows entry {place - 1}")
        more = line.endswith(b",\n")
        yield _entry(json.loads((line[:-2] if more else line).decode("ascii")), artifacts, place)
        place += 1
    raise _NotAManifestError(f"it ends in the middle, with {place - 1} entries")


def _compare_totals(head: Mapping[str, object], manifest: Manifest) -> None:
    if (head.get("files"), head.get("bytes")) != (manifest.files, manifest.bytes):
        raise _NotAManifestError("the totals are not those of its entries")


def _entry(found: object, artifacts: Sequence[str], place: int) -> Entry:
    """Return the entry of one line, all of whose values are looked at."""
    if not isinstance(found, dict) or "path" not in found:
        raise _NotAManifestError(f"entry {place} is no object with a path")
    path, kind, size = found["path"], found.get("kind"), found.get("size", 0)
    sha256, target, artifact = found.get("sha256", ""), found.get("target", ""), found.get("artifact", -1)
    executable, source_digest = found.get("executable", False), found.get("source_digest")
    if not isinstance(path, str) or (reason := _why_not_relative(path)):
        raise _NotAManifestError(f"a path is {path!r}" if not isinstance(path, str) else f"path {path!r} {reason}")
    if not found.keys() <= _KEYS:
        raise _NotAManifestError(f"{path!r} has the unknown key {min(found.keys() - _KEYS)!r}")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise _NotAManifestError(f"{path!r} has the kind {kind!r}")
    if type(size) is not int or size < 0 or (size and kind != "file"):
        raise _NotAManifestError(f"{path!r} has the size {size!r}")
    if not isinstance(sha256, str) or bool(sha256) != (kind == "file") or (sha256 and not _SHA256.match(sha256)):
        raise _NotAManifestError(f"{path!r} has the sha256 {sha256!r}")
    if not isinstance(target, str) or bool(target) != (kind == "link") or not _is_name(target):
        raise _NotAManifestError(f"{path!r} has the target {target!r}")
    if not isinstance(executable, bool) or (executable and kind != "file"):
        raise _NotAManifestError(f"{path!r}: executable is {executable!r}")
    if source_digest is not None and not isinstance(source_digest, str):
        raise _NotAManifestError(f"{path!r}: source_digest is {source_digest!r}")
    if type(artifact) is not int or not -1 <= artifact < len(artifacts):
        raise _NotAManifestError(f"{path!r}: artifact is {artifact!r}, of {len(artifacts)}")
    key = artifacts[artifact] if artifact >= 0 else ""
    return Entry(
        path,
        _KINDS[kind],
        size,
        sha256,
        target=target,
        executable=executable,
        source_digest=source_digest,
        artifact=key,
    )


# --- the order -----------------------------------------------------------------------------------------------------------


def _rank(path: str) -> str:
    """Return a text that sorts as the bytes of ``path`` do: mostly that very object, which takes no memory."""
    return path if path.isascii() else path.encode("utf-8", "surrogateescape").decode("latin-1")


def _order(entry: Entry) -> str:
    # The function that is called most often of all.
    return path if (path := entry.path).isascii() else _rank(path)


def _find(entries: Sequence[Entry], path: str) -> int:
    """Return the place of the entry with ``path``, or -1."""
    place = bisect_left(entries, _rank(path), key=_order)
    return place if place < len(entries) and entries[place].path == path else -1


def _is_filled(entries: Sequence[Entry], directory: str) -> bool:
    """Return whether there is an entry below ``directory``."""
    place = bisect_left(entries, _rank(f"{directory}/"), key=_order)
    return place < len(entries) and entries[place].path.startswith(f"{directory}/")


def _is_name(text: str) -> bool:
    """Return whether ``text`` can be bytes of a name: no NUL, and no surrogates but those that stand for a byte."""
    if text.isascii():
        return "\0" not in text
    try:
        return b"\0" not in text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False


def _why_not_relative(path: str) -> str:
    """Return why ``path`` is no plain relative path; empty when it is one."""
    if not _is_name(path):
        return "is no name of a file"
    if not _NO_NAMES.isdisjoint(path.split("/")):
        return "is not relative and plain"
    return ""


# --- a tree against its manifest ---------------------------------------------------------------------------------------


def _nobody(_count: int) -> None:
    """Tell nobody."""


def check_tree(
    root: Path,
    manifest: Manifest,
    *,
    deep: bool,
    check_cancelled: Callable[[], None],
    extra: bool = True,
    advance: Callable[[int], None] = _nobody,
) -> list[Finding]:
    """Compare the tree at ``root`` with ``manifest``; an empty answer says that they are the same.

    Kinds, sizes and link targets are always compared; ``deep`` also reads and hashes every file. Modes and times are
    not looked at. ``check_cancelled`` is called for every name and every MiB, and ends the work by raising. Links are not
    followed. The findings come in the order of the manifest, then what is there and not in it. A tree that does not
    exist misses everything. Without ``extra`` what is there and not in the manifest is no finding. ``advance`` is told the
    bytes that were hashed.

    Raises:
        VolumeError: a directory cannot be listed. A file that cannot be read is a finding.
    """
    entries = manifest.entries
    # What is there, by place in the manifest; a directory may hold half a million names, so that they are not kept.
    there = bytearray(len(entries))
    more: list[tuple[str, str]] = []
    for path, kind in _names_under(root, check_cancelled):
        place = _find(entries, path)
        if place >= 0:
            there[place] = _SEEN.index(kind)
        elif extra and (kind != "folder" or not _is_filled(entries, path)):
            more.append((path, kind))
    findings: list[Finding] = []
    base = os.fspath(root)
    for seen, entry in zip(there, entries, strict=True):
        check_cancelled()
        kind = _SEEN[seen]
        if not kind:
            findings.append(Finding(entry.path, "missing"))
        elif kind != entry.kind:
            findings.append(Finding(entry.path, "kind", entry.kind, kind))
        elif kind != "folder":
            finding = _compare(os.path.join(base, to_native(entry.path)), entry, check_cancelled, advance, deep=deep)  # noqa: PTH118
            if finding is not None:
                findings.append(finding)
    more.sort(key=lambda item: _rank(item[0]))
    findings.extend(Finding(path, "extra", "", kind) for path, kind in more)
    return findings


def check_entry(root: Path, entry: Entry, *, check_cancelled: Callable[[], None]) -> bool:
    """Return whether one file or link of a tree is as it should be, bytes and all."""
    return _compare(os.path.join(root, to_native(entry.path)), entry, check_cancelled, _nobody, deep=True) is None  # noqa: PTH118


def _names_under(root: Path, check_cancelled: Callable[[], None]) -> Iterator[tuple[str, str]]:
    """Return every path under ``root`` with its kind: ours, or ``other`` for devices and the like."""
    base = os.fspath(root)
    pending = [""]
    while pending:
        directory = pending.pop()
        try:
            with os.scandir(os.path.join(base, to_native(directory)) if directory else base) as listing:  # noqa: PTH118
                for item in listing:
                    check_cancelled()
                    path = f"{directory}/{from_native(item.name)}" if directory else from_native(item.name)
                    if item.is_symlink():
                        yield path, "link"
                    elif item.is_dir(follow_symlinks=False):
                        pending.append(path)
                        yield path, "folder"
                    else:
                        yield path, "file" if item.is_file(follow_symlinks=False) else "other"
        except FileNotFoundError:
            continue
        except OSError as error:
            raise disk_error(error, f"listing {directory or '.'!r} in {root}", path=root) from error


def _compare(
    path: str, entry: Entry, check_cancelled: Callable[[], None], advance: Callable[[int], None], *, deep: bool
) -> Finding | None:
    try:
        if entry.kind == "link":
            target = from_native(os.readlink(path))
            return None if target == entry.target else Finding(entry.path, "target", entry.target, target)
        facts = os.stat(path, follow_symlinks=False)  # noqa: PTH116
        if not stat.S_ISREG(facts.st_mode):
            return Finding(entry.path, "kind", entry.kind, "other")
        if facts.st_size != entry.size:
            return Finding(entry.path, "size", str(entry.size), str(facts.st_size))
        if deep and (actual := _sha256(path, check_cancelled, advance)) != entry.sha256:
            return Finding(entry.path, "digest", entry.sha256, actual)
    except FileNotFoundError:
        return Finding(entry.path, "missing")
    except OSError as error:
        return Finding(entry.path, "unreadable", "", error.strerror or str(error))
    return None


def _sha256(path: str, check_cancelled: Callable[[], None], advance: Callable[[int], None]) -> str:
    hasher = hashlib.sha256()
    handle = os.open(path, OPEN_READ)
    try:
        while data := os.read(handle, CHUNK):
            hasher.update(data)
            advance(len(data))
            check_cancelled()
    finally:
        os.close(handle)
    return hasher.hexdigest()
