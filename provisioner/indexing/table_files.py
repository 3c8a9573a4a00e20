"""Tables: any other tree of which half of the files or more are CSV, TSV, JSON lines or Parquet. The index names these files."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final

import yaml

from provisioner.catalog.card_parts import files_of_parts, parts_of
from provisioner.catalog.examples import SPLITS
from provisioner.errors import NotFoundError
from provisioner.indexing.folders import visible_files
from provisioner.indexing.model import Reader

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from provisioner.catalog.card_parts import CardPart

_SUFFIXES: Final = (".parquet", ".jsonl", ".csv", ".tsv")
"""``datasets`` reads one format from an index: the most frequent one, or among equals the first of these."""
_OF_A_CARD: Final = frozenset({*_SUFFIXES, ".json"})
"""A JSON file may be anything, unless the card of a repository says that it is a table."""
_PROSE: Final = frozenset({"", ".md", ".txt", ".pdf", ".rst", ".html"})
_MOST_CONFIGS: Final = 50
"""If there would be more tables than this, names do not distinguish tables, and all files are pieces of one."""
_LONGEST_CARD: Final = 1 << 20
_CARD: Final = "README.md"

Configs = dict[str, dict[str, list[str]]]
"""By table and split: paths in the tree, or globs."""


def _recognizes_suffixes(tree: Path, suffixes: Mapping[str, int]) -> bool:
    tables = sum(suffixes.get(suffix, 0) for suffix in _SUFFIXES)
    others = sum(count for suffix, count in suffixes.items() if suffix not in _PROSE)
    return (tables > 0 and 2 * tables >= others) or bool(_card(tree) and _stated(tree, list(visible_files(tree))))


def _describe(tree: Path, top: str) -> dict[str, Any]:
    """Return the front matter of an index, from the tables on the card of the tree, or else from names.

    Args:
        tree: the data set.
        top: its path from the directory of the index.
    """
    names = list(visible_files(tree))
    if stated := _stated(tree, names):
        return {
            "configs": [{**config, "data_files": _at(config["data_files"], top)} for config in stated],
            **_types(_card(tree), {config["config_name"] for config in stated}),
        }
    return {
        "configs": [
            {"config_name": name, "data_files": _at([{"split": split, "path": paths} for split, paths in splits.items()], top)}
            for name, splits in grouped(names).items()
        ]
    }


def _at(data_files: Iterable[Mapping[str, Any]], top: str) -> list[dict[str, Any]]:
    return [{"split": one["split"], "path": [f"{top}/{path}" for path in one["path"]]} for one in data_files]


# --- from the names of files -------------------------------------------------------------------------------------------


def grouped(names: Sequence[str]) -> Configs:
    """Return the tables made of some files: files whose names differ only by split and number are pieces of one table.

    Args:
        names: paths of files in the tree.
    """
    counts = Counter(map(_suffix, names))
    suffix = max(_SUFFIXES, key=lambda one: (counts[one], -_SUFFIXES.index(one)))
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in names:
        if _suffix(name) == suffix:
            config, split = _table_and_split(name)
            found[config][split].append(name)
    if len(found) == 1 or len(found) > _MOST_CONFIGS:
        merged: dict[str, list[str]] = defaultdict(list)
        for splits in found.values():
            for split, paths in splits.items():
                merged[split] += paths
        found = {"default": merged}
    in_directory = Counter((os.path.dirname(name), suffix) for name in names if _suffix(name) == suffix)  # noqa: PTH120
    return {
        config or "default": {split: _globs(paths, suffix, in_directory) for split, paths in sorted(splits.items(), key=_order)}
        for config, splits in sorted(found.items())
    }


def _order(split: tuple[str, object]) -> tuple[bool, str]:
    return not split[0].startswith("train"), split[0]


def _table_and_split(name: str) -> tuple[str, str]:
    """Return a path without splits and numbers, and its split."""
    parts = os.path.splitext(name)[0].split("/")
    words = [[word for word in re.split(r"[\W_]+", part) if word] for part in parts]
    split = next((word for part in words for word in part if word.lower() in SPLITS), "train")
    kept = ("_".join(word for word in part if word.lower() not in SPLITS | {"of"} and not word.isdigit()) for part in words)
    return ".".join(filter(None, kept)), split


def _globs(paths: Sequence[str], suffix: str, in_directory: Mapping[tuple[str, str], int]) -> list[str]:
    """Return the paths as globs, with a single one for a directory whose tables are all among them."""
    by_directory: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        by_directory[os.path.dirname(path)].append(path)  # noqa: PTH120 - a name in the tree
    found = []
    for directory, listed in by_directory.items():
        if len(listed) > 1 and len(listed) == in_directory[directory, suffix] and listed[0].endswith(suffix):
            found.append(glob.escape(directory) + "/" * bool(directory) + f"*{suffix}")
        else:
            found += map(glob.escape, listed)
    return found


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


# --- from the card of a repository -------------------------------------------------------------------------------------


def _stated(tree: Path, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the configurations on the tree's own card that are tables with files here, with globs by split."""
    card = _card(tree)
    written = card.get("configs")
    splits: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for part in parts_of(card):
        leads_out = any(one.startswith("/") or "://" in one or ".." in one.split("/") for one in part.globs)
        if part.split and not leads_out and _are_tables(part, names):
            splits[part.config].append({"split": part.split, "path": list(part.globs)})
    found = []
    for config in written if isinstance(written, list) else ():
        if isinstance(config, dict) and (listed := splits.pop(str(config.get("config_name", "default")), None)):
            # Other keys say how the tables are read, for example their separator.
            other = {key: value for key, value in config.items() if key not in {"config_name", "data_dir", "data_files"}}
            found.append({"config_name": str(config.get("config_name", "default")), **other, "data_files": listed})
    return found


def _are_tables(part: CardPart, names: Sequence[str]) -> bool:
    try:
        files = files_of_parts((part,), (f"{part.config}/{part.split}",), names, "")
    except NotFoundError:
        return False
    return {_suffix(file) for file in files if file != _CARD} <= _OF_A_CARD


def _types(card: Mapping[str, Any], configs: Collection[str]) -> dict[str, Any]:
    """Return the types on a card for these configurations, as a part of a front matter."""
    stated = card.get("dataset_info")
    listed = [one for one in (stated if isinstance(stated, list) else [stated]) if isinstance(one, dict) and one.get("features")]
    kept = [
        {"config_name": name, "features": one["features"]}
        for one in listed
        if (name := str(one.get("config_name", "default"))) in configs
    ]
    return {"dataset_info": kept} if kept else {}


def _card(tree: Path) -> Mapping[str, Any]:
    """Return the front matter of a tree's card; empty if there is none that can be read."""
    try:
        with (tree / _CARD).open(encoding="utf-8") as file:
            text = file.read(_LONGEST_CARD)
        front = yaml.safe_load(text.split("\n---", 1)[0].removeprefix("---")) if text.startswith("---") else None
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return {}
    return front if isinstance(front, dict) else {}


READER: Final = Reader("table", (), None, lambda _tree: iter(()), describe=_describe, recognizes_suffixes=_recognizes_suffixes)
