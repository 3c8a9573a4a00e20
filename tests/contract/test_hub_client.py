"""The Hub client against a Hub that speaks the real protocol, through the real client library."""

from __future__ import annotations

import ssl
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trustme

from provisioner.cancellation import Cancellation
from provisioner.catalog.digest import Digest
from provisioner.errors import (
    AccessDeniedError,
    ConfigurationError,
    IntegrityError,
    NotFoundError,
    RemoteRefusedError,
    RemoteUnavailableError,
)
from provisioner.remote.hub.access import HubAccess
from provisioner.remote.hub.client import HubClient
from provisioner.remote.hub.errors import ConflictError, refusal
from provisioner.remote.hub.listing import check_selected
from provisioner.remote.network import Network
from provisioner.remote.proxies import Proxies
from tests.support.fake_time import FakeTime
from tests.support.hub_model import Scope, StoredFile
from tests.support.hub_server import HubServer
from tests.support.proxy import ProxyServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ANN = "ann-token"
FILES = {"README.md": b"# Songs", "a.wav": b"RIFF", "d/e f#%ü.txt": b"1", "d/g.txt": b"2", "h.txt": b""}


@pytest.fixture
def server() -> Iterator[HubServer]:
    """Return a Hub with pages of two entries, so that every listing has several."""
    with HubServer(page_size=2) as server:
        server.hub.add_token("ann-token", "ann")
        server.hub.add_repo("ann/songs", FILES)
        yield server


@pytest.fixture
def time() -> FakeTime:
    """Return time that does not pass by itself."""
    return FakeTime()


def client(server: HubServer, time: FakeTime, token: str | None = ANN, user_agent: str = "test", **settings: object) -> HubClient:
    """Return a client for a server."""
    network = Network(time.retry(), Cancellation(), **settings)  # type: ignore[arg-type]
    return HubClient(server.endpoint, token, network, user_agent=user_agent)


# -- reading --


def test_resolve_gives_the_commit(server: HubServer, time: FakeTime) -> None:
    """A branch and a tag resolve to the commit that they point to now."""
    repo = server.hub.repos["dataset", "ann/songs"]
    first = repo.head.commit
    repo.tags["v1"] = first
    second = repo.commit({"new.txt": b"3"}).commit
    with client(server, time) as hub:
        assert hub.resolve("ann/songs", "main") == second
        assert hub.resolve("ann/songs", "v1") == first


def test_a_commit_stands_for_itself(server: HubServer, time: FakeTime) -> None:
    """A full commit is resolved without a request."""
    with client(server, time) as hub:
        assert hub.resolve("ann/songs", "a" * 40) == "a" * 40
    assert not server.log.entries()


def test_listing_has_every_file_of_every_page_with_its_digest(server: HubServer, time: FakeTime) -> None:
    """Files in LFS have their SHA-256, all others the hash of their Git blob; directories are left out."""
    repo = server.hub.repos["dataset", "ann/songs"]
    with client(server, time) as hub:
        files = hub.listing("ann/songs", repo.head.commit)
    assert [(file.path, file.size) for file in files] == [(path, len(FILES[path])) for path in sorted(FILES)]
    for file in files:
        stored = StoredFile.of(file.path, FILES[file.path])
        assert file.digest == (Digest("sha256", stored.sha256) if stored.lfs else Digest("gitsha1", stored.blob_id))
    assert len(server.log.entries("*/tree/*")) == 3


def test_resolve_and_listing_ask_for_the_names_once(server: HubServer, time: FakeTime) -> None:
    """The names that `resolve` received are used by `listing`."""
    with client(server, time) as hub:
        hub.listing("ann/songs", hub.resolve("ann/songs", "main"))
    assert len(server.log.entries("*/revision/*")) == 1


def test_an_empty_repository_has_an_empty_listing(server: HubServer, time: FakeTime) -> None:
    """A repository without files is not an error."""
    repo = server.hub.add_repo("ann/empty")
    with client(server, time) as hub:
        assert hub.listing("ann/empty", repo.head.commit) == []


def test_file_url_leads_to_the_bytes(server: HubServer, time: FakeTime) -> None:
    """The URL of a file works for every character of its path."""
    commit = server.hub.repos["dataset", "ann/songs"].head.commit
    with client(server, time) as hub:
        url = hub.file_url("ann/songs", commit, "d/e f#%ü.txt")
    assert url == f"{server.endpoint}/datasets/ann/songs/resolve/{commit}/d/e%20f%23%25%C3%BC.txt"


def take_all(hub: HubClient, repo: str, commit: str) -> None:
    """Take every file of a listing."""
    files = hub.listing(repo, commit)
    check_selected(repo, files, {file.path for file in files})


@pytest.mark.parametrize(
    "path", ["../x", "/etc/passwd", "a/../../x", "a//b", "./a", "a/.", "a/", "", "a\\..\\b", "C:/x", "c:x", "a\0b", "a/.."]
)
def test_unsafe_paths_are_refused(server: HubServer, time: FakeTime, path: str) -> None:
    """A path outside its directory is refused with the whole listing, if it is taken."""
    fault = server.faults.add("bad_path", path="*/tree/*", body=path or "x")
    if not path:
        fault.body = ""  # the server's own default is the usual attack
    commit = server.hub.repos["dataset", "ann/songs"].head.commit
    with client(server, time) as hub, pytest.raises(IntegrityError, match="nothing was taken from it"):
        take_all(hub, "ann/songs", commit)
    assert fault.fired > 0


@pytest.mark.parametrize(("path", "problem"), [("a.wav", "twice"), ("a.wav/below", "below another file")])
def test_conflicting_paths_are_refused(server: HubServer, time: FakeTime, path: str, problem: str) -> None:
    """Two files for one path are refused, if they are taken."""
    fault = server.faults.add("bad_path", path="*/tree/*", body=path)
    commit = server.hub.repos["dataset", "ann/songs"].head.commit
    with client(server, time) as hub, pytest.raises(IntegrityError, match=problem):
        take_all(hub, "ann/songs", commit)
    assert fault.fired > 0


OID = '"oid": "' + "a" * 40 + '"'


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        ('"path": "\\ud800", "size": 1, ' + OID, "no valid text"),
        ('"path": 7, "size": 1, ' + OID, "no text"),
        ('"path": "a", "size": -1, ' + OID, "has -1 bytes"),
        ('"path": "a", "size": null, ' + OID, "has None bytes"),
        ('"path": "a", "size": 1, "oid": "xyz"', "no gitsha1"),
        ('"path": "a", "size": 1, "lfs": {"oid": "xyz", "size": 1, "pointerSize": 1}, ' + OID, "no sha256"),
    ],
)
def test_items_that_make_no_sense_are_refused(server: HubServer, time: FakeTime, item: str, problem: str) -> None:
    """A file without a usable name, size or digest is refused, if it is taken."""
    repo = server.hub.add_repo("ann/empty")
    fault = server.faults.add("status", path="*/tree/*", status=200, body=f'[{{"type": "file", {item}}}]')
    with client(server, time) as hub, pytest.raises(IntegrityError, match=problem):
        take_all(hub, "ann/empty", repo.head.commit)
    assert fault.fired == 1


# -- refusals --


def test_missing_repository(server: HubServer, time: FakeTime) -> None:
    """With a token the error is "not found"; without one it is "access denied", since the Hub does not tell them apart."""
    with client(server, time) as hub, pytest.raises(NotFoundError, match="ann/none") as caught:
        hub.resolve("ann/none", "main")
    assert "/settings/tokens" in caught.value.hint
    with client(server, time, None) as hub, pytest.raises(AccessDeniedError, match="ann/none") as denied:
        hub.resolve("ann/none", "main")
    assert (denied.value.exit_code, "HF_TOKEN" in denied.value.hint) == (77, True)


def test_missing_revision_and_commit(server: HubServer, time: FakeTime) -> None:
    """The message says that the revision is missing, and names it."""
    with client(server, time) as hub:
        with pytest.raises(NotFoundError, match=r"ann/songs at v9: there is no such revision"):
            hub.resolve("ann/songs", "v9")
        with pytest.raises(NotFoundError, match="no such revision"):
            hub.listing("ann/songs", "b" * 40)


def test_private_repository(server: HubServer, time: FakeTime) -> None:
    """Its owner can read it; for others it is not found."""
    server.hub.add_repo("ann/secret", {"a": b"1"}, private=True)
    server.hub.add_token("bob-token", "bob")
    with client(server, time) as hub:
        assert hub.info("ann/secret").private
    with client(server, time, "bob-token") as hub, pytest.raises(NotFoundError):
        hub.resolve("ann/secret", "main")


def test_invalid_token(server: HubServer, time: FakeTime) -> None:
    """A token that the Hub does not know is refused even for public repositories, and appears in no message."""
    with client(server, time, "not-a-token-of-anybody") as hub, pytest.raises(AccessDeniedError) as caught:
        hub.resolve("ann/songs", "main")
    assert "HF_TOKEN" in caught.value.message
    assert "not-a-token" not in f"{caught.value.message} {caught.value.hint} {caught.value.__cause__}"


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "ümlaut", "tab\t"])
def test_a_token_that_cannot_be_one_is_not_sent(server: HubServer, time: FakeTime, token: str) -> None:
    """It is refused before the HTTP library could show it in an error."""
    with client(server, time, token) as hub:
        with pytest.raises(AccessDeniedError) as caught:
            hub.resolve("ann/songs", "main")
        with pytest.raises(AccessDeniedError):
            hub.auth_headers()
    assert token not in caught.value.message
    assert not server.log.entries()


def test_disabled_repository(server: HubServer, time: FakeTime) -> None:
    """A repository that the Hub has disabled is refused permanently."""
    server.hub.add_repo("ann/gone", {"a": b"1"}, disabled=True)
    with client(server, time) as hub, pytest.raises(RemoteRefusedError, match="disabled") as caught:
        hub.resolve("ann/gone", "main")
    assert caught.value.exit_code == 69


@pytest.mark.parametrize(
    ("status", "headers", "kind", "words"),
    [
        (401, {"X-Error-Code": "GatedRepo"}, AccessDeniedError, "gated"),
        (403, {"X-Error-Code": "GatedRepo"}, AccessDeniedError, "gated"),
        (401, {}, AccessDeniedError, "does not accept the token"),
        (401, {"X-Error-Code": "RepoNotFound"}, NotFoundError, "not found"),
        (403, {}, AccessDeniedError, "forbids"),
        (403, {"X-Error-Message": "Access to this resource is disabled."}, RemoteRefusedError, "disabled"),
        (404, {}, NotFoundError, "not found"),
        (404, {"X-Error-Code": "EntryNotFound"}, NotFoundError, "no such file"),
        (400, {}, RemoteRefusedError, "400 Bad Request"),
        (402, {}, RemoteRefusedError, "paid"),
        (407, {}, RemoteRefusedError, "proxy"),
        (409, {}, ConflictError, "already"),
        (410, {}, RemoteRefusedError, "410 Gone"),
        (416, {}, RemoteRefusedError, "416"),
        (451, {}, RemoteRefusedError, "451"),
        (501, {}, RemoteRefusedError, "501"),
    ],
)
def test_each_refusal_has_its_error(  # noqa: PLR0917 - a table
    server: HubServer, time: FakeTime, status: int, headers: dict[str, str], kind: type[Exception], words: str
) -> None:
    """The status and the Hub's own code determine the error; it is not retried, and it quotes the server's message."""
    fault = server.faults.add("status", path="*/revision/main", status=status, headers=headers, body='{"error": "own words"}')
    with client(server, time) as hub, pytest.raises(kind, match=words) as caught:
        hub.resolve("ann/songs", "main")
    assert type(caught.value) is kind
    assert (fault.fired, time.waits) == (1, [])
    assert "X-Error-Message" in headers or "own words" in str(caught.value)


def test_a_gated_repositorys_hint_says_where_to_accept(server: HubServer) -> None:
    """The hint names the page with the conditions."""
    access = HubAccess(server.endpoint, ANN)
    error = refusal(access, 403, {"x-error-code": "GatedRepo"}, what="a.wav", page=access.page_url("ann/songs"))
    assert isinstance(error, AccessDeniedError)
    assert f"{server.endpoint}/datasets/ann/songs" in error.hint


def test_a_refusal_shows_no_secret(server: HubServer, time: FakeTime) -> None:
    """Neither the token nor a signed URL in the server's message appears in ours."""
    words = "ann-token may not see https://cdn.example/x?X-Amz-Signature=abc"
    server.faults.add("status", path="*/revision/main", status=403, headers={"X-Error-Message": words})
    with client(server, time) as hub, pytest.raises(AccessDeniedError) as caught:
        hub.resolve("ann/songs", "main")
    assert "ann-token" not in str(caught.value)
    assert "Signature" not in str(caught.value)


@pytest.mark.parametrize("repo", ["a/b/c", "songs--", "ann/da--ta", "ann/..", "ann/x.git", "ann/so ngs"])
def test_an_impossible_name_is_a_wrong_setting(server: HubServer, time: FakeTime, repo: str) -> None:
    """It is refused without a request."""
    with client(server, time) as hub, pytest.raises(ConfigurationError):
        hub.resolve(repo, "main")
    assert not server.log.entries()


@pytest.mark.parametrize("endpoint", ["", "hub.example", "ftp://hub.example", "https://", "https://hub.example/?a=b"])
def test_an_endpoint_must_be_an_address(time: FakeTime, endpoint: str) -> None:
    """A wrong HF_ENDPOINT is a wrong setting."""
    with pytest.raises(ConfigurationError, match="HF_ENDPOINT"):
        HubClient(endpoint, None, Network(time.retry(), Cancellation()))


def test_offline_asks_nobody(server: HubServer, time: FakeTime) -> None:
    """With HF_HUB_OFFLINE no request is sent, and the error names the setting."""
    with client(server, time, offline=True) as hub, pytest.raises(RemoteUnavailableError, match="HF_HUB_OFFLINE"):
        hub.resolve("ann/songs", "main")
    assert not server.log.entries()


# -- writing --


def test_create_then_conflict(server: HubServer, time: FakeTime) -> None:
    """A new repository is made as requested; making it again is a conflict."""
    with client(server, time) as hub:
        hub.create_repository("ann/new", private=True)
        with pytest.raises(ConflictError):
            hub.create_repository("ann/new", private=True)
    assert server.hub.repos["dataset", "ann/new"].private


def test_may_write(server: HubServer, time: FakeTime) -> None:
    """The Hub's answer is returned, and nothing is left in the repository."""
    server.hub.add_token("ann-read", "ann", "read")
    before = server.hub.repos["dataset", "ann/songs"].head.commit
    with client(server, time) as hub:
        assert hub.may_write("ann/songs") is True
    with client(server, time, "ann-read") as hub:
        assert hub.may_write("ann/songs") is False
    assert server.hub.repos["dataset", "ann/songs"].head.commit == before


def test_may_write_is_unknown_where_the_hub_does_not_say(server: HubServer, time: FakeTime) -> None:
    """For a Hub without that call the result is neither yes nor no."""
    fault = server.faults.add("status", path="*/auth-check/write", status=404)
    with client(server, time) as hub:
        assert hub.may_write("ann/songs") is None
    assert fault.fired == 1


def test_files_are_uploaded_in_one_commit(server: HubServer, time: FakeTime) -> None:
    """All files are in the repository with their content."""
    files = {"notes.md": "größer\n".encode(), "data/rows.jsonl": b"{}\n"}
    before = len(server.hub.repos["dataset", "ann/songs"].revisions)
    with client(server, time) as hub:
        hub.upload_files("ann/songs", files, message="notes")
    repo = server.hub.repos["dataset", "ann/songs"]
    assert {path: repo.head.files[path].content for path in files} == files
    assert len(repo.revisions) == before + 1


def test_the_list_of_an_owners_repositories_comes_in_pages(server: HubServer, time: FakeTime) -> None:
    """All repositories are listed with their visibility; private ones of others are not."""
    server.page_size = 2
    server.hub.add_repo("ann/diary", private=True)
    server.hub.add_repo("ann/guarded", gated="manual")
    server.hub.add_repo("bob/secret", private=True)
    with client(server, time) as hub:
        found = {one.id: (one.private, one.gate) for one in hub.repositories_of("ann")}
        assert hub.repositories_of("bob") == []
    assert found["ann/diary"] == (True, "none")
    assert found["ann/guarded"] == (False, "manual")
    assert len(server.log.entries("/api/datasets")) > 2


def test_settings_are_changed(server: HubServer, time: FakeTime) -> None:
    """Only the named settings are changed."""
    with client(server, time) as hub:
        hub.change_settings("ann/songs", gate="auto")
        assert (hub.info("ann/songs").gate, hub.info("ann/songs").private) == ("auto", False)
        hub.change_settings("ann/songs", private=True, gate="none")
        assert (hub.info("ann/songs").gate, hub.info("ann/songs").private) == ("none", True)


# -- how it asks --


def test_without_a_token_none_is_sent(server: HubServer, time: FakeTime, monkeypatch: pytest.MonkeyPatch) -> None:
    """A login of this machine is not used."""
    monkeypatch.setenv("HF_TOKEN", "ann-token")
    with client(server, time, None) as hub:
        hub.resolve("ann/songs", "main")
        assert hub.auth_headers() == {}
    assert [entry.authorization for entry in server.log.entries()] == [False]


def test_it_introduces_itself_and_tells_nothing_of_the_machine(server: HubServer, time: FakeTime) -> None:
    """One question costs one request: no telemetry and no other look-ups."""
    with client(server, time, user_agent="provisioner-test/1") as hub:
        hub.resolve("ann/songs", "main")
    assert [(entry.path, entry.user_agent) for entry in server.log.entries()] == [
        ("/api/datasets/ann/songs/revision/main", "provisioner-test/1")
    ]


def test_rewriting_leads_to_a_mirror_pages_included(server: HubServer, time: FakeTime) -> None:
    """An endpoint that is rewritten need not exist; its mirror gets the token, for every page of a listing."""

    def rewrite(url: str) -> str:
        return url.replace("https://hub.invalid", server.endpoint)

    network = Network(time.retry(), Cancellation(), rewrite=rewrite)
    with HubClient("https://hub.invalid", "ann-token", network) as hub:
        commit = hub.resolve("ann/songs", "main")
        assert len(hub.listing("ann/songs", commit)) == len(FILES)
        assert hub.file_url("ann/songs", commit, "a").startswith("https://hub.invalid/")
    assert all(entry.authorization for entry in server.log.entries())


def test_the_token_does_not_follow_a_redirect_elsewhere(server: HubServer, time: FakeTime) -> None:
    """A redirect to another origin is followed without the token."""
    with HubServer() as other:
        repo = other.hub.add_repo("ann/songs", FILES)
        target = f"{other.endpoint}/api/datasets/ann/songs/revision/main"
        fault = server.faults.add("redirect", path="*/revision/main", location=target)
        with client(server, time) as hub:
            assert hub.resolve("ann/songs", "main") == repo.head.commit
        assert fault.fired == 1
        assert [entry.authorization for entry in other.log.entries()] == [False]


def test_through_a_proxy(server: HubServer, time: FakeTime) -> None:
    """Every request goes through the proxy with its credentials, unless NO_PROXY names the host."""
    with ProxyServer(credentials=("user", "p@ss")) as proxy:
        address = proxy.url.replace("://", "://user:p%40ss@")
        with client(server, time, proxies=Proxies(address)) as hub:
            hub.listing("ann/songs", hub.resolve("ann/songs", "main"))
        passed = len(proxy.passed)
        assert passed == len(server.log.entries()) == 4
        assert all(each.authorization for each in proxy.passed)
        with client(server, time, proxies=Proxies(address, no_proxy="127.0.0.1")) as hub:
            hub.resolve("ann/songs", "main")
        assert len(proxy.passed) == passed


def test_a_proxy_that_refuses(server: HubServer, time: FakeTime) -> None:
    """Missing credentials for a proxy are a permanent error that names them, for http and for https."""
    with ProxyServer(credentials=("user", "word")) as proxy:
        with client(server, time, proxies=Proxies(proxy.url, proxy.url)) as hub, pytest.raises(RemoteRefusedError, match="407"):
            hub.resolve("ann/songs", "main")
        network = Network(time.retry(), Cancellation(), Proxies(None, proxy.url))
        secure = HubClient("https://hub.invalid", None, network)
        with secure, pytest.raises(RemoteRefusedError, match="407") as caught:
            secure.resolve("ann/songs", "main")
    assert "HTTPS_PROXY" in caught.value.hint
    assert time.waits == []


def test_a_proxy_that_cannot_be_used(server: HubServer, time: FakeTime) -> None:
    """A proxy with an unknown scheme is a wrong setting; its password is not shown."""
    proxies = Proxies("gopher://u:word@proxy:70")
    with client(server, time, proxies=proxies) as hub, pytest.raises(ConfigurationError, match="gopher") as caught:
        hub.resolve("ann/songs", "main")
    assert "word" not in caught.value.message


def test_private_certificate_authority(time: FakeTime, tmp_path: Path) -> None:
    """With its CA file a private certificate is trusted; without it the error is permanent and names the setting."""
    authority = trustme.CA()
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(bundle)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with HubServer(ssl_context=context) as server:
        repo = server.hub.add_repo("ann/songs", FILES)
        with client(server, time, None, ca_file=bundle) as hub:
            assert hub.resolve("ann/songs", "main") == repo.head.commit
        with client(server, time, None) as hub, pytest.raises(RemoteRefusedError, match="not trusted") as caught:
            hub.resolve("ann/songs", "main")
    assert "SSL_CERT_FILE" in caught.value.hint
    assert time.waits == []


def test_the_https_hubs_bare_401(time: FakeTime, tmp_path: Path) -> None:
    """A 401 without a code is "access denied", although over https the library takes it for a missing repository."""
    authority = trustme.CA()
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(bundle)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with HubServer(ssl_context=context) as server:
        fault = server.faults.add("status", path="*/revision/main", status=401)
        with client(server, time, None, ca_file=bundle) as hub, pytest.raises(AccessDeniedError):
            hub.resolve("ann/songs", "main")
    assert fault.fired == 1


def test_two_clients_take_turns(server: HubServer, time: FakeTime) -> None:
    """Each client asks with its own settings, although the library has one HTTP client for all."""
    server.hub.add_token("bob-token", "bob")
    with client(server, time, user_agent="one") as one, client(server, time, user_agent="two") as two:
        for hub in (one, two, one):
            hub.resolve("ann/songs", "main")
    assert [entry.user_agent for entry in server.log.entries()] == ["one", "two", "one"]


def test_closing_gives_the_library_back(server: HubServer, time: FakeTime) -> None:
    """After closing, the library is as it was before."""
    from huggingface_hub import constants, get_session  # noqa: PLC0415 - nowhere else in these tests

    before = constants.HF_HUB_DISABLE_TELEMETRY
    with client(server, time) as hub:
        hub.whoami()
        ours = get_session()
    assert get_session() is not ours
    assert before == constants.HF_HUB_DISABLE_TELEMETRY


def test_fine_grained_token_reads_only_what_it_may(server: HubServer, time: FakeTime) -> None:
    """A private repository outside the token's scope is not found."""
    server.hub.add_repo("ann/secret", {"a": b"1"}, private=True)
    server.hub.add_token("fine", "ann", "fineGrained", scopes=(Scope("dataset", "ann/songs"),))
    with client(server, time, "fine") as hub:
        hub.resolve("ann/songs", "main")
        with pytest.raises(NotFoundError):
            hub.resolve("ann/secret", "main")


def test_importing_it_does_not_import_the_library() -> None:
    """Importing the Hub's client imports neither its library nor an HTTP library."""
    code = (
        "import sys, provisioner.remote.hub.client, provisioner.remote.hub.repository.ensure;"
        "print([name for name in ('huggingface_hub', 'httpx2', 'ssl') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
