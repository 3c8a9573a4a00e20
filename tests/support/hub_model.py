"""The state of a Hub: repositories, revisions, users, tokens and permissions.

There is no network here: :mod:`tests.support.hub_server` implements the wire protocol. Files live in memory or on disk;
those on disk are read only when they are sent.
"""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn

if TYPE_CHECKING:
    from collections.abc import Mapping

RepoKind = Literal["dataset", "model", "space", "bucket"]
Role = Literal["read", "write", "fineGrained"]

LFS_SUFFIXES: Final = frozenset(
    [
        ".7z",
        ".arrow",
        ".bin",
        ".bz2",
        ".flac",
        ".gz",
        ".h5",
        ".mp3",
        ".mp4",
        ".npy",
        ".npz",
        ".ogg",
        ".parquet",
        ".pdf",
        ".pickle",
        ".pkl",
        ".rar",
        ".tar",
        ".tgz",
        ".wav",
        ".webm",
        ".xz",
        ".zip",
        ".zst",
    ]
)
LFS_THRESHOLD: Final = 10 * 1024 * 1024
"""Larger files go to LFS whatever their name, as on the Hub."""

_BLOCK: Final = 1 << 20


class Refusal(Exception):  # noqa: N818 - an answer, not a mistake
    """An error answer, with what the client needs to raise the right exception."""

    def __init__(self, status: int, code: str | None, message: str, headers: Mapping[str, str] | None = None) -> None:
        """Make an error with an HTTP status, an `X-Error-Code` (or none) and a message."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True)
class Scope:
    """One entity of a fine-grained token, and the permissions on it."""

    kind: Literal["user", "org", "dataset", "model", "bucket"]
    name: str
    permissions: frozenset[str] = frozenset({"repo.content.read"})


@dataclass(frozen=True, slots=True)
class Token:
    """An access token."""

    value: str
    user: str
    role: Role = "write"
    name: str = "test"
    scopes: tuple[Scope, ...] = ()
    reads_gated: bool = True
    """Whether it may read gated repositories: fine-grained tokens need a separate permission for that."""


@dataclass(slots=True)
class User:
    """An account. `orgs` maps an organization to the user's role in it: admin, write, contributor or read."""

    name: str
    orgs: dict[str, str] = field(default_factory=dict)
    pro: bool = False


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of one revision, with the digests that the Hub lists for it."""

    path: str
    content: bytes | Path
    size: int
    sha256: str
    blob_id: str
    """The SHA-1 of the git blob; for a file in LFS, that of its pointer."""
    lfs: bool
    pointer_size: int = 0

    @property
    def xet_hash(self) -> str:
        """Return its name in Xet storage: 64 hexadecimal digits, here any that differ from the SHA-256."""
        return hashlib.sha256(f"xet {self.sha256}".encode()).hexdigest()

    @classmethod
    def of(cls, path: str, content: bytes | Path, *, lfs: bool | None = None) -> StoredFile:
        """Hash a file; with `lfs=None`, its suffix and size decide about LFS, as in a fresh Hub repository."""
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        in_lfs = lfs if lfs is not None else (Path(path).suffix in LFS_SUFFIXES or size > LFS_THRESHOLD)
        sha256 = hashlib.sha256()
        blob = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
        if isinstance(content, bytes):
            sha256.update(content)
            blob.update(content)
        else:
            with content.open("rb") as stream:
                while block := stream.read(_BLOCK):
                    sha256.update(block)
                    if not in_lfs:
                        blob.update(block)
        if not in_lfs:
            return cls(path, content, size, sha256.hexdigest(), blob.hexdigest(), lfs=False)
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256.hexdigest()}\nsize {size}\n".encode()
        return cls(path, content, size, sha256.hexdigest(), git_blob_id(pointer), lfs=True, pointer_size=len(pointer))


def git_blob_id(content: bytes) -> str:
    """Return git's blob id of the content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


class Revision:
    """The files of one commit; immutable."""

    def __init__(self, commit: str, files: Mapping[str, StoredFile], title: str, date: str, *, xet: bool = False) -> None:
        """Make the revision of `commit` with `files` (path to file)."""
        self.commit = commit
        self.xet = xet
        self.files = dict(sorted(files.items()))
        self.title = title
        self.date = date

    @cached_property
    def folders(self) -> dict[str, str]:
        """Return every directory with an id that is derived from its content, like that of a git tree."""
        below: dict[str, list[str]] = {}
        for path, file in self.files.items():
            parts = path.split("/")
            for depth in range(1, len(parts)):
                below.setdefault("/".join(parts[:depth]), []).append(f"{path}\0{file.blob_id}")
        return {
            folder: hashlib.sha1("\n".join(lines).encode(), usedforsecurity=False).hexdigest() for folder, lines in below.items()
        }

    def listing(self, folder: str, *, recursive: bool, expand: bool) -> list[dict[str, Any]]:
        """Return the tree items at or below a directory, sorted by path; an unknown directory is an error."""
        if folder and folder not in self.folders:
            raise Refusal(404, "EntryNotFound", f"{folder} does not exist on {self.commit}", {"X-Repo-Commit": self.commit})
        prefix = f"{folder}/" if folder else ""
        paths = [
            path
            for path in sorted({*self.files, *self.folders})
            if path.startswith(prefix) and (recursive or "/" not in path[len(prefix) :])
        ]
        return [self.item(path, expand=expand) for path in paths]

    def item(self, path: str, *, expand: bool) -> dict[str, Any]:
        """Return one tree item: a file or a directory."""
        item: dict[str, Any]
        file = self.files.get(path)
        if file is None:
            item = {"type": "directory", "oid": self.folders[path], "size": 0, "path": path}
        else:
            item = {"type": "file", "oid": file.blob_id, "size": file.size, "path": path}
            if file.lfs:
                item["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": file.pointer_size}
                if self.xet:
                    item["xetHash"] = file.xet_hash
        if expand:
            item["lastCommit"] = {"id": self.commit, "title": self.title, "date": self.date}
            if file is not None:
                item["securityFileStatus"] = {"status": "safe", "avScan": None, "pickleImportScan": None}
        return item


class Repo:
    """A repository with its revisions and references."""

    def __init__(
        self,
        repo_id: str,
        *,
        kind: RepoKind = "dataset",
        private: bool = False,
        gated: Literal["auto", "manual"] | None = None,
        disabled: bool = False,
        members: frozenset[str] = frozenset(),
        creator: str | None = None,
        xet: bool = False,
    ) -> None:
        """Make an empty repository.

        `members` are the users who have been granted access to a gated repository. With `xet`, its large files are in Xet
        storage, and are also served as plain bytes, as the Hub does.
        """
        self.id = repo_id
        self.kind: RepoKind = kind
        self.private = private
        self.gated = gated
        self.disabled = disabled
        self.members = members
        self.creator = creator
        self.xet = xet
        self.branches: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.revisions: dict[str, Revision] = {}
        self.objects: dict[str, StoredFile] = {}
        """LFS objects of all revisions, by SHA-256."""
        self._lock = threading.RLock()
        self.commit({}, message="initial commit")

    @property
    def namespace(self) -> str:
        """The user or organization that owns it."""
        return self.id.split("/", 1)[0]

    @property
    def head(self) -> Revision:
        """The revision that `main` points to."""
        return self.revisions[self.branches["main"]]

    def commit(
        self,
        changes: Mapping[str, bytes | Path | StoredFile | None],
        *,
        branch: str = "main",
        message: str = "update",
        commit_id: str | None = None,
    ) -> Revision:
        """Add files (or remove those given as None) on top of a branch; return the new revision.

        Unless a commit id is given, it is derived from the content, so that it is the same in every run.
        """
        with self._lock:
            parent = self.branches.get(branch) or self.branches.get("main")
            files = dict(self.revisions[parent].files) if parent else {}
            for path, content in changes.items():
                if content is None:
                    files.pop(path, None)
                elif isinstance(content, StoredFile):
                    files[path] = content
                else:
                    files[path] = StoredFile.of(path, content)
            summary = "\n".join([self.id, str(parent), message, *(f"{path} {files[path].blob_id}" for path in sorted(files))])
            sha = commit_id or hashlib.sha1(summary.encode(), usedforsecurity=False).hexdigest()
            date = f"2026-01-01T00:{len(self.revisions) // 60 % 60:02}:{len(self.revisions) % 60:02}.000Z"
            revision = Revision(sha, files, message, date, xet=self.xet)
            self.objects.update((file.sha256, file) for file in files.values() if file.lfs or self.kind == "bucket")
            self.revisions[sha] = revision
            self.branches[branch] = sha
            return revision

    def resolve(self, revision: str) -> Revision:
        """Return what a branch, tag, full reference or commit id points to."""
        name = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
        commit = self.branches.get(name) or self.tags.get(name) or revision
        try:
            return self.revisions[commit]
        except KeyError:
            raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}") from None


class Hub:
    """All accounts and repositories of a Hub."""

    def __init__(self) -> None:
        """Create an empty Hub."""
        self._lock = threading.RLock()
        self.users: dict[str, User] = {}
        self.tokens: dict[str, Token] = {}
        self.repos: dict[tuple[RepoKind, str], Repo] = {}
        self.unpaid: set[str] = set()
        """Namespaces in which creating a repository fails with 402 (payment required)."""

    def add_user(self, name: str, *, orgs: Mapping[str, str] | None = None, pro: bool = False) -> User:
        """Add an account."""
        user = self.users[name] = User(name, dict(orgs or {}), pro)
        return user

    def add_token(
        self, value: str, user: str, role: Role = "write", *, scopes: tuple[Scope, ...] = (), reads_gated: bool = True
    ) -> Token:
        """Add a token of a user; the user is created if necessary."""
        if user not in self.users:
            self.add_user(user)
        token = self.tokens[value] = Token(
            value, user, role, f"{user}-{role}", scopes, reads_gated=role != "fineGrained" or reads_gated
        )
        return token

    def add_repo(
        self,
        repo_id: str,
        files: Mapping[str, bytes | Path] | Path | None = None,
        *,
        commit_id: str | None = None,
        **settings: Any,
    ) -> Repo:
        """Add a repository with files from memory or from a directory on disk."""
        repo = Repo(repo_id, **settings)
        if isinstance(files, Path):
            files = {path.relative_to(files).as_posix(): path for path in sorted(files.rglob("*")) if path.is_file()}
        if files or commit_id:
            repo.commit(files or {}, message="add files", commit_id=commit_id)
        with self._lock:
            self.repos[repo.kind, repo_id] = repo
        return repo

    def load(self, folder: Path) -> None:
        """Add every dataset repository below `directory` (`OWNER/NAME/files`).

        A file `repos.json` there may give further properties: `{"OWNER/NAME": {"commit_id": …, "gated": …, …}}`.
        """
        notes = folder / "repos.json"
        settings: dict[str, dict[str, Any]] = json.loads(notes.read_text("utf-8")) if notes.is_file() else {}
        for path in sorted(folder.glob("*/*")):
            if path.is_dir():
                repo_id = path.relative_to(folder).as_posix()
                self.add_repo(repo_id, path, **settings.get(repo_id, {}))

    # Who is it?

    def authenticate(self, header: str | None) -> Token | None:
        """Return the token of an `Authorization` header; an unknown token is an error."""
        if not header:
            return None
        token = self.tokens.get(header.removeprefix("Bearer ").strip())
        if token is None:
            raise Refusal(401, None, "Invalid credentials in Authorization header")
        return token

    def whoami(self, token: Token | None) -> dict[str, Any]:
        """Return the answer to `/api/whoami-v2`."""
        if token is None:
            raise Refusal(401, None, "Invalid username or password.")
        user = self.users[token.user]
        access: dict[str, Any] = {
            "displayName": token.name,
            "role": token.role,
            "createdAt": "2026-01-01T00:00:00.000Z",
        }
        if token.role == "fineGrained":
            access["fineGrained"] = {
                "canReadGatedRepos": token.reads_gated,
                "global": [],
                "scoped": [
                    {
                        "entity": {"_id": _identity(scope.name), "type": scope.kind, "name": scope.name},
                        "permissions": sorted(scope.permissions),
                    }
                    for scope in token.scopes
                ],
            }
        return {
            "type": "user",
            "id": _identity(user.name),
            "name": user.name,
            "fullname": user.name.title(),
            "email": f"{user.name}@example.org",
            "emailVerified": True,
            "isPro": user.pro,
            "canPay": False,
            "periodEnd": None,
            "avatarUrl": "/avatars/none.svg",
            "orgs": [
                {
                    "type": "org",
                    "id": _identity(name),
                    "name": name,
                    "fullname": name,
                    "email": None,
                    "canPay": False,
                    "periodEnd": None,
                    "avatarUrl": "/avatars/none.svg",
                    "roleInOrg": role,
                    "isEnterprise": False,
                }
                for name, role in user.orgs.items()
            ],
            "auth": {"type": "access_token", "accessToken": access},
        }

    # May they?

    def find(self, kind: RepoKind, repo_id: str, token: Token | None, *, content: bool = False) -> Repo:
        """Return a repository if the token may see it.

        For others, a private repository does not exist. The listing of a gated one is public; its `content` is not.
        """
        repo = self.repos.get((kind, repo_id))
        if repo is None or (repo.private and not self._reads(token, repo)):
            # Anonymous clients are told to log in: the repository may exist for somebody else.
            status, message = (404, "Repository not found") if token else (401, "Invalid username or password.")
            raise Refusal(status, "RepoNotFound", message)
        if repo.disabled:
            raise Refusal(403, None, "Access to this resource is disabled.")
        if content and repo.gated:
            self._pass_gate(token, repo)
        return repo

    def sees(self, token: Token | None, repo: Repo) -> bool:
        """Return whether a repository appears in listings for the token."""
        return not repo.private or self._reads(token, repo)

    def change_settings(self, repo: Repo, document: Mapping[str, Any]) -> None:
        """Change the visibility or the gating of a repository."""
        if "visibility" in document:
            repo.private = document["visibility"] == "private"
        if "private" in document:
            repo.private = bool(document["private"])
        if "gated" in document:
            repo.gated = document["gated"] or None

    def _pass_gate(self, token: Token | None, repo: Repo) -> None:
        what = f"Access to dataset {repo.id} is restricted"
        if token is None:
            raise Refusal(401, "GatedRepo", f"{what}. You must have access to it and be authenticated to access it.")
        if not token.reads_gated:
            raise Refusal(
                403, "GatedRepo", f"{what}. Please enable access to public gated repositories in your token's settings."
            )
        if token.user not in repo.members and not self._owns(token.user, repo):
            raise Refusal(403, "GatedRepo", f"{what} and you are not in the authorized list.")

    def _owns(self, user: str, repo: Repo) -> bool:
        return user == repo.namespace or repo.namespace in self.users[user].orgs

    def _reads(self, token: Token | None, repo: Repo) -> bool:
        if token is None or not (token.user in repo.members or self._owns(token.user, repo)):
            return False
        return token.role != "fineGrained" or self._granted(token, repo.namespace, repo, {"repo.content.read", "repo.write"})

    def _granted(self, token: Token, namespace: str, repo: Repo | None, permissions: set[str]) -> bool:
        return any(
            permissions & scope.permissions
            and (
                (scope.kind in {"user", "org"} and scope.name == namespace)
                or (repo is not None and scope.kind == repo.kind and scope.name == repo.id)
            )
            for scope in token.scopes
        )

    def may_write(self, token: Token, repo: Repo) -> bool:
        """Return whether a token may change a repository."""
        role = self.users[token.user].orgs.get(repo.namespace)
        account = (
            token.user == repo.namespace or role in {"admin", "write"} or (role == "contributor" and repo.creator == token.user)
        )
        if token.role == "fineGrained":
            return account and self._granted(token, repo.namespace, repo, {"repo.write"})
        return account and token.role == "write"

    def writable(self, kind: RepoKind, repo_id: str, token: Token | None) -> Repo:
        """Return a repository if the token may change it."""
        repo = self.find(kind, repo_id, token)
        if token is None:
            raise Refusal(401, None, "Invalid username or password.")
        if not self.may_write(token, repo):
            raise Refusal(403, None, "Forbidden: you must use a write token to upload to a repository.")
        return repo

    def create(self, document: Mapping[str, Any], token: Token | None) -> tuple[Repo, bool]:
        """Create a repository; return it and whether it is new."""
        if token is None:
            raise Refusal(401, None, "Invalid username or password.")
        name = document.get("name")
        if not isinstance(name, str) or not name or "/" in name:
            raise Refusal(400, None, "Invalid repo name")
        namespace = document.get("organization") or token.user
        kind: RepoKind = document.get("type") or "model"
        self._check_creation(token, namespace, kind)
        with self._lock:
            known = self.repos.get((kind, f"{namespace}/{name}"))
            if known is not None:
                return known, False
            private = document.get("visibility") == "private" or document.get("private") is True
            return (
                self.add_repo(f"{namespace}/{name}", kind=kind, private=private, creator=token.user),
                True,
            )

    def _check_creation(self, token: Token, namespace: str, kind: RepoKind) -> None:
        def refuse() -> NoReturn:
            message = f'You don\'t have the rights to create a {kind} under the namespace "{namespace}"'
            raise Refusal(403, None, message)

        role = self.users[token.user].orgs.get(namespace)
        if namespace != token.user and role not in {"admin", "write", "contributor"}:
            refuse()
        if token.role == "read":
            refuse()
        if token.role == "fineGrained" and not self._granted(token, namespace, None, {"repo.write"}):
            refuse()
        if namespace in self.unpaid:
            raise Refusal(402, None, "Payment required: private storage limit reached, upgrade your plan")


def demo_accounts(hub: Hub) -> None:
    """Add the accounts of the stand-alone server: user `demo` with tokens of every kind."""
    hub.add_user("demo", orgs={"demo-lab": "write", "demo-readers": "read"})
    hub.add_user("visitor")
    hub.add_token("demo-write-token", "demo", "write")
    hub.add_token("demo-read-token", "demo", "read")
    hub.add_token("visitor-write-token", "visitor", "write")
    read_only = Scope("user", "demo")
    writing = Scope("user", "demo", frozenset({"repo.content.read", "repo.write"}))
    hub.add_token("demo-fine-read-token", "demo", "fineGrained", scopes=(read_only,), reads_gated=False)
    hub.add_token("demo-fine-write-token", "demo", "fineGrained", scopes=(writing,))


def _identity(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:24]
