"""Catalogs that are written for an export: what is read from them is what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from provisioner.catalog.model import Phase
from provisioner.catalog.parse import parse_catalog
from provisioner.catalog.written_catalog import catalog_text, phase_part

ODD: Final = """\
version: 1
datasets:
  odd:
    title: "Ünusual: # title"
    optional: true
    layout: parquet
    notes: ["one: two", "'quoted'"]
    parts:
      tiny: {limit: 100, seed: 7, commercial: allowed, download: 5}
      some: {include: ["a/*"], exclude: ["a/b"], where: "license in ('CC-BY', 'CC0')", bytes: 9, unpacked_size: 8}
    license: {spdx: NOASSERTION, commercial: verify}
    sources:
      - kind: url
        layout: parquet
        files:
          - {url: "https://example.org/a.csv", digest: none, size: {value: 12, estimate: true}, split: train}
          - {url: "https://example.org/b.zip", digest: none, unpack: zip, unpacked_size: {value: 7, estimate: true}, into: b}
      - {kind: bucket, bucket: ann/sounds, layout: parquet, include: ["*.wav"], size: {value: 3, estimate: true}}
      - {kind: hub, repo: ann/songs, layout: raw, revision: "1.0", splits: {"a/*": train}, size: 5}
"""


def test_the_real_catalog() -> None:
    """Every entry of the shipped catalog is the same after it was written: recipe, licence, sizes and texts."""
    text = (Path(__file__).parents[2] / "config" / "catalog.yaml").read_text("utf-8")
    catalog = parse_catalog(text, "catalog.yaml")
    again = parse_catalog(catalog_text(catalog.datasets.values(), catalog.phases.values()), "export")
    assert again.datasets == catalog.datasets
    assert catalog.datasets["fma_small"].parts
    for dataset, entry in catalog.datasets.items():
        # What a rule says of itself does not count where rules are compared.
        assert repr(again.datasets[dataset].parts) == repr(entry.parts)
    assert {name: phase.datasets for name, phase in again.phases.items()} == {
        name: phase.datasets for name, phase in catalog.phases.items()
    }


def test_what_is_seldom_written() -> None:
    """Layouts, estimates, splits, buckets and strange texts are the same after they were written."""
    catalog = parse_catalog(ODD, "odd")
    assert parse_catalog(catalog_text(catalog.datasets.values(), ()), "export").datasets == catalog.datasets


def test_the_part_of_a_phase() -> None:
    """A phase keeps what is present, says what is not, and goes if nothing is; references have their own names."""
    phase = Phase("all", "everything", ("one", "ann/table", "two"))
    names = {"ann/table": "hf://datasets/ann/table@main"}
    part = phase_part(phase, names, {"one", "ann/table"})
    assert part == Phase("all", "everything (here without two)", ("one", names["ann/table"]), own=("one", names["ann/table"]))
    assert phase_part(phase, names, {"three"}) is None
