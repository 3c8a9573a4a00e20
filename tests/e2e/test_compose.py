"""The project's compose.yaml: the data first, then the application; a failure keeps the application from starting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from tests.e2e.test_fill import ALL
from tests.support.containers import IMAGE, Project, check_worries
from tests.support.program import CHECKOUT, TOKEN
from tests.support.torch import NEEDS_TORCH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.hub_server import HubServer

pytestmark = pytest.mark.docker

COMPOSE_FILE: Final = CHECKOUT / "compose.yaml"
TRAINING: Final = {
    "entrypoint": ["/usr/bin/python3"],
    "user": "1000:0",
    "volumes": [
        "/usr/bin:/usr/bin:ro",
        "/usr/lib:/usr/lib:ro",
        "/etc/alternatives:/etc/alternatives:ro",
        f"{CHECKOUT}/examples:/srv:ro",
    ],
}
OVERRIDE: Final = {"services": {"provision": {"network_mode": "host"}, "train-tts": TRAINING, "train-notes": TRAINING}}
"""The server under test listens on loopback, and the machine's own PyTorch stands in for the image with it, which could not be
built without a mirror of Debian; everything else is as it is in the project's file."""


@pytest.fixture
def project(
    settings: dict[str, str], config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Project]]:
    """Return what starts a project of its own from compose.yaml, with settings as they would stand in ``.env``."""
    described: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text("utf-8"))
    for name in (
        *described["services"]["provision"]["environment"],
        "CONFIG_DIR",
        "PROVISION_USER",
        "PROVISION_IMAGE",
        "HF_TOKEN",
    ):
        monkeypatch.delenv(name, raising=False)
    override = tmp_path / "override.yaml"
    override.write_text(yaml.safe_dump(OVERRIDE), "utf-8")
    ours = {name: value for name, value in settings.items() if name != "HF_TOKEN"}
    ours |= {"CONFIG_DIR": str(config), "PROVISION_IMAGE": IMAGE}
    made: list[Project] = []

    def make(**changes: str) -> Project:
        made.append(Project(CHECKOUT, [COMPOSE_FILE, override], {**ours, **changes}, tmp_path / f"{len(made)}.env"))
        return made[-1]

    yield make
    for each in made:
        each.remove()


def test_data_then_app(project: Callable[..., Project], hub: HubServer, tmp_path: Path) -> None:
    """The app starts when the volume is filled, reads provision.env, finds all data sets and opens one; the token is a file."""
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    token.chmod(0o644)
    stack = project(HF_TOKEN_FILE=str(token))
    started = stack.up()
    assert started.code == 0, started.err
    provision, app = stack.wait("provision"), stack.wait("app")
    check_worries(provision.err, ())
    assert (provision.code, app.code) == (0, 0), provision.err + app.err
    asked = hub.log.entries("*/whoami-v2")
    assert [(entry.status, entry.authorization) for entry in asked] == [(200, True)]
    lines = app.out.splitlines()
    assert lines[0].endswith("data sets in /data/datasets")
    assert lines[1] == "app: experiment logs would go to ann/trackio-experiments"
    assert [line.split()[1] for line in lines[2:10]] == list(ALL)
    assert any(line.startswith("app: opened with datasets, offline: ") for line in lines)
    assert TOKEN not in provision.err + provision.out + app.out + app.err + str(stack.service("provision").attrs)
    # Again: nothing to do, nobody is asked, and the app runs again.
    hub.log.clear()
    assert stack.up().code == 0
    assert (stack.wait("provision").code, stack.wait("app").code) == (0, 0)
    assert not hub.log.entries()


def test_the_token_that_init_wrote(project: Callable[..., Project], hub: HubServer) -> None:
    """In ``.env`` it reaches the provisioner, and the app's container never sees it."""
    stack = project(HF_TOKEN=TOKEN, DATASET_REPO="ann/logs")
    started = stack.up()
    assert started.code == 0, started.err
    provision, app = stack.wait("provision"), stack.wait("app")
    assert (provision.code, app.code) == (0, 0), provision.err + app.err
    assert "app: experiment logs would go to ann/logs" in app.out
    assert [(entry.status, entry.authorization) for entry in hub.log.entries("*/whoami-v2")] == [(200, True)]
    assert TOKEN not in provision.err + provision.out + app.out + app.err + str(stack.service("app").attrs)


def test_without_a_token(project: Callable[..., Project], hub: HubServer) -> None:
    """Without a token file the secret is empty, which means no token: the repository step is left out."""
    stack = project(DATASETS="nsynth:test")
    started = stack.up()
    assert started.code == 0, started.err
    assert stack.wait("app").code == 0
    assert "there is no token" in stack.wait("provision").err
    assert not hub.log.entries("*/whoami-v2")
    assert hub.log.entries("*/nsynth-test*")


def test_failure_starts_no_app(project: Callable[..., Project], hub: HubServer) -> None:
    """When provisioning fails, `up` fails, and the app is never started."""
    rule = hub.faults.add("status", path="*/nsynth-test*", status=404)
    stack = project(DATASETS="nsynth:test")
    started = stack.up()
    assert rule.fired
    assert started.code != 0
    assert 'service "provision" didn\'t complete successfully: exit 66' in started.err
    assert stack.wait("provision").code == 66
    assert stack.service("app").attrs["State"]["Status"] == "created"


@NEEDS_TORCH
@pytest.mark.usefixtures("hub")  # without the faults of the test before
def test_training(project: Callable[..., Project]) -> None:
    """With the profile, both programs learn from what was provisioned, on a read-only volume; without it there is neither."""
    assert not [name for name in project().command("config", "--services").out.split() if name.startswith("train")]
    stack = project(DATASETS="ljspeech,nsynth", TRAINING_IMAGE=IMAGE, TRAINING_SECONDS="1", COMPOSE_PROFILES="training")
    started = stack.up()
    assert started.code == 0, started.err
    for name in ("train-tts", "train-notes"):
        ended = stack.wait(name)
        assert ended.code == 0, ended.err
        assert ended.out.startswith("step 1: loss ")
        (mount,) = (one for one in stack.service(name).attrs["Mounts"] if one["Destination"] == "/data")
        assert mount["RW"] is False


def test_command(project: Callable[..., Project], hub: HubServer) -> None:
    """`docker compose run provision COMMAND` is the program."""
    ended = project().command("run", "--rm", "--no-deps", "provision", "list")
    assert ended.code == 0, ended.err
    assert all(name in ended.out for name in ALL)
    assert not hub.log.entries()
