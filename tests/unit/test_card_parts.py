"""Parts of a card: which files they have, by globs as the ``datasets`` library reads them, whatever anybody wrote."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.catalog.card_parts import files_of_parts, part_names, parts_of, splits_of
from provisioner.catalog.hub_source import HubSource
from provisioner.errors import NotFoundError

CARD: dict[str, Any] = yaml.safe_load("""
configs:
- config_name: en
  default: true
  data_files:
  - {split: train, path: "en/train-*.parquet"}
  - {split: test, path: ["en/test-*.parquet", "en/extra/**"]}
- config_name: de
  data_dir: de
  data_files: [{split: train, path: "train*"}]
- config_name: audio
  data_dir: audio
- config_name: all.csv
  data_files: "*.csv"
""")
PATHS = [
    "README.md", "LICENSE", "a.csv", "sub/b.csv", "en/train-0.parquet", "en/train-1.parquet", "en/deep/train-2.parquet",
    "en/test-0.parquet", "en/extra/x.txt", "en/extra/deep/y.txt", "en/extra/.hidden/z.txt", "de/train.csv", "de/other.csv",
    "audio/metadata.csv", "audio/1.wav", "audio/deep/2.wav", "metadata.csv", "other/metadata.csv",
]  # fmt: skip
ENGLISH = ["en/train-0.parquet", "en/train-1.parquet"]
EXTRA = ["en/test-0.parquet", "en/extra/x.txt", "en/extra/deep/y.txt"]


def files(name: str, card: dict[str, Any] = CARD, paths: list[str] = PATHS) -> list[str]:
    """Return the files of parts, joined by ``+``, without the card."""
    found = files_of_parts(parts_of(card), name.split("+"), paths, "the repository")
    return [path for path in paths if path in found and path != "README.md"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("en", [*ENGLISH, *EXTRA]),
        ("en/train", ENGLISH),
        ("en/test", EXTRA),
        ("de", ["de/train.csv"]),
        ("train", [*ENGLISH, "a.csv", "de/train.csv"]),
        ("test+de", [*EXTRA, "de/train.csv"]),
        ("audio", ["audio/metadata.csv", "audio/1.wav", "audio/deep/2.wav"]),
        ("all.csv", ["a.csv"]),
    ],
)
def test_the_files_of_a_part(name: str, expected: list[str]) -> None:
    """A part is a configuration, a split in every configuration, or a split of one; what describes its files comes with it."""
    described = {"metadata.csv"}
    assert sorted(set(files(name)) - described) == sorted(expected)
    assert "README.md" in files_of_parts(parts_of(CARD), [name], PATHS, "it") if "+" not in name else True
    assert "other/metadata.csv" not in files(name)


@pytest.mark.parametrize(
    ("configs", "name", "expected"),
    [
        # Each form in which a card may have it.
        ([{"config_name": "c", "data_files": "x/*"}], "train", ["x/1", "x/2"]),
        ([{"config_name": "c", "data_files": ["x/1", "y/1"]}], "c", ["x/1", "y/1"]),
        ([{"config_name": "c", "data_files": {"dev": "x/*", "test": ["y/*"]}}], "test", ["y/1"]),
        ([{"config_name": "c", "data_files": [{"split": "s", "path": "./x/1"}]}], "s", ["x/1"]),
        ([{"config_name": "c"}], "c", ["x/1", "x/2", "x/y/3", "y/1", "[a]"]),
        ([{"data_files": [{"split": "s", "path": "**/1"}]}], "default", ["x/1", "y/1"]),
        ([{"config_name": "c", "data_files": [{"split": "s", "path": "[a]"}]}], "s", ["[a]"]),
        ([{"config_name": "c", "data_files": [{"split": "s", "path": "x/[!1]"}]}], "s", ["x/2"]),
        ([{"config_name": "c", "data_files": [{"split": "s", "path": "x/**/3"}]}], "s", ["x/y/3"]),
        # A configuration is meant before a split of its name.
        ([{"config_name": "a", "data_files": {"b": "x/1"}}, {"config_name": "b", "data_files": {"a": "x/2"}}], "a", ["x/1"]),
        # What is not of the form is passed over.
        ([7, None, {"config_name": 7, "data_files": "x/1"}, {"config_name": "c", "data_files": "x/2"}], "c", ["x/2"]),
        (
            [{"config_name": "c", "data_files": [{"split": "a\nb", "path": "x/1"}, {"split": "s", "path": [7, "x/2"]}]}],
            "c",
            ["x/2"],
        ),
    ],
)
def test_forms_of_a_card(configs: list[Any], name: str, expected: list[str]) -> None:
    """A card may write its parts in several forms; what is of none of them does no harm."""
    assert files(name, {"configs": configs}, ["README.md", "x/1", "x/2", "x/y/3", "y/1", "[a]"]) == expected


@pytest.mark.parametrize(
    ("card", "name", "problem", "hint"),
    [
        (
            CARD,
            "trian",
            "the repository has no part 'trian'",
            "Did you mean 'train'? Its parts: en, de, audio, all.csv, train, test.",
        ),
        (CARD, "en/tets", "has no part 'en/tets'", "Did you mean 'en/test'?"),
        (CARD, "de/test", "has no part 'de/test'", "Its parts: en, de, "),
        ({}, "train", "has no part 'train'", "Its card describes no parts ('configs'): choose files by a glob"),
        ({"configs": "x"}, "train", "has no part 'train'", "describes no parts"),
        ({"configs": [{"config_name": "c", "data_files": "gone/*"}]}, "c", "has no file of its part 'c'", "tell its owner"),
        ({"configs": [{"config_name": f"c{n}"} for n in range(50)]}, "x", "has no part 'x'", "c18, c19 and 30 more."),
    ],
)
def test_a_part_that_is_not_there(card: dict[str, Any], name: str, problem: str, hint: str) -> None:
    """An unknown part is refused with the nearest one and those that there are."""
    with pytest.raises(NotFoundError) as caught:
        files(name, card)
    assert problem in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.exit_code == 66


def test_the_names_of_parts() -> None:
    """Where there is one configuration its splits are named; else the configurations and the splits."""
    assert part_names(parts_of({"configs": [{"config_name": "default", "data_files": {"train": "a", "test": "b"}}]})) == (
        "train",
        "test",
    )
    assert part_names(parts_of(CARD)) == ("en", "de", "audio", "all.csv", "train", "test")
    assert part_names(parts_of({"configs": [{"config_name": "c"}]})) == ("c",)
    assert part_names(()) == ()


@pytest.mark.parametrize(
    ("configs", "expected"),
    [
        ([{"data_files": {"train": "a/*.csv", "test": "b/**"}}], (("a/*.csv", "train"), ("b/", "test"))),
        # Several configurations are told apart by their names.
        (
            [{"config_name": "a", "data_files": {"x": "a/1.csv", "y": "a/2.csv"}}, {"config_name": "b", "data_dir": "b"}],
            (("a/1.csv", "a"), ("a/2.csv", "a"), ("b/", "b")),
        ),
        # What a catalog's globs cannot say: '*' that is to stop at '/', a file of two splits, a name that is no split's.
        ([{"data_files": {"train": "*.csv", "test": "b/**"}}], ()),
        ([{"data_files": {"train": "a/*.csv", "test": "a/1.csv"}}], ()),
        ([{"data_files": {"train": "a/*.csv", "a b": "b/**"}}], ()),
        ([{"data_files": {"train": "a/*.csv", "test": "gone/*"}}], ()),
        ([{"data_files": {"train": "a/*.csv"}}], ()),
        ([], ()),
    ],
)
def test_parts_as_splits_of_a_catalog(configs: list[Any], expected: tuple[tuple[str, str], ...]) -> None:
    """A card's parts become splits of a catalog only where these mean the same."""
    paths = ["README.md", "a/1.csv", "a/2.csv", "b/3.csv", "b/c/4.csv", "5.csv"]
    assert splits_of(parts_of({"configs": configs}), paths) == expected


def test_globs_work_within_a_part() -> None:
    """A source takes of a part what its globs say; the message about a glob that names nothing says so."""
    listing = [(path, 1, None) for path in PATHS]
    source = HubSource("o/n", parts=("en",), exclude=("*.txt",))
    taken = [artifact.name for artifact in source.select(listing, "u", parts_of(CARD)).artifacts]
    assert taken == ["README.md", *ENGLISH, "en/test-0.parquet", "metadata.csv"]
    with pytest.raises(NotFoundError, match=r"the part 'de' of the data-set repository o/n at main does not hold en/x"):
        HubSource("o/n", parts=("de",), include=("en/x",)).select(listing, "u", parts_of(CARD))


def test_parts_are_in_the_recipe() -> None:
    """Another part is another version, and a source without parts is the same version as before there were any."""
    whole, part = HubSource("o/n"), HubSource("o/n", parts=("train",))
    assert "parts" not in whole.identity
    assert part.identity == {**whole.identity, "parts": ["train"]}
    assert part.as_entry() == {"kind": "hub", "repo": "o/n", "revision": "main", "parts": ["train"]}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6) | st.sampled_from(["**", "*", "train", "a/**/b", "../x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["configs", "config_name", "data_files", "data_dir", "split", "path"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(VALUES)
@settings(max_examples=150, deadline=None)
def test_any_card_gives_parts_or_a_complaint(value: object) -> None:
    """Whatever anybody wrote under ``configs``, the files of each part are files of the repository, or it is refused."""
    parts = parts_of({"configs": [value]})
    for name in part_names(parts):
        with contextlib.suppress(NotFoundError):
            assert files_of_parts(parts, [name], PATHS, "it") <= set(PATHS)
        assert name.isprintable()


def test_a_hostile_glob_takes_no_time() -> None:
    """Globs with many stars are matched in a time that grows with their length alone."""
    evil = "/".join(["**", "*a*a*a*a*a*a*a*a*a*a*b"] * 20)
    paths = ["README.md", "/".join(["a" * 60] * 40)]
    with pytest.raises(NotFoundError):
        files("c", {"configs": [{"config_name": "c", "data_files": evil}]}, paths)
