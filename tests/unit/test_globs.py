"""Globs of a source: which files each names, and that none which names no file is passed over in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from provisioner.catalog.digest import Digest
from provisioner.catalog.globs import Globs
from provisioner.catalog.hub_source import HubSource
from provisioner.errors import NotFoundError

if TYPE_CHECKING:
    from provisioner.catalog.hub_source import SelectedFiles

PATHS = ["README.md", "data/a.parquet", "data/deep/b.parquet", "raw/c.bin", "x.zip", "x[1].txt", "x1.txt", "what?.txt", "a*b.txt"]


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("*.parquet", ["data/a.parquet", "data/deep/b.parquet"]),
        ("data/*", ["data/a.parquet", "data/deep/b.parquet"]),
        ("data/", ["data/a.parquet", "data/deep/b.parquet"]),
        ("data", ["data/a.parquet", "data/deep/b.parquet"]),
        ("data/deep", ["data/deep/b.parquet"]),
        ("da?a", ["data/a.parquet", "data/deep/b.parquet"]),
        ("*/deep/", ["data/deep/b.parquet"]),
        ("./data/*", ["data/a.parquet", "data/deep/b.parquet"]),
        ("./x.zip", ["x.zip"]),
        ("x[1].txt", ["x[1].txt"]),
        ("what?.txt", ["what?.txt"]),
        ("a*b.txt", ["a*b.txt"]),
        ("x[12].txt", ["x1.txt"]),
        ("x[[]1].txt", ["x[1].txt"]),
        ("x*.txt", ["x1.txt", "x[1].txt"]),
        ("dat", []),
        ("x.zip/", []),
        (".bin", []),
        ("*.ZIP", []),
        ("**/*.md", []),
    ],
)
def test_what_a_glob_names(glob: str, expected: list[str]) -> None:
    """A file's own path is compared before it is read as a glob, and a directory stands for all below it."""
    assert sorted(Globs(PATHS).matches(glob)) == sorted(expected)


@pytest.mark.parametrize(
    ("glob", "hint"),
    [
        ("*.ZIP", "'x.zip'"),
        ("Data/a.parquet", "'data/a.parquet'"),
        (".bin", "'*.bin'"),
        ("**/*.md", "'*.md'"),
        ("data/a.parqet", "'data/a.parquet'"),
        ("nothing-like-it", ""),
    ],
)
def test_the_hint_for_a_glob_that_names_nothing(glob: str, hint: str) -> None:
    """It names what is near: other capitals, an ending without a star, a mistake in writing."""
    found = Globs(PATHS).hint(glob)
    assert (hint in found) if hint else not found, found


def selected(**rules: Any) -> SelectedFiles:
    """Return what a source with these rules takes of the paths."""
    source = HubSource("ann/songs", **rules)
    return source.select([(path, 1, None) for path in PATHS], "https://hub")


DIGEST = Digest("sha256", "a" * 64)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"include": ("gone/*",)}, "gone/*"),
        ({"include": ("gone/*", "*.flac")}, "gone/*"),
        ({"include": ("data/*", "LICENSE")}, "LICENSE"),
        ({"include": ("data/",), "exclude": ("*.parquet",)}, "'exclude'"),
        ({"splits": (("train/*", "train"), ("test/*", "test"))}, "'train/*'"),
        ({"splits": (("data/*", "train"), ("test/*", "test")), "chosen": ("test",)}, "'test'"),
        ({"digests": (("data/A.parquet", DIGEST),)}, "data/A.parquet"),
        ({"include": ("data",), "digests": (("data/z.parquet", DIGEST),)}, "data/z.parquet"),
    ],
)
def test_rules_that_name_what_is_not_there(rules: dict[str, Any], message: str) -> None:
    """Nothing of the source is taken, and the message has the glob."""
    with pytest.raises(NotFoundError) as caught:
        selected(**rules)
    assert message in caught.value.message
    assert "next source" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(
    ("rules", "warning"),
    [
        ({"include": ("data/*", "LICENSE*")}, "'include': 'LICENSE*'"),
        ({"exclude": (".bin",)}, "'exclude': '.bin'"),
        ({"exclude": ("*.tmp",)}, "'exclude': '*.tmp'"),
        ({"unpack": (("*.zip", "zip"), ("*.tar", "tar"))}, "'unpack': '*.tar'"),
        ({"splits": (("data/*", "train"), ("test/*", "test"))}, "'splits': 'test/*'"),
        ({"include": ("data",), "digests": (("raw/z.bin", DIGEST),)}, "'digests': 'raw/z.bin'"),
        ({"include": ("data", "x.zip"), "exclude": ("data/deep",), "unpack": (("*.zip", "zip"),)}, ""),
        ({"splits": (("data/*", "train"), ("*.parquet", "rest"))}, ""),
    ],
)
def test_rules_that_name_some_of_what_is_there(rules: dict[str, Any], warning: str) -> None:
    """The rest is taken, with one warning that has the glob; rules that all name something have none."""
    warnings = selected(**rules).warnings
    assert [warning in text for text in warnings] == [True] if warning else not warnings, warnings


def test_directories_everywhere() -> None:
    """What a directory stands for is the same under every key."""
    found = selected(include=("data", "raw"), exclude=("data/deep",), unpack=(("raw", "zip"),))
    assert {artifact.name: artifact.unpack for artifact in found.artifacts} == {"data/a.parquet": "none", "raw/c.bin": "zip"}
