"""One name in a data set's tree, and the order of such names.

Paths are bytes: those that are not UTF-8 are kept as ``surrogateescape``, and are written as they were read.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

Kind = Literal["file", "link", "folder"]

DIGEST_BYTES: Final = 32
"""Bytes of a SHA-256."""


class SharedFields(NamedTuple):
    """The fields that most entries of an artifact have in common."""

    kind: Kind
    target: str
    executable: bool
    source_digest: str | None
    """If ``source_bytes`` is not 0, only the algorithm and its colon."""
    artifact: str
    """Empty if ``artifact_bytes`` is not 0."""
    source_bytes: int = 0
    artifact_bytes: int = 0
    """The number of bytes of the entry's ``packed`` data that are the source's digest and the artifact's key."""


_DIGITS: Final = re.compile(r"(?:[0-9a-f]{2})+")


@lru_cache(maxsize=256)
def _shared(fields: SharedFields) -> SharedFields:
    """Return the same object for equal values, if they were requested recently, to save memory."""
    return fields


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Entry:
    """One file, link or empty directory in a data set's tree.

    A manifest may hold a million entries, so they are kept small: about 130 bytes each, or 170 for a file that is an artifact
    by itself, plus the path.
    """

    path: str
    """Relative to the data set's root, with POSIX separators; bytes that are not UTF-8 are kept as ``surrogateescape``."""
    packed: bytes
    """For a file: its SHA-256 (32 bytes); the digest of its source and its artifact's key, if ``shared`` says so; then its
    size, little-endian, in as few bytes as possible."""
    shared: SharedFields

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
        """Pack the values.

        Args:
            path: relative to the data set's root.
            kind: a directory (``folder``) is listed only if it is empty; otherwise its content implies it.
            size: bytes of a file; 0 for links and directories.
            sha256: SHA-256 of a file's content, 64 lower-case hexadecimal digits; empty for links and directories.
            target: the text of a link.
            executable: whether the owner may execute it; the rest of the mode is fixed (0664, or 0775).
            source_digest: the digest of this file in the source's own listing (``gitsha1:…``), if there is one.
            artifact: key of the artifact (downloaded file) that it came from.

        Raises:
            ValueError: a file has no SHA-256, or something else has one, or has a size.
        """
        digest = bytes.fromhex(sha256)
        if len(digest) != (DIGEST_BYTES if kind == "file" else 0) or (size and not digest):
            raise ValueError(f"{path!r} is a {kind} of {size} bytes with the sha256 {sha256!r}")
        set_field = object.__setattr__
        set_field(self, "path", path)
        own = b""
        algorithm, colon, digits = source_digest.partition(":") if source_digest else ("", "", "")
        if colon and digest and _DIGITS.fullmatch(digits):
            # A file that is an artifact by itself: no other entry has this digest and this key.
            own, source_digest = bytes.fromhex(digits), algorithm + colon
            key = bytes.fromhex(artifact) if _DIGITS.fullmatch(artifact) else b""
            fields = SharedFields(kind, target, executable, source_digest, "" if key else artifact, len(own), len(key))
            own += key
        else:
            fields = SharedFields(kind, target, executable, source_digest, artifact)
        set_field(self, "packed", digest + own + size.to_bytes((size.bit_length() + 7) // 8, "little"))
        set_field(self, "shared", _shared(fields))

    def moved(self, path: str, artifact: str) -> Entry:
        """Return the same content under another path, from another artifact."""
        return Entry(
            path,
            self.kind,
            self.size,
            self.sha256,
            target=self.target,
            executable=self.executable,
            source_digest=self.source_digest,
            artifact=artifact,
        )

    def __repr__(self) -> str:
        names = "kind", "target", "executable", "source_digest", "artifact"
        rest = ", ".join(f"{name}={value!r}" for name in names if (value := getattr(self, name)))
        return f"Entry({self.path!r}, {rest}, size={self.size}, sha256={self.sha256!r})"

    @property
    def kind(self) -> Kind:
        """File, link or directory (``folder``); a directory is listed only if it is empty."""
        return self.shared.kind

    @property
    def size(self) -> int:
        """Bytes; 0 for links and directories."""
        shared = self.shared
        return int.from_bytes(self.packed[DIGEST_BYTES + shared.source_bytes + shared.artifact_bytes :], "little")

    @property
    def sha256(self) -> str:
        """SHA-256 of a file's content, 64 lower-case hexadecimal digits; empty for links and directories."""
        return self.packed[:DIGEST_BYTES].hex()

    @property
    def target(self) -> str:
        """The text of a link."""
        return self.shared.target

    @property
    def executable(self) -> bool:
        """Whether the owner may execute it; the rest of the mode is fixed (0664, or 0775)."""
        return self.shared.executable

    @property
    def source_digest(self) -> str | None:
        """The digest of this file in the source's own listing (``gitsha1:…``), if there is one."""
        shared = self.shared
        if not shared.source_bytes:
            return shared.source_digest
        return f"{shared.source_digest}{self.packed[DIGEST_BYTES : DIGEST_BYTES + shared.source_bytes].hex()}"

    @property
    def artifact(self) -> str:
        """Key of the artifact (downloaded file) that it came from."""
        shared = self.shared
        if not shared.artifact_bytes:
            return shared.artifact
        begin = DIGEST_BYTES + shared.source_bytes
        return self.packed[begin : begin + shared.artifact_bytes].hex()


# --- the order of paths --------------------------------------------------------------------------------------------------


def path_key(path: str) -> str:
    """Return a text that sorts as the bytes of ``path`` do; for most paths it is the same object, which takes no memory."""
    return path if path.isascii() else path.encode("utf-8", "surrogateescape").decode("latin-1")


def entry_key(entry: Entry) -> str:
    """Return the key by which entries are sorted; see :func:`path_key`."""
    # This function is called most often of all, so the common case makes no further call.
    return path if (path := entry.path).isascii() else path_key(path)


def find_entry(entries: Sequence[Entry], path: str) -> int:
    """Return the index of the entry with ``path`` among sorted ``entries``, or -1."""
    index = bisect_left(entries, path_key(path), key=entry_key)
    return index if index < len(entries) and entries[index].path == path else -1


def has_entry_below(entries: Sequence[Entry], directory: str) -> bool:
    """Return whether one of the sorted ``entries`` lies below ``directory``."""
    index = bisect_left(entries, path_key(f"{directory}/"), key=entry_key)
    return index < len(entries) and entries[index].path.startswith(f"{directory}/")
