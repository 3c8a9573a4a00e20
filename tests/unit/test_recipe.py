"""Recipes: what changes a version and what does not; which files a source and its splits select."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from provisioner.catalog.artifact import Artifact
from provisioner.catalog.digest import Digest
from provisioner.catalog.hub_source import HubSource
from provisioner.catalog.model import DataSet, License
from provisioner.catalog.parts import PartRule
from provisioner.catalog.size import Size
from provisioner.catalog.url_source import UrlFile, UrlSource
from provisioner.errors import ConfigurationError, DigestMismatchError, NotFoundError
from provisioner.planning.capacity import need_of
from provisioner.planning.recipe import make_recipe

TERMS = License("CC-BY-4.0", "CC BY 4.0", "https://example.org", "allowed", "evidence", "")


def digest(letter: str) -> Digest:
    """Return an invented digest."""
    return Digest("sha256", letter * 64)


def file(name: str, **fields: Any) -> UrlFile:
    """Return a file behind a URL."""
    return UrlFile(**{"url": f"https://one.example/{name}", "size": Size(100), "digest": digest("a"), **fields})


SPLIT = UrlSource(
    (
        file("train.tar.gz", split="train", digest=digest("1"), unpack="tar.gz"),
        file("test.tar.gz", split="test", digest=digest("2"), unpack="tar.gz"),
        file("about.txt", digest=digest("3")),
    )
)
HUB = HubSource(
    "ann/songs",
    include=("data/*", "*.md"),
    exclude=("*.tmp",),
    unpack=(("*.tar.gz", "tar.gz"),),
    splits=(("*train*", "train"), ("*test*", "test")),
)


def data_set(*sources: UrlSource | HubSource, **fields: Any) -> DataSet:
    """Return a data set with these sources."""
    return DataSet(
        **{
            "id": "alpha",
            "title": "Alpha",
            "homepage": "https://example.org",
            "description": "",
            "purpose": "",
            "priority": 3,
            "license": TERMS,
            "sources": sources,
            **fields,
        }
    )


def version(*sources: UrlSource | HubSource, **wish: Any) -> str:
    """Return the version of a data set's recipe."""
    return make_recipe(data_set(*sources), **wish).version


# --- what makes another version --------------------------------------------------------------------------------------------

BASE = UrlSource((file("a.zip", unpack="zip"),))


def changed(**fields: Any) -> UrlSource:
    """Return the base source with a changed file."""
    return UrlSource((replace(BASE.files[0], **fields),))


def test_a_rule_makes_a_version() -> None:
    """A part by rule is a version of its own, whatever it is called, and without a rule the version is what it was."""
    files = UrlSource((file("a.zip", unpack="zip"),))
    rule = PartRule(where="a == 1", limit=5)
    part = version(files, rule=rule)
    assert part == version(files, rule=rule.named("tiny")) != version(files)
    assert part == version(files, rule=replace(rule, seed=0)) != version(files, rule=replace(rule, seed=1))
    assert version(files, rule=PartRule(exclude=("a", "b"))) == version(files, rule=PartRule(exclude=("b", "a", "b")))
    assert make_recipe(data_set(files), rule=rule.named("tiny")).label == "alpha:tiny"


def test_a_part_needs_no_more_than_the_whole() -> None:
    """A part is planned with the peak of the whole, since all is unpacked before it is chosen, and a tree of its bytes."""
    whole = need_of(make_recipe(data_set(BASE, unpacked_size=Size(1000))))
    part = need_of(make_recipe(data_set(BASE, unpacked_size=Size(1000)), rule=PartRule(bytes=100)))
    assert part.peaks == whole.peaks
    assert part.unpacked == Size(100, estimate=True)


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "https://two.example/other-name.zip"},
        {"mirrors": ("https://three.example/a.zip",)},
        {"size": Size(5)},
        {"size": None},
        {"unpacked_size": Size(7)},
    ],
)
def test_the_same_version(fields: dict[str, Any]) -> None:
    """The URL, mirrors and sizes of a file with a digest do not change the version."""
    assert version(changed(**fields)) == version(BASE)


@pytest.mark.parametrize(
    "fields",
    [
        {"digest": digest("b")},
        {"digest": Digest("md5", "a" * 32)},
        {"digest": None},
        {"unpack": "none"},
        {"unpack": "tar"},
        {"into": "folder"},
    ],
)
def test_another_version(fields: dict[str, Any]) -> None:
    """The digest, the unpacking and the directory of a file change the version."""
    assert version(changed(**fields)) != version(BASE)


def test_texts_decide_nothing() -> None:
    """Title, priority, licence and unpacked size of a data set do not change the version."""
    other = data_set(BASE, title="Beta", priority=1, license=replace(TERMS, spdx="MIT"), unpacked_size=Size(9), optional=True)
    assert make_recipe(other).version == version(BASE)


def test_a_file_that_is_not_unpacked_has_a_name() -> None:
    """The name of a file that is not unpacked changes the version: it is the file's path in the tree."""
    plain = UrlSource((file("a.txt"),))
    assert version(plain) != version(UrlSource((file("b.txt"),)))
    assert version(plain) == version(UrlSource((file("a.txt", url="https://two.example/d/a.txt"),)))


def test_a_file_without_a_digest() -> None:
    """A file without a digest is identified by its name and size."""
    first = changed(digest=None)
    assert version(first) == version(changed(digest=None, url="https://two.example/a.zip"))
    assert version(first) != version(changed(digest=None, size=Size(5)))


@pytest.mark.parametrize(
    "fields",
    [
        {"repo": "bob/songs"},
        {"revision": "v1"},
        {"include": ("*",)},
        {"exclude": ()},
        {"unpack": ()},
        {"digests": (("data/a", digest("a")),)},
    ],
)
def test_another_version_on_the_hub(fields: dict[str, Any]) -> None:
    """Repository and revision as written, globs, unpacking and official digests change the version."""
    assert version(replace(HUB, **fields)) != version(HUB)


def test_sources_and_splits_decide() -> None:
    """Other sources, another order of sources and a split change the version."""
    versions = {
        version(SPLIT),
        version(HUB),
        version(SPLIT, HUB),
        version(HUB, SPLIT),
        version(SPLIT, splits=("train",)),
        version(SPLIT, splits=("test",)),
        version(HUB, splits=("test",)),
    }
    assert len(versions) == 7


def test_what_a_version_looks_like() -> None:
    """A version has sixteen hexadecimal digits, and known recipes keep theirs: a change would refetch every volume."""
    assert re.fullmatch(r"[0-9a-f]{16}", version(BASE))
    assert (version(BASE), version(HUB)) == ("d38d5cffb2283457", "3aaf9f9d39546514")


# --- splits and layouts ----------------------------------------------------------------------------------------------------


def test_all_splits_are_the_whole() -> None:
    """All splits by name, in any order and repeated, are the whole data set."""
    recipe = make_recipe(data_set(SPLIT), splits=("test", "train", "test"))
    assert (recipe.splits, recipe.label, recipe.version) == ((), "alpha", version(SPLIT))


def test_one_split() -> None:
    """A split has its own files and those without a split, in the catalog's order however it was asked for."""
    recipe = make_recipe(data_set(SPLIT), splits=("test",))
    assert [each.name for each in recipe.artifacts or ()] == ["test.tar.gz", "about.txt"]
    assert recipe.label == "alpha:test"
    three = UrlSource((*SPLIT.files, file("valid.tar.gz", split="valid")))
    both = make_recipe(data_set(three), splits=("valid", "train"))
    assert both.label == "alpha:train+valid"
    assert both.version == make_recipe(data_set(three), splits=("train", "valid")).version


def test_sources_that_cannot_tell_splits_apart_are_left_out() -> None:
    """A source that cannot deliver a split separately is not used for it."""
    whole = UrlSource((file("all.zip", unpack="zip"),))
    assert make_recipe(data_set(whole, SPLIT), splits=("test",)).sources == make_recipe(data_set(SPLIT), splits=("test",)).sources


@pytest.mark.parametrize(("name", "hint"), [("tset", "test"), ("validation", "")])
def test_an_unknown_split(name: str, hint: str) -> None:
    """An unknown split is not found (66); the hint has the nearest known one."""
    with pytest.raises(NotFoundError, match=f"no split '{name}'") as caught:
        make_recipe(data_set(SPLIT), splits=(name,))
    assert hint in caught.value.hint


def test_a_data_set_without_splits() -> None:
    """Asking for a split of a data set without splits is an error whose hint says how to ask for the whole."""
    with pytest.raises(NotFoundError) as caught:
        make_recipe(data_set(BASE), splits=("test",))
    assert "'alpha'" in caught.value.hint


def test_layouts() -> None:
    """Only sources that deliver the chosen layout are used."""
    both = data_set(BASE, replace(HUB, layout="parquet"))
    assert make_recipe(both).sources == (BASE,)
    chosen = make_recipe(both, layout="parquet")
    assert (chosen.layout, len(chosen.sources)) == ("parquet", 1)
    with pytest.raises(ConfigurationError, match="'parqet'") as caught:
        make_recipe(both, layout="parqet")
    assert "parquet" in caught.value.hint


# --- artifacts -------------------------------------------------------------------------------------------------------------


def test_artifacts_of_urls() -> None:
    """The artifacts of direct URLs are known from the catalog alone."""
    (artifact,) = UrlSource((file("d/a%20b.txt", into="docs", mirrors=("https://two.example/x",)),)).artifacts or ()
    assert (artifact.name, artifact.path) == ("a b.txt", "docs/a b.txt")
    assert artifact.urls == ("https://one.example/d/a%20b.txt", "https://two.example/x")
    assert (artifact.verified_against, artifact.authorized) == ("catalog", False)
    (loose,) = UrlSource((file("a", digest=None),)).artifacts or ()
    assert loose.verified_against == "none"


LISTING: list[tuple[str, int, Digest | None]] = [
    ("data/train.tar.gz", 10, digest("1")),
    ("data/test.wav", 20, digest("2")),
    ("data/x.tmp", 30, digest("3")),
    ("README.md", 40, None),
    ("other/file", 50, digest("5")),
]


def listed(source: HubSource, *splits: str) -> dict[str, Artifact]:
    """Return what a source selects from the listing, by name."""
    reduced = source.for_splits(splits)
    assert reduced is not None
    chosen = reduced.select(LISTING, "https://hub")
    return {artifact.name: artifact for artifact in chosen.artifacts}


def test_artifacts_of_the_hub() -> None:
    """Globs select files of a repository; directories are kept, and archives are unpacked in their own directory."""
    found = listed(HUB)
    assert set(found) == {"data/train.tar.gz", "data/test.wav", "README.md"}
    train = found["data/train.tar.gz"]
    assert (train.unpack, train.into, train.size, train.digest) == ("tar.gz", "data", Size(10), digest("1"))
    assert (train.authorized, train.locations, train.verified_against) == (True, ("https://hub/data/train.tar.gz",), "listing")
    assert found["data/test.wav"].path == "data/test.wav"
    assert found["README.md"].verified_against == "none"


def test_splits_of_the_hub() -> None:
    """Files of a repository that no glob of a split matches belong to every split."""
    assert set(listed(HUB, "test")) == {"data/test.wav", "README.md"}
    assert set(listed(HUB, "train")) == {"data/train.tar.gz", "README.md"}


def test_official_digests() -> None:
    """An official digest replaces the listing's; a listing that contradicts it, or lacks the file, is an error."""
    official = replace(HUB, digests=(("data/test.wav", Digest("md5", "a" * 32)),))
    assert listed(official)["data/test.wav"].verified_against == "catalog"
    with pytest.raises(DigestMismatchError, match=r"data/test\.wav"):
        listed(replace(HUB, digests=(("data/test.wav", digest("f")),)))
    with pytest.raises(NotFoundError, match=r"data/gone\.wav"):
        listed(replace(HUB, digests=(("data/gone.wav", digest("f")),)))


def test_a_repository_that_holds_nothing_of_it() -> None:
    """Globs that match no file of a repository are an error, never an empty data set."""
    with pytest.raises(NotFoundError, match=r"does not hold \*\.flac"):
        listed(replace(HUB, include=("*.flac",)))


def artifact_of(**fields: Any) -> Artifact:
    """Return an artifact."""
    usual = {"name": "a.zip", "urls": ("https://x/a",), "size": None, "digest": digest("a"), "unpack": "zip", "into": ""}
    return Artifact(**{**usual, "verified_against": "catalog", **fields})


def test_keys_and_content_ids() -> None:
    """A key identifies bytes, a content id what they become: the same bytes unpacked elsewhere have another content id."""
    base = artifact_of()
    assert base.key == f"sha256-{'a' * 64}"
    assert artifact_of(urls=("https://y/b",)).content_id == base.content_id
    assert artifact_of(name="b.zip").content_id == base.content_id
    assert artifact_of(into="d").content_id != base.content_id
    assert artifact_of(unpack="none").content_id != base.content_id
    assert artifact_of(unpack="none", name="b.zip").content_id != artifact_of(unpack="none").content_id
    loose = artifact_of(digest=None)
    assert loose.key.startswith("url-")
    assert loose.key != artifact_of(digest=None, urls=("https://y/b",)).key
    assert re.fullmatch(r"[a-z0-9-]+", loose.key)
