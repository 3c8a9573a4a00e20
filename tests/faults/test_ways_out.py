"""The ways out of the process: proxies, certificates and rewritten addresses to the network, and the app that it becomes."""

from __future__ import annotations

import json
import os
import signal
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme

from tests.support.hub_server import HubServer
from tests.support.media import noise
from tests.support.program import TOKEN, wait_until
from tests.support.proxy import ProxyServer
from tests.support.shelf import Shelf, some_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.volume import Volume

NOWHERE = "hub.invalid"
"""A name that no name server knows (RFC 6761): who asks for it by itself fails."""


def fill_shelf(shelf: Shelf) -> None:
    """Put one data set on the Hub and one behind a direct URL."""
    shelf.server.hub.add_repo("ann/songs", {"a.wav": noise("a", 3000), "notes.txt": b"small"})
    shelf.add("songs", sources=[{"kind": "hub", "repo": "ann/songs"}])
    shelf.add("beta", shelf.file("beta.tar.gz", some_files("beta")))


def check_shelf(volume: Volume) -> None:
    """Show that both are there."""
    volume.check("songs", {"a.wav": noise("a", 3000), "notes.txt": b"small"})
    volume.check("beta", some_files("beta"))


def ports(server: HubServer) -> tuple[str, str]:
    """Return the ports of the server's two origins."""
    return server.endpoint.rpartition(":")[2], server.static_url.rpartition(":")[2]


def by_name(server: HubServer) -> dict[str, str]:
    """Return the settings that reach a server by the name that leads nowhere."""
    hub, cdn = ports(server)
    scheme = server.endpoint.partition(":")[0]
    return {
        "HF_ENDPOINT": f"{scheme}://{NOWHERE}:{hub}",
        "URL_REWRITE": f"https://files.example.org={scheme}://{NOWHERE}:{cdn}/files.example.org",
        "HF_TOKEN": TOKEN,
    }


# --- proxies -------------------------------------------------------------------------------------------------------------


def test_an_http_proxy_holds_on_every_path(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """API, listings, redirected files and direct URLs: all of it goes through the proxy, with its password."""
    fill_shelf(shelf)
    with ProxyServer(routes={NOWHERE: ("127.0.0.1", 0)}, credentials=("user", "p@ss")) as proxy:
        proxy.routes = {f"{NOWHERE}:{port}": ("127.0.0.1", int(port)) for port in ports(hub)}
        url = proxy.url.replace("://", "://user:p%40ss@")
        outcome = volume.ready(HTTP_PROXY=url, **by_name(hub))
        passed = proxy.passed
    check_shelf(volume)
    assert len(passed) == len(hub.log.entries())
    assert all(each.authorization for each in passed)
    for glob in ("/api/whoami-v2", "/api/datasets/ann/songs", "/datasets/ann/songs/resolve", "/_lfs", "/files.example.org"):
        assert any(each.path.startswith(glob) for each in passed), glob
    assert "p@ss" not in outcome.err
    assert "p%40ss" not in outcome.err


def test_no_proxy(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """NO_PROXY: those hosts are reached directly, on every path."""
    fill_shelf(shelf)
    with ProxyServer() as proxy:
        volume.ready(HTTP_PROXY=proxy.url, NO_PROXY="127.0.0.1", HF_TOKEN=TOKEN)
        assert proxy.passed == ()
    check_shelf(volume)
    assert hub.log.entries("/api/whoami-v2")


def test_a_proxy_that_refuses(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """A wrong password for the proxy is an error that says so, not a try without the proxy."""
    shelf.add("beta", shelf.file("beta.tar.gz", some_files("beta")))
    with ProxyServer(credentials=("user", "right")) as proxy:
        outcome = volume.run(HTTP_PROXY=proxy.url.replace("://", "://user:wrong-one@"))
        assert proxy.passed
    assert outcome.code == 77
    assert "407" in outcome.errors()[0]
    assert "wrong-one" not in outcome.err
    assert hub.log.entries() == ()


# --- certificates --------------------------------------------------------------------------------------------------------


class Secure:
    """A TLS server whose certificate comes from an authority of its own."""

    def __init__(self, folder: Path) -> None:
        """Make authority and server."""
        authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1", NOWHERE).configure_cert(context)
        self.server = HubServer(ssl_context=context)
        self.server.hub.add_token(TOKEN, "ann")


@pytest.fixture
def secure(tmp_path: Path, volume: Volume) -> Iterator[Secure]:
    """Return a TLS server with data sets on it, as the volume's own."""
    made = Secure(tmp_path)
    with made.server:
        fill_shelf(Shelf(made.server, tmp_path / "catalog.yaml"))
        volume.server = made.server
        yield made


def test_a_private_authority(secure: Secure, volume: Volume) -> None:
    """SSL_CERT_FILE holds on every path: API, files, redirects."""
    volume.ready(SSL_CERT_FILE=str(secure.ca_file), HF_TOKEN=TOKEN)
    check_shelf(volume)
    assert volume.status["dataset_repo"]["state"] == "ready"


def test_an_unknown_authority(secure: Secure, volume: Volume) -> None:
    """Without it: 69 at once, and the message names the setting that helps."""
    outcome = volume.run()
    assert outcome.code == 69, outcome.err
    (message,) = outcome.errors()
    assert "certificate" in message
    assert "SSL_CERT_FILE" in outcome.err
    assert secure.server.log.entries() == ()
    assert volume.published == []


def test_a_tunnel_through_the_proxy(secure: Secure, volume: Volume) -> None:
    """HTTPS goes through CONNECT, for API and files alike, and certificates are still checked against the name."""
    with ProxyServer(credentials=("user", "secret-word")) as proxy:
        proxy.routes = {f"{NOWHERE}:{port}": ("127.0.0.1", int(port)) for port in ports(secure.server)}
        url = proxy.url.replace("://", "://user:secret-word@")
        outcome = volume.ready(HTTPS_PROXY=url, SSL_CERT_FILE=str(secure.ca_file), **by_name(secure.server))
        passed = proxy.passed
    check_shelf(volume)
    assert {each.method for each in passed} == {"CONNECT"}
    assert {str(each.port) for each in passed} == set(ports(secure.server))
    assert "secret-word" not in outcome.err


# --- addresses -----------------------------------------------------------------------------------------------------------


def test_rewritten_addresses(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """URL_REWRITE leads to a mirror; receipts name the original, so that taking it away fetches nothing."""
    shelf.add("beta", shelf.file("beta.tar.gz", some_files("beta")))
    rewrite = (
        f"https://files.example.org/={hub.static_url}/files.example.org/;https://files.example.org/never=http://never.invalid"
    )
    volume.ready(URL_REWRITE=rewrite)
    check = volume.status["datasets"]["beta"]["source"]["url"]
    assert check == "https://files.example.org/beta.tar.gz"
    hub.log.clear()
    volume.ready(URL_REWRITE=None)
    assert hub.log.entries() == ()


def test_signed_addresses_are_never_shown(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """A signed link that fails is named in log and status without its query (every test looks for the signature)."""
    fill_shelf(shelf)
    fault = hub.faults.add("flip", path="*_lfs*", offset=5)
    outcome = volume.run(HF_TOKEN=TOKEN)
    assert (outcome.code, fault.fired) == (65, 2)  # wrong bytes are fetched once more
    assert any("X-Amz-Signature" in entry.query for entry in hub.log.entries("*_lfs*"))


def test_credentials_stay_with_their_host(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """The token goes to the Hub alone: not to its CDN, not to direct URLs, not to where a redirect leads."""
    fill_shelf(shelf)
    volume.ready(HF_TOKEN=TOKEN)
    assert all(entry.authorization for entry in hub.log.entries(origin="hub"))
    assert hub.log.entries("*_lfs*")
    assert not any(entry.authorization for entry in hub.log.entries(origin="cdn"))


def test_the_token_is_on_no_command_line(shelf: Shelf, volume: Volume, hub: HubServer) -> None:
    """While it works, the process's command line holds no secret."""
    shelf.add("beta", shelf.raw("beta.bin", noise("beta", 3000)))
    rule = hub.faults.add("gate", path="*/beta.bin", after=100)
    run = volume.start(HF_TOKEN=TOKEN)
    assert hub.faults.gate(rule.gate).wait_reached()
    words = Path(f"/proc/{run.pid}/cmdline").read_bytes()
    assert b"provisioner" in words
    assert TOKEN.encode() not in words
    hub.faults.clear()
    assert run.wait().code == 0


# --- the hand-off --------------------------------------------------------------------------------------------------------


@pytest.fixture
def beta(shelf: Shelf) -> Shelf:
    """Return a catalog of one data set."""
    shelf.add("beta", shelf.file("beta.tar.gz", some_files("beta")))
    return shelf


@pytest.mark.usefixtures("beta")
def test_the_app_gets_its_environment(volume: Volume) -> None:
    """The app sees the container's variables and ours, reads the data, and its exit code comes out."""
    script = 'cat "$DATASETS_DIR/beta/beta/README"; echo "$TRACKIO_DATASET_REPO $TRACKIO_DATASET_ID $OWN"; exit 7'
    outcome = volume.run("--", "sh", "-c", script, HF_TOKEN=TOKEN, OWN="mine")
    assert outcome.code == 7
    assert outcome.out == "beta\nann/trackio-experiments ann/trackio-experiments mine\n"


@pytest.mark.usefixtures("beta")
def test_a_word_that_is_no_command_begins_the_app(volume: Volume) -> None:
    """Without '--' too, behind our own options; what looks like ours behind it is the app's."""
    outcome = volume.ready("--phase", "minimal", "echo", "--phase", "status")
    assert outcome.out == "--phase status\n"
    assert volume.ready("provision", "--", "echo", "again").out == "again\n"


@pytest.mark.usefixtures("beta")
@pytest.mark.parametrize("name", ["TRACKIO_DATASET_ID", "TRACKIO_DATASET_REPO", "DATASETS_DIR"])
def test_what_the_user_set_is_never_overridden(volume: Volume, name: str) -> None:
    """A name that the user set stays as it is, in the app and in provision.env, which other containers' apps read."""
    changes: dict[str, str | None] = {"HF_TOKEN": TOKEN, name: "the-users-own"}
    outcome = volume.ready("--", "sh", "-c", f'echo "${name}"', **changes)
    assert outcome.out == "the-users-own\n"
    lines = dict(line.split("=", 1) for line in (volume.root / "provision.env").read_text().splitlines())
    assert lines.pop(name) == "the-users-own"
    assert "ann/trackio-experiments" in lines.values()


@pytest.mark.usefixtures("beta")
def test_no_app_of_that_name(volume: Volume, hub: HubServer) -> None:
    """127 before any request, with the nearest sub-command."""
    outcome = volume.run("statsu")
    assert outcome.code == 127
    assert "status" in outcome.err
    assert len(outcome.errors()) == 1
    assert hub.log.entries() == ()
    assert not volume.root.exists()


@pytest.mark.usefixtures("beta")
def test_an_app_that_cannot_be_executed(volume: Volume, hub: HubServer, tmp_path: Path) -> None:
    """126 before any request, with what would help."""
    app = tmp_path / "app.sh"
    app.write_text("#!/bin/sh\n")
    outcome = volume.run("--", str(app))
    assert outcome.code == 126
    assert f"chmod +x {app}" in outcome.err
    assert hub.log.entries() == ()


@pytest.mark.usefixtures("beta")
def test_an_app_whose_interpreter_is_missing(volume: Volume, tmp_path: Path) -> None:
    """What only the system can find out is told as clearly: 126."""
    app = tmp_path / "app.sh"
    app.write_text("#!/nowhere/sh\n")
    app.chmod(0o755)
    outcome = volume.run("--", str(app))
    assert outcome.code == 126
    assert "interpreter" in outcome.errors()[0]


@pytest.mark.usefixtures("beta")
def test_no_app_on_failure(volume: Volume, hub: HubServer) -> None:
    """A failed run starts no app."""
    fault = hub.faults.add("status", path="*/beta.tar.gz", status=404)
    outcome = volume.run("--", "echo", "the app")
    assert (outcome.code, outcome.out, fault.fired) == (66, "", 1)


APP = """
import json, os, signal, sys
print(json.dumps({
    "pid": os.getpid(),
    "ignored": sorted(n for n in range(1, 32) if n not in (9, 19) and signal.getsignal(n) is signal.SIG_IGN),
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    "umask": os.umask(0),
    "descriptors": sorted(int(n) for n in os.listdir("/proc/self/fd")),
}), flush=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
open(sys.argv[1], "w").close()
signal.pause()
"""


@pytest.mark.usefixtures("beta")
def test_the_app_is_this_very_process(volume: Volume, tmp_path: Path) -> None:
    """Same process id; no signal blocked, umask and descriptors as we found them; SIGTERM reaches the app's own handler."""
    script, mark = tmp_path / "app.py", tmp_path / "started"
    script.write_text(APP)
    umask = os.umask(0o027)
    try:
        run = volume.start("--", "python3", str(script), str(mark), HF_TOKEN=TOKEN)
    finally:
        os.umask(umask)
    wait_until(mark.exists, "the app's mark")
    run.send(signal.SIGTERM)
    outcome = run.wait()
    assert outcome.code == 5
    seen = json.loads(outcome.out)
    # Python ignores SIGPIPE and SIGXFSZ in every program of its own; a background shell ignores SIGQUIT, for all it starts.
    assert seen["pid"] == run.pid
    assert {signal.SIGPIPE, signal.SIGXFSZ} <= set(seen["ignored"]) <= {signal.SIGPIPE, signal.SIGXFSZ, signal.SIGQUIT}
    assert (seen["blocked"], seen["umask"]) == ([], 0o027)
    assert len([number for number in seen["descriptors"] if number > 2]) <= 1


@pytest.mark.usefixtures("beta")
def test_the_lock_is_not_inherited_by_the_app(volume: Volume) -> None:
    """While the app runs the volume is free for the next writer."""
    run = volume.start("--", "sh", "-c", "echo started >&2; exec sleep 60")
    run.wait_line("started")
    outcome = volume.ready(DATASETS="beta", LOCK_TIMEOUT="0")
    assert "Waiting" not in outcome.err
    run.send(signal.SIGKILL)
    run.wait()


def test_trouble_with_the_repository_does_not_hide_its_name(beta: Shelf, volume: Volume, hub: HubServer) -> None:
    """The Hub cannot be asked: the name is exported all the same where it can be known, state failed, exit 0."""
    assert beta.path.is_file()
    fault = hub.faults.add("status", path="/api/*", status=503, headers={"Retry-After": "7200"})
    outcome = volume.ready("--", "sh", "-c", 'echo "$TRACKIO_DATASET_REPO"', HF_TOKEN=TOKEN, HF_USERNAME="ann")
    assert outcome.out == "ann/trackio-experiments\n"
    assert fault.fired == 1
    status = volume.status
    assert (status["state"], status["dataset_repo"]["state"]) == ("ready", "failed")
