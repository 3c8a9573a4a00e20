"""A real Swarm of one node runs the job of shares and the job that publishes."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from typing import TYPE_CHECKING, Final

import pytest
import yaml

from tests.support.containers import IMAGE
from tests.support.program import CHECKOUT, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.hub_server import HubServer
    from tests.support.shelf import Miniature

pytestmark = pytest.mark.docker

STACK: Final = CHECKOUT / "deploy" / "swarm" / "shares.yaml"
SHARDS: Final = 3
BRIDGE: Final = "docker_gwbridge"


def docker(*words: str | Path, **environ: str) -> str:
    """Run a Docker command, which must succeed, and return what it prints."""
    done = subprocess.run(
        ["docker", *map(str, words)], capture_output=True, text=True, check=False, env={**os.environ, **environ}, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def swarm() -> Iterator[str]:
    """Let this engine be a Swarm on loopback, and yield a name for a stack; afterwards it is none again."""
    if docker("info", "--format", "{{.Swarm.LocalNodeState}}") != "inactive":
        pytest.skip("this engine is part of a Swarm already")
    networks = docker("network", "ls", "--format", "{{.Name}}").split()
    docker("swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", "127.0.0.1:2377")
    name = f"test-{secrets.token_hex(4)}"
    try:
        yield name
        docker("stack", "rm", name)
    finally:
        docker("swarm", "leave", "--force")
        # Containers go with the Swarm; the volume is of the node.
        volume = f"{name}_data"
        wait_until(lambda: not docker("container", "ls", "--all", "--quiet", "--filter", f"volume={volume}"), "they are gone")
        docker("volume", "rm", "--force", volume)
        # The bridge that a Swarm makes on a node stays otherwise.
        if BRIDGE not in networks:
            docker("network", "rm", BRIDGE)


@pytest.fixture
def override(settings: dict[str, str], config: Path, tmp_path: Path) -> Path:
    """Return a file that lets the tasks reach the server on loopback, and gives them the miniature's catalog."""
    ours = {name: value for name, value in settings.items() if name not in {"PHASE", "HF_TOKEN"}}
    service = {"networks": ["outside"], "environment": ours, "volumes": [f"{config}:/config:ro"]}
    document = {
        "services": {"shares": service, "finish": service},
        "networks": {"outside": {"external": True, "name": "host"}},
    }
    path = tmp_path / "override.yaml"
    path.write_text(yaml.safe_dump(document), "utf-8")
    return path


def test_a_job_of_shares(swarm: str, override: Path, hub: HubServer, mini: Miniature, tmp_path: Path) -> None:
    """Each task of the shipped file fetches the share of its slot, every file comes once, and all is published."""
    data = tmp_path / "data"
    data.mkdir()
    os.chown(data, 1000, 0)
    docker(
        *("stack", "deploy", "--detach=true", "--resolve-image", "never"),
        *("--compose-file", STACK, "--compose-file", override, swarm),
        SHARDS=str(SHARDS),
        PHASE="comprehensive",
        PROVISION_IMAGE=IMAGE,
        RETRY_DELAY="1s",
        VOLUME_TYPE="none",
        VOLUME_OPTIONS="bind",
        VOLUME_DEVICE=str(data),
    )

    def states(job: str) -> list[str]:
        return docker("service", "ps", f"{swarm}_{job}", "--format", "{{.CurrentState}}").splitlines()

    def complete(job: str) -> int:
        return sum(state.startswith("Complete") for state in states(job))

    wait_until(lambda: (complete("shares"), complete("finish")) == (SHARDS, 1), "all tasks are complete")
    assert not [state for state in states("shares") if not state.startswith("Complete")]
    command = ["docker", "service", "logs", "--raw", f"{swarm}_shares"]
    logs = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    for index in range(SHARDS):
        assert f"Share {index}/{SHARDS}: " in logs
    status = json.loads((data / "dataset_status.json").read_text("utf-8"))
    assert status["state"] == "ready"
    assert set(status["datasets"]) == set(mini.collection.datasets)
    asked = [entry.path for entry in hub.log.entries(origin="cdn") if entry.method == "GET"]
    assert asked
    assert len(asked) == len(set(asked))
