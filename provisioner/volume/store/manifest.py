"""All entries of a data set's tree, and the two files in which they are written beside it.

``VERSION.sha256`` is what ``sha256sum -c`` reads (GNU coreutils, "sha256sum invocation": a name with a backslash, a line
feed or a carriage return is escaped, and its line begins with a backslash). It lists files only.

``VERSION.json`` also has sizes, links and empty directories. It is one JSON document, ASCII, written so that it can be read
line by line: the first line holds ``schema_version``, ``files``, ``bytes`` and ``artifacts`` and ends where ``entries``
begin; then one entry a line; then the closing brackets.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from dataclasses import dataclass
from functools import cached_property
from json.encoder import encode_basestring_ascii as _quoted
from typing import TYPE_CHECKING, Any, Final

from provisioner.errors import VolumeError
from provisioner.volume.store.entry import Entry, entry_key, has_entry_below

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from provisioner.volume.store.entry import Kind, SharedFields

SCHEMA_VERSION: Final = 1

_OPENING: Final = b'"entries":[\n'
_CLOSING: Final = b"]}\n"
_NO_NAMES: Final = frozenset({"", ".", ".."})
_SHA256: Final = re.compile(r"[0-9a-f]{64}\Z")
_KINDS: Final[dict[str, Kind]] = {"file": "file", "link": "link", "folder": "folder"}
_SPECIAL: Final = re.compile(rb"[\\\n\r]")
_ESCAPES: Final = {b"\\": b"\\\\", b"\n": b"\\n", b"\r": b"\\r"}


@dataclass(frozen=True)
class Manifest:
    """All entries of a tree, sorted by the bytes of their paths, no path twice.

    Made by :meth:`of`, :meth:`merged` or :meth:`read`; or from entries of another manifest, in its order.
    """

    entries: tuple[Entry, ...] = ()

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Manifest:
        """Return the manifest of ``entries`` in any order.

        Raises:
            ValueError: two entries have the same path.
        """
        ordered = sorted(entries, key=entry_key)
        for before, after in itertools.pairwise(ordered):
            if before.path == after.path:
                raise ValueError(f"path twice in a manifest: {after.path!r}")
        return cls(tuple(ordered))

    @classmethod
    def merged(cls, parts: Iterable[Iterable[Entry]]) -> Manifest:
        """Return the manifest of a tree that several artifacts filled.

        If several entries have the same path, the first counts. A directory that one artifact left empty and another filled
        is dropped.
        """
        ordered = sorted(itertools.chain.from_iterable(parts), key=entry_key)
        return cls(
            tuple(
                entry
                for before, entry in zip(itertools.chain((None,), ordered), ordered, strict=False)
                if (before is None or before.path != entry.path)
                and (entry.kind != "folder" or not has_entry_below(ordered, entry.path))
            )
        )

    @property
    def files(self) -> int:
        """Number of files; links and directories do not count."""
        return sum(1 for entry in self.entries if entry.shared.kind == "file")

    @cached_property
    def bytes(self) -> int:
        """Sum of the sizes of all files."""
        return sum(entry.size for entry in self.entries)

    def without_artifacts(self) -> Manifest:
        """Return the same tree without the artifacts that its files came from."""
        return Manifest(
            tuple(
                Entry(each.path, each.kind, each.size, each.sha256, target=each.target, executable=each.executable)
                for each in self.entries
            )
        )

    def is_same_tree(self, other: Manifest) -> bool:
        """Return whether another manifest describes the same tree; the artifacts that files came from are not compared."""
        return len(self.entries) == len(other.entries) and all(
            (one.path, one.kind, one.size, one.sha256, one.target, one.executable)
            == (two.path, two.kind, two.size, two.sha256, two.target, two.executable)
            for one, two in zip(self.entries, other.entries, strict=True)
        )

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def sha256sum_lines(self) -> Iterator[_Bytes]:
        """Yield the lines that ``sha256sum -c`` checks inside the tree, with line feeds; only files are listed."""
        for entry in self.entries:
            if entry.kind != "file":
                continue
            name = entry.path.encode("utf-8", "surrogateescape")
            if name == b"-":
                # Otherwise sha256sum would read its standard input.
                name = b"./-"
            escaped = _SPECIAL.sub(lambda found: _ESCAPES[found[0]], name)
            yield b"%s%s  %s\n" % (b"" if escaped == name else b"\\", entry.sha256.encode(), escaped)

    def checksums_digest(self) -> str:
        """Return the digest of these lines, which is the same for the same files at the same paths."""
        hasher = hashlib.sha256()
        for line in self.sha256sum_lines():
            hasher.update(line)
        return f"sha256:{hasher.hexdigest()}"

    def json_lines(self) -> Iterator[_Bytes]:
        """Yield the lines of the JSON form: ASCII, one entry per line, without keys that have their default value.

        Artifact keys are long and few, so entries refer to them by their index in ``artifacts``.
        """
        yield self._json_head()
        artifacts: dict[str, int] = {}
        count = 0
        before: SharedFields | None = None
        tail = ""
        for left, entry in zip(range(len(self.entries) - 1, -1, -1), self.entries, strict=True):
            # Formatted by hand: the encoder would need a dictionary for each of perhaps a million files.
            shared = entry.shared
            line = f'{{"path":{_quoted(entry.path)},"kind":"{shared.kind}"'
            if shared.kind == "file":
                line += f',"size":{entry.size},"sha256":"{entry.sha256}"'
            if shared.source_bytes or shared.artifact_bytes or shared is not before:
                before, tail = shared, _rest_of(entry)
                if shared.artifact_bytes or (entry.artifact and entry.artifact not in artifacts):
                    if not shared.artifact_bytes:
                        artifacts[entry.artifact] = count
                    tail += f',"artifact":{count}}}'
                    count += 1
                else:
                    tail += f',"artifact":{artifacts[entry.artifact]}}}' if entry.artifact else "}"
            yield (line + tail + (",\n" if left else "\n")).encode("ascii")
        yield _CLOSING

    def _json_head(self) -> _Bytes:
        """Return the first line, with the artifacts' keys in the order in which entries first refer to them."""
        head = {"schema_version": SCHEMA_VERSION, "files": self.files, "bytes": self.bytes}
        line = bytearray(json.dumps(head, separators=(",", ":")).encode("ascii")[:-1])
        line += b',"artifacts":'
        separator = b"["
        for key in self._artifacts():
            line += separator + _quoted(key).encode("ascii")
            separator = b","
        line += b"[" * (separator == b"[") + b"]," + _OPENING
        return bytes(line)

    def _artifacts(self) -> Iterator[str]:
        """Yield the keys of all artifacts; the key of a file that is an artifact by itself occurs only once."""
        seen: set[str] = set()
        for entry in self.entries:
            key = entry.artifact
            if entry.shared.artifact_bytes:
                yield key
            elif key and key not in seen:
                seen.add(key)
                yield key

    @classmethod
    def read(cls, lines: Iterable[_Bytes], source: str) -> Manifest:
        """Return the manifest that :meth:`json_lines` wrote.

        The file may have been damaged or made by another program, so every value is checked, and no path may leave the tree.
        A JSON document that does not have one entry per line is refused.

        Args:
            lines: the lines of an open file; only one line is held at a time, besides the entries.
            source: the file's name, for messages.

        Raises:
            VolumeError: it is not a manifest of this schema; the message names the file and the reason.
            OSError: ``lines`` raised it.
        """
        try:
            rest = iter(lines)
            head = _parse_head(next(rest, b""))
            manifest = cls.of(_parse_entries(rest, head["artifacts"]))
            _check_totals(head, manifest)
        except (ValueError, RecursionError) as error:
            raise VolumeError(
                f"{source} is not a manifest: {error}", hint="Remove the file: the data set is then checked or fetched anew."
            ) from error
        return manifest


_Bytes = bytes
"""The built-in type, because a class below has a property with the same name."""


class _NotAManifestError(ValueError):
    """A value in a manifest file is wrong; the message says which and why."""


def _rest_of(entry: Entry) -> str:
    """Return what the JSON line of an entry says between its digest and its artifact."""
    target, executable, source_digest = entry.target, entry.executable, entry.source_digest
    text = f',"target":{_quoted(target)}' if target else ""
    text += ',"executable":true' if executable else ""
    return text if source_digest is None else f'{text},"source_digest":{_quoted(source_digest)}'


def _parse_head(line: bytes) -> dict[str, Any]:
    """Return the values of a file's first line, checked except for the totals."""
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


def _parse_entries(lines: Iterator[bytes], artifacts: Sequence[str]) -> Iterator[Entry]:
    """Yield the entries of the lines after the first, to the file's end."""
    number, more = 1, False
    for line in lines:
        if line == _CLOSING and not more:
            if next(lines, b""):
                raise _NotAManifestError("something follows its end")
            return
        if number > 1 and not more:
            raise _NotAManifestError(f"something follows entry {number - 1}")
        more = line.endswith(b",\n")
        yield _parse_entry(json.loads((line[:-2] if more else line).decode("ascii")), artifacts, number)
        number += 1
    raise _NotAManifestError(f"it ends in the middle, with {number - 1} entries")


def _check_totals(head: Mapping[str, object], manifest: Manifest) -> None:
    if (head.get("files"), head.get("bytes")) != (manifest.files, manifest.bytes):
        raise _NotAManifestError("the totals are not those of its entries")


def _parse_entry(found: object, artifacts: Sequence[str], number: int) -> Entry:
    """Return the entry in one line; every value is checked, and unknown keys, added by a later version, are ignored."""
    if not isinstance(found, dict) or "path" not in found:
        raise _NotAManifestError(f"entry {number} is no object with a path")
    path, kind, size = found["path"], found.get("kind"), found.get("size", 0)
    sha256, target, artifact = found.get("sha256", ""), found.get("target", ""), found.get("artifact", -1)
    executable, source_digest = found.get("executable", False), found.get("source_digest")
    if not isinstance(path, str) or (reason := _why_not_relative(path)):
        raise _NotAManifestError(f"a path is {path!r}" if not isinstance(path, str) else f"path {path!r} {reason}")
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


def _is_name(text: str) -> bool:
    """Return whether ``text`` can be the bytes of a name: no NUL, and no surrogates except those that stand for a byte."""
    if text.isascii():
        return "\0" not in text
    try:
        return b"\0" not in text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False


def _why_not_relative(path: str) -> str:
    """Return why ``path`` is not a plain relative path; empty if it is one."""
    if not _is_name(path):
        return "is no name of a file"
    if not _NO_NAMES.isdisjoint(path.split("/")):
        return "is not relative and plain"
    return ""
