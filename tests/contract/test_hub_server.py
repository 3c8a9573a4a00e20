"""The test Hub speaks the real client's language, keeps HTTP's rules, and fails exactly as it is told to."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import huggingface_hub
import pytest
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.support.faults import Rule
from tests.support.hub_model import Hub, Scope, demo_accounts, git_blob_id
from tests.support.hub_server import HubServer
from tests.support.proxy import ProxyServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

WRITE = "demo-write-token"
READ = "demo-read-token"
VISITOR = "visitor-write-token"
WAV = bytes(range(256)) * 512
TEXT = b"one\ntwo\n"
HOST = "files.example.org"


@pytest.fixture
def server() -> Iterator[HubServer]:
    """Return a Hub with one repository and one direct URL."""
    with HubServer() as server:
        demo_accounts(server.hub)
        files = {"README.md": b"# Data\n", "a/one.wav": WAV, "a/b/two.txt": TEXT, "c d.txt": b"space\n"}
        server.hub.add_repo("demo/data", files)
        server.add_static(f"https://{HOST}/big.bin", WAV)
        yield server


def client(server: HubServer, token: str | bool = WRITE) -> huggingface_hub.HfApi:
    """Return the real client, for this server alone."""
    return huggingface_hub.HfApi(endpoint=server.endpoint, token=token)


@dataclass
class Reply:
    """What came back, as far as it came."""

    status: int
    headers: dict[str, str]
    body: bytes
    error: Exception | None = None


@dataclass
class Wire:
    """Plain HTTP without any mercy: no retry, no redirect."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Reply:
        """Send one request; `If_Range="x"` becomes `If-Range: x`."""
        place = urlsplit(self.url)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=20)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with contextlib.closing(connection):
            connection.request(method, path, body, {**self.headers, **named})
            response = connection.getresponse()
            content, error = b"", None
            try:
                while piece := response.read1(65536):
                    content += piece
            except (OSError, http.client.HTTPException) as caught:
                error = caught
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, content, error)

    def json(self, path: str, method: str = "GET", document: object = None) -> Any:
        """Send and receive JSON."""
        body = None if document is None else json.dumps(document).encode()
        return json.loads(self.ask(path, method, body).body)


@pytest.fixture
def hub(server: HubServer) -> Wire:
    """Return plain HTTP to the Hub's origin."""
    return Wire(server.endpoint)


@pytest.fixture
def cdn(server: HubServer) -> Wire:
    """Return plain HTTP to the other origin."""
    return Wire(server.static_url)


BIG = f"/{HOST}/big.bin"


class TestRealClient:
    """huggingface_hub finds what it expects."""

    def test_whoami_names_user_organizations_and_role(self, server: HubServer) -> None:
        answer = client(server).whoami()
        assert answer["name"] == "demo"
        assert {each["name"] for each in answer["orgs"]} == {"demo-lab", "demo-readers"}
        assert answer["auth"]["accessToken"]["role"] == "write"

    def test_a_wrong_token_is_unauthorized(self, server: HubServer) -> None:
        with pytest.raises(HfHubHTTPError) as caught:
            client(server, "wrong").whoami()
        assert caught.value.response.status_code == 401

    def test_create_repository_new_and_existing(self, server: HubServer) -> None:
        api = client(server)
        url = api.create_repo("fresh", repo_type="dataset", private=True)
        assert url.repo_id == "demo/fresh"
        assert api.dataset_info("demo/fresh").private is True
        with pytest.raises(HfHubHTTPError) as caught:
            api.create_repo("fresh", repo_type="dataset")
        assert caught.value.response.status_code == 409
        assert api.create_repo("fresh", repo_type="dataset", exist_ok=True).repo_id == "demo/fresh"

    @pytest.mark.parametrize(
        ("token", "name", "status"),
        [
            (READ, "demo/fresh", 403),
            ("demo-fine-read-token", "demo/fresh", 403),
            (WRITE, "visitor/fresh", 403),
            (WRITE, "demo-readers/fresh", 403),
            (WRITE, "unpaid/fresh", 402),
        ],
    )
    def test_creation_refused(self, server: HubServer, token: str, name: str, status: int) -> None:
        server.hub.users["demo"].orgs["unpaid"] = "admin"
        server.hub.unpaid.add("unpaid")
        with pytest.raises(HfHubHTTPError) as caught:
            client(server, token).create_repo(name, repo_type="dataset")
        assert caught.value.response.status_code == status

    @pytest.mark.parametrize(
        ("token", "name"),
        [(WRITE, "demo/fresh"), (WRITE, "demo-lab/fresh"), ("demo-fine-write-token", "demo/fresh")],
    )
    def test_creation_allowed(self, server: HubServer, token: str, name: str) -> None:
        assert client(server, token).create_repo(name, repo_type="dataset").repo_id == name

    @pytest.mark.parametrize("token", [READ, "demo-fine-read-token", VISITOR])
    def test_a_token_that_may_not_write_is_found_out(self, server: HubServer, token: str) -> None:
        api = client(server, token)
        api.auth_check("demo/data", repo_type="dataset")
        with pytest.raises(HfHubHTTPError):
            api.create_repo("demo/data", repo_type="dataset")
        with pytest.raises(HfHubHTTPError) as caught:
            api.auth_check("demo/data", repo_type="dataset", write=True)
        assert caught.value.response.status_code == 403
        with pytest.raises(HfHubHTTPError, match="write token"):
            api.upload_file(path_or_fileobj=b"x", path_in_repo="x.md", repo_id="demo/data", repo_type="dataset")

    def test_a_token_for_one_repository_writes_there_alone(self, server: HubServer) -> None:
        scope = Scope("dataset", "demo/data", frozenset({"repo.write"}))
        server.hub.add_token("narrow", "demo", "fineGrained", scopes=(scope,))
        server.hub.add_repo("demo/other")
        api = client(server, "narrow")
        api.auth_check("demo/data", repo_type="dataset", write=True)
        with pytest.raises(HfHubHTTPError):
            api.auth_check("demo/other", repo_type="dataset", write=True)
        with pytest.raises(HfHubHTTPError):
            api.create_repo("fresh", repo_type="dataset")

    def test_upload_a_card(self, server: HubServer) -> None:
        api = client(server)
        api.auth_check("demo/data", repo_type="dataset", write=True)
        before = server.hub.repos["dataset", "demo/data"].head.commit
        card = b"---\nlicense: cc0-1.0\n---\n# Card\n"
        commit = api.upload_file(path_or_fileobj=card, path_in_repo="README.md", repo_id="demo/data", repo_type="dataset")
        assert commit.oid != before
        assert server.hub.repos["dataset", "demo/data"].head.files["README.md"].content == card
        assert [each.path for each in server.log.entries("/api/*", method="POST")] == [
            "/api/validate-yaml",
            "/api/datasets/demo/data/preupload/main",
            "/api/datasets/demo/data/commit/main",
        ]

    def test_listing_in_pages(self, server: HubServer) -> None:
        server.page_size = 2
        listed = list(client(server).list_repo_tree("demo/data", repo_type="dataset", recursive=True))
        assert [each.path for each in listed] == ["README.md", "a", "a/b", "a/b/two.txt", "a/one.wav", "c d.txt"]
        assert len(server.log.entries("*/tree/*")) == 3
        text, audio = listed[3], listed[4]
        assert isinstance(text, huggingface_hub.hf_api.RepoFile)
        assert isinstance(audio, huggingface_hub.hf_api.RepoFile)
        assert text.blob_id == git_blob_id(TEXT)
        assert text.lfs is None
        assert audio.lfs is not None
        assert audio.lfs.size == len(WAV)

    def test_listing_expanded_and_of_a_folder(self, server: HubServer) -> None:
        api = client(server)
        assert [each.path for each in api.list_repo_tree("demo/data", "a", repo_type="dataset")] == ["a/b", "a/one.wav"]
        for each in api.list_repo_tree("demo/data", repo_type="dataset", recursive=True, expand=True):
            assert each.last_commit is not None
        with pytest.raises(RemoteEntryNotFoundError):
            list(api.list_repo_tree("demo/data", "nowhere", repo_type="dataset"))

    def test_paths_and_references_and_files_metadata(self, server: HubServer) -> None:
        api = client(server)
        infos = api.get_paths_info("demo/data", ["a/one.wav", "a/b", "gone"], repo_type="dataset")
        assert [each.path for each in infos] == ["a/one.wav", "a/b"]
        head = server.hub.repos["dataset", "demo/data"].head.commit
        assert api.list_repo_refs("demo/data", repo_type="dataset").branches[0].target_commit == head
        siblings = api.dataset_info("demo/data", files_metadata=True).siblings or []
        assert {each.rfilename: each.size for each in siblings}["a/one.wav"] == len(WAV)

    def test_download_lfs_and_regular_files(self, server: HubServer, tmp_path: Path) -> None:
        api = client(server)
        for name, content in (("a/one.wav", WAV), ("a/b/two.txt", TEXT), ("c d.txt", b"space\n")):
            path = api.hf_hub_download("demo/data", name, repo_type="dataset", cache_dir=tmp_path)
            with open(path, "rb") as stream:  # noqa: PTH123 - the client gives a string
                assert stream.read() == content
        (from_cdn,) = server.log.entries(origin="cdn")
        assert from_cdn.status == 200
        assert from_cdn.bytes_sent == len(WAV)
        assert not from_cdn.authorization
        assert "X-Amz-Signature" in from_cdn.query

    def test_snapshot_of_a_repository_on_disk(self, server: HubServer, tmp_path: Path) -> None:
        files = {"x/1.bin": WAV, "x/2.txt": TEXT, "empty.txt": b""}
        for name, content in files.items():
            (tmp_path / "repo" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "repo" / name).write_bytes(content)
        commit = "58177a0f0f816e621b3d5d304c5fd1a03c035a86"
        server.hub.add_repo("demo/disk", tmp_path / "repo", commit_id=commit)
        api = client(server, token=False)
        folder = api.snapshot_download(
            "demo/disk", repo_type="dataset", revision=commit, local_dir=tmp_path / "out", cache_dir=tmp_path / "cache"
        )
        assert folder == str(tmp_path / "out")
        assert {name: (tmp_path / "out" / name).read_bytes() for name in files} == files
        checked = api.verify_repo_checksums("demo/disk", repo_type="dataset", revision=commit, local_dir=tmp_path / "out")
        assert checked.checked_count == 3
        assert not checked.mismatches

    def test_what_is_not_there(self, server: HubServer, tmp_path: Path) -> None:
        for token, status in ((False, 401), (WRITE, 404)):
            with pytest.raises(RepositoryNotFoundError) as missing:
                client(server, token).dataset_info("demo/nothing")
            assert missing.value.response.status_code == status
        with pytest.raises(RevisionNotFoundError):
            client(server).dataset_info("demo/data", revision="nowhere")
        with pytest.raises(RemoteEntryNotFoundError):
            client(server).hf_hub_download("demo/data", "nothing.txt", repo_type="dataset", cache_dir=tmp_path)

    def test_private_is_not_there_for_others(self, server: HubServer) -> None:
        server.hub.add_repo("demo/secret", {"x.txt": b"x"}, private=True)
        for token in (False, VISITOR):
            with pytest.raises(RepositoryNotFoundError):
                client(server, token).dataset_info("demo/secret")
        assert client(server, READ).dataset_info("demo/secret").private is True

    @pytest.mark.parametrize(("token", "status"), [(False, 401), (VISITOR, 403), ("demo-fine-read-token", 403)])
    def test_gated(self, server: HubServer, tmp_path: Path, token: str | bool, status: int) -> None:
        server.hub.add_repo("demo/gated", {"x.txt": b"x"}, gated="manual")
        api = client(server, token)
        assert api.dataset_info("demo/gated").gated == "manual"
        with pytest.raises(GatedRepoError) as caught:
            api.auth_check("demo/gated", repo_type="dataset")
        assert caught.value.response.status_code == status
        with pytest.raises(GatedRepoError):
            api.hf_hub_download("demo/gated", "x.txt", repo_type="dataset", cache_dir=tmp_path)
        server.hub.repos["dataset", "demo/gated"].members = frozenset({"visitor"})
        client(server, VISITOR).auth_check("demo/gated", repo_type="dataset")

    def test_disabled(self, server: HubServer) -> None:
        server.hub.add_repo("demo/disabled", disabled=True)
        with pytest.raises(DisabledRepoError):
            client(server).dataset_info("demo/disabled")


class TestLinksToTheCdn:
    """LFS files are elsewhere, behind signed links."""

    PATH = "/datasets/demo/data/resolve/main/a/one.wav"

    def test_credentials_are_refused_and_recorded(self, server: HubServer, hub: Wire, cdn: Wire) -> None:
        link = hub.ask(self.PATH).headers["location"]
        place = urlsplit(link)
        assert f"{place.scheme}://{place.netloc}" == server.static_url
        target = f"{place.path}?{place.query}"
        assert cdn.ask(target).body == WAV
        assert cdn.ask(target, Authorization="Bearer x").status == 400
        assert [each.authorization for each in server.log.entries("/_lfs/*")] == [False, True]

    def test_links_are_signed_and_expire(self, server: HubServer, hub: Wire, cdn: Wire) -> None:
        place = urlsplit(hub.ask(self.PATH).headers["location"])
        assert cdn.ask(place.path).status == 403
        server.expire_links()
        assert cdn.ask(f"{place.path}?{place.query}").status == 403
        fresh = urlsplit(hub.ask(self.PATH).headers["location"])
        assert cdn.ask(f"{fresh.path}?{fresh.query}", Range="bytes=5-8").body == WAV[5:9]

    def test_links_name_the_host_by_which_the_client_came(self, hub: Wire) -> None:
        link = hub.ask(self.PATH, Host="hub.internal:8900").headers["location"]
        assert urlsplit(link).hostname == "hub.internal"


class TestHttp:
    """Ranges, validators, keep-alive."""

    @pytest.mark.parametrize(
        ("asked", "first", "last"),
        [("bytes=0-0", 0, 0), ("bytes=100-", 100, None), ("bytes=-7", -7, None), ("bytes=5-99999999", 5, None)],
    )
    def test_range(self, cdn: Wire, asked: str, first: int, last: int | None) -> None:
        reply = cdn.ask(BIG, Range=asked)
        start = first % len(WAV)
        stop = len(WAV) if last is None else last + 1
        assert reply.status == 206
        assert reply.body == WAV[start:stop]
        assert reply.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(WAV)}"

    @pytest.mark.parametrize("asked", [f"bytes={len(WAV)}-", "bytes=-0"])
    def test_range_not_satisfiable(self, cdn: Wire, asked: str) -> None:
        reply = cdn.ask(BIG, Range=asked)
        assert reply.status == 416
        assert reply.headers["content-range"] == f"bytes */{len(WAV)}"

    @pytest.mark.parametrize("asked", ["items=1-2", "bytes=1-2,5-6", "bytes=9-3", "bytes=x-"])
    def test_range_ignored(self, cdn: Wire, asked: str) -> None:
        assert cdn.ask(BIG, Range=asked).status == 200

    def test_if_range(self, cdn: Wire) -> None:
        plain = cdn.ask(BIG, "HEAD")
        for good in (plain.headers["etag"], plain.headers["last-modified"]):
            assert cdn.ask(BIG, Range="bytes=10-19", If_Range=good).status == 206
        for bad in ('"other"', "Mon, 01 Jan 2001 00:00:00 GMT", "W/" + plain.headers["etag"]):
            assert cdn.ask(BIG, Range="bytes=10-19", If_Range=bad).status == 200

    def test_conditions(self, cdn: Wire) -> None:
        etag = cdn.ask(BIG, "HEAD").headers["etag"]
        assert cdn.ask(BIG, If_None_Match=etag).status == 304
        assert cdn.ask(BIG, If_Match=etag).status == 200
        assert cdn.ask(BIG, If_Match='"other"').status == 412

    def test_head_says_what_get_would(self, server: HubServer, cdn: Wire) -> None:
        reply = cdn.ask(f"{BIG}?download=1", "HEAD")
        assert (reply.status, reply.body) == (200, b"")
        assert reply.headers["content-length"] == str(len(WAV))
        assert reply.headers["accept-ranges"] == "bytes"
        (entry,) = server.log.entries(BIG)
        assert (entry.method, entry.query, entry.bytes_sent) == ("HEAD", "download=1", 0)

    def test_archives_from_a_folder(self, server: HubServer, cdn: Wire, tmp_path: Path) -> None:
        (tmp_path / "archives" / HOST).mkdir(parents=True)
        (tmp_path / "archives" / HOST / "disk.tar").write_bytes(WAV)
        (tmp_path / "secret").write_bytes(b"secret")
        server.load(tmp_path)
        first = cdn.ask(f"/{HOST}/disk.tar")
        assert first.body == WAV
        assert cdn.ask(f"/{HOST}/disk.tar", Range="bytes=3-").body == WAV[3:]
        assert cdn.ask(f"/{HOST}/../../secret").status == 404
        (tmp_path / "archives" / HOST / "disk.tar").write_bytes(WAV[::-1])
        assert cdn.ask(f"/{HOST}/disk.tar").headers["etag"] != first.headers["etag"]
        assert f"https://{HOST}={server.static_url}/{HOST}" in server.url_rewrite().split(";")

    def test_many_requests_on_one_connection(self, server: HubServer) -> None:
        place = urlsplit(server.endpoint)
        with contextlib.closing(http.client.HTTPConnection(place.hostname or "", place.port)) as connection:
            for _ in range(500):
                connection.request("GET", "/datasets/demo/data/resolve/main/a/b/two.txt")
                assert connection.getresponse().read() == TEXT
        assert len(server.log.entries("*/two.txt")) == 500


class TestFaults:
    """Each fault happens where, when and as often as it was asked for, and is counted."""

    def test_status_with_headers_the_first_time(self, server: HubServer, cdn: Wire) -> None:
        rule = server.faults.add("status", path=BIG, first=1, status=429, headers={"Retry-After": "7"})
        first = cdn.ask(BIG)
        assert (first.status, first.headers["retry-after"]) == (429, "7")
        assert cdn.ask(BIG).body == WAV
        assert (rule.fired, rule.matched) == (1, 2)
        assert [each.faults for each in server.log.entries(BIG)] == [("status",), ()]

    def test_nth_and_method_and_origin(self, server: HubServer, cdn: Wire) -> None:
        second = server.faults.add("status", nth=2, method="GET", origin="cdn")
        never = server.faults.add("status", origin="hub")
        statuses = [cdn.ask(BIG, "HEAD").status, *(cdn.ask(BIG).status for _ in range(3))]
        assert statuses == [200, 200, 503, 200]
        assert (second.fired, never.fired) == (1, 0)

    @pytest.mark.parametrize("kind", ["reset", "close"])
    def test_connection_ends_after_some_bytes(self, server: HubServer, cdn: Wire, kind: Any) -> None:
        rule = server.faults.add(kind, path=BIG, after=1000, first=1)
        reply = cdn.ask(BIG)
        assert reply.body == WAV[:1000]
        if kind == "reset":
            assert isinstance(reply.error, ConnectionResetError)
        assert int(reply.headers["content-length"]) == len(WAV)
        assert rule.fired == 1
        assert server.log.entries(BIG)[0].bytes_sent == 1000
        assert cdn.ask(BIG).body == WAV

    def test_reset_before_any_answer(self, server: HubServer, cdn: Wire) -> None:
        server.faults.add("reset", path=BIG, after=None, first=1)
        with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected)):
            cdn.ask(BIG, "HEAD")
        assert server.log.entries(BIG)[0].status is None

    def test_a_body_fault_that_cannot_happen_is_not_used_up(self, server: HubServer, cdn: Wire) -> None:
        rule = server.faults.add("flip", path=BIG, offset=5000, first=1)
        assert cdn.ask(BIG, Range="bytes=0-99").body == WAV[:100]
        assert cdn.ask(BIG, "HEAD").status == 200
        assert rule.fired == 0
        broken = cdn.ask(BIG, Range="bytes=4990-5010").body
        assert [at for at in range(21) if broken[at] != WAV[4990 + at]] == [10]
        assert rule.fired == 1
        assert cdn.ask(BIG).body == WAV

    def test_gate_holds_a_transfer_until_released(self, server: HubServer, cdn: Wire) -> None:
        rule = server.faults.add("gate", path=BIG, after=70_000, gate="half")
        gate = server.faults.gate("half")
        replies: list[Reply] = []
        thread = threading.Thread(target=lambda: replies.append(cdn.ask(BIG)))
        thread.start()
        assert gate.wait_reached()
        (entry,) = server.log.entries(BIG)
        assert (entry.bytes_sent, entry.held, entry.done) == (70_000, True, False)
        gate.release()
        thread.join()
        assert replies[0].body == WAV
        assert rule.fired == 1

    def test_a_client_killed_at_a_gate(self, server: HubServer, tmp_path: Path) -> None:
        server.faults.add("gate", path=BIG, after=70_000, first=1, gate="half")
        fetch = (
            "import sys, urllib.request\n"
            "with urllib.request.urlopen(sys.argv[1]) as r, open(sys.argv[2], 'wb', 0) as f:\n"
            "    while piece := r.read1():\n"
            "        f.write(piece)\n"
            "        if f.tell() == 70_000: print('written', flush=True)\n"
        )
        command = [sys.executable, "-c", fetch, f"{server.static_url}{BIG}", str(tmp_path / "part")]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert server.faults.gate("half").wait_reached()
            assert process.stdout is not None
            assert process.stdout.readline() == b"written\n"
            process.kill()
        assert process.returncode == -signal.SIGKILL
        server.faults.gate("half").release()
        assert (tmp_path / "part").read_bytes() == WAV[:70_000]
        assert server.log.wait_for(lambda entries: all(each.done for each in entries))

    def test_stall_ends_with_the_server(self, server: HubServer, cdn: Wire) -> None:
        rule = server.faults.add("stall", path=BIG, after=10)
        replies: list[Reply] = []
        thread = threading.Thread(target=lambda: replies.append(cdn.ask(BIG)))
        thread.start()
        assert server.faults.gate(rule.gate).wait_reached()
        server.stop()
        thread.join()
        assert replies[0].body == WAV[:10]
        assert rule.fired == 1

    def test_throttle_keeps_the_bytes_right(self, server: HubServer, cdn: Wire) -> None:
        rule = server.faults.add("throttle", path=BIG, rate=2_000_000)
        assert cdn.ask(BIG).body == WAV
        assert rule.fired == 1

    def test_wrong_lengths_and_ranges(self, server: HubServer, cdn: Wire) -> None:
        rules = [
            server.faults.add("content_length", path=BIG, offset=-10, first=1),
            server.faults.add("content_range", path=BIG, offset=1),
        ]
        assert cdn.ask(BIG).body == WAV[:-10]
        reply = cdn.ask(BIG, Range="bytes=10-19")
        assert reply.headers["content-range"] == f"bytes 11-20/{len(WAV)}"
        assert reply.body == WAV[10:20]
        assert [rule.fired for rule in rules] == [1, 1]

    def test_ignored_range(self, server: HubServer, cdn: Wire) -> None:
        rule = server.faults.add("ignore_range", path=BIG)
        reply = cdn.ask(BIG, Range="bytes=10-19")
        assert (reply.status, reply.body) == (200, WAV)
        assert rule.fired == 1

    def test_changed_upstream(self, server: HubServer, cdn: Wire) -> None:
        before = cdn.ask(BIG)
        rule = server.faults.add("change", path=BIG)
        after = cdn.ask(BIG, Range="bytes=10-", If_Range=before.headers["etag"])
        assert after.status == 200
        assert len(after.body) == len(WAV)
        assert after.body != WAV
        assert after.headers["etag"] != before.headers["etag"]
        assert rule.fired == 1

    def test_redirect_html_gzip_delay(self, server: HubServer, cdn: Wire) -> None:
        first = server.faults.add("redirect", path=BIG, nth=1, location="http://elsewhere.invalid/x")
        second = server.faults.add("html", path=BIG, nth=2)
        # The first to reach the file: a request that fails before does not count for faults of the file.
        third = server.faults.add("gzip", path=BIG, nth=1)
        waits = server.faults.add("delay", path=BIG, seconds=0.001)
        moved, page, packed = cdn.ask(BIG), cdn.ask(BIG), cdn.ask(BIG)
        assert (moved.status, moved.headers["location"]) == (302, "http://elsewhere.invalid/x")
        assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert packed.headers["content-encoding"] == "gzip"
        assert gzip.decompress(packed.body) == WAV
        assert (first.fired, second.fired, third.fired, waits.fired) == (1, 1, 1, 3)

    def test_listing_that_ends_early_or_leads_out(self, server: HubServer) -> None:
        server.page_size = 2
        short = server.faults.add("short_listing", path="*/tree/*", first=1)
        api = client(server)
        listed = list(api.list_repo_tree("demo/data", repo_type="dataset", recursive=True))
        assert len(listed) == 2
        assert short.fired == 1
        server.page_size = 100
        rule = server.faults.add("bad_path", path="*/tree/*", body="../x")
        listed = list(api.list_repo_tree("demo/data", repo_type="dataset", recursive=True))
        assert listed[-1].path == "../x"
        assert rule.fired == 1

    def test_an_unknown_fault_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="unknown fault 'explode'"):
            Rule.from_json({"kind": "explode"})
        with pytest.raises(ValueError, match="unknown keys in a fault rule: pth"):
            Rule.from_json({"kind": "reset", "pth": "*"})


class TestOverHttp:
    """What tests do in-process, containers are watched with over HTTP."""

    def test_log_and_reset(self, server: HubServer, hub: Wire, cdn: Wire) -> None:
        cdn.ask(BIG, Range="bytes=0-9")
        (entry,) = hub.json("/_test/log?path=*big*&min=1&wait=5")
        assert entry["range"] == "bytes=0-9"
        assert (entry["status"], entry["bytes_sent"], entry["origin"], entry["done"]) == (206, 10, "cdn", True)
        assert hub.ask("/_test/log?min=2").status == 408
        hub.json("/_test/reset", "POST")
        assert hub.json("/_test/log") == []
        assert hub.json("/_test/ready")["endpoint"] == server.endpoint

    def test_faults_and_gates(self, hub: Wire, cdn: Wire) -> None:
        (rule,) = hub.json("/_test/faults", "POST", {"kind": "gate", "path": "*big*", "after": 0, "gate": "g"})
        assert rule["number"] == 1
        assert hub.ask("/_test/gates/g?wait=0").status == 408
        thread = threading.Thread(target=lambda: cdn.ask(BIG))
        thread.start()
        assert hub.json("/_test/gates/g?wait=20")["waiting"] == 1
        assert hub.json("/_test/gates/g/release", "POST")["released"] is True
        thread.join()
        assert hub.json("/_test/faults")[0]["fired"] == 1
        assert [gate["name"] for gate in hub.json("/_test/gates")] == ["g"]
        assert hub.ask("/_test/faults", "DELETE").status == 200
        assert hub.json("/_test/faults") == []
        assert hub.ask("/_test/faults", "POST", b'{"kind": "explode"}').status == 400
        assert hub.ask("/_test/nonsense").status == 404

    def test_as_a_program(self, tmp_path: Path) -> None:
        (tmp_path / "hub" / "ann" / "set").mkdir(parents=True)
        (tmp_path / "hub" / "ann" / "set" / "x.txt").write_bytes(TEXT)
        (tmp_path / "hub" / "repos.json").write_text('{"ann/set": {"commit_id": "ab12", "gated": "auto"}}')
        command = [sys.executable, "-m", "tests.support.hub_server", "--root", str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            api = huggingface_hub.HfApi(endpoint=ready["endpoint"], token=ready["token"])
            info = api.dataset_info("ann/set")
            assert (info.sha, info.gated) == ("ab12", "auto")
            process.terminate()
            assert process.wait() == 0


class TestTransport:
    """TLS and proxies."""

    def test_tls(self, tmp_path: Path) -> None:
        import trustme  # noqa: PLC0415 - one test needs it

        authority = trustme.CA()
        ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(ours)
        path = tmp_path / "big.bin"
        path.write_bytes(WAV)
        with HubServer(ssl_context=ours, hub=Hub()) as server:
            server.add_static(f"https://{HOST}/big.bin", path)
            assert server.static_url.startswith("https://")
            theirs = ssl.create_default_context()
            authority.configure_trust(theirs)
            place = urlsplit(server.static_url)
            connection = http.client.HTTPSConnection(place.hostname or "", place.port, context=theirs)
            with contextlib.closing(connection):
                connection.request("GET", BIG)
                assert connection.getresponse().read() == WAV

    def test_http_and_tunnels_through_a_proxy(self, server: HubServer) -> None:
        place = urlsplit(server.static_url)
        address = (place.hostname or "", place.port or 0)
        with ProxyServer(routes={"nowhere.invalid": address}, credentials=("user", "secret")) as proxy:
            through = Wire(proxy.url)
            url = f"http://nowhere.invalid{BIG}"
            assert through.ask(url).status == 407
            basic = "Basic dXNlcjpzZWNyZXQ="
            assert through.ask(url, Proxy_Authorization=basic).body == WAV
            assert through.ask(url, "HEAD", Proxy_Authorization=basic).headers["content-length"] == str(len(WAV))
            server.faults.add("close", path=BIG, after=100, first=1)
            assert through.ask(url, Proxy_Authorization=basic).body == WAV[:100]
            at = urlsplit(proxy.url)
            with socket.create_connection((at.hostname or "", at.port or 0)) as tunnel:
                tunnel.sendall(b"CONNECT nowhere.invalid:443 HTTP/1.1\r\nProxy-Authorization: Basic dXNlcjpzZWNyZXQ=\r\n\r\n")
                assert tunnel.recv(1000).startswith(b"HTTP/1.1 200")
                tunnel.sendall(f"HEAD {BIG} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
                assert tunnel.recv(1000).startswith(b"HTTP/1.1 200")
            assert [(each.method, each.host, each.port, each.authorization) for each in proxy.passed] == [
                ("GET", "nowhere.invalid", 80, False),
                ("GET", "nowhere.invalid", 80, True),
                ("HEAD", "nowhere.invalid", 80, True),
                ("GET", "nowhere.invalid", 80, True),
                ("CONNECT", "nowhere.invalid", 443, True),
            ]
