"""``DATASET_REPO_KIND=bucket``: a bucket for the app's logs in place of a repository, for each of the cases that it may be in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from provisioner.cancellation import Cancellation
from provisioner.errors import AccessDeniedError, NotFoundError, RemoteRefusedError
from provisioner.remote.hub.client import HubClient
from provisioner.remote.hub.repository.ensure import ensure_repository
from provisioner.remote.hub.repository.record import remembered, to_record
from provisioner.remote.hub.repository.values import RepositoryRequest, environment
from provisioner.remote.network import Network
from tests.support.fake_time import FakeTime
from tests.support.hub_model import Scope
from tests.support.program import TOKEN
from tests.support.shelf import some_files

if TYPE_CHECKING:
    from provisioner.remote.hub.repository.values import RepositoryOutcome
    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume

NAME = "trackio-experiments"
MAY_WRITE = frozenset({"repo.content.read", "repo.write"})


def request_of(hub: HubServer, token: str = TOKEN, **wishes: Any) -> RepositoryRequest:
    """Return the request for a bucket."""
    return RepositoryRequest(hub.endpoint, token, wishes.pop("name", NAME), kind="bucket", **wishes)


def ensure(hub: HubServer, token: str = TOKEN, *, make: bool = True, **wishes: Any) -> RepositoryOutcome:
    """Run the step."""
    with HubClient(hub.endpoint, token, Network(FakeTime().retry(), Cancellation())) as client:
        return ensure_repository(request_of(hub, token, **wishes), client, make=make)


def test_a_missing_bucket_is_made(hub: HubServer) -> None:
    """It is made as asked, empty, and the app is told; a second run finds it, and nothing is asked once it is remembered."""
    first = ensure(hub, private=True)
    assert (first.state, first.created, first.warnings) == ("ready", True, ())
    assert first.url == f"{hub.endpoint}/buckets/ann/{NAME}"
    assert environment(first) == {"TRACKIO_BUCKET_ID": f"ann/{NAME}"}
    bucket = hub.hub.repos["bucket", f"ann/{NAME}"]
    assert (bucket.private, dict(bucket.head.files)) == (True, {})
    second = ensure(hub, private=True)
    assert (second.state, second.created) == ("ready", False)
    assert "exists already" in second.note
    record = to_record(second, request_of(hub, private=True))
    assert remembered(record, request_of(hub, private=True)) is not None
    as_data_set = RepositoryRequest(hub.endpoint, TOKEN, NAME, private=True)
    assert remembered(record, as_data_set) is None
    assert "kind" not in to_record(second, as_data_set)


def test_what_a_token_may_not(hub: HubServer) -> None:
    """A read-only token, another's namespace and a fine-grained token for data sets alone are found out before the app is."""
    hub.hub.add_token("read-only", "ann", "read")
    hub.hub.add_token("fine", "ann", "fineGrained", scopes=(Scope("dataset", f"ann/{NAME}", MAY_WRITE),))
    hub.hub.add_token("fine-bucket", "ann", "fineGrained", scopes=(Scope("bucket", f"ann/{NAME}", MAY_WRITE),))
    for token, org in (("read-only", None), (TOKEN, "club"), ("fine", None), ("fine-bucket", None)):
        outcome = ensure(hub, token, org=org)
        assert isinstance(outcome.error, AccessDeniedError), token
        assert environment(outcome) == {}
    assert ("bucket", f"ann/{NAME}") not in hub.hub.repos
    ensure(hub)
    assert ensure(hub, "fine-bucket").state == "ready"


def test_missing_and_taken(hub: HubServer) -> None:
    """``repo check`` makes nothing; a bucket that the token may not see is not taken for one of the user's."""
    assert isinstance(ensure(hub, make=False).error, NotFoundError)
    hub.hub.add_user("ann", orgs={"lab": "contributor"})
    hub.hub.add_repo("lab/logs", kind="bucket", private=True)
    hub.hub.add_token("fine", "ann", "fineGrained", scopes=(Scope("org", "lab", frozenset({"repo.write"})),))
    hidden = hub.faults.add("status", path="/api/buckets/lab/logs", method="GET", status=404)
    assert isinstance(ensure(hub, "fine", name="lab/logs").error, RemoteRefusedError)
    assert hidden.fired == 2


def test_a_public_one_stays_public(hub: HubServer) -> None:
    """What exists is not changed; that it is not as asked is said."""
    ensure(hub)
    (warning,) = ensure(hub, private=True).warnings
    assert "is public, though a private one is asked for" in warning


@pytest.fixture
def filled(volume: Volume, shelf: Shelf) -> Volume:
    """Return a volume with a small catalog and a token."""
    shelf.add("songs", shelf.file("songs.tar.gz", some_files("songs")))
    volume.settings |= {"HF_TOKEN": TOKEN, "DATASET_REPO_KIND": "bucket"}
    return volume


def test_the_app_is_told(hub: HubServer, filled: Volume) -> None:
    """By its environment and ``provision.env``, and by nothing that names a data set; what the user set stays."""
    told = filled.ready("--", "sh", "-c", "env | grep TRACKIO")
    assert told.out == f"TRACKIO_BUCKET_ID=ann/{NAME}\n"
    assert "will not keep its data" not in told.err
    assert f"TRACKIO_BUCKET_ID=ann/{NAME}\n" in (filled.root / "provision.env").read_text("utf-8")
    assert "TRACKIO_DATASET" not in (filled.root / "provision.env").read_text("utf-8")
    assert [kind for kind, _ in hub.hub.repos] == ["bucket"]
    hub.log.clear()
    assert filled.ready("--", "sh", "-c", "env | grep TRACKIO").out == told.out
    assert hub.log.entries() == ()
    assert (
        filled.ready("--", "sh", "-c", "env | grep TRACKIO", TRACKIO_BUCKET_ID="ann/mine").out == "TRACKIO_BUCKET_ID=ann/mine\n"
    )
    created = json.loads(filled.ready("repo", "create", "other", "--json").out)
    assert created["environment"] == {"TRACKIO_BUCKET_ID": "ann/other"}
    assert filled.run("repo", "create", "x", "--template", "plain").code == 64


def test_the_default_says_what_trackio_says(filled: Volume) -> None:
    """A data-set repository is the default, with a line on what comes."""
    assert "DATASET_REPO_KIND=bucket" in filled.ready(DATASET_REPO_KIND=None).err
