"""Repositories that the config file describes: `provision` creates them once, and never gives an existing one more readers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from provisioner.cancellation import Cancellation
from provisioner.engine.repository_template import load_template
from provisioner.errors import ConfigurationError
from provisioner.remote.hub.client import HubClient
from provisioner.remote.hub.repository.ensure import ensure_repository
from provisioner.remote.hub.repository.values import RepositoryRequest, environment
from provisioner.remote.network import Network
from provisioner.settings.reader import read_settings
from provisioner.settings.repositories import DeclaredRepository
from tests.support.fake_time import FakeTime
from tests.support.program import TOKEN
from tests.support.shelf import Shelf, some_files

if TYPE_CHECKING:
    from tests.support.hub_server import HubServer
    from tests.support.volume import Volume

CONFIG = """\
repositories:
  - name: logs
    visibility: private
  - name: corpus
    organization: lab
    visibility: public
    template: plain
    gated: manual
"""


@pytest.fixture
def described(hub: HubServer, volume: Volume, shelf: Shelf, tmp_path: Path) -> Volume:
    """Return a volume whose config file describes two repositories."""
    hub.hub.add_user("ann", orgs={"lab": "write", "club": "read"})
    shelf.add("songs", shelf.file("songs.tar.gz", some_files("songs")))
    (tmp_path / "config.yaml").write_text(CONFIG, "utf-8")
    volume.settings |= {"CONFIG_PATH": str(tmp_path / "config.yaml"), "HF_TOKEN": TOKEN}
    return volume


def exported(volume: Volume) -> dict[str, str]:
    """Return the variables that are exported to the app."""
    return dict(line.split("=", 1) for line in (volume.root / "provision.env").read_text("utf-8").splitlines())


def test_they_are_made_as_described(hub: HubServer, described: Volume) -> None:
    """Each is created with its visibility, template and gate; the first is the app's, and the default one is not created."""
    described.ready()
    logs, corpus = hub.hub.repos["dataset", "ann/logs"], hub.hub.repos["dataset", "lab/corpus"]
    assert (logs.private, logs.gated, corpus.private, corpus.gated) == (True, None, False, "manual")
    assert (sorted(logs.head.files), sorted(corpus.head.files)) == (["README.md", "data/example.jsonl"], ["README.md"])
    assert ("dataset", "ann/trackio-experiments") not in hub.hub.repos
    assert exported(described)["TRACKIO_DATASET_REPO"] == "ann/logs"
    assert described.status["dataset_repo"]["repo_id"] == "ann/logs"
    assert [(one["repo_id"], one["state"], one["created"]) for one in described.status["other_repos"]] == [
        ("lab/corpus", "ready", True)
    ]
    assert "Other repository: lab/corpus (ready)" in described.ready("status").out


def test_a_second_run_asks_nobody(hub: HubServer, described: Volume) -> None:
    """All are remembered; after a change of one entry the Hub is asked for that one alone."""
    described.ready()
    hub.log.clear()
    before = described.snapshot()
    assert "Nothing to do" in described.ready().err
    assert not hub.log.entries()
    assert described.snapshot() == before
    config = described.settings["CONFIG_PATH"]
    with open(config, "a", encoding="utf-8") as stream:  # noqa: PTH123 - a text to add to
        stream.write("  - {name: third, template: plain}\n")
    described.ready()
    assert [entry.path for entry in hub.log.entries("/api/datasets/*")][:1] == ["/api/datasets/ann/third"]
    assert not hub.log.entries("*/lab/corpus*")
    hub.log.clear()
    described.ready()
    assert not hub.log.entries()


def test_whoami_is_asked_once(hub: HubServer, described: Volume) -> None:
    """`whoami`, which the Hub limits, is asked once, however many repositories there are."""
    described.ready()
    assert len(hub.log.entries("*/whoami-v2")) == 1


def test_the_one_of_the_setting_comes_first(hub: HubServer, described: Volume) -> None:
    """DATASET_REPO names the app's repository; an entry that describes the same one is used for it."""
    described.ready(DATASET_REPO="lab/corpus")
    assert exported(described)["TRACKIO_DATASET_REPO"] == "lab/corpus"
    assert hub.hub.repos["dataset", "lab/corpus"].gated == "manual"
    assert [one["repo_id"] for one in described.status["other_repos"]] == ["ann/logs"]


def test_one_that_cannot_be_had_fails_the_run(hub: HubServer, described: Volume, tmp_path: Path) -> None:
    """One that cannot be created fails the run, with file and line in the message; data and the others are there."""
    (tmp_path / "config.yaml").write_text(CONFIG.replace("organization: lab", "organization: club"), "utf-8")
    outcome = described.run()
    assert (outcome.code, described.published) == (77, ["songs"])
    assert ("dataset", "ann/logs") in hub.hub.repos
    assert described.status["other_repos"][0]["state"] == "failed"
    # The next run asks again for the failed one alone.
    hub.log.clear()
    assert described.run().code == 77
    assert not hub.log.entries("*/ann/logs*")


def test_repo_create_makes_all_of_them(hub: HubServer, described: Volume) -> None:
    """`repo create` without a name creates what a run would."""
    made = json.loads(described.ready("repo", "create", "--json").out)
    assert [one["repo_id"] for one in made["repositories"]] == ["ann/logs", "lab/corpus"]
    assert hub.hub.repos["dataset", "lab/corpus"].gated == "manual"


# --- what exists already -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "warned"),
    [
        (({}, {"private": True}, (True, None)), False),
        (({}, {"gate": "manual"}, (False, "manual")), False),
        (({"gated": "auto"}, {"gate": "manual", "private": True}, (True, "manual")), False),
        (({"private": True}, {"private": False}, (True, None)), True),
        (({"gated": "manual"}, {"gate": "none"}, (False, "manual")), True),
        (({"gated": "manual"}, {"gate": "auto"}, (False, "manual")), True),
        (({"private": True, "gated": "manual"}, {}, (True, "manual")), False),
    ],
)
@pytest.mark.parametrize("make", [True, False])
def test_what_exists_is_closed_but_never_opened(hub: HubServer, change: tuple[Any, Any, Any], warned: bool, make: bool) -> None:
    """An existing repository is restricted as described; more readers are only a warning; a check changes nothing."""
    there, wanted, after = change
    repo = hub.hub.add_repo("ann/logs", {"README.md": b"mine"}, **there)
    before = (repo.private, repo.gated, repo.head.commit)
    request = RepositoryRequest(
        hub.endpoint,
        TOKEN,
        "logs",
        declared=True,
        files=lambda: load_template("plain"),
        called="config.yaml:2",
        **{"private": None, **wanted},
    )
    with HubClient(hub.endpoint, TOKEN, Network(FakeTime().retry(), Cancellation())) as client:
        outcome = ensure_repository(request, client, make=make)
    assert outcome.state == "ready"
    assert environment(outcome)["TRACKIO_DATASET_REPO"] == "ann/logs"
    assert repo.head.commit == before[2]
    if make:
        assert (repo.private, repo.gated) == after
        assert bool(outcome.warnings) is warned
        assert all("/settings" in warning for warning in outcome.warnings)
    else:
        assert (repo.private, repo.gated) == before[:2]
        assert bool(outcome.warnings) is (warned or after != before[:2])


# --- the section -------------------------------------------------------------------------------------------------------------


def read(text: str) -> tuple[DeclaredRepository, ...]:
    """Read a config file."""
    root = Path("/srv")
    return read_settings({}, {}, read_text=lambda _: text, home=root, app_root=root).repositories


def test_all_keys() -> None:
    """Every key of an entry may be left out, except for the name."""
    first = "{name: a, organization: lab, visibility: private, template: ./mine, gated: true}"
    full = f"repositories:\n- {first}\n- {{name: b/c, gated: no}}\n"
    assert read(full) == (
        DeclaredRepository("a", "lab", True, "./mine", "auto", "/srv/config/config.yaml:2: repositories[0]"),
        DeclaredRepository("b/c", None, None, "experiment-logs", "none", "/srv/config/config.yaml:3: repositories[1]"),
    )
    assert read("repositories:\n") == read("repositories: []\n") == read("") == ()


@pytest.mark.parametrize(
    ("text", "line", "problem", "hint"),
    [
        ("repositories: a", 1, "expected a list, found text", ""),
        ("repositories:\n- a", 2, "repositories[0]: expected a mapping", ""),
        ("repositories:\n- {}", 2, "the key 'name' is missing", ""),
        ("repositories:\n- name: a\n  organisation: lab", 3, "unknown key 'organisation'", "'organization'"),
        ("repositories:\n- name: a b", 2, "'a b' is not the name of a repository", "NAME"),
        ("repositories:\n- name: none", 2, "cannot be turned off", "Remove"),
        ("repositories:\n- name: a\n  visibility: privat", 3, "'privat' is not one of public, private", "'private'"),
        ("repositories:\n- name: a\n  gated: maybe", 3, "'maybe' is not one of auto, manual, none", ""),
        ("repositories:\n- name: a/b\n  organization: c", 3, "already names its owner", ""),
        ("repositories:\n- name: a\n- name: A", 3, "a second time", "line 2"),
        ("repositories:\n- name: a\n  template: ''", 3, "no template", ""),
        ("repositores:\n- name: a", 1, "unknown key 'repositores'", "'repositories'"),
    ],
)
def test_mistakes_are_named(text: str, line: int, problem: str, hint: str) -> None:
    """A mistake is reported with file, line and key, and with what was probably meant."""
    with pytest.raises(ConfigurationError) as caught:
        read(text)
    assert caught.value.message.startswith(f"/srv/config/config.yaml:{line}: ")
    assert problem in caught.value.message
    assert hint in caught.value.hint
