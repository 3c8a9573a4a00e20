"""The user's data-set repository, against a Hub that speaks the real protocol: every row of the table of cases."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from provisioner.cancellation import Cancellation
from provisioner.engine.repository_template import load_template
from provisioner.errors import (
    AccessDeniedError,
    ConfigurationError,
    DeadlineError,
    ProvisionerError,
    RemoteRefusedError,
    RemoteUnavailableError,
)
from provisioner.remote.hub.client import HubClient
from provisioner.remote.hub.repository.ensure import ensure_repository
from provisioner.remote.hub.repository.record import fingerprint, remembered, to_record
from provisioner.remote.hub.repository.values import RepositoryOutcome, RepositoryRequest, environment
from provisioner.remote.network import Network
from tests.support.fake_time import FakeTime
from tests.support.hub_model import Scope
from tests.support.hub_server import HubServer

if TYPE_CHECKING:
    from collections.abc import Iterator

WRITE = "first-secret"
READ = "second-secret"
FINE = "third-secret"
MAY_WRITE = frozenset({"repo.content.read", "repo.write"})
NAME = "trackio-experiments"


@pytest.fixture
def server() -> Iterator[HubServer]:
    """Return a Hub with a user of several organizations and her tokens."""
    with HubServer() as server:
        orgs = {"lab": "write", "club": "read", "guild": "contributor"}
        server.hub.add_user("ann", orgs=orgs)
        server.hub.add_token(WRITE, "ann")
        server.hub.add_token(READ, "ann", "read")
        server.hub.add_user("bob")
        server.hub.add_token("bob-write", "bob")
        yield server


@pytest.fixture
def time() -> FakeTime:
    """Return time that does not pass by itself."""
    return FakeTime()


def ensure(server: HubServer, time: FakeTime, token: str | None = None, **wishes: Any) -> RepositoryOutcome:
    """Run the step for a user with ``token``."""
    token = token or WRITE
    wishes.setdefault("files", lambda: load_template("experiment-logs"))
    make = wishes.pop("make", True)
    request = RepositoryRequest(server.endpoint, token, wishes.pop("name", NAME), **wishes)
    with HubClient(server.endpoint, token, Network(time.retry(), Cancellation())) as hub:
        outcome = ensure_repository(request, hub, make=make)
    shown = json.dumps(outcome.as_record()) + repr(request) + repr(outcome) + repr(outcome.error)
    assert token not in shown
    return outcome


def error_of(outcome: RepositoryOutcome) -> ProvisionerError:
    """Return the error of a failed outcome."""
    assert outcome.state == "failed"
    assert outcome.error is not None
    return outcome.error


def files(server: HubServer, repo_id: str) -> dict[str, bytes]:
    """Return the files of a repository."""
    head = server.hub.repos["dataset", repo_id].head
    return {path: file.content for path, file in head.files.items() if isinstance(file.content, bytes)}


# -- valid token --


def test_a_missing_repository_is_made(server: HubServer, time: FakeTime) -> None:
    """It is made public with just the template, and the application is told its name."""
    outcome = ensure(server, time)
    assert outcome == RepositoryOutcome(
        "ready",
        f"ann/{NAME}",
        f"{server.endpoint}/datasets/ann/{NAME}",
        created=True,
        note=f"data-set repository {server.endpoint}/datasets/ann/{NAME}: made",
        export=True,
    )
    assert environment(outcome) == {"TRACKIO_DATASET_REPO": f"ann/{NAME}", "TRACKIO_DATASET_ID": f"ann/{NAME}"}
    assert not server.hub.repos["dataset", f"ann/{NAME}"].private
    assert sorted(files(server, f"ann/{NAME}")) == ["README.md", "data/example.jsonl"]


def test_the_card_says_what_it_is_for(server: HubServer, time: FakeTime) -> None:
    """The card's front matter is valid and has licence and tags; its text names repository and purpose."""
    ensure(server, time)
    _, front, text = files(server, f"ann/{NAME}")["README.md"].decode().split("---\n", 2)
    matter = yaml.safe_load(front)
    assert (matter["license"], "trackio" in matter["tags"]) == ("other", True)
    assert f"ann/{NAME}" in text
    assert "experiment" in text
    assert "TRACKIO_DATASET_REPO" in text


def test_an_existing_repository_is_reused_unchanged(server: HubServer, time: FakeTime) -> None:
    """Nothing is written to it, not even a missing card."""
    repo = server.hub.add_repo(f"ann/{NAME}", {"data.csv": b"1"})
    before = repo.head.commit
    outcome = ensure(server, time)
    assert (outcome.state, outcome.created, outcome.warnings) == ("ready", False, ())
    assert "exists already" in outcome.note
    assert (repo.head.commit, len(repo.revisions)) == (before, 2)
    assert not server.log.entries("*/commit/*")
    assert not server.log.entries("*/repos/create")


def test_a_second_run_reuses_what_the_first_made(server: HubServer, time: FakeTime) -> None:
    """A second run changes nothing, even if nothing was remembered."""
    assert ensure(server, time).created
    card = files(server, f"ann/{NAME}")
    second = ensure(server, time)
    assert (second.state, second.created, files(server, f"ann/{NAME}")) == ("ready", False, card)


def test_private(server: HubServer, time: FakeTime) -> None:
    """A private repository is made private."""
    assert ensure(server, time, private=True).state == "ready"
    assert server.hub.repos["dataset", f"ann/{NAME}"].private


def test_private_was_wanted_but_a_public_one_exists(server: HubServer, time: FakeTime) -> None:
    """It is not changed, and a warning says so."""
    server.hub.add_repo(f"ann/{NAME}")
    outcome = ensure(server, time, private=True)
    assert outcome.state == "ready"
    assert "is public" in outcome.warnings[0]
    assert not server.hub.repos["dataset", f"ann/{NAME}"].private


@pytest.mark.parametrize("org", ["lab", "guild"])
def test_an_organizations_repository(server: HubServer, time: FakeTime, org: str) -> None:
    """A plain name is made under the configured organization; contributors may make their own repositories."""
    outcome = ensure(server, time, org=org)
    assert (outcome.state, outcome.repo_id, outcome.created) == ("ready", f"{org}/{NAME}", True)


def test_a_full_name_is_taken_as_given(server: HubServer, time: FakeTime) -> None:
    """No user or organization is put before a full name."""
    assert ensure(server, time, name="lab/logs", org="guild").repo_id == "lab/logs"


def test_another_run_was_faster(server: HubServer, time: FakeTime) -> None:
    """A repository that another run makes after it was looked for is reused, and its card is kept."""
    fault = server.faults.add("status", path=f"*/datasets/ann/{NAME}", status=404, first=1)
    server.hub.add_repo(f"ann/{NAME}", {"README.md": b"theirs"})
    outcome = ensure(server, time)
    assert (outcome.state, outcome.created, fault.fired) == ("ready", False, 1)
    assert files(server, f"ann/{NAME}")["README.md"] == b"theirs"


def test_the_answer_to_our_own_request_got_lost(server: HubServer, time: FakeTime) -> None:
    """A conflict after a lost response to our own request counts as success."""
    fault = server.faults.add("reset", path="*/repos/create", after=0, first=1)
    outcome = ensure(server, time)
    assert (outcome.state, outcome.created, fault.fired) == ("ready", True, 1)
    assert "README.md" in files(server, f"ann/{NAME}")
    assert [entry.status for entry in server.log.entries("*/repos/create")] == [200, 409]


def test_a_card_that_cannot_be_written_is_a_warning(server: HubServer, time: FakeTime) -> None:
    """The repository can be used, and a warning says that its card is missing."""
    fault = server.faults.add("status", path="*/commit/*", status=500)
    outcome = ensure(server, time)
    assert (outcome.state, outcome.created, fault.fired) == ("ready", True, 6)
    assert "card could not be written" in outcome.warnings[0]


# -- invalid token --


def test_an_invalid_token(server: HubServer, time: FakeTime) -> None:
    """Exit code 77, the reason, and how to get a valid token; nothing is exported."""
    outcome = ensure(server, time, "no-such-token")
    error = error_of(outcome)
    assert (type(error), error.exit_code) == (AccessDeniedError, 77)
    assert "HF_TOKEN" in error.message
    assert f"{server.endpoint}/settings/tokens" in error.hint
    assert environment(outcome) == {}
    assert len(server.log.entries()) == 1


# -- a token without write permission --


@pytest.mark.parametrize("exists", [True, False])
def test_a_read_only_token(server: HubServer, time: FakeTime, exists: bool) -> None:
    """It is noticed now, for a new and for an existing repository; the error names the permission and where to change it."""
    if exists:
        server.hub.add_repo(f"ann/{NAME}")
    outcome = ensure(server, time, READ)
    error = error_of(outcome)
    assert (type(error), error.exit_code) == (AccessDeniedError, 77)
    assert "read-only" in error.message
    assert f"ann/{NAME}" in error.message
    assert "Write" in error.hint
    assert f"{server.endpoint}/settings/tokens" in error.hint
    assert (outcome.repo_id, environment(outcome)) == (f"ann/{NAME}", {})
    assert not server.log.entries("*/repos/create")


@pytest.mark.parametrize(
    ("scope", "exists", "ready"),
    [
        (Scope("user", "ann", MAY_WRITE), False, True),
        (Scope("user", "ann", MAY_WRITE), True, True),
        (Scope("user", "ann"), False, False),
        (Scope("user", "ann"), True, False),
        (Scope("org", "lab", MAY_WRITE), False, False),
        (Scope("dataset", f"ann/{NAME}", MAY_WRITE), True, True),
        (Scope("dataset", f"ann/{NAME}"), True, False),
        (Scope("dataset", "ann/other", MAY_WRITE), True, False),
        (Scope("model", f"ann/{NAME}", MAY_WRITE), True, False),
    ],
)
def test_fine_grained_tokens(
    server: HubServer,
    time: FakeTime,
    scope: Scope,
    exists: bool,
    ready: bool,
) -> None:
    """The permission repo.write for the owner or for the very data set decides."""
    server.hub.add_token(FINE, "ann", "fineGrained", scopes=(scope,))
    if exists:
        server.hub.add_repo(f"ann/{NAME}")
    outcome = ensure(server, time, FINE)
    assert (outcome.state == "ready") is ready
    if not ready:
        assert "repo.write" in error_of(outcome).message
        assert "under ann" in error_of(outcome).hint


def test_a_fine_grained_token_that_may_write_but_not_make(server: HubServer, time: FakeTime) -> None:
    """The message says which of the two permissions is missing."""
    server.hub.add_token(FINE, "ann", "fineGrained", scopes=(Scope("dataset", f"ann/{NAME}", MAY_WRITE),))
    error = error_of(ensure(server, time, FINE))
    assert (error.exit_code, "does not exist" in error.message) == (77, True)


def test_a_fine_grained_token_in_an_organization(server: HubServer, time: FakeTime) -> None:
    """The organization's own scope decides."""
    server.hub.add_token(FINE, "ann", "fineGrained", scopes=(Scope("org", "lab", MAY_WRITE),))
    assert ensure(server, time, FINE, org="lab").state == "ready"
    assert error_of(ensure(server, time, FINE, org="guild")).exit_code == 77


def test_a_role_that_only_reads(server: HubServer, time: FakeTime) -> None:
    """A write token of a user with the role "read" in the organization is refused, and the role is named."""
    error = error_of(ensure(server, time, org="club"))
    assert (error.exit_code, "role 'read'" in error.message, "administrator" in error.hint) == (77, True, True)


def test_somebody_elses_repository(server: HubServer, time: FakeTime) -> None:
    """A public repository of somebody else can be seen, but not written."""
    server.hub.add_repo("bob/logs")
    error = error_of(ensure(server, time, name="bob/logs"))
    assert (error.exit_code, "not a member of bob" in error.message) == (77, True)


def test_the_hub_has_the_last_word(server: HubServer, time: FakeTime) -> None:
    """If the role allows writing but the Hub does not, the Hub's answer decides."""
    server.hub.add_repo("guild/logs", creator="bob")
    error = error_of(ensure(server, time, name="guild/logs"))
    assert (error.exit_code, len(server.log.entries("*/auth-check/write"))) == (77, 1)


def test_a_hub_that_does_not_say_who_may_write(server: HubServer, time: FakeTime) -> None:
    """For a Hub without that call the token's own role decides."""
    server.hub.add_repo(f"ann/{NAME}")
    fault = server.faults.add("status", path="*/auth-check/write", status=404)
    outcome = ensure(server, time)
    assert (outcome.state, outcome.warnings, fault.fired) == ("ready", (), 1)


def test_a_login_that_says_nothing_of_its_permissions(server: HubServer, time: FakeTime) -> None:
    """If neither the login nor the Hub says it, the repository is used with a warning."""
    server.hub.add_repo(f"ann/{NAME}")
    server.faults.add("status", path="*/whoami-v2", status=200, body='{"type": "user", "name": "ann", "auth": {"type": "oauth"}}')
    assert ensure(server, time).warnings == ()
    server.faults.add("status", path="*/auth-check/write", status=404)
    assert "could not be found out" in ensure(server, time).warnings[0]


# -- network trouble --


def test_trouble_that_passes_is_waited_out(server: HubServer, time: FakeTime) -> None:
    """Each request is retried after the wait that the Hub asks for."""
    faults = [
        server.faults.add("status", path="*/whoami-v2", status=429, headers={"Retry-After": "30"}, first=1),
        server.faults.add("status", path=f"*/datasets/ann/{NAME}", status=502, first=1),
        server.faults.add("status", path="*/repos/create", status=503, first=1),
    ]
    assert ensure(server, time).state == "ready"
    assert [fault.fired for fault in faults] == [1, 1, 1]
    assert time.waits == [30.5, 0.75, 0.75]


@pytest.mark.parametrize(
    ("wishes", "repo_id"),
    [
        ({"name": "lab/logs"}, "lab/logs"),
        ({"org": "lab"}, f"lab/{NAME}"),
        ({"user_hints": ("ann",)}, f"ann/{NAME}"),
        ({"user_hints": ("", "ann")}, f"ann/{NAME}"),
        ({"user_hints": ("not a name", "ann")}, f"ann/{NAME}"),
        ({"org": "lab", "user_hints": ("ann",)}, f"lab/{NAME}"),
        ({}, None),
    ],
)
def test_trouble_that_stays(server: HubServer, time: FakeTime, wishes: dict[str, Any], repo_id: str | None) -> None:
    """After bounded attempts the outcome has exit code 75; a name that is known without the Hub is still exported."""
    fault = server.faults.add("status", path="*/whoami-v2", status=503)
    outcome = ensure(server, time, **wishes)
    error = error_of(outcome)
    assert (type(error), error.exit_code, fault.fired) == (RemoteUnavailableError, 75, 6)
    assert outcome.repo_id == repo_id
    assert environment(outcome).get("TRACKIO_DATASET_REPO") == repo_id


def test_trouble_after_the_name_is_known(server: HubServer, time: FakeTime) -> None:
    """The user's name from `whoami` is preferred to the hints."""
    fault = server.faults.add("status", path="*/repos/create", status=503)
    outcome = ensure(server, time, user_hints=("someone",))
    assert (outcome.state, fault.fired) == ("failed", 6)
    assert environment(outcome)["TRACKIO_DATASET_REPO"] == f"ann/{NAME}"


def test_nobody_listens(time: FakeTime) -> None:
    """A refused connection is a network error."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
    request = RepositoryRequest(endpoint, WRITE, "ann/logs")
    with HubClient(endpoint, WRITE, Network(time.retry(), Cancellation())) as hub:
        outcome = ensure_repository(request, hub)
    assert (error_of(outcome).exit_code, environment(outcome)["TRACKIO_DATASET_REPO"]) == (75, "ann/logs")


def test_a_request_to_stop_is_no_outcome(server: HubServer, time: FakeTime) -> None:
    """A request to stop ends the run; it is not a failure of the repository."""
    stop = Cancellation()
    stop.request(DeadlineError("the deadline has passed"))
    request = RepositoryRequest(server.endpoint, WRITE, NAME)
    with HubClient(server.endpoint, WRITE, Network(time.retry(), stop)) as hub, pytest.raises(DeadlineError):
        ensure_repository(request, hub)


# -- refusals --


def test_payment_required(server: HubServer, time: FakeTime) -> None:
    """402: the hint says whom to pay or what to change."""
    server.hub.unpaid.add("ann")
    error = error_of(ensure(server, time))
    assert (type(error), error.exit_code, "billing" in error.hint) == (RemoteRefusedError, 69, True)
    assert "upgrade your plan" in error.message


def test_the_hub_forbids_making_it(server: HubServer, time: FakeTime) -> None:
    """403 on creation: the missing permission is named, whatever the role is."""
    fault = server.faults.add("status", path="*/repos/create", status=403, body='{"error": "no rights"}')
    error = error_of(ensure(server, time))
    assert (error.exit_code, "repo.write" in error.hint, "no rights" in error.message, fault.fired) == (77, True, True, 1)


def test_the_name_is_taken_by_another_kind(server: HubServer, time: FakeTime) -> None:
    """409 without a data set of that name: another name is needed."""
    fault = server.faults.add(
        "status", path="*/repos/create", status=409, body='{"error": "You already created this model repo"}'
    )
    outcome = ensure(server, time)
    error = error_of(outcome)
    assert (type(error), "another kind" in error.message, "DATASET_REPO" in error.hint) == (RemoteRefusedError, True, True)
    assert (fault.fired, environment(outcome)) == (1, {})


def test_a_disabled_repository(server: HubServer, time: FakeTime) -> None:
    """A repository that the Hub has disabled: exit code 69."""
    server.hub.add_repo(f"ann/{NAME}", disabled=True)
    assert error_of(ensure(server, time)).exit_code == 69


@pytest.mark.parametrize("name", ["a/b/c", "a b", "-x", "x.", "a--b", "a..b", "x.git", "/x", "x/", "ann/", "ü", "x" * 97, "a\nb"])
def test_invalid_names(server: HubServer, time: FakeTime, name: str) -> None:
    """They are wrong settings, found without a request."""
    error = error_of(ensure(server, time, name=name))
    assert (type(error), error.exit_code) == (ConfigurationError, 78)
    assert not server.log.entries()


def test_an_invalid_organization(server: HubServer, time: FakeTime) -> None:
    """The message names its setting."""
    assert "DATASET_REPO_ORG" in error_of(ensure(server, time, org="no org")).message


def test_a_hub_that_gives_impossible_names(server: HubServer, time: FakeTime) -> None:
    """Names that go to files and variables are checked, even if the Hub returns them."""
    server.faults.add("status", path="*/whoami-v2", status=200, body='{"name": "ann; rm -rf"}')
    assert environment(ensure(server, time)) == {}


# -- skipped --


def test_without_a_token_the_step_is_skipped(server: HubServer) -> None:
    """A note says so, and no request is sent."""
    with HubClient(server.endpoint, None, Network(FakeTime().retry(), Cancellation())) as hub:
        outcome = ensure_repository(RepositoryRequest(server.endpoint, None, NAME, asked=True), hub)
    assert (outcome.state, outcome.error, "HF_TOKEN" in outcome.note) == ("skipped", None, True)
    assert environment(outcome) == {}
    assert not server.log.entries()


def test_turned_off(server: HubServer, time: FakeTime) -> None:
    """Without a name the step is skipped."""
    outcome = ensure(server, time, name=None)
    assert (outcome.state, environment(outcome)) == ("skipped", {})


def test_offline(server: HubServer, time: FakeTime) -> None:
    """No request is sent; a name that is known without the Hub is exported."""
    outcome = ensure(server, time, offline=True, org="lab")
    assert (outcome.state, environment(outcome)["TRACKIO_DATASET_REPO"]) == ("skipped", f"lab/{NAME}")
    assert not server.log.entries()


# -- remembered --


def request_of(server: HubServer) -> RepositoryRequest:
    """Return the usual request."""
    return RepositoryRequest(server.endpoint, WRITE, NAME)


def test_a_success_is_remembered(server: HubServer, time: FakeTime) -> None:
    """The record can be written as JSON, has no token, and gives the same outcome without a request."""
    outcome = ensure(server, time)
    text = json.dumps(to_record(outcome, request_of(server)))
    assert WRITE not in text
    again = remembered(json.loads(text), request_of(server))
    assert again is not None
    assert again.as_record() == outcome.as_record()
    assert environment(again) == environment(outcome)


@pytest.mark.parametrize(
    "change",
    [
        {"token": READ},
        {"token": None},
        {"name": "other"},
        {"name": None},
        {"endpoint": "https://hub.example"},
        {"org": "lab"},
        {"private": True},
    ],
)
def test_another_question_is_asked_anew(server: HubServer, time: FakeTime, change: dict[str, Any]) -> None:
    """With another endpoint, name or token the record is not used."""
    record = to_record(ensure(server, time), request_of(server))
    assert remembered(record, replace(request_of(server), **change)) is None


def test_what_does_not_matter_does_not_ask_anew(server: HubServer, time: FakeTime) -> None:
    """A slash at the end, hints, offline, and whether the user named it make no difference."""
    record = to_record(ensure(server, time), request_of(server))
    same = replace(request_of(server), endpoint=server.endpoint + "/", asked=True, user_hints=("x",), offline=True)
    assert remembered(record, same) is not None


@pytest.mark.parametrize("change", [{"repo_id": None}, {"repo_id": "x y"}, {"repo_id": 7}, {"version": 2}, {"token": None}])
def test_a_damaged_record_is_not_believed(server: HubServer, time: FakeTime, change: dict[str, Any]) -> None:
    """A record of another version, or one that is not well formed, is ignored."""
    record = to_record(ensure(server, time), request_of(server))
    assert remembered({**record, **change}, request_of(server)) is None
    assert remembered({}, request_of(server)) is None


def test_a_failure_is_not_remembered(server: HubServer, time: FakeTime) -> None:
    """After a failure the Hub is asked again."""
    outcome = ensure(server, time, READ)
    with pytest.raises(ValueError, match="failed"):
        to_record(outcome, request_of(server))


def test_fingerprint() -> None:
    """It is short, stable, and different for another token."""
    assert fingerprint("a") == fingerprint("a") != fingerprint("b")
    assert len(fingerprint("a")) == 12
