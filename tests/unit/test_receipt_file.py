"""Receipts and other JSON files: read back as written; a damaged one counts as no file."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.catalog.file_state import FileState
from provisioner.catalog.hub_source import Repository
from provisioner.catalog.model import EntryFacts, License
from provisioner.catalog.parts import PartRule
from provisioner.planning.model import Receipt
from provisioner.volume.store.json_file import read_json, write_json
from provisioner.volume.store.receipt_file import read_receipt, receipt_document

RECEIPT = Receipt(
    dataset="alpha",
    version="0123456789abcdef",
    layout="raw",
    splits=("train", "test"),
    files=3,
    size=12345678901,
    license="CC-BY-4.0",
    source_kind="hub",
    source_url="https://hub/datasets/ann/songs",
    pin="c" * 40,
    verified_against="listing",
    published_at="2026-01-01T00:00:00Z",
    content_ids={"shape": "sha256-00"},
)

TEXTS = st.text(max_size=20)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)


def read(path: Path) -> Receipt | None:
    """Read the receipt of one data set and version."""
    return read_receipt(path, "alpha", "0123456789abcdef")


def test_a_receipt_comes_back(tmp_path: Path) -> None:
    """Every field of a receipt is read back."""
    path = tmp_path / "r.json"
    write_json(path, receipt_document(RECEIPT, "1.0"))
    assert read(path) == RECEIPT


def test_a_receipt_of_a_part(tmp_path: Path) -> None:
    """The rule of a part is read back; a receipt with a damaged one is none: nobody knows what its tree has."""
    path = tmp_path / "r.json"
    rule = PartRule(include=("a/*",), where="x in ('a', 'b')", limit=5, seed=2, text=":tiny")
    document = receipt_document(replace(RECEIPT, rule=rule), "1.0")
    write_json(path, document)
    found = read(path)
    assert found == replace(RECEIPT, rule=rule)
    assert found is not None
    assert found.rule is not None
    assert (found.rule.text, found.rule.identity) == (":tiny", rule.identity)
    for damage in ({"where": "x = 1"}, {"limit": "5"}, {"include": "a"}, {"text": "\n"}):
        write_json(path, {**document, "part": {**document["part"], **damage}})
        assert read(path) is None


def test_a_receipt_of_a_later_state(tmp_path: Path) -> None:
    """The recipe that it satisfies and what servers said of files are read back; a damaged state of a file is left out."""
    path = tmp_path / "r.json"
    origins = {"url-00": FileState("https://x/y", '"1"', "Tue, 14 Nov 2023 22:13:20 GMT", 7), "url-01": FileState("https://x/z")}
    later = replace(RECEIPT, recipe="fedcba9876543210", origins=origins)
    document = receipt_document(later, "1.0")
    write_json(path, {**document, "origins": {**document["origins"], "url-02": {"url": "x"}, "url-03": 1}})
    assert read(path) == later
    assert (later.asked, RECEIPT.asked) == (later.recipe, RECEIPT.version)


ENTRY = EntryFacts(
    reference="hf://datasets/ann/songs@v1",
    key="hf://datasets/ann/songs",
    title="Songs",
    homepage="https://hub/datasets/ann/songs",
    license=License("MIT", "mit", "https://spdx.org/licenses/MIT.html", "allowed", "the card", "ann"),
    description="what is in it",
    download=7,
    notes=("one", "two"),
)


def test_a_receipt_of_a_reference_comes_back(tmp_path: Path) -> None:
    """What the source of a reference said, and the repository, are read back."""
    path = tmp_path / "r.json"
    for entry in (ENTRY, replace(ENTRY, download=None, notes=())):
        receipt = replace(RECEIPT, entry=entry, repository=Repository("model", "ann/songs", "refs/pr/1"))
        write_json(path, receipt_document(receipt, "1.0"))
        assert read(path) == receipt


@pytest.mark.parametrize(
    "change",
    [
        {"title": "two\nlines"},
        {"reference": "\x1b[31m"},
        {"download": -1},
        {"notes": "one"},
        {"license": {}},
        {"license": None},
        {"license": {"spdx": "MIT", "name": "", "url": "", "commercial": "perhaps", "evidence": "", "attribution": ""}},
    ],
    ids=str,
)
def test_a_damaged_entry(change: dict[str, Any], tmp_path: Path) -> None:
    """A receipt whose entry cannot be shown to people, or means nothing, counts as no receipt."""
    document = receipt_document(replace(RECEIPT, entry=ENTRY), "1.0")
    document["entry"] |= change
    write_json(tmp_path / "r.json", document)
    assert read(tmp_path / "r.json") is None


@pytest.mark.parametrize(
    "repository",
    [7, {}, {"repo_type": "space", "repo": "a/b", "revision": "main"}, {"repo_type": "model", "repo": "../x", "revision": "main"},
     {"repo_type": "model", "repo": "a/b", "revision": "../../x"}],
    ids=str,
)  # fmt: skip
def test_a_damaged_repository(repository: object, tmp_path: Path) -> None:
    """A repository that is none is passed over: it only says where the version appears in a cache."""
    write_json(tmp_path / "r.json", receipt_document(RECEIPT, "1.0") | {"repository": repository})
    assert read(tmp_path / "r.json") == RECEIPT


def test_a_receipt_of_another_version(tmp_path: Path) -> None:
    """A receipt counts only for its own data set and version."""
    path = tmp_path / "r.json"
    write_json(path, receipt_document(RECEIPT, "1.0"))
    assert read_receipt(path, "beta", RECEIPT.version) is None
    assert read_receipt(path, "alpha", "another") is None
    assert read_receipt(tmp_path / "nothing", "alpha", RECEIPT.version) is None


@given(key=st.sampled_from(sorted(receipt_document(RECEIPT, "1.0"))), value=JSON)
def test_a_receipt_with_another_value(key: str, value: Any) -> None:
    """With any other value under one of its keys, it is read with that value, or counts as no receipt."""
    document = receipt_document(RECEIPT, "1.0") | {key: value}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "r.json")
        write_json(path, document)
        receipt = read(path)
    if receipt is not None and receipt.is_newer:
        assert (key, receipt) == ("schema_version", replace(RECEIPT, is_newer=True, content_ids={}))
    elif receipt is not None:
        assert receipt_document(receipt, document["provisioner_version"]) == document


@pytest.mark.parametrize("key", sorted(set(receipt_document(RECEIPT, "1.0")) - {"provisioner_version"}))
def test_a_receipt_without_a_key(tmp_path: Path, key: str) -> None:
    """A receipt without one of its keys counts as no receipt."""
    document = receipt_document(RECEIPT, "1.0")
    del document[key]
    write_json(tmp_path / "r.json", document)
    assert read(tmp_path / "r.json") is None


@given(data=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_answered(data: bytes) -> None:
    """Any bytes are a document or nothing, never an exception."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "x.json")
        path.write_bytes(data)
        document = read_json(path)
        assert document is None or isinstance(document, dict)
        assert read(path) is None


@pytest.mark.parametrize("data", [b"[" * 100_000, b'{"a":' * 100_000, b"1" * 10_000, b'{"a": NaN}', b"\xef\xbb\xbf{}"])
def test_nasty_bytes(tmp_path: Path, data: bytes) -> None:
    """Deep nesting, long numbers and what other programs write raise nothing."""
    path = tmp_path / "x.json"
    path.write_bytes(data)
    document = read_json(path)
    assert document is None or isinstance(document, dict)


def test_a_directory_in_its_place(tmp_path: Path) -> None:
    """A directory, and a path where nothing is, count as no file."""
    assert read_json(tmp_path) is None
    assert read_json(tmp_path / "nothing") is None


def test_what_is_written_is_for_people_too(tmp_path: Path) -> None:
    """A document is indented, ends with a line feed, and has no escapes for letters."""
    write_json(tmp_path / "x.json", {"name": "Señor"})
    assert (tmp_path / "x.json").read_text("utf-8") == '{\n  "name": "Señor"\n}\n'
