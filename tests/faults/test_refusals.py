"""Every way to fail that has an exit code of its own: one clear message, nothing half there, the other data sets there."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.media import noise
from tests.support.program import TOKEN
from tests.support.shelf import some_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.faults import Kind
    from tests.support.hub_server import HubServer
    from tests.support.program import Outcome
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume

POWERLESS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
"""The same user without root's right to ignore modes: it needs no other user who could read the checkout."""
NOT_NOW = {"status": 503, "headers": {"Retry-After": "7200"}}
"""Longer than anybody is willing to wait: it is given up at once."""


@pytest.fixture
def pair(shelf: Shelf) -> Shelf:
    """Return a catalog of two data sets, one archive each."""
    shelf.add("alpha", shelf.file("alpha.tar.gz", some_files("alpha")), priority=5)
    shelf.add("beta", shelf.file("beta.tar.gz", some_files("beta")))
    return shelf


@contextlib.contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """Mount something on a directory for as long as the block runs."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", *options, str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def refused(outcome: Outcome, code: int, *words: str) -> str:
    """Show that a run ended with a code and one message that holds some words; give it with its hint."""
    assert outcome.code == code, outcome.err
    (message,) = outcome.errors()
    text = outcome.err[outcome.err.index(message) :]
    for word in words:
        assert word in text
    assert "Traceback" not in outcome.err
    return text


def alpha_failed_beta_is_there(volume: Volume, reference: str) -> None:
    """Show that one data set's failure left nothing of it, and did not stop the other."""
    assert volume.published == ["beta"]
    volume.check("beta", some_files("beta"))
    assert volume.receipts("alpha") == []
    status = volume.status
    assert status["state"] == "failed"
    record = status["datasets"]["alpha"]
    assert (record["state"], record["path"], record["error"]["reference"]) == ("failed", None, reference)
    assert status["datasets"]["beta"]["state"] == "ready"


# --- bytes, names and rights ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("pair")
@pytest.mark.parametrize(
    ("kind", "fields", "code", "reference"),
    [
        ("flip", {"offset": 600}, 65, "digest-mismatch"),
        ("html", {}, 65, "size-mismatch"),
        ("change", {}, 65, "digest-mismatch"),
        ("status", {"status": 404}, 66, "not-found"),
        ("status", {"status": 410}, 66, "not-found"),
        ("status", {"status": 451}, 69, "remote-refused"),
        ("redirect", {"location": "file:///etc/passwd"}, 69, "remote-refused"),
        ("status", NOT_NOW, 75, "remote-unavailable"),
        ("status", {"status": 403}, 77, "access-denied"),
        ("status", {"status": 401}, 77, "access-denied"),
    ],
)
def test_one_data_set_fails(  # noqa: PLR0917 - fixtures and a table
    volume: Volume, hub: HubServer, kind: Kind, fields: dict[str, Any], code: int, reference: str
) -> None:
    """The cause decides the exit code; the failing data set leaves nothing, the other is there, and a later run mends it."""
    fault = hub.faults.add(kind, path="*/alpha.tar.gz", **fields)
    refused(volume.run(), code, f"[{reference}]", "alpha.tar.gz")
    assert fault.fired > 0
    alpha_failed_beta_is_there(volume, reference)
    record = json.loads((volume.root.parent / "termination-log").read_text("utf-8"))
    assert record["reference"] == reference
    hub.faults.clear()
    volume.ready()
    volume.check("alpha", some_files("alpha"))


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("flip", {"offset": 600}),
        ("html", {}),
        ("status", {"status": 404}),
        ("status", {"status": 403}),
        ("status", NOT_NOW),
    ],
)
def test_the_mirror_helps(shelf: Shelf, volume: Volume, hub: HubServer, kind: Kind, fields: dict[str, Any]) -> None:
    """Whatever one address does wrong, the same bytes from its mirror are taken, and the log says why."""
    shelf.file("alpha.tar.gz", some_files("alpha"), host="mirror.example.org")
    shelf.add("alpha", shelf.file("alpha.tar.gz", some_files("alpha"), mirrors=["https://mirror.example.org/alpha.tar.gz"]))
    fault = hub.faults.add(kind, path="/files.example.org/*", **fields)
    outcome = volume.ready()
    assert fault.fired == 1
    assert "asking the mirror" in outcome.err
    volume.check("alpha", some_files("alpha"))


def test_the_next_source_helps(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """A wrong byte from the Hub: the direct URL is tried, and status says which of them it was."""
    entry = shelf.raw("alpha.bin", noise("alpha", 4000))
    hub.hub.add_repo("ann/alpha", {"alpha.bin": noise("alpha", 4000)})
    sources: list[dict[str, Any]] = [
        {"kind": "hub", "repo": "ann/alpha", "include": ["*.bin"]},
        {"kind": "url", "files": [entry]},
    ]
    shelf.add("alpha", sources=sources)
    fault = hub.faults.add("flip", path="*_lfs*/alpha.bin", offset=7)
    outcome = volume.ready()
    assert fault.fired == 2  # wrong bytes are fetched once more
    assert "trying the next source" in outcome.err
    volume.check("alpha", {"alpha.bin": noise("alpha", 4000)})
    assert volume.status["datasets"]["alpha"]["source"]["kind"] == "url"


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        (("flip", {"offset": 9}), ("status", NOT_NOW), 65),
        (("status", NOT_NOW), ("flip", {"offset": 9}), 65),
        (("status", NOT_NOW), ("status", {"status": 404}), 75),
        (("status", {"status": 403}), ("status", {"status": 404}), 66),
        (("status", {"status": 404}), ("status", {"status": 403}), 77),
    ],
)
def test_all_sources_fail(  # noqa: PLR0917 - fixtures and a table
    shelf: Shelf,
    volume: Volume,
    hub: HubServer,
    first: tuple[Kind, dict[str, Any]],
    second: tuple[Kind, dict[str, Any]],
    code: int,
) -> None:
    """Wrong bytes anywhere count most, then what may work later, else what the last one said."""
    entries = [shelf.raw("alpha.bin", noise("alpha", 4000), host=f"{name}.example.org") for name in ("one", "two")]
    shelf.add("alpha", sources=[{"kind": "url", "files": [entry]} for entry in entries])
    faults = [
        hub.faults.add(kind, path=f"/{host}.example.org/*", **fields)
        for host, (kind, fields) in zip(("one", "two"), (first, second), strict=True)
    ]
    refused(volume.run(), code)
    # Wrong bytes are fetched once more.
    assert [fault.fired for fault in faults] == [2 if fault.kind == "flip" else 1 for fault in faults]
    assert volume.published == []


@pytest.mark.usefixtures("pair")
def test_several_fail(volume: Volume, hub: HubServer) -> None:
    """The failed data set with the highest priority decides the code."""
    faults = [
        hub.faults.add("status", path="*/alpha.tar.gz", status=404),
        hub.faults.add("flip", path="*/beta.tar.gz", offset=9),
    ]
    refused(volume.run(), 66, "alpha")
    assert [fault.fired for fault in faults] == [1, 2]  # wrong bytes are fetched once more
    refused(volume.run(PRIORITIES="beta=5,alpha=1"), 65, "beta")


def hostile_tar() -> bytes:
    """Return an archive whose second member would leave its directory."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        for name in ("alpha/good.txt", "../../../../escaped.txt"):
            member = tarfile.TarInfo(name)
            member.size = 4
            archive.addfile(member, io.BytesIO(b"evil"))
    return target.getvalue()


def test_an_unsafe_archive(shelf: Shelf, volume: Volume) -> None:
    """Right bytes can still be a hostile archive: 65, nothing published, nothing outside staging."""
    shelf.add("alpha", shelf.raw("alpha.tar.gz", hostile_tar(), unpack="tar.gz"), priority=5)
    shelf.add("beta", shelf.file("beta.tar.gz", some_files("beta")))
    refused(volume.run(), 65, "[unsafe-archive]", "escaped.txt")
    alpha_failed_beta_is_there(volume, "unsafe-archive")
    assert list(volume.root.parent.rglob("escaped.txt")) == []


@pytest.mark.parametrize("token", [None, TOKEN], ids=["anonymous", "not admitted"])
def test_a_gated_repository(shelf: Shelf, volume: Volume, hub: HubServer, token: str | None) -> None:
    """77, and the message says what to do: accept the conditions, set a token."""
    hub.hub.add_repo("other/gated", {"a.wav": noise("a", 3000)}, gated="manual")
    shelf.add("alpha", sources=[{"kind": "hub", "repo": "other/gated", "include": ["*.wav"]}], priority=5)
    shelf.add("beta", shelf.file("beta.tar.gz", some_files("beta")))
    refused(volume.run(HF_TOKEN=token), 77, "[access-denied]", "HF_TOKEN")
    alpha_failed_beta_is_there(volume, "access-denied")


def test_a_repository_that_is_not_there(shelf: Shelf, volume: Volume) -> None:
    """Anonymously the Hub says 401 for what does not exist: 77 without a token, 66 with one."""
    shelf.add("alpha", sources=[{"kind": "hub", "repo": "other/nothing", "include": ["*.wav"]}], priority=5)
    shelf.add("beta", shelf.file("beta.tar.gz", some_files("beta")))
    refused(volume.run(), 77, "other/nothing")
    refused(volume.run(HF_TOKEN=TOKEN), 66, "other/nothing")


# --- the user's repository -----------------------------------------------------------------------------------------------

BAD_TOKEN = "hf_" + "TmV2ZXJCZWZvcmVTZWVuQnlBbnlIdWI"


@pytest.mark.usefixtures("pair")
def test_a_bad_token_and_a_repository_that_was_asked_for(volume: Volume) -> None:
    """77, how to get a token, and the data are there all the same."""
    outcome = volume.run(HF_TOKEN=BAD_TOKEN, DATASET_REPO="runs")
    refused(outcome, 77, "[access-denied]", "settings/tokens")
    assert BAD_TOKEN not in outcome.err
    assert volume.published == ["alpha", "beta"]
    assert volume.status["dataset_repo"]["state"] == "failed"


@pytest.mark.usefixtures("pair")
def test_a_bad_token_and_nothing_asked_for(volume: Volume) -> None:
    """With the default name a refusal is a warning: the run is ready, and dataset_repo says what failed."""
    outcome = volume.ready(HF_TOKEN=BAD_TOKEN)
    assert "WARNING data-set repository" in outcome.err
    status = volume.status
    assert (status["state"], status["dataset_repo"]["state"]) == ("ready", "failed")
    assert status["dataset_repo"]["error"]["reference"] == "access-denied"
    assert "TRACKIO_DATASET_REPO" not in (volume.root / "provision.env").read_text()


@pytest.mark.usefixtures("pair")
def test_the_token_is_checked_before_the_first_byte(volume: Volume, hub: HubServer) -> None:
    """The Hub is asked who we are before any data are."""
    volume.ready(HF_TOKEN=TOKEN)
    paths = [entry.path for entry in hub.log.entries()]
    assert paths[0] == "/api/whoami-v2"
    assert paths.index("/api/repos/create") < paths.index("/files.example.org/alpha.tar.gz")


# --- settings, catalog, command line -------------------------------------------------------------------------------------


def nothing_happened(volume: Volume, hub: HubServer) -> None:
    """Show that a refusal came before any request and before any write."""
    assert hub.log.entries() == ()
    assert not volume.root.exists()


@pytest.mark.usefixtures("pair")
@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"PHASE": "minimall"}, 78, ["'minimall'", "minimal"]),
        ({"DATASETS": "alhpa"}, 78, ["'alhpa'", "alpha"]),
        ({"DATASETS": "alpha:tset"}, 66, ["'tset'"]),
        ({"ON_FAILURE": "failed"}, 78, ["ON_FAILURE", "fail"]),
        ({"MAX_STORAGE_GB": "lots"}, 78, ["MAX_STORAGE_GB", "lots"]),
        ({"CATALOG_PATH": "/nowhere/catalog.yaml"}, 78, ["/nowhere/catalog.yaml"]),
        ({"HF_TOKEN": "x", "HF_TOKEN_FILE": "/x"}, 78, ["HF_TOKEN_FILE"]),
        ({"SSL_CERT_FILE": "/nowhere.pem"}, 78, ["SSL_CERT_FILE", "/nowhere.pem"]),
        ({"ACCEPT_LICENSES": "alfa"}, 78, ["ACCEPT_LICENSES", "alpha"]),
        ({"LAYOUTS": "alpha=parquet"}, 78, ["parquet", "raw"]),
    ],
)
def test_wrong_settings(volume: Volume, hub: HubServer, changes: dict[str, str], code: int, words: list[str]) -> None:
    """What was set, what is wrong with it, what is near; before any request."""
    refused(volume.run(**changes), code, *words)
    nothing_happened(volume, hub)


def test_a_broken_catalog(pair: Shelf, volume: Volume, hub: HubServer) -> None:
    """YAML that is none, and a key that is unknown: file and line, and the nearest known key."""
    text = pair.path.read_text("utf-8")
    pair.path.write_text(text.replace("  alpha:\n", "  alpha: [\n", 1), "utf-8")
    refused(volume.run(), 78, f"{pair.path}:")
    pair.path.write_text(text.replace("homepage:", "homepgae:", 1), "utf-8")
    line = text[: text.index("homepage:")].count("\n") + 1
    refused(volume.run(), 78, f"{pair.path}:{line}", "homepgae", "homepage")
    nothing_happened(volume, hub)


@pytest.mark.usefixtures("pair")
def test_a_broken_config_file(volume: Volume, hub: HubServer, tmp_path: Path) -> None:
    """A typo in the config file: file, line, nearest key."""
    config = tmp_path / "config.yaml"
    config.write_text("datasets:\n  phase: minimal\n  max_storage: 5\n", "utf-8")
    refused(volume.run(CONFIG_PATH=str(config)), 78, f"{config}:3", "max_storage_gb")
    nothing_happened(volume, hub)


def test_what_the_catalog_leaves_out_on_purpose(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """A data set that is excluded has a reason, and asking for it by name gives that reason: 77."""
    shelf.document["excluded"] = {"maestro": {"title": "MAESTRO", "license": "CC-BY-NC-SA-4.0", "reason": "non-commercial"}}
    shelf.add("alpha", shelf.file("alpha.tar.gz", some_files("alpha")))
    refused(volume.run("--dataset", "maestro"), 77, "non-commercial", "CC-BY-NC-SA-4.0")
    nothing_happened(volume, hub)


@pytest.mark.usefixtures("pair")
@pytest.mark.parametrize("arguments", [["--fase", "minimal"], ["status", "--", "app"], ["--"], ["catalog"], ["list", "--deep"]])
def test_a_wrong_command_line(volume: Volume, hub: HubServer, arguments: list[str]) -> None:
    """64, and where to read how it is done."""
    refused(volume.run(*arguments), 64, "[usage]")
    nothing_happened(volume, hub)


# --- policies ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def terms(shelf: Shelf) -> Shelf:
    """Return a catalog with a data set for each mark of a licence."""
    for mark in ("allowed", "mixed", "verify", "forbidden"):
        shelf.add(mark, shelf.file(f"{mark}.tar.gz", some_files(mark)), commercial=mark)
    return shelf


@pytest.mark.usefixtures("terms")
@pytest.mark.parametrize(
    ("changes", "there"),
    [
        ({}, ["allowed", "mixed", "verify"]),
        ({"LICENSE_POLICY": "commercial"}, ["allowed"]),
        ({"LICENSE_POLICY": "commercial", "ACCEPT_LICENSES": "verify"}, ["allowed", "verify"]),
        ({"ACCEPT_LICENSES": "forbidden"}, ["allowed", "forbidden", "mixed", "verify"]),
        ({"LICENSE_POLICY": "any"}, ["allowed", "forbidden", "mixed", "verify"]),
    ],
)
def test_licences(volume: Volume, hub: HubServer, changes: dict[str, str], there: list[str]) -> None:
    """The policy decides what of a phase comes; the rest is skipped, said so, and not asked for."""
    outcome = volume.ready(**changes)
    assert volume.published == there
    left_out = {"allowed", "mixed", "verify", "forbidden"} - set(there)
    status = volume.status
    assert status["state"] == ("partial" if left_out else "ready")
    for name in left_out:
        record = status["datasets"][name]
        assert (record["state"], record["reason"]) == ("skipped", "license_policy")
        assert f"{name}: skipped" in outcome.err
        assert not hub.log.entries(f"*/{name}.tar.gz")
    hub.log.clear()
    before = volume.snapshot()
    volume.ready(**changes)
    assert (hub.log.entries(), volume.snapshot()) == ((), before)


@pytest.mark.usefixtures("terms")
def test_a_refused_licence_by_name(volume: Volume, hub: HubServer) -> None:
    """Asked for by name and refused: 77, with what would accept it; the others that were named are there."""
    outcome = volume.run("--dataset", "forbidden", "--dataset", "allowed")
    refused(outcome, 77, "[license-refused]", "ACCEPT_LICENSES=forbidden")
    assert not hub.log.entries("*/forbidden.tar.gz")
    assert volume.published == ["allowed"]


@pytest.mark.usefixtures("pair")
def test_only_a_check(volume: Volume, hub: HubServer) -> None:
    """AUTO_DOWNLOAD=false: 66 and what is missing while something is; 0 when all is there; never a request."""
    refused(volume.run(AUTO_DOWNLOAD="false"), 66, "[data-missing]", "alpha", "beta")
    nothing_happened(volume, hub)
    refused(volume.run(AUTO_DOWNLOAD="space"), 66)
    nothing_happened(volume, hub)
    volume.ready(AUTO_DOWNLOAD="space", SPACE_ID="ann/app", DATASETS="alpha")
    hub.log.clear()
    refused(volume.run(AUTO_DOWNLOAD="false"), 66, "beta")
    volume.ready(AUTO_DOWNLOAD="false", DATASETS="alpha")
    assert hub.log.entries() == ()


@pytest.mark.usefixtures("pair")
def test_offline(volume: Volume, hub: HubServer) -> None:
    """HF_HUB_OFFLINE: no request, whatever is missing; what is here is enough for 0."""
    refused(volume.run(HF_HUB_OFFLINE="1", HF_TOKEN=TOKEN), 75, "HF_HUB_OFFLINE")
    assert hub.log.entries() == ()
    volume.ready()
    hub.log.clear()
    volume.ready(HF_HUB_OFFLINE="1", HF_TOKEN=TOKEN)
    assert hub.log.entries() == ()


@pytest.mark.usefixtures("pair")
def test_an_optional_data_set_fails(pair: Shelf, volume: Volume, hub: HubServer) -> None:
    """Its failure makes the run partial, exit 0; asked for by name it counts."""
    pair.document["datasets"]["alpha"]["optional"] = True
    pair.write()
    fault = hub.faults.add("status", path="*/alpha.tar.gz", status=404)
    volume.ready()
    status = volume.status
    assert (status["state"], status["error"], status["datasets"]["alpha"]["state"]) == ("partial", None, "failed")
    assert volume.published == ["beta"]
    refused(volume.run(DATASETS="alpha"), 66)
    assert fault.fired == 2


@pytest.mark.usefixtures("pair")
def test_degraded(volume: Volume, hub: HubServer) -> None:
    """ON_FAILURE=degraded: every data set is tried, the state says so, the exit code is 0 by the operator's choice."""
    fault = hub.faults.add("status", path="*/alpha.tar.gz", status=404)
    outcome = volume.ready(ON_FAILURE="degraded")
    assert "ON_FAILURE=degraded" in outcome.err
    assert (volume.status["state"], volume.published) == ("degraded", ["beta"])
    started = volume.ready("--", "sh", "-c", "ls $DATASETS_DIR", ON_FAILURE="degraded")
    assert started.out.split() == ["beta"]
    assert fault.fired == 2


# --- room ----------------------------------------------------------------------------------------------------------------


@pytest.mark.root
def test_a_full_volume(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """A file that is larger than anybody knew fills the disk: 74 with needed and free, and room again for the others."""
    entry = shelf.raw("alpha.bin", noise("alpha", 6_000_000))
    shelf.add("alpha", {name: value for name, value in entry.items() if name != "size"}, priority=5)
    shelf.add("beta", shelf.file("beta.tar.gz", some_files("beta", 1_000_000)))
    with mounted(volume.root, "-t", "tmpfs", "-o", "size=4m", "tmpfs"):
        refused(volume.run(), 74, "[volume-full]", "alpha", "bytes are free", "needs")
        assert hub.log.entries("*/alpha.bin")
        assert volume.published == ["beta"]
        volume.check("beta", some_files("beta", 1_000_000))
        assert volume.status["datasets"]["alpha"]["error"]["reference"] == "volume-full"
        assert volume.staged() == []


@pytest.mark.root
def test_a_volume_that_an_archive_fills(shelf: Shelf, volume: Volume) -> None:
    """An archive that unpacks to more than anybody knew: 74, nothing of it stays, and the others come."""
    shelf.add("alpha", shelf.file("alpha.tar.gz", {"alpha/zeros": bytes(6_000_000)}), priority=5)
    shelf.add("beta", shelf.file("beta.tar.gz", some_files("beta", 1_000_000)))
    with mounted(volume.root, "-t", "tmpfs", "-o", "size=4m", "tmpfs"):
        refused(volume.run(), 74, "[volume-full]", "alpha", "bytes are free")
        assert volume.published == ["beta"]
        volume.check("beta", some_files("beta", 1_000_000))
        assert volume.staged() == []


@pytest.mark.root
def test_a_volume_without_room_for_names(shelf: Shelf, volume: Volume) -> None:
    """No inode is left where there are bytes enough: 74, nothing of it stays, and the others come."""
    many = {f"alpha/{number:03}.txt": b"one of many" for number in range(300)}
    shelf.add("alpha", shelf.file("alpha.tar.gz", many), priority=5)
    shelf.add("beta", shelf.file("beta.tar.gz", some_files("beta")))
    with mounted(volume.root, "-t", "tmpfs", "-o", "size=64m,nr_inodes=200", "tmpfs"):
        refused(volume.run(), 74, "alpha")
        assert volume.published == ["beta"]
        volume.check("beta", some_files("beta"))
        assert volume.staged() == []


@pytest.mark.root
def test_nothing_fits(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """No data set fits: 74 with needed and free, before the first byte, whatever ON_SHORTFALL says."""
    for name in ("alpha", "beta"):
        shelf.add(name, shelf.raw(f"{name}.bin", noise(name, 200_000)))
    with mounted(volume.root, "-t", "tmpfs", "-o", "size=128k", "tmpfs"):
        refused(volume.run(), 74, "[volume-full]", "needed", "free")
    assert hub.log.entries() == ()


@pytest.fixture
def sizes(shelf: Shelf) -> Shelf:
    """Return a catalog of one megabyte, half a megabyte, and one that is small, by falling priority."""
    for name, size, priority in (("large", 1_000_000, 5), ("middle", 500_000, 4), ("small", 1000, 3)):
        shelf.add(name, shelf.raw(f"{name}.bin", noise(name, size)), priority=priority)
    return shelf


@pytest.mark.usefixtures("sizes")
@pytest.mark.parametrize(
    ("limit", "there"),
    [
        ("0.0000005", []),
        ("0.0006", ["middle", "small"]),
        ("0.0011", ["large", "small"]),
        ("0.0016", ["large", "middle", "small"]),
    ],
)
def test_the_limit(volume: Volume, hub: HubServer, limit: str, there: list[str]) -> None:
    """MAX_STORAGE_GB: the lowest priorities that do not fit are skipped before the first byte, and the state is partial."""
    outcome = volume.run(MAX_STORAGE_GB=limit)
    if not there:
        refused(outcome, 74, "[volume-full]")
        assert hub.log.entries() == ()
        return
    assert outcome.code == 0
    assert volume.published == there
    status = volume.status
    assert status["volume"]["limit_bytes"] == round(float(limit) * 1e9)
    assert status["volume"]["used_bytes"] <= status["volume"]["limit_bytes"]
    for name in {"large", "middle", "small"} - set(there):
        assert (status["datasets"][name]["state"], status["datasets"][name]["reason"]) == ("skipped", "storage_limit")
        assert not hub.log.entries(f"*/{name}.bin")
    assert status["state"] == ("ready" if len(there) == 3 else "partial")


@pytest.mark.usefixtures("sizes")
def test_a_shortfall_may_fail(volume: Volume, hub: HubServer) -> None:
    """ON_SHORTFALL=fail: 74 before the first byte, with the names and the bytes of what does not fit."""
    refused(volume.run(ON_SHORTFALL="fail", MAX_STORAGE_GB="0.0011"), 74, "middle", "500 kB")
    assert hub.log.entries() == ()
    assert volume.published == []


@pytest.mark.usefixtures("sizes")
def test_too_large_by_name(volume: Volume, hub: HubServer) -> None:
    """Asked for by name and too large: an error, not a skip."""
    refused(volume.run(DATASETS="large", MAX_STORAGE_GB="0.0006"), 74, "large")
    assert hub.log.entries() == ()


def test_superseded_versions_go_first(shelf: Shelf, volume: Volume) -> None:
    """An old version stays until its space is needed; then it is the first to go."""
    shelf.add("alpha", shelf.raw("alpha.bin", noise("one", 500_000)))
    volume.ready()
    old = volume.version("alpha")
    shelf.document["datasets"]["alpha"]["sources"][0]["files"] = [shelf.raw("alpha.bin", noise("two", 500_000))]
    shelf.add("beta", shelf.raw("beta.bin", noise("beta", 400_000)))
    volume.ready(DATASETS="alpha", MAX_STORAGE_GB="0.0011")
    assert (volume.private / "store" / "alpha" / old).is_dir()
    volume.ready(MAX_STORAGE_GB="0.0011")
    assert not (volume.private / "store" / "alpha" / old).exists()
    volume.check("alpha", {"alpha.bin": noise("two", 500_000)})
    volume.check("beta", {"beta.bin": noise("beta", 400_000)})


# --- volumes that cannot be written --------------------------------------------------------------------------------------


@pytest.fixture
def root_owned(volume: Volume) -> Volume:
    """Return a volume of another user's, and processes that must respect its modes."""
    volume.root.mkdir()
    os.chown(volume.root, 54321, 54321)
    volume.root.chmod(0o755)
    volume.under = POWERLESS
    return volume


@pytest.mark.usefixtures("pair")
def test_an_unwritable_volume(root_owned: Volume, hub: HubServer) -> None:
    """73 and the commands that mend it; no byte is fetched."""
    refused(root_owned.run(), 73, "[volume-not-writable]", "chown", "--user")
    assert hub.log.entries() == ()
    assert list(root_owned.root.iterdir()) == []


@pytest.mark.root
@pytest.mark.usefixtures("pair")
def test_a_volume_that_cannot_be_made(volume: Volume, hub: HubServer) -> None:
    """The same where even the volume's directory cannot be made."""
    parent = volume.root.parent / "closed"
    parent.mkdir()
    os.chown(parent, 54321, 54321)
    volume.under = POWERLESS
    refused(volume.run(DATA_DIR=str(parent / "volume")), 73, "[volume-not-writable]")
    assert hub.log.entries() == ()


@pytest.mark.root
@pytest.mark.usefixtures("pair")
def test_an_unwritable_volume_that_has_all(volume: Volume, hub: HubServer) -> None:
    """A satisfied volume need not be writable: 0, no request, the app starts."""
    volume.ready()
    hub.log.clear()
    for path in (volume.root, *volume.root.rglob("*")):
        os.chown(path, 54321, 54321, follow_symlinks=False)
    volume.under = POWERLESS
    assert volume.ready("--", "echo", "the app").out == "the app\n"
    assert hub.log.entries() == ()


@pytest.mark.root
@pytest.mark.usefixtures("pair")
def test_a_read_only_mount(volume: Volume, hub: HubServer) -> None:
    """Mounted read-only: 73 while something is missing; 0 when all is there, also by another selection than the last."""
    empty = volume.root.parent / "empty"
    empty.mkdir()
    mount = volume.root.parent / "mount"
    with mounted(mount, "--bind", "-o", "ro", str(empty)):
        refused(volume.run(DATA_DIR=str(mount)), 73, "[volume-not-writable]")
    assert hub.log.entries() == ()
    volume.ready()
    hub.log.clear()
    with mounted(mount, "--bind", "-o", "ro", str(volume.root)):
        volume.ready(DATA_DIR=str(mount))
        volume.ready(DATA_DIR=str(mount), DATASETS="alpha")
    assert hub.log.entries() == ()


@pytest.mark.usefixtures("pair")
@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_something_else_is_in_the_way(volume: Volume, kind: str) -> None:
    """What we did not put there is left alone: 74 for that data set, and the others come."""
    place = volume.tree("alpha")
    place.parent.mkdir(parents=True)
    if kind == "file":
        place.write_text("mine")
    elif kind == "folder":
        place.mkdir()
        (place / "mine.txt").write_text("mine")
    else:
        place.symlink_to("/etc")
    before = volume.snapshot(place)
    refused(volume.run(), 74, "[volume-error]", "datasets/alpha")
    assert volume.snapshot(place) == before
    volume.check("beta", some_files("beta"))


@pytest.mark.usefixtures("pair")
def test_an_empty_folder_is_not_in_the_way(volume: Volume) -> None:
    """An empty directory holds nothing that could be lost."""
    volume.tree("alpha").mkdir(parents=True)
    volume.ready()
    volume.check("alpha", some_files("alpha"))
