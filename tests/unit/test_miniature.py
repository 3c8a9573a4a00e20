"""The miniature collection: the same bytes in every run, real formats, a catalog with other sizes and digests alone."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import tarfile
import wave
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from provisioner.catalog.parse import parse_catalog
from tests.support import media, miniature

if TYPE_CHECKING:
    from tests.support.miniature import Collection

REAL = Path(__file__).parents[2] / "config" / "catalog.yaml"
TREES = "3fcb458aabfc"
"""Beginning of the digest over all trees. Trees do not depend on a compressor, so it holds for every machine."""


@pytest.fixture(scope="module")
def real() -> dict[str, Any]:
    """Return the real catalog, as YAML reads it."""
    return miniature.read_catalog(REAL)


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory, real: dict[str, Any]) -> Collection:
    """Return the collection for the real catalog."""
    return miniature.generate(tmp_path_factory.mktemp("miniature"), real)


@pytest.fixture(scope="module")
def small(collection: Collection, real: dict[str, Any]) -> dict[str, Any]:
    """Return the catalog for the collection."""
    return miniature.miniature_catalog(real, collection)


def contents(folder: Path) -> dict[str, str]:
    """Return the digest of every file below a directory."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def names(collection: Collection, dataset: str) -> list[str]:
    """Return the paths of a data set's tree."""
    return list(collection.expected(dataset))


class TestCollection:
    """What is generated."""

    def test_two_runs_give_the_same_bytes(self, collection: Collection, real: dict[str, Any], tmp_path: Path) -> None:
        miniature.generate(tmp_path, real)
        assert contents(tmp_path) == contents(collection.root)

    def test_every_machine_gives_the_same_trees(self, collection: Collection) -> None:
        listed = json.dumps(contents(collection.trees), sort_keys=True)
        assert hashlib.sha256(listed.encode()).hexdigest().startswith(TREES)

    def test_small_but_worth_interrupting(self, collection: Collection) -> None:
        sizes = [artifact.info.size for artifact in collection.artifacts]
        assert sum(size > 1_000_000 for size in sizes) >= 2
        assert sum(path.stat().st_size for path in collection.root.rglob("*")) < 20_000_000
        assert 300 < len(contents(collection.trees)) < 1000

    def test_read_back(self, collection: Collection) -> None:
        assert miniature.load(collection.root) == collection

    def test_archives_unpack_to_the_trees(self, collection: Collection) -> None:
        packed: dict[str, dict[str, bytes]] = {dataset: {} for dataset in collection.datasets}
        for artifact in collection.artifacts:
            if not artifact.extra:
                content = (collection.root / artifact.info.path).read_bytes()
                files = unpacked(content, artifact)
                assert set(files) == set(artifact.members)
                assert sum(map(len, files.values())) == artifact.unpacked_size
                packed[artifact.dataset] |= files
        urmp = collection.repo("Eredis02/URMP")
        packed["urmp"] = {
            path: (collection.root / info.path).read_bytes() for path, info in urmp.files.items() if path != ".gitattributes"
        }
        for dataset, files in packed.items():
            assert {path: file.read_bytes() for path, file in collection.expected(dataset).items()} == files

    def test_mirrors_serve_the_same_bytes(self, collection: Collection) -> None:
        for artifact in collection.artifacts:
            for url in artifact.urls:
                content = (collection.archives / url).read_bytes()
                assert hashlib.sha256(content).hexdigest() == artifact.info.sha256
                assert hashlib.sha1(content).hexdigest() == artifact.info.sha1  # noqa: S324 - what publishers state
                assert hashlib.md5(content).hexdigest() == artifact.info.md5  # noqa: S324 - likewise

    def test_zip_members_use_all_three_methods(self, collection: Collection) -> None:
        for name in ("fma_small", "fma_large", "fma_metadata"):
            artifact = collection.artifact(f"https://os.unil.cloud.switch.ch/fma/{name}.zip")
            with zipfile.ZipFile(collection.root / artifact.info.path) as archive:
                methods = {member.compress_type for member in archive.infolist()}
            assert methods == {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2}

    def test_splits(self, collection: Collection) -> None:
        assert {path.partition("/")[0] for path in collection.expected("nsynth", "test")} == {"nsynth-test"}
        several = collection.expected("libritts", "dev-clean", "test-other")
        assert {path.split("/")[1] for path in several if path.count("/") > 1} == {"dev-clean", "test-other"}
        assert "LibriTTS/speakers.tsv" in several


def unpacked(content: bytes, artifact: miniature.Artifact) -> dict[str, bytes]:
    """Unpack an artifact with nothing but the standard library."""
    if artifact.unpack == "none":
        return {artifact.urls[0].rpartition("/")[2]: content}
    if artifact.unpack == "zip":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    mode = {"tar.gz": "r:gz", "tar.bz2": "r:bz2"}[artifact.unpack]
    with tarfile.open(fileobj=io.BytesIO(content), mode=mode) as tar:  # type: ignore[call-overload]
        files = {}
        for member in tar:
            if member.isfile():
                stream = tar.extractfile(member)
                assert stream is not None
                files[member.name] = stream.read()
        return files


class TestContent:
    """The files are what their names say."""

    @pytest.mark.parametrize(
        ("dataset", "rate", "width"),
        [
            ("nsynth", 16000, 2),
            ("ljspeech", 22050, 2),
            ("urmp", 48000, 3),
            ("libritts", 24000, 2),
            ("musicnet", 44100, 2),
        ],
    )
    def test_wav(self, collection: Collection, dataset: str, rate: int, width: int) -> None:
        files = [path for name, path in collection.expected(dataset).items() if name.endswith(".wav")]
        assert files
        for path in files:
            with wave.open(str(path)) as sound:
                assert (sound.getframerate(), sound.getsampwidth(), sound.getnchannels()) == (rate, width, 1)
                assert len(sound.readframes(sound.getnframes())) == sound.getnframes() * width > 0

    def test_other_media_begin_as_they_should(self, collection: Collection) -> None:
        starts = {".mid": b"MThd", ".mp3": b"\xff\xfb", ".pdf": b"%PDF-1.4", ".mp4": b"\0\0\0\x1cftypisom"}
        seen = set()
        for path in collection.trees.rglob("*"):
            if path.suffix in starts:
                seen.add(path.suffix)
                content = path.read_bytes()
                # What is broken in the real ones is broken here.
                assert content in {miniature.LAKH_BROKEN, media.ID3_TAG} or content.startswith(starts[path.suffix]), path
        assert seen == set(starts)

    def test_nsynth(self, collection: Collection) -> None:
        for split in ("train", "valid", "test"):
            top = collection.tree("nsynth") / f"nsynth-{split}"
            examples = json.loads((top / "examples.json").read_text("utf-8"))
            assert set(examples) == {path.stem for path in (top / "audio").iterdir()}
            for name, note in examples.items():
                assert name == f"{note['instrument_str']}-{note['pitch']:03}-{note['velocity']:03}"
        assert len(names(collection, "nsynth")) == 12 + 8 + 6 + 3

    def test_ljspeech(self, collection: Collection) -> None:
        top = collection.tree("ljspeech") / "LJSpeech-1.1"
        text = (top / "metadata.csv").read_text("utf-8")
        rows = list(csv.reader(text.splitlines(), delimiter="|", quoting=csv.QUOTE_NONE))
        assert [row[0] for row in rows] == sorted(path.stem for path in (top / "wavs").iterdir())
        assert {len(row) for row in rows} == {3}
        # Whoever reads it with quoting gets it wrong, as with the real one.
        assert any(row[1].count('"') % 2 for row in rows)
        assert list(csv.reader(text.splitlines(), delimiter="|")) != rows

    def test_urmp(self, collection: Collection) -> None:
        assert names(collection, "urmp")[:9] == [
            f"01_Jupiter_vn_vc/{name}"
            for name in (
                "AuMix_01_Jupiter_vn_vc.wav",
                "AuSep_1_vn_01_Jupiter.wav",
                "AuSep_2_vc_01_Jupiter.wav",
                "F0s_1_vn_01_Jupiter.txt",
                "F0s_2_vc_01_Jupiter.txt",
                "Notes_1_vn_01_Jupiter.txt",
                "Notes_2_vc_01_Jupiter.txt",
                "Sco_01_Jupiter_vn_vc.mid",
                "Sco_01_Jupiter_vn_vc.pdf",
            )
        ]

    @pytest.mark.parametrize("dataset", ["fma_small", "fma_large"])
    def test_fma(self, collection: Collection, dataset: str) -> None:
        for top in (collection.tree(dataset) / dataset, collection.tree(dataset) / "fma_metadata"):
            for line in (top / "checksums").read_text("utf-8").splitlines():
                digest, _, name = line.partition("  ")
                assert hashlib.sha1((top / name).read_bytes()).hexdigest() == digest  # noqa: S324 - as the real one
        assert len(list((collection.tree(dataset) / "fma_metadata").iterdir())) == 12

    def test_lakh(self, collection: Collection) -> None:
        files = [name for name in names(collection, "lakh_midi") if name.startswith("lmd_full/")]
        for name in files:
            digest = Path(name).stem
            content = (collection.tree("lakh_midi") / name).read_bytes()
            assert hashlib.md5(content).hexdigest() == digest  # noqa: S324 - as the real one
            assert name == f"lmd_full/{digest[0]}/{digest}.mid"
        assert names(collection, "lakh_midi")[len(files) :] == ["match_scores.json", "md5_to_paths.json"]


def without_measures(value: object) -> object:
    """Take sizes and the hexadecimal part of digests out of a catalog."""
    if isinstance(value, dict):
        kept = {key: each for key, each in value.items() if key not in {"size", "unpacked_size"}}
        if "digest" in kept:
            kept["digest"] = str(kept["digest"]).partition(":")[0]
        if "digests" in kept:
            kept["digests"] = {path: str(each).partition(":")[0] for path, each in kept["digests"].items()}
        return {key: without_measures(each) for key, each in kept.items()}
    if isinstance(value, list):
        return [without_measures(each) for each in value]
    return value


class TestCatalog:
    """The catalog for the miniature."""

    def test_only_sizes_and_digests_differ(self, real: dict[str, Any], small: dict[str, Any]) -> None:
        assert without_measures(small) == without_measures(real)
        assert small != real

    def test_it_is_well_formed(self, small: dict[str, Any], tmp_path: Path) -> None:
        miniature.write_catalog(small, tmp_path / "catalog.yaml")
        text = (tmp_path / "catalog.yaml").read_text("utf-8")
        parsed = parse_catalog(text, "catalog.yaml")
        assert set(parsed.phases["comprehensive"].datasets) == set(small["datasets"])
        assert yaml.safe_load(text) == small

    def test_text_does_as_well(self, collection: Collection, small: dict[str, Any]) -> None:
        assert miniature.miniature_catalog(REAL.read_text("utf-8"), collection) == small

    def test_sizes_are_exact(self, collection: Collection, small: dict[str, Any]) -> None:
        for dataset, entry in small["datasets"].items():
            files = collection.expected(dataset).values()
            assert entry["unpacked_size"] == sum(path.stat().st_size for path in files)

    def test_algorithms_are_the_publishers(self, small: dict[str, Any]) -> None:
        def algorithms(dataset: str) -> list[str]:
            return [
                file["digest"].partition(":")[0]
                for source in small["datasets"][dataset]["sources"]
                if source["kind"] == "url" and source["layout"] == "raw"
                for file in source["files"]
            ]

        assert algorithms("fma_large") == ["sha1", "sha256"]
        assert algorithms("musicnet") == ["md5", "sha256", "sha256"]

    @pytest.mark.parametrize(
        ("place", "value"),
        [
            (("files", 0, "url"), "https://storage.googleapis.com/elsewhere.tar.gz"),
            (("files", 0, "mirrors", 0), "https://mirror.example.org/x.tar.gz"),
            (("files", 0, "unpack"), "zip"),
            (("files", 0, "into"), "below"),
        ],
    )
    def test_what_has_no_miniature_is_an_error(
        self, collection: Collection, real: dict[str, Any], place: tuple[str | int, ...], value: str
    ) -> None:
        changed = json.loads(json.dumps(real))
        target = changed["datasets"]["nsynth"]["sources"][0]
        for key in place[:-1]:
            target = target[key]
        target[place[-1]] = value
        with pytest.raises(miniature.MissingMiniatureError):
            miniature.miniature_catalog(changed, collection)

    @pytest.mark.parametrize("change", [{"repo": "someone/else"}, {"revision": "v2"}, {"digests": {"gone.bin": "sha256:00"}}])
    def test_a_repository_without_miniature_is_an_error(
        self, collection: Collection, real: dict[str, Any], change: dict[str, Any]
    ) -> None:
        changed = json.loads(json.dumps(real))
        changed["datasets"]["urmp"]["sources"][0].update(change)
        with pytest.raises(miniature.MissingMiniatureError):
            miniature.miniature_catalog(changed, collection)

    def test_a_data_set_without_miniature_is_an_error(self, collection: Collection, real: dict[str, Any]) -> None:
        changed = json.loads(json.dumps(real))
        changed["datasets"]["new"] = changed["datasets"]["nsynth"]
        with pytest.raises(miniature.MissingMiniatureError):
            miniature.miniature_catalog(changed, collection)
