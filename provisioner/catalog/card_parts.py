"""The parts that the card of a data-set repository describes under ``configs``, and which files belong to each.

A card is read as the ``datasets`` library reads it: it has configurations, each with splits, and each split has globs over
the repository's files. These are shell globs: ``*`` does not match ``/``, and ``**`` matches any directories. Anybody may
write anything into a card, so parts that do not have this form are ignored.
"""

from __future__ import annotations

import posixpath
import re
from bisect import bisect_left
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from provisioner.catalog.document import nearest, quoted
from provisioner.catalog.globs import Globs
from provisioner.catalog.keys import SPLIT
from provisioner.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

NAME: Final = r"[^/\x00-\x1f\x7f]{1,128}"
"""The name of a configuration or of a split."""
PART: Final = f"{NAME}(?:/{NAME})?"
"""The name of a part: ``CONFIG``, ``SPLIT`` or ``CONFIG/SPLIT``."""
_CARD: Final = "README.md"
"""The card belongs to every part, since it describes the other files."""
_DESCRIPTIONS: Final = frozenset({"metadata.csv", "metadata.jsonl", "metadata.parquet"})
"""These belong to the files beside and below them: the library reads transcripts and labels from them."""
_MOST: Final = 2000
"""Maximum number of parts of a card, and of globs of a part, that are considered."""
_MOST_NAMED: Final = 20
"""Maximum number of parts that a message names."""


@dataclass(frozen=True, slots=True)
class CardPart:
    """One split of one configuration."""

    config: str
    split: str
    """Empty if the card leaves it to the library to assign files to splits."""
    globs: tuple[str, ...]
    """Globs over paths in the repository."""

    def is_meant_by(self, name: str) -> bool:
        """Return whether a name (``CONFIG/SPLIT``, or that of its configuration) refers to this part."""
        return name in {self.config, f"{self.config}/{self.split}"}


def parts_of(card: Mapping[str, Any]) -> tuple[CardPart, ...]:
    """Return the parts that a card describes, in its order."""
    found = []
    configs = card.get("configs")
    for config in (configs if isinstance(configs, list) else [])[:_MOST]:
        if isinstance(config, dict):
            name = config.get("config_name", "default")
            found += [part for part in _splits(config, name) if _is_name(name)]
    return tuple(found[:_MOST])


def part_names(parts: Iterable[CardPart]) -> tuple[str, ...]:
    """Return the shortest name for each part: that of its split, if there is only one configuration."""
    found = tuple(parts)
    configs = tuple(dict.fromkeys(part.config for part in found))
    splits = tuple(dict.fromkeys(part.split for part in found if part.split))
    if len(configs) == 1 and splits:
        return splits
    return (*configs, *(split for split in splits if split not in configs))


def files_of_parts(parts: Sequence[CardPart], names: Sequence[str], paths: Collection[str], where: str) -> frozenset[str]:
    """Return the paths of the files in some parts, with the files that describe them.

    Args:
        parts: the parts that the card describes.
        names: names of the wanted parts: ``CONFIG``, ``SPLIT`` or ``CONFIG/SPLIT``.
        paths: paths of all files in the repository.
        where: names the repository and its revision in messages.

    Raises:
        NotFoundError: the card does not describe such a part, or the part has no files.
    """
    listing = _Listing(paths)
    found: set[str] = set()
    for name in names:
        chosen = [part for part in parts if part.is_meant_by(name)] or [part for part in parts if part.split == name]
        if not chosen:
            raise NotFoundError(f"{where} has no part {quoted(name)}", hint=_hint(parts, name))
        files = listing.of(chosen)
        if not files:
            raise NotFoundError(
                f"{where} has no file of its part {quoted(name)}",
                hint="Its card names files that are not there: tell its owner, or choose files by a glob.",
            )
        found |= files
    above = {directory for path in found for directory in _above(path)}
    return frozenset(
        path
        for path in paths
        if path in found or path == _CARD or (posixpath.basename(path) in _DESCRIPTIONS and posixpath.dirname(path) in above)
    )


def splits_of(parts: Sequence[CardPart], paths: Collection[str]) -> tuple[tuple[str, str], ...]:
    """Return a card's parts in the form of ``splits`` in a catalog (glob to name); empty if that cannot express them.

    These are the splits of a single configuration, or else the configurations. In a catalog's globs ``*`` also matches ``/``,
    and a file has only one split, so the result is compared with what the card says.

    Args:
        parts: those that the card describes.
        paths: paths of all files in the repository.
    """
    is_one = len({part.config for part in parts}) == 1
    globs, listing = Globs(paths), _Listing(paths)
    found: list[tuple[str, str]] = []
    files: dict[str, set[str]] = {}
    for part in parts:
        name = part.split if is_one else part.config
        own = listing.of((part,))
        by_glob = [(glob.removesuffix("**") if glob.endswith("/**") else glob) for glob in part.globs]
        if not re.fullmatch(SPLIT, name) or not own or own != set().union(*map(globs.matches, by_glob)):
            return ()
        found += [(glob, name) for glob in by_glob]
        files.setdefault(name, set()).update(own)
    # A file in two splits would be assigned to the first one only.
    is_told_apart = len(files) > 1 and sum(map(len, files.values())) == len(set().union(*files.values()))
    return tuple(dict.fromkeys(found)) if is_told_apart else ()


def _hint(parts: Sequence[CardPart], name: str) -> str:
    known = part_names(parts)
    if not known:
        return "Its card describes no parts ('configs'): choose files by a glob, such as hf://datasets/OWNER/NAME/data/train*."
    pairs = [f"{part.config}/{part.split}" for part in parts if part.split]
    near = nearest(name, [*known, *pairs])
    listed = ", ".join(known[:_MOST_NAMED])
    more = f" and {len(known) - _MOST_NAMED} more" if len(known) > _MOST_NAMED else ""
    return f"{near if near.startswith('Did') else ''} Its parts: {listed}{more}.".strip()


def _above(path: str) -> Iterator[str]:
    """Yield the directories that a path is in, the innermost first; the root is empty."""
    while path:
        path = posixpath.dirname(path)
        yield path


# --- what a card says --------------------------------------------------------------------------------------------------


def _splits(config: Mapping[str, Any], name: object) -> Iterator[CardPart]:
    """Yield the parts of one configuration."""
    directory = config.get("data_dir")
    base = directory.strip("/") if isinstance(directory, str) else ""
    files = config.get("data_files")
    if files is None:
        yield CardPart(str(name), "", (posixpath.join(base, "**"),))
    elif isinstance(files, dict):
        for split, globs in files.items():
            yield from _part(name, split, globs, base)
    elif isinstance(files, list) and any(isinstance(one, dict) for one in files):
        for one in files[:_MOST]:
            if isinstance(one, dict):
                yield from _part(name, one.get("split"), one.get("path"), base)
    else:
        yield from _part(name, "train", files, base)


def _part(name: object, split: object, globs: object, base: str) -> Iterator[CardPart]:
    if _is_name(split):
        written = globs if isinstance(globs, list) else [globs]
        found = tuple(posixpath.join(base, one.removeprefix("./")) for one in written[:_MOST] if isinstance(one, str))
        yield CardPart(str(name), str(split), found)


def _is_name(name: object) -> bool:
    return isinstance(name, str) and name.isprintable() and re.fullmatch(NAME, name) is not None


# --- its globs ---------------------------------------------------------------------------------------------------------


class _Listing:
    """The paths of a repository's files, of which each glob considers only those with the same beginning."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = sorted(paths)

    def of(self, parts: Iterable[CardPart]) -> set[str]:
        """Return the files in some parts."""
        return {path for part in parts for glob in part.globs for path in self._matching(glob)}

    def _matching(self, glob: str) -> Iterator[str]:
        beginning = glob[: next((at for at, character in enumerate(glob) if character in "*?["), len(glob))]
        segments = glob.split("/")
        for at in range(bisect_left(self._paths, beginning), len(self._paths)):
            if not self._paths[at].startswith(beginning):
                return
            if _matches(segments, self._paths[at].split("/")):
                yield self._paths[at]


def _matches(segments: Sequence[str], names: Sequence[str]) -> bool:
    """Return whether a glob matches a path; both are given by their segments."""
    if "**" not in segments:
        return len(segments) == len(names) and all(map(_names, segments, names))
    reached = {0}
    for segment in segments:
        if segment == "**":
            first = min(reached)
            hidden = next((at for at in range(first, len(names)) if _is_hidden(names[at])), len(names))
            reached = set(range(first, hidden + 1))
        else:
            reached = {at + 1 for at in reached if at < len(names) and _names(segment, names[at])}
        if not reached:
            return False
    return len(names) in reached


def _names(segment: str, name: str) -> bool:
    """Return whether one segment of a glob matches a file or directory; a hidden one must be named explicitly."""
    if segment == name:
        return True
    return (not _is_hidden(name) or _is_hidden(segment)) and _pattern(segment).match(name) is not None


@lru_cache(maxsize=1024)
def _pattern(segment: str) -> re.Pattern[str]:
    """Return the regular expression for one segment of a glob; it is used for each file of a repository."""
    return re.compile(translate(segment))


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "__"))
