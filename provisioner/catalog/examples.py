"""Examples that are separate files: find them in a list of files, with the split and the label named by directories."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from provisioner.catalog.parts import SPLIT_COLUMN, Example, choose

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from provisioner.catalog.artifact import Artifact
    from provisioner.catalog.parts import PartRule

FileMedium = Literal["audio", "image"]
SUFFIXES: Final[dict[FileMedium, frozenset[str]]] = {
    "audio": frozenset({".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aiff"}),
    "image": frozenset({".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff"}),
}
_ALL: Final = frozenset().union(*SUFFIXES.values())
SPLITS: Final = frozenset({"train", "training", "valid", "validation", "val", "dev", "test", "testing"})


class FileExample(NamedTuple):
    """A file that is an example."""

    split: str
    path: str
    label: str | None


def is_medium(path: str, medium: FileMedium | None = None) -> bool:
    """Return whether a file is of a medium, by its name; ``None`` means any medium."""
    return os.path.splitext(path)[1].lower() in (SUFFIXES[medium] if medium else _ALL)


def medium_of(paths: Iterable[str]) -> FileMedium | None:
    """Return the medium of most files that are not hidden, or ``None`` if there is none."""
    seen = [path for path in paths if not is_hidden(path)]
    for medium in SUFFIXES:
        fitting = sum(is_medium(path, medium) for path in seen)
        if fitting and 2 * fitting >= len(seen):
            return medium
    return None


def is_hidden(path: str) -> bool:
    """Return whether the name of a file, or of a directory that it is in, begins with a dot."""
    return path.startswith(".") or "/." in path


def file_examples(paths: Collection[str], medium: FileMedium) -> Iterator[FileExample]:
    """Yield the files of a medium, in the given order.

    The last directory is a label if there are several, all at the same depth, and none is a split.
    """
    files = [path for path in paths if is_medium(path, medium) and not is_hidden(path)]
    places = {path.rpartition("/")[0] for path in files}
    labels = {place.rpartition("/")[2] for place in places}
    has_labels = len(labels) > 1 and len({place.count("/") for place in places}) == 1 and "" not in places
    has_labels = has_labels and not any(name.lower() in SPLITS for name in labels)
    for path in files:
        directories = path.split("/")[:-1]
        split = next((part for part in directories if part.lower() in SPLITS), "train")
        yield FileExample(split, path, directories[-1] if has_labels else None)


def bytes_taken(rule: PartRule, artifacts: Collection[Artifact]) -> int | None:
    """Return how many bytes of listed files a rule takes, or ``None`` if the list alone is not enough to tell."""
    if rule.where or any(artifact.unpack != "none" or artifact.exact_size is None for artifact in artifacts):
        return None
    sizes = {artifact.path: artifact.exact_size or 0 for artifact in artifacts}
    left_out: frozenset[str] = frozenset()
    if rule.takes_some:
        medium = medium_of(sizes)
        if medium is None:
            return None
        examples = (Example(one.path, sizes[one.path], {SPLIT_COLUMN: one.split}) for one in file_examples(sizes, medium))
        left_out = choose(rule, examples).left_out
    return sum(size for path, size in sizes.items() if path not in left_out and rule.matches_path(path))
