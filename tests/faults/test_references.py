"""Real processes fill a volume from references, without a catalog of the user's: what it holds, and who is asked for it."""

from __future__ import annotations

import json
import shutil
import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.media import noise
from tests.support.miniature import gzip_bytes, pack_tar
from tests.support.program import TOKEN, wait_until
from tests.support.shelf import some_files

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume

CARD = b"---\nlicense: cc-by-4.0\npretty_name: Acme Sounds\n---\n# Sounds\n"
SOUNDS = {
    "README.md": CARD,
    "data/train.csv": b"file,text\na.wav,hello\n",
    "data/test.csv": b"file,text\nb.wav,bye\n",
    "audio/a.wav": noise("a", 3000),
}
MODEL = {
    "config.json": b'{"model_type": "bert"}',
    "model.safetensors": noise("st", 1 << 20),
    "weights.bin": noise("bin", 1 << 20),
}
DATA, MODEL_REF = "hf://datasets/acme/sounds", "hf://acme/sounds"


@pytest.fixture
def volume(volume: Volume, hub: HubServer) -> Volume:
    """Return an empty volume for the shipped catalog, and a Hub with a data set and a model of the same name."""
    hub.hub.add_repo("acme/sounds", SOUNDS)
    hub.hub.add_repo("acme/sounds", MODEL, kind="model")
    del volume.settings["CATALOG_PATH"]
    return volume


def records(volume: Volume) -> dict[str, str]:
    """Return the state of each data set, by what the status calls it."""
    return {name: record["state"] for name, record in volume.status["datasets"].items()}


def served(hub: HubServer, url: str, content: bytes) -> str:
    """Serve a file, and return its URL."""
    hub.add_static(url, content)
    return url


# --- from nothing to data ----------------------------------------------------------------------------------------------


def test_a_repository_by_one_line(volume: Volume, hub: HubServer) -> None:
    """A data-set repository is published under its name, listed once, and checked against the listing."""
    volume.ready("--dataset", DATA)
    volume.check("acme/sounds", SOUNDS)
    assert len(hub.log.entries("/api/datasets/acme/sounds/revision/*")) == 1
    assert len(hub.log.entries("/api/datasets/acme/sounds/tree/*")) == 1
    record = volume.status["datasets"][DATA]
    assert (record["state"], record["path"], record["verified_against"]) == ("ready", "datasets/acme/sounds", "listing")
    assert (record["license"], record["source"]["pin"]) == ("CC-BY-4.0", hub.hub.repos["dataset", "acme/sounds"].head.commit)
    attribution = (volume.root / "ATTRIBUTION.md").read_text("utf-8")
    assert "## Acme Sounds" in attribution
    assert "`CC-BY-4.0`" in attribution
    assert "no data set on this volume" not in attribution


def test_a_second_start_asks_nobody_and_writes_nothing(volume: Volume, hub: HubServer) -> None:
    """When what references name is there, no request is made and no inode changes, for each kind of reference."""
    address = served(hub, "https://files.example.org/speech.csv", b"a,b\n1,2\n")
    everything = {"DATASETS": f"{DATA},{MODEL_REF},{address}"}
    volume.ready(**everything)
    assert records(volume) == {DATA: "ready", MODEL_REF: "ready", address: "ready"}
    hub.log.clear()
    before = volume.snapshot()
    outcome = volume.ready(**everything)
    assert "Nothing to do" in outcome.err
    assert hub.log.entries() == ()
    assert volume.snapshot() == before
    # Nor does it need a Hub at all.
    volume.ready(**everything, HF_HUB_OFFLINE="1")
    volume.ready(**everything, HF_ENDPOINT="http://127.0.0.1:9")
    assert volume.snapshot() == before


def test_a_second_start_loads_no_client(volume: Volume) -> None:
    """When all is there, a start with references imports neither the Hub's client nor an HTTP client."""
    volume.ready("--dataset", DATA)
    outcome = volume.ready("--dataset", DATA, PYTHONPROFILEIMPORTTIME="1")
    loaded = {line.rpartition("|")[2].strip() for line in outcome.err.splitlines() if line.startswith("import time:")}
    assert "provisioner.catalog.references" in loaded
    assert not {name for name in loaded if name.partition(".")[0] in {"huggingface_hub", "httpx2", "ssl"}}
    assert "provisioner.remote.sources" not in loaded


def test_a_storage_uri_is_a_reference(volume: Volume) -> None:
    """``STORAGE_URI``, as Kubeflow's initializers have it, is understood like ``DATASETS``."""
    volume.ready(STORAGE_URI=DATA)
    volume.check("acme/sounds", SOUNDS)


def test_kubeflows_initializers_one_after_the_other(volume: Volume, hub: HubServer) -> None:
    """Data set and model come to one volume; a retried pod asks nobody; a data set that is taken for a model says so."""
    hub.hub.add_repo("acme/tiny", MODEL, kind="model")
    hub.hub.add_repo("acme/table", {"a.csv": b"a\n1\n"})
    jobs = {"STORAGE_URI": f"{DATA}@main/data/*"}, {"STORAGE_URI": "hf://acme/tiny"}
    for job in jobs:
        volume.ready(**job)
    volume.check("acme/sounds", {path: SOUNDS[path] for path in SOUNDS if path.startswith("data/")})
    volume.check("acme/tiny", MODEL)
    hub.log.clear()
    for job in jobs:
        volume.ready(**job)
    assert hub.log.entries() == ()
    wrong = volume.run(STORAGE_URI="hf://acme/table")
    assert wrong.code == 77
    assert "There is a data-set repository of this name: hf://datasets/acme/table" in wrong.err


def test_an_address_of_the_hub(volume: Volume, hub: HubServer) -> None:
    """What a browser shows of a directory names its files."""
    volume.ready("--dataset", f"{hub.endpoint}/datasets/acme/sounds/tree/main/data")
    volume.check("acme/sounds", {path: SOUNDS[path] for path in SOUNDS if path.startswith("data/")})
    assert records(volume) == {f"{DATA}/data/": "ready"}


def test_a_model_without_a_format(volume: Volume, hub: HubServer) -> None:
    """A model is published at its name; a format of weights that is left out is not fetched, and the plan names the formats."""
    plan = volume.ready("plan", "--dataset", MODEL_REF)
    assert "weights in several formats: *.bin (1 file, 1.05 MB), *.safetensors (1 file, 1.05 MB)" in " ".join(plan.out.split())
    assert not volume.root.exists()
    volume.ready("--dataset", f"{MODEL_REF}#exclude=*.bin")
    volume.check("acme/sounds", {path: MODEL[path] for path in MODEL if not path.endswith(".bin")})
    assert hub.log.entries("*weights.bin") == ()


def test_a_model_and_a_data_set_of_one_name(volume: Volume) -> None:
    """They are beside each other, whatever is asked for first; who has the plain name keeps it."""
    volume.ready("--dataset", MODEL_REF)
    volume.ready(DATASETS=f"{DATA},{MODEL_REF}")
    paths = {name: record["path"] for name, record in volume.status["datasets"].items()}
    assert paths == {MODEL_REF: "datasets/acme/sounds", DATA: "datasets/datasets/acme/sounds"}
    volume.check("acme/sounds", MODEL)
    volume.check("datasets/acme/sounds", SOUNDS)
    shutil.rmtree(volume.root)
    volume.ready(DATASETS=f"{MODEL_REF},{DATA}")
    volume.check("acme/sounds", SOUNDS)
    volume.check("models/acme/sounds", MODEL)
    volume.ready("--dataset", MODEL_REF)
    volume.check("models/acme/sounds", MODEL)


def test_another_revision_is_another_version(volume: Volume, hub: HubServer) -> None:
    """A revision of a repository is a version: built beside the old one, with what both share, and going back is a link."""
    repo = hub.hub.repos["dataset", "acme/sounds"]
    repo.tags["v1"] = repo.head.commit
    changed = {**SOUNDS, "data/test.csv": b"file,text\nc.wav,new\n"}
    repo.commit({"data/test.csv": changed["data/test.csv"]})
    volume.ready("--dataset", f"{DATA}@v1")
    volume.check("acme/sounds", SOUNDS)
    hub.log.clear()
    volume.ready("--dataset", DATA)
    volume.check("acme/sounds", changed)
    assert hub.log.entries("*a.wav") == ()
    hub.log.clear()
    volume.ready("--dataset", f"{DATA}@v1", HF_HUB_OFFLINE="1")
    volume.check("acme/sounds", SOUNDS)
    assert hub.log.entries() == ()
    # Without its network, gc knows what the references were.
    assert "superseded" in volume.ready("gc").out
    assert len(volume.receipts("acme/sounds")) == 1


def test_a_repository_that_changes_between_runs(volume: Volume, hub: HubServer) -> None:
    """A branch that moves changes nothing that is there; the receipt says which commit it is."""
    volume.ready("--dataset", DATA)
    hub.hub.repos["dataset", "acme/sounds"].commit({"data/test.csv": b"other\n"})
    volume.ready("--dataset", DATA)
    volume.check("acme/sounds", SOUNDS)


PARTS = """---
license: cc-by-4.0
configs:
- config_name: default
  data_files:
  - {split: train, path: data/train*.csv}
  - {split: test, path: data/test*.csv}
---
"""


def test_a_part_of_a_repository(volume: Volume, hub: HubServer) -> None:
    """A part is what the card says of it: nothing else is fetched, and a start with it there asks nobody."""
    files = {**SOUNDS, "README.md": PARTS.encode()}
    hub.hub.add_repo("acme/parts", files)
    whole = "hf://datasets/acme/parts"
    document = volume.ready("plan", "--json", "--dataset", f"{whole}:test").json
    assert document["steps"][0]["download"]["bytes"] == len(files["README.md"]) + len(files["data/test.csv"])
    volume.ready("--dataset", f"{whole}:test")
    volume.check("acme/parts", {path: files[path] for path in ("README.md", "data/test.csv")})
    assert not hub.log.entries("*train.csv")
    assert not hub.log.entries("*a.wav")
    assert "Parts: train, test" in volume.ready("info", f"{whole}:test").out
    hub.log.clear()
    assert "Nothing to do" in volume.ready("--dataset", f"{whole}:test").err
    assert hub.log.entries() == ()
    volume.ready("--dataset", f"{whole}:train+test")
    volume.check("acme/parts", {path: files[path] for path in ("README.md", "data/train.csv", "data/test.csv")})
    assert not hub.log.entries("*test.csv")
    assert "\n        parts:\n        - train\n" in volume.ready("catalog", "add", f"{whole}:train").out
    volume.tree("acme/parts").joinpath("data/train.csv").unlink()
    volume.ready("repair", whole)
    volume.check("acme/parts", {path: files[path] for path in ("README.md", "data/train.csv", "data/test.csv")})
    outcome = volume.run("--dataset", f"{whole}:tets")
    assert outcome.code == 66
    assert "has no part 'tets'" in outcome.err
    assert "Did you mean 'test'? Its parts: train, test." in outcome.err
    # As of an id, parts that are named one by one are one data set.
    hub.log.clear()
    assert "nothing had to be fetched" in volume.ready(DATASETS=f"{whole}:train,{whole}:test").err
    assert hub.log.entries() == ()
    outcome = volume.run(DATASETS=f"{whole}:train,{whole}/data/")
    assert (outcome.code, "are two versions of one data set" in outcome.err) == (78, True)


def test_a_few_files_of_many(volume: Volume, hub: HubServer) -> None:
    """Of 10,000 files a glob takes 100: the requests are those of the 100 and of the listing's pages."""
    many = {f"part-{number // 100:03}/{number:05}.txt": b"%05d" % number for number in range(10_000)}
    hub.hub.add_repo("acme/many", many)
    volume.ready("--dataset", "hf://datasets/acme/many/part-007/")
    volume.check("acme/many", {path: content for path, content in many.items() if path.startswith("part-007/")})
    assert len(hub.log.entries("*/resolve/*")) == 100
    assert len(hub.log.entries("/api/*")) == 1 + -(-(10_000 + 100) // hub.page_size)


# --- files -------------------------------------------------------------------------------------------------------------


def test_an_archive_with_its_digest(volume: Volume, shelf: Shelf) -> None:
    """An archive is unpacked by its ending, checked against the digest in the reference, and published under its stem."""
    file = shelf.file("songs-1.0.tar.gz", some_files("songs"))
    volume.ready("--dataset", f"{file['url']}#sha256={file['digest'].partition(':')[2]}")
    volume.check("songs-1.0", some_files("songs"))
    (record,) = volume.status["datasets"].values()
    assert (record["license"], record["verified_against"]) == ("NOASSERTION", "catalog")


def test_a_wrong_digest(volume: Volume, shelf: Shelf) -> None:
    """Bytes with another digest than the reference says are never published."""
    file = shelf.file("songs.tar.gz", some_files("songs"))
    assert volume.run("--dataset", f"{file['url']}#sha256={'0' * 64}").code == 65
    assert volume.published == []


def test_a_file_of_this_machine(volume: Volume, tmp_path: Path) -> None:
    """``file:`` names a file of this machine, under the name that the reference gives."""
    archive = tmp_path / "some dir" / "x.tar.gz"
    archive.parent.mkdir()
    archive.write_bytes(gzip_bytes(pack_tar(some_files("x"))))
    volume.ready("--dataset", f"file://{str(archive).replace(' ', '%20')}#name=acme/mine&into=raw")
    volume.check("acme/mine", {f"raw/{path}": content for path, content in some_files("x").items()})


def test_a_signed_url_is_used_and_not_recorded(volume: Volume, hub: HubServer) -> None:
    """User, password and query of a URL reach the server alone: not the log, the status, a receipt or a file name."""
    address = hub.add_static("http://files.example.org/speech.csv", b"a,b\n").replace("http://", "http://ann:s3cret@")
    outcome = volume.ready("--dataset", f"{address}?X-Amz-Credential=c0ffee")
    assert [entry.query for entry in hub.log.entries("*speech.csv", origin="cdn")][-1:] == ["X-Amz-Credential=c0ffee"]
    volume.ready("status")
    texts = [outcome.err, outcome.out, *map(str, volume.root.rglob("*"))]
    texts += [path.read_text("utf-8") for path in volume.root.rglob("*") if path.is_file()]
    assert not [text for text in texts if "s3cret" in text or "c0ffee" in text]


def test_an_interrupted_signed_url_leaves_no_secret(volume: Volume, hub: HubServer) -> None:
    """What is kept of a download that was interrupted says where it came from without its signature, and is resumed."""
    content = noise("large", 4 << 20)
    address = hub.add_static("https://files.example.org/large.csv", content).replace("http://", "http://ann:s3cret@")
    rule = hub.faults.add("stall", path="*large.csv", method="GET", after=2 << 20)
    process = volume.start("--dataset", f"{address}?X-Amz-Credential=c0ffee")
    wait_until(lambda: volume.staged_bytes() >= 1 << 20, "bytes in staging")
    process.send(signal.SIGTERM)
    assert process.wait().code == 128 + signal.SIGTERM
    assert rule.fired
    kept = [path for path in volume.root.rglob("*") if path.is_file()]
    assert [path.name for path in kept if path.name.startswith("url-") and path.suffix == ".json"]
    for path in kept:
        data = path.read_bytes()
        assert b"s3cret" not in data
        assert b"c0ffee" not in data
    hub.faults.clear()
    hub.log.clear()
    volume.ready("--dataset", f"{address}?X-Amz-Credential=c0ffee")
    volume.check("large", {"large.csv": content})


# --- what is on a volume -------------------------------------------------------------------------------------------------


def test_verify_repair_and_remove_take_references(volume: Volume, hub: HubServer) -> None:
    """They name a data set by its reference, with or without its files, or by its path; nothing of it is left in the end."""
    volume.ready("--dataset", f"{DATA}/data/")
    assert "all right" in volume.ready("verify", "--deep", f"{DATA}/data/").out
    broken = volume.tree("acme/sounds") / "data" / "train.csv"
    broken.chmod(0o644)
    broken.write_bytes(b"x" * len(SOUNDS["data/train.csv"]))
    assert volume.run("verify", "--deep", DATA).code == 65
    hub.log.clear()
    volume.ready("repair", DATA)
    assert [entry.path.rpartition("/")[2] for entry in hub.log.entries("*/resolve/*")] == ["train.csv"]
    volume.ready("verify", "--deep", "acme/sounds")
    assert volume.run("remove", "hf://datasets/acme/other").code == 66
    assert volume.ready("remove", DATA).out.startswith(f"removed {DATA}/data/ ")
    assert volume.published == []
    assert records(volume) == {}
    assert not [path for path in volume.private.rglob("*.json") if "acme" in str(path)]


def test_a_superseded_version_is_repaired_as_it_was(volume: Volume) -> None:
    """Each version is repaired by the reference in its own receipt, not by the one that was asked for last."""
    volume.ready("--dataset", f"{DATA}/data/")
    old = volume.version("acme/sounds")
    volume.ready("--dataset", f"{DATA}/audio/")
    broken = volume.records("store", "acme/sounds") / old / "data" / "train.csv"
    broken.chmod(0o644)
    broken.write_bytes(b"x" * len(SOUNDS["data/train.csv"]))
    volume.ready("repair", DATA)
    assert broken.read_bytes() == SOUNDS["data/train.csv"]


def test_list_and_plan_name_references(volume: Volume, hub: HubServer) -> None:
    """``list`` shows what a reference brought, and ``plan`` knows sizes and licence of one that is not there yet."""
    document = volume.ready("plan", "--json", "--dataset", DATA).json
    (step,) = document["steps"]
    assert (step["dataset"], step["path"], step["action"]) == (DATA, "datasets/acme/sounds", "fetch")
    assert step["download"]["bytes"] == sum(map(len, SOUNDS.values()))
    assert step["license"] == {"spdx": "CC-BY-4.0", "name": "cc-by-4.0", "commercial": "allowed"}
    volume.ready("--dataset", DATA)
    hub.log.clear()
    assert volume.ready("list", "--json").json["datasets"][DATA]["on_volume"] == volume.version("acme/sounds")
    assert hub.log.entries() == ()


def test_a_phase_of_references(volume: Volume, shelf: Shelf) -> None:
    """A phase of a catalog may hold references beside ids; they are not evicted and not fetched with another phase."""
    shelf.add("songs", shelf.file("songs.tar.gz", some_files("songs")))
    shelf.document["phases"]["minimal"]["datasets"] += [f"{DATA}/data/", MODEL_REF]
    shelf.document["phases"]["more"] = {"extends": "minimal", "datasets": ["https://h.example/x.csv"]}
    shelf.write()
    volume.settings["CATALOG_PATH"] = str(shelf.path)
    assert "4 data sets" in volume.ready("catalog", "check").out
    volume.ready()
    assert records(volume) == {"songs": "ready", f"{DATA}/data/": "ready", MODEL_REF: "ready"}
    assert volume.status["phase"] == "minimal"
    volume.ready(DATASETS="songs")
    assert records(volume) == {"songs": "ready", f"{DATA}/data/": "skipped", MODEL_REF: "skipped"}


def test_an_interrupted_reference_is_resumed(volume: Volume, hub: HubServer) -> None:
    """What arrived before a failure is not fetched again, although nothing was recorded of the repository."""
    rule = hub.faults.add("status", path="*test.csv", status=404)
    assert volume.run("--dataset", DATA, CONNECTIONS="1").code == 66
    assert rule.fired
    kept = {name for name in volume.staged() if not name.endswith(".json")}
    hub.faults.clear()
    hub.log.clear()
    volume.ready("--dataset", DATA)
    assert {entry.path.rpartition("/")[2] for entry in hub.log.entries("*/resolve/*")} == {
        path.rpartition("/")[2] for path in SOUNDS
    } - kept
    volume.check("acme/sounds", SOUNDS)


# --- policies and limits -------------------------------------------------------------------------------------------------


def test_the_licence_policy_holds(volume: Volume, hub: HubServer) -> None:
    """What a card allows passes; what it says nothing of is refused where only what is allowed may be fetched."""
    hub.hub.add_repo("acme/silent", {"a.csv": b"1\n"})
    hub.hub.add_repo("acme/closed", {"README.md": b"---\nlicense: cc-by-nc-4.0\n---\n", "a.csv": b"1\n"})
    volume.ready("--dataset", DATA, LICENSE_POLICY="commercial")
    outcome = volume.run("--dataset", "hf://datasets/acme/silent", LICENSE_POLICY="commercial")
    assert outcome.code == 77
    assert "ACCEPT_LICENSES=hf://datasets/acme/silent" in outcome.err
    assert volume.run("--dataset", "hf://datasets/acme/closed").code == 77
    assert hub.log.entries("*/resolve/*/a.csv") == ()
    accepted = {"LICENSE_POLICY": "commercial", "ACCEPT_LICENSES": "hf://datasets/acme/silent"}
    volume.ready("--dataset", "hf://datasets/acme/silent", **accepted)
    assert volume.status["datasets"]["hf://datasets/acme/silent"]["license"] == "NOASSERTION"


def test_the_limit_holds(volume: Volume, hub: HubServer) -> None:
    """A repository that does not fit is refused before its first byte, by the sizes of its listing."""
    outcome = volume.run("--dataset", MODEL_REF, MAX_STORAGE_GB="0.001")
    assert outcome.code == 74
    assert hub.log.entries("*/resolve/*") == ()


def test_where_downloads_are_forbidden_nobody_is_asked(volume: Volume, hub: HubServer) -> None:
    """``AUTO_DOWNLOAD=false`` says what is missing without a request; offline, a missing one can be had later."""
    assert volume.run("--dataset", DATA, AUTO_DOWNLOAD="false").code == 66
    assert volume.run("--dataset", DATA, HF_HUB_OFFLINE="1").code == 75
    assert hub.log.entries() == ()


# --- wrong ones ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "token", "code", "says"),
    [
        ("hf://datasets/acme/soundz", TOKEN, 66, "Did you mean 'acme/sounds'?"),
        ("hf://datasets/acme/soundz", None, 77, "Did you mean 'acme/sounds'?"),
        ("hf://datasets/other/sounds", TOKEN, 66, "Did you mean 'acme/sounds'?"),
        ("hf://acme/only-data", TOKEN, 66, "There is a data-set repository of this name: hf://datasets/acme/only-data."),
        ("hf://datasets/acme/sounds@v9", TOKEN, 66, "there is no such revision"),
        ("hf://datasets/acme/sounds/*.flac", TOKEN, 66, "does not hold *.flac"),
        ("hf://datasets/acme/sounds/DATA/*.csv", TOKEN, 66, "capital and small letters are different"),
        ("hf://datasets/ann/private", None, 77, "set HF_TOKEN"),
        ("hf://datasets/acme/gated", None, 77, "Accept the data set's conditions"),
        ("acme/sounds", TOKEN, 78, "hf://datasets/acme/sounds"),
        ("hf://datasets/acme", TOKEN, 78, "names no repository"),
    ],
)
def test_wrong_references_are_told_apart(
    volume: Volume, hub: HubServer, *, reference: str, token: str | None, code: int, says: str
) -> None:
    """Each mistake has its message and its exit code, and nothing is published."""
    hub.hub.add_repo("acme/only-data", {"a.csv": b"1\n"})
    hub.hub.add_repo("ann/private", {"a.csv": b"1\n"}, private=True)
    hub.hub.add_repo("acme/gated", {"a.csv": b"1\n"}, gated="manual")
    outcome = volume.run("--dataset", reference, HF_TOKEN=token, DATASET_REPO="none")
    assert (outcome.code, says in outcome.err) == (code, True), outcome.err
    assert volume.published == []


def test_a_wrong_one_does_not_keep_the_others_out(volume: Volume) -> None:
    """What can be had is fetched, and the run fails with the error of what cannot."""
    assert volume.run(DATASETS=f"hf://datasets/acme/nothing,{DATA}", HF_TOKEN=TOKEN, DATASET_REPO="none").code == 66
    volume.check("acme/sounds", SOUNDS)
    assert records(volume) == {"hf://datasets/acme/nothing": "failed", DATA: "ready"}


def test_names_that_are_taken(volume: Volume, hub: HubServer) -> None:
    """The place of another data set is never taken: a catalog's, another file's, or something foreign."""
    address = served(hub, "https://files.example.org/nsynth.csv", b"a,b\n")
    outcome = volume.run("--dataset", address)
    assert (outcome.code, "#name=nsynth-2" in outcome.err) == (78, True)
    volume.ready("--dataset", f"{address}#name=nsynth-2")
    other = served(hub, "https://mirror.example.org/nsynth.csv", b"other\n")
    outcome = volume.run("--dataset", f"{other}#name=nsynth-2")
    assert (outcome.code, "which is the place of" in outcome.err) == (78, True)
    outcome = volume.run(DATASETS=f"{DATA}@main/data/,{DATA}")
    assert (outcome.code, "two versions of one data set" in outcome.err) == (78, True)
    (volume.root / "datasets" / "acme").mkdir()
    (volume.root / "datasets" / "acme" / "sounds").write_text("mine")
    outcome = volume.run("--dataset", DATA)
    assert (outcome.code, "did not put there" in outcome.err) == (74, True)
    assert (volume.root / "datasets" / "acme" / "sounds").read_text() == "mine"


def test_an_owner_that_is_a_link_elsewhere(volume: Volume, tmp_path: Path) -> None:
    """A link in the place of an owner's directory is not followed: nothing is written outside the volume."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (volume.root / "datasets").mkdir(parents=True)
    (volume.root / "datasets" / "acme").symlink_to(outside)
    assert volume.run("--dataset", DATA).code == 74
    assert list(outside.iterdir()) == []


def test_a_hostile_card(volume: Volume, hub: HubServer) -> None:
    """Texts of a card are shown as one plain line each, whatever they hold; a strange licence is none that is allowed."""
    card = {
        "license": "other",
        "license_name": "x\x1b[31m`<script>`\nRun this",
        "license_link": "javascript:alert(1)",
        "pretty_name": "Nice\x00\x07 [name](https://evil.example/?token=hf_" + "A" * 30 + ")\n# Heading",
    }
    hub.hub.add_repo("acme/evil", {"README.md": f"---\n{json.dumps(card)}\n---\n".encode(), "a.csv": b"1\n"})
    outcome = volume.ready("--dataset", "hf://datasets/acme/evil")
    attribution = (volume.root / "ATTRIBUTION.md").read_text("utf-8")
    receipt = json.loads(volume.current_receipt("acme/evil").read_bytes())
    assert all(line.isprintable() for line in (outcome.err + attribution).splitlines())
    assert "<script>" not in attribution
    assert "[name]" not in attribution
    assert "\n# Heading" not in attribution
    assert "javascript" not in attribution
    assert "A" * 30 not in attribution
    assert receipt["entry"]["license"]["commercial"] == "verify"
