"""A catalog is read whole, or refused with file, line, key and the nearest valid value."""

# ruff: noqa: E501 - in the table of mistakes a row is a line

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.catalog.digest import Digest
from provisioner.catalog.hub_source import HubSource
from provisioner.catalog.model import Catalog
from provisioner.catalog.parse import parse_catalog
from provisioner.catalog.size import Size
from provisioner.errors import ConfigurationError
from tools.datasets_doc import CATALOG

if TYPE_CHECKING:
    from provisioner.catalog.url_source import UrlSource

GOOD = """\
version: 1
datasets:
  speech:
    title: Speech
    homepage: https://example.org/speech
    description: a voice
    purpose: singing
    priority: 5
    unpacked_size: {value: 300, estimate: true}
    license:
      spdx: CC-BY-4.0
      name: CC BY 4.0
      url: https://example.org/licence
      commercial: allowed
      evidence: its README
      attribution: Jane Doe
    sources:
      - kind: hub
        repo: owner/speech
        revision: main
        include: ["*.tar.gz"]
        exclude: ["old/*"]
        unpack: {"*.tar.gz": tar.gz}
        splits: {"train*": train}
        digests: {data/train.tar.gz: "md5:0123456789abcdef0123456789abcdef"}
        size: 100
      - kind: url
        files:
          - url: https://example.org/train.tar.gz
            mirrors: [http://mirror.example.org/train.tar.gz]
            size: 90
            digest: md5:0123456789ABCDEF0123456789abcdef
            unpack: tar.gz
            into: audio/train
            split: train
            unpacked_size: {value: 200, estimate: true}
          - url: file:///srv/README%20first.txt
            digest: none
  notes:
    title: Notes
    homepage: https://example.org/notes
    priority: 1
    optional: true
    layout: parquet
    license:
      spdx: LicenseRef-Notes
      name: Own
      url: https://example.org/licence
      commercial: verify
      evidence: none found
      attribution: ""
    notes:
      - "read | this"
    sources:
      - kind: hub
        layout: parquet
        repo: owner/notes
phases:
  small:
    description: one voice
    datasets: [speech]
  large:
    extends: small
    datasets: [notes]
excluded:
  songs:
    title: Songs
    license: CC-BY-NC-4.0
    reason: non-commercial
"""


def line_of(text: str, needle: str) -> int:
    """Return the number of the first line that has ``needle``."""
    return next(number for number, line in enumerate(text.splitlines(), 1) if needle in line)


def refused(text: str) -> ConfigurationError:
    """Return the error about ``text``."""
    with pytest.raises(ConfigurationError) as caught:
        parse_catalog(text, "c.yaml")
    return caught.value


def test_models_and_references() -> None:
    """A source may be a model repository, and a phase may hold references; a malformed one is a mistake of its line."""
    text = GOOD.replace("revision: main", "repo_type: model", 1).replace(
        "datasets: [speech]", 'datasets: [speech, "hf://a/b@v1"]', 1
    )
    catalog = parse_catalog(text, "c.yaml")
    assert catalog.datasets["speech"].sources[0].identity["repo_type"] == "model"
    assert (
        "a model repository has no parts"
        in refused(text.replace("repo_type: model", "repo_type: model\n        parts: [x]")).message
    )
    parts = parse_catalog(GOOD.replace("revision: main", "parts: [en/train, test]", 1), "c.yaml").datasets["speech"].sources[0]
    assert parts.identity["parts"] == ["en/train", "test"]
    assert catalog.phases["small"].datasets == ("speech", "hf://a/b@v1")
    wrong = text.replace("hf://a/b@v1", "hf://a/b@v1/../x")
    error = refused(wrong)
    assert error.message.startswith(f"c.yaml:{line_of(wrong, '../x')}: phases.small.datasets[1]: ")
    assert "is not a glob" in error.message


def test_a_good_catalog_is_read_whole() -> None:
    """Every key of a catalog is read into the value that it belongs to."""
    catalog = parse_catalog(GOOD, "c.yaml")
    speech, notes = catalog.datasets["speech"], catalog.datasets["notes"]
    assert (speech.title, speech.description, speech.purpose, speech.priority) == ("Speech", "a voice", "singing", 5)
    assert speech.unpacked_size == Size(300, estimate=True)
    assert speech.license.attribution == "Jane Doe"
    hub, url = speech.sources
    digest = Digest("md5", "0123456789abcdef0123456789abcdef")
    assert hub == HubSource(
        repo="owner/speech",
        revision="main",
        include=("*.tar.gz",),
        exclude=("old/*",),
        unpack=(("*.tar.gz", "tar.gz"),),
        splits=(("train*", "train"),),
        digests=(("data/train.tar.gz", digest),),
        size=Size(100),
    )
    archive, readme = cast("UrlSource", url).files
    assert archive.mirrors == ("http://mirror.example.org/train.tar.gz",)
    assert (archive.size, archive.unpacked_size) == (Size(90), Size(200, estimate=True))
    assert archive.digest == digest  # in lower case, however it was written
    assert (archive.unpack, archive.into, archive.split, archive.name) == ("tar.gz", "audio/train", "train", "train.tar.gz")
    assert (readme.digest, readme.size, readme.split, readme.name) == (None, None, None, "README first.txt")
    assert (notes.optional, notes.layout, notes.layouts, notes.notes) == (True, "parquet", ("parquet",), ("read | this",))
    assert (notes.description, notes.license.attribution, notes.unpacked_size) == ("", "", None)
    assert catalog.phases["large"].datasets == ("speech", "notes")
    assert catalog.phases["large"].own == ("notes",)
    assert catalog.phases["large"].extends == "small"
    assert catalog.excluded["songs"].reason == "non-commercial"


def test_parts() -> None:
    """Parts by rule are read with their names; what means the same has the same identity."""
    parts = "    parts: {free: {where: \"l  IN ('CC0','CC-BY')\"}, tiny: {include: ['*.wav'], limit: 5, bytes: 90, seed: 3}}\n"
    found = parse_catalog(GOOD.replace("    priority: 5\n", f"    priority: 5\n{parts}"), "c.yaml").datasets["speech"].parts
    assert {name: rule.identity for name, rule in found.items()} == {
        "free": {"where": "l in ('CC0', 'CC-BY')"},
        "tiny": {"include": ["*.wav"], "limit": 5, "bytes": 90, "seed": 3},
    }
    assert found["tiny"].text == ":tiny"


def test_the_order_of_phases_does_not_matter() -> None:
    """A phase may extend one that is defined after it."""
    text = re.sub(
        r"phases:.*excluded:",
        "phases:\n  b: {extends: a, datasets: [notes]}\n  a: {datasets: [speech]}\nexcluded:",
        GOOD,
        flags=re.DOTALL,
    )
    assert parse_catalog(text, "c.yaml").phases["b"].datasets == ("speech", "notes")


def test_long_text_becomes_one_line() -> None:
    """Text that is folded over several lines becomes one line."""
    text = GOOD.replace("title: Speech", 'title: "Speech\\n  of one"')
    assert parse_catalog(text, "c.yaml").datasets["speech"].title == "Speech of one"


SPEECH = "datasets.speech"
FILE = f"{SPEECH}.sources[1].files[0]"
HUB = f"{SPEECH}.sources[0]"

WRONG = [
    # (what is replaced, by what, a text on the line that is to be named, key, problem, hint)
    ("version: 1", "version: 2", "version: 2", "version", "version 2 of the format is not known", "reads version 1"),
    ("version: 1", "version: one", "version", "version", "expected a whole number, found text", ""),
    ("version: 1\n", "", "datasets:", "", "the key 'version' is missing", "version:"),
    ("phases:", "fases:", "fases:", "fases", "unknown key 'fases'", "'phases'"),
    # data sets
    ("  speech:\n", "  Speech!:\n", "Speech!", "datasets.Speech!", "cannot be the name of a data set", "'speech'"),
    ("  notes:\n    title", "  speech:\n    title", "  speech:\n", "", "stands here a second time", "line 3"),
    ("    sources:\n      - kind: hub\n        layout: parquet\n        repo: owner/notes\n", "", "  notes:\n    title", "datasets.notes", "the key 'sources' is missing", "sources:"),
    ("    title: Speech", "    titel: Speech", "titel", f"{SPEECH}.titel", "unknown key 'titel'", "'title'"),
    ("title: Speech", "title: ' '", "title: ' '", f"{SPEECH}.title", "is empty", ""),
    ("title: Speech", "title: 7", "title: 7", f"{SPEECH}.title", "expected text, found the number 7", "quotes"),
    ("title: Speech", r'title: "a\eb"', "title: ", f"{SPEECH}.title", "cannot be printed", ""),
    ("priority: 5", "priority: 6", "priority: 6", f"{SPEECH}.priority", "from 1 to 5, found 6", ""),
    ("priority: 5", "priority: 0", "priority: 0", f"{SPEECH}.priority", "from 1 to 5, found 0", ""),
    ("priority: 5", "priority: true", "priority", f"{SPEECH}.priority", "expected a whole number, found true or false", ""),
    ("priority: 5", "priority: high", "priority", f"{SPEECH}.priority", "expected a whole number, found text", ""),
    ("optional: true", "optional: maybe", "optional", "datasets.notes.optional", "expected true or false, found text", ""),
    ("homepage: https://example.org/speech", "homepage: example.org", "homepage", f"{SPEECH}.homepage", "address of a page", "in full"),
    ("    layout: parquet\n    license", "    layout: raw\n    license", "sources:", "", "own layout 'raw'", "one of: parquet"),
    # licence
    ("commercial: allowed", "commercial: alowed", "alowed", f"{SPEECH}.license.commercial", "'alowed' is not one of", "'allowed'"),
    ("spdx: CC-BY-4.0", "spdx: CC BY 4", "CC BY 4", f"{SPEECH}.license.spdx", "not an SPDX identifier", "LicenseRef-"),
    ("evidence: its README", "evidence: ''", "evidence: ''", f"{SPEECH}.license.evidence", "is empty", ""),
    # sizes
    ("size: 90", "size: 54 GB", "54 GB", f"{FILE}.size", "expected a number of bytes, found '54 GB'", "whole bytes"),
    ("size: 90", "size: 1.5", "size: 1.5", f"{FILE}.size", "found the number 1.5", "whole bytes"),
    ("size: 90", "size: -1", "size: -1", f"{FILE}.size", "from 0 to", ""),
    ("size: 90", f"size: {2**63}", "size: 92", f"{FILE}.size", "from 0 to", ""),
    ("{value: 200, estimate: true}", "{value: 200, estimated: true}", "estimated", f"{FILE}.unpacked_size.estimated", "unknown key", "'estimate'"),
    ("{value: 200, estimate: true}", "{estimate: true}", "{estimate: true}", f"{FILE}.unpacked_size", "'value' is missing", ""),
    ("            unpack: tar.gz\n", "", "unpacked_size: {value: 200", f"{FILE}.unpacked_size", "is not unpacked", "'unpack'"),
    # sources
    ("      - kind: url\n", "      - kind: ulr\n", "ulr", f"{SPEECH}.sources[1].kind", "'ulr' is not one of hub, url", "'url'"),
    ("      - kind: url\n        files:", "      - files:", "- files:", f"{SPEECH}.sources[1]", "the key 'kind' is missing", ""),
    ("repo: owner/speech", "files: []", "files: []", f"{HUB}.files", "does not belong to a source of this kind", "repo"),
    ("repo: owner/speech", "rebo: owner/speech", "rebo", f"{HUB}.rebo", "unknown key 'rebo'", "'repo'"),
    ("repo: owner/speech", "repo: speech", "repo: speech", f"{HUB}.repo", "not the name of a repository", "owner/name"),
    ("owner/speech", "https://hub.example/datasets/owner/speech", "repo: https", f"{HUB}.repo", "not the name", "owner/speech,"),
    ("repo: owner/speech", "repo: ../speech", "repo: ..", f"{HUB}.repo", "not the name of a repository", ""),
    ("repo: owner/speech", "repo: owner/a--b", "repo: owner/a", f"{HUB}.repo", "not the name of a repository", ""),
    ("revision: main", "repo_type: space", "repo_type", f"{HUB}.repo_type", "is not one of dataset, model", "Known"),
    ("revision: main", "parts: []", "parts", f"{HUB}.parts", "there is no part here", ""),
    ("revision: main", "parts: [en/train/x]", "parts", f"{HUB}.parts[0]", "is not the name of a part", "CONFIG/SPLIT"),
    ("revision: main", "revision: a b", "revision", f"{HUB}.revision", "is not a revision", "commit"),
    ("revision: main", "revision: a/../b", "revision", f"{HUB}.revision", "is not a revision", "commit"),
    ("revision: main", "revision: 1234567", "revision", f"{HUB}.revision", "expected text", "quotes"),
    ('include: ["*.tar.gz"]', "include: []", "include", f"{HUB}.include", "there is no glob here", ""),
    ('include: ["*.tar.gz"]', 'include: ["/x"]', "include", f"{HUB}.include[0]", "is not a glob", "relative"),
    ('include: ["*.tar.gz"]', 'include: ["a/../b"]', "include", f"{HUB}.include[0]", "is not a glob", "relative"),
    ('include: ["*.tar.gz"]', 'include: ["[ab"]', "include", f"{HUB}.include[0]", "a '[' is not closed", "[[]"),
    ('include: ["*.tar.gz"]', 'include: ["a\\\\b"]', "include", f"{HUB}.include[0]", "is not a glob", "backslashes"),
    ('exclude: ["old/*"]', "exclude: old/*", "exclude", f"{HUB}.exclude", "expected a list, found text", ""),
    ('unpack: {"*.tar.gz": tar.gz}', 'unpack: {"*.tar.gz": tgz}', "tgz", f"{HUB}.unpack.*.tar.gz", "'tgz' is not one of", "'tar.gz'"),
    ('unpack: {"*.tar.gz"', 'unpack: {"../*"', "../*", f"{HUB}.unpack.../*", "is not a glob", ""),
    ('splits: {"train*": train}', 'splits: {"train*": "a:b"}', "a:b", f"{HUB}.splits.train*", "not the name of a split", ""),
    ("{data/train.tar.gz:", "{/data/train.tar.gz:", "digests", f"{HUB}.digests./data/train.tar.gz", "not a relative path", "'data/train"),
    ('"md5:0123456789abcdef0123456789abcdef"', "none", "digests", f"{HUB}.digests.data/train.tar.gz", "'none' says nothing", "Remove"),
    # files
    ("            digest: none\n", "", "- url: file", f"{SPEECH}.sources[1].files[1]", "the key 'digest' is missing", "digest: none"),
    ("          - url: file:///srv/README%20first.txt\n            digest", "          - digest", "- digest: none", f"{SPEECH}.sources[1].files[1]", "'url' is missing", ""),
    ("unpack: tar.gz\n", "unpack: tar.gs\n", "tar.gs", f"{FILE}.unpack", "'tar.gs' is not one of", "'tar.gz'"),
    ("split: train\n", "split: a b\n", "split: a b", f"{FILE}.split", "not the name of a split", "train-clean-100"),
    ("split: train\n", "split: no\n", "split: no", f"{FILE}.split", "expected text, found true or false", "quotes"),
    ("into: audio/train", "into: /audio", "into:", f"{FILE}.into", "not a relative path", "'audio'"),
    ("into: audio/train", "into: a/../../b", "into:", f"{FILE}.into", "not a relative path", "'a/b'"),
    ("into: audio/train", "into: ./a", "into:", f"{FILE}.into", "not a relative path", "'a'"),
    ("into: audio/train", "into: a/", "into:", f"{FILE}.into", "not a relative path", "'a'"),
    ("into: audio/train", "into: a//b", "into:", f"{FILE}.into", "not a relative path", "'a/b'"),
    ("into: audio/train", "into: 'a\\b'", "into:", f"{FILE}.into", "not a relative path", "'a/b'"),
    ("into: audio/train", "into: README first.TXT", "into:", f"{FILE}.into", "needs a directory where the file of line 37 lands", ""),
    # digests
    ("md5:0123456789ABCDEF0123456789abcdef", "0123456789ABCDEF0123456789abcdef", "digest: 0", f"{FILE}.digest", "is not a digest", "md5:01234567"),
    ("md5:0123456789ABCDEF", "md4:0123456789ABCDEF", "digest: md4", f"{FILE}.digest", "'md4' is not a digest algorithm", "'md5'"),
    ("md5:0123456789ABCDEF", "sha1:0123456789ABCDEF", "digest: sha1", f"{FILE}.digest", "a sha1 has 40 digits, found 32", "32 digits are a md5"),
    ("md5:0123456789ABCDEF", "md5:012345678", "digest: md5", f"{FILE}.digest", "a md5 has 32 digits, found 25", "Copy"),
    ("md5:0123456789ABCDEF", "md5:O123456789ABCDEF", "digest: md5", f"{FILE}.digest", "hexadecimal digits only, found 'O'", "Copy"),
    # URLs
    ("url: https://example.org/train", "url: ftp://example.org/train", "ftp:", f"{FILE}.url", "the scheme 'ftp' is not one of", "http"),
    ("url: https://example.org/train.tar.gz", "url: /srv/x.tar.gz", "/srv/x", f"{FILE}.url", "is not a URL", "file"),
    ("url: https://example.org/train", "url: https:///train", "https:///", f"{FILE}.url", "names no host", "https://host/path"),
    ("url: https://example.org/train", "url: https://[::1/train", "[::1", f"{FILE}.url", "is not a URL", "host"),
    ("url: https://example.org/train", "url: https://example.org:99999/train", ":99999", f"{FILE}.url", "is not a URL", "port"),
    ("url: https://example.org/train.tar.gz", "url: https://example.org/a b", "a b", f"{FILE}.url", "has a space", "%20"),
    ("url: https://example.org/train.tar.gz", "url: https://example.org/ü", "ü", f"{FILE}.url", "not ASCII", "percent"),
    ("url: https://example.org/train.tar.gz", "url: https://example.org/x/", "org/x/", f"{FILE}.url", "names a directory", "file"),
    ("url: https://example.org/train.tar.gz", "url: https://example.org", "- url: https://example.org", f"{FILE}.url", "names a directory", ""),
    ("url: https://example.org/train.tar.gz", "url: https://example.org/x#y", "x#y", f"{FILE}.url", "'#'", "%23"),
    ("url: https://example.org/train.tar.gz", "url: https://example.org/a%2F..%2Fb", "%2F", f"{FILE}.url", "'..' part", ""),
    ("url: https://example.org/train.tar.gz", "url: https://example.org/a%0Ab", "%0A", f"{FILE}.url", "unsafe character", "Rename"),
    ("url: https://example.org/train.tar.gz", "url: https://example.org/a%5Cb", "%5C", f"{FILE}.url", "unsafe character", "Rename"),
    ("url: https://example.org/train.tar.gz", "url: https://example.org/%FF", "%FF", f"{FILE}.url", "unsafe character", "Rename"),
    ("url: https://example.org/train.tar.gz", "url: https://example.org/" + "x" * 256, "xxx", f"{FILE}.url", "more than 255", ""),
    ("file:///srv/README%20first.txt", "file://host/srv/x", "file://host", f"{SPEECH}.sources[1].files[1].url", "neither a host", "file:///"),
    ("file:///srv/README%20first.txt", "file:///srv/../x", "file:///srv", f"{SPEECH}.sources[1].files[1].url", "'..' part", ""),
    ("file:///srv/README%20first.txt", "file:srv/x", "file:srv", f"{SPEECH}.sources[1].files[1].url", "not the URL of a file", ""),
    ("file:///srv/README%20first.txt", "file:///srv/a%00b", "file:///srv", f"{SPEECH}.sources[1].files[1].url", "unsafe character", ""),
    ("[http://mirror.example.org/train.tar.gz]", "[s3://bucket/x]", "s3:", f"{FILE}.mirrors[0]", "the scheme 's3'", ""),
    # phases
    ("datasets: [speech]", "datasets: [spech]", "spech]", "phases.small.datasets[0]", "there is no data set 'spech'", "'speech'"),
    ("datasets: [speech]", "datasets: [songs]", "[songs]", "phases.small.datasets[0]", "excluded: non-commercial", "Take it out"),
    ("datasets: [speech]", "datasets: [speech, speech]", "speech, speech", "phases.small.datasets[1]", "a second time", "line"),
    ("datasets: [speech]", "datasets: []", "  small:", "phases.small", "the phase has no data set", "speech"),
    ("datasets: [speech]", "datasets: speech", "datasets: speech", "phases.small.datasets", "expected a list", ""),
    ("    datasets: [speech]\n", "", "  small:", "phases.small", "the key 'datasets' is missing", ""),
    ("extends: small", "extends: smal", "extends", "phases.large.extends", "there is no phase 'smal'", "'small'"),
    ("extends: small", "extends: large", "extends", "phases.large.extends", "in a circle: large → large", ""),
    ("    description: one voice", "    extends: large", "extends: large", "phases.small.extends", "small → large → small", ""),
    ("  small:\n", "  auto:\n", "auto:", "phases.auto", "cannot be called 'auto'", "PHASE=auto"),
    # parts by rule
    ("    priority: 5\n", "    priority: 5\n    parts: {tiny: {limt: 5}}\n", "parts:", "datasets.speech.parts.tiny.limt", "unknown key 'limt'", "'limit'"),
    ("    priority: 5\n", "    priority: 5\n    parts: {tiny: {limit: 0}}\n", "parts:", "datasets.speech.parts.tiny.limit", "expected a whole number from 1", ""),
    ("    priority: 5\n", "    priority: 5\n    parts: {tiny: {seed: 1}}\n", "parts:", "datasets.speech.parts.tiny", "the part has no rule", "limit"),
    ("    priority: 5\n", "    priority: 5\n    parts: {tiny: {where: 'a = 1'}}\n", "parts:", "datasets.speech.parts.tiny.where", "'=' at character 3", "Write =="),
    ("    priority: 5\n", "    priority: 5\n    parts: {tiny: {include: []}}\n", "parts:", "datasets.speech.parts.tiny.include", "there is no glob here", ""),
    ("    priority: 5\n", "    priority: 5\n    parts: {tiny: {exclude: [../x]}}\n", "parts:", "datasets.speech.parts.tiny.exclude[0]", "is not a glob", ""),
    ("    priority: 5\n", "    priority: 5\n    parts: {train: {limit: 5}}\n", "parts:", "datasets.speech.parts.train", "is a split of this data set", "another name"),
    ("    priority: 5\n", "    priority: 5\n    parts: {'a b': {limit: 5}}\n", "parts:", "datasets.speech.parts.a b", "cannot be the name of a part", ""),
    ("    priority: 5\n", "    priority: 5\n    parts: {tiny: 5}\n", "parts:", "datasets.speech.parts.tiny", "expected a mapping", ""),
    ("    priority: 5\n", "    priority: 5\n    parts: []\n", "parts:", "datasets.speech.parts", "expected a mapping", ""),
    # excluded
    ("  songs:\n", "  notes:\n", "  notes:\n    title: Songs", "excluded.notes", "listed as a data set too, on line 39", "Keep one"),
    ("    reason: non-commercial\n", "", "  songs:", "excluded.songs", "the key 'reason' is missing", ""),
    ("    reason: non-commercial", "    raeson: x", "raeson", "excluded.songs.raeson", "unknown key 'raeson'", "'reason'"),
]  # fmt: skip
WRONG_IDS = [f"{number}-{row[3]}-{row[4]}"[:70] for number, row in enumerate(WRONG)]


@pytest.mark.parametrize(("old", "new", "where", "key", "problem", "hint"), WRONG, ids=WRONG_IDS)
def test_each_mistake_has_its_place_and_its_hint(old: str, new: str, where: str, key: str, problem: str, hint: str) -> None:  # noqa: PLR0917 - the columns of the table
    """For each mistake in a catalog the message has its line, its key, and what to do."""
    assert old in GOOD
    text = GOOD.replace(old, new, 1)
    error = refused(text)
    number = text[: text.index(where)].count("\n") + 1
    if problem in {"stands here a second time", "own layout 'raw'"}:  # the second of two equal lines is meant
        number = text[: text.rindex(where)].count("\n") + 1
    assert error.message.startswith(f"c.yaml:{number}: {key}"), error.message
    assert problem in error.message
    assert hint in error.hint
    assert error.exit_code == 78


WITH_A_LOGIN = ("https://user:hunter2@example.org/x", "https://hunter2@example.org/x")
"""Allowed for files of a server of the user's own."""


def packs() -> list[list[tuple[str, str]]]:
    """Return the table's mistakes in packs, so that those of one pack are on different lines of the same document."""
    found: list[tuple[set[int], list[tuple[str, str]]]] = []
    for old, new, *_ in WRONG:
        first = GOOD[: GOOD.index(old)].count("\n")
        touched = set(range(first, first + old.count("\n") + 1))
        # What these are about cannot be said of a document in which something else is wrong, too.
        if re.search(r"version|kind:|speech:\n|Speech!|songs|README first.TXT|fases|extends|small:", old + new):
            continue
        for used, pack in found:
            if not touched & used:
                used.update(touched)
                pack.append((old, new))
                break
        else:
            found.append((touched, [(old, new)]))
    return [pack for _, pack in found if len(pack) > 1]


def problems(error: ConfigurationError) -> set[str]:
    """Return the keys and problems of an error and its companions, without their lines."""
    return {re.sub(r"^c\.yaml:\d+: ", "", one.message) for one in (error, *error.others)}


@pytest.mark.parametrize("pack", packs(), ids=lambda pack: pack[0][1][:40])
def test_all_mistakes_are_found_at_once(pack: list[tuple[str, str]]) -> None:
    """A document with many mistakes is refused once, with each mistake that it would be refused for alone."""
    text = GOOD
    expected: set[str] = set()
    for old, new in pack:
        expected |= problems(refused(GOOD.replace(old, new, 1)))
        text = text.replace(old, new, 1)
    assert expected <= problems(refused(text)), expected - problems(refused(text))


def test_a_document_of_nothing_but_mistakes_has_an_end() -> None:
    """Of thousands of mistakes the first ones are reported, and that there are more."""
    text = GOOD.replace("    notes:\n", "    notes:\n" + "".join(f"      - {n}\n" for n in range(5000)))
    error = refused(text)
    assert len(error.others) == 50
    assert "these are the first 50 mistakes" in error.others[-1].message


@pytest.mark.parametrize(
    "url",
    [
        *WITH_A_LOGIN,
        "https://example.org/x?token=hunter2",
        "https://example.org/x?a=b&X-Amz-Signature=hunter2",
        "https://user:hunter2@[::1/x",
        "https://user:hunter2@example.org:port/x",
    ],
)
def test_a_secret_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    """A URL with credentials is refused with its position, unless it is a file's login; the secret is not in the message."""
    if url not in WITH_A_LOGIN:
        error = refused(GOOD.replace("https://example.org/train.tar.gz", url))
        assert f"{FILE}.url" in error.message
        assert "hunter2" not in error.message + error.hint
    error = refused(GOOD.replace("homepage: https://example.org/speech", f"homepage: {url}"))
    assert f"{SPEECH}.homepage" in error.message
    assert "hunter2" not in error.message + error.hint


@pytest.mark.parametrize("value", ["", "[]", "text", "7"])
@pytest.mark.parametrize("key", ["datasets", "phases", "excluded"])
def test_wrong_types_of_whole_sections(key: str, value: str) -> None:
    """A section that is not a mapping is refused on its own line."""
    text = re.sub(rf"^{key}:\n(?:  .*\n)+", f"{key}: {value}\n", GOOD, flags=re.MULTILINE)
    error = refused(text)
    assert error.message.startswith(f"c.yaml:{line_of(text, f'{key}:')}: {key}: expected a mapping, found ")


@pytest.mark.parametrize(("key", "what"), [("datasets", "data set"), ("phases", "phase")])
def test_empty_sections(key: str, what: str) -> None:
    """A catalog without data sets or without phases is refused."""
    text = re.sub(rf"^{key}:\n(?:  .*\n)+", f"{key}: {{}}\n", GOOD, flags=re.MULTILINE)
    assert f"{key}: there is no {what} here" in refused(text).message


def test_sources_must_not_be_empty() -> None:
    """A data set without a source is refused."""
    text = re.sub(r"    sources:\n      - kind: hub\n        layout.*\n.*\n", "    sources: []\n", GOOD)
    assert "datasets.notes.sources: there is no source here" in refused(text).message


def two_files(first: str, second: str) -> str:
    """Return a catalog whose URL source has two files, each described on one line."""
    start, end = GOOD.index("          - url: https"), GOOD.index("  notes:")
    text = GOOD[:start] + f"          - {{{first}}}\n          - {{{second}}}\n" + GOOD[end:]
    return text.replace('        splits: {"train*": train}\n', "")


@pytest.mark.parametrize(
    ("first", "second", "problem"),
    [
        ("url: 'https://a.org/x.txt'", "url: 'https://b.org/x.txt'", "lands on the same path"),
        ("url: 'https://a.org/x.txt'", "url: 'https://b.org/X.txt'", "lands on the same path"),  # one path without case
        ("url: 'https://a.org/x.txt'", "url: 'https://b.org/x.txt?v=2'", "lands on the same path"),
        ("url: 'https://a.org/x', into: y", "url: 'https://b.org/x', into: y", "lands on the same path"),
        ("url: 'https://a.org/x.zip', unpack: zip", "url: 'https://a.org/x.zip', unpack: zip", "stands here again"),
        ("url: 'https://a.org/x'", "url: 'https://a.org/y.zip', unpack: zip, into: x/y", "needs a directory where"),
    ],
)
def test_two_files_cannot_share_a_path(first: str, second: str, problem: str) -> None:
    """Two files with the same path, or a file where another needs a directory, are refused before anything is fetched."""
    assert problem in refused(two_files(f"{first}, digest: none", f"{second}, digest: none")).message


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("url: 'https://a.org/x.txt'", "url: 'https://b.org/x.txt', into: b"),
        ("url: 'https://a.org/x.zip', unpack: zip", "url: 'https://b.org/x.zip', unpack: zip"),
        ("url: 'https://a.org/x.zip', unpack: zip, into: a", "url: 'https://a.org/x.zip', unpack: zip, into: b"),
    ],
)
def test_two_files_may_share_a_name(first: str, second: str) -> None:
    """Files of the same name are accepted in different directories, and when they are unpacked."""
    parse_catalog(two_files(f"{first}, digest: none", f"{second}, digest: none"), "c.yaml")


def survives(text: str) -> None:
    """Parse ``text``, and check that the result is a catalog or an error with its position."""
    complaint = ""
    try:
        assert isinstance(parse_catalog(text, "c.yaml"), Catalog)
    except ConfigurationError as error:
        complaint = error.message + error.hint
        complaint.encode()
    assert complaint == "" or re.match(r"c\.yaml:[1-9]", complaint)


@given(st.text())
def test_any_text_gives_a_catalog_or_one_complaint(text: str) -> None:
    """Any text gives a catalog or one error, never another exception."""
    survives(text)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_damaged_catalog_gives_a_catalog_or_one_complaint(data: st.DataObject) -> None:
    """A good catalog with pieces removed and strange words inserted gives a catalog or one error."""
    text = GOOD
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 40)))
        word = data.draw(
            st.sampled_from(
                ["", "null", "[]", "{}", "true", "-1", "1e99", "'", '"', ": ", "\n", "  ", "&a ", "*a", "!!int ", "x"]
            )
            | st.text(max_size=5)
        )
        text = text[:start] + word + text[end:]
    survives(text)


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_a_damaged_real_catalog_gives_a_catalog_or_one_complaint(data: st.DataObject) -> None:
    """The delivered catalog with a line removed, doubled or indented differently gives a catalog or one error."""
    lines = CATALOG.read_text(encoding="utf-8").splitlines(keepends=True)
    number = data.draw(st.integers(0, len(lines) - 1))
    damage = data.draw(st.sampled_from(["lost", "doubled", "indented", "cut", "swapped"]))
    line = lines[number]
    replacement = {
        "lost": "",
        "doubled": line * 2,
        "indented": "  " + line,
        "cut": line[: len(line) // 2] + "\n",
        "swapped": lines[-number] + line,
    }
    lines[number] = replacement[damage]
    survives("".join(lines))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.data(), VALUES)
@settings(max_examples=200, deadline=None)
def test_any_value_anywhere_gives_a_catalog_or_one_complaint(data: st.DataObject, value: object) -> None:
    """A good catalog with a value of any other type at any key gives a catalog or one error."""
    numbers = [number for number, line in enumerate(GOOD.splitlines()) if re.search(r"\w: \S", line)]
    number = data.draw(st.sampled_from(numbers))
    lines = GOOD.splitlines()
    lines[number] = re.sub(r"(\w): \S.*", lambda match: f"{match.group(1)}: {json.dumps(value)}", lines[number])
    survives("\n".join(lines))
