"""A Hub-compatible server for tests and demonstrations, which can misbehave on demand.

Two origins, as in real life: the Hub with its API and `resolve` paths, and a CDN on another port to which LFS files
are redirected. The CDN also stands for every other host: `/HOSTNAME/PATH` there serves what `https://HOSTNAME/PATH`
would, so that a prefix rewrite per host leads all direct URLs here.

In a test::

    with HubServer() as server:
        server.hub.add_token("secret", "ann")
        server.hub.add_repo("ann/data", {"README.md": b"# Data", "a.wav": b"RIFF"})
        server.faults.add("reset", path="*/a.wav", after=100, first=1)
        ...
        assert [each.status for each in server.log.entries("*/a.wav")] == [302]

For containers, as a program (`--help` says more)::

    python -m tests.support.hub_server --root DIR --host 0.0.0.0 --port 8900 --cdn-port 8901

It prints one line of JSON when it is ready and ends on SIGTERM. `DIR/hub/OWNER/NAME/` holds repositories and
`DIR/archives/HOSTNAME/PATH` direct URLs. The objects above can also be controlled over HTTP::

    GET    /_test/ready                   the URLs
    GET    /_test/log?path=GLOB&min=N&wait=SECONDS
    POST   /_test/reset                   forget the log, the faults and the gates
    GET, POST, DELETE  /_test/faults      read with counters, add (one rule or a list), remove all
    GET    /_test/gates
    GET    /_test/gates/NAME?wait=SECONDS[&count=N]    408 when it was not reached in time
    POST   /_test/gates/NAME/release
    POST   /_test/expire-links            signed CDN links given out so far are refused from now on
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import mimetypes
import re
import secrets
import signal
import ssl
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from tests.support import hub_buckets
from tests.support.faults import FaultBook, Quota, as_rules
from tests.support.hub_model import (
    LFS_SUFFIXES,
    Hub,
    Refusal,
    Repo,
    RepoKind,
    Revision,
    StoredFile,
    Token,
    demo_accounts,
)
from tests.support.request_log import RequestLog
from tests.support.wire import CONTROL, Answer, FaultProbe, Origin, Request, Resource, serve_resource

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

_KINDS: Final[dict[str, RepoKind]] = {"datasets": "dataset", "models": "model", "spaces": "space", "buckets": "bucket"}
_LFS_FOLDER: Final = "_lfs"
_EXPANDED_PAGE: Final = 50
_HASHED_SIZE: Final = 64 * 1024 * 1024
_LOADED: Final = 1_700_000_000.0
"""Last-Modified of content that is not a file on disk."""


class HubServer:
    """The server: both origins, their content, the log and the faults."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        cdn_port: int = 0,
        public_host: str | None = None,
        page_size: int = 1000,
        ssl_context: ssl.SSLContext | None = None,
        hub: Hub | None = None,
    ) -> None:
        """Listen (so that the ports are known), but do not answer before :meth:`start`.

        `public_host` is the host name in generated links; by default it is the name that the client used.
        """
        self.hub = hub if hub is not None else Hub()
        self.log = RequestLog()
        self.faults = FaultBook()
        self.quota = Quota()
        self.stopping = threading.Event()
        self.page_size = page_size
        self.static_files: dict[str, bytes | Path] = {}
        self.dispositions: dict[str, str] = {}
        self.static_folders: list[Path] = []
        self._scheme = "https" if ssl_context is not None else "http"
        self._host = host
        self._public_host = public_host
        self._key = secrets.token_bytes(16)
        self._etags: dict[tuple[Path, int, int], str] = {}
        self._api = Origin(self, "hub", host, port, ssl_context)
        self._cdn = Origin(self, "cdn", host, cdn_port, ssl_context)

    # Life

    def start(self) -> Self:
        """Begin to answer."""
        self._api.start()
        self._cdn.start()
        return self

    def stop(self) -> None:
        """Release all waiting requests, and stop."""
        self.stopping.set()
        self.faults.shut()
        self.quota.lift()
        self._api.stop()
        self._cdn.stop()

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop."""
        self.stop()

    # Where it is

    def _name(self) -> str:
        return self._public_host or ("127.0.0.1" if self._host in {"", "0.0.0.0"} else self._host)  # noqa: S104 - compared, not bound

    @property
    def endpoint(self) -> str:
        """Return the Hub's URL, for `HF_ENDPOINT`."""
        return f"{self._scheme}://{self._name()}:{self._api.port}"

    @property
    def static_url(self) -> str:
        """Return the CDN's URL, below which `/HOSTNAME/PATH` serves direct URLs."""
        return f"{self._scheme}://{self._name()}:{self._cdn.port}"

    def url_rewrite(self) -> str:
        """Return the `URL_REWRITE` setting that redirects every host served here to this server."""
        return url_rewrite(self.hosts(), self.static_url)

    def hosts(self) -> list[str]:
        """Return the names of the hosts whose direct URLs are served."""
        found = {each.partition("/")[0] for each in self.static_files}
        for folder in self.static_folders:
            found |= {path.name for path in folder.iterdir() if path.is_dir()}
        return sorted(found)

    # What is on it

    def add_static(self, url: str, content: bytes | Path, *, disposition: str = "") -> str:
        """Serve `content` for a direct URL (`https://HOST/PATH` or `HOST/PATH`); return the URL where it is served.

        `disposition` is the `Content-Disposition` header, in which a server states the file's name.
        """
        path = _static_path(url)
        self.static_files[path] = content
        self.dispositions[path] = disposition
        return f"{self.static_url}/{quote(path)}"

    def add_archives(self, folder: Path) -> None:
        """Serve every file `HOSTNAME/PATH` below a directory."""
        self.static_folders.append(folder)

    def load(self, root: Path) -> None:
        """Serve a directory with `hub/OWNER/NAME/…` and `archives/HOSTNAME/PATH`."""
        if (root / "hub").is_dir():
            self.hub.load(root / "hub")
        if (root / "archives").is_dir():
            self.add_archives(root / "archives")

    def expire_links(self) -> None:
        """Refuse the signed CDN links given out so far, as if they had expired."""
        self._key = secrets.token_bytes(16)

    # Answers

    def answer(self, request: Request, fault: FaultProbe) -> Answer:
        """Answer a request to either origin."""
        if request.origin == "cdn":
            return self._answer_cdn(request, fault)
        answer = self._answer_hub(request, fault)
        answer.headers["X-Request-Id"] = f"Root=1-test-{fault.entry.number}"
        return answer

    def _answer_cdn(self, request: Request, fault: FaultProbe) -> Answer:
        _only(request, "GET", "HEAD")
        path = request.path.lstrip("/")
        if path.startswith(f"{_LFS_FOLDER}/"):
            return self._serve(request, self._lfs_object(request, path), fault)
        content = self._static(path)
        if content is None:
            raise Refusal(404, None, f"no such file: {path}")
        resource = self._resource(path, content)
        if disposition := self.dispositions.get(path):
            resource = replace(resource, headers={"Content-Disposition": disposition})
        return self._serve(request, resource, fault)

    def _serve(self, request: Request, resource: Resource, fault: FaultProbe) -> Answer:
        if fault.take("etag"):
            resource = replace(resource, etag=f"{resource.etag}-{fault.entry.number}")
        if fault.take("no_validator"):
            resource = replace(resource, etag="")
        ignore_range = "Range" in request.headers and fault.take("ignore_range") is not None
        return serve_resource(request, resource, ignore_range=ignore_range, changed=fault.take("change") is not None)

    def _lfs_object(self, request: Request, path: str) -> Resource:
        if "Authorization" in request.headers:
            raise Refusal(400, None, "Only one auth mechanism allowed")
        signature = request.query.get("X-Amz-Signature", [""])[-1]
        if not hmac.compare_digest(signature, self._sign(path)):
            raise Refusal(403, None, "Request has expired")
        _, kind, owner, name, sha256, _ = path.split("/", 5)
        repo = self.hub.repos[_KINDS[kind], f"{owner}/{name}"]
        file = repo.objects.get(sha256)
        if file is not None:
            return Resource(file.content, file.size, file.sha256, _modified(file.content))
        raise Refusal(404, None, "no such object")

    def _static(self, path: str) -> bytes | Path | None:
        if path in self.static_files:
            return self.static_files[path]
        if ".." in path.split("/"):
            return None
        candidates = (folder / path for folder in self.static_folders)
        return next((candidate for candidate in candidates if candidate.is_file()), None)

    def _resource(self, path: str, content: bytes | Path) -> Resource:
        kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
        if isinstance(content, bytes):
            digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
            return Resource(content, len(content), digest, _LOADED, kind)
        stat = content.stat()
        return Resource(content, stat.st_size, self._etag(content, stat.st_size, stat.st_mtime_ns), stat.st_mtime, kind)

    def _etag(self, path: Path, size: int, modified: int) -> str:
        """Return the MD5, as object stores do for single uploads; for large files, a hash-free value, which is cheaper."""
        if size > _HASHED_SIZE:
            return f"{modified:x}-{size:x}"
        key = (path, size, modified)
        if key not in self._etags:
            self._etags[key] = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        return self._etags[key]

    def _sign(self, path: str) -> str:
        return hmac.new(self._key, path.encode(), "sha256").hexdigest()

    # The Hub's API

    def _answer_hub(self, request: Request, fault: FaultProbe) -> Answer:
        token = self.hub.authenticate(request.headers.get("Authorization"))
        segments = request.segments
        if segments[0] == "api":
            return self._answer_api(request, segments[1:], token, fault)
        kind: RepoKind = _KINDS.get(segments[0], "model")
        rest = segments[1:] if segments[0] in _KINDS else segments
        if kind == "bucket" and len(rest) >= 4 and rest[2] == "resolve":
            _only(request, "GET", "HEAD")
            bucket = self.hub.find(kind, "/".join(rest[:2]), token)
            file = hub_buckets.file_of(bucket, "/".join(rest[3:]))
            headers = hub_buckets.headers_of(request, bucket, file)
            return Answer.of_bytes(302, b"Found", "text/plain", {**headers, "Location": self._signed_link(request, bucket, file)})
        if len(rest) >= 5 and rest[2] in {"resolve", "raw"}:
            _only(request, "GET", "HEAD")
            return self._answer_file(request, kind, rest, token, fault)
        raise Refusal(404, None, f"no such page: {request.path}")

    def _answer_api(self, request: Request, segments: list[str], token: Token | None, fault: FaultProbe) -> Answer:
        if segments == ["whoami-v2"]:
            return Answer.of_json(self.hub.whoami(token))
        if segments == ["repos", "create"]:
            return self._create(request, token)
        if segments in (["datasets"], ["models"]):
            return self._list_repositories(request, _KINDS[segments[0]], token)
        if segments == ["validate-yaml"]:
            return Answer.of_json({"errors": [], "warnings": []})
        if segments[0] == "buckets":
            return self._answer_bucket(request, segments[1:], token)
        if len(segments) >= 3 and segments[0] in _KINDS:
            return self._answer_repo(request, segments, token, fault)
        raise Refusal(404, None, f"no such call: {request.path}")

    def _answer_repo(self, request: Request, segments: list[str], token: Token | None, fault: FaultProbe) -> Answer:
        kind, repo_id = _KINDS[segments[0]], "/".join(segments[1:3])
        match segments[3:]:
            case []:
                return Answer.of_json(_repo_info(self.hub.find(kind, repo_id, token), None, request))
            case ["revision", revision]:
                return Answer.of_json(_repo_info(self.hub.find(kind, repo_id, token), revision, request))
            case ["tree", revision, *folders]:
                return self._tree(request, self.hub.find(kind, repo_id, token), revision, "/".join(folders), fault)
            case ["paths-info", revision]:
                return _paths_info(request, self.hub.find(kind, repo_id, token).resolve(revision))
            case ["refs"]:
                return Answer.of_json(_references(self.hub.find(kind, repo_id, token)))
            case ["auth-check"]:
                self.hub.find(kind, repo_id, token, content=True)
                return Answer.of_json({})
            case ["auth-check", "write"]:
                self.hub.writable(kind, repo_id, token)
                return Answer.of_json({})
            case ["settings"]:
                _only(request, "PUT")
                self.hub.change_settings(self.hub.writable(kind, repo_id, token), request.json())
                return Answer.of_json({})
            case ["preupload", _]:
                return _preupload(request, self.hub.writable(kind, repo_id, token))
            case ["commit", branch]:
                return _commit(request, self.hub.writable(kind, repo_id, token), branch)
            case _:
                raise Refusal(404, None, f"no such call: {request.path}")

    def _answer_bucket(self, request: Request, segments: list[str], token: Token | None) -> Answer:
        if len(segments) == 2 and request.method == "POST":
            owner, name = segments
            document = {**request.json(), "name": name, "type": "bucket", **({} if owner == "me" else {"organization": owner})}
            bucket, created = self.hub.create(document, token)
            described = {"url": f"{request.base_url}/buckets/{bucket.id}", "name": bucket.id, "id": bucket.id}
            return Answer.of_json(described if created else {"error": "it exists", **described}, 200 if created else 409)
        bucket = self.hub.find("bucket", "/".join(segments[:2]), token)
        match segments[2:]:
            case []:
                return Answer.of_json(hub_buckets.info(bucket))
            case ["tree", *prefix]:
                items = hub_buckets.tree(bucket, "/".join(prefix), recursive=request.flag("recursive"))
                page, headers = self._page(request, items, self.page_size)
                return Answer.of_json(page, headers=headers)
            case ["paths-info"]:
                return Answer.of_json(hub_buckets.paths_info(bucket, request.json()["paths"]))
            case ["auth-check", "write"]:
                self.hub.writable("bucket", bucket.id, token)
                return Answer.of_json({})
            case _:
                raise Refusal(404, None, f"no such call: {request.path}")

    def _list_repositories(self, request: Request, kind: RepoKind, token: Token | None) -> Answer:
        """List an author's repositories, or those with a word in their name, that the token may see, page by page."""
        _only(request, "GET")
        author, word = (request.query.get(name, [""])[-1] for name in ("author", "search"))
        seen = [
            repo
            for repo in self.hub.repos.values()
            if repo.kind == kind and author in {"", repo.namespace} and word.lower() in repo.id.lower()
        ]
        items = [_repo_info(repo, None, request) for repo in seen if self.hub.sees(token, repo)]
        page, headers = self._page(request, items, self.page_size)
        return Answer.of_json(page, headers=headers)

    def _page(self, request: Request, items: list[dict[str, Any]], size: int) -> tuple[list[dict[str, Any]], dict[str, str]]:
        """Return the requested page of a list, and the link to the next one."""
        start = _cursor(request)
        if start + size >= len(items):
            return items[start:], {}
        cursor = base64.urlsafe_b64encode(str(start + size).encode()).decode()
        query = {name: values[-1] for name, values in request.query.items()} | {"cursor": cursor}
        link = f"{request.base_url}{request.raw_path}?{urlencode(query)}"
        return items[start : start + size], {"Link": f'<{link}>; rel="next"'}

    def _create(self, request: Request, token: Token | None) -> Answer:
        _only(request, "POST")
        repo, created = self.hub.create(request.json(), token)
        prefix = "" if repo.kind == "model" else f"{repo.kind}s/"
        described = {"url": f"{request.base_url}/{prefix}{repo.id}", "name": repo.id, "id": repo.id}
        if created:
            return Answer.of_json(described)
        message = f"You already created this {repo.kind} repo: {repo.id}"
        return Answer.of_json({"error": message, **described}, 409, {"X-Error-Message": message})

    def _tree(self, request: Request, repo: Repo, revision: str, folder: str, fault: FaultProbe) -> Answer:
        at = repo.resolve(revision)
        expand = request.flag("expand")
        items = at.listing(folder, recursive=request.flag("recursive"), expand=expand)
        if rule := fault.take("bad_path"):
            content = b"out of the folder"
            stored = StoredFile.of(rule.body or "../x", content)
            items.append({"type": "file", "oid": stored.blob_id, "size": stored.size, "path": stored.path})
        size = min(self.page_size, _EXPANDED_PAGE) if expand else self.page_size
        page, link = self._page(request, items, size)
        headers = {"X-Repo-Commit": at.commit}
        if fault.take("short_listing"):
            page = page[: -len(page) // 2] if not link else page
        else:
            headers |= link
        return Answer.of_json(page, headers=headers)

    def _answer_file(
        self, request: Request, kind: RepoKind, segments: list[str], token: Token | None, fault: FaultProbe
    ) -> Answer:
        repo = self.hub.find(kind, "/".join(segments[:2]), token, content=True)
        at = repo.resolve(segments[3])
        commit = {"X-Repo-Commit": at.commit}
        path = "/".join(segments[4:])
        file = at.files.get(path)
        if file is None:
            raise Refusal(404, "EntryNotFound", f"{path} does not exist on {segments[3]}", commit)
        if not file.lfs:
            kind_of_file = "text/plain; charset=utf-8" if Path(path).suffix in {"", ".md", ".txt", ".csv"} else None
            resource = Resource(
                file.content,
                file.size,
                file.blob_id,
                _modified(file.content),
                kind_of_file or mimetypes.guess_type(path)[0] or "application/octet-stream",
                commit,
            )
            return self._serve(request, resource, fault)
        headers = {
            **commit,
            "Location": self._signed_link(request, repo, file),
            "ETag": f'"{file.blob_id}"',
            "X-Linked-Size": str(file.size),
            "X-Linked-ETag": f'"{file.sha256}"',
            "Accept-Ranges": "bytes",
        }
        if repo.xet:
            headers["X-Xet-Hash"] = file.xet_hash
            route = f"{request.base_url}/api/{repo.kind}s/{repo.id}/xet-read-token/{at.commit}"
            headers["Link"] = f'<{route}>; rel="xet-auth"'
        return Answer.of_bytes(302, b"Found. Redirecting", "text/plain; charset=utf-8", headers)

    def _signed_link(self, request: Request, repo: Repo, file: StoredFile) -> str:
        host = self._public_host or urlsplit(request.base_url).hostname or "127.0.0.1"
        # Real links have no file name at their end; here it lets a fault or a log query name the file.
        path = f"{_LFS_FOLDER}/{repo.kind}s/{repo.id}/{file.sha256}/{file.path}"
        query = urlencode(
            {
                "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
                "X-Amz-Expires": "3600",
                "response-content-disposition": f'attachment; filename="{Path(file.path).name}"',
                "X-Amz-Signature": self._sign(path),
            }
        )
        return f"{self._scheme}://{host}:{self._cdn.port}/{quote(path)}?{query}"

    # Steering

    def control(self, request: Request) -> Answer:
        """Answer a request below `/_test/`."""
        parts = request.path.removeprefix(CONTROL).strip("/").split("/")
        routes: dict[tuple[str, str], Callable[[Request], Answer]] = {
            ("GET", "ready"): lambda _: Answer.of_json(self.describe()),
            ("GET", "log"): self._control_log,
            ("POST", "reset"): self._control_reset,
            ("GET", "faults"): lambda _: Answer.of_json([rule.to_json() for rule in self.faults.rules]),
            ("POST", "faults"): self._control_add_faults,
            ("DELETE", "faults"): self._control_clear_faults,
            ("POST", "expire-links"): self._control_expire,
        }
        if parts[0] == "gates":
            return self._control_gates(request, parts[1:])
        route = routes.get((request.method, "/".join(parts)))
        if route is None:
            raise Refusal(404, None, f"no such control: {request.method} {request.path}")
        return route(request)

    def describe(self) -> dict[str, Any]:
        """Return the URLs of this server."""
        return {"endpoint": self.endpoint, "static": self.static_url, "url_rewrite": self.url_rewrite()}

    def _control_log(self, request: Request) -> Answer:
        pattern = request.query.get("path", ["*"])[-1]
        method = request.query.get("method", ["*"])[-1]
        least = int(request.query.get("min", ["0"])[-1])
        wait = float(request.query.get("wait", ["0"])[-1])
        if not self.log.wait_count(least, pattern, method=method, timeout=wait):
            raise Refusal(408, None, f"fewer than {least} requests in {wait} s")
        return Answer.of_json([entry.to_json() for entry in self.log.entries(pattern, method=method)])

    def _control_reset(self, _: Request) -> Answer:
        self.faults.clear()
        self.log.clear()
        return Answer.of_json({})

    def _control_add_faults(self, request: Request) -> Answer:
        try:
            rules = as_rules(json.loads(request.body))
        except (ValueError, TypeError) as error:
            raise Refusal(400, None, str(error)) from error
        return Answer.of_json([self.faults.add(rule).to_json() for rule in rules])

    def _control_clear_faults(self, _: Request) -> Answer:
        self.faults.clear()
        return Answer.of_json({})

    def _control_expire(self, _: Request) -> Answer:
        self.expire_links()
        return Answer.of_json({})

    def _control_gates(self, request: Request, parts: list[str]) -> Answer:
        match (request.method, parts):
            case ("GET", []):
                return Answer.of_json(self.faults.gates())
            case ("GET", [name]):
                wait = float(request.query.get("wait", ["0"])[-1])
                count = int(request.query.get("count", ["1"])[-1])
                gate = self.faults.gate(name)
                reached = gate.wait_reached(wait, count)
                return Answer.of_json(gate.state(), 200 if reached else 408)
            case ("POST", [name, "release"]):
                gate = self.faults.gate(name)
                gate.release()
                return Answer.of_json(gate.state())
            case _:
                raise Refusal(404, None, f"no such control: {request.method} {request.path}")


def url_rewrite(hosts: Sequence[str], base_url: str) -> str:
    """Return the `URL_REWRITE` setting that redirects some hosts to `BASE_URL/HOST`, whatever their scheme."""
    return ";".join(f"{scheme}://{host}={base_url.rstrip('/')}/{host}" for host in hosts for scheme in ("https", "http"))


def _static_path(url: str) -> str:
    parts = urlsplit(url if "://" in url else f"https://{url}")
    return f"{parts.netloc}/{parts.path.lstrip('/')}"


def _modified(content: bytes | Path) -> float:
    return content.stat().st_mtime if isinstance(content, Path) else _LOADED


def _only(request: Request, *methods: str) -> None:
    if request.method not in methods:
        raise Refusal(405, None, f"{request.method} is not possible here", {"Allow": ", ".join(methods)})


def _cursor(request: Request) -> int:
    cursor = request.query.get("cursor")
    try:
        return int(base64.urlsafe_b64decode(cursor[-1])) if cursor else 0
    except ValueError as error:
        raise Refusal(400, None, "Invalid cursor") from error


def _repo_info(repo: Repo, revision: str | None, request: Request) -> dict[str, Any]:
    at = repo.resolve(revision or "main")
    with_files = request.flag("blobs")
    siblings: list[dict[str, Any]] = []
    for path, file in at.files.items():
        sibling: dict[str, Any] = {"rfilename": path}
        if with_files:
            sibling |= {"size": file.size, "blobId": file.blob_id}
            if file.lfs:
                sibling["lfs"] = {"sha256": file.sha256, "size": file.size, "pointerSize": file.pointer_size}
        siblings.append(sibling)
    return {
        "_id": hashlib.sha256(repo.id.encode()).hexdigest()[:24],
        "id": repo.id,
        "author": repo.namespace,
        "sha": at.commit,
        "createdAt": "2026-01-01T00:00:00.000Z",
        "lastModified": at.date,
        "private": repo.private,
        "gated": repo.gated or False,
        "disabled": repo.disabled,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "cardData": _card_of(at),
        "usedStorage": sum(file.size for file in at.files.values()),
        "siblings": siblings,
    }


def _content(file: StoredFile) -> bytes:
    return file.content if isinstance(file.content, bytes) else file.content.read_bytes()


def _card_of(at: Revision) -> dict[str, Any] | None:
    """Return the front matter of a revision's README as the Hub reads it, or None if it is not a mapping."""
    if "README.md" not in at.files:
        return None
    found = re.match(rb"---\r?\n(.*?)\r?\n---", _content(at.files["README.md"]), re.DOTALL)
    import yaml  # noqa: PLC0415 - few repositories have one

    card = yaml.safe_load(found[1]) if found else None
    return card if isinstance(card, dict) else None


def _references(repo: Repo) -> dict[str, Any]:
    def described(names: dict[str, str], prefix: str) -> list[dict[str, str]]:
        return [{"name": name, "ref": f"{prefix}{name}", "targetCommit": commit} for name, commit in names.items()]

    return {
        "branches": described(repo.branches, "refs/heads/"),
        "converts": [],
        "tags": described(repo.tags, "refs/tags/"),
        "pullRequests": [],
    }


def _paths_info(request: Request, at: Revision) -> Answer:
    _only(request, "POST")
    if request.headers.get("Content-Type", "").startswith("application/json"):
        document = request.json()
        paths, expand = list(document.get("paths", [])), bool(document.get("expand"))
    else:
        form = parse_qs(request.body.decode(), keep_blank_values=True)
        paths, expand = form.get("paths", []), form.get("expand", ["false"])[-1].lower() == "true"
    known = [path for path in paths if path in at.files or path in at.folders]
    return Answer.of_json([at.item(path, expand=expand) for path in known])


def _preupload(request: Request, repo: Repo) -> Answer:
    _only(request, "POST")
    files = []
    for file in request.json().get("files", []):
        known = repo.head.files.get(file["path"])
        lfs = Path(file["path"]).suffix in LFS_SUFFIXES
        described = {"path": file["path"], "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False}
        files.append({**described, "oid": known.blob_id} if known else described)
    return Answer.of_json({"files": files, "commitOid": repo.head.commit})


def _commit(request: Request, repo: Repo, branch: str) -> Answer:
    _only(request, "POST")
    summary = "update"
    changes: dict[str, bytes | Path | StoredFile | None] = {}
    for line in request.body.splitlines():
        operation = json.loads(line)
        value = operation["value"]
        match operation["key"]:
            case "header":
                summary = value.get("summary") or summary
                parent = value.get("parentCommit")
                if parent and parent != repo.head.commit:
                    raise Refusal(412, None, "A commit has happened since. Please refresh and try again.")
            case "file":
                changes[value["path"]] = base64.b64decode(value["content"])
            case "deletedFile":
                changes[value["path"]] = None
            case other:
                raise Refusal(400, None, f"not possible here: {other}")
    at = repo.commit(changes, branch=branch, message=summary)
    prefix = "" if repo.kind == "model" else f"{repo.kind}s/"
    url = f"{request.base_url}/{prefix}{repo.id}/commit/{at.commit}"
    return Answer.of_json({"success": True, "commitOid": at.commit, "commitUrl": url, "hookOutput": ""})


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for the addresses on which the server listens."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (0.0.0.0: reachable from outside)")
    parser.add_argument("--port", type=int, default=0, help="the Hub's port; 0 takes a free one")
    parser.add_argument("--cdn-port", type=int, default=0, help="port of the CDN and of all other hosts")
    parser.add_argument("--public-host", help="name in the links given out, if clients know us by another")
    parser.add_argument("--page-size", type=int, default=1000, help="entries of a listing in one answer")
    parser.add_argument("--tls-certificate", type=Path, help="PEM file with certificate and key: serve https")


def server_from(options: argparse.Namespace) -> HubServer:
    """Make a server from the options of :func:`add_server_options`, with the demo accounts on it."""
    context = None
    if options.tls_certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.tls_certificate)
    server = HubServer(
        host=options.host,
        port=options.port,
        cdn_port=options.cdn_port,
        public_host=options.public_host,
        page_size=options.page_size,
        ssl_context=context,
    )
    demo_accounts(server.hub)
    return server


def serve_until_signal(server: HubServer, announcement: dict[str, Any]) -> None:
    """Start, print one line of JSON, and run until SIGTERM or SIGINT."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with server:
        sys.stdout.write(json.dumps(announcement) + "\n")
        sys.stdout.flush()
        ended.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server as a program."""
    parser = argparse.ArgumentParser(prog="hub_server", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--root", type=Path, action="append", default=[], help="folder with hub/ and archives/")
    add_server_options(parser)
    options = parser.parse_args(arguments)
    server = server_from(options)
    for root in options.root:
        server.load(root)
    serve_until_signal(server, {**server.describe(), "token": "demo-write-token"})
    return 0


if __name__ == "__main__":
    sys.exit(main())
