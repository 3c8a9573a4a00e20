"""Pins as a file: what was written is read back, whatever files are called; what differs from a pin is said with both."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.catalog.artifact import Artifact
from provisioner.catalog.digest import Digest
from provisioner.catalog.pins import MAX_FILES, DataSetPin, SourcePin, parse_pins, pins_text, source_pin
from provisioner.catalog.size import Size
from provisioner.errors import ConfigurationError

COMMIT = "c" * 40
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


def artifact(name: str, size: int | None = 1, digest: str = "0") -> Artifact:
    """Return a file of a source."""
    return Artifact(
        name=name,
        urls=(),
        size=None if size is None else Size(size),
        digest=Digest("sha256", digest * 64) if digest else None,
        unpack="none",
        into=name.rpartition("/")[0],
        verified_against="listing",
    )


def pin_of(*artifacts: Artifact) -> SourcePin:
    """Return the pin of a repository with these files."""
    return source_pin("hub", "ann/songs@main", COMMIT, artifacts)


@settings(max_examples=50)
@given(
    datasets=st.dictionaries(NAMES, st.lists(NAMES, unique=True, max_size=4), max_size=3),
    size=st.none() | st.integers(0, 2**63 - 1),
    digest=st.sampled_from(["", "0", "f"]),
)
def test_what_is_written_is_read_back(datasets: dict[str, list[str]], size: int | None, digest: str) -> None:
    """Names of data sets, sources and files may be any text."""
    pins = {
        name: DataSetPin("0123456789012345", (replace(pin_of(*(artifact(one, size, digest) for one in files)), name=name),))
        for name, files in datasets.items()
    }
    pins = {name: replace(pin, manifest=pin.sources[0].listing) for name, pin in pins.items()}
    text = pins_text(pins)
    assert parse_pins(text, "pins.yaml").datasets == pins
    assert pins_text(dict(reversed(pins.items()))) == text


def test_many_files() -> None:
    """Of many files one digest stands in the file, which tells whether one of them differs."""
    many = [artifact(f"{number}.txt") for number in range(MAX_FILES + 1)]
    pin = pin_of(*many)
    assert (pin.files, pin.count) == ({}, MAX_FILES + 1)
    assert pin.difference(COMMIT, many[::-1]) == ""
    assert "the pins name" in pin.difference(COMMIT, [*many[1:], artifact("0.txt", digest="1")])
    assert pin.difference(COMMIT, many[:3]) == ""  # a split: the commit tells


@pytest.mark.parametrize(
    ("pin", "files", "says"),
    [
        (COMMIT, [artifact("a"), artifact("b")], ""),
        (COMMIT, [artifact("a")], ""),
        ("d" * 40, [artifact("a")], f"it resolves to {'d' * 40}, and the pins name {COMMIT}"),
        (COMMIT, [artifact("a", 2)], "it holds a as 2 sha256:"),
        (COMMIT, [artifact("a", digest="1")], "and the pins name 1 sha256:0"),
        (COMMIT, [artifact("a", digest="")], "it holds a as 1 none"),
        (COMMIT, [artifact("c")], "it holds c, which the pins do not name"),
    ],
)
def test_what_differs(pin: str, files: list[Artifact], says: str) -> None:
    """The first difference is said, with what is there and what is pinned."""
    found = pin_of(artifact("a"), artifact("b")).difference(pin, files)
    assert (says in found, bool(found)) == (True, bool(says))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "version: 1",
        "version: 1\ndatasets: []",
        "version: 1\ndatasets: {a: {}}",
        "version: 1\ndatasets: {a: {recipe: x, sources: [1]}}",
        "version: 1\ndatasets: {}\nmore: 1",
    ],
)
def test_what_is_no_file_of_pins(text: str) -> None:
    """It is refused with file and line."""
    with pytest.raises(ConfigurationError, match=r"pins\.yaml:\d+: "):
        parse_pins(text, "pins.yaml")
