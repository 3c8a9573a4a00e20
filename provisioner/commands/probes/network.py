"""Probes of the network: certificates, proxy, Hub and token."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from provisioner.commands.probes.probe import ProbeResult, run_probe
from provisioner.engine.clients import Clients
from provisioner.errors import AccessDeniedError, NotFoundError
from provisioner.remote.proxies import Proxies
from provisioner.remote.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provisioner.cancellation import Cancellation
    from provisioner.settings.model import Settings

_RETRIES: Final = RetryPolicy(attempts=2, base_seconds=0.5, cap_seconds=1.0, total_seconds=15.0)
"""Few, since a person waits for the answer."""


def probe_network(settings: Settings, cancellation: Cancellation) -> Iterator[ProbeResult]:
    """Yield what a run would meet on the network, in the order in which it would fail."""
    clients = Clients(settings, settings.data_dir.absolute(), cancellation, _RETRIES)
    yield run_probe("certificates", lambda: _certificates(settings, clients), cancellation)
    yield _proxy(settings)
    yield run_probe("hub", lambda: _hub(settings, clients), cancellation)
    yield run_probe("token", lambda: _token(settings, clients), cancellation)


def _certificates(settings: Settings, clients: Clients) -> str:
    clients.check()
    return f"those in {settings.ssl_cert_file}" if settings.ssl_cert_file else "the system's"


def _proxy(settings: Settings) -> ProbeResult:
    proxies = Proxies(settings.http_proxy, settings.https_proxy, settings.no_proxy or "")
    proxy = proxies.for_url(settings.hf_endpoint)
    if not proxy:
        return ProbeResult("proxy", "ok", "the Hub is asked directly")
    # The host is enough: the rest of the address may hold a password.
    host = proxy.rpartition("@")[2]
    return ProbeResult("proxy", "ok", f"the Hub is asked through {host.partition('://')[2] or host}")


def _hub(settings: Settings, clients: Clients) -> ProbeResult | str:
    if settings.hf_hub_offline:
        return ProbeResult("hub", "note", "not asked, since HF_HUB_OFFLINE is set")
    # A refusal is an answer, too.
    with contextlib.suppress(NotFoundError, AccessDeniedError):
        clients.http.facts(f"{settings.hf_endpoint}/")
    return f"{settings.hf_endpoint} answers"


def _token(settings: Settings, clients: Clients) -> ProbeResult | str:
    if settings.hf_token is None:
        hint = "Set HF_TOKEN for gated data sets and for the repository of the app's logs."
        return ProbeResult("token", "note", "there is none: public data sets can be fetched", hint)
    if settings.hf_hub_offline:
        return ProbeResult("token", "note", "not tried, since HF_HUB_OFFLINE is set")
    return f"it is that of {clients.hub.whoami()['name']}"
