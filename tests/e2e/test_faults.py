"""What goes wrong outside, seen from outside: the container's exit code, one message, and Kubernetes' termination log."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.support.faults import Rule
from tests.support.program import TOKEN

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Station
    from tests.support.hub_server import HubServer

pytestmark = pytest.mark.docker

OTHERS: Final = ("ljspeech", "nsynth", "urmp")
"""The data sets of ``minimal`` that have nothing to do with the one that fails."""


@pytest.fixture
def termination_log(tmp_path: Path) -> Path:
    """Return what the kubelet mounts at ``/dev/termination-log``: an empty file that anybody may write."""
    path = tmp_path / "termination-log"
    path.touch()
    path.chmod(0o666)
    return path


FAULTS: Final = [
    pytest.param({"kind": "flip", "path": "*/fma_small.zip", "offset": 1000}, (65, "digest-mismatch"), id="wrong digest"),
    pytest.param({"kind": "status", "path": "*/fma_small.zip", "status": 404}, (66, "not-found"), id="404"),
    pytest.param({"kind": "status", "path": "*/fma_small.zip", "status": 403}, (77, "access-denied"), id="refused"),
]


@pytest.mark.parametrize(("fault", "told"), FAULTS)
def test_data_set_that_fails(
    station: Station, hub: HubServer, termination_log: Path, fault: dict[str, Any], told: tuple[int, str]
) -> None:
    """The exit code tells the cause, the termination log holds it as one line of JSON, only the rest is published."""
    code, reference = told
    rule = hub.faults.add(Rule.from_json(fault))
    volume = station.engine.volume()
    box = station.engine.start(
        volume=volume,
        env={"PHASE": "minimal"},
        mounts={termination_log: "/dev/termination-log:rw"},
        expect=[*(["fetched once more"] if code == 65 else []), r"ERROR fma_small: ", rf"ERROR \[{reference}\] ", r"ERROR [A-Z]"],
    )
    ended = box.wait()
    assert rule.fired >= 1
    assert ended.code == code
    assert "Traceback" not in ended.err
    assert json.loads(termination_log.read_text("utf-8"))["reference"] == reference
    assert termination_log.read_text("utf-8").count("\n") == 1
    status = box.status()
    assert (status["state"], status["error"]["reference"]) == ("failed", reference)
    assert status["datasets"]["fma_small"]["state"] == "failed"
    station.check(volume, *OTHERS)


def test_bad_token(station: Station, hub: HubServer, termination_log: Path) -> None:
    """A token that the Hub does not know gives 77 when a repository was asked for; the token itself is nowhere."""
    token = "hf_" + "Tm9ib2R5R2F2ZU1lVGhpc1Rva2VuQWJj"
    volume = station.engine.volume()
    box = station.engine.start(
        volume=volume,
        env={"DATASETS": "nsynth:test", "HF_TOKEN": token, "DATASET_REPO": "logs"},
        mounts={termination_log: "/dev/termination-log:rw"},
        expect=["ERROR data-set repository: ", r"ERROR \[access-denied\] .*does not accept the token", "ERROR Make a token at "],
    )
    ended = box.wait()
    assert ended.code == 77
    assert [entry.status for entry in hub.log.entries("*/whoami-v2")] == [401]
    assert json.loads(termination_log.read_text("utf-8"))["reference"] == "access-denied"
    status = box.status()
    assert status["dataset_repo"]["state"] == "failed"
    for text in (ended.out, ended.err, termination_log.read_text("utf-8"), json.dumps(status)):
        assert token not in text
    assert station.engine.shell(f"! grep -r {token} /data", volume=volume, read_only_volume=True).code == 0


def test_token_file(station: Station, hub: HubServer, tmp_path: Path) -> None:
    """A secret may be a file; one that this user may not read gives 78 before any request, and the file is named."""
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n", "utf-8")
    secret = {"HF_TOKEN": "", "HF_TOKEN_FILE": "/run/secrets/hf_token", "DATASETS": "nsynth:test"}
    token.chmod(0o000)
    ended = station.engine.run(
        volume=station.engine.volume(),
        env=secret,
        mounts={token: "/run/secrets/hf_token"},
        expect=[r"\[configuration\] HF_TOKEN_FILE.*/run/secrets/hf_token", "ERROR [A-Z]"],
    )
    assert ended.code == 78
    assert not hub.log.entries()
    token.chmod(0o444)
    ended = station.engine.run(volume=station.engine.volume(), env=secret, mounts={token: "/run/secrets/hf_token"})
    assert ended.code == 0
    assert [(entry.status, entry.authorization) for entry in hub.log.entries("*/whoami-v2")] == [(200, True)]
    assert TOKEN not in ended.err


def test_failing_run_starts_no_app(station: Station, hub: HubServer) -> None:
    """An app is not started on a volume that is not as it was asked for."""
    rule = hub.faults.add("status", path="*/nsynth-test*", status=404)
    ended = station.engine.run(
        "--",
        "echo",
        "started",
        volume=station.engine.volume(),
        env={"DATASETS": "nsynth:test"},
        expect=["asking the mirror", "not-found", "ERROR "],
    )
    assert rule.fired
    assert (ended.code, ended.out) == (66, "")


def test_degraded_run_starts_the_app(station: Station, hub: HubServer, termination_log: Path) -> None:
    """With ON_FAILURE=degraded it is, on what there is, and both the log and the termination log say what is missing."""
    rule = hub.faults.add("status", path="*/fma_small.zip", status=404)
    box = station.engine.start(
        *("--", "sh", "-c", "ls $DATASETS_DIR; exit 5"),
        volume=station.engine.volume(),
        env={"PHASE": "minimal", "ON_FAILURE": "degraded"},
        mounts={termination_log: "/dev/termination-log:rw"},
        expect=["ERROR fma_small", "WARNING .* ON_FAILURE=degraded"],
    )
    ended = box.wait()
    assert rule.fired
    assert (ended.code, ended.out.split()) == (5, list(OTHERS))
    assert box.status()["state"] == "degraded"
    assert json.loads(termination_log.read_text("utf-8"))["reference"] == "not-found"


def test_full_volume(station: Station, hub: HubServer) -> None:
    """A volume that is too small gives 74 before the first byte, and says what is needed and what is free."""
    options = {"type": "tmpfs", "device": "tmpfs", "o": "size=64k,uid=1000,gid=0,mode=2775"}
    volume = station.engine.volume(driver="local", driver_opts=options)
    ended = station.engine.run(
        volume=volume,
        env={"ON_SHORTFALL": "fail"},
        expect=["nsynth: skipped: needs", "skipped", r"\[volume-full\] .* needed, .* free", "ERROR [A-Z]"],
    )
    assert ended.code == 74
    assert not hub.log.entries(origin="cdn")
