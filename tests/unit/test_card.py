"""What the card of a repository says, from values that anybody may have written."""

from __future__ import annotations

from typing import Any

import pytest

from provisioner.catalog.card import license_of, line_of
from provisioner.catalog.weights import weights_note

PAGE = "https://hub.example/datasets/o/n"

STATED: list[tuple[Any, str, str]] = [
    # The card's licence, its SPDX identifier, whether commercial use is allowed.
    ("apache-2.0", "Apache-2.0", "allowed"),
    ("MIT", "MIT", "allowed"),
    ("cc0-1.0", "CC0-1.0", "allowed"),
    ("cc-by-sa-4.0", "CC-BY-SA-4.0", "allowed"),
    ("odc-by", "ODC-By-1.0", "allowed"),
    ("cc-by-nc-4.0", "CC-BY-NC-4.0", "forbidden"),
    ("cc-by-nc-sa-3.0", "CC-BY-NC-SA-3.0", "forbidden"),
    ("cc-by-nd-4.0", "LicenseRef-cc-by-nd-4.0", "verify"),
    ("llama3", "LicenseRef-llama3", "verify"),
    ("openrail++", "LicenseRef-openrail", "verify"),
    ("other", "LicenseRef-other", "verify"),
    (["mit", "apache-2.0"], "MIT AND Apache-2.0", "allowed"),
    (["mit", "cc-by-nc-4.0"], "MIT AND CC-BY-NC-4.0", "mixed"),
    (["mit", "llama3"], "MIT AND LicenseRef-llama3", "verify"),
    ("unknown", "NOASSERTION", "verify"),
    ("", "NOASSERTION", "verify"),
    ([], "NOASSERTION", "verify"),
    (None, "NOASSERTION", "verify"),
    (7, "NOASSERTION", "verify"),
    ({"name": "mit"}, "NOASSERTION", "verify"),
    (["mit", None, 7], "MIT", "allowed"),
    ("\x1b[31m", "LicenseRef-31m", "verify"),
    ("../..", "LicenseRef-..-..", "verify"),
]


@pytest.mark.parametrize(("stated", "spdx", "commercial"), STATED, ids=[repr(row[0]) for row in STATED])
def test_licences(stated: object, spdx: str, commercial: str) -> None:
    """A licence identifier has a mark only where its terms are plain; nothing that a card says breaks a line."""
    terms = license_of({"license": stated}, (), page=PAGE, attribution="o/n")
    assert (terms.spdx, terms.commercial) == (spdx, commercial)
    assert all(text.isprintable() and text for text in (terms.name, terms.url, terms.evidence))


def test_a_licence_of_its_own() -> None:
    """The name and the address that a card gives are used, if they are a name and an address."""
    card = {"license": "other", "license_name": "Acme License v2", "license_link": "https://acme.example/license"}
    terms = license_of(card, (), page=PAGE, attribution="")
    assert (terms.spdx, terms.name, terms.url) == (
        "LicenseRef-Acme-License-v2",
        "Acme License v2",
        "https://acme.example/license",
    )
    for link in (
        "javascript:alert(1)",
        "LICENSE",
        "https://x.example/<b>",
        "https://ann:pw@x.example/",
        7,
        "https://x.example/?t=1",
    ):
        assert license_of({**card, "license_link": link}, (), page=PAGE, attribution="").url == PAGE


def test_tags_say_it_where_there_is_no_card() -> None:
    """A Hub that gives no card may still state the licence as a tag; a card wins over tags."""
    assert license_of({}, ("a", "license:mit"), page=PAGE, attribution="").spdx == "MIT"
    assert license_of({"license": "cc0-1.0"}, ("license:mit",), page=PAGE, attribution="").spdx == "CC0-1.0"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Acme  Sounds\n v2", "Acme Sounds v2"),
        ("a\x00b\x1b[31mc\u202e", "ab 31mc"),
        ("[x](y) <b>`z`</b> my_set", "x (y) b z /b my_set"),
        ("hf_" + "A" * 30, "hf_***"),
        (None, ""),
        (["a"], ""),
    ],
)
def test_lines(text: object, line: str) -> None:
    """A text becomes one plain line, without control characters, markup and secrets."""
    assert line_of(text) == line


def test_a_long_text_is_cut() -> None:
    """A text of any length costs a line of limited length."""
    assert len(line_of("x" * 10_000_000, 50)) == 50


def test_formats_of_weights() -> None:
    """Weights in several formats are named with their sizes; small files, and one format alone, are not."""
    many = [("a.safetensors", 3 << 20), ("b/b.safetensors", 3 << 20), ("a.bin", 5 << 20), ("x.json", 9 << 20)]
    assert weights_note(many) == (
        "it holds weights in several formats: *.safetensors (2 files, 6.29 MB), *.bin (1 file, 5.24 MB);"
        " leave out what the app does not read, such as with #exclude=*.bin"
    )
    three = [("a.h5", 2 << 20), ("a.bin", 5 << 20), ("a.msgpack", 2 << 20)]
    assert weights_note(three).endswith("such as with #exclude=*.h5&exclude=*.msgpack")
    assert weights_note([("a.safetensors", 3 << 20), ("training_args.bin", 5000)]) == ""
    assert weights_note([]) == ""
