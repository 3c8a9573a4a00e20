"""The page's routes, in this process: who is answered, with what, and that nothing of a document becomes markup."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from provisioner.catalog.model import Catalog
from provisioner.redaction import Redactor
from provisioner.reporting.observation import Counters, Observation
from provisioner.web.application import make_application
from provisioner.web.feed import Feed
from provisioner.web.guard import OURS, Guard

if TYPE_CHECKING:
    from collections.abc import Collection

SECRET: Final = "not-a-real-token-0123456789"
HOSTILE: Final = "<script>alert(1)</script>\"'&"
ERROR: Final = {"reference": "digest-mismatch", "message": f"wrong bytes {HOSTILE}", "hint": f"use {SECRET}"}


def dataset(state: str, **fields: Any) -> dict[str, Any]:
    """Return the record of one data set."""
    usual = {"reason": None, "path": None, "layout": "raw", "source": None, "verified_against": None, "license": "CC-BY-4.0"}
    return {"state": state, **usual, "bytes_done": 0, "bytes_total": None, "files": 0, "error": None, **fields}


DATASETS: Final = {
    "waits": dataset("pending", bytes_total=5000),
    "comes": dataset("fetching", bytes_done=2_000_000, bytes_total=8_000_000, rate_bytes_per_second=1e6, eta_seconds=6),
    "grows": dataset("unpacking", bytes_done=10, bytes_total=None),
    "there": dataset(
        "ready", bytes_total=5000, files=3, verified_against="catalog", source={"kind": "url", "url": "https://a/b", "pin": "x"}
    ),
    "small": dataset("skipped", reason="storage_limit"),
    HOSTILE: dataset("failed", error=ERROR, bytes_done=5),
}


def document(state: str = "provisioning", **changes: Any) -> dict[str, Any]:
    """Return a status document with a data set in every state."""
    return {
        "schema_version": 1,
        "provisioner_version": "0.1.0",
        "run_id": "r",
        "host": "h",
        "state": state,
        "phase": "minimal",
        "started_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:09Z",
        "finished_at": None if state == "provisioning" else "2026-01-01T00:00:09Z",
        "volume": {"used_bytes": 5000, "free_bytes": 10**9, "limit_bytes": 2 * 10**9},
        "datasets": DATASETS,
        "dataset_repo": {
            "state": "ready",
            "repo_id": "ann/logs",
            "url": "https://huggingface.co/datasets/ann/logs",
            "error": None,
        },
        "error": ERROR if state == "failed" else None,
        **changes,
    }


@pytest.mark.parametrize("path", ["/", "/status.json", "/metrics"])
def test_names_that_are_not_utf8(path: str) -> None:
    """A message may name a file whose bytes are no text: every page is answered all the same."""
    odd = "a\udcff\ud800b"
    error = {"reference": "damaged-tree", "message": f"{odd} is not as it was", "hint": odd}
    datasets = {odd: dataset("failed", bytes_done=5, error=error, source={"kind": "url", "url": f"https://a/{odd}", "pin": odd})}
    shares = [{"share": odd, "state": "running", "bytes_done": 1, "bytes_total": 2}]
    with client_of(Observation(document("failed", datasets=datasets, error=error, shares=shares))) as client:
        answer = client.get(path)
    assert answer.status_code == 200
    assert "udcff" in answer.text


def client_of(observation: Observation, *, hosts: Collection[str] = (), framed_by_hub: bool = False) -> TestClient:
    """Return a client of the application that shows one observation."""
    feed = Feed(lambda: observation, Catalog({}, {}), Redactor([SECRET]))
    app = make_application(feed, hosts=hosts, framed_by_hub=framed_by_hub)
    return TestClient(app, base_url="http://localhost:7860")


@pytest.mark.parametrize("state", ["provisioning", "ready", "partial", "degraded", "failed", "interrupted"])
def test_the_page_in_every_state(state: str) -> None:
    """It names every data set and its state; what a source says is text, and no secret is on it."""
    counters = Counters(2_000_010, {"fetching": 3.5}, {("files.example.org", "200"): 4}, {"429": 2})
    with client_of(Observation(document(state), "no heartbeat", counters)) as client:
        page = client.get("/")
        assert page.status_code == 200
        for said in ("waits", "comes", "grows", "there", "small", "no heartbeat", "ann/logs"):
            assert said in page.text
        assert "<script>alert" not in page.text
        assert "&lt;script&gt;" in page.text
        assert client.get("/readyz").status_code == (200 if state in {"ready", "partial"} else 503)
        for path in ("/", "/status.json", "/metrics"):
            answer = client.get(path)
            assert SECRET not in answer.text
            assert client.head(path).content == b""
        assert client.get("/status.json").json()["state"] == state


def test_before_anything_is_known() -> None:
    """The page and the metrics are there; the document is not."""
    with client_of(Observation(None)) as client:
        assert [client.get(path).status_code for path in ("/", "/metrics", "/healthz", "/status.json", "/readyz")] == [
            200, 200, 200, 404, 503,
        ]  # fmt: skip


def test_metrics_are_what_was_counted() -> None:
    """The official parser reads them, and finds the numbers of the observation."""
    counters = Counters(
        77, {"fetching": 3.5, "unpacking": 1.0}, {("a.example", "200"): 4, ("a.example", "failed"): 1}, {"429": 2}
    )
    with client_of(Observation(document(), "", counters)) as client:
        text = client.get("/metrics", headers={"Accept": "text/plain"}).text
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert 77 in {
        value for (name, _), value in samples.items() if name.startswith("provisioner_") and name.endswith("bytes_total")
    }
    requests = {labels: value for (name, labels), value in samples.items() if "requests" in name}
    assert sorted(requests.values()) == [1, 4]


@pytest.mark.parametrize("path", ["/nothing", "/../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/status.json/", "/events/x"])
def test_other_paths(path: str) -> None:
    """They are not there, and nothing redirects."""
    with client_of(Observation(document())) as client:
        assert client.get(path, follow_redirects=False).status_code == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_can_be_changed(method: str) -> None:
    """Only GET and HEAD are answered."""
    with client_of(Observation(document())) as client:
        assert client.request(method, "/").status_code == 405


@pytest.mark.parametrize(
    ("host", "hosts", "is_ours"),
    [
        ("localhost:7860", (), True),
        ("127.0.0.1", (), True),
        ("[::1]:7860", (), True),
        ("10.1.2.3:80", (), True),
        ("provisioner", (), True),
        ("provisioner.default.svc", (), True),
        ("box.local", (), True),
        ("evil.example", (), False),
        ("evil.example:7860", (), False),
        ("127.0.0.1.evil.example", (), False),
        ("page.example", ("page.example",), True),
        ("PAGE.example.", ("page.example",), True),
        ("sub.page.example", ("page.example",), False),
        ("", (), False),
        ("a b", (), False),
        ("user@localhost", (), False),
        ("localhost/../x", (), False),
        ("localhost:port", (), False),
    ],
)
def test_who_may_name_us(host: str, hosts: tuple[str, ...], *, is_ours: bool) -> None:
    """Only under names that nobody else can point here."""

    async def nobody(*_: object) -> None:
        raise AssertionError

    assert Guard(nobody, hosts=hosts).is_ours(host) is is_ours


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://localhost:7860"}, 200),
        ({"Origin": "https://localhost:7860"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example"}, 421),
    ],
)
def test_requests_of_other_sites(headers: dict[str, str], status: int) -> None:
    """They are refused, and every response has the headers that keep others away."""
    with client_of(Observation(document())) as client:
        answer = client.get("/status.json", headers=headers)
    assert answer.status_code == status
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers[OURS] == "page"


def test_only_the_hub_may_frame_it() -> None:
    """And only where that was said."""
    with client_of(Observation(document()), framed_by_hub=True) as client:
        assert "frame-ancestors https://huggingface.co" in client.get("/").headers["Content-Security-Policy"]
