"""The card of an index: its front matter names files and types for ``datasets``, its text explains the columns to people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import yaml

from provisioner.indexing.model import INTEGER, NUMBER, TEXT, Column

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioner.indexing.model import Medium, Reader

MARK: Final = "made_by: data-volume-provisioner"
"""A line in the front matter of every index."""

_FILE: Final = Column("file_name", TEXT, "the file, relative to the directory of `metadata.jsonl`")
_MEDIA: Final[Mapping[Medium, tuple[Column, ...]]] = {
    "audio": (
        Column("audio", {"dtype": "audio"}, "the file, for `datasets`: its absolute path"),
        Column("duration", NUMBER, "seconds, from the file's header"),
        Column("sampling_rate", INTEGER, "hertz, from the file's header"),
    ),
    "image": (Column("image", {"dtype": "image"}, "the file, for `datasets`: its absolute path"),),
    "midi": (Column("midi", TEXT, "the file: its absolute path"),),
    "table": (),
    "none": (),
}


def all_columns(reader: Reader) -> tuple[Column, ...]:
    """Return the columns of a reader's indexes in order, including those that every medium has."""
    return (_FILE, *_MEDIA[reader.medium], *reader.columns)


def card(
    dataset: str,
    reader: Reader,
    rows: Mapping[str, int],
    *,
    labels: Mapping[str, Sequence[str]],
    rate: int | None,
    problems: Mapping[str, int],
    facts: Mapping[str, str],
) -> str:
    """Return the text of ``README.md``.

    Args:
        dataset: its id.
        reader: the reader of the tree.
        rows: the number of rows in each split.
        labels: the values of columns whose reader does not know them in advance.
        rate: the sampling rate, if all files have the same.
        problems: the number of occurrences of each problem.
        facts: facts about the origin of the index.
    """
    columns = all_columns(reader)
    front = {
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": f"{split}/metadata.jsonl"} for split in rows],
            }
        ],
        "dataset_info": {"features": [_feature(column, labels, rate) for column in columns]},
    }
    lines = [
        *_front(front),
        f"# Index of {dataset}",
        "",
        "Derived from the files of the data set; it is made anew when they change, and nothing that is changed here stays.",
        "",
        "```python",
        f'load_dataset(".../index/{dataset}", split="{next(iter(rows), "train")}")',
        "```",
        "",
        *(f"- {name}: {value}" for name, value in facts.items()),
        *(f"- split `{split}`: {count:,} rows" for split, count in rows.items()),
        *(f"- left out or incomplete: {reason}: {count:,}" for reason, count in sorted(problems.items())),
        "",
        "| column | meaning |",
        "| --- | --- |",
        *(f"| `{column.name}` | {column.description} |" for column in columns),
    ]
    return "\n".join(lines) + "\n"


def card_of_tables(dataset: str, front: Mapping[str, Any], facts: Mapping[str, str]) -> str:
    """Return the text of ``README.md`` for a data set whose own files contain the rows.

    Args:
        dataset: its id.
        front: the front matter that names these files.
        facts: facts about the origin of the index.
    """
    configs = [config["config_name"] for config in front["configs"]]
    names = [f', "{name}"' for name in configs] if len(configs) > 1 else [""]
    lines = [
        *_front(front),
        f"# Index of {dataset}",
        "",
        "Names the tables of the data set; it is made anew when they change, and nothing that is changed here stays.",
        "",
        "```python",
        *(f'load_dataset(".../index/{dataset}"{name})' for name in names),
        "```",
        "",
        *(f"- {name}: {value}" for name, value in facts.items()),
    ]
    return "\n".join(lines) + "\n"


def _front(front: Mapping[str, Any]) -> list[str]:
    return ["---", MARK, yaml.safe_dump(dict(front), sort_keys=False, allow_unicode=True).rstrip(), "---", ""]


def _feature(column: Column, labels: Mapping[str, Sequence[str]], rate: int | None) -> dict[str, Any]:
    feature: Mapping[str, Any] = column.feature
    if column.name == "audio" and rate is not None:
        feature = {"dtype": {"audio": {"sampling_rate": rate}}}
    elif column.name in labels:
        names = labels[column.name]
        # A class label needs at least one name.
        feature = {"dtype": {"class_label": {"names": {str(n): name for n, name in enumerate(names)}}}} if names else TEXT
    return {"name": column.name, **feature}
