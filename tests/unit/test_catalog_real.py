"""The delivered catalog says what is known of the real data sets, and the files generated from it are current."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import jsonschema
import pytest

from provisioner.catalog.document import parse_document
from provisioner.catalog.parse import parse_catalog
from provisioner.catalog.schema import json_schema
from provisioner.errors import ConfigurationError
from tests.unit.test_catalog_parse import GOOD, WRONG, WRONG_IDS
from tools import catalog_schema, datasets_doc

if TYPE_CHECKING:
    from provisioner.catalog.hub_source import HubSource
    from provisioner.catalog.model import Catalog, DataSet
    from provisioner.catalog.url_source import UrlSource

TEXT = datasets_doc.CATALOG.read_text(encoding="utf-8")

PRIORITIES = {
    "nsynth": 5,
    "ljspeech": 5,
    "urmp": 4,
    "fma_small": 4,
    "libritts": 3,
    "musicnet": 3,
    "fma_large": 2,
    "lakh_midi": 3,
}
COMMERCIAL = {
    "nsynth": "allowed",
    "ljspeech": "allowed",
    "urmp": "verify",
    "fma_small": "mixed",
    "libritts": "allowed",
    "musicnet": "verify",
    "fma_large": "mixed",
    "lakh_midi": "verify",
}
DOWNLOADS = {
    # Exact bytes of the data set's own layout by direct URLs.
    "nsynth": 25_233_566_634,
    "ljspeech": 2_748_572_632,
    "fma_small": 7_679_594_875 + 358_412_441,
    "libritts": 84_204_238_754,
    "musicnet": 11_097_394_998 + 2_601_302 + 43_775,
    "fma_large": 100_306_112_191 + 358_412_441,
    "lakh_midi": 1_768_163_879 + 24_857_245 + 7_237_036,
}


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    """Return the delivered catalog."""
    return parse_catalog(TEXT, "config/catalog.yaml")


def url_sources(dataset: DataSet) -> tuple[UrlSource, ...]:
    """Return the sources of the data set that are direct URLs."""
    return tuple(cast("UrlSource", source) for source in dataset.sources if source.kind == "url")


def url_source(dataset: DataSet) -> UrlSource:
    """Return the direct URLs of the data set's own layout."""
    return next(source for source in url_sources(dataset) if source.layout == dataset.layout)


def test_eight_data_sets_with_their_priorities(catalog: Catalog) -> None:
    """The catalog has these eight data sets with these priorities, in this order, which decides ties."""
    assert {name: dataset.priority for name, dataset in catalog.datasets.items()} == PRIORITIES
    assert list(catalog.datasets) == list(PRIORITIES)


def test_phases_build_on_one_another(catalog: Catalog) -> None:
    """Each phase has all data sets of the phase before it."""
    minimal = ("nsynth", "ljspeech", "urmp", "fma_small")
    balanced = (*minimal, "libritts", "musicnet")
    assert {name: phase.datasets for name, phase in catalog.phases.items()} == {
        "minimal": minimal,
        "balanced": balanced,
        "comprehensive": (*balanced, "fma_large", "lakh_midi"),
    }


def test_what_is_excluded_and_why(catalog: Catalog) -> None:
    """MAESTRO and MUSDB18 are excluded because of their licences."""
    assert set(catalog.excluded) == {"maestro", "musdb18"}
    assert all("non-commercial" in one.reason for one in catalog.excluded.values())


def test_verdicts_are_those_of_the_evidence(catalog: Catalog) -> None:
    """Commercial use is marked as the evidence says; every data set has evidence and attribution."""
    assert {name: dataset.license.commercial for name, dataset in catalog.datasets.items()} == COMMERCIAL
    assert all(dataset.license.evidence and dataset.license.attribution for dataset in catalog.datasets.values())
    assert "16.45 %" in catalog.datasets["fma_small"].license.evidence
    assert "10.11 %" in catalog.datasets["fma_large"].license.evidence


@pytest.mark.parametrize("name", DOWNLOADS)
def test_downloads_are_exact(catalog: Catalog, name: str) -> None:
    """Sizes of archives are whole bytes, never rounded, and every file has a digest."""
    files = url_source(catalog.datasets[name]).files
    assert sum(file.size.value for file in files if file.size) == DOWNLOADS[name]
    assert all(file.size and file.size.exact is not None and file.digest for file in files)


@pytest.mark.parametrize("name", DOWNLOADS)
def test_unpacked_sizes_add_up_and_are_marked(catalog: Catalog, name: str) -> None:
    """The size of the tree is the sum of its files, to the few bytes of rounding, and says that it is an estimate."""
    dataset = catalog.datasets[name]
    sizes = [file.size if file.unpack == "none" else file.unpacked_size for file in url_source(dataset).files]
    assert dataset.unpacked_size is not None
    assert dataset.unpacked_size.estimate
    assert abs(sum(size.value for size in sizes if size) - dataset.unpacked_size.value) < 10


def test_splits(catalog: Catalog) -> None:
    """NSynth has three splits, LibriTTS seven, URMP three; each size is that of its archive."""
    splits = {name: dataset.splits for name, dataset in catalog.datasets.items() if dataset.splits}
    assert splits == {
        "nsynth": ("train", "valid", "test"),
        "urmp": ("tracks", "mix", "video"),
        "libritts": (
            *("dev-clean", "dev-other", "test-clean", "test-other"),
            *("train-clean-100", "train-clean-360", "train-other-500"),
        ),
    }
    test = next(file for file in url_source(catalog.datasets["nsynth"]).files if file.split == "test")
    assert test.size is not None
    assert test.size.value == 349_501_546


def test_urmp_says_what_is_not_known(catalog: Catalog) -> None:
    """URMP has no direct URL, exact size or digest: it is optional, its size an estimate, its only source pinned."""
    urmp = catalog.datasets["urmp"]
    (only,) = urmp.sources
    assert urmp.optional
    assert only.kind == "hub"
    source = cast("HubSource", only)
    assert (source.repo, source.revision) == ("Eredis02/URMP", "58177a0f0f816e621b3d5d304c5fd1a03c035a86")
    assert source.size is not None
    assert source.size.estimate
    assert not source.digests


def test_only_urmp_may_fail(catalog: Catalog) -> None:
    """URMP alone is optional: the failure of any other data set fails the run."""
    assert [name for name, dataset in catalog.datasets.items() if dataset.optional] == ["urmp"]


def test_hub_sources_come_first_where_they_give_the_same_layout(catalog: Catalog) -> None:
    """Sources of the data set's own layout come first, and among them Hub sources before direct URLs."""
    with_hub = [name for name, dataset in catalog.datasets.items() if any(source.kind == "hub" for source in dataset.sources)]
    assert with_hub == ["nsynth", "ljspeech", "urmp", "fma_small", "libritts", "musicnet", "fma_large"]
    for dataset in catalog.datasets.values():
        own = dataset.sources_of(dataset.layout)
        assert dataset.sources[: len(own)] == own
        kinds = [source.kind for source in own]
        assert kinds == sorted(kinds)  # "hub" before "url"


def test_a_third_partys_archive_is_held_by_the_official_digest(catalog: Catalog) -> None:
    """The Hub copy of LJ Speech must have the digest of the original archive."""
    hub, url, _ = catalog.datasets["ljspeech"].sources
    assert (hub.kind, url.kind) == ("hub", "url")
    assert cast("HubSource", hub).digests == (("LJSpeech-1.1.tar.bz2", cast("UrlSource", url).files[0].digest),)


def test_fma_brings_its_metadata(catalog: Catalog) -> None:
    """FMA's metadata, which has the licence of each track, is fetched with its audio."""
    for name in ("fma_small", "fma_large"):
        assert "fma_metadata.zip" in [file.name for file in url_source(catalog.datasets[name]).files]


def test_plain_http_is_verified(catalog: Catalog) -> None:
    """A file with a plain http URL has a sha256, and its https URLs are tried first."""
    for dataset in catalog.datasets.values():
        for source in url_sources(dataset):
            for file in source.files:
                addresses = (file.url, *file.mirrors)
                if any(address.startswith("http:") for address in addresses):
                    assert file.digest is not None
                    assert file.digest.algorithm == "sha256"
                    assert [a.startswith("https:") for a in addresses] == sorted(
                        (a.startswith("https:") for a in addresses), reverse=True
                    )


def test_the_editor_is_told_of_the_schema() -> None:
    """The catalog's first line names its schema, so that editors complete and check it."""
    assert TEXT.splitlines()[0] == "# yaml-language-server: $schema=schema/catalog.schema.json"
    assert datasets_doc.CATALOG.parent / "schema" / "catalog.schema.json" == catalog_schema.PATH


def schema_errors(text: str) -> list[Any]:
    """Return the errors of a catalog by the JSON Schema."""
    return list(jsonschema.Draft202012Validator(json_schema()).iter_errors(parse_document(text, "c.yaml").plain()))


def test_the_schema_is_one_and_accepts_the_catalog() -> None:
    """The JSON Schema is valid and accepts the delivered catalog and a small good one."""
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert schema_errors(TEXT) == []
    assert schema_errors(GOOD) == []


BEYOND_SCHEMA = (
    # What a pattern for a single value cannot express.
    *("stands here a second time", "own layout", "is not unpacked", "in a circle", "→", "has no data set", "a second time"),
    *("there is no data set", "there is no phase", "listed as a data set too", "excluded: ", "lands", "cannot be printed"),
    *("a '[' is not closed", "the part has no rule", "at character", "is a split of this data set"),
    *("is not a URL", "'#'", "'..' part", "unsafe character", "more than 255", "names a directory", "neither a host"),
)


@pytest.mark.parametrize("row", WRONG, ids=WRONG_IDS)
def test_the_schema_knows_the_mistakes_that_it_can_see(row: tuple[str, ...]) -> None:
    """What the parser refuses in a single value, the JSON Schema refuses too."""
    old, new, _, _, problem, _ = row
    if any(words in problem for words in BEYOND_SCHEMA):
        return
    assert schema_errors(GOOD.replace(old, new, 1))


def test_what_the_schema_refuses_the_parser_refuses() -> None:
    """A catalog without a required key is refused by the parser and by the JSON Schema."""
    entries = parse_document(GOOD, "c.yaml").plain()
    for path in (
        ("version",),
        ("phases", "small", "datasets"),
        ("excluded", "songs", "reason"),
        ("datasets", "speech", "sources"),
    ):
        damaged = json.loads(json.dumps(entries))
        inner = damaged
        for part in path[:-1]:
            inner = inner[part]
        del inner[path[-1]]
        text = json.dumps(damaged)  # JSON is YAML
        assert schema_errors(text)
        with pytest.raises(ConfigurationError):
            parse_catalog(text, "c.yaml")


@pytest.mark.parametrize("module", [catalog_schema, datasets_doc])
def test_generated_files_are_current(module: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The schema and the document of data sets are what the program generates today."""
    assert module.main(["--check"]) == 0, capsys.readouterr().err


def test_the_page_marks_estimates_and_unverified_files() -> None:
    """The document of data sets has exact bytes, marked estimates, and a word for a missing digest."""
    page = datasets_doc.document(parse_catalog(GOOD, "c.yaml"))
    assert "90 bytes" in page
    assert "≈ 200 bytes" in page
    assert "**unverified**" in page
    assert "read | this" in page
    assert "not known" in page
    assert "non-commercial" in page


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (349_501_546, "349.5 MB"), (25_233_566_634, "25.2 GB")],
)
def test_sizes_in_words(count: int, text: str) -> None:
    """Sizes in words use powers of ten."""
    assert datasets_doc.readable(count) == text


def test_no_line_is_a_secret_or_a_place_of_ours() -> None:
    """The catalog has URLs of the publishers' public hosts only."""
    hosts = {
        *("storage.googleapis.com", "download.magenta.tensorflow.org", "data.keithito.com", "os.unil.cloud.switch.ch"),
        *("www.openslr.org", "us.openslr.org", "openslr.elda.org", "zenodo.org", "hog.ee.columbia.edu"),
    }
    catalog = parse_catalog(TEXT, "config/catalog.yaml")
    found = {
        address.split("/")[2]
        for dataset in catalog.datasets.values()
        for source in url_sources(dataset)
        for file in source.files
        for address in (file.url, *file.mirrors)
    }
    assert found == hosts
