"""Indexes of the miniature collection, row by row; and what readers do with trees that are wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from provisioner.indexing.build import IndexBuilder
from provisioner.indexing.registry import reader_of
from tests.support.miniature_rows import expected_problems, expected_rows

if TYPE_CHECKING:
    from pathlib import Path

    from provisioner.indexing.build import Summary
    from tests.support.shelf import Miniature

DATASETS = ("ljspeech", "nsynth", "libritts", "musicnet", "urmp", "fma_small", "fma_large", "lakh_midi")


def build(dataset: str, tree: Path, target: Path, *, workers: int = 1) -> Summary:
    """Build the index of a tree."""
    choice = reader_of(tree)
    assert choice is not None
    target.mkdir(parents=True)
    return IndexBuilder(dataset, choice, tree, target, tree, workers=workers, check_cancelled=lambda: None).build({})


def rows(index: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of an index by split."""
    return {
        path.parent.name: [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        for path in index.glob("*/metadata.jsonl")
    }


@pytest.mark.parametrize("dataset", DATASETS)
def test_rows_are_what_the_generator_put_in(mini: Miniature, tmp_path: Path, dataset: str) -> None:
    """All columns of all rows, in their order; what is wrong in the data set is counted."""
    tree = mini.collection.tree(dataset)
    summary = build(dataset, tree, tmp_path / "index" / dataset)
    found = rows(tmp_path / "index" / dataset)
    for split, listed in found.items():
        assert summary.rows[split] == len(listed)
        for row in listed:
            path = str(row.pop("midi" if dataset == "lakh_midi" else "audio"))
            row["file"] = path.removeprefix(f"{tree}/")
            assert row.pop("file_name") == f"../../../datasets/{dataset}/{row['file']}"
    assert found == expected_rows(dataset)
    assert summary.problems == expected_problems(dataset)
    reported = tmp_path / "index" / dataset / "problems.jsonl"
    assert (len(reported.read_text("utf-8").splitlines()) if reported.exists() else 0) == sum(summary.problems.values())
