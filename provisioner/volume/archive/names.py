"""The names of members: which are accepted, the path that each becomes, and names that a volume treats as the same.

What is refused does not depend on what is on the disk.
"""

from __future__ import annotations

import os
import unicodedata
from typing import TYPE_CHECKING, Final

from provisioner.catalog.relative_path import windows_objection
from provisioner.errors import UnsafeArchiveError, VolumeError
from provisioner.volume.archive.errors import quoted, unsafe_member
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.tree.writer import TreeWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from provisioner.volume.archive.oddities import Oddities

MAX_NAME_BYTES: Final = 255
"""Bytes of one component of a path: the limit of most file systems."""
MAX_PATH_BYTES: Final = 1024
"""Bytes of a path within the data set. On some systems this is the limit for a whole path, including that of the volume."""

_MAX_UTF8: Final = 4
"""Bytes that one character takes at most."""
_MAX_CACHED_DIRECTORIES: Final = 4096


class MemberNames:
    """The paths within the data set that the names of an archive's members become."""

    def __init__(self, archive: str, into: str, oddities: Oddities) -> None:
        """Start with no name.

        Args:
            archive: its name, for messages.
            into: the directory within the data set that all paths are in, or empty.
            oddities: decides whether absolute names are accepted.
        """
        self._oddities = oddities
        self._archive = archive
        self._into = into
        self._directories: dict[str, str] = {}
        """Accepted directories, each with its resulting path and a slash; most members share theirs with the one before."""

    def path(self, name: str) -> str:
        """Return the path for a member's name; for ``./`` and ``/``, the directory that all paths are in.

        The leading slash of an absolute name is dropped, as all readers do, if the bytes are proven to be the publisher's.

        Raises:
            UnsafeArchiveError: the name leads out of that directory, on this system or another, or is too long for file
                systems.
        """
        directory, _, last = name.rpartition("/")
        if (
            (above := self._directories.get(directory)) is not None
            and last not in {"", ".", ".."}
            and "\0" not in last
            and "\\" not in last
            and (len(above) + len(last)) * _MAX_UTF8 <= MAX_NAME_BYTES
            and os.name != "nt"
        ):
            return above + last
        path = self._checked(name)
        if directory and last:
            if len(self._directories) >= _MAX_CACHED_DIRECTORIES:
                self._directories.clear()
            self._directories[directory] = path[: len(path) - len(last)]
        return path

    def _checked(self, name: str) -> str:
        if "\0" in name:
            raise self._refused(name, "has a NUL in its name")
        if name.startswith("/") and (relative := name.lstrip("/")):
            self._oddities.accept(
                "names are absolute, and their leading slash is dropped",
                name,
                refusal=self._refused(name, "has an absolute path"),
            )
            name = relative
        if name[1:2] == ":" and name[0].isascii() and name[0].isalpha() and name[2:3] in {"/", "\\"}:
            raise self._refused(name, "has an absolute path")
        parts = [part for part in name.split("/") if part not in {"", "."}]
        for part in parts:
            if part == "..":
                raise self._refused(name, "leads out of its directory (..)")
            # Some systems treat a backslash as a separator, others as a letter: the name must be harmless on both.
            if "\\" in part and (os.name == "nt" or ".." in part.split("\\") or part.startswith("\\")):
                raise self._refused(name, "has backslashes that lead out of its directory on some systems")
            if os.name == "nt" and (reason := windows_objection(part)):
                raise self._refused(name, reason)
            if (length := _length(part, MAX_NAME_BYTES)) > MAX_NAME_BYTES:
                raise self._refused(name, f"has a name of {length} bytes, and a file system holds {MAX_NAME_BYTES}")
        path = "/".join([self._into, *parts] if self._into else parts)
        if (length := _length(path, MAX_PATH_BYTES)) > MAX_PATH_BYTES:
            raise self._refused(name, f"has a path of {length} bytes, more than {MAX_PATH_BYTES}")
        return path

    def _refused(self, name: str, reason: str) -> UnsafeArchiveError:
        return unsafe_member(self._archive, name, reason)


def folded(path: str) -> str:
    """Return the path without differences of case and Unicode composition, so that names which may collide are equal."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def composed(path: str) -> str:
    """Return the path without differences of Unicode composition."""
    return unicodedata.normalize("NFC", path)


def folding_of(tree: TreeWriter) -> Callable[[str], str] | None:
    """Return a function that maps names which the volume treats as the same to equal ones; ``None`` if there are none.

    Raises:
        OSError: from the system.
    """
    if tree.folds_names():
        return folded
    return composed if tree.composes_names() else None


def check_names(paths: Iterable[str], root: Path, label: str) -> None:
    """Check that the volume can hold all paths side by side, including their directories.

    Raises:
        VolumeError: it treats two of them as the same name, or it failed.
    """
    with disk_errors("trying names", root), TreeWriter(root) as tree:
        fold = folding_of(tree)
    if fold is None:
        return
    seen: dict[str, str] = {}
    for path in paths:
        above = path
        while above:
            if (other := seen.setdefault(fold(above), above)) != above:
                raise colliding_names(label, other, above)
            above = above.rpartition("/")[0]


def colliding_names(label: str, one: str, other: str) -> VolumeError:
    """Return the error for two names that the volume treats as the same; their order does not matter."""
    one, other = sorted((one, other))
    return VolumeError(
        f"{label} holds both {quoted(one)} and {quoted(other)}, and the volume takes them for the same name",
        hint="Use a volume whose file system compares names byte by byte, as ordinary Linux file systems do.",
    )


def _length(text: str, limit: int) -> int:
    """Return the length in bytes, or 0 if it is certainly within the limit, because encoding takes time."""
    return len(text.encode("utf-8", "surrogateescape")) if len(text) * _MAX_UTF8 > limit else 0
