"""Globs over the paths of a listing: which files each of them matches, and hints for one that matches none.

``*`` also matches ``/``. A glob that equals the path of a file matches only that file, whatever characters it contains. A
glob that ends in ``/`` matches everything below such directories, and so does one that matches a directory but no file.
"""

from __future__ import annotations

import difflib
import re
from fnmatch import translate
from typing import TYPE_CHECKING, Final

from provisioner.catalog.document import quoted

if TYPE_CHECKING:
    from collections.abc import Collection

_WILDCARD: Final = re.compile(r"[*?\[]")
_MAX_COMPARED: Final = 2000
"""Maximum number of paths that are compared with a glob for a hint; comparing very many would take seconds."""


class Globs:
    """Globs over one listing."""

    def __init__(self, paths: Collection[str]) -> None:
        """Remember the listing.

        Args:
            paths: paths of all files, with POSIX separators.
        """
        self._paths = paths
        self._known = frozenset(paths)

    def matches(self, glob: str) -> frozenset[str]:
        """Return the paths that a glob matches; empty if none."""
        glob = glob.removeprefix("./")
        if glob in self._known:
            return frozenset((glob,))
        if glob.endswith("/"):
            return self._matching(f"{glob}*")
        return self._matching(glob) or self._matching(f"{glob}/*")

    def hint(self, glob: str) -> str:
        """Return a suggestion for a glob that matches no file; empty if none is similar."""
        folded = re.compile(translate(glob), re.IGNORECASE)
        if other := next((path for path in self._paths if folded.match(path)), None):
            return f"It has {quoted(other)}: capital and small letters are different."
        for other in (f"*{glob}", glob.replace("**/", "")):
            if other != glob and self._matching(other):
                return f"Write {quoted(other)}: '*' also matches '/'."
        some = list(self._paths)[:_MAX_COMPARED]
        near = difflib.get_close_matches(glob, some, n=1, cutoff=0.6)
        return f"Did you mean {quoted(near[0])}?" if near else ""

    def _matching(self, pattern: str) -> frozenset[str]:
        match = re.compile(translate(pattern)).match
        return frozenset(path for path in self._paths if match(path))


def is_literal(glob: str) -> bool:
    """Return whether a glob can only be the path of a single file or directory."""
    return not _WILDCARD.search(glob)
