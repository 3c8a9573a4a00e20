"""Peers: other volumes that may hold a version which is to be built. They are asked before its sources.

A peer is trusted for the bytes of a recipe, once they match, and for nothing else. If one fails or is wrong, that is logged,
and the next peer is asked, and then the sources.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from provisioner.catalog.artifact import Artifact
from provisioner.catalog.card import facts_of_peer
from provisioner.catalog.digest import Digest
from provisioner.catalog.entries import entry_of
from provisioner.catalog.size import Size
from provisioner.engine.peer_bounds import check_extent, most_entries
from provisioner.engine.peer_checks import check_manifest, check_receipt, wanted_of
from provisioner.engine.peer_kinds import DirectoryPeer, WebPeer
from provisioner.errors import IntegrityError, NotFoundError, ProvisionerError, TryAgainError
from provisioner.planning.pinning import checks_manifest
from provisioner.planning.recipe import make_recipe
from provisioner.remote.peers import PeerLocations, PeerTransfers
from provisioner.remote.resolved import Resolved
from provisioner.volume.store.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from provisioner.cancellation import Cancellation
    from provisioner.catalog.model import EntryFacts
    from provisioner.catalog.written_reference import Reference
    from provisioner.engine.peer_checks import Wanted
    from provisioner.engine.peer_kinds import Peer, PeerTree
    from provisioner.planning.model import Receipt
    from provisioner.planning.recipe import Recipe
    from provisioner.remote.http.client import HttpClient
    from provisioner.remote.sources import Sources
    from provisioner.remote.transfers import Transfers

_LOGGER = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Offer:
    """One version as one or several peers have it: its receipt and manifest are checked, its bytes are not."""

    receipt: Receipt
    manifest: Manifest
    trees: tuple[PeerTree, ...]
    """The trees of the peers, all with the same manifest."""

    @property
    def where(self) -> str:
        """The peers, for messages."""
        return " and ".join(tree.peer.name for tree in self.trees)

    @cached_property
    def resolved(self) -> Resolved:
        """The files as artifacts, for the code that fetches and reuses artifacts."""
        receipt, base = self.receipt, self.trees[0].url
        artifacts = (
            Artifact(
                name=entry.path,
                urls=(),
                size=Size(entry.size),
                digest=Digest("sha256", entry.sha256),
                unpack="none",
                into=entry.path.rpartition("/")[0],
                verified_against="peer",
                repository_url=base,
            )
            for entry in self.manifest
            if entry.kind == "file"
        )
        return Resolved(receipt.source_kind, receipt.source_url, receipt.pin, tuple(artifacts), repository=receipt.repository)


@dataclass(slots=True)
class _Claim:
    """One peer's offer of a version, unverified."""

    receipt: Receipt
    manifest: Manifest
    digest: str
    tree: PeerTree


def _is_pinned(recipe: Recipe) -> bool:
    """Return whether pins name the list of checksums of the version that a recipe makes."""
    return recipe.pin is not None and checks_manifest(recipe.pin, recipe.asked)


def _receipts(peer: Peer, recipe: Recipe, wanted: Wanted) -> Iterator[Receipt]:
    """Yield the receipts of versions that may be the wanted one, under each name that a reference may have on the peer."""
    reference = recipe.dataset.reference
    for name in dict.fromkeys((recipe.dataset.id, *(reference.names if reference is not None else ()))):
        yield from peer.receipts(name, wanted)


class Peers:
    """The peers of one run, for all data sets that are built; safe for several threads."""

    def __init__(
        self,
        addresses: Sequence[str],
        http: Callable[[], HttpClient],
        sources: Callable[[], Sources],
        *,
        spool: Path,
        cancellation: Cancellation,
    ) -> None:
        """Remember them; no peer is asked yet.

        Args:
            addresses: paths of directories, and URLs.
            http: returns the client for peers, which gives up soon.
            sources: returns the resolver for sources.
            spool: directory for records while they are read.
            cancellation: ends the work.
        """
        self._http = http
        self._sources = sources
        self._cancellation = cancellation
        check = cancellation.raise_if_requested
        self._peers: list[Peer] = [
            WebPeer(each, http, spool) if "://" in each else DirectoryPeer(Path(each).absolute(), check) for each in addresses
        ]
        self._lock = threading.Lock()

    def size_of(self, recipe: Recipe) -> int | None:
        """Return how many bytes a version has, as stated by the first peer that holds it, or ``None`` if none does."""
        wanted = wanted_of(recipe, by_manifest=_is_pinned(recipe))

        def ask(peer: Peer) -> int | None:
            return next((receipt.size for receipt in _receipts(peer, recipe, wanted)), None)

        for peer in tuple(self._peers):
            size = self._attempt(peer, recipe, partial(ask, peer))
            if size is not None:
                return size
        return None

    def holds(self, recipe: Recipe) -> bool:
        """Return whether a peer credibly says that it has a version; its manifest and its tree are not read.

        Raises:
            ProvisionerError: the run must end.
        """
        if recipe.pin is not None and not _is_pinned(recipe):
            return False
        wanted = wanted_of(recipe, by_manifest=_is_pinned(recipe))

        def check(_peer: Peer, receipt: Receipt) -> bool:
            return not wanted.likely or receipt.pin in wanted.likely

        def ask(peer: Peer) -> bool:
            return bool(self._first(peer, recipe, wanted, check))

        return any(self._attempt(peer, recipe, partial(ask, peer)) for peer in tuple(self._peers))

    def facts(self, reference: Reference) -> EntryFacts | None:
        """Return what the first peer that holds a reference recorded of it, or ``None`` if none does.

        Raises:
            ProvisionerError: the run must end.
        """
        recipe = make_recipe(entry_of(reference, reference.names[0]))
        wanted = wanted_of(recipe, by_manifest=False)

        def read(peer: Peer, receipt: Receipt) -> EntryFacts | None:
            if receipt.entry is None or (wanted.states and receipt.pin not in wanted.states):
                return None
            if (receipt.entry.reference, receipt.entry.key) != (reference.text, reference.key):
                raise IntegrityError("its receipt is of another reference")
            return facts_of_peer(receipt.entry, peer.name)

        def ask(peer: Peer) -> EntryFacts | None:
            return self._first(peer, recipe, wanted, read)

        for peer in tuple(self._peers):
            if (found := self._attempt(peer, recipe, partial(ask, peer))) is not None:
                return found
        return None

    def offers(self, recipe: Recipe, is_known: Callable[[Manifest], bool] | None = None) -> Iterator[Offer]:
        """Yield what peers have of a version: peers with the same manifest are combined, in the order of the settings.

        Args:
            recipe: what is to be made.
            is_known: returns whether a manifest is the expected one, or raises ``IntegrityError``; ``None`` if any will do.

        Raises:
            ProvisionerError: the run must end.
        """
        claims: list[_Claim] = []
        for peer in tuple(self._peers):
            claim = self._attempt(peer, recipe, partial(self._claim, peer, recipe, is_known))
            if claim is None:
                continue
            if any(claim.digest == other.digest for other in claims):
                claim.manifest = Manifest()  # it equals that of the other claim, and is large
            claims.append(claim)
        while claims:
            first = claims[0]
            same = tuple(claim.tree for claim in claims if claim.digest == first.digest)
            claims = [claim for claim in claims if claim.digest != first.digest]
            yield Offer(first.receipt, first.manifest, same)

    def transfers(self, offer: Offer, label: str, rank: int, cancellation: Cancellation) -> Transfers:
        """Return transfers that fetch the files of an offer.

        Args:
            offer: the version.
            label: names the data set in messages.
            rank: of the data set; see :meth:`provisioner.engine.clients.Clients.transfers_for`.
            cancellation: ends the requests.
        """
        peers = {tree.url: tree.peer for tree in offer.trees}

        def lost(url: str, error: ProvisionerError) -> None:
            if isinstance(error, TryAgainError):
                self._leave_out(peers[url])

        joined = {tree.url: tree.joined for tree in offer.trees if tree.joined}
        http, locations = self._http().for_flow(rank, cancellation), PeerLocations(label, tuple(peers), lost)
        return PeerTransfers(http, locations, joined, offer.manifest.bytes)

    def _claim(self, peer: Peer, recipe: Recipe, is_known: Callable[[Manifest], bool] | None) -> _Claim | None:
        def claim(peer: Peer, receipt: Receipt) -> _Claim | None:
            manifest, digest = peer.manifest(receipt, most_entries(recipe))
            check_manifest(manifest, receipt, recipe)
            if is_known is not None and not is_known(manifest):
                return None
            return _Claim(receipt, manifest, digest, peer.tree(receipt, manifest))

        found = self._first(peer, recipe, wanted_of(recipe, by_manifest=is_known is not None), claim)
        if found is None:
            _LOGGER.info("%s: the peer %s does not have it", recipe.label, peer.name)
        return found

    def _first(self, peer: Peer, recipe: Recipe, wanted: Wanted, read: Callable[[Peer, Receipt], T | None]) -> T | None:
        """Return the first result of ``read`` for a version of a peer that passes the checks, or ``None`` if there is none.

        Raises:
            IntegrityError, NotFoundError: there is no result; this is the first of the errors that versions caused.
            ProvisionerError: the peer cannot be asked.
        """
        failure: ProvisionerError | None = None
        for receipt in _receipts(peer, recipe, wanted):
            if receipt.is_newer:
                continue
            try:
                check_receipt(receipt, recipe, self._sources())
                check_extent(receipt, recipe)
                found = read(peer, receipt)
            except (IntegrityError, NotFoundError) as error:
                failure = failure or error
                continue
            if found:
                return found
        if failure is not None:
            raise failure
        return None

    def _attempt(self, peer: Peer, recipe: Recipe, ask: Callable[[], T]) -> T | None:
        """Return what a peer answers, or ``None`` if asking it failed, which is logged."""
        try:
            return ask()
        except ProvisionerError as error:
            self._cancellation.raise_if_requested()
            _LOGGER.warning("%s: the peer %s is not used: %s", recipe.label, peer.name, error.message)
            if isinstance(error, TryAgainError):
                self._leave_out(peer)
            return None

    def _leave_out(self, peer: Peer) -> None:
        """Stop asking a peer that cannot be reached, for the rest of this run."""
        with self._lock:
            self._peers = [each for each in self._peers if each is not peer]
