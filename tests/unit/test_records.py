"""Records on the volume: read back as written, survived whatever they hold, and provision.env the same for shell and Docker."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.errors import ConfigurationError
from provisioner.planning.model import Receipt
from provisioner.volume.store.environment_file import environment_lines
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
    """Read a receipt for the place where it belongs."""
    return read_receipt(path, "alpha", "0123456789abcdef")


def test_a_receipt_comes_back(tmp_path: Path) -> None:
    """Field by field."""
    path = tmp_path / "r.json"
    write_json(path, receipt_document(RECEIPT, "1.0"))
    assert read(path) == RECEIPT


def test_a_receipt_of_another_place(tmp_path: Path) -> None:
    """It proves nothing here."""
    path = tmp_path / "r.json"
    write_json(path, receipt_document(RECEIPT, "1.0"))
    assert read_receipt(path, "beta", RECEIPT.version) is None
    assert read_receipt(path, "alpha", "another") is None
    assert read_receipt(tmp_path / "nothing", "alpha", RECEIPT.version) is None


@given(key=st.sampled_from(sorted(receipt_document(RECEIPT, "1.0"))), value=JSON)
def test_a_receipt_with_another_value(key: str, value: Any) -> None:
    """Whatever one of its values became: a receipt of ours, or none."""
    document = receipt_document(RECEIPT, "1.0") | {key: value}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "r.json")
        write_json(path, document)
        receipt = read(path)
    if receipt is not None:
        assert receipt_document(receipt, document["provisioner_version"]) == document


@pytest.mark.parametrize("key", sorted(set(receipt_document(RECEIPT, "1.0")) - {"provisioner_version"}))
def test_a_receipt_without_a_key(tmp_path: Path, key: str) -> None:
    """It is none."""
    document = receipt_document(RECEIPT, "1.0")
    del document[key]
    write_json(tmp_path / "r.json", document)
    assert read(tmp_path / "r.json") is None


@given(data=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_answered(data: bytes) -> None:
    """A document or nothing, never an exception."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.json")
        path.write_bytes(data)
        document = read_json(path)
        assert document is None or isinstance(document, dict)
        assert read(path) is None


@pytest.mark.parametrize("data", [b"[" * 100_000, b'{"a":' * 100_000, b"1" * 10_000, b'{"a": NaN}', b"\xef\xbb\xbf{}"])
def test_nasty_bytes(tmp_path: Path, data: bytes) -> None:
    """Depth, length, and what other programs write."""
    path = tmp_path / "x.json"
    path.write_bytes(data)
    document = read_json(path)
    assert document is None or isinstance(document, dict)


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    """Neither."""
    assert read_json(tmp_path) is None
    assert read_json(tmp_path / "nothing") is None


def test_what_is_written_is_for_people_too(tmp_path: Path) -> None:
    """Indented, with a line feed at its end, and no escapes for letters."""
    write_json(tmp_path / "x.json", {"name": "Señor"})
    assert (tmp_path / "x.json").read_text("utf-8") == '{\n  "name": "Señor"\n}\n'


# --- provision.env -----------------------------------------------------------------------------------------------------------

ALPHABET = "abcXYZ0189_@%+=:,./-"


def by_shell(path: Path) -> dict[str, str]:
    """Read as a POSIX shell does."""
    shell = subprocess.run(["sh", "-c", f"set -a; . '{path}'; env -0"], env={}, capture_output=True, check=True)
    pairs = (entry.partition(b"=") for entry in shell.stdout.split(b"\0") if entry)
    return {name.decode(): value.decode() for name, _, value in pairs if name not in {b"PWD", b"_", b"OLDPWD", b"SHLVL"}}


def by_docker(path: Path) -> dict[str, str]:
    """Read as `docker run --env-file` does: the line as it is, split at the first `=`; comments and empty lines left out."""
    lines = path.read_text("utf-8").splitlines()
    pairs = (line.lstrip().partition("=") for line in lines if line.strip() and not line.lstrip().startswith("#"))
    return {name: value for name, _, value in pairs}


def test_both_agree(tmp_path: Path) -> None:
    """Every character that is let through means the same to a shell and to Docker, at any place of a value."""
    values = {f"V{place}": f"{character}a{character}{character}b{character}" for place, character in enumerate(ALPHABET)}
    values |= {"EMPTY": "", "ALL": ALPHABET, "DATASETS_DIR": "/data/datasets"}
    path = tmp_path / "provision.env"
    path.write_bytes(environment_lines(values))
    assert by_shell(path) == by_docker(path) == values


OTHERS = [character for character in map(chr, range(128)) if character not in ALPHABET and not character.isalnum()]


@pytest.mark.parametrize("character", [*OTHERS, "é"])
def test_what_they_read_differently_is_refused(character: str) -> None:
    """Quotes, spaces, dollars, line feeds, whatever a shell or a locale makes something of."""
    with pytest.raises(ConfigurationError, match="means one thing to a shell"):
        environment_lines({"NAME": f"a{character}b"})


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "A=B", "Ä"])
def test_a_name_that_is_none(name: str) -> None:
    """Names are refused as well."""
    with pytest.raises(ConfigurationError):
        environment_lines({name: "value"})


def test_the_order_does_not_matter() -> None:
    """The same values are the same bytes: a second run finds nothing to write."""
    assert environment_lines({"B": "2", "A": "1"}) == environment_lines({"A": "1", "B": "2"}) == b"A=1\nB=2\n"
