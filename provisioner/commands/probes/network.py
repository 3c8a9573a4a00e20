"""Probes of the network: certificates, proxy, Hub and token."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from provisioner.commands.probes.probe import ProbeResult, run_probe
from provisioner.engine.clients import Clients
from provisioner.engine.repository_requests import requests_of
from provisioner.errors import AccessDeniedError, NotFoundError
from provisioner.remote.hub.repository.ensure import ensure_repository
from provisioner.remote.proxies import Proxies
from provisioner.remote.retry import RetryPolicy
from provisioner.units import format_count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provisioner.cancellation import Cancellation
    from provisioner.catalog.model import Catalog
    from provisioner.catalog.source import Source
    from provisioner.planning.model import Plan, Step
    from provisioner.settings.settings import Settings

_RETRIES: Final = RetryPolicy(attempts=2, base_seconds=0.5, cap_seconds=1.0, total_seconds=15.0)
"""Few attempts, since the user is waiting for the answer."""


def probe_network(
    settings: Settings, catalog: Catalog | None, plan: Plan | None, cancellation: Cancellation
) -> Iterator[ProbeResult]:
    """Yield what a run would encounter on the network, in the order in which it would fail.

    Args:
        settings: what the user asked for.
        catalog: what should exist, or ``None`` if it cannot be read.
        plan: what a run would do, or ``None`` if that is not known.
        cancellation: ends the probes.
    """
    clients = Clients(settings, settings.data_dir.absolute(), cancellation, _RETRIES)
    yield run_probe("certificates", lambda: _certificates(settings, clients), cancellation)
    yield _proxy(settings)
    yield run_probe("hub", lambda: _hub(settings, clients, catalog, plan), cancellation)
    token = run_probe("token", lambda: _token(settings, clients), cancellation)
    yield token
    if token.error is None:
        yield from _repositories(settings, clients)


def _certificates(settings: Settings, clients: Clients) -> str:
    clients.check()
    return f"those in {settings.ssl_cert_file}" if settings.ssl_cert_file else "the system's"


def _proxy(settings: Settings) -> ProbeResult:
    proxies = Proxies(settings.http_proxy, settings.https_proxy, settings.no_proxy or "")
    proxy = proxies.for_url(settings.hf_endpoint)
    if not proxy:
        return ProbeResult("proxy", "ok", "the Hub is asked directly")
    # The host is enough; the rest of the address may hold a password.
    host = proxy.rpartition("@")[2]
    return ProbeResult("proxy", "ok", f"the Hub is asked through {host.partition('://')[2] or host}")


def _hub(settings: Settings, clients: Clients, catalog: Catalog | None, plan: Plan | None) -> ProbeResult | str:
    """Ask the Hub what a run would ask: a mirror may answer nothing but its API, and another server may answer anything."""
    if settings.hf_hub_offline:
        return ProbeResult("hub", "note", "not asked, since HF_HUB_OFFLINE is set")
    answers = f"{settings.hf_endpoint} answers"
    for step in plan.work if plan else ():
        source = step.recipe.sources[0]
        if source.artifacts is None:
            return _listing(step, source, clients, answers)
    for dataset in catalog.datasets.values() if catalog else ():
        for source in dataset.sources:
            if source.artifacts is None:
                # The result is not needed now: that the source is known or refused shows that a Hub answered.
                with contextlib.suppress(NotFoundError, AccessDeniedError):
                    clients.sources.resolve(source)
                return answers
    with contextlib.suppress(NotFoundError, AccessDeniedError):
        clients.http.facts(f"{settings.hf_endpoint}/api/whoami-v2")
    return answers


def _listing(step: Step, source: Source, clients: Clients, answers: str) -> ProbeResult | str:
    try:
        resolved = clients.sources.resolve(source)
    except (NotFoundError, AccessDeniedError) as error:
        if len(step.recipe.sources) > 1 or step.recipe.dataset.optional:
            return ProbeResult("hub", "note", f"{step.recipe.label}: {error.message}", error.hint)
        raise
    return f"{answers}, and lists {format_count(len(resolved.artifacts), 'file')} of {source.name}"


def _repositories(settings: Settings, clients: Clients) -> Iterator[ProbeResult]:
    """Yield what a run would encounter with the user's repositories; nothing is created."""
    for request in requests_of(settings):
        if settings.hf_token is None or settings.hf_hub_offline or not settings.may_download:
            continue
        outcome = ensure_repository(request, clients.hub, make=False)
        error = outcome.error
        if error is None:
            yield ProbeResult("repository", "ok", outcome.note)
        elif outcome.state == "failed" and isinstance(error, NotFoundError):
            yield ProbeResult("repository", "note", f"{error.message}: a run creates it")
        elif request.asked:
            yield ProbeResult("repository", "WRONG", error.message, error.hint, error)
        else:
            yield ProbeResult("repository", "note", error.message, error.hint)


def _token(settings: Settings, clients: Clients) -> ProbeResult | str:
    if settings.hf_token is None:
        hint = "Set HF_TOKEN for gated data sets and for the repository of the app's logs."
        return ProbeResult("token", "note", "there is none: public data sets can be fetched", hint)
    if settings.hf_hub_offline:
        return ProbeResult("token", "note", "not tried, since HF_HUB_OFFLINE is set")
    return f"it is that of {clients.hub.whoami()['name']}"
