"""The Hub: names, revisions, listings, permissions and errors, through the Hub client library; never the bytes of data sets.

The library is imported when the first question is asked, not before. What it would do by itself (retry, wait, read
tokens and settings from the environment) is done here instead, see :mod:`provisioner.remote.hub.transport`.
"""

from __future__ import annotations

import json
import re
import threading
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar, Final, TypeVar
from urllib.parse import quote, urlsplit

from provisioner._version import __version__
from provisioner.catalog.digest import Digest
from provisioner.errors import (
    AccessDeniedError,
    ConfigurationError,
    IntegrityError,
    NotFoundError,
    ProvisionerError,
    RemoteRefusedError,
    RemoteUnavailableError,
)
from provisioner.redaction import redact_line
from provisioner.remote.retry import Transient, describe_status, transient_error
from provisioner.remote.urls import origin_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType
    from typing import Any, Self

    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    from provisioner.remote.network import Network

T = TypeVar("T")

_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_TOKEN: Final = re.compile(r"[!-~]+")
_MESSAGE_LENGTH: Final = 300
"""Characters of a server's own words that we pass on."""


class ConflictError(RemoteRefusedError):
    """What should be made is there already."""

    reference = "conflict"


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a listing."""

    path: str
    """In the repository, POSIX separators; safe to use below a directory of ours."""
    size: int
    """Bytes."""
    digest: Digest
    """``sha256`` of a file in LFS, ``gitsha1`` (the SHA-1 of the Git blob) of any other."""


@dataclass(frozen=True, slots=True)
class RepositoryInfo:
    """What a repository is at one revision."""

    id: str
    """``owner/name`` as the Hub writes it; another one than was asked for when the repository was renamed."""
    commit: str
    private: bool
    paths: frozenset[str]
    """Its files. The Hub shortens this for very large repositories."""
    gate: str = "none"
    """Whether readers must ask for access: ``none``, ``auto`` (granted at once) or ``manual``."""


@dataclass(frozen=True, slots=True)
class ListedRepository:
    """One line of an owner's list of repositories."""

    id: str
    private: bool
    gate: str
    updated: str
    """ISO 8601, or empty where the Hub does not say."""


class HubClient:
    """Asks one Hub as one user. May be shared by threads; close it, or use it as a context manager."""

    # The library has one HTTP client for the whole process; this is whose settings it has now.
    _active: ClassVar[HubClient | None] = None
    _telemetry_was_off: ClassVar[bool] = True
    _guard: ClassVar[threading.RLock] = threading.RLock()

    def __init__(
        self,
        endpoint: str,
        token: str | None,
        network: Network,
        *,
        user_agent: str = f"data-volume-provisioner/{__version__}",
    ) -> None:
        """Make no request and import nothing.

        Args:
            endpoint: address of the Hub, such as ``https://hub.example``.
            token: sent to this Hub alone; ``None``: ask anonymously, whatever the machine's login is.
            network: what all clients share.
            user_agent: sent with each request.

        Raises:
            ConfigurationError: the endpoint is no ``http`` or ``https`` address.
        """
        parts = urlsplit(endpoint)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise ConfigurationError(
                f"HF_ENDPOINT: {redact_line(endpoint)!r} is not the address of a Hub", hint="Write it like https://hub.example."
            )
        self.endpoint = endpoint.rstrip("/")
        self._token = token or None
        self._network = network
        self._user_agent = user_agent
        self._paths: dict[tuple[str, str], frozenset[str]] = {}
        self._user: Mapping[str, Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close connections and give the library its own HTTP client back: the process may be somebody else's."""
        with self._guard:
            if HubClient._active is not self:
                return
            from huggingface_hub import constants, set_client_factory  # noqa: PLC0415 - see the module's docstring
            from huggingface_hub.utils._http import default_client_factory  # noqa: PLC0415 - there is no public way back

            set_client_factory(default_client_factory)
            constants.HF_HUB_DISABLE_TELEMETRY = HubClient._telemetry_was_off
            HubClient._active = None

    # -- reading --

    def resolve(self, repo: str, revision: str) -> str:
        """Return the commit that ``revision`` (branch, tag or commit) of the data-set repository ``repo`` stands for.

        A full commit stands for itself and is not asked for.

        Raises:
            ProvisionerError: see :meth:`refusal`; ``RemoteUnavailableError`` when the Hub kept failing.
        """
        return revision if _COMMIT.fullmatch(revision) else self.info(repo, revision).commit

    def info(self, repo: str, revision: str | None = None) -> RepositoryInfo:
        """Return what the data-set repository ``repo`` is at ``revision`` (its default branch when ``None``).

        Raises:
            ProvisionerError: as :meth:`resolve`.
        """

        def ask(api: HfApi) -> RepositoryInfo:
            found = api.dataset_info(repo, revision=revision)
            if not isinstance(found.sha, str) or not _COMMIT.fullmatch(found.sha):
                raise TypeError(f"no commit: {found.sha!r}")
            paths = frozenset(item.rfilename for item in found.siblings or ())
            return RepositoryInfo(found.id, found.sha, bool(found.private), paths, _gate(found.gated))

        what = f"the data-set repository {repo}" + (f" at {revision}" if revision else "")
        info = self._ask(what, self.page_url(repo), ask)
        self._paths[repo, info.commit] = info.paths
        return info

    def listing(self, repo: str, commit: str) -> list[HubFile]:
        """Return all files of ``repo`` at ``commit``, ordered by path.

        The listing comes in pages, and a lost one would look like a smaller repository; so it is compared with the
        repository's own list of names.

        Raises:
            IntegrityError: it names a file that would land outside its directory, twice, or without a usable digest.
            ProvisionerError: as :meth:`resolve`; ``RemoteUnavailableError`` also when it stays incomplete.
        """
        expected = self._paths.pop((repo, commit), None)
        if expected is None:
            expected = self.info(repo, commit).paths

        def ask(api: HfApi) -> list[RepoFile]:
            from huggingface_hub.hf_api import RepoFile  # noqa: PLC0415 - see the module's docstring

            items = api.list_repo_tree(repo, recursive=True, revision=commit, repo_type="dataset")
            files = [item for item in items if isinstance(item, RepoFile)]
            if missing := expected - {file.path for file in files}:
                example = redact_line(min(missing))
                raise Transient(f"the listing lacks {len(missing)} of the repository's files, {example} for one")
            return files

        files = self._ask(f"the listing of {repo} at {commit}", self.page_url(repo), ask)
        return _checked(repo, files)

    def file_url(self, repo: str, commit: str, path: str) -> str:
        """Return the address of one file's bytes, before any rewriting; ask it with :meth:`auth_headers`."""
        return f"{self.endpoint}/datasets/{quote(repo)}/resolve/{quote(commit, safe='')}/{quote(path)}"

    def auth_headers(self) -> dict[str, str]:
        """Return the headers that identify us to this Hub; never to be sent to another origin, redirects included.

        Raises:
            AccessDeniedError: the token can be no token.
        """
        return {"authorization": f"Bearer {self._checked_token()}"} if self._token else {}

    # -- the user and the user's repositories --

    def whoami(self) -> Mapping[str, Any]:
        """Return the Hub's answer to who the token belongs to and what it may do; asked once, because the Hub limits it.

        Raises:
            ProvisionerError: as :meth:`resolve`; ``AccessDeniedError`` when there is no token or it is not valid.
        """

        def ask(api: HfApi) -> Mapping[str, Any]:
            answer = api.whoami(token=self._checked_token())
            if not isinstance(answer["name"], str):
                raise TypeError("no name")
            return answer

        if self._user is None:
            self._user = self._ask("who the token belongs to", self.tokens_page, ask)
        return self._user

    def create_repository(self, repo: str, *, private: bool | None) -> None:
        """Make the data-set repository ``repo`` (``owner/name``).

        Args:
            repo: its full name.
            private: ``None``: as is usual for the owner.

        Raises:
            ConflictError: the name is taken.
            ProvisionerError: as :meth:`resolve`.
        """

        def ask(api: HfApi) -> None:
            from huggingface_hub.errors import HfUriError  # noqa: PLC0415 - see the module's docstring

            try:
                # `exist_ok` would take a refusal for success when the repository exists and the token may only read.
                api.create_repo(repo, repo_type="dataset", private=private, exist_ok=False)
            except HfUriError:
                # Made; the library does not understand the address in the answer, which differs behind a mirror.
                return

        self._ask(f"making the data-set repository {repo}", self.page_url(repo), ask)

    def may_write(self, repo: str) -> bool | None:
        """Ask whether the token may write to the data-set repository ``repo``; leaves no trace there.

        Returns:
            ``None`` when this Hub does not answer that question.

        Raises:
            RemoteUnavailableError: the Hub kept failing.
        """
        try:
            self._ask(
                f"whether the token may write to {repo}",
                self.page_url(repo),
                lambda api: api.auth_check(repo, repo_type="dataset", write=True),
            )
        except AccessDeniedError:
            return False
        except (NotFoundError, RemoteRefusedError):
            return None
        return True

    def upload_files(self, repo: str, files: Mapping[str, bytes], *, message: str, parent: str | None = None) -> None:
        """Commit a few small files to the data-set repository ``repo``, all at once.

        Args:
            repo: its full name.
            files: content by path in the repository.
            message: of the commit.
            parent: refuse unless this commit is still the newest.

        Raises:
            ProvisionerError: as :meth:`resolve`.
        """

        def ask(api: HfApi) -> None:
            from huggingface_hub import CommitOperationAdd  # noqa: PLC0415 - see the module's docstring

            api.create_commit(
                repo,
                [CommitOperationAdd(path_in_repo=path, path_or_fileobj=content) for path, content in files.items()],
                repo_type="dataset",
                commit_message=message,
                parent_commit=parent,
            )

        self._ask(f"writing {', '.join(files)} to {repo}", self.page_url(repo), ask)

    def change_settings(self, repo: str, *, private: bool | None = None, gate: str | None = None) -> None:
        """Change who may read the data-set repository ``repo``.

        Args:
            repo: its full name.
            private: ``None``: as it is.
            gate: as in :class:`RepositoryInfo`; ``None``: as it is.

        Raises:
            ProvisionerError: as :meth:`resolve`.
        """
        gated: Any = False if gate == "none" else gate
        self._ask(
            f"the settings of {repo}",
            f"{self.page_url(repo)}/settings",
            lambda api: api.update_repo_settings(repo, repo_type="dataset", private=private, gated=gated),
        )

    def repositories_of(self, owner: str) -> list[ListedRepository]:
        """Return all data-set repositories of ``owner`` that the token may see, ordered by name.

        Raises:
            ProvisionerError: as :meth:`resolve`.
        """

        def ask(api: HfApi) -> list[ListedRepository]:
            return [
                ListedRepository(
                    found.id,
                    private=bool(found.private),
                    gate=_gate(found.gated),
                    updated=found.last_modified.isoformat(timespec="seconds") if found.last_modified else "",
                )
                for found in api.list_datasets(author=owner, full=True)
            ]

        found = self._ask(f"the data-set repositories of {owner}", f"{self.endpoint}/{quote(owner)}", ask)
        return sorted(found, key=lambda one: one.id.casefold())

    # -- errors --

    @property
    def tokens_page(self) -> str:
        """Where a user makes and changes tokens."""
        return f"{self.endpoint}/settings/tokens"

    def page_url(self, repo: str) -> str:
        """Where a user looks at the data-set repository ``repo``."""
        return f"{self.endpoint}/datasets/{repo}"

    def translate(self, error: Exception, what: str, page: str) -> ProvisionerError:
        """Return our error for one of the library's; the only place that knows them.

        Args:
            error: what the library raised.
            what: names the request in the message.
            page: where a user can look at what was asked for.
        """
        import httpx2  # noqa: PLC0415 - see the module's docstring
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError  # noqa: PLC0415

        from provisioner.remote.http.errors import transport_error  # noqa: PLC0415 - off the warm path

        match error:
            case ProvisionerError():
                return error
            case HfHubHTTPError():
                response = error.response
                return self.refusal(response.status_code, response.headers, what=what, page=page, detail=_detail(response))
            case HFValidationError():
                return ConfigurationError(
                    f"{what}: {redact_line(str(error), self._token)}",
                    hint="A repository is written owner/name: letters, digits, '-', '_' and '.', at most 96 characters.",
                )
            case LocalTokenNotFoundError():
                return AccessDeniedError(f"{what}: there is no token", hint=self._how_to_get_a_token())
            case httpx2.HTTPError() | httpx2.InvalidURL() if ours := transport_error(error, self.endpoint, self._token):
                return ours
            case _:
                return RemoteRefusedError(f"{what}: {redact_line(str(error), self._token)}")

    def refusal(  # noqa: PLR0912 - a table
        self, status: int, headers: Mapping[str, str], *, what: str, page: str, detail: str = ""
    ) -> ProvisionerError:
        """Return the error for an answer of this Hub that is no success.

        Args:
            status: of the answer, 400 or more.
            headers: of the answer; names in any case.
            what: names the request in the message.
            page: where a user can look at what was asked for.
            detail: the server's own words.

        Returns:
            ``Transient`` for what may be asked again, else ``AccessDeniedError``, ``NotFoundError``, ``ConflictError`` or
            ``RemoteRefusedError``. Neither message nor hint holds the token or a signed address.
        """
        later = transient_error(urlsplit(self.endpoint).netloc, status, headers, time.time())
        if later is not None:
            return later
        lower = {name.lower(): value for name, value in headers.items()}
        code = lower.get("x-error-code", "")
        detail = redact_line(detail or lower.get("x-error-message", ""), self._token)[:_MESSAGE_LENGTH]
        said = f" ({detail})" if detail else ""
        hint = ""
        kind: type[ProvisionerError] = RemoteRefusedError
        if code == "GatedRepo":
            kind, problem = AccessDeniedError, "the repository is gated, and access was not granted"
            hint = f"Accept its conditions at {page}"
            hint += f", and let the token read gated repositories ({self.tokens_page})." if self._token else ", and set HF_TOKEN."
        elif "Access to this resource is disabled" in detail:
            problem, hint = (
                "the Hub has disabled the repository",
                f"{page} may say why. Only its owner or the Hub can change that.",
            )
        elif status == HTTPStatus.UNAUTHORIZED:
            kind, hint = AccessDeniedError, self._how_to_get_a_token()
            if self._token:
                problem = "the Hub does not accept the token (HF_TOKEN): mistyped, revoked or expired"
            else:
                problem = "the Hub tells this only to those it knows; what is private looks the same as what is not there"
        elif code == "RevisionNotFound":
            kind, problem, hint = NotFoundError, "there is no such revision", f"Branches, tags and commits: {page}/tree/main."
        elif code == "EntryNotFound":
            kind, problem, hint = NotFoundError, "there is no such file", f"Files: {page}/tree/main."
        elif status == HTTPStatus.NOT_FOUND or code == "RepoNotFound":
            kind, problem = NotFoundError, "not found"
            hint = f"Look at {page}. What is private looks missing to those who may not read it: "
            hint += f"check the token's permissions at {self.tokens_page}." if self._token else "set HF_TOKEN."
        elif status == HTTPStatus.FORBIDDEN:
            kind, problem = AccessDeniedError, "the Hub forbids it"
            hint = f"Check the token's permissions at {self.tokens_page}." if self._token else self._how_to_get_a_token()
        elif status == HTTPStatus.CONFLICT:
            kind, problem = ConflictError, "it is there already"
        elif status == HTTPStatus.PAYMENT_REQUIRED:
            problem, hint = (
                "the Hub wants to be paid for it",
                f"See {self.endpoint}/settings/billing, or choose another owner or visibility.",
            )
        elif status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            problem, hint = "the proxy wants user name and password", "Put them into HTTP_PROXY and HTTPS_PROXY."
        else:
            problem = "the Hub refuses"
        return kind(f"{what}: {problem}: {describe_status(status)}{said}", hint=hint)

    def _how_to_get_a_token(self) -> str:
        return f"Make a token at {self.tokens_page} and set HF_TOKEN to it."

    # -- the library --

    def _ask(self, what: str, page: str, question: Callable[[HfApi], T]) -> T:
        """Ask, with errors translated and answers that make no sense asked for again.

        Each request within is retried further down already; what gives up there is not asked again here.
        """
        self._network.cancellation.raise_if_requested()
        api = self._api(what)
        import httpx2  # noqa: PLC0415 - see the module's docstring
        from huggingface_hub.errors import HFValidationError  # noqa: PLC0415

        from provisioner.remote.hub.transport import SUBJECT  # noqa: PLC0415

        def ask() -> T:
            try:
                return question(api)
            except (httpx2.HTTPError, httpx2.InvalidURL, OSError, HFValidationError) as error:
                raise self.translate(error, what, page) from error
            except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
                raise Transient(
                    f"the answer of {urlsplit(self.endpoint).netloc} is not a Hub's ({type(error).__name__})",
                    hint="Is there a login page or a filter between here and the Hub? Look at HF_ENDPOINT.",
                ) from error

        subject = SUBJECT.set(what)
        try:
            return self._network.retry.call(what, ask)
        finally:
            SUBJECT.reset(subject)

    def _api(self, what: str) -> HfApi:
        if self._network.offline:
            raise RemoteUnavailableError(
                f"{what}: not asked, because HF_HUB_OFFLINE is set", hint="Unset HF_HUB_OFFLINE, or bring the data another way."
            )
        token = self._checked_token() if self._token else None
        from huggingface_hub import HfApi, constants, set_client_factory  # noqa: PLC0415 - see the module's docstring

        with self._guard:
            if HubClient._active is None:
                HubClient._telemetry_was_off = constants.HF_HUB_DISABLE_TELEMETRY
            if HubClient._active is not self:
                set_client_factory(self._http_client)
                # Else it asks the public Hub, whatever the endpoint is, how to describe_status this machine in its user agent.
                constants.HF_HUB_DISABLE_TELEMETRY = True
                HubClient._active = self
        # `False`, because `None` would mean whatever login the library finds on this machine.
        return HfApi(self.endpoint, token=token or False, headers={"user-agent": self._user_agent})

    def _http_client(self) -> httpx2.Client:
        import httpx2  # noqa: PLC0415 - see the module's docstring

        from provisioner.remote.hub.transport import HubTransport  # noqa: PLC0415

        endpoints = (self.endpoint, self._network.rewrite(self.endpoint))
        transport = HubTransport(self._network, token=self._token, token_origins=frozenset(map(origin_of, endpoints)))
        # Nothing from the environment: what counts was given to us, and a ~/.netrc would add credentials.
        return httpx2.Client(transport=transport, trust_env=False, follow_redirects=True)

    def _checked_token(self) -> str:
        if not self._token:
            raise AccessDeniedError("there is no token", hint=self._how_to_get_a_token())
        # The HTTP library would show a header that it cannot send, token and all.
        if not _TOKEN.fullmatch(self._token):
            raise AccessDeniedError(
                "the token (HF_TOKEN) has spaces, line breaks or other characters that no token has",
                hint=f"Copy it again from {self.tokens_page}.",
            )
        return self._token


def _gate(gated: object) -> str:
    """Return the gate in our words."""
    return gated if isinstance(gated, str) and gated else "none"


def _detail(response: httpx2.Response) -> str:
    """Return the server's own words about a refusal."""
    if said := response.headers.get("x-error-message"):
        return str(said)
    try:
        document = response.json()
    except ValueError:
        return ""  # a page for people
    error = document.get("error") if isinstance(document, dict) else None
    return error if isinstance(error, str) else ""


def _checked(repo: str, files: Iterable[RepoFile]) -> list[HubFile]:
    """Take a listing only when each of its files has a place and a digest of its own.

    Raises:
        IntegrityError: it is wrong; nothing of it is taken.
    """
    found: dict[str, HubFile] = {}
    for file in files:
        if (problem := _unsafe(file.path)) is not None:
            raise _wrong_listing(repo, file.path, problem)
        if file.path in found:
            raise _wrong_listing(repo, file.path, "is there twice")
        size = file.size if file.lfs is None else file.lfs.size
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise _wrong_listing(repo, file.path, f"has {size!r} bytes")
        algorithm, digits, length = ("gitsha1", file.blob_id, 40) if file.lfs is None else ("sha256", file.lfs.sha256, 64)
        if not isinstance(digits, str) or not re.fullmatch(rf"[0-9a-fA-F]{{{length}}}", digits):
            raise _wrong_listing(repo, file.path, f"has no {algorithm} but {digits!r}")
        found[file.path] = HubFile(file.path, size, Digest(algorithm, digits.lower()))
    for path in found:
        parts = path.split("/")
        for depth in range(1, len(parts)):
            if "/".join(parts[:depth]) in found:
                raise _wrong_listing(repo, path, "lies below another file")
    return [found[path] for path in sorted(found)]


def _unsafe(path: object) -> str | None:
    """Return what is wrong with a path that a server gave us; ``None``: it stays below its directory on every system."""
    if not isinstance(path, str):
        return "is no text"
    if "\0" in path or "\\" in path:
        return "has a character that means something else to a file system"
    try:
        path.encode()
    except UnicodeEncodeError:
        return "is no valid text"
    if path.startswith("/") or re.match(r"[A-Za-z]:", path):
        return "is absolute"
    if any(part in {"", ".", ".."} for part in path.split("/")):
        return "would leave its folder or name none"
    return None


def _wrong_listing(repo: str, path: object, problem: str) -> IntegrityError:
    return IntegrityError(
        f"the listing of {repo} is wrong, nothing was taken from it: {path!a:.200} {problem}",
        hint="Tell the repository's owner, or look at HF_ENDPOINT and URL_REWRITE: is it the Hub that answers?",
    )
