"""Reports of a plan, the catalog and a status, for the real catalog, without a network or a volume."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Literal

import pytest

from provisioner.catalog.parse import parse_catalog
from provisioner.catalog.size import Size
from provisioner.planning.model import Inventory, Request, Rules
from provisioner.planning.plan import make_plan
from provisioner.reporting.catalog_report import catalog_document, catalog_text
from provisioner.reporting.info_report import info_document, info_text
from provisioner.reporting.plan_report import plan_document, plan_text
from provisioner.reporting.status_report import status_text
from provisioner.reporting.tables import size_text, table

CATALOG = Path(__file__).parents[2] / "config" / "catalog.yaml"
REAL = parse_catalog(CATALOG.read_text("utf-8"), "config/catalog.yaml")
ALL = ("nsynth", "ljspeech", "urmp", "fma_small", "libritts", "musicnet", "lakh_midi", "fma_large")
EMPTY = Inventory(free_bytes=10**12)


def text_of(inventory: Inventory = EMPTY, rules: Rules = Rules(), phase: str = "comprehensive") -> str:  # noqa: B008
    """Return the plan for a phase of the real catalog as text."""
    wanted = Request(phase)
    return plan_text(make_plan(wanted, REAL, inventory, rules), inventory, REAL, wanted, rules)


def test_the_real_plan_shows_all_eight() -> None:
    """The plan shows sizes and marks estimates; it shows licences, peak, times and what fits on other volumes."""
    text = text_of()
    rows = {line.split()[0]: line for line in text.splitlines() if line.startswith(ALL)}
    assert set(ALL) <= set(rows)
    assert " 25.2 GB" in rows["nsynth"]
    assert " 2.75 GB" in rows["ljspeech"]
    assert "~12.5 GB" in text
    assert "urmp: optional" in text
    for phrase in (
        "Peak disk:",
        "100 Mbit/s",
        "1 Gbit/s",
        "   5.00 GB  ",
        "   50.0 GB  ",
        "    150 GB  ",
        "~ marks an",
    ):
        assert phrase in text, phrase
    for mark in ("allowed", "mixed", "verify"):
        assert mark in text


def test_metadata_shared_by_two_data_sets_is_fetched_once() -> None:
    """``fma_metadata.zip`` belongs to FMA small and FMA large, and its size counts only for the first."""
    document = plan_document(
        make_plan(Request("comprehensive"), REAL, EMPTY, Rules()), EMPTY, REAL, Request("comprehensive"), Rules()
    )
    sizes = {step["dataset"]: step["download"]["bytes"] for step in document["steps"]}
    assert (sizes["fma_small"], sizes["fma_large"]) == (7_679_594_875 + 358_412_441, 100_306_112_191)


@pytest.mark.parametrize("limit", [5, 50, 150])
def test_what_fits_does_fit(limit: int) -> None:
    """The data sets that a plan reports as fitting are those that a run with that limit fetches, and its peak stays below it."""
    wanted, rules = Request("comprehensive"), Rules(limit_bytes=limit * 10**9)
    plan = make_plan(wanted, REAL, EMPTY, rules)
    document = plan_document(make_plan(wanted, REAL, EMPTY, Rules()), EMPTY, REAL, wanted, Rules())
    assert [step.id for step in plan.steps if step.action == "fetch"] == document["fits"][str(limit * 10**9)]
    assert plan.peak_bytes <= limit * 10**9


def test_a_plan_that_cannot_be_carried_out_says_so() -> None:
    """When nothing fits, the plan says so and names the setting to change."""
    text = text_of(Inventory(free_bytes=1000))
    assert "cannot be carried out" in text
    assert "MAX_STORAGE_GB" in text


def test_documents_are_json() -> None:
    """The catalog's document is valid JSON; it names all eight data sets and those that were excluded."""
    document = catalog_document(REAL, EMPTY)
    assert set(ALL) == set(json.loads(json.dumps(document))["datasets"])
    assert {"maestro", "musdb18"} == set(document["excluded"])
    text = catalog_text(REAL, EMPTY)
    assert "nsynth" in text
    assert re.search(r"^maestro +MAESTRO", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("size", "text"), [(None, "unknown"), (Size(1234), "1.23 kB"), (Size(1234, estimate=True), "~1.23 kB"), (Size(0), "0 B")]
)
def test_sizes(size: Size | None, text: str) -> None:
    """A size is shown with three figures, as a marked estimate, or as unknown."""
    assert text == size_text(size)


def test_tables_line_up() -> None:
    """Columns are as wide as their widest cell; numbers are aligned to the right."""
    assert table([["name", "bytes"], ["a", "1"], ["long", "22"]], right=(1,)) == "name  bytes\na         1\nlong     22"


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"datasets": []},
        {"datasets": {"a": None}, "volume": 3, "dataset_repo": "x", "error": []},
        {"datasets": {"a": {"state": "failed", "error": {"message": "it broke"}}}, "volume": {"used_bytes": "many"}},
    ],
)
def test_a_damaged_status_is_shown_as_far_as_it_goes(document: dict[str, object]) -> None:
    """Any status document on the volume is shown without a traceback."""
    assert status_text(document).startswith("State:")


@pytest.mark.parametrize("policy", ["curated", "commercial"])
@pytest.mark.parametrize("name", ALL)
def test_what_is_known_of_each_data_set(name: str, policy: Literal["curated", "commercial"]) -> None:
    """The text has what the catalog says, in lines of 80 columns where words allow it; the document is JSON."""
    rules = Rules(policy)
    (step,) = make_plan(Request(datasets=((name, ()),)), REAL, EMPTY, rules).steps
    dataset = REAL.datasets[name]
    text = info_text(step, ["minimal"], None, None, rules, columns=80)
    flat = " ".join(text.split())
    for words in (dataset.title, dataset.license.evidence, "On the volume: no", *(note for note in dataset.notes)):
        assert " ".join(words.split()) in flat, words
    assert all(len(line) <= 80 or len(line.split()) <= 3 for line in text.splitlines())
    document = json.loads(json.dumps(info_document(step, ["minimal"], None, None, rules)))
    assert document["license"]["allowed"] is (policy == "curated" or dataset.license.commercial == "allowed")
    assert len(document["sources"]) == len(dataset.sources)
