"""Which id a reference gets, and what becomes of a catalog with references; nothing is asked."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from provisioner.catalog.model import Catalog, EntryFacts, License, Phase
from provisioner.catalog.reference_parts import joined_parts
from provisioner.catalog.references import parse_reference
from provisioner.errors import ConfigurationError, NotFoundError
from provisioner.planning.model import Inventory, Receipt, Request, Rules
from provisioner.planning.plan import make_plan
from provisioner.planning.recipe import make_recipe
from provisioner.planning.references import ids_on_volume, with_references
from tests.unit.test_plan import data_set as dataset

HUB = "https://hub.example"
TERMS = License("MIT", "MIT", HUB, "allowed", "the card", "")
DATA, MODEL = "hf://datasets/acme/sounds", "hf://acme/sounds"


def facts(text: str, download: int | None = 100) -> EntryFacts:
    """Return what the source of a reference says."""
    reference = parse_reference(text, HUB)
    return EntryFacts(reference.text, reference.key, "Title", HUB, TERMS, download=download)


def catalog_of(*texts: str, inventory: Inventory | None = None, base: Catalog | None = None) -> Catalog:
    """Return a catalog with references, of which the sources have said something."""
    asked = {text: parse_reference(text, HUB) for text in texts}
    learnt = {reference.text: facts(reference.text) for reference in asked.values()}
    return with_references(base or Catalog({}, {}), asked, inventory or Inventory(), learnt, endpoint=HUB)


def on_volume(text: str, name: str) -> Inventory:
    """Return the inventory of a volume that holds a reference."""
    entry = catalog_of(text).datasets[catalog_of(text).references[text]]
    version = make_recipe(replace(entry, id=name)).version
    receipt = Receipt(name, version, "raw", (), 1, 100, "MIT", "hub", HUB, "p", "listing", "2026", entry=facts(text))
    return Inventory({(name, version): receipt}, {name: version})


def test_ids() -> None:
    """A repository has its own name, a file its stem; a data set comes before a model of the same name."""
    found = catalog_of(MODEL, DATA, "https://h.example/x.tar.gz", "hf://datasets/acme/other#name=mine")
    assert found.references == {
        MODEL: "models/acme/sounds",
        DATA: "acme/sounds",
        "https://h.example/x.tar.gz": "x",
        "hf://datasets/acme/other#name=mine": "mine",
    }
    assert {name: one.label for name, one in found.datasets.items()} == {name: text for text, name in found.references.items()}


def test_who_has_a_name_keeps_it() -> None:
    """What receipts say decides, whatever is asked for now."""
    held = on_volume(MODEL, "acme/sounds")
    assert catalog_of(DATA, MODEL, inventory=held).references == {DATA: "datasets/acme/sounds", MODEL: "acme/sounds"}
    assert catalog_of(DATA, inventory=on_volume(DATA, "datasets/acme/sounds")).references == {DATA: "datasets/acme/sounds"}


def test_what_is_on_the_volume_is_described_by_its_receipt() -> None:
    """A version that is there is kept without asking; another version of it is not known yet."""
    held = on_volume(DATA, "acme/sounds")
    asked = {text: parse_reference(text, HUB) for text in (DATA,)}
    found = with_references(Catalog({}, {}), asked, held, {}, endpoint=HUB)
    assert found.datasets["acme/sounds"].facts is not None
    (step,) = make_plan(Request(datasets=(("acme/sounds", ()),)), found, held, Rules("commercial")).steps
    assert step.action == "keep"
    other = f"{DATA}@v2"
    found = with_references(Catalog({}, {}), {other: parse_reference(other, HUB)}, held, {}, endpoint=HUB)
    assert found.datasets["acme/sounds"].facts is None
    # What was not asked for is described all the same, for `list`, `repair` and `gc`.
    assert catalog_of(inventory=held).datasets["acme/sounds"].license == TERMS


def test_a_receipt_with_a_reference_that_is_none() -> None:
    """A damaged record describes nothing, and breaks nothing."""
    held = on_volume(DATA, "acme/sounds")
    ((key, receipt),) = held.receipts.items()
    assert receipt.entry is not None
    damaged = replace(receipt, entry=replace(receipt.entry, reference="hf://datasets/../x"))
    assert catalog_of(inventory=replace(held, receipts={key: damaged})).datasets == {}


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        ((DATA, f"{DATA}@v1"), "two versions of one data set"),
        (("https://h.example/alpha.csv",), "the catalog's data set alpha"),
        (("https://h.example/x.csv", "https://other.example/x.csv"), "the place of https://h.example/x.csv"),
        ((f"{DATA}#name=mine", f"{MODEL}#name=mine"), f"the place of {DATA}#name=mine"),
        ((f"{DATA}#name=alpha/below",), "another data set"),
    ],
)
def test_one_path_one_data_set(texts: tuple[str, ...], says: str) -> None:
    """Two things for one path are refused, with a name that would do."""
    base = Catalog({"alpha": dataset("alpha")}, {})
    with pytest.raises(ConfigurationError) as caught:
        catalog_of(*texts, base=base)
    assert says in caught.value.message
    (example,) = re.findall(r"such as (\S+)\.$", caught.value.hint)
    assert parse_reference(example, HUB).names[0].endswith("-2")


def test_an_owner_with_the_name_of_a_data_set() -> None:
    """Nothing is published below the tree of the catalog's data set: the repository gets its other name."""
    base = Catalog({"alpha": dataset("alpha")}, {})
    assert catalog_of("hf://datasets/alpha/n", base=base).references == {"hf://datasets/alpha/n": "datasets/alpha/n"}


def test_another_url_of_proven_bytes_is_the_same_data_set() -> None:
    """A file that a digest proves may move to another URL; one without a digest may not."""
    proof = f"#sha256={'ab' * 32}"
    held = on_volume(f"https://old.example/x.csv{proof}", "x")
    moved = f"https://new.example/x.csv{proof}"
    found = catalog_of(moved, inventory=held)
    (step,) = make_plan(Request(datasets=(("x", ()),)), found, held, Rules()).steps
    assert step.action == "keep"
    with pytest.raises(ConfigurationError, match="which is the place of https://old"):
        catalog_of("https://new.example/x.csv", inventory=held)


def test_phases_hold_references() -> None:
    """In a phase a reference becomes its id, once."""
    phase = Phase("minimal", "", ("alpha", DATA, DATA, f"{HUB}/datasets/acme/sounds"))
    base = Catalog({"alpha": dataset("alpha")}, {"minimal": phase})
    found = catalog_of(DATA, f"{HUB}/datasets/acme/sounds", base=base)
    assert found.phases["minimal"].datasets == ("alpha", "acme/sounds")


def test_a_source_that_cannot_be_used_is_a_refused_step() -> None:
    """What went wrong when the source was asked is the step's error; what is on the volume is kept all the same."""
    error = NotFoundError("no such repository")
    asked = {DATA: parse_reference(DATA, HUB)}
    request = Request(datasets=(("acme/sounds", ()),))
    found = with_references(Catalog({}, {}), asked, Inventory(), {DATA: error}, endpoint=HUB)
    (step,) = make_plan(request, found, Inventory(), Rules("commercial")).steps
    assert (step.action, step.error) == ("refuse", error)
    held = on_volume(DATA, "acme/sounds")
    found = with_references(Catalog({}, {}), asked, held, {DATA: error}, endpoint=HUB)
    assert [step.action for step in make_plan(request, found, held, Rules()).steps] == ["keep"]


def test_names_on_a_volume() -> None:
    """A data set is found by its reference, by the repository alone, by a web address; what is not there stays as it is."""
    held = on_volume(f"{DATA}@v1/data/", "acme/sounds")
    names = [f"{DATA}@v1/data/", DATA, f"{HUB}/datasets/acme/sounds", f"{DATA}@v2", "alpha", "hf://x", MODEL]
    found = ids_on_volume(names, held.receipts.values(), endpoint=HUB)
    assert found == [*["acme/sounds"] * 4, "alpha", "hf://x", MODEL]


@pytest.mark.parametrize(
    ("written", "means"),
    [
        (["{d}:a", "{d}:b"], ["{d}:a+b", "{d}:a+b"]),
        (["{d}:b+c", "hf://acme/m", "{d}:a/x", "{d}:b"], ["{d}:b+c+a/x", "hf://acme/m", "{d}:b+c+a/x", "{d}:b+c+a/x"]),
        (["{d}:a", "{d}"], ["{d}", "{d}"]),  # the whole has all parts
        (["{d}@v1:a", "{d}@v1:b#exclude=x"], ["{d}@v1:a", "{d}@v1:b#exclude=x"]),
        (["{d}@v1:a#exclude=x", "{d}@v1:b#exclude=x"], ["{d}@v1:a+b#exclude=x"] * 2),
        (["{d}:a", "{d}@v1:a", "{d}/a/"], ["{d}:a", "{d}@v1:a", "{d}/a/"]),
        (["https://h.example:8080/x.csv", "https://h.example:8080/y.csv"],) * 2,
    ],
)
def test_parts_of_one_request(written: list[str], means: list[str]) -> None:
    """Parts of one repository are one data set, if nothing else differs; everything else stays as it is."""
    asked = {one.format(d=DATA): parse_reference(one.format(d=DATA), HUB) for one in written}
    found = joined_parts(asked, HUB)
    assert list(found) == list(asked)
    assert [reference.text for reference in found.values()] == [one.format(d=DATA) for one in means]


def test_two_parts_in_phases() -> None:
    """Two parts of one repository in different phases are two versions; the message says how to name both."""
    asked = {one: parse_reference(one, HUB) for one in (f"{DATA}:a", f"{DATA}:b")}
    with pytest.raises(ConfigurationError) as caught:
        with_references(Catalog({}, {}), asked, Inventory(), {}, endpoint=HUB)
    assert caught.value.hint.startswith(f"Name both parts in one reference, such as {DATA}:a+b. Or give one")
