"""All kinds of sources behind one type: a kind is one module and one line here."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from provisioner.remote.hub_source import resolve_hub_source
from provisioner.remote.url_source import resolve_url_source

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from provisioner.catalog.source import Source
    from provisioner.remote.http.client import HttpClient
    from provisioner.remote.hub.client import HubClient
    from provisioner.remote.resolved import Resolved


class Sources:
    """Resolves sources of every kind; the Hub's client is made when the first Hub source is resolved."""

    def __init__(self, hub_client: Callable[[], HubClient], http_client: Callable[[], HttpClient]) -> None:
        """Make no request.

        Args:
            hub_client: returns the client of the Hub.
            http_client: returns the client for files.
        """
        self._resolvers: Mapping[str, Callable[[Any], Resolved]] = {
            "url": partial(resolve_url_source, http_client),
            "hub": partial(resolve_hub_source, hub_client),
        }

    def resolve(self, source: Source) -> Resolved:
        """Return what a source holds now.

        Raises:
            ProvisionerError: the source cannot be used; the next one may be.
        """
        return self._resolvers[source.kind](source)
