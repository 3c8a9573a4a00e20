"""The clients of one run, created from its settings when they are first used.

Only the wiring is here: the clients get plain values, never the settings. Their modules are imported on first use,
since a start with nothing to do needs none of them.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from provisioner.cancellation import Cancellation
    from provisioner.engine.peers import Peers
    from provisioner.remote.http.client import HttpClient
    from provisioner.remote.hub.client import HubClient
    from provisioner.remote.network import Network
    from provisioner.remote.retry import Retry, RetryPolicy
    from provisioner.remote.sources import Sources
    from provisioner.remote.tally import RequestTally
    from provisioner.remote.transfers import Transfers
    from provisioner.settings.settings import Settings
    from provisioner.volume.staging.local_copies import LocalCopies


T = TypeVar("T")

_LOGGER = logging.getLogger(__name__)

_LEAST_PROGRESS: Final = 1 << 16
"""Bytes that a connection must have delivered for a peer to be worth another one."""
PEER_WAIT_SECONDS = 0.5
"""Upper bound of the first wait before a retry of an optional request, one that the user did not ask for by name."""

_CREATING = threading.RLock()


class _Once(Generic[T]):
    """A property whose value is created once, even if several threads ask for it at the same time."""

    def __init__(self, create: Callable[[Any], T]) -> None:
        self._create = create
        self._name = create.__name__
        self.__doc__ = create.__doc__

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> T:  # noqa: ANN401 - whatever has the property
        values: dict[str, T] = instance.__dict__
        with _CREATING:
            if self._name not in values:
                values[self._name] = self._create(instance)
            return values[self._name]


class Clients:
    """The clients for the network, with one policy for retries, proxies, certificates and bandwidth; and local files."""

    def __init__(self, settings: Settings, root: Path, cancellation: Cancellation, policy: RetryPolicy | None = None) -> None:
        """Prepare; no client is created yet.

        Args:
            settings: what the user asked for.
            root: the volume's root, where an older tool may have left archives.
            cancellation: ends every request.
            policy: how often and how long a request is retried; ``None`` means the usual policy.
        """
        self._settings = settings
        self._root = root
        self._cancellation = cancellation
        self._policy = policy

    def check(self) -> None:
        """Check in advance what would otherwise fail at the first request.

        Raises:
            ConfigurationError: the file of certificates (``SSL_CERT_FILE``) cannot be used.
        """
        if self._settings.ssl_cert_file is not None:
            from provisioner.remote.tls import tls_context  # noqa: PLC0415 - see the module's docstring

            tls_context(self._settings.ssl_cert_file)

    def close(self) -> None:
        """Close the Hub's client, so that a program that uses the same library finds it unchanged."""
        for client in ("hub", "optional_hub"):
            if client in self.__dict__:
                getattr(self, client).close()

    @_Once
    def tally(self) -> RequestTally:
        """The counts of all requests."""
        from provisioner.remote.tally import RequestTally  # noqa: PLC0415 - see the module's docstring

        return RequestTally()

    @_Once
    def network(self) -> Network:
        """The configuration and the counters that all clients share."""
        import random  # noqa: PLC0415 - see the module's docstring
        import time  # noqa: PLC0415

        from provisioner.remote.network import Network, unchanged  # noqa: PLC0415
        from provisioner.remote.proxies import Proxies  # noqa: PLC0415
        from provisioner.remote.retry import Retry, RetryPolicy  # noqa: PLC0415
        from provisioner.remote.rewriting import Rewriting  # noqa: PLC0415

        settings, cancellation = self._settings, self._cancellation
        policy = self._policy or RetryPolicy()
        return Network(
            Retry(policy, pause=cancellation.wait, clock=time.monotonic, random=random.random, tally=self.tally),
            cancellation,
            Proxies(settings.http_proxy, settings.https_proxy, settings.no_proxy or ""),
            ca_file=settings.ssl_cert_file,
            rewrite=Rewriting(settings.url_rewrite, settings.logins) if settings.url_rewrite or settings.logins else unchanged,
            offline=settings.hf_hub_offline,
            tally=self.tally,
        )

    @_Once
    def http(self) -> HttpClient:
        """The client for files."""
        from provisioner.remote.http.client import HttpClient  # noqa: PLC0415 - see the module's docstring

        return HttpClient(
            self.network,
            connections=self._settings.connections,
            bytes_per_second=self._settings.max_rate_bytes,
            authorization=lambda _url: self.hub.auth_headers(),
        )

    @_Once
    def hub(self) -> HubClient:
        """The client for the Hub's API."""
        from provisioner.remote.hub.client import HubClient  # noqa: PLC0415 - see the module's docstring

        token = self._settings.hf_token.reveal() if self._settings.hf_token else None
        return HubClient(self._settings.hf_endpoint, token, self.network)

    @_Once
    def optional_hub(self) -> HubClient:
        """The client for optional requests to the Hub: it gives up soon, and its waits delay nothing else."""
        from provisioner.remote.hub.client import HubClient  # noqa: PLC0415 - see the module's docstring

        token = self._settings.hf_token.reveal() if self._settings.hf_token else None
        return HubClient(self._settings.hf_endpoint, token, self._optional_network)

    @_Once
    def optional_sources(self) -> Sources:
        """The resolver that asks whether sources have changed: it gives up soon, as :attr:`optional_hub` does."""
        from provisioner.remote.http.client import HttpClient  # noqa: PLC0415 - see the module's docstring
        from provisioner.remote.sources import Sources  # noqa: PLC0415
        from provisioner.volume.staging.xet_hash import can_hash_xet  # noqa: PLC0415

        http = HttpClient(self._optional_network, connections=1)
        return Sources(lambda: self.optional_hub, lambda: http, can_hash_xet=can_hash_xet)

    @_Once
    def _optional_network(self) -> Network:
        """The network that is shared by the clients that give up soon."""
        from dataclasses import replace  # noqa: PLC0415 - see the module's docstring

        return replace(self.network, retry=self._short_retry())

    @_Once
    def sources(self) -> Sources:
        """The resolver for sources of every kind."""
        from provisioner.remote.sources import Sources  # noqa: PLC0415 - see the module's docstring
        from provisioner.volume.staging.xet_hash import can_hash_xet  # noqa: PLC0415

        return Sources(lambda: self.hub, lambda: self.http, can_hash_xet=can_hash_xet)

    @_Once
    def transfers(self) -> Transfers:
        """The transfers that fetch artifacts."""
        from provisioner.remote.transfers import Transfers  # noqa: PLC0415 - see the module's docstring

        return Transfers(self.http)

    def transfers_for(self, rank: int, cancellation: Cancellation) -> Transfers:
        """Return transfers that fetch the artifacts of one of several data sets.

        Args:
            rank: among waiting requests, those with the lowest rank are sent first.
            cancellation: ends them.
        """
        from provisioner.remote.transfers import Transfers  # noqa: PLC0415 - see the module's docstring

        return Transfers(self.http.for_flow(rank, cancellation))

    @_Once
    def peers(self) -> Peers | None:
        """The volumes that are asked before the sources, or ``None`` if there are none."""
        addresses = self._settings.peers
        if self._settings.hf_hub_offline and (left_out := [each for each in addresses if "://" in each]):
            _LOGGER.info("HF_HUB_OFFLINE is set: of the peers only directories are asked, and not %s", ", ".join(left_out))
            addresses = tuple(each for each in addresses if each not in left_out)
        if not addresses:
            return None
        from provisioner.engine.peers import Peers  # noqa: PLC0415 - see the module's docstring
        from provisioner.volume.store.layout import VolumeLayout  # noqa: PLC0415

        spool = self._settings.staging_dir or VolumeLayout(self._root).staging
        return Peers(addresses, lambda: self.peer_http, lambda: self.sources, spool=spool, cancellation=self._cancellation)

    @_Once
    def peer_http(self) -> HttpClient:
        """The client for peers: it gives up soon, since another peer or the sources can always be asked instead."""
        return self.http.with_retry(self._short_retry())

    def _short_retry(self) -> Retry:
        import random  # noqa: PLC0415 - see the module's docstring
        import time  # noqa: PLC0415

        from provisioner.remote.retry import Retry, RetryPolicy  # noqa: PLC0415 - see the module's docstring

        policy = self._policy or RetryPolicy(
            attempts=2, base_seconds=PEER_WAIT_SECONDS, cap_seconds=1.0, total_seconds=5.0, least_progress=_LEAST_PROGRESS
        )
        pause = self._cancellation.wait
        return Retry(policy, pause=pause, clock=time.monotonic, random=random.random, tally=self.tally)

    @_Once
    def local_copies(self) -> LocalCopies:
        """Files on this machine that may have the right bytes already."""
        from provisioner.volume.staging.local_copies import LocalCopies  # noqa: PLC0415 - see the module's docstring
        from provisioner.volume.store.layout import VolumeLayout  # noqa: PLC0415

        cache = self._settings.hf_hub_cache if self._settings.use_hf_cache else None
        shares = VolumeLayout(self._root).shares / "bytes"
        return LocalCopies(
            self._root,
            cache,
            self._cancellation.raise_if_requested,
            shares=shares if shares.is_dir() else None,
            further=self._settings.search_dirs,
            has_trees=self._settings.adopts_trees,
        )
