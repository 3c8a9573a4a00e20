"""Fetching from peers: which of several is asked for a file, and how their records are fetched.

A peer is not waited for as long as a source is, since another peer or a source can always be asked instead.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
from typing import TYPE_CHECKING
from urllib.parse import quote

from provisioner.errors import TRY_NEXT_AFTER, RemoteUnavailableError, SizeMismatchError
from provisioner.redaction import show_url
from provisioner.remote.http.codings import FileForm
from provisioner.remote.transfers import Locations, Transfers

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from typing import BinaryIO

    from provisioner.catalog.artifact import Artifact
    from provisioner.errors import ProvisionerError
    from provisioner.remote.http.client import HttpClient

_LOGGER = logging.getLogger(__name__)


class PeerLocations(Locations):
    """One tree on several peers: each file is fetched from the peer with the least to do. Safe for several threads."""

    def __init__(self, label: str, trees: Sequence[str], lost: Callable[[str, ProvisionerError], None]) -> None:
        """Begin with all peers.

        Args:
            label: names the data set in messages.
            trees: URLs of the tree's root directory on each peer, without a slash at the end.
            lost: called with the URL of a tree that will not be used again, and the reason.
        """
        self._label = label
        self._lost = lost
        self._lock = threading.Lock()
        self._pending = dict.fromkeys(trees, 0)
        """Bytes of the files that are being fetched from each."""
        self._turn = itertools.count()

    @contextlib.contextmanager
    def of(self, artifact: Artifact) -> Iterator[Sequence[str]]:
        """Yield the URLs of a file on the remaining peers, the one with the least to do first.

        Raises:
            RemoteUnavailableError: no peer remains.
        """
        with self.chosen((artifact.exact_size or 0) + 1) as trees:
            if not trees:
                raise RemoteUnavailableError(f"{self._label}: no peer is left that delivers it")
            path = quote(artifact.name, errors="surrogateescape")
            yield [f"{tree}/{path}" for tree in trees]

    def parallel_urls(self, artifact: Artifact, url: str) -> Sequence[str]:
        """Return the URLs of a large file on the other remaining peers, all of which send ranges of it."""
        path = quote(artifact.name, errors="surrogateescape")
        with self._lock:
            return [other for tree in self._pending if (other := f"{tree}/{path}") != url]

    @contextlib.contextmanager
    def chosen(self, size: int, among: Collection[str] | None = None) -> Iterator[Sequence[str]]:
        """Yield the URLs of the remaining trees; the first one is charged with so many bytes while the block runs.

        Args:
            size: the number of bytes.
            among: consider only these trees; ``None`` means all.
        """
        with self._lock:
            turn = next(self._turn)
            trees = [tree for tree in self._pending if among is None or tree in among]
            trees = trees[turn % len(trees) :] + trees[: turn % len(trees)] if trees else trees
            trees.sort(key=lambda tree: self._pending[tree])
            if trees:
                self._pending[trees[0]] += size
        try:
            yield trees
        finally:
            with self._lock:
                if trees and trees[0] in self._pending:
                    self._pending[trees[0]] -= size

    def failed(self, artifact: Artifact, url: str, error: ProvisionerError, following: str | None) -> None:  # noqa: ARG002
        """Stop using a peer that did not deliver a file, for this tree."""
        with self._lock:
            tree = next((tree for tree in self._pending if url.startswith(f"{tree}/")), None)
            if tree is None:
                return  # another thread was told the same
            del self._pending[tree]
        _LOGGER.warning("%s: %s; the peer %s is not asked for more of it", self._label, error.message, show_url(tree))
        self._lost(tree, error)


class PeerTransfers(Transfers):
    """Fetches the files of one tree from several peers; many small ones by one request, from peers that offer that."""

    def __init__(self, http: HttpClient, locations: PeerLocations, joined: Mapping[str, str], total: int) -> None:
        """Make no request yet.

        Args:
            http: sends the requests.
            locations: the peers.
            joined: by the URL of each tree, the URL of all its files concatenated in the order of the manifest.
            total: how many bytes all files have.
        """
        super().__init__(http, locations)
        self._peers = locations
        self._may_offer = dict(joined)
        self._total = total

    def offers_bundles(self) -> bool:
        """Return whether a remaining peer sends many files by one request; each is asked once."""
        for tree, url in tuple(self._may_offer.items()):
            try:
                facts = self._http.facts(url)
                is_offered = facts.ranges and facts.size == self._total
            except TRY_NEXT_AFTER:
                self._http.check_cancelled()
                is_offered = False
            if not is_offered:
                del self._may_offer[tree]
        return bool(self._may_offer)

    def fetch_bundle(self, start: int, end: int) -> bytes | None:
        """Return a range of the concatenation of all files, or ``None`` if no peer sends it any more.

        Args:
            start: position of the first byte.
            end: position after the last byte.

        Raises:
            ProvisionerError: the run must end.
        """
        while joined := dict(self._may_offer):
            with self._peers.chosen(end - start, joined) as trees:
                if not trees:
                    return None
                try:
                    return self._http.get_range(joined[trees[0]], start, end, self._total)
                except TRY_NEXT_AFTER as error:
                    self._http.check_cancelled()
                    _LOGGER.info("%s; its files are asked for one by one", error.message)
                    self._may_offer.pop(trees[0], None)
        return None


def fetch_record(http: HttpClient, url: str, file: BinaryIO, limit: int) -> None:
    """Fetch a record of a peer, whose size is not known, into an empty file.

    Args:
        http: sends the requests.
        url: the URL of the record.
        file: receives the bytes.
        limit: the most bytes that it may have.

    Raises:
        SizeMismatchError: it has more bytes.
        ProvisionerError: depends on the server's response.
    """
    # A record is JSON, whatever content coding a server sends it in.
    form = FileForm("record.json", size=None, verifiable=False)
    http.fetch(url, _RecordSink(file, limit, show_url(url)), size=None, verifiable=False, form=form)


class _RecordSink:
    """Writes the bytes that arrive to a file, up to a limit."""

    def __init__(self, file: BinaryIO, limit: int, shown: str) -> None:
        self._file = file
        self._limit = limit
        self._shown = shown
        self.have = 0
        self.origin: tuple[str, str] | None = None

    def restart(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self.have = 0
        self.origin = None

    def record_origin(self, url: str, validator: str | None) -> None:
        self.origin = (url, validator) if validator else None

    def write(self, data: bytes | memoryview, /) -> None:
        self.have += len(data)
        if self.have > self._limit:
            raise SizeMismatchError(f"{self._shown}: it has more than {self._limit:,} bytes, which no record of its kind has")
        self._file.write(data)

    def seal(self) -> str:
        raise NotImplementedError  # its reader checks it
