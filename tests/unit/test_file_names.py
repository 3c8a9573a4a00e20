"""Names of files: which URLs have one, what servers state, and which can be used."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provisioner.catalog.file_names import is_named_by, name_in_url, name_problem
from provisioner.catalog.url_source import UrlFile
from provisioner.remote.http.disposition import stated_name


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("a.csv", True),
        ("a.csv?id=1", True),
        ("LICENSE", True),
        ("download.zip", True),
        ("v1.0", True),
        ("clip.001", True),
        ("a%20b.csv", True),
        ("api/records/1/files/a.csv/content", False),
        ("files/12345/download", False),
        ("ndownloader/files/12345", False),
        ("10.5281/7891.4", False),
        ("7891.4", False),
        ("uc?export=download&id=1", False),
        ("download.php?id=1", False),
        ("get.aspx?f=a", False),
        ("page.php", True),
        ("README?raw=true", False),
        ("object/0123456789abcdef", False),
        ("bitstreams/6f1c5a3e-1111-2222-3333-444455556666/download", False),
        ("bitstreams/6f1c5a3e-1111-2222-3333-444455556666", False),
    ],
)
def test_whether_a_url_names_its_file(path: str, *, named: bool) -> None:
    """A word, a number or a program of the server is no name; a name with an ending is one."""
    assert is_named_by(f"https://example.org/{path}") == named
    assert is_named_by(f"file:///{path.partition('?')[0]}")


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (None, None),
        ("", None),
        ("inline", None),
        ("attachment", None),
        ("attachment; filename=a.csv", "a.csv"),
        ('attachment; filename="a b.csv"', "a b.csv"),
        ("attachment;filename=a.csv;size=3", "a.csv"),
        ("Attachment; FileName=a.csv", "a.csv"),
        ("filename=a.csv", "a.csv"),
        ('attachment; filename="a;b.csv"', "a;b.csv"),
        (r'attachment; filename="a\"b.csv"', 'a"b.csv'),
        ("attachment; filename*=UTF-8''%e2%82%ac.csv", "€.csv"),
        ("attachment; filename=x.csv; filename*=utf-8'en'%C3%BC.csv", "ü.csv"),
        ("attachment; filename*=iso-8859-1''%fc.csv", "ü.csv"),
        ("attachment; filename=x.csv; filename*=UTF-8''%ff.csv", "x.csv"),
        ("attachment; filename=x.csv; filename*=ebcdic''%ff.csv", "x.csv"),
        ("attachment; filename=" + "ü.csv".encode().decode("latin-1"), "ü.csv"),
        ("attachment; filename=ü.csv", "ü.csv"),
        ('attachment; filename=""', None),
        ('attachment; filename="', '"'),
        ("attachment; filename*=UTF-8''..%2Fx", "../x"),
        (r'attachment; filename="C:\data\a.csv"', r"C:\data\a.csv"),
    ],
)
def test_the_name_that_a_server_states(header: str | None, name: str | None) -> None:
    """The form with a character set comes first; the name is returned as it is, safe or not."""
    assert stated_name(header) == name


@pytest.mark.parametrize("name", ["a.csv", "ü b.csv", ".gitignore", "a" * 255, "console.csv", "a-b_c(1).csv"])
def test_names_that_can_be_used(name: str) -> None:
    """Whatever every system takes for one file."""
    assert not name_problem(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "/x",
        "a\\b",
        "C:x",
        "a\0b",
        "a\nb",
        "a\x1bb",
        "a" * 256,
        "é" * 200,
        "\u202ea",
        "CON",
        "nul.csv",
        "a.",
        "a ",
        "a:b",
    ],
)
def test_names_that_cannot_be_used(name: str) -> None:
    """Separators, control characters, names of devices, and what no disk holds."""
    assert name_problem(name)


def test_a_given_name() -> None:
    """The catalog's name decides; a recipe has it only where it is given, so that versions on a volume stay what they are."""
    plain = UrlFile("https://example.org/a.csv")
    content = UrlFile("https://example.org/records/1/content")
    assert (plain.name, plain.is_named, content.name, content.is_named) == ("a.csv", True, "content", False)
    assert plain.identity == {"unverified": "a.csv", "size": None, "into": "", "name": "a.csv"}
    named = replace(content, given_name="b.csv")
    assert (named.name, named.is_named) == ("b.csv", True)
    assert named.identity == {"unverified": "b.csv", "size": None, "into": "", "name": "b.csv"}
    assert name_in_url("https://example.org/d/a%20b.csv?x=1") == "a b.csv"
    assert replace(content, unpack="zip").is_named
