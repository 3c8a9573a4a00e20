"""Refusals and failures, each called by its name: the hint fits the host, the proxy, the certificate and the token at hand."""

from __future__ import annotations

import http.server
import socket
import ssl
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pytest
import trustme

from tests.support import tally
from tests.support.program import TOKEN
from tests.support.shelf import some_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume

PAGE: Final = b"<!doctype html><title>Forbidden</title>unusual traffic"


@pytest.fixture
def host() -> Iterator[Callable[..., str]]:
    """Return what starts a host that gives one response to everything, and returns its URL."""
    servers = []

    def start(status: int, headers: Mapping[str, str], body: bytes) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                """Write nothing."""

            def do_GET(self) -> None:
                tally.count("faults")
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


REFUSALS: Final = {
    "a login": (401, {"WWW-Authenticate": "Basic"}, PAGE, 77, "browser"),
    "a block": (403, {"Content-Type": "text/html"}, PAGE, 77, "browser"),
    "a challenge": (202, {"x-amzn-waf-action": "challenge"}, b"", 69, "challenge"),
    "nothing": (204, {}, b"", 69, "no file"),
    "a missing file": (404, {}, PAGE, 66, "moved or removed"),
    "legal reasons": (451, {}, PAGE, 69, "refuses"),
}
"""What a host answers: status, headers and body; and the exit code and a word of the message."""


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_host_that_is_no_hub_refuses(shelf: Shelf, volume: Volume, host: Callable[..., str], refusal: str) -> None:
    """The message is about that host: it never advises to set a token of the Hub, and nothing is published."""
    status, headers, body, code, words = REFUSALS[refusal]
    shelf.add("songs", {"url": f"{host(status, headers, body)}/songs.bin", "digest": "none"})
    outcome = volume.run()
    assert (outcome.code, volume.published) == (code, [])
    assert words in outcome.err
    assert "HF_TOKEN" not in outcome.errors()[-1] + outcome.err.splitlines()[-1]


def test_a_repository_that_is_not_there_behind_401(hub: HubServer, shelf: Shelf, volume: Volume) -> None:
    """With a token, 401 and the code RepoNotFound is "not found", and no word of a mistyped token."""
    shelf.add("songs", sources=[{"kind": "hub", "repo": "ann/gone"}])
    headers = {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}
    fault = hub.faults.add("status", path="*/ann/gone*", status=401, headers=headers)
    outcome = volume.run(HF_TOKEN=TOKEN, DATASET_REPO="none")
    assert fault.fired
    assert (outcome.code, "mistyped" in outcome.err) == (66, False)


def test_a_hub_that_redirects_to_another_host(hub: HubServer, shelf: Shelf, volume: Volume, host: Callable[..., str]) -> None:
    """The token stays with the Hub that it is for, and the refusal of the other host is not called a mistyped token."""
    other = host(401, {"X-Error-Message": "Invalid credentials"}, b"")
    mirror = host(308, {"Location": f"{other}/api/datasets/ann/songs/revision/main"}, b"")
    shelf.add("songs", sources=[{"kind": "hub", "repo": "ann/songs"}])
    outcome = volume.run(HF_TOKEN=TOKEN, HF_ENDPOINT=mirror, DATASET_REPO="none", URL_REWRITE=None)
    assert outcome.code == 77
    assert "mistyped" not in outcome.err
    assert "set HF_ENDPOINT to its address" in outcome.err
    assert not hub.log.entries()


@pytest.mark.parametrize("source", ["hub", "url"])
def test_a_proxy_that_is_not_there(shelf: Shelf, volume: Volume, source: str) -> None:
    """The message names the proxy that cannot be reached, not the address behind it."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        proxy = f"http://127.0.0.1:{unused.getsockname()[1]}"
        sources: dict[str, dict[str, Any]] = {
            "hub": {"kind": "hub", "repo": "ann/songs"},
            "url": {"kind": "url", "files": [{"url": "http://files.example/songs.bin", "digest": "none"}]},
        }
        shelf.add("songs", sources=[sources[source]])
        outcome = volume.run(HTTP_PROXY=proxy, HF_ENDPOINT="http://hub.example", URL_REWRITE=None, DEADLINE="60s")
        tally.count("faults")
    assert outcome.code == 75
    assert f"the proxy {proxy.removeprefix('http://')}: no connection" in outcome.errors()[-1]


def test_a_busy_hub_does_not_delay_data(hub: HubServer, shelf: Shelf, volume: Volume) -> None:
    """A repository that nobody named is given up at once when the Hub asks to wait: the data come, the name is exported."""
    shelf.add("songs", shelf.file("songs.tar.gz", some_files("songs")))
    fault = hub.faults.add("status", path="*/whoami-v2", status=429, headers={"RateLimit": '"api";r=0;t=3600'})
    outcome = volume.ready(HF_TOKEN=TOKEN, HF_USERNAME="ann")
    assert fault.fired
    assert "the server asks to wait 3600 s" in outcome.err
    assert "TRACKIO_DATASET_REPO=ann/trackio-experiments" in (volume.root / "provision.env").read_text("utf-8")


CERTIFICATES: Final = {
    "expired": ("not valid now", "clock"),
    "another name": ("for another host", "host's name"),
    "unknown authority": ("not trusted", "intermediate"),
}


@pytest.mark.parametrize("wrong", CERTIFICATES)
def test_what_is_wrong_with_a_certificate(shelf: Shelf, volume: Volume, tmp_path: Path, wrong: str) -> None:
    """A certificate that is out of date, of another host, or of an unknown authority is told apart, and asked for once."""
    authority, other = trustme.CA(), trustme.CA()
    end = datetime(2001, 1, 1, tzinfo=UTC) if wrong == "expired" else None
    name = "elsewhere.example" if wrong == "another name" else "localhost"
    signer = other if wrong == "unknown authority" else authority
    leaf = signer.issue_cert(name, not_after=end)
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    asked = 0
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        nonlocal asked
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            asked += 1
            tally.count("faults")
            plain.settimeout(10)
            with plain:
                try:
                    context.wrap_socket(plain, server_side=True)
                except OSError:
                    continue

    threading.Thread(target=serve, daemon=True).start()
    shelf.add("songs", {"url": f"https://localhost:{listener.getsockname()[1]}/songs.bin", "digest": "none"})
    outcome = volume.run(SSL_CERT_FILE=str(tmp_path / "authority.pem"))
    listener.close()
    assert (outcome.code, asked) == (69, 1)
    assert all(words in outcome.err for words in CERTIFICATES[wrong])
