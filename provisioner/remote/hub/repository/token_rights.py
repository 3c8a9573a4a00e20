"""The permissions of a token for a repository, as stated by the Hub; checked before anything is created or uploaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provisioner.errors import AccessDeniedError
from provisioner.remote.hub.repository.values import ASKED_BY_SETTING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.remote.hub.client import HubClient
    from provisioner.remote.hub.repository.values import Kind, RepositoryRequest


@dataclass(frozen=True, slots=True)
class TokenRights:
    """The permissions of a token for one repository; ``None`` if the Hub does not state them."""

    create: bool | None
    write: bool | None
    problem: str = ""
    """The reason why something is not allowed, for a message."""
    remedy: str = ""
    """The remedy for the user, for a hint."""


def rights_of(user: Mapping[str, Any], repo_id: str, repo_kind: Kind = "dataset") -> TokenRights:
    """Return what a token may do with a repository.

    Args:
        user: the Hub's answer to ``whoami``.
        repo_id: the repository's full name.
        repo_kind: data-set repository or bucket.
    """
    owner = repo_id.partition("/")[0]
    name = str(user["name"])
    access = _mapping(_mapping(user.get("auth")).get("accessToken"))
    kind = access.get("role")
    called = f"The token {access['displayName']!r}" if access.get("displayName") else "The token"
    roles = {str(org.get("name")).casefold(): org.get("roleInOrg") for org in map(_mapping, _list(user.get("orgs")))}
    if kind == "read":
        problem = f"{called} of {name} is read-only: it may download, but not write to {repo_id}"
        return TokenRights(create=False, write=False, problem=problem, remedy="make a token of the type Write")
    if owner.casefold() != name.casefold():
        if roles.get(owner.casefold()) == "read":
            problem = f"{name} has only the role 'read' in the organization {owner}, so {repo_id} cannot be written"
            remedy = f"let an administrator of {owner} give you the role contributor or write; then, if need be, make a new token"
            return TokenRights(create=False, write=False, problem=problem, remedy=remedy)
        if kind == "write" and owner.casefold() not in roles:
            problem = f"{name} is not a member of {owner}, so {repo_id} cannot be written"
            remedy = f"use a token of {owner} or of one of its members"
            return TokenRights(create=False, write=False, problem=problem, remedy=remedy)
    if kind == "write":
        return TokenRights(create=True, write=True)
    if kind != "fineGrained":
        return TokenRights(create=None, write=None)  # an OAuth login, say
    create, write = _granted(_mapping(access.get("fineGrained")), owner, repo_id, repo_kind)
    problem = f"{called} of {name} has no permission to write to {repo_id} (repo.write)"
    if write and not create:
        problem = f"{called} of {name} may write to {repo_id}, but that does not exist, and it may not make it"
    remedy = f"edit the token: 'Write access to contents/settings of all repos' under {owner}"
    return TokenRights(create=create, write=write, problem=problem, remedy=remedy)


def no_permission(request: RepositoryRequest, hub: HubClient, rights: TokenRights, repo_id: str) -> AccessDeniedError:
    """Return the error for a token that may not write to a repository."""
    problem = rights.problem or f"The Hub says that the token may not write to {repo_id}"
    remedy = rights.remedy or f"let the token write to {repo_id} (repo.write)"
    hint = f"At {hub.tokens_page}: {remedy}, and set HF_TOKEN to it."
    if request.called == ASKED_BY_SETTING:
        hint += " DATASET_REPO=none does without the repository."
    return AccessDeniedError(problem, hint=hint)


def _granted(fine: Mapping[str, Any], owner: str, repo_id: str, repo_kind: Kind) -> tuple[bool, bool]:
    """Return whether a fine-grained token may create repositories of ``owner``, and whether it may write to ``repo_id``."""
    create = write = "repo.write" in _list(fine.get("global"))
    for scope in map(_mapping, _list(fine.get("scoped"))):
        if "repo.write" not in _list(scope.get("permissions")):
            continue
        entity = _mapping(scope.get("entity"))
        name = str(entity.get("name")).casefold()
        if entity.get("type") in {"user", "org"} and name == owner.casefold():
            create = write = True
        elif entity.get("type") == repo_kind and name == repo_id.casefold():
            write = True
    return create, write


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
