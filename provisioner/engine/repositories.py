"""Which data-set repositories the settings ask for: the app's own, and those that the config file describes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from provisioner.engine.repository_template import load_template
from provisioner.remote.hub.repository import ASKED_BY_SETTING, RepositoryRequest, ensure_repository, remembered, to_record
from provisioner.settings.repositories import DEFAULT_TEMPLATE, DeclaredRepository

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioner.remote.hub.client import HubClient
    from provisioner.remote.hub.repository import RepositoryOutcome
    from provisioner.settings.model import Settings

_OTHERS = "others"
"""The key of ``repository.json`` below which all but the app's own are remembered."""


def requests_of(settings: Settings) -> tuple[RepositoryRequest, ...]:
    """Return what is asked for; the first is the app's own.

    That is the one of ``DATASET_REPO`` where the user named one (or turned it off), else the first that the config file
    describes, else the default. An entry of the config file that describes the one of ``DATASET_REPO`` speaks for it.
    """
    described = list(settings.repositories)
    if described and not settings.dataset_repo_asked and settings.dataset_repo:
        return tuple(_declared(settings, one) for one in described)
    own = DeclaredRepository(
        settings.dataset_repo or "", settings.dataset_repo_org, settings.dataset_repo_private, DEFAULT_TEMPLATE
    )
    same = next((one for one in described if _full(one) == _full(own)), None)
    others = [_declared(settings, one) for one in described if one is not same]
    first = _declared(settings, same) if same else request_for(settings, own, asked=settings.dataset_repo_asked)
    return (first, *others)


def request_for(
    settings: Settings, wanted: DeclaredRepository, *, asked: bool = True, called: str = ASKED_BY_SETTING, declared: bool = False
) -> RepositoryRequest:
    """Return the request for one repository as these settings have it made."""
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
    )


def known(request: RepositoryRequest, hub: HubClient, record: Mapping[str, Any], *, first: bool) -> RepositoryOutcome | None:
    """Return what can be said of a repository without asking anybody; ``None``: the Hub must be asked.

    Args:
        request: what is asked for.
        hub: is not asked.
        record: the content of ``repository.json``.
        first: it is the app's own.
    """
    if not request.name or not request.token:
        return ensure_repository(request, hub)  # skipped: no request is made
    others = record.get(_OTHERS)
    entries = [record] if first else others if isinstance(others, list) else []
    found = (remembered(entry, request) for entry in entries if isinstance(entry, dict))
    outcome = next((one for one in found if one is not None), None)
    if outcome is None and request.offline:
        return ensure_repository(request, hub)
    return outcome


def record_of(outcomes: Sequence[tuple[RepositoryRequest, RepositoryOutcome]]) -> dict[str, Any]:
    """Return what is worth remembering, for ``repository.json``; the app's own comes first."""
    records = [to_record(outcome, request) if outcome.state == "ready" else {} for request, outcome in outcomes]
    others = [record for record in records[1:] if record]
    return {**records[0], **({_OTHERS: others} if others else {})}


def _declared(settings: Settings, wanted: DeclaredRepository) -> RepositoryRequest:
    return request_for(settings, wanted, called=wanted.location, declared=True)


def _full(wanted: DeclaredRepository) -> str:
    owner = wanted.organization if wanted.organization and "/" not in wanted.name else None
    return (f"{owner}/{wanted.name}" if owner else wanted.name).casefold()
