"""The user's repository as a step of `provision`: for each case of the contract, exit code, status and exported variables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.hub_model import Scope
from tests.support.program import TOKEN
from tests.support.shelf import Shelf, some_files

if TYPE_CHECKING:
    from tests.support.hub_server import HubServer
    from tests.support.volume import Volume

READ = "hf_" + "UmVhZE9ubHlUb2tlbkZvclRlc3RzT25s"
FINE = "hf_" + "RmluZUdyYWluZWRUb2tlbkZvclRlc3Rz"
WRONG = "hf_" + "Tm9TdWNoVG9rZW5JbkFueVRlc3RIdWI"
NAME = "trackio-experiments"
APP = "import json, os; print(json.dumps([os.environ.get('TRACKIO_DATASET_REPO'), os.environ.get('TRACKIO_DATASET_ID')]))"


@pytest.fixture
def filled(hub: HubServer, volume: Volume, shelf: Shelf) -> Volume:
    """Return a volume with a small catalog, and tokens of every kind for ann."""
    hub.hub.add_user("ann", orgs={"lab": "write", "club": "read"})
    hub.hub.add_token(READ, "ann", "read")
    hub.hub.add_token(FINE, "ann", "fineGrained", scopes=(Scope("user", "ann", frozenset({"repo.write"})),))
    shelf.add("songs", shelf.file("songs.tar.gz", some_files("songs")))
    return volume


def repository(volume: Volume) -> Any:
    """Return what the status file says of the repository."""
    return volume.status["dataset_repo"]


@pytest.mark.parametrize("token", [TOKEN, FINE])
def test_a_valid_token(hub: HubServer, filled: Volume, token: str) -> None:
    """With a valid token the repository is created before the first byte of data, and its name is exported to the app."""
    outcome = filled.ready("--", sys.executable, "-c", APP, HF_TOKEN=token)
    assert json.loads(outcome.out) == [f"ann/{NAME}", f"ann/{NAME}"]
    assert f"TRACKIO_DATASET_REPO=ann/{NAME}\n" in (filled.root / "provision.env").read_text("utf-8")
    paths = [entry.path for entry in hub.log.entries()]
    assert paths.index("/api/repos/create") < paths.index("/files.example.org/songs.tar.gz")
    assert token not in outcome.out + outcome.err
    assert all(token.encode() not in path.read_bytes() for path in filled.root.rglob("*") if path.is_file())


@pytest.mark.parametrize("token", [READ, WRONG])
@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("asked", [True, False])
def test_a_token_that_is_not_enough(hub: HubServer, filled: Volume, token: str, exists: bool, asked: bool) -> None:
    """A token that is invalid or may only read: 77 if the repository was asked for, else a warning; nothing is exported."""
    if exists:
        hub.hub.add_repo(f"ann/{NAME}")
    outcome = filled.run(HF_TOKEN=token, DATASET_REPO=NAME if asked else None)
    assert (outcome.code, filled.published) == (77 if asked else 0, ["songs"])
    assert (repository(filled)["state"], repository(filled)["error"]["reference"]) == ("failed", "access-denied")
    assert ("read-only" if token == READ else "mistyped, revoked or expired") in outcome.err
    assert f"{hub.endpoint}/settings/tokens" in outcome.err
    assert "TRACKIO" not in (filled.root / "provision.env").read_text("utf-8")
    assert not [entry for entry in hub.log.entries("/api/*") if entry.method not in {"GET", "HEAD"}]
    assert token not in outcome.out + outcome.err


def test_network_trouble(hub: HubServer, filled: Volume) -> None:
    """When the Hub cannot be reached, a name that is known is exported all the same, and the state is `failed`."""
    fault = hub.faults.add("status", path="*/whoami-v2", status=503, headers={"Retry-After": "301"})
    filled.ready(HF_TOKEN=TOKEN, HF_USERNAME="ann")
    assert (repository(filled)["state"], repository(filled)["error"]["reference"]) == ("failed", "remote-unavailable")
    assert f"TRACKIO_DATASET_REPO=ann/{NAME}\n" in (filled.root / "provision.env").read_text("utf-8")
    assert fault.fired == 1


def test_a_repository_that_exists(hub: HubServer, filled: Volume) -> None:
    """A repository that exists is reused, the log says so, and nothing in it is changed."""
    repo = hub.hub.add_repo(f"ann/{NAME}", {"mine.csv": b"1"})
    before = (repo.head.commit, len(repo.revisions))
    outcome = filled.ready(HF_TOKEN=TOKEN)
    assert "exists already, reused as it is" in outcome.err
    assert (repo.head.commit, len(repo.revisions), repository(filled)["created"]) == (*before, False)


def test_no_token(hub: HubServer, filled: Volume) -> None:
    """Without a token the step is skipped, and the log says so."""
    outcome = filled.ready(DATASET_REPO="lab/logs")
    assert "there is no token" in outcome.err
    assert repository(filled)["state"] == "skipped"
    assert not hub.log.entries("*/whoami-v2")


def test_the_token_is_in_no_process_list(hub: HubServer, filled: Volume) -> None:
    """While a run waits for the Hub, no command line shows the token."""
    gate = hub.faults.gate("hold")
    hub.faults.add("gate", path="*/whoami-v2", gate="hold")
    running = filled.start(HF_TOKEN=TOKEN)
    assert gate.wait_reached(30.0)
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert Path(f"/proc/{running.pid}/cmdline").read_bytes().split(b"\0")[0] == os.fsencode(sys.executable)
    assert TOKEN not in listed
    gate.release()
    assert running.wait().code == 0
