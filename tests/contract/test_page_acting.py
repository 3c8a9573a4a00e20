"""Acting on the page of ``serve``: each action with its plan, who may act, one thing at a time, and where secrets are not."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.acting import UI_TOKEN, Person
from tests.support.page import MB, free_port, offer_four
from tests.support.program import TOKEN, wait_until
from tests.support.shelf import some_files

if TYPE_CHECKING:
    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume


@pytest.fixture
def shop(shelf: Shelf) -> Shelf:
    """Return a catalog of four data sets that end differently."""
    offer_four(shelf)
    return shelf


def test_every_action(shop: Shelf, volume: Volume) -> None:
    """Data sets are provisioned, verified, repaired and removed; each shows first what it would do, and changes nothing yet."""
    del shop
    person = Person(volume)
    assert 'name="token"' in person.look()
    assert 'action="plan"' not in person.look()
    assert person.sign_in().status == 303
    assert "It holds no data set yet." in person.look()

    plan = person.plan(action="provision", what="sets", dataset=["small"])
    assert "<h1>Provision small?</h1>" in plan
    assert re.search(r"<td>small</td><td>fetch</td>", plan)
    assert volume.published == []
    assert "The volume is ready" in person.confirm()
    assert volume.published == ["small"]

    done = person.do(action="verify", present=["small"], deep="yes")
    assert "Verify small by its bytes</strong>: done" in done
    damaged = next(path for path in volume.tree("small").rglob("*") if path.is_file())
    content = damaged.read_bytes()
    damaged.chmod(0o644)
    damaged.write_bytes(bytes(len(content)))
    assert "ended with exit code 65" in person.do(action="verify", deep="yes")
    assert "Repair everything on the volume</strong>: done" in person.do(action="repair")
    assert damaged.read_bytes() == content

    assert "There is nothing to remove." in person.plan(action="gc")
    assert "Remove superseded versions and leftovers</strong>: done" in person.confirm()
    person.plan(action="remove", present=["small"])
    assert person.send("/dismiss").status == 303
    assert 'name="plan"' not in person.look()
    assert volume.published == ["small"]
    assert "Remove small</strong>: done" in person.do(action="remove", present=["small"])
    assert volume.published == []

    # A phase; a data set that is optional fails, and the page of the volume shows it.
    assert "The volume is partial" in person.do(action="provision", what="phase", phase="minimal")
    assert volume.published == ["big", "small"]
    assert person.send("/sign-out").status == 303
    assert 'name="token"' in person.look()
    person.run.send(signal.SIGTERM)
    outcome = person.run.wait()
    assert outcome.code == 128 + signal.SIGTERM
    assert "Asked for on the page: Remove small" in outcome.err
    assert UI_TOKEN not in outcome.err


# --- who may -------------------------------------------------------------------------------------------------------------

POSTS: Final = ("/sign-out", "/plan", "/start", "/cancel", "/dismiss")


def test_who_may_not(shop: Shelf, volume: Volume) -> None:
    """Without a session, with another form's token, from another site or by GET nothing is done."""
    del shop
    person = Person(volume)
    wanted = {"action": "provision", "what": "sets", "dataset": "small"}
    assert person.post("/plan", wanted).status == 401
    assert person.post("/plan", wanted, Cookie="provisioner=guess").status == 401
    answer = person.sign_in(Origin=None)
    assert (answer.status, answer.headers["Set-Cookie"]) == (403, None)
    assert person.sign_in("wrong-one").status == 403
    cookie = str(person.sign_in().headers["Set-Cookie"])
    assert re.fullmatch(r"provisioner=[\w-]{43}; HttpOnly; Path=/; SameSite=strict", cookie)
    right = {"form_token": person.hidden("form_token"), **wanted}
    for path in POSTS:
        assert person.page.get(path, {"Cookie": person.cookie}).status == 405
        assert person.post(path, wanted).status == 403, path
        assert person.post(path, {**right, "form_token": "é" * 43}).status == 403, path
        assert person.post(path, right, Origin="https://evil.example.com").status == 403, path
        assert person.post(path, right, Origin="null").status == 403, path
        assert person.post(path, right, Origin=None).status == 403, path
        assert person.post(path, right, Host="evil.example.com", Origin="http://evil.example.com").status == 421, path
        assert person.post(path, right, Content_Type="text/plain").status == 415, path
        assert person.post(path, right | {"x": "x" * (200 << 10)}).status == 413, path
    assert person.post("/start", {**right, "plan": "guess"}).status == 409
    assert not volume.root.exists()
    page = person.page.get("/act", {"Cookie": person.cookie})
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
    assert "script-src" not in page.headers["Content-Security-Policy"]
    assert page.headers["Referrer-Policy"] == "same-origin"


def test_a_session_behind_a_proxy_with_tls(shop: Shelf, volume: Volume) -> None:
    """Where the browser came by https, the cookie is never sent by http."""
    del shop
    person = Person(volume, PROGRESS_HOSTS="data.example.org")
    answer = person.sign_in(Host="data.example.org", Origin="https://data.example.org")
    assert str(answer.headers["Set-Cookie"]).endswith("; Secure")


def test_without_a_token_nothing_can_be_done(shop: Shelf, volume: Volume) -> None:
    """Without UI_TOKEN there are neither forms nor routes, whatever is sent."""
    del shop
    person = Person(volume, UI_TOKEN="")
    assert "<form" not in person.page.get("/").text
    assert "act" not in re.findall(r'href="([^"]*)"', person.page.get("/").text)
    for path in ("/act", "/sign-in", *POSTS):
        assert person.page.get(path).status == 404
        assert person.post(path, {"token": "", "form_token": ""}).status == 404


def test_wrong_tries_are_slowed_down(shop: Shelf, volume: Volume) -> None:
    """After five wrong tries even the right token has to wait, and the answer says how long."""
    del shop
    person = Person(volume)
    statuses = [person.sign_in(f"wrong-{number}").status for number in range(4)]
    assert statuses == [403] * 4
    answer = person.sign_in("wrong-again")
    assert answer.status == 429
    assert answer.headers["Retry-After"] in {"1", "2"}
    assert person.sign_in().status == 429
    assert person.cookie == ""


# --- what is asked for ---------------------------------------------------------------------------------------------------

HOSTILE: Final = '"><script>alert(1)</script>'
ORDERS: Final[dict[str, dict[str, str]]] = {
    "no action": {},
    "an unknown action": {"action": HOSTILE},
    "an unknown phase": {"action": "provision", "what": "phase", "phase": "--json"},
    "an unknown data set": {"action": "provision", "what": "sets", "dataset": HOSTILE},
    "nothing": {"action": "provision", "what": "sets"},
    "a control character": {"action": "provision", "what": "sets", "references": "hf://a/b\x1b[0m"},
    "a long reference": {"action": "provision", "what": "sets", "references": f"https://a.example/{'x' * 3000}"},
    "many references": {"action": "provision", "what": "sets", "references": "hf://a/b\n" * 51},
    "a comma": {"action": "provision", "what": "sets", "references": "hf://a/b,hf://c/d"},
    "an option in place of a data set": {"action": "remove", "present": "--data-dir=/"},
    "nothing to remove": {"action": "remove"},
}


def test_what_cannot_be_asked_for(shop: Shelf, volume: Volume) -> None:
    """What is not among the choices is refused, and no text of it becomes markup or an option."""
    del shop
    person = Person(volume)
    person.sign_in()
    for name, fields in ORDERS.items():
        answer = person.send("/plan", **fields)
        assert answer.status == 422, name
        assert "<script" not in answer.text, name
    # A reference is any text: it is shown as text, in the title, in the error and in the log.
    page = person.plan(action="provision", what="sets", references=f"https://files.example.org/{HOSTILE}.bin")
    assert "This cannot be done." in page
    assert 'name="plan"' not in page
    assert "&lt;script&gt;" in page
    assert "<script" not in page


def command_lines() -> list[bytes]:
    """Return those of all processes, some of which end meanwhile."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            found.append(Path(f"/proc/{name}/cmdline").read_bytes())
    return found


def test_a_reference_with_a_password(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """A reference is provisioned by its address; a password in it is on no command line and on no page."""
    shelf.add("small", shelf.file("small.tar.gz", some_files("small")))
    entry = shelf.file("extra.tar.gz", some_files("extra"))
    secret = "pass" + "word-4711"
    gate = hub.faults.gate(hub.faults.add("gate", path="*extra.tar.gz", after=10, gate="extra").gate)
    person = Person(volume)
    person.sign_in()
    reference = f"{entry['url'].replace('https://', f'https://ann:{secret}@')}#{entry['digest'].replace(':', '=')}"
    pages = [person.plan(action="provision", what="sets", references=reference)]
    person.send("/start", plan=person.hidden("plan"))
    assert gate.wait_reached()
    seen = command_lines()
    pages.append(person.look())
    gate.release()
    pages.append(person.settled())
    assert volume.published == ["extra"]
    assert not [line for line in seen if secret.encode() in line]
    assert not [page for page in pages if secret in page]


# --- one thing at a time -------------------------------------------------------------------------------------------------


def test_cancel_and_only_one_at_a_time(shop: Shelf, volume: Volume, hub: HubServer) -> None:
    """While something is done nothing else is begun; when it is cancelled it tidies up, and the next run resumes it."""
    del shop
    gate = hub.faults.gate(hub.faults.add("gate", path="*big.bin", after=2 * MB, gate="half").gate)
    person = Person(volume)
    person.sign_in()
    person.plan(action="provision", what="sets", dataset=["big"])
    key = person.hidden("plan")
    assert person.send("/start", plan=key).status == 303
    assert gate.wait_reached()
    page = person.look()
    assert 'action="plan"' not in page
    assert '<meta http-equiv="refresh"' in page
    assert person.send("/plan", action="gc").status == 409
    assert person.send("/start", plan=key).status == 409
    wait_until(lambda: volume.status["state"] == "provisioning", "the status is written")
    assert person.send("/cancel").status == 303
    assert "Provision big</strong>: cancelled" in person.settled()
    assert volume.status["state"] == "interrupted"
    gate.release()
    assert "The volume is ready" in person.do(action="provision", what="sets", dataset=["big"])
    assert volume.published == ["big"]


def test_a_lock_that_is_held(shop: Shelf, volume: Volume) -> None:
    """A lock that another process holds is told at once, with what can be done."""
    del shop
    volume.ready(DATASETS="small")
    person = Person(volume)
    person.sign_in()
    person.plan(action="remove", present=["small"])
    with (volume.private / "lock").open("rb+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        page = person.confirm()
    assert "ended with exit code 75" in page
    assert '<div class="error"><p><strong>' in page
    assert volume.published == ["small"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_is_done_ends_with_the_page(shop: Shelf, volume: Volume, hub: HubServer, number: signal.Signals) -> None:
    """When ``serve`` is told to end, or dies, what it started ends in order too: nobody keeps the lock."""
    del shop
    gate = hub.faults.gate(hub.faults.add("gate", path="*big.bin", after=2 * MB, gate="half").gate)
    person = Person(volume)
    person.sign_in()
    person.plan(action="provision", what="sets", dataset=["big"])
    person.send("/start", plan=person.hidden("plan"))
    assert gate.wait_reached()
    wait_until(lambda: volume.status["state"] == "provisioning", "the status is written")
    person.run.send(number)
    wait_until(person.run.ended, "serve ends")
    wait_until(lambda: volume.status["state"] == "interrupted", "the run has tidied up")
    gate.release()
    volume.ready(DATASETS="big", LOCK_TIMEOUT="5")


# --- the secret ----------------------------------------------------------------------------------------------------------


def test_the_token_is_nowhere(shop: Shelf, volume: Volume, hub: HubServer, tmp_path: Path) -> None:
    """UI_TOKEN comes from a file as well; neither an app nor a command that the page starts has it or its file's name."""
    del shop
    secret = tmp_path / "ui-token"
    secret.write_text(f"{UI_TOKEN}\n", "utf-8")
    shown = "import json, os; print(json.dumps(dict(os.environ)))"
    app = volume.ready("--", sys.executable, "-c", shown, DATASETS="small", UI_TOKEN=UI_TOKEN, PROVISIONER_UI_TOKEN_FILE="")
    assert "UI_TOKEN" not in app.out + app.err
    assert UI_TOKEN not in app.out + app.err

    gate = hub.faults.gate(hub.faults.add("gate", path="*big.bin", after=2 * MB, gate="half").gate)
    person = Person(volume, UI_TOKEN="", UI_TOKEN_FILE=str(secret), HF_TOKEN=TOKEN)
    assert person.sign_in().status == 303
    person.plan(action="provision", what="sets", dataset=["big"])
    person.send("/start", plan=person.hidden("plan"))
    assert gate.wait_reached()
    children = Path(f"/proc/{person.run.pid}/task")
    found = {child for task in children.iterdir() for child in (task / "children").read_text("ascii").split()}
    assert found
    for child in found:
        environ = Path(f"/proc/{child}/environ").read_bytes()
        assert b"DATASETS=big" in environ
        assert b"UI_TOKEN" not in environ
    pages = [person.look(), person.page.get("/").text, person.page.get("/status.json").text]
    gate.release()
    pages.append(person.settled())
    assert not [page for page in pages if UI_TOKEN in page or TOKEN in page]
    person.run.send(signal.SIGTERM)
    assert UI_TOKEN not in person.run.wait().err


def test_a_token_that_can_be_guessed(volume: Volume, shop: Shelf) -> None:
    """A token that is too short is an error of the settings, which does not show it."""
    del shop
    outcome = volume.run("serve", f"--port={free_port()}", UI_TOKEN="abc4711")
    assert outcome.code == 78
    assert "UI_TOKEN: fewer than 8 characters can be guessed" in outcome.err
    assert "abc4711" not in outcome.err
