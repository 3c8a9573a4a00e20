"""The progress page while a real process provisions, and ``serve``: every endpoint, for browsers, programs and Prometheus."""

from __future__ import annotations

import json
import re
import signal
import socket
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.page import MB, Held, PageClient, free_port, offer_four
from tests.support.program import TOKEN, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.hub_server import HubServer
    from tests.support.page import Answer
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume

STRICT: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none';"
    " form-action 'none'; frame-ancestors "
)


@pytest.fixture
def shop(shelf: Shelf) -> Shelf:
    """Return a catalog of four data sets that end differently."""
    offer_four(shelf)
    return shelf


@pytest.fixture
def held(shop: Shelf, volume: Volume, hub: HubServer) -> Iterator[Held]:
    """Return a run of that catalog that waits in the middle of the large file."""
    del shop
    held = Held(volume, hub, HF_TOKEN=TOKEN)
    yield held
    held.gate.release()


# --- what each endpoint answers ------------------------------------------------------------------------------------------


def is_page(answer: Answer) -> bool:
    """Return whether it is the whole page."""
    return answer.text.startswith("<!doctype html>") and "<noscript><meta http-equiv" in answer.text


ENDPOINTS: Final[dict[str, tuple[int, str, Callable[[Answer], bool]]]] = {
    "/": (200, "text/html; charset=utf-8", is_page),
    "/?anything": (200, "text/html; charset=utf-8", is_page),
    "/status.json": (200, "application/json", lambda answer: answer.json["state"] == "provisioning"),
    "/metrics": (200, "text/plain; version=0.0.4; charset=utf-8", lambda answer: b"provisioner_build_info" in answer.body),
    "/healthz": (200, "text/plain; charset=utf-8", lambda answer: answer.text == "alive\n"),
    "/readyz": (503, "text/plain; charset=utf-8", lambda answer: answer.text == "provisioning\n"),
    "/provisioner.css": (200, "text/css; charset=utf-8", lambda answer: b"prefers-color-scheme: dark" in answer.body),
    "/provisioner.js": (200, "text/javascript; charset=utf-8", lambda answer: b"EventSource" in answer.body),
    "/provisioner.svg": (200, "image/svg+xml", lambda answer: answer.body.startswith(b"<svg")),
    "/nowhere": (404, "text/plain; charset=utf-8", lambda _: True),
    "/metrics/": (404, "text/plain; charset=utf-8", lambda _: True),
}


def test_every_endpoint(held: Held) -> None:
    """Each endpoint answers as the contract says, GET and HEAD alike, with the headers that keep other sites away."""
    for path, (status, kind, is_right) in ENDPOINTS.items():
        answer = held.page.get(path)
        assert (answer.status, answer.headers["Content-Type"]) == (status, kind), path
        assert is_right(answer), path
        assert answer.headers["Content-Security-Policy"] == f"{STRICT}'none'"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert held.page.get(path, method="HEAD").status == status
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            assert held.page.get(path, method=method).status in {404, 405}
    held.gate.release()
    assert held.run.wait().code == 0


def test_what_the_page_shows(held: Held) -> None:
    """The page is complete without a script: each data set with its state, bytes, licence and error, and what is left out."""
    page = held.page.get("/").text
    assert "1 waiting" not in page
    assert "Data sets: 1 fetching, 1 ready, 1 left out, 1 failed." in page
    big = re.search(r'<li id="set-big".*?</li>', page)
    assert big is not None
    assert "Big &lt;i&gt;&amp; bold&lt;/i&gt;" in big[0]
    assert '<progress aria-label="Progress of Big &lt;i&gt;&amp; bold&lt;/i&gt;" max="100" value="50.0">' in big[0]
    assert "2.00 of 4.00 MB (50 %)" in big[0]
    assert "whether commercial use is allowed is disputed" in big[0]
    gone = re.search(r'<li id="set-gone".*?</li>', page)
    assert gone is not None
    assert "not found (404 Not Found)" in gone[0]
    assert "It was moved or removed: look for its new address." in gone[0]
    closed = re.search(r'<li id="set-closed".*?</li>', page)
    assert closed is not None
    assert "The licence policy refuses it." in closed[0]
    assert "ann/trackio-experiments" in page
    assert '<h2 id="plot">Throughput</h2>' in page
    # Nothing is loaded from elsewhere, and nothing is written into the page that its policy forbids.
    assert not re.findall(r'(?:src|<link[^>]*href)="(?:https?:)?//', page)
    assert not re.findall(r'\sstyle="|<style|\son[a-z]+="|javascript:', page)


def test_no_secret_is_shown(held: Held) -> None:
    """The token and passwords are on no endpoint."""
    for path in ENDPOINTS:
        assert TOKEN not in held.page.get(path).text, path
    events = held.page.events()
    kind, data = events.next() or ("", "")
    assert (kind, TOKEN in data) == ("status", False)
    events.close()


def test_rates_are_in_the_status_and_its_file(held: Held, volume: Volume) -> None:
    """While it fetches, the status has rate and time left for the run and for each data set, also in the file on the volume."""
    wait_until(lambda: held.status()["rate_bytes_per_second"] is not None, "a rate is measured")
    for status in (held.status(), volume.status):
        assert {"rate_bytes_per_second", "eta_seconds"} <= set(status)
        assert status["bytes_total"] > 4 * MB - 1
        assert {"rate_bytes_per_second", "eta_seconds"} <= set(status["datasets"]["big"])
        assert "eta_seconds" not in status["datasets"]["small"]
    held.gate.release()
    held.run.wait()
    assert "eta_seconds" not in volume.status
    assert "eta_seconds" not in volume.status["datasets"]["big"]


# --- events --------------------------------------------------------------------------------------------------------------


def test_events_follow_the_run_to_its_end(held: Held) -> None:
    """Events bring each change, at last how the run ended; then the stream ends as a response should, and the port is free."""
    events, pages = held.page.events(), held.page.events("/events?as=page")
    assert (events.status, events.content_type) == (200, "text/event-stream; charset=utf-8")
    seen = [json.loads((events.next() or ("", "{}"))[1])["state"]]
    held.gate.release()
    kinds = []
    while (event := events.next()) is not None:
        kinds.append(event[0])
        seen += [json.loads(event[1])["state"]] if event[0] == "status" else []
    assert (seen[0], seen[-1], kinds[-1]) == ("provisioning", "partial", "end")
    shown = []
    while (event := pages.next()) is not None:
        shown.append(event)
    assert shown[-1][0] == "end"
    assert 'data-title="Ready in part | data volume"' in shown[-2][1]
    assert "\n" not in shown[-2][1]
    assert held.run.wait().code == 0


# --- Prometheus ----------------------------------------------------------------------------------------------------------


def test_metrics_agree_with_the_server(held: Held, hub: HubServer) -> None:
    """The official parser reads the metrics; requests by host and outcome, and bytes, are those of the server's own log."""
    metrics = held.metrics()
    hosts = {"hub": urlsplit(hub.endpoint).netloc, "cdn": urlsplit(hub.static_url).netloc}
    expected = Counter((hosts[entry.origin], str(entry.status)) for entry in hub.log.entries())
    requests = metrics["provisioner_requests_total"].items()
    assert {(dict(labels)["host"], dict(labels)["outcome"]): count for labels, count in requests} == expected
    archive = hub.log.entries("*small.tar.gz")[0].bytes_sent
    assert metrics["provisioner_received_bytes_total"][()] == archive + 2 * MB
    assert {dict(labels)["state"]: count for labels, count in metrics["provisioner_datasets"].items() if count} == {
        "ready": 1, "fetching": 1, "failed": 1, "skipped": 1,
    }  # fmt: skip
    assert metrics["provisioner_run_state"][(("state", "provisioning"),)] == 1
    assert metrics["provisioner_dataset_done_bytes"][(("dataset", "big"),)] == 2 * MB
    assert metrics["provisioner_stage_seconds_total"][(("stage", "fetching"),)] > 0
    assert metrics["provisioner_volume_free_bytes"][()] > 0
    openmetrics = held.page.get("/metrics", {"Accept": "application/openmetrics-text; version=1.0.0"})
    assert openmetrics.headers["Content-Type"].startswith("application/openmetrics-text")
    assert openmetrics.text.endswith("# EOF\n")


def test_retries_are_counted_by_cause(shop: Shelf, volume: Volume, hub: HubServer) -> None:
    """Requests that were repeated are counted by their cause, also in the file for a collector that scrapes nobody."""
    del shop
    rule = hub.faults.add("status", path="*small.tar.gz", status=503, first=2, headers={"Retry-After": "0"})
    file = volume.root.parent / "provisioner.prom"
    volume.ready(METRICS_FILE=str(file))
    assert rule.fired == 2
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(file.read_text("utf-8"))
        for sample in family.samples
    }
    assert found["provisioner_retries_total", "http_503"] == 2
    assert found["provisioner_run_state", "partial"] == 1
    assert found[("provisioner_last_success_timestamp_seconds",)] > 1.7e9
    assert found["provisioner_datasets", "ready"] == 2


def test_a_metrics_file_that_cannot_be_written(shop: Shelf, volume: Volume) -> None:
    """Metrics that cannot be written are one warning."""
    del shop
    outcome = volume.ready(METRICS_FILE=str(volume.root.parent / "nowhere" / "x.prom"))
    assert outcome.err.count("METRICS_FILE: ") == 1


# --- who is answered -----------------------------------------------------------------------------------------------------

ASKED: Final = {
    "localhost": ({"Host": "localhost:7860"}, 200),
    "an address": ({"Host": "192.0.2.7:7860"}, 200),
    "an IPv6 address": ({"Host": "[2001:db8::7]:7860"}, 200),
    "a service": ({"Host": "provisioner"}, 200),
    "a service of Kubernetes": ({"Host": "provisioner.default.svc:7860"}, 200),
    "the Space's own host": ({"Host": "ann-space.hf.space"}, 200),
    "a name that was set": ({"Host": "Data.Example.org."}, 200),
    "its own pages": ({"Host": "ann-space.hf.space", "Origin": "https://ann-space.hf.space"}, 200),
    "another name": ({"Host": "evil.example.com"}, 421),
    "another Space": ({"Host": "evil-space.hf.space"}, 421),
    "a longer name": ({"Host": "data.example.org.evil.com"}, 421),
    "something like an address": ({"Host": "127.0.0.1.evil.com"}, 421),
    "no name": ({"Host": ""}, 421),
    "a name with a user": ({"Host": "localhost@evil.com"}, 421),
    "a script of another site": ({"Host": "localhost:7860", "Origin": "https://evil.com"}, 403),
    "a script without a site": ({"Host": "localhost:7860", "Origin": "null"}, 403),
    "a script of another port": ({"Host": "localhost:7860", "Origin": "http://localhost:8080"}, 403),
}


def test_hosts_and_origins(shop: Shelf, volume: Volume, hub: HubServer) -> None:
    """Only a Space's own host and names that nobody else can point here are answered, and only the Hub may frame the page."""
    del shop
    space = {"SPACE_ID": "ann/space", "SPACE_HOST": "ann-space.hf.space", "PROGRESS_HOSTS": "data.example.org"}
    held = Held(volume, hub, **space)
    for name, (headers, status) in ASKED.items():
        for path in ("/", "/events", "/status.json", "/metrics"):
            if status == 200 and path == "/events":
                continue
            answer = held.page.get(path, headers)
            assert answer.status == status, name
            assert answer.headers["Content-Security-Policy"] == f"{STRICT}https://huggingface.co"
            assert "big" not in answer.text or status == 200
    held.gate.release()
    assert held.run.wait().code == 0


# --- the port ------------------------------------------------------------------------------------------------------------

APP: Final = """
import os, socket, sys, time
with socket.socket() as sock:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", int(sys.argv[1])))
    sock.listen()
    print("descriptors:", sorted(int(name) for name in os.listdir("/proc/self/fd")), flush=True)
"""


def test_the_port_is_handed_over(shop: Shelf, volume: Volume, hub: HubServer, tmp_path: Path) -> None:
    """The app binds the port at once, although readers were connected, and inherits none of their connections."""
    del shop
    script = tmp_path / "app.py"
    script.write_text(APP, "utf-8")
    port = free_port()
    held = Held(volume, hub, "--", sys.executable, str(script), str(port), PROGRESS_PORT=str(port))
    readers = [held.page.events() for _ in range(5)]
    silent = socket.create_connection(("127.0.0.1", port))
    held.gate.release()
    for reader in readers:
        kinds = []
        while (event := reader.next()) is not None:
            kinds.append(event[0])
        assert kinds[-1] == "end"
    outcome = held.run.wait()
    silent.close()
    assert outcome.code == 0, outcome.err
    assert re.search(r"descriptors: \[0, 1, 2, 3, 4\]", outcome.out), outcome.out


def test_a_port_that_is_taken(shop: Shelf, volume: Volume) -> None:
    """A port that somebody else uses is one warning; the run goes on."""
    del shop
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        outcome = volume.ready(PROGRESS_PORT=str(port))
    assert outcome.err.count("WARNING PROGRESS_PORT: there is no page on port") == 1
    assert "Address already in use" in outcome.err


def test_a_start_with_nothing_to_do_has_no_page(shop: Shelf, volume: Volume) -> None:
    """When everything is there, no port is opened and nothing of the page is imported."""
    del shop
    volume.ready(DATASETS="small")
    idle = volume.ready(DATASETS="small", PROGRESS_PORT=str(free_port()), PYTHONPROFILEIMPORTTIME="1")
    imported = re.findall(r"\| +(\S+)$", idle.err, re.MULTILINE)
    assert "provisioner.engine.run" in imported
    assert not [name for name in imported if name.split(".")[0] in {"starlette", "uvicorn", "prometheus_client", "asyncio"}]
    assert "page is on port" not in idle.err
    # The same without a page, where there is something to do.
    busy = volume.ready(DATASETS="big", PYTHONPROFILEIMPORTTIME="1")
    assert not [name for name in re.findall(r"\| +(\S+)$", busy.err, re.MULTILINE) if name.startswith(("starlette", "uvicorn"))]


def test_a_signal_ends_run_and_page(held: Held) -> None:
    """A run whose page is being read ends at once when it is told to."""
    events = held.page.events()
    held.run.send(signal.SIGTERM)
    assert held.run.wait().code == 128 + signal.SIGTERM
    events.close()


# --- serve ---------------------------------------------------------------------------------------------------------------


class Served:
    """The command ``serve`` on a volume."""

    def __init__(self, volume: Volume, **settings: str) -> None:
        """Start it, and wait until it answers."""
        self.port = free_port()
        self.page = PageClient(self.port)
        self.run = volume.start("serve", "--port", str(self.port), **settings)
        self.page.wait_up()

    def wait_state(self, state: str) -> None:
        """Wait until the page knows of a state."""
        wait_until(lambda: self.page.get("/readyz").text == f"{state}\n", f"the state {state}")

    def wait_shown(self, text: str) -> None:
        """Wait until the page shows a text."""
        wait_until(lambda: text in self.page.get("/").text, f"the page shows {text}")


def test_serve_follows_the_volume(shop: Shelf, volume: Volume) -> None:
    """Before a run the page says that there is none; afterwards it shows how that ended; it is ended by a signal."""
    del shop
    served = Served(volume)
    assert "No run yet" in served.page.get("/").text
    assert served.page.get("/status.json").status == 404
    assert served.page.get("/readyz").status == 503
    assert "provisioner_build_info" in served.page.get("/metrics").text
    events = served.page.events()
    volume.ready()
    while (event := events.next()) is not None and '"partial"' not in event[1]:
        assert event[0] == "status"
    events.close()
    served.wait_state("partial")
    assert served.page.get("/readyz").status == 200
    assert served.page.get("/status.json").json == volume.status
    assert "4.00 MB in one file" in served.page.get("/").text
    served.run.send(signal.SIGTERM)
    assert served.run.wait().code == 128 + signal.SIGTERM


def test_serve_beside_a_run_that_died(shop: Shelf, volume: Volume) -> None:
    """A run without a heartbeat is called by its name."""
    del shop
    volume.ready(DATASETS="small")
    old = volume.status | {"state": "provisioning", "updated_at": "2026-01-01T00:00:00Z", "finished_at": None}
    (volume.root / "dataset_status.json").write_text(json.dumps(old), "utf-8")
    served = Served(volume)
    assert "No heartbeat for" in served.page.get("/").text


_ODD_SET: Final = {"state": "fetching", "bytes_done": -1, "bytes_total": "x", "error": 5, "source": {"url": "http://["}}
DAMAGED: Final = [
    "",
    "[]",
    "{}",
    '{"state": 1}',
    '{"state": "ready", "datasets": [1], "volume": 3, "error": "x"}',
    json.dumps({"state": "provisioning", "datasets": {"a": _ODD_SET, "b": 1}, "dataset_repo": {"repo_id": 1, "url": "x:"}}),
    '{"state": "provisioning", "bytes_done": 1e300, "bytes_total": 0, "eta_seconds": "x", "datasets": {"<script>": {}}}',
]


def test_serve_shows_whatever_the_file_holds(shop: Shelf, volume: Volume) -> None:
    """A status file of any content is shown as far as it can be understood; nothing in it becomes markup."""
    del shop
    volume.root.mkdir()
    served = Served(volume)
    for number, text in enumerate(DAMAGED):
        (volume.root / "dataset_status.json").write_text(text, "utf-8")
        if text.startswith('{"'):
            marked = text[:-1] + f', "run_id": "n{number}"' + "}"
            (volume.root / "dataset_status.json").write_text(marked, "utf-8")
            served.wait_shown(f"n{number} on ")
        for path in ("/", "/metrics", "/readyz"):
            answer = served.page.get(path)
            assert answer.status in {200, 503}, (path, text)
            assert "<script>" not in answer.text


def test_serve_needs_its_port(volume: Volume, shop: Shelf) -> None:
    """A port that is taken is an error of the settings."""
    del shop
    with socket.create_server(("127.0.0.1", 0)) as sock:
        outcome = volume.run("serve", "--port", str(sock.getsockname()[1]))
    assert outcome.code == 78
    assert "cannot be used: Address already in use" in outcome.err


# --- ON_FAILURE=page -------------------------------------------------------------------------------------------------------


def missing(shelf: Shelf) -> dict[str, Any]:
    """Return a file that is not there."""
    return shelf.raw("gone.bin", b"gone") | {"url": "https://files.example.org/nowhere.bin"}


def test_a_page_that_stays_with_what_failed(shelf: Shelf, volume: Volume) -> None:
    """The page shows what failed and what helps until a signal comes; then the exit code is that of the run."""
    shelf.add("alpha", shelf.raw("alpha.bin", b"alpha"))
    shelf.add("gone", missing(shelf), priority=5)
    port = free_port()
    run = volume.start(ON_FAILURE="page", PROGRESS_PORT=str(port))
    page = PageClient(port)
    run.wait_line("stays up until a signal comes")
    page.wait_up()
    wait_until(lambda: "<h1>Failed" in page.get("/").text, "the page says so")
    answer = page.get("/")
    assert "not found (404 Not Found)" in answer.text
    assert "It was moved or removed: look for its new address." in answer.text
    assert (page.get("/readyz").status, page.get("/healthz").status) == (503, 200)
    assert volume.published == ["alpha"]
    # Nobody waits for the lock of a run that only shows its end.
    assert volume.run(LOCK_TIMEOUT="0", ON_FAILURE=None).code == 66
    run.send(signal.SIGTERM)
    outcome = run.wait()
    assert outcome.code == 66, outcome.err


def test_a_page_that_stays_with_an_early_failure(shelf: Shelf, volume: Volume) -> None:
    """A run that fails before there is anything to do opens the page for that; Ctrl-C ends it with the run's own code."""
    shelf.add("alpha", shelf.raw("alpha.bin", b"alpha"))
    port = free_port()
    run = volume.start(ON_FAILURE="page", PROGRESS_PORT=str(port), AUTO_DOWNLOAD="false")
    page = PageClient(port)
    page.wait_up()
    wait_until(lambda: "<h1>Failed" in page.get("/").text, "the page says so")
    assert "AUTO_DOWNLOAD=true" in page.get("/").text
    run.send(signal.SIGINT)
    outcome = run.wait()
    assert outcome.code == 66, outcome.err


def test_a_page_that_stays_while_another_process_writes(held: Held, volume: Volume) -> None:
    """A run that gave up waiting for the lock says so on its own page; the other one goes on."""
    port = free_port()
    run = volume.start(ON_FAILURE="page", PROGRESS_PORT=str(port), LOCK_TIMEOUT="0")
    page = PageClient(port)
    page.wait_up()
    wait_until(lambda: "<h1>Failed" in page.get("/").text, "the page says so")
    assert "another writer" in page.get("/").text
    run.send(signal.SIGTERM)
    assert run.wait().code == 75
    held.gate.release()
    assert held.run.wait().code == 0


def test_a_page_that_cannot_stay(shelf: Shelf, volume: Volume) -> None:
    """Without a page there is nothing to keep up: that is said before the first byte. On a port that is taken nothing waits."""
    shelf.add("gone", missing(shelf))
    outcome = volume.run(ON_FAILURE="page")
    assert outcome.code == 78
    assert "PROGRESS_PORT" in outcome.err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        outcome = volume.run(ON_FAILURE="page", PROGRESS_PORT=str(taken.getsockname()[1]))
    assert outcome.code == 66
    assert "there is no page on port" in outcome.err
