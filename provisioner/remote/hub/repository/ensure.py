"""Make sure that a repository exists and that the token may write to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from provisioner.errors import (
    AccessDeniedError,
    DeadlineError,
    InterruptedBySignal,
    NotFoundError,
    ProvisionerError,
    RemoteRefusedError,
    TryAgainError,
)
from provisioner.remote.hub.errors import ConflictError
from provisioner.remote.hub.repository.bucket import make_bucket_ready
from provisioner.remote.hub.repository.names import FULL_NAME, owner_and_name, probable_name, user_name
from provisioner.remote.hub.repository.record import skipped_outcome
from provisioner.remote.hub.repository.token_rights import no_permission, rights_of
from provisioner.remote.hub.repository.values import outcome_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.remote.hub.client import HubClient, RepositoryInfo
    from provisioner.remote.hub.repository.token_rights import TokenRights
    from provisioner.remote.hub.repository.values import RepositoryOutcome, RepositoryRequest

CARD_NAME: Final = "README.md"
"""The only file of a template in which ``{repo_id}`` and ``{repo_name}`` are replaced."""
_MADE_BY_THE_HUB: Final = frozenset({".gitattributes"})


def ensure_repository(request: RepositoryRequest, hub: HubClient, *, make: bool = True) -> RepositoryOutcome:
    """Create a repository if it does not exist, and check that the token may write to it.

    Args:
        request: the requested repository.
        hub: a client with the request's endpoint and token.
        make: ``False`` to change nothing; a missing repository is then a failure.

    Returns:
        The outcome, which holds the error of a failure.

    Raises:
        InterruptedBySignal: the run was asked to stop.
        DeadlineError: the deadline of the run has passed.
    """
    if (skipped := skipped_outcome(request)) is not None:
        return skipped
    repo_id: str | None = None
    try:
        owner, name = owner_and_name(request)
        repo_id = probable_name(request, owner, name)
        if request.offline:
            note = f"{request.word}: not asked for, because HF_HUB_OFFLINE is set"
            return outcome_of(request, "skipped", repo_id, note=note)
        user = hub.whoami()
        repo_id = f"{owner or user_name(user)}/{name}"
        ready = make_bucket_ready if request.kind == "bucket" else _make_ready
        return ready(request, hub, user, repo_id, make=make)
    except (InterruptedBySignal, DeadlineError):
        raise
    except ProvisionerError as error:
        # A network failure says nothing about the repository, so the app is still told its name; after a refusal it is not.
        unknown = isinstance(error, TryAgainError)
        return outcome_of(request, "failed", repo_id, error=error, note=f"{request.word}: {error.message}", export=unknown)


def _make_ready(
    request: RepositoryRequest, hub: HubClient, user: Mapping[str, Any], repo_id: str, *, make: bool
) -> RepositoryOutcome:
    rights = rights_of(user, repo_id)
    if rights.write is False:
        raise no_permission(request, hub, rights, repo_id)
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
        if rights.create is False:
            raise no_permission(request, hub, rights, repo_id)
        files = request.files()
        info = _create(request, hub, repo_id)
    # If two runs found it missing at the same moment, the one that finds it empty fills it.
    created = info is None or (missing and not info.paths - _MADE_BY_THE_HUB)
    if info is None or created:
        warnings = _fill_new(request, hub, repo_id, info, files)
    else:
        warnings = _check_existing(request, hub, rights, info, make=make)
    # A renamed repository also answers to its old name; the app gets the new one, which will last.
    final = info.id if info is not None and FULL_NAME.fullmatch(info.id) else repo_id
    done = "made" if created else "exists already, reused as it is" if make else "exists, and the token may write to it"
    note = f"data-set repository {hub.page_url(final)}: {done}"
    return outcome_of(request, "ready", final, created=created, note=note, warnings=tuple(warnings))


def _create(request: RepositoryRequest, hub: HubClient, repo_id: str) -> RepositoryInfo | None:
    """Create a repository that does not exist; return ``None``, or its state if another run was faster."""
    try:
        hub.create_repository(repo_id, private=request.private)
    except ConflictError as conflict:
        # The response to our own request was lost, or another run was faster.
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


def _fill_new(
    request: RepositoryRequest, hub: HubClient, repo_id: str, info: RepositoryInfo | None, files: Mapping[str, bytes]
) -> list[str]:
    """Upload the template to a new repository, which also proves that the token may write to it; return warnings.

    Raises:
        AccessDeniedError: it may not.
        ProvisionerError: the repository was to be gated, but is not.
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
        # With a parent, a commit that somebody else made meanwhile is not overwritten.
        hub.upload_files(repo_id, ready, message="Say what this data set is for", parent=info.commit if info else None)
    except (InterruptedBySignal, DeadlineError, AccessDeniedError):
        raise
    except ProvisionerError as error:
        return [f"{repo_id} was made, but its card could not be written: {error.message}"]
    return []


def _check_existing(
    request: RepositoryRequest, hub: HubClient, rights: TokenRights, info: RepositoryInfo, *, make: bool
) -> list[str]:
    """Check, without leaving a trace, that the token may write to an existing repository, and who may read it.

    Returns:
        Warnings, one sentence each.

    Raises:
        AccessDeniedError: the token may not write.
    """
    answer = hub.may_write(info.id)
    if answer is False:
        raise no_permission(request, hub, rights, info.id)
    unknown = answer is None and rights.write is None
    warnings = [f"whether the token may write to {info.id} could not be found out"] if unknown else []
    return warnings + _restrict_readers(request, hub, info, make=make)


def _restrict_readers(request: RepositoryRequest, hub: HubClient, info: RepositoryInfo, *, make: bool) -> list[str]:
    """Restrict the readers of an existing repository to those in the config file; never allow more of them.

    Returns:
        Differences from the request, one sentence each.
    """
    warnings = []
    settings_page = f"{hub.page_url(info.id)}/settings"
    hide = request.private is True and not info.private
    gate = request.gate if request.gate in {"auto", "manual"} and request.gate != info.gate else None
    if gate == "auto" and info.gate == "manual":
        gate = None
        warnings.append(f"{info.id} is gated manually, though 'auto' is asked for; change that at {settings_page}")
    if request.declared and make and (hide or gate):
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
