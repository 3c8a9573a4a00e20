"""Which data-set repositories the settings ask for: the app's own, and those that the config file describes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from provisioner.engine.repository_template import load_template
from provisioner.remote.hub.repository.values import ASKED_BY_SETTING, RepositoryRequest
from provisioner.settings.repositories import DEFAULT_TEMPLATE, DeclaredRepository

if TYPE_CHECKING:
    from provisioner.remote.hub.repository.values import Kind
    from provisioner.settings.settings import Settings


def requests_of(settings: Settings) -> tuple[RepositoryRequest, ...]:
    """Return the requests for all repositories; the first is for the app's own.

    The app's own is the repository of ``DATASET_REPO`` if the user set (or disabled) it, else the first in the config file,
    else the default. If the config file describes the repository of ``DATASET_REPO``, that entry is used. A bucket for the
    app (``DATASET_REPO_KIND``) never matches an entry of the config file, which describes repositories only.
    """
    described, kind = settings.repositories, settings.dataset_repo_kind
    if described and not settings.dataset_repo_asked and settings.dataset_repo and kind == "dataset":
        return tuple(_described(settings, repository) for repository in described)
    own = DeclaredRepository(
        settings.dataset_repo or "", settings.dataset_repo_org, settings.dataset_repo_private, DEFAULT_TEMPLATE
    )
    named = described if kind == "dataset" else ()
    same = next((repository for repository in named if _full_name(repository) == _full_name(own)), None)
    others = [_described(settings, repository) for repository in described if repository is not same]
    first = _described(settings, same) if same else request_for(settings, own, asked=settings.dataset_repo_asked, kind=kind)
    return (first, *others)


def request_for(
    settings: Settings,
    wanted: DeclaredRepository,
    *,
    asked: bool = True,
    called: str = ASKED_BY_SETTING,
    declared: bool = False,
    kind: Kind = "dataset",
) -> RepositoryRequest:
    """Return the request for one repository.

    Args:
        settings: the Hub's address, the token, and the probable user name.
        wanted: name, owner, visibility and template.
        asked: the user asked for it by name, so that its failure fails the run.
        called: how messages say where the name was given.
        declared: the config file describes it: if it exists, it is made at least as private as stated there.
        kind: a data-set repository or a bucket.
    """
    return RepositoryRequest(
        endpoint=settings.hf_endpoint,
        token=settings.hf_token.reveal() if settings.hf_token else None,
        name=wanted.name or None,
        org=wanted.organization,
        private=wanted.private,
        asked=asked,
        user_hints=tuple(filter(None, (settings.hf_username, settings.space_author_name))),
        offline=settings.hf_hub_offline,
        gate=wanted.gate,
        declared=declared,
        files=partial(load_template, wanted.template),
        called=called,
        kind=kind,
    )


def _described(settings: Settings, wanted: DeclaredRepository) -> RepositoryRequest:
    return request_for(settings, wanted, called=wanted.location, declared=True)


def _full_name(wanted: DeclaredRepository) -> str:
    owner = wanted.organization if wanted.organization and "/" not in wanted.name else None
    return (f"{owner}/{wanted.name}" if owner else wanted.name).casefold()
