"""``doctor``: everything that a run needs is tried out, and what is wrong is named, with what to do."""

from __future__ import annotations

import contextlib
import http.server
import os
import subprocess
import threading
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

from tests.support.program import TOKEN
from tests.support.shelf import some_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.hub_server import HubServer
    from tests.support.program import Outcome
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume


READ = "hf_" + "UmVhZE9ubHlUb2tlbkZvclRlc3RzT25s"


@contextlib.contextmanager
def mirrored(hub: HubServer, prefix: str) -> Iterator[str]:
    """Give the address of a server that passes on what is below a prefix, and answers nothing else."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not self.path.startswith(f"{prefix}/"):
                self.send_error(404)
                return
            try:
                with urllib.request.urlopen(hub.endpoint + self.path.removeprefix(prefix)) as answer:
                    body = answer.read()
                    self.send_response(answer.status)
                    for name in ("content-type", "link"):
                        if answer.headers[name]:
                            self.send_header(name, answer.headers[name])
            except urllib.error.HTTPError as refusal:
                body = refusal.read()
                self.send_response(refusal.code)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}{prefix}"
        server.shutdown()


@pytest.fixture(autouse=True)
def one(shelf: Shelf) -> None:
    """Return a catalog of one data set."""
    shelf.add("alpha", shelf.file("alpha.tar.gz", some_files("alpha")))


def results(outcome: Outcome) -> dict[str, str]:
    """Return the result of each check; of several with one name the last."""
    return {check["check"]: check["result"] for check in outcome.json["checks"]}


def test_all_right(volume: Volume) -> None:
    """With nothing wrong the exit code is 0, every check has a result, and nothing stays on the volume."""
    volume.settings["HF_TOKEN"] = TOKEN
    volume.ready()
    names = sorted(volume.snapshot())
    found = results(volume.ready("doctor", "--json"))
    assert set(found.values()) == {"ok"}, found
    for name in (
        "settings",
        "catalog",
        "clock",
        "mount",
        "space",
        "write",
        "staging",
        "names",
        "rename",
        "links",
        "lock",
        "certificates",
        "proxy",
    ):
        assert name in found
    assert sorted(volume.snapshot()) == names
    text = volume.ready("doctor").out
    assert "it is that of ann" in text
    assert "all right" in text


def test_before_the_first_run(volume: Volume) -> None:
    """A volume that does not exist yet is named and not made; a missing token is not wrong."""
    outcome = volume.ready("doctor", "--json")
    assert (results(outcome)["volume"], results(outcome)["token"], volume.root.exists()) == ("note", "note", False)


@pytest.mark.parametrize(
    ("changes", "name", "code"),
    [
        ({"HF_TOKEN": "hf_" + "x" * 30}, "token", 77),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "hub", 75),
        ({"CATALOG_PATH": "/nowhere"}, "catalog", 78),
        ({"SSL_CERT_FILE": "/nowhere"}, "certificates", 78),
        ({"VOLUME_KIND": "object"}, "mount", 74),
    ],
)
def test_what_is_wrong(volume: Volume, changes: dict[str, str], name: str, code: int) -> None:
    """Each fault is named, with what to do; the exit code is that of a run which fails for this reason."""
    volume.root.mkdir()
    outcome = volume.run("doctor", "--json", **changes)
    assert outcome.code == code, outcome.err
    wrong = [check for check in outcome.json["checks"] if check["result"] == "wrong"]
    assert name in [check["check"] for check in wrong]
    assert all(check["hint"] for check in wrong)


REFUSED: dict[str, dict[str, str]] = {
    "a phase": {"PHASE": "minmal"},
    "a data set": {"DATASETS": "alfa"},
    "a split": {"DATASETS": "alpha:test"},
    "a licence": {"DATASETS": "closed"},
    "a set that is left out": {"DATASETS": "gone"},
    "an accepted licence": {"ACCEPT_LICENSES": "alfa"},
    "a layout": {"LAYOUTS": "alpha=parquet"},
    "a priority": {"PRIORITIES": "alfa=3"},
    "no space": {"MAX_STORAGE_GB": "0.000001"},
    "no space for all": {"MAX_STORAGE_GB": "0.0005", "ON_SHORTFALL": "fail"},
    "nothing may be fetched": {"AUTO_DOWNLOAD": "false"},
    "an object store": {"VOLUME_KIND": "object"},
    "certificates": {"SSL_CERT_FILE": "/nowhere"},
    "a setting": {"CONNECTIONS": "many"},
    "a token for the repository": {"HF_TOKEN": READ, "DATASET_REPO": "ann/logs"},
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_run_refuses_is_wrong(volume: Volume, shelf: Shelf, hub: HubServer, case: str) -> None:
    """Whatever makes ``provision`` refuse makes ``doctor`` fail with the same code and sentence; nothing is written."""
    hub.hub.add_token(READ, "ann", "read")
    shelf.add("closed", shelf.file("closed.tar.gz", some_files("closed")), commercial="forbidden")
    shelf.add("large", shelf.file("large.tar.gz", some_files("large")), unpacked_size=900_000)
    shelf.document["excluded"] = {"gone": {"title": "Gone", "license": "other", "reason": "non-commercial"}}
    shelf.write()
    found = volume.run("doctor", **REFUSED[case])
    assert not volume.root.exists()
    refused = volume.run(**REFUSED[case])
    assert refused.code == found.code != 0, (refused.err, found.out)
    sentence = refused.errors()[0].partition("] ")[2]
    assert sentence in found.out + found.err


def harmed(volume: Volume, harm: str) -> None:
    """Put something on a filled volume that keeps a run from writing there."""
    if harm == "a file":
        volume.root.write_text("x", "utf-8")
        return
    if harm == "a file above":
        volume.root.write_text("x", "utf-8")
        volume.settings["DATA_DIR"] = str(volume.root / "data")
        return
    (volume.root / "datasets").mkdir(parents=True)
    if harm == "something else at its place":
        (volume.root / "datasets" / "alpha").mkdir()
        (volume.root / "datasets" / "alpha" / "mine").write_text("x", "utf-8")
    elif harm == "a file for a directory":
        (volume.root / ".provisioner").write_text("x", "utf-8")
    elif harm == "a directory for a file":
        (volume.root / "dataset_status.json").mkdir()
    elif harm == "a closed directory":
        (volume.root / ".provisioner" / "store").mkdir(parents=True)
        (volume.root / ".provisioner" / "store").chmod(0o555)
    elif harm == "a closed lock":
        (volume.root / ".provisioner").mkdir()
        (volume.root / ".provisioner" / "lock").write_bytes(b"")
        (volume.root / ".provisioner" / "lock").chmod(0)


HARMS = (
    "a file",
    "a file above",
    "something else at its place",
    "a file for a directory",
    "a directory for a file",
    "a closed directory",
    "a closed lock",
)


@pytest.mark.parametrize("harm", HARMS)
def test_a_volume_that_a_run_cannot_write(volume: Volume, harm: str) -> None:
    """What is in the way on the volume, or closed to this user, is WRONG, though its root can be written."""
    harmed(volume, harm)
    if "closed" in harm and os.geteuid() == 0:
        volume.under = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    found = volume.run("doctor")
    refused = volume.run()
    assert (refused.code in {73, 74}) == (found.code in {73, 74}) is True, (harm, refused.err, found.out)
    assert "WRONG" in found.out


@pytest.mark.parametrize("prefix", ["", "/mirror/hub"])
def test_a_hub_behind_a_mirror(volume: Volume, shelf: Shelf, hub: HubServer, prefix: str) -> None:
    """The Hub is asked what a run would ask it, below the address's path; that its front page is refused does not matter."""
    hub.hub.add_repo("ann/set").commit({"a.bin": b"a"})
    shelf.add("beta", sources=[{"kind": "hub", "repo": "ann/set"}])
    hub.faults.add("status", path="/", status=403)
    with mirrored(hub, prefix) as endpoint:
        text = volume.ready("doctor", HF_ENDPOINT=endpoint).out
    assert "answers, and lists 1 file of ann/set@main" in text
    assert not hub.log.entries(path="/")


def test_a_server_that_is_no_hub(volume: Volume, shelf: Shelf, hub: HubServer) -> None:
    """A server that answers its front page and not the Hub's API is WRONG where a run needs a Hub."""
    shelf.add("beta", sources=[{"kind": "hub", "repo": "ann/set"}])
    hub.faults.add("html", path="/api/*")
    found = volume.run("doctor", "--json")
    assert results(found)["hub"] == "wrong"
    assert found.code == volume.run().code


def test_misspelt_settings(volume: Volume) -> None:
    """A variable whose name is nearly that of a setting is named, with the setting."""
    text = volume.ready("doctor", DATASET_REPOO="x", PROVISIONER_PHAES="minimal").out
    assert "DATASET_REPOO is set and is no setting. Did you mean 'DATASET_REPO'?" in text
    assert "PROVISIONER_PHAES" in text


def test_variables_of_other_programs(volume: Volume) -> None:
    """A variable that is a setting's name behind another program's prefix is that program's, and not misspelt."""
    text = volume.ready("doctor", NIX_SSL_CERT_FILE="/etc/ssl/certs.pem", GIT_SSL_CERT_FILE="/etc/ssl/certs.pem").out
    assert "SSL_CERT_FILE is set" not in text


def test_offline(volume: Volume, hub: HubServer) -> None:
    """With HF_HUB_OFFLINE no request is made."""
    volume.ready("doctor", HF_HUB_OFFLINE="1", HF_TOKEN=TOKEN)
    assert hub.log.entries() == ()


@pytest.mark.root
def test_a_read_only_mount(volume: Volume) -> None:
    """On a read-only mount the exit code is 73, and the result names what still works."""
    volume.ready()
    mount = volume.root.parent / "mount"
    mount.mkdir()
    subprocess.run(["mount", "--bind", "-o", "ro", str(volume.root), str(mount)], check=True)
    try:
        outcome = volume.run("doctor", DATA_DIR=str(mount))
    finally:
        subprocess.run(["umount", str(mount)], check=True)
    assert outcome.code == 73
    assert "'verify' and 'status' work" in outcome.out


def test_a_catalog_without_the_default_phase(volume: Volume, shelf: Shelf) -> None:
    """Where nobody asked for a phase, the first one is rehearsed; one that is set and not there is what a run fails with."""
    shelf.document["phases"]["first"] = shelf.document["phases"].pop("minimal")
    shelf.write()
    assert "the phase first: " in volume.ready("doctor", PHASE=None).out
    assert volume.run("doctor", PHASE="minimal").code == volume.run("provision", PHASE="minimal").code == 78
