"""What a data set's tree must hold, entry by entry, and whether a tree on the disk does.

A manifest is written beside the published tree in two forms. The first is what ``sha256sum -c`` reads (GNU coreutils,
"sha256sum invocation": a name with a backslash, a line feed or a carriage return is escaped, and its line begins with a
backslash). The second is JSON that also has sizes, links and empty folders. Names are bytes: what is not UTF-8 is kept
as ``surrogateescape`` and comes out as it went in.

Nothing here decides what to do about a difference, and nothing here writes.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import re
import stat
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as _quoted
from typing import TYPE_CHECKING, Final, Literal, NoReturn

from provisioner.errors import VolumeError
from provisioner.volume.disk import CHUNK, OPEN_READ, disk_error, from_native, to_native

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

Kind = Literal["file", "link", "folder"]
Problem = Literal["missing", "extra", "kind", "size", "digest", "target", "unreadable"]

SCHEMA_VERSION: Final = 1

_SHA256: Final = re.compile(r"[0-9a-f]{64}\Z")
_KINDS: Final[dict[str, Kind]] = {"file": "file", "link": "link", "folder": "folder"}
_KEYS: Final = frozenset({"path", "kind", "size", "sha256", "target", "executable", "source_digest", "artifact"})
_SPECIAL: Final = re.compile(rb"[\\\n\r]")
_ESCAPES: Final = {b"\\": b"\\\\", b"\n": b"\\n", b"\r": b"\\r"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a data set's tree."""

    path: str
    """Relative to the data set's root, POSIX separators; bytes that are not UTF-8 as ``surrogateescape``."""
    kind: Kind
    """A folder is listed only where nothing else implies it: it is empty."""
    size: int = 0
    """Bytes; 0 for links and folders."""
    sha256: str = ""
    """Of a file's content: 64 lower-case hexadecimal digits."""
    target: str = ""
    """What a link says."""
    executable: bool = False
    """Whether the owner may execute it; the rest of the mode is ours (0664, or 0775)."""
    source_digest: str | None = None
    """What the source's own listing calls this file's content (``gitsha1:…``), where there was one."""
    artifact: str = ""
    """Key of the artifact (downloaded file) that it came from."""


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
    """All entries of a tree, sorted by the bytes of their paths, no path twice. Made by :meth:`of` or :meth:`from_json`."""

    entries: tuple[Entry, ...] = ()

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Manifest:
        """Sort ``entries``.

        Raises:
            ValueError: a path is there twice; whoever collected them had to settle that.
        """
        ordered = sorted(entries, key=_raw_path)
        for before, after in itertools.pairwise(ordered):
            if before.path == after.path:
                raise ValueError(f"path twice in a manifest: {after.path!r}")
        return cls(tuple(ordered))

    @property
    def files(self) -> int:
        """How many files there are; links and folders do not count."""
        return sum(1 for entry in self.entries if entry.kind == "file")

    @property
    def bytes(self) -> int:
        """The lengths of all files together."""
        return sum(entry.size for entry in self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def to_sha256sum(self) -> _Bytes:
        """Give the lines that ``sha256sum -c`` checks when it runs inside the tree; files only."""
        out = io.BytesIO()
        for entry in self.entries:
            if entry.kind != "file":
                continue
            name = _raw_path(entry)
            if name == b"-":
                # sha256sum would read its standard input.
                name = b"./-"
            escaped = _SPECIAL.sub(lambda found: _ESCAPES[found[0]], name)
            out.write(b"%s%s  %s\n" % (b"" if escaped == name else b"\\", entry.sha256.encode(), escaped))
        return out.getvalue()

    def to_json(self) -> _Bytes:
        """Give the JSON form: ASCII, one entry a line, keys that say nothing left out.

        Artifact keys are long and few, so entries name them by their place in ``artifacts``.
        """
        artifacts = {
            key: place for place, key in enumerate(dict.fromkeys(entry.artifact for entry in self.entries if entry.artifact))
        }
        out = io.BytesIO()
        head = {"schema_version": SCHEMA_VERSION, "files": self.files, "bytes": self.bytes, "artifacts": list(artifacts)}
        out.write(json.dumps(head, separators=(",", ":")).encode("ascii")[:-1])
        out.write(b',"entries":[')
        separator = "\n"
        for entry in self.entries:
            # By hand: the encoder would want a dictionary for each of what may be half a million files.
            line = f'{separator}{{"path":{_quoted(entry.path)},"kind":"{entry.kind}"'
            if entry.kind == "file":
                line += f',"size":{entry.size},"sha256":"{entry.sha256}"'
            if entry.target:
                line += f',"target":{_quoted(entry.target)}'
            if entry.executable:
                line += ',"executable":true'
            if entry.source_digest is not None:
                line += f',"source_digest":{_quoted(entry.source_digest)}'
            if entry.artifact:
                line += f',"artifact":{artifacts[entry.artifact]}'
            out.write(line.encode("ascii"))
            out.write(b"}")
            separator = ",\n"
        out.write(b"\n]}\n")
        return out.getvalue()

    @classmethod
    def from_json(cls, data: _Bytes, source: str) -> Manifest:
        """Read what :meth:`to_json` wrote; ``source`` is the name of the file for messages.

        The volume may hold anything: every value is looked at, and no path leaves the tree.

        Raises:
            VolumeError: ``data`` is no manifest of this schema; says which file and why.
        """

        def refuse(reason: str) -> NoReturn:
            raise VolumeError(
                f"{source} is not a manifest: {reason}", hint="Remove the file: the data set is then checked or fetched anew."
            )

        def compact(found: dict[str, object]) -> object:
            # Called for each object as it is parsed, so that no more than one dictionary is alive at a time.
            return _Row(found) if "path" in found else found

        try:
            document = json.loads(data, object_hook=compact)
        except (ValueError, RecursionError) as error:
            refuse(f"{error}")
        except _NotAnEntryError as error:
            refuse(f"{error}")
        if not isinstance(document, dict):
            refuse("its top level is no object")
        if (version := document.get("schema_version")) != SCHEMA_VERSION or isinstance(version, bool):
            refuse(f"its schema_version is {version!r}, and this program reads {SCHEMA_VERSION}")
        artifacts = document.get("artifacts", [])
        if not isinstance(artifacts, list) or not all(isinstance(key, str) for key in artifacts):
            refuse("artifacts is no list of strings")
        rows = document.get("entries")
        if not isinstance(rows, list):
            refuse("entries is no list")
        entries: list[Entry] = []
        # Taken from the end, so that each row is freed as soon as its entry is there.
        rows.reverse()
        while rows:
            row = rows.pop()
            if not isinstance(row, _Row):
                refuse(f"entry {len(entries) + 1} is no object with a path")
            if row.artifact >= len(artifacts):
                refuse(f"{row.path!r} names artifact {row.artifact} of {len(artifacts)}")
            entries.append(row.entry(artifacts[row.artifact] if row.artifact >= 0 else ""))
        try:
            manifest = cls.of(entries)
        except ValueError as error:
            refuse(f"{error}")
        if (document.get("files"), document.get("bytes")) != (manifest.files, manifest.bytes):
            refuse("the totals are not those of its entries")
        return manifest


_Bytes = bytes
"""The type, where a class has a property of that name."""


class _NotAnEntryError(Exception):
    """An object of a manifest file that is not an entry; says why."""


class _Row:
    """A checked entry of a manifest file, its artifact still a number (-1: none)."""

    __slots__ = ("artifact", "executable", "kind", "path", "sha256", "size", "source_digest", "target")

    def __init__(self, found: dict[str, object]) -> None:
        path, kind, size = found.get("path"), found.get("kind"), found.get("size", 0)
        sha256, target, artifact = found.get("sha256", ""), found.get("target", ""), found.get("artifact", -1)
        executable, source_digest = found.get("executable", False), found.get("source_digest")
        if not isinstance(path, str) or (reason := _why_not_relative(path)):
            raise _NotAnEntryError(f"a path is {path!r}" if not isinstance(path, str) else f"path {path!r} {reason}")
        if unknown := found.keys() - _KEYS:
            raise _NotAnEntryError(f"{path!r} has the unknown key {min(unknown)!r}")
        if not isinstance(kind, str) or kind not in _KINDS:
            raise _NotAnEntryError(f"{path!r} has the kind {kind!r}")
        if type(size) is not int or size < 0 or (size and kind != "file"):
            raise _NotAnEntryError(f"{path!r} has the size {size!r}")
        if not isinstance(sha256, str) or bool(sha256) != (kind == "file") or (sha256 and not _SHA256.match(sha256)):
            raise _NotAnEntryError(f"{path!r} has the sha256 {sha256!r}")
        if not isinstance(target, str) or bool(target) != (kind == "link") or not _is_name(target):
            raise _NotAnEntryError(f"{path!r} has the target {target!r}")
        if not isinstance(executable, bool) or (executable and kind != "file"):
            raise _NotAnEntryError(f"{path!r}: executable is {executable!r}")
        if source_digest is not None and not isinstance(source_digest, str):
            raise _NotAnEntryError(f"{path!r}: source_digest is {source_digest!r}")
        if type(artifact) is not int or artifact < -1:
            raise _NotAnEntryError(f"{path!r}: artifact is {artifact!r}")
        self.path, self.kind, self.size, self.sha256 = path, _KINDS[kind], size, sha256
        self.target, self.executable, self.source_digest, self.artifact = target, executable, source_digest, artifact

    def entry(self, artifact: str) -> Entry:
        return Entry(self.path, self.kind, self.size, self.sha256, self.target, self.executable, self.source_digest, artifact)


def _raw_path(entry: Entry) -> bytes:
    return entry.path.encode("utf-8", "surrogateescape")


def _is_name(text: str) -> bool:
    """Say whether ``text`` can be bytes of a name: no NUL, and no surrogates but those that stand for a byte."""
    try:
        return b"\0" not in text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False


def _why_not_relative(path: str) -> str:
    """Say why ``path`` is no plain relative path; empty when it is one."""
    if not _is_name(path):
        return "is no name of a file"
    if any(part in {"", ".", ".."} for part in path.split("/")):
        return "is not relative and plain"
    return ""


# --- a tree against its manifest ---------------------------------------------------------------------------------------


def check_tree(root: Path, manifest: Manifest, *, deep: bool, check: Callable[[], None]) -> list[Finding]:
    """Compare the tree at ``root`` with ``manifest``; an empty answer says that they are the same.

    Kinds, sizes and link targets are always compared; ``deep`` also reads and hashes every file. Modes and times are
    not looked at. ``check`` is called for every name and every MiB, and ends the work by raising. Links are not
    followed. The findings come in the order of the manifest, then what is there and not in it. A tree that does not
    exist misses everything.

    Raises:
        VolumeError: a folder cannot be listed. A file that cannot be read is a finding.
    """
    there = _names_under(root, check)
    findings: list[Finding] = []
    implied: set[str] = set()
    base = os.fspath(root)
    for entry in manifest:
        check()
        parent = entry.path.rpartition("/")[0]
        while parent and parent not in implied:
            implied.add(parent)
            parent = parent.rpartition("/")[0]
        kind = there.pop(entry.path, None)
        if kind is None:
            findings.append(Finding(entry.path, "missing"))
        elif kind != entry.kind:
            findings.append(Finding(entry.path, "kind", entry.kind, kind))
        elif kind != "folder":
            finding = _compare(os.path.join(base, to_native(entry.path)), entry, check, deep=deep)  # noqa: PTH118
            if finding is not None:
                findings.append(finding)
    findings.extend(
        Finding(path, "extra", "", kind)
        for path, kind in sorted(there.items(), key=lambda item: item[0].encode("utf-8", "surrogateescape"))
        if kind != "folder" or path not in implied
    )
    return findings


def _names_under(root: Path, check: Callable[[], None]) -> dict[str, str]:
    """Give every path under ``root`` with its kind: ours, or ``other`` for devices and the like."""
    there: dict[str, str] = {}
    base = os.fspath(root)
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(os.path.join(base, to_native(folder)) if folder else base) as listing:  # noqa: PTH118
                for item in listing:
                    check()
                    path = f"{folder}/{from_native(item.name)}" if folder else from_native(item.name)
                    if item.is_symlink():
                        there[path] = "link"
                    elif item.is_dir(follow_symlinks=False):
                        there[path] = "folder"
                        pending.append(path)
                    else:
                        there[path] = "file" if item.is_file(follow_symlinks=False) else "other"
        except FileNotFoundError:
            continue
        except OSError as error:
            raise disk_error(error, f"listing {folder or '.'!r} in {root}", path=root) from error
    return there


def _compare(path: str, entry: Entry, check: Callable[[], None], *, deep: bool) -> Finding | None:
    try:
        if entry.kind == "link":
            target = from_native(os.readlink(path))
            return None if target == entry.target else Finding(entry.path, "target", entry.target, target)
        facts = os.stat(path, follow_symlinks=False)  # noqa: PTH116
        if not stat.S_ISREG(facts.st_mode):
            return Finding(entry.path, "kind", entry.kind, "other")
        if facts.st_size != entry.size:
            return Finding(entry.path, "size", str(entry.size), str(facts.st_size))
        if deep and (actual := _sha256(path, check)) != entry.sha256:
            return Finding(entry.path, "digest", entry.sha256, actual)
    except FileNotFoundError:
        return Finding(entry.path, "missing")
    except OSError as error:
        return Finding(entry.path, "unreadable", "", error.strerror or str(error))
    return None


def _sha256(path: str, check: Callable[[], None]) -> str:
    hasher = hashlib.sha256()
    handle = os.open(path, OPEN_READ)
    try:
        while data := os.read(handle, CHUNK):
            hasher.update(data)
            check()
    finally:
        os.close(handle)
    return hasher.hexdigest()
