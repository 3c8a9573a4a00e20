"""The user's data-set repository: named, made if missing, proved writable, remembered. Never overwritten.

What is decided here is pure; each question goes through a :class:`~provisioner.remote.hub.client.HubClient`. Whether a failure
ends the run is the caller's business: :func:`ensure_repository` returns it. Remembering (:func:`to_record`,
:func:`remembered`) needs no network and does not import the Hub client library.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from provisioner.errors import (
    AccessDeniedError,
    ConfigurationError,
    DeadlineError,
    InterruptedBySignal,
    NotFoundError,
    ProvisionerError,
    RemoteRefusedError,
    TryAgainError,
)
from provisioner.remote.hub.client import ConflictError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from provisioner.remote.hub.client import HubClient, RepositoryInfo

RECORD_VERSION: Final = 1
CARD_NAME: Final = "README.md"
"""The one file of a template in which ``{repo_id}`` and ``{repo_name}`` are replaced."""
ASKED_BY_SETTING: Final = "DATASET_REPO"

_PART: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?"
_FULL: Final = re.compile(rf"{_PART}/{_PART}")
_NAME_LENGTH: Final = 96
_MADE_BY_THE_HUB: Final = frozenset({".gitattributes"})

Gate = Literal["none", "auto", "manual"]


@dataclass(frozen=True, slots=True)
class RepositoryRequest:
    """What the user wants."""

    endpoint: str
    """Address of the Hub."""
    token: str | None = field(repr=False)
    """``None``: there is none, and the step is skipped."""
    name: str | None
    """``NAME`` in the user's or the organization's namespace, or a full ``owner/name``; ``None``: turned off."""
    org: str | None = None
    """Organization that owns a plain ``NAME``; ``None``: the user does."""
    private: bool | None = False
    """Visibility of a new repository; ``None``: as is usual for its owner."""
    asked: bool = False
    """The user named the repository, so the run fails when it cannot be had; the caller acts on this."""
    user_hints: tuple[str, ...] = ()
    """Who the user probably is (``HF_USERNAME``, ``SPACE_AUTHOR_NAME``), for when the Hub cannot be asked."""
    offline: bool = False
    """Do not ask the Hub; the step is skipped."""
    gate: Gate | None = None
    """Whether readers must ask for access; ``None``: nothing is said of it."""
    declared: bool = False
    """It is described in the config file: what exists is made at least as closed as that says, and never opened."""
    files: Callable[[], Mapping[str, bytes]] = field(default=dict, repr=False, compare=False)
    """Gives what a new repository begins with, by path."""
    called: str = ASKED_BY_SETTING
    """Where the name was given, for messages."""


@dataclass(frozen=True, slots=True)
class RepositoryOutcome:
    """How the step ended."""

    state: Literal["ready", "failed", "skipped"]
    repo_id: str | None = None
    """``owner/name``, where it can be known."""
    url: str | None = None
    """Where a user looks at it."""
    created: bool = False
    """Made by us, in this run or in the one that is remembered."""
    error: ProvisionerError | None = None
    """Why it failed."""
    note: str = ""
    """What happened, in a sentence for the log."""
    warnings: tuple[str, ...] = ()
    """What is not as it was asked for, though the repository can be used; one sentence each."""
    export: bool = False
    """The application is to be told the name."""

    def as_record(self) -> dict[str, Any]:
        """Return the form in which the status file carries it."""
        error = self.error.as_record() if self.error else None
        return {"state": self.state, "repo_id": self.repo_id, "url": self.url, "created": self.created, "error": error}


def ensure_repository(request: RepositoryRequest, hub: HubClient, *, make: bool = True) -> RepositoryOutcome:
    """Make sure that the repository is there and that the token may write to it.

    Args:
        request: what the user wants.
        hub: a client for the request's endpoint with the request's token.
        make: ``False``: look only; a repository that is missing is a failure, and nothing is changed.

    Returns:
        The outcome; a failure is in its ``error``, with the exit code that it deserves.

    Raises:
        InterruptedBySignal: asked to stop.
        DeadlineError: asked to stop.
    """
    if not request.name:
        return RepositoryOutcome("skipped", note="no data-set repository is wanted (DATASET_REPO=none)")
    if not request.token:
        note = f"data-set repository {request.name}: skipped, because there is no token; set HF_TOKEN to have it made"
        return RepositoryOutcome("skipped", note=note)
    repo_id: str | None = None
    try:
        owner, name = _parts(request)
        repo_id = _guess(request, owner, name)
        if request.offline:
            return _outcome(request, "skipped", repo_id, note="data-set repository: not asked for, because HF_HUB_OFFLINE is set")
        user = hub.whoami()
        repo_id = f"{owner or _user_name(user)}/{name}"
        return _make_ready(request, hub, user, repo_id, make=make)
    except (InterruptedBySignal, DeadlineError):
        raise
    except ProvisionerError as error:
        # Trouble on the way says nothing about the repository, so the application may try its luck; a refusal does.
        unknown = isinstance(error, TryAgainError)
        return _outcome(request, "failed", repo_id, error=error, note=f"data-set repository: {error.message}", export=unknown)


def environment(outcome: RepositoryOutcome) -> dict[str, str]:
    """Return the variables that tell the application of its repository; empty when there is nothing to tell."""
    if not outcome.export or outcome.repo_id is None:
        return {}
    return {"TRACKIO_DATASET_REPO": outcome.repo_id, "TRACKIO_DATASET_ID": outcome.repo_id}


# -- remembering --


def fingerprint(token: str) -> str:
    """Return a short name for ``token``: enough to see that it changed, useless for anything else."""
    return hashlib.sha256(b"provisioner: which token was it\0" + token.encode("utf-8", "surrogateescape")).hexdigest()[:12]


def to_record(outcome: RepositoryOutcome, request: RepositoryRequest) -> dict[str, Any]:
    """Return what is worth remembering of a success, as plain JSON values.

    Raises:
        ValueError: it was no success; a failure must be asked about again.
    """
    if outcome.state != "ready" or outcome.repo_id is None:
        raise ValueError(f"only a repository that is ready is remembered, this one is {outcome.state}")
    return {**_question(request), "repo_id": outcome.repo_id, "url": outcome.url, "created": outcome.created}


def remembered(record: Mapping[str, Any], request: RepositoryRequest) -> RepositoryOutcome | None:
    """Return the outcome of an earlier run when ``request`` is the same question; else, and for a damaged record, ``None``."""
    if not request.name or not request.token:
        return None
    repo_id = record.get("repo_id")
    if not isinstance(repo_id, str) or not _FULL.fullmatch(repo_id):
        return None
    if any(record.get(key) != value for key, value in _question(request).items()):
        return None
    note = f"data-set repository {repo_id}: ready, as an earlier run found"
    return _outcome(request, "ready", repo_id, created=record.get("created") is True, note=note)


def _question(request: RepositoryRequest) -> dict[str, Any]:
    more: dict[str, Any] = {"gate": request.gate, "declared": True} if request.declared else {}
    return {
        **more,
        "version": RECORD_VERSION,
        "endpoint": request.endpoint.rstrip("/"),
        "name": request.name,
        "org": request.org or None,
        "private": request.private,
        "token": fingerprint(request.token or ""),
    }


# -- the name --


def _parts(request: RepositoryRequest) -> tuple[str | None, str]:
    """Return owner (``None``: the user) and name.

    Raises:
        ConfigurationError: they cannot be a repository's.
    """
    owner, slash, name = (request.name or "").rpartition("/")
    whole = bool(slash)
    if whole:
        _check_part(request.called, owner, request.name)
    elif request.org:
        _check_part("DATASET_REPO_ORG" if request.called == ASKED_BY_SETTING else request.called, request.org, request.org)
    _check_part(request.called, name, request.name)
    return (owner if whole else request.org) or None, name


def _check_part(setting: str, part: str, shown: str | None) -> None:
    if re.fullmatch(_PART, part) and len(part) <= _NAME_LENGTH and not re.search(r"--|\.\.|\.git$", part):
        return
    raise ConfigurationError(
        f"{setting}: {shown!r} cannot be the name of a repository",
        hint="Write NAME or OWNER/NAME: letters, digits, '-', '_' and '.', at most 96 of them; no '-' or '.' at either end,"
        " no '--', no '..', no '.git' at the end.",
    )


def _user_name(user: Mapping[str, Any]) -> str:
    """Return the user's name, which goes into files and variables.

    Raises:
        RemoteRefusedError: it can be no user's name, so it is no Hub that answers.
    """
    name = str(user["name"])
    if not re.fullmatch(_PART, name):
        raise RemoteRefusedError(f"the Hub calls the token's owner {name!a:.100}", hint="Look at HF_ENDPOINT.")
    return name


def _guess(request: RepositoryRequest, owner: str | None, name: str) -> str | None:
    """Return the repository's full name without asking the Hub."""
    owners = [owner, *request.user_hints]
    known = next((each for each in owners if each and re.fullmatch(_PART, each)), None)
    return f"{known}/{name}" if known else None


# -- the repository --


def _make_ready(
    request: RepositoryRequest, hub: HubClient, user: Mapping[str, Any], repo_id: str, *, make: bool
) -> RepositoryOutcome:
    right = _right(user, repo_id)
    if right.write is False:
        raise _no_permission(request, hub, right, repo_id)
    try:
        info: RepositoryInfo | None = hub.info(repo_id)
    except NotFoundError as error:
        if not make:
            hint = "Make it with 'repo create'. What is private looks missing to a token that may not read it."
            raise NotFoundError(f"the data-set repository {repo_id} does not exist", hint=hint) from error
        info = None
    missing = info is None
    files: Mapping[str, bytes] = {}
    if missing:
        if right.create is False:
            raise _no_permission(request, hub, right, repo_id)
        files = request.files()
        info = _create(request, hub, repo_id)
    # Of two runs that found it missing at the same moment, the one that finds it empty fills it.
    created = info is None or (missing and not info.paths - _MADE_BY_THE_HUB)
    if info is None or created:
        warnings = _begin(request, hub, repo_id, info, files)
    else:
        warnings = _check_existing(request, hub, right, info, make=make)
    # A renamed repository answers to its old name too; the application gets the one that will last.
    final = info.id if info is not None and _FULL.fullmatch(info.id) else repo_id
    done = "made" if created else "exists already, reused as it is" if make else "exists, and the token may write to it"
    note = f"data-set repository {hub.page_url(final)}: {done}"
    return _outcome(request, "ready", final, created=created, note=note, warnings=tuple(warnings))


def _create(request: RepositoryRequest, hub: HubClient, repo_id: str) -> RepositoryInfo | None:
    """Make a repository that was not there a moment ago; give what is there if it is by now."""
    try:
        hub.create_repository(repo_id, private=request.private)
    except ConflictError as conflict:
        # The answer to our own request got lost, or another run was faster.
        try:
            return hub.info(repo_id)
        except NotFoundError:
            raise RemoteRefusedError(
                f"{repo_id}: the name is taken, by a repository of another kind or one that this token cannot see",
                hint=f"Choose another name ({request.called}), or rename the other repository.",
            ) from conflict
    except AccessDeniedError as error:
        owner = repo_id.partition("/")[0]
        raise AccessDeniedError(
            error.message,
            hint=f"The token needs the permission to make repositories under {owner} (repo.write): change it at"
            f" {hub.tokens_page}. In an organization the role must be contributor, write or admin.",
        ) from error
    return None


def _begin(
    request: RepositoryRequest, hub: HubClient, repo_id: str, info: RepositoryInfo | None, files: Mapping[str, bytes]
) -> list[str]:
    """Put the template into the new repository; the first upload also proves that the token may write.

    Raises:
        AccessDeniedError: it may not.
        ProvisionerError: the repository was to be gated, and is not.
    """
    if request.gate in {"auto", "manual"}:
        hub.change_settings(repo_id, gate=request.gate)
    name = repo_id.partition("/")[2]
    ready = {
        path: content.replace(b"{repo_id}", repo_id.encode()).replace(b"{repo_name}", name.encode())
        if path == CARD_NAME
        else content
        for path, content in files.items()
    }
    if not ready:
        return []
    try:
        # With a parent, what somebody else has written meanwhile is not overwritten.
        hub.upload_files(repo_id, ready, message="Say what this data set is for", parent=info.commit if info else None)
    except (InterruptedBySignal, DeadlineError, AccessDeniedError):
        raise
    except ProvisionerError as error:
        return [f"{repo_id} was made, but its card could not be written: {error.message}"]
    return []


def _check_existing(request: RepositoryRequest, hub: HubClient, right: _Right, info: RepositoryInfo, *, make: bool) -> list[str]:
    """Find out whether the token may write to a repository that is there, without leaving a trace.

    Who may read it is changed for a declared one alone, and only towards fewer readers.

    Raises:
        AccessDeniedError: it may not.
    """
    warnings = []
    answer = hub.may_write(info.id)
    if answer is False:
        raise _no_permission(request, hub, right, info.id)
    if answer is None and right.write is None:
        warnings.append(f"whether the token may write to {info.id} could not be found out")
    settings_page = f"{hub.page_url(info.id)}/settings"
    closes = request.declared and make
    hide = request.private is True and not info.private
    gate = request.gate if request.gate in {"auto", "manual"} and request.gate != info.gate else None
    if gate == "auto" and info.gate == "manual":
        gate = None
        warnings.append(f"{info.id} is gated manually, though 'auto' is asked for; change that at {settings_page}")
    if closes and (hide or gate):
        hub.change_settings(info.id, private=True if hide else None, gate=gate)
    elif hide:
        warnings.append(f"{info.id} is public, though a private one is asked for; what exists is not changed")
    elif gate:
        warnings.append(f"{info.id} is not gated as asked for")
    if request.declared and request.private is False and info.private:
        warnings.append(f"{info.id} is private, though a public one is asked for; it is never opened here: {settings_page}")
    if request.gate == "none" and info.gate != "none":
        warnings.append(f"{info.id} is gated, though it is not to be; it is never opened here: {settings_page}")
    return warnings


@dataclass(frozen=True, slots=True)
class _Right:
    """What a token may do; ``None``: it does not say."""

    create: bool | None
    write: bool | None
    problem: str = ""
    remedy: str = ""


def _right(user: Mapping[str, Any], repo_id: str) -> _Right:
    """Read from the Hub's ``whoami`` what the token may do with ``repo_id``."""
    owner = repo_id.partition("/")[0]
    name = str(user["name"])
    access = _mapping(_mapping(user.get("auth")).get("accessToken"))
    kind = access.get("role")
    called = f"The token {access['displayName']!r}" if access.get("displayName") else "The token"
    roles = {str(org.get("name")).casefold(): org.get("roleInOrg") for org in map(_mapping, _list(user.get("orgs")))}
    if kind == "read":
        problem = f"{called} of {name} is read-only: it may download, but not write to {repo_id}"
        return _Right(create=False, write=False, problem=problem, remedy="make a token of the type Write")
    if owner.casefold() != name.casefold():
        if roles.get(owner.casefold()) == "read":
            problem = f"{name} has only the role 'read' in the organization {owner}, so {repo_id} cannot be written"
            remedy = f"let an administrator of {owner} give you the role contributor or write; then, if need be, make a new token"
            return _Right(create=False, write=False, problem=problem, remedy=remedy)
        if kind == "write" and owner.casefold() not in roles:
            problem = f"{name} is not a member of {owner}, so {repo_id} cannot be written"
            return _Right(create=False, write=False, problem=problem, remedy=f"use a token of {owner} or of one of its members")
    if kind == "write":
        return _Right(create=True, write=True)
    if kind != "fineGrained":
        return _Right(create=None, write=None)  # an OAuth login, say
    create, write = _granted(_mapping(access.get("fineGrained")), owner, repo_id)
    problem = f"{called} of {name} has no permission to write to {repo_id} (repo.write)"
    if write and not create:
        problem = f"{called} of {name} may write to {repo_id}, but that does not exist, and it may not make it"
    remedy = f"edit the token: 'Write access to contents/settings of all repos' under {owner}"
    return _Right(create=create, write=write, problem=problem, remedy=remedy)


def _granted(fine: Mapping[str, Any], owner: str, repo_id: str) -> tuple[bool, bool]:
    """Tell whether a fine-grained token may make repositories of ``owner``, and whether it may write to ``repo_id``."""
    create = write = "repo.write" in _list(fine.get("global"))
    for scope in map(_mapping, _list(fine.get("scoped"))):
        if "repo.write" not in _list(scope.get("permissions")):
            continue
        entity = _mapping(scope.get("entity"))
        name = str(entity.get("name")).casefold()
        if entity.get("type") in {"user", "org"} and name == owner.casefold():
            create = write = True
        elif entity.get("type") == "dataset" and name == repo_id.casefold():
            write = True
    return create, write


def _no_permission(request: RepositoryRequest, hub: HubClient, right: _Right, repo_id: str) -> AccessDeniedError:
    problem = right.problem or f"The Hub says that the token may not write to {repo_id}"
    remedy = right.remedy or f"let the token write to {repo_id} (repo.write)"
    hint = f"At {hub.tokens_page}: {remedy}, and set HF_TOKEN to it."
    if request.called == ASKED_BY_SETTING:
        hint += " DATASET_REPO=none does without the repository."
    return AccessDeniedError(problem, hint=hint)


def _outcome(
    request: RepositoryRequest,
    state: Literal["ready", "failed", "skipped"],
    repo_id: str | None,
    *,
    created: bool = False,
    error: ProvisionerError | None = None,
    note: str = "",
    warnings: tuple[str, ...] = (),
    export: bool = True,
) -> RepositoryOutcome:
    url = f"{request.endpoint.rstrip('/')}/datasets/{repo_id}" if repo_id else None
    return RepositoryOutcome(state, repo_id, url, created, error, note, warnings, export and repo_id is not None)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
