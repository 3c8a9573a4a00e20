"""``repo create``, ``repo list`` and ``repo check``: processes of the program against a Hub that speaks the real protocol."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.hub_model import Scope
from tests.support.program import CHECKOUT, TOKEN, Outcome

if TYPE_CHECKING:
    from tests.support.hub_server import HubServer
    from tests.support.volume import Volume

READ = "hf_" + "UmVhZE9ubHlUb2tlbkZvclRlc3RzT25s"
FINE = "hf_" + "RmluZUdyYWluZWRUb2tlbkZvclRlc3Rz"
TYPED = "hf_" + "VHlwZWRJbkJ5SGFuZEF0VGhlUHJvbXB0"
"""One that users put on command lines; the others are looked for there while tests run."""
NAME = "trackio-experiments"


@pytest.fixture(autouse=True)
def accounts(hub: HubServer) -> None:
    """Give ann two organizations and a read-only token."""
    hub.hub.add_user("ann", orgs={"lab": "write", "club": "read"})
    hub.hub.add_token(READ, "ann", "read")


def repo(volume: Volume, *arguments: str, stdin: str | None = "", **changes: str | None) -> Outcome:
    """Run ``repo`` with ``stdin`` piped in; no token may be in its output."""
    done = subprocess.run(
        [sys.executable, "-m", "provisioner", "repo", *arguments],
        env=volume.environ(**changes),
        cwd=CHECKOUT,
        input=stdin,
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )
    for token in (TOKEN, READ, FINE, TYPED):
        assert token not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return Outcome(done.returncode, done.stdout, done.stderr)


def document(outcome: Outcome) -> Any:
    """Return the JSON document."""
    return json.loads(outcome.out)


# --- where the token comes from ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["HF_TOKEN", "HF_TOKEN_FILE", "login", "pipe", "--token-stdin", "argument"])
def test_a_token_from_anywhere(hub: HubServer, volume: Volume, tmp_path: Path, way: str) -> None:
    """A token from anywhere creates the same repository; only one on the command line causes a warning."""
    arguments: list[str] = ["create"]
    stdin, changes = "", dict[str, str | None]()
    if way == "HF_TOKEN":
        changes["HF_TOKEN"] = TOKEN
    elif way == "HF_TOKEN_FILE":
        (tmp_path / "secret").write_text(TOKEN + "\n", "utf-8")
        changes["HF_TOKEN_FILE"] = str(tmp_path / "secret")
    elif way == "login":
        login = Path(volume.settings["HOME"], ".cache", "huggingface", "token")
        login.parent.mkdir(parents=True)
        login.write_text(TOKEN, "utf-8")
    elif way == "argument":
        hub.hub.add_token(TYPED, "ann")
        arguments += [TYPED, NAME]
    else:
        stdin = f"{TOKEN}\n"
        changes["HF_TOKEN"] = READ if way == "--token-stdin" else None
        arguments += [way] if way == "--token-stdin" else []
    outcome = repo(volume, *arguments, stdin=stdin, **changes)
    assert outcome.code == 0, outcome.err
    assert outcome.out == f"data-set repository {hub.endpoint}/datasets/ann/{NAME}: made\n"
    assert ("dataset", f"ann/{NAME}") in hub.hub.repos
    assert ("other users of this machine" in outcome.err) == (way == "argument")
    assert not volume.root.exists()


def test_no_token_at_all(hub: HubServer, volume: Volume) -> None:
    """Without a token no request is made, and every way to give one is named."""
    outcome = repo(volume, "create")
    assert outcome.code == 77
    for way in ("HF_TOKEN", "HF_TOKEN_FILE", "hf auth login", "--token-stdin", "/settings/tokens"):
        assert way in outcome.err
    assert not hub.log.entries()


@pytest.mark.parametrize(("stdin", "code"), [("two words\n", 78), ("\x00\x01", 78), ("hf_wrong\n", 77), ("\n", 77)])
def test_what_is_no_token(volume: Volume, stdin: str, code: int) -> None:
    """A text that is no token is refused without being shown."""
    outcome = repo(volume, "create", "--token-stdin", stdin=stdin)
    assert outcome.code == code
    assert "two words" not in outcome.err
    assert "hf_wrong" not in outcome.err


@pytest.mark.parametrize("arguments", [(TYPED, READ), (TYPED, "--token-stdin"), (TYPED, "--bogus"), (TYPED, "--org", "a b")])
def test_a_token_on_a_wrong_command_line_is_not_repeated(volume: Volume, arguments: tuple[str, ...]) -> None:
    """A token on a wrong command line is not in the message."""
    assert repo(volume, "create", *arguments).code == 64


def test_the_token_is_in_no_process_list_and_no_file(hub: HubServer, volume: Volume) -> None:
    """While the process waits for the Hub, no command line on the machine and no file in HOME has the token."""
    gate = hub.faults.gate("hold")
    hub.faults.add("gate", path="*/whoami-v2", gate="hold")
    running = volume.start("repo", "create", HF_TOKEN=TOKEN)
    assert gate.wait_reached(30.0)
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert TOKEN not in listed
    assert "repo create" in listed
    gate.release()
    assert running.wait().code == 0
    assert [
        path for path in Path(volume.settings["HOME"]).rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()
    ] == []


# --- create ------------------------------------------------------------------------------------------------------------------


def test_create_several(hub: HubServer, volume: Volume) -> None:
    """Several repositories are created one after the other, with --org and --private; a second time all are reused."""
    arguments = ("create", "one", "--private", "two", "--org", "lab", "ann/three", "--json")
    first = document(repo(volume, *arguments, HF_TOKEN=TOKEN))
    assert [(one["repo_id"], one["created"]) for one in first["repositories"]] == [
        ("lab/one", True),
        ("lab/two", True),
        ("ann/three", True),
    ]
    assert first["environment"] == {"TRACKIO_DATASET_REPO": "lab/one", "TRACKIO_DATASET_ID": "lab/one"}
    assert all(hub.hub.repos["dataset", name].private for name in ("lab/one", "lab/two", "ann/three"))
    before = {key: found.head.commit for key, found in hub.hub.repos.items()}
    second = document(repo(volume, *arguments, HF_TOKEN=TOKEN))
    assert [one["created"] for one in second["repositories"]] == [False, False, False]
    assert {key: found.head.commit for key, found in hub.hub.repos.items()} == before


def test_one_failure_does_not_stop_the_others(hub: HubServer, volume: Volume) -> None:
    """One repository that fails does not stop the others; the exit code is that of the first failure."""
    outcome = repo(volume, "create", "club/one", "a--b", "good", "--json", HF_TOKEN=TOKEN)
    assert outcome.code == 77
    assert [one["state"] for one in document(outcome)["repositories"]] == ["failed", "failed", "ready"]
    assert document(outcome)["environment"] == {}
    assert ("dataset", "ann/good") in hub.hub.repos


def test_public_and_private_exclude_each_other(volume: Volume) -> None:
    """--public and --private together are a wrong command line."""
    assert repo(volume, "create", "--public", "--private", HF_TOKEN=TOKEN).code == 64


@pytest.mark.parametrize("exists", [True, False])
def test_a_read_only_token(hub: HubServer, volume: Volume, exists: bool) -> None:
    """A read-only token is refused, whether the repository exists or not, with the page to change its permissions."""
    if exists:
        hub.hub.add_repo(f"ann/{NAME}")
    outcome = repo(volume, "create", HF_TOKEN=READ)
    assert outcome.code == 77
    assert "read-only" in outcome.err
    assert f"{hub.endpoint}/settings/tokens" in outcome.err


@pytest.mark.parametrize(("permissions", "code"), [({"repo.content.read"}, 77), ({"repo.content.read", "repo.write"}, 0)])
def test_a_fine_grained_token(hub: HubServer, volume: Volume, permissions: set[str], code: int) -> None:
    """A fine-grained token needs repo.write."""
    hub.hub.add_token(FINE, "ann", "fineGrained", scopes=(Scope("user", "ann", frozenset(permissions)),))
    outcome = repo(volume, "create", HF_TOKEN=FINE)
    assert outcome.code == code
    assert ("repo.write" in outcome.err) == (code != 0)


@pytest.mark.parametrize(
    ("path", "status", "expected"),
    [
        ("*/whoami-v2", 401, (77, "mistyped, revoked or expired")),
        ("*/repos/create", 402, (69, "billing")),
        ("*/repos/create", 403, (77, "repo.write")),
        ("*/repos/create", 409, (69, "another kind")),
    ],
)
def test_refusals(hub: HubServer, volume: Volume, path: str, status: int, expected: tuple[int, str]) -> None:
    """Each refusal of the Hub has its exit code, and the message says what to do."""
    hub.faults.add("status", path=path, status=status)
    outcome = repo(volume, "create", HF_TOKEN=TOKEN)
    assert (outcome.code, outcome.out) == (expected[0], "")
    assert expected[1] in outcome.err


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_trouble_that_passes(hub: HubServer, volume: Volume, status: int) -> None:
    """A request that fails for a moment is retried when the Hub allows it."""
    fault = hub.faults.add("status", path="*/whoami-v2", status=status, headers={"Retry-After": "0"}, first=1)
    outcome = repo(volume, "create", HF_TOKEN=TOKEN)
    assert (outcome.code, fault.fired) == (0, 1)


def test_a_hub_that_never_answers(hub: HubServer, volume: Volume) -> None:
    """DEADLINE ends the wait for a Hub that never answers."""
    gate = hub.faults.gate("never")
    hub.faults.add("gate", path="*/whoami-v2", gate="never")
    outcome = repo(volume, "create", HF_TOKEN=TOKEN, DEADLINE="1")
    gate.release()
    assert (outcome.code, "DEADLINE" in outcome.err) == (75, True)


def test_offline(hub: HubServer, volume: Volume) -> None:
    """Offline nothing can be created: the exit code is 64, and no request is made."""
    assert repo(volume, "create", HF_TOKEN=TOKEN, HF_HUB_OFFLINE="1").code == 64
    assert not hub.log.entries()


# --- templates ---------------------------------------------------------------------------------------------------------------


def files(hub: HubServer, name: str) -> dict[str, bytes]:
    """Return what a repository holds."""
    found = hub.hub.repos["dataset", name].head.files
    return {path: file.content for path, file in found.items() if isinstance(file.content, bytes)}


def test_templates(hub: HubServer, volume: Volume, tmp_path: Path) -> None:
    """A new repository begins with a template of the program, or with a directory of the user's, whose card gets its names."""
    mine = tmp_path / "mine"
    (mine / "data").mkdir(parents=True)
    (mine / "README.md").write_text("# {repo_name} of {repo_id}\n", "utf-8")
    (mine / "data" / "first.csv").write_text("{repo_id}\n1\n", "utf-8")
    (mine / ".git").mkdir()
    (mine / ".git" / "config").write_text("private", "utf-8")
    (mine / "link").symlink_to("/etc/passwd")
    assert repo(volume, "create", "logs", HF_TOKEN=TOKEN).code == 0
    assert repo(volume, "create", "bare", "--template", "plain", HF_TOKEN=TOKEN).code == 0
    assert repo(volume, "create", "own", "--template", str(mine), HF_TOKEN=TOKEN).code == 0
    assert sorted(files(hub, "ann/logs")) == ["README.md", "data/example.jsonl"]
    assert sorted(files(hub, "ann/bare")) == ["README.md"]
    assert files(hub, "ann/own") == {"README.md": b"# own of ann/own\n", "data/first.csv": b"{repo_id}\n1\n"}
    # Nothing of what exists is changed by another template.
    assert repo(volume, "create", "own", "--template", "plain", HF_TOKEN=TOKEN).code == 0
    assert files(hub, "ann/own")["README.md"] == b"# own of ann/own\n"


@pytest.mark.parametrize("template", ["plan", "./nowhere", "empty", "large"])
def test_wrong_templates(hub: HubServer, volume: Volume, tmp_path: Path, template: str) -> None:
    """A wrong template is found before the first request."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "x").write_bytes(bytes(11 * 1024 * 1024))
    path = str(tmp_path / template) if template in {"empty", "large"} else template
    outcome = repo(volume, "create", "--template", path, HF_TOKEN=TOKEN)
    assert (outcome.code, "nothing was created" in outcome.err) == (78, True)
    assert ("'plain'" in outcome.err) == (template == "plan")
    assert not hub.log.entries()


# --- export ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_eval_sets_the_variables(volume: Volume, shell: str) -> None:
    """Evaluating the output of --export sets the variables in a shell, and sets nothing after a failure."""
    command = shlex.join([sys.executable, "-m", "provisioner", "repo", "create", "--export"])
    script = f'eval "$({command})"; printf "%s|%s" "${{TRACKIO_DATASET_REPO-}}" "${{TRACKIO_DATASET_ID-}}"'
    for token, expected in ((TOKEN, f"ann/{NAME}|ann/{NAME}"), (READ, "|")):
        environ = volume.environ(HF_TOKEN=token)
        done = subprocess.run([shell, "-c", script], env=environ, cwd=CHECKOUT, capture_output=True, text=True, check=True)
        assert done.stdout == expected


def test_export_is_for_shells(volume: Volume) -> None:
    """--export excludes --json, and belongs to 'repo create'."""
    assert repo(volume, "create", "--export", "--json", HF_TOKEN=TOKEN).code == 64
    assert repo(volume, "check", "--export", HF_TOKEN=TOKEN).code == 64


# --- list and check ----------------------------------------------------------------------------------------------------------


def test_list(hub: HubServer, volume: Volume) -> None:
    """'repo list' shows the user's repositories, or an organization's, with who may read them."""
    hub.hub.add_repo("ann/a", private=True)
    hub.hub.add_repo("ann/b", gated="manual")
    hub.hub.add_repo("lab/c")
    hub.hub.add_repo("bob/d")
    own = document(repo(volume, "list", "--json", HF_TOKEN=READ))
    assert [(one["repo_id"], one["private"], one["gated"]) for one in own["repositories"]] == [
        ("ann/a", True, "none"),
        ("ann/b", False, "manual"),
    ]
    text = repo(volume, "list", "--org", "lab", HF_TOKEN=READ).out
    assert "lab/c" in text
    assert "ann/a" not in text
    assert repo(volume, "list", "some", HF_TOKEN=READ).code == 64


def test_check(hub: HubServer, volume: Volume) -> None:
    """'repo check': 0 for a writable repository, 66 when it does not exist, 77 when it is not writable; nothing is changed."""
    hub.hub.add_repo("ann/a", gated="auto")
    hub.hub.add_repo("bob/d")
    assert repo(volume, "check", "a", "--private", HF_TOKEN=TOKEN).code == 0
    assert repo(volume, "check", HF_TOKEN=TOKEN).code == 66
    assert repo(volume, "check", "bob/d", HF_TOKEN=TOKEN).code == 77
    assert repo(volume, "check", "a", HF_TOKEN=READ).code == 77
    assert not [entry for entry in hub.log.entries() if entry.method not in {"GET", "HEAD"}]


def test_help_is_enough(volume: Volume) -> None:
    """The help explains every option."""
    text = repo(volume, "--help").out
    for option in ("--org", "--private", "--public", "--template", "--export", "--token-stdin", "--json"):
        assert option in text


def test_a_signal_ends_it(hub: HubServer, volume: Volume) -> None:
    """Ctrl-C during a request is exit code 130, with a message instead of a traceback."""
    gate = hub.faults.gate("hold")
    hub.faults.add("gate", path="*/whoami-v2", gate="hold")
    running = volume.start("repo", "create", HF_TOKEN=TOKEN)
    assert gate.wait_reached(30.0)
    running.send(signal.SIGINT)
    outcome = running.wait()
    gate.release()
    assert (outcome.code, "Traceback" in outcome.err) == (130, False)
