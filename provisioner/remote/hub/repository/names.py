"""Names of repositories: which are valid, and what is known before the Hub is asked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from provisioner.errors import ConfigurationError, RemoteRefusedError
from provisioner.remote.hub.repository.values import ASKED_BY_SETTING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.remote.hub.repository.values import RepositoryRequest

_PART: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?"
_MAX_LENGTH: Final = 96

FULL_NAME: Final = re.compile(rf"{_PART}/{_PART}")
"""``owner/name``."""


def owner_and_name(request: RepositoryRequest) -> tuple[str | None, str]:
    """Return owner (``None`` means the user) and name of the requested repository.

    Raises:
        ConfigurationError: no repository can have this owner or name.
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
    if re.fullmatch(_PART, part) and len(part) <= _MAX_LENGTH and not re.search(r"--|\.\.|\.git$", part):
        return
    raise ConfigurationError(
        f"{setting}: {shown!r} cannot be the name of a repository",
        hint="Write NAME or OWNER/NAME: letters, digits, '-', '_' and '.', at most 96 of them; no '-' or '.' at either end,"
        " no '--', no '..', no '.git' at the end.",
    )


def user_name(user: Mapping[str, Any]) -> str:
    """Return the user's name, which is written to files and variables.

    Args:
        user: the Hub's answer to ``whoami``.

    Raises:
        RemoteRefusedError: no user can have this name, so it is not a Hub that answered.
    """
    name = str(user["name"])
    if not re.fullmatch(_PART, name):
        raise RemoteRefusedError(f"the Hub calls the token's owner {name!a:.100}", hint="Look at HF_ENDPOINT.")
    return name


def probable_name(request: RepositoryRequest, owner: str | None, name: str) -> str | None:
    """Return the repository's full name if it is known without the Hub, else ``None``."""
    owners = [owner, *request.user_hints]
    known = next((each for each in owners if each and re.fullmatch(_PART, each)), None)
    return f"{known}/{name}" if known else None
