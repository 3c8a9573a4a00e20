"""The client of a Hub's API: revisions, listings, the user, and the user's repositories; never the bytes of data sets.

It calls the Hub client library; see :mod:`provisioner.remote.hub.library`. What the library would do by itself (retry, wait,
read tokens and settings from the environment) is done by us; see :mod:`provisioner.remote.hub.transport`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from provisioner._version import __version__
from provisioner.catalog.hub_source import REPOSITORY_WORDS
from provisioner.errors import AccessDeniedError, NotFoundError, RemoteRefusedError
from provisioner.redaction import redact_line
from provisioner.remote.hub.access import hub_access
from provisioner.remote.hub.buckets import HubBuckets
from provisioner.remote.hub.library import HubLibrary
from provisioner.remote.hub.listing import checked_listing
from provisioner.remote.retry import Transient

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Any, Self

    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    from provisioner.catalog.hub_source import RepoType
    from provisioner.remote.hub.listing import HubFile
    from provisioner.remote.network import Network

_MAX_FOUND: Final = 100
"""Repositories that the Hub is asked for when one is searched by name: one page."""
_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class RepositoryInfo:
    """The state of a repository at one revision."""

    id: str
    """``owner/name`` in the Hub's spelling; differs from the requested name if the repository was renamed."""
    commit: str
    private: bool
    paths: frozenset[str]
    """Its files. The Hub does not name all files of a very large repository."""
    gate: str = "none"
    """Whether readers must ask for access: ``none``, ``auto`` (granted at once) or ``manual``."""
    card: Mapping[str, Any] = field(default_factory=dict)
    """The front matter of its card, which may hold anything."""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ListedRepository:
    """One line of an owner's list of repositories."""

    id: str
    private: bool
    gate: str
    updated: str
    """ISO 8601; empty if the Hub does not say."""


class HubClient:
    """A client for one Hub and one user; safe for several threads. Close it, or use it as a context manager."""

    def __init__(
        self,
        endpoint: str,
        token: str | None,
        network: Network,
        *,
        user_agent: str = f"data-volume-provisioner/{__version__}",
    ) -> None:
        """Make no request and import nothing yet.

        Args:
            endpoint: address of the Hub, such as ``https://hub.example``.
            token: sent only to this Hub; ``None`` means anonymous access, even if the machine has a login.
            network: the configuration that all clients share.
            user_agent: sent with each request.

        Raises:
            ConfigurationError: the endpoint is not an ``http`` or ``https`` address.
        """
        self._access = hub_access(endpoint, token)
        self._library = HubLibrary(self._access, network, user_agent=user_agent)
        self.buckets = HubBuckets(self._access, self._library)
        """The Hub's storage buckets."""
        self._paths: dict[tuple[str, str, str], frozenset[str]] = {}
        """Names of files by type, repository and commit, for the next listing."""
        self._user: Mapping[str, Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close connections and restore the library's own HTTP client, since other code in this process may use it."""
        self._library.close()

    @property
    def endpoint(self) -> str:
        """The Hub's address."""
        return self._access.endpoint

    @property
    def tokens_page(self) -> str:
        """The page where a user creates and changes tokens."""
        return self._access.tokens_page

    def page_url(self, repo: str, repo_type: RepoType = "dataset") -> str:
        """Return the page of the repository ``repo`` for users."""
        return self._access.page_url(repo, repo_type)

    # -- reading --

    def resolve(self, repo: str, revision: str, repo_type: RepoType = "dataset") -> str:
        """Return the commit of a revision (branch, tag or commit) of the repository ``repo``.

        No request is made for a full commit.

        Raises:
            ProvisionerError: see :func:`provisioner.remote.hub.errors.refusal`; ``RemoteUnavailableError`` if the Hub kept
                failing.
        """
        return revision if _COMMIT.fullmatch(revision) else self.info(repo, revision, repo_type).commit

    def info(self, repo: str, revision: str | None = None, repo_type: RepoType = "dataset") -> RepositoryInfo:
        """Return the state of the repository ``repo`` at ``revision`` (``None`` means its default branch).

        Raises:
            ProvisionerError: see :meth:`resolve`.
        """

        def ask(api: HfApi) -> RepositoryInfo:
            found = api.model_info(repo, revision=revision) if repo_type == "model" else api.dataset_info(repo, revision=revision)
            if not isinstance(found.sha, str) or not _COMMIT.fullmatch(found.sha):
                raise TypeError(f"no commit: {found.sha!r}")
            paths = frozenset(item.rfilename for item in found.siblings or ())
            card: dict[str, Any] = dict(found.card_data.__dict__) if found.card_data else {}
            tags = tuple(tag for tag in found.tags or () if isinstance(tag, str))
            return RepositoryInfo(found.id, found.sha, bool(found.private), paths, _gate(found.gated), card, tags)

        what = f"the {REPOSITORY_WORDS[repo_type]} {repo}" + (f" at {revision}" if revision else "")
        info = self._library.ask(what, self.page_url(repo, repo_type), ask)
        self._paths[repo_type, repo, info.commit] = info.paths
        return info

    def listing(self, repo: str, commit: str, repo_type: RepoType = "dataset") -> list[HubFile]:
        """Return all files of ``repo`` at ``commit``, ordered by path.

        The listing comes in pages, and a lost page would look like a smaller repository, so it is compared with the
        repository's own list of names.

        Raises:
            IntegrityError: a file has no usable path, size or digest, or is listed twice.
            ProvisionerError: see :meth:`resolve`; ``RemoteUnavailableError`` also if the listing stays incomplete.
        """
        expected = self._paths.pop((repo_type, repo, commit), None)
        if expected is None:
            expected = self.info(repo, commit, repo_type).paths

        def ask(api: HfApi) -> list[RepoFile]:
            from huggingface_hub.hf_api import RepoFile  # noqa: PLC0415 - the library is imported when it is asked

            items = api.list_repo_tree(repo, recursive=True, revision=commit, repo_type=repo_type)
            files = [item for item in items if isinstance(item, RepoFile)]
            if missing := expected - {file.path for file in files}:
                example = redact_line(min(missing))
                raise Transient(f"the listing lacks {len(missing)} of the repository's files, {example} for one")
            return files

        files = self._library.ask(f"the listing of {repo} at {commit}", self.page_url(repo, repo_type), ask)
        return checked_listing(repo, files)

    def file_url(self, repo: str, commit: str, path: str, repo_type: RepoType = "dataset") -> str:
        """Return the URL of one file's bytes, before any rewriting; it is requested with :meth:`auth_headers`."""
        return f"{self.files_url(repo, commit, repo_type)}/{quote(path)}"

    def files_url(self, repo: str, commit: str, repo_type: RepoType = "dataset") -> str:
        """Return the URL of the directory that holds all files of a commit; it cannot be requested itself."""
        return f"{self.page_url(quote(repo), repo_type)}/resolve/{quote(commit, safe='')}"

    def find_repositories(self, repo_type: RepoType, *, name: str | None = None, owner: str | None = None) -> list[str]:
        """Return the full names of some repositories; which ones is up to the Hub.

        Args:
            repo_type: the type of the repositories.
            name: a name that theirs should resemble; ``None`` means any.
            owner: the owner of the repositories; ``None`` means any.

        Raises:
            ProvisionerError: see :meth:`resolve`.
        """

        def ask(api: HfApi) -> list[str]:
            if repo_type == "model":
                models = api.list_models(search=name, author=owner, limit=_MAX_FOUND)
                return [one.id for one in islice(models, _MAX_FOUND)]
            datasets = api.list_datasets(search=name, author=owner, limit=_MAX_FOUND)
            return [one.id for one in islice(datasets, _MAX_FOUND)]

        return self._library.ask(f"repositories like {owner or '*'}/{name or '*'}", self.endpoint, ask)

    def auth_headers(self) -> dict[str, str]:
        """Return the headers that identify us to this Hub, which must never be sent to another origin, even after a redirect.

        Raises:
            AccessDeniedError: the token cannot be valid.
        """
        return {"authorization": f"Bearer {self._access.checked_token()}"} if self._access.token else {}

    # -- the user and the user's repositories --

    def whoami(self) -> Mapping[str, Any]:
        """Return the Hub's answer about the token's user and permissions; requested once, because the Hub limits this request.

        Raises:
            ProvisionerError: see :meth:`resolve`; ``AccessDeniedError`` if there is no token or it is not valid.
        """

        def ask(api: HfApi) -> Mapping[str, Any]:
            answer = api.whoami(token=self._access.checked_token())
            if not isinstance(answer["name"], str):
                raise TypeError("no name")
            return answer

        if self._user is None:
            self._user = self._library.ask("who the token belongs to", self.tokens_page, ask)
        return self._user

    def create_repository(self, repo: str, *, private: bool | None) -> None:
        """Create the data-set repository ``repo`` (``owner/name``).

        Args:
            repo: its full name.
            private: ``None`` means the owner's default.

        Raises:
            ConflictError: the name is taken.
            ProvisionerError: see :meth:`resolve`.
        """

        def ask(api: HfApi) -> None:
            from huggingface_hub.errors import HfUriError  # noqa: PLC0415 - the library is imported when it is asked

            try:
                # With `exist_ok`, a refusal would count as success if the repository exists and the token may only read.
                api.create_repo(repo, repo_type="dataset", private=private, exist_ok=False)
            except HfUriError:
                # It was created, but the library cannot parse the URL in the response, which differs behind a mirror.
                return

        self._library.ask(f"making the data-set repository {repo}", self.page_url(repo), ask)

    def may_write(self, repo: str) -> bool | None:
        """Return whether the token may write to the data-set repository ``repo``, without leaving a trace there.

        Returns:
            Whether it may; ``None`` if this Hub does not answer that question.

        Raises:
            RemoteUnavailableError: the Hub kept failing.
        """
        try:
            self._library.ask(
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
        """Commit a few small files to the data-set repository ``repo``, in one commit.

        Args:
            repo: its full name.
            files: content by path in the repository.
            message: the commit message.
            parent: the commit that must still be the latest; ``None`` means any.

        Raises:
            ProvisionerError: see :meth:`resolve`.
        """

        def ask(api: HfApi) -> None:
            from huggingface_hub import CommitOperationAdd  # noqa: PLC0415 - the library is imported when it is asked

            api.create_commit(
                repo,
                [CommitOperationAdd(path_in_repo=path, path_or_fileobj=content) for path, content in files.items()],
                repo_type="dataset",
                commit_message=message,
                parent_commit=parent,
            )

        self._library.ask(f"writing {', '.join(files)} to {repo}", self.page_url(repo), ask)

    def change_settings(self, repo: str, *, private: bool | None = None, gate: str | None = None) -> None:
        """Change who may read the data-set repository ``repo``.

        Args:
            repo: its full name.
            private: ``None`` means no change.
            gate: see :class:`RepositoryInfo`; ``None`` means no change.

        Raises:
            ProvisionerError: see :meth:`resolve`.
        """
        gated: Any = False if gate == "none" else gate
        self._library.ask(
            f"the settings of {repo}",
            f"{self.page_url(repo)}/settings",
            lambda api: api.update_repo_settings(repo, repo_type="dataset", private=private, gated=gated),
        )

    def repositories_of(self, owner: str) -> list[ListedRepository]:
        """Return all data-set repositories of ``owner`` that the token can see, ordered by name.

        Raises:
            ProvisionerError: see :meth:`resolve`.
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

        found = self._library.ask(f"the data-set repositories of {owner}", f"{self.endpoint}/{quote(owner)}", ask)
        return sorted(found, key=lambda one: one.id.casefold())


def _gate(gated: object) -> str:
    """Return ``none`` or the kind of a repository's gate."""
    return gated if isinstance(gated, str) and gated else "none"
