"""One name in a data set's tree, and the order of such names.

Paths are bytes: what is not UTF-8 is kept as ``surrogateescape``, and is written as it was read.
"""

from __future__ import annotations

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
    """The fields that most entries of one artifact have in common."""

    kind: Kind
    target: str
    executable: bool
    source_digest: str | None
    artifact: str


@lru_cache(maxsize=256)
def _shared(kind: Kind, target: str, executable: bool, source_digest: str | None, artifact: str) -> SharedFields:  # noqa: FBT001
    """Return the same object for equal values, if they were asked for recently: it saves memory."""
    return SharedFields(kind, target, executable, source_digest, artifact)


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Entry:
    """One file, link or empty directory in a data set's tree.

    A manifest may hold a million entries, so they are kept small: about 130 bytes each, and the path.
    """

    path: str
    """Relative to the data set's root, POSIX separators; bytes that are not UTF-8 as ``surrogateescape``."""
    packed: bytes
    """Of a file: its SHA-256 (32 bytes), then its size, little-endian, in as few bytes as it takes."""
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
            kind: a directory (``folder``) is listed only when it is empty; otherwise what is in it implies it.
            size: bytes of a file; 0 for links and directories.
            sha256: of a file's content: 64 lower-case hexadecimal digits; empty for links and directories.
            target: the text of a link.
            executable: whether the owner may execute it; the rest of the mode is fixed (0664, or 0775).
            source_digest: the digest of this file in the source's own listing (``gitsha1:…``), where there was one.
            artifact: key of the artifact (downloaded file) that it came from.

        Raises:
            ValueError: a file has no SHA-256, or something else has one, or a size.
        """
        digest = bytes.fromhex(sha256)
        if len(digest) != (DIGEST_BYTES if kind == "file" else 0) or (size and not digest):
            raise ValueError(f"{path!r} is a {kind} of {size} bytes with the sha256 {sha256!r}")
        set_field = object.__setattr__
        set_field(self, "path", path)
        set_field(self, "packed", digest + size.to_bytes((size.bit_length() + 7) // 8, "little"))
        set_field(self, "shared", _shared(kind, target, executable, source_digest, artifact))

    def moved(self, path: str, artifact: str) -> Entry:
        """Return the same content under another path, from another artifact."""
        kind, target, executable, source_digest, _ = self.shared
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
        rest = ", ".join(f"{name}={value!r}" for name, value in self.shared._asdict().items() if value)
        return f"Entry({self.path!r}, {rest}, size={self.size}, sha256={self.sha256!r})"

    @property
    def kind(self) -> Kind:
        """File, link or directory (``folder``); a directory is listed only when it is empty."""
        return self.shared.kind

    @property
    def size(self) -> int:
        """Bytes; 0 for links and directories."""
        return int.from_bytes(self.packed[DIGEST_BYTES:], "little")

    @property
    def sha256(self) -> str:
        """Of a file's content: 64 lower-case hexadecimal digits; empty for links and directories."""
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
        """The digest of this file in the source's own listing (``gitsha1:…``), where there was one."""
        return self.shared.source_digest

    @property
    def artifact(self) -> str:
        """Key of the artifact (downloaded file) that it came from."""
        return self.shared.artifact


# --- the order of paths --------------------------------------------------------------------------------------------------


def path_key(path: str) -> str:
    """Return a text that sorts as the bytes of ``path`` do: for most paths the same object, which takes no memory."""
    return path if path.isascii() else path.encode("utf-8", "surrogateescape").decode("latin-1")


def entry_key(entry: Entry) -> str:
    """Return the key by which entries are sorted, see :func:`path_key`."""
    # The function that is called most often of all: the common case makes no further call.
    return path if (path := entry.path).isascii() else path_key(path)


def find_entry(entries: Sequence[Entry], path: str) -> int:
    """Return the index of the entry with ``path`` among sorted ``entries``, or -1."""
    index = bisect_left(entries, path_key(path), key=entry_key)
    return index if index < len(entries) and entries[index].path == path else -1


def has_entry_below(entries: Sequence[Entry], directory: str) -> bool:
    """Return whether one of the sorted ``entries`` lies below ``directory``."""
    index = bisect_left(entries, path_key(f"{directory}/"), key=entry_key)
    return index < len(entries) and entries[index].path.startswith(f"{directory}/")
