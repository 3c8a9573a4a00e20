"""The real libraries of an app, given our environment: trackio resolves to the repository, `load_dataset` reads it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.program import TOKEN
from tests.support.shelf import Shelf, some_files

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.hub_server import HubServer
    from tests.support.volume import Volume

APP = """\
import json, os, sys, warnings
warnings.simplefilter("ignore")
from trackio.sqlite_storage import SQLiteStorage
scheduler = SQLiteStorage.get_scheduler()
SQLiteStorage.load_from_dataset()
names = ("TRACKIO_DATASET_REPO", "TRACKIO_DATASET_ID", "TRACKIO_BUCKET_ID")
print(json.dumps({
    "scheduler": type(scheduler).__name__,
    "repository": getattr(scheduler, "repo_id", None),
    "environment": {name: os.environ.get(name) for name in names},
}))
sys.stdout.flush()
os._exit(0)  # its scheduler would otherwise push once more
"""

READER = """\
import json, os
import datasets
rows = datasets.load_dataset(os.environ["TRACKIO_DATASET_REPO"], split="train")
print(json.dumps({"rows": rows.num_rows, "columns": rows.column_names}))
"""


@pytest.fixture
def filled(volume: Volume, shelf: Shelf, tmp_path: Path) -> Volume:
    """Return a volume with a small catalog, for a Space whose app uses trackio."""
    shelf.add("songs", shelf.file("songs.tar.gz", some_files("songs")))
    home = str(tmp_path / "home")
    volume.settings |= {"HF_TOKEN": TOKEN, "HF_HOME": f"{home}/hub", "TRACKIO_DIR": f"{home}/trackio", "SPACE_REPO_NAME": "app"}
    return volume


def app(volume: Volume, program: str, **changes: str | None) -> Any:
    """Provision, become the app, and give what it printed last."""
    outcome = volume.ready("--", sys.executable, "-c", program, **changes)
    return json.loads(outcome.out.splitlines()[-1])


def test_trackio_finds_the_repository(hub: HubServer, filled: Volume) -> None:
    """Its scheduler writes there, and it looks there for what earlier runs left."""
    found = app(filled, APP)
    assert (found["scheduler"], found["repository"]) == ("CommitScheduler", "ann/trackio-experiments")
    assert found["environment"]["TRACKIO_DATASET_REPO"] == "ann/trackio-experiments"
    assert hub.log.entries("/api/datasets/ann/trackio-experiments/tree/main")
    assert [repo_id for kind, repo_id in hub.hub.repos if kind == "dataset"] == ["ann/trackio-experiments"]


def test_a_bucket_of_the_users_is_left_alone(hub: HubServer, filled: Volume) -> None:
    """The variable stays as it was, and trackio prefers the bucket to the repository."""
    found = app(filled, APP, TRACKIO_BUCKET_ID="ann/my-bucket")
    assert found["environment"]["TRACKIO_BUCKET_ID"] == "ann/my-bucket"
    assert not hub.log.entries("/api/datasets/ann/trackio-experiments/tree/main")
    assert "TRACKIO_BUCKET_ID" not in (filled.root / "provision.env").read_text("utf-8")


def test_what_the_user_set_is_not_overridden(filled: Volume) -> None:
    """The app's environment keeps it."""
    found = app(filled, APP, TRACKIO_DATASET_ID="ann/elsewhere")
    assert found["repository"] == "ann/elsewhere"
    assert found["environment"]["TRACKIO_DATASET_REPO"] == "ann/trackio-experiments"


def test_load_dataset_reads_a_new_repository(filled: Volume) -> None:
    """The first layout is a data set from the first minute on."""
    found = app(filled, READER)
    assert found == {"rows": 1, "columns": ["project", "run", "step", "time", "metric", "value", "note"]}
