"""Catalogs that are no work: what need not be written, and a site's catalog on top of the shipped one."""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.catalog.model import Catalog, License
from provisioner.catalog.parse import parse_catalog, parse_catalogs
from provisioner.engine.request import make_request
from provisioner.errors import ConfigurationError
from provisioner.settings.reader import read_settings
from tests.unit.test_catalog_parse import GOOD
from tools.datasets_doc import CATALOG

SMALLEST = "version: 1\ndatasets:\n  ours: {sources: [{kind: hub, repo: acme/ours}]}\n"


def on_top(*texts: str) -> Catalog:
    """Return the catalog of several files called 0.yaml, 1.yaml and so on."""
    return parse_catalogs([(text, f"{number}.yaml") for number, text in enumerate(texts)])


def refused(*texts: str) -> list[str]:
    """Return all messages about the mistakes of catalogs."""
    with pytest.raises(ConfigurationError) as caught:
        on_top(*texts)
    return [f"{error.message} {error.hint}" for error in (caught.value, *caught.value.others)]


def asked(catalog: Catalog, phase: str = "") -> str | None:
    """Return the phase that is provisioned with a catalog."""

    def read_text(path: Path) -> str:
        raise FileNotFoundError(path)

    settings = read_settings({"PHASE": phase}, {}, read_text=read_text, home=Path("/h"), app_root=Path("/app"))
    return make_request(settings, catalog).phase


def test_what_need_not_be_written() -> None:
    """A repository is enough: all else has its default, and the catalog has one phase with everything."""
    catalog = on_top(SMALLEST)
    ours = catalog.datasets["ours"]
    page = "https://huggingface.co/datasets/acme/ours"
    assert (ours.title, ours.homepage, ours.priority, ours.layout, ours.optional) == ("ours", page, 3, "raw", False)
    assert ours.license == License("NOASSERTION", "Not stated", page, "verify", "the catalog states no licence", "")
    assert {name: phase.datasets for name, phase in catalog.phases.items()} == {"all": ("ours",)}
    assert asked(catalog) == "all"


@pytest.mark.parametrize(
    ("source", "page"),
    [
        ("{kind: hub, repo: acme/ours, repo_type: model}", "https://huggingface.co/acme/ours"),
        ("{kind: url, files: [{url: 'https://h.example/a.csv', digest: none}]}", "https://h.example/a.csv"),
        ("{kind: url, files: [{url: 'https://ann:pw@h.example/a.csv', digest: none}]}", "https://h.example/a.csv"),
        ("{kind: url, files: [{url: 'file:///srv/a.csv', digest: none}]}", ""),
    ],
)
def test_the_page_of_a_data_set_is_that_of_its_source(source: str, page: str) -> None:
    """Where no homepage is written, it is that of the first source; a file of this machine has none."""
    ours = on_top(f"version: 1\ndatasets: {{ours: {{sources: [{source}]}}}}").datasets["ours"]
    assert (ours.homepage, ours.license.url) == (page, page)


LICENSES: list[tuple[str, tuple[str, str, str, str]]] = [
    # Written, and identifier, name, mark and evidence.
    ("{spdx: CC-BY-4.0}", ("CC-BY-4.0", "CC-BY-4.0", "allowed", "the catalog says: CC-BY-4.0")),
    ("{spdx: CC-BY-NC-4.0}", ("CC-BY-NC-4.0", "CC-BY-NC-4.0", "forbidden", "the catalog says: CC-BY-NC-4.0")),
    ("{spdx: LicenseRef-Ours}", ("LicenseRef-Ours", "LicenseRef-Ours", "verify", "the catalog says: LicenseRef-Ours")),
    ("{spdx: MIT AND CC0-1.0}", ("MIT AND CC0-1.0", "MIT AND CC0-1.0", "verify", "the catalog says: MIT AND CC0-1.0")),
    ("{name: Ours}", ("NOASSERTION", "Ours", "verify", "the catalog states no licence")),
    ("{commercial: allowed, evidence: asked}", ("NOASSERTION", "Not stated", "allowed", "asked")),
    ("{}", ("NOASSERTION", "Not stated", "verify", "the catalog states no licence")),
]


@pytest.mark.parametrize(("written", "terms"), LICENSES, ids=[row[0] for row in LICENSES])
def test_a_licence_in_short(written: str, terms: tuple[str, str, str, str]) -> None:
    """What is not written of a licence follows from its identifier alone, and nothing is guessed."""
    license_ = on_top(SMALLEST.replace("{sources:", f"{{license: {written}, sources:")).datasets["ours"].license
    assert (license_.spdx, license_.name, license_.commercial, license_.evidence) == terms


def test_a_catalog_of_references_alone() -> None:
    """A phase of references needs no data set; the first phase is the default where none is called minimal."""
    catalog = on_top(
        "version: 1\nphases:\n  speech: {datasets: [hf://datasets/acme/sounds]}\n  more: {datasets: [hf://acme/m]}\n"
    )
    assert catalog.datasets == {}
    assert asked(catalog) == "speech"
    assert asked(on_top(CATALOG.read_text("utf-8"))) == "minimal"


def test_a_phase_that_is_not_there() -> None:
    """The message names the phase that may be meant, and all that there are."""
    with pytest.raises(ConfigurationError) as caught:
        asked(on_top(GOOD), "smal")
    assert caught.value.message == "PHASE: 'smal' is not a phase of the catalog"
    assert caught.value.hint == "Did you mean 'small'? Its phases: small, large; or auto, the largest that fits."
    with pytest.raises(ConfigurationError) as caught:
        asked(on_top(GOOD), "minimal")
    assert caught.value.hint == "Its phases: small, large; or auto, the largest that fits."


def test_a_catalog_on_top_adds_and_replaces() -> None:
    """Each entry of the later catalog replaces the one of the same name; phases of both may name data sets of both."""
    site = """
version: 1
datasets:
  speech: {title: Ours, sources: [{kind: hub, repo: acme/speech}]}
  songs: {sources: [{kind: hub, repo: acme/songs}]}
phases:
  small: {datasets: [speech, songs]}
  site: {extends: large, datasets: [songs, "hf://acme/model"]}
"""
    catalog = on_top(GOOD, site)
    assert list(catalog.datasets) == ["speech", "notes", "songs"]
    assert catalog.datasets["speech"].title == "Ours"
    assert catalog.datasets["notes"] == on_top(GOOD).datasets["notes"]
    assert catalog.excluded == {}  # a site may have the licence that others have not
    assert {name: phase.datasets for name, phase in catalog.phases.items()} == {
        "small": ("speech", "songs"),
        "large": ("speech", "songs", "notes"),
        "site": ("speech", "songs", "notes", "hf://acme/model"),
    }
    assert catalog.phases["large"].description == on_top(GOOD).phases["large"].description
    assert asked(catalog) == "small"


def test_a_catalog_on_top_excludes() -> None:
    """What a site excludes is out of the phases below; a phase of which nothing is left is a mistake."""
    site = "version: 1\nexcluded: {%s: {title: T, license: L, reason: ours}}\n"
    catalog = on_top(GOOD, site % "notes")
    assert catalog.phases["large"].datasets == ("speech",)
    assert sorted(catalog.excluded) == ["notes", "songs"]
    (message,) = refused(GOOD, site % "speech")
    assert message == "1.yaml:2: excluded: nothing is left of the phase 'small' Describe that phase here, too."
    fixed = site % "speech" + "phases: {small: {datasets: [notes]}}\n"
    assert on_top(GOOD, fixed).phases["large"].datasets == ("notes",)


def test_the_shipped_catalog_below_that_of_a_site() -> None:
    """A site adds one data set to the shipped catalog in three lines."""
    catalog = on_top(CATALOG.read_text("utf-8"), SMALLEST)
    assert list(catalog.datasets)[-1] == "ours"
    assert asked(catalog) == "minimal"
    assert "all" not in catalog.phases


MANY = """\
version: 1
datasets:
  a: {titel: x, priority: 9}
  b: {sources: [{kind: hub, repo: b, unpak: {}}]}
phases:
  p: {datasets: [a, b, c, songs]}
excluded: {d: {title: D, license: L, raeson: x}}
"""


@pytest.mark.parametrize(
    ("site", "expected"),
    [
        ("version: 1\n", ["1.yaml:1: there is no data set here"]),
        ("", ["1.yaml:1: the key 'version' is missing", "1.yaml:1: there is no data set here"]),
        ("version: 1\nphases: {x: {extends: smal, datasets: [nots]}}\n",
         ["1.yaml:2: phases.x.extends: there is no phase 'smal' Did you mean 'small'?",
          "1.yaml:2: phases.x.datasets[0]: there is no data set 'nots' Did you mean 'notes'?"]),
        ("version: 1\nphases:\n  small: {extends: large, datasets: [notes]}\n",
         ["1.yaml:3: phases.small.extends: the phases extend one another in a circle: small → large → small"]),
        # A mistake in one entry hides none in another.
        (MANY,
         ["1.yaml:3: datasets.a.titel: unknown key 'titel' Did you mean 'title'?",
          "1.yaml:3: datasets.a: the key 'sources' is missing",
          "1.yaml:3: datasets.a.priority: expected a whole number from 1 to 5, found 9",
          "1.yaml:4: datasets.b.sources[0].unpak: unknown key 'unpak' Did you mean 'unpack'?",
          "1.yaml:4: datasets.b.sources[0].repo: 'b' is not the name of a repository",
          "1.yaml:7: excluded.d.raeson: unknown key 'raeson' Did you mean 'reason'?",
          "1.yaml:6: phases.p.datasets[2]: there is no data set 'c'",
          "1.yaml:6: phases.p.datasets[3]: 'songs' is excluded: non-commercial"]),
    ],
)  # fmt: skip
def test_mistakes_of_a_catalog_on_top(site: str, expected: list[str]) -> None:
    """All mistakes of the later file are named, with what the earlier one has."""
    found = refused(GOOD, site)
    assert len(found) == len(expected), found
    for message, begins in zip(found, expected, strict=True):
        assert message.startswith(begins), found


def test_a_catalog_is_itself_without_others() -> None:
    """One file means the same as before there could be several."""
    assert parse_catalogs([(GOOD, "c.yaml")]) == parse_catalog(GOOD, "c.yaml")
