"""All kinds of sources behind one class: each kind is a module, and a line here."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from provisioner.catalog.size import Size
from provisioner.remote.bucket_source import describe_bucket_source, look_at_bucket_source, resolve_bucket_source
from provisioner.remote.hub_source import describe_hub_source, look_at_hub_source, resolve_hub_source
from provisioner.remote.url_source import describe_url_source, look_at_url_source, resolve_url_source

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from provisioner.catalog.model import EntryFacts
    from provisioner.catalog.source import Source
    from provisioner.catalog.written_reference import Reference
    from provisioner.planning.model import Receipt
    from provisioner.planning.upstream import News
    from provisioner.remote.http.client import HttpClient
    from provisioner.remote.hub.client import HubClient
    from provisioner.remote.resolved import Resolved


class Sources:
    """Resolves sources of every kind; the Hub's client is created when the first Hub source is resolved."""

    def __init__(
        self,
        hub_client: Callable[[], HubClient],
        http_client: Callable[[], HttpClient],
        *,
        can_hash_xet: Callable[[], bool] = lambda: False,
    ) -> None:
        """Make no request yet.

        Args:
            hub_client: returns the client of the Hub.
            http_client: returns the client for files.
            can_hash_xet: returns whether the digests of files in buckets can be computed on this machine.
        """
        self._learnt: dict[Source, Resolved] = {}
        """Results of describing sources, kept until they are used."""
        self._describers: Mapping[str, Callable[[Reference, Any], tuple[EntryFacts, Resolved]]] = {
            "url": partial(describe_url_source, http_client),
            "hub": partial(describe_hub_source, hub_client),
            "bucket": partial(describe_bucket_source, hub_client, can_hash_xet),
        }
        self._resolvers: Mapping[str, Callable[[Any], Resolved]] = {
            "url": partial(resolve_url_source, http_client),
            "hub": partial(resolve_hub_source, hub_client),
            "bucket": partial(resolve_bucket_source, hub_client, can_hash_xet),
        }
        self._lookers: Mapping[str, Callable[[Any, Receipt], News]] = {
            "url": partial(look_at_url_source, http_client),
            "hub": partial(look_at_hub_source, hub_client),
            "bucket": partial(look_at_bucket_source, hub_client, can_hash_xet),
        }

    def resolve(self, source: Source) -> Resolved:
        """Return what a source holds now.

        Raises:
            ProvisionerError: the source cannot be used; another one may be usable.
        """
        return self._learnt.pop(source, None) or self._resolvers[source.kind](source)

    def describe(self, reference: Reference) -> EntryFacts:
        """Return what the source of a reference says of itself; its content is remembered until it is resolved.

        Raises:
            ProvisionerError: the source cannot be used.
        """
        facts, resolved = self._describers[reference.source.kind](reference, reference.source)
        source = reference.source if facts.download is None else reference.source.sized(Size(facts.download))
        self._learnt[source] = resolved
        return facts

    def look(self, source: Source, receipt: Receipt) -> News:
        """Return the present state of a source, compared with its state when a version was built from it.

        Raises:
            ProvisionerError: the source cannot be asked.
        """
        return self._lookers[source.kind](source, receipt)
