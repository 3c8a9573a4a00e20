"""The HTTP client: it fetches files into a sink or into memory, and asks servers for facts about files.

A body is used as it is sent, unless it has a content coding that is not the file's own; see
:mod:`provisioner.remote.http.codings`.
"""

from __future__ import annotations

import time
from copy import copy
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar

from provisioner.errors import RemoteRefusedError
from provisioner.redaction import show_url, without_user
from provisioner.remote.http.bandwidth import RateLimiter
from provisioner.remote.http.bodies import BodyReader
from provisioner.remote.http.codings import FileForm
from provisioner.remote.http.concurrency import Concurrency
from provisioner.remote.http.connections import Connections
from provisioner.remote.http.disposition import stated_name
from provisioner.remote.http.file_fetch import FileFetch
from provisioner.remote.http.file_states import FileStates, state_of
from provisioner.remote.http.flow import Flow
from provisioner.remote.http.headers import declared_length, range_of
from provisioner.remote.http.local_files import is_local, local_size, local_state, read_local
from provisioner.remote.http.redirects import Requester
from provisioner.remote.http.refusals import other_size, too_many_bytes
from provisioner.remote.retry import Transient
from provisioner.remote.urls import host_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from provisioner.cancellation import Cancellation
    from provisioner.catalog.file_state import FileState
    from provisioner.remote.http.codings import Decoder
    from provisioner.remote.http.connections import Response
    from provisioner.remote.http.redirects import Answer
    from provisioner.remote.http.targets import Sink
    from provisioner.remote.network import Network
    from provisioner.remote.retry import Retry


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RemoteFacts:
    """A server's statements about a file, obtained without fetching the whole of it."""

    url: str
    """The URL that was requested, after rewriting and without user and password."""
    size: int | None
    """Bytes, or ``None`` if the server does not say."""
    etag: str | None
    ranges: bool
    """Whether the server answers a range request with that range."""
    name: str | None = None
    """The name that the server states for the file, safe or not."""
    state: FileState | None = None
    """The same facts for records, with a date; ``None`` if they were obtained in another way."""


class HttpClient:
    """Fetches files with one policy for retries, proxies, certificates and bandwidth; safe for several threads."""

    def __init__(
        self,
        network: Network,
        *,
        connections: int | None = None,
        bytes_per_second: float | None = None,
        authorization: Callable[[str], Mapping[str, str]] = lambda _url: {},
    ) -> None:
        """Open no connection yet.

        Args:
            network: the configuration that all clients share.
            connections: how many requests at once; ``None`` means as many as increase the throughput.
            bytes_per_second: limit for all transfers; ``None`` means no limit.
            authorization: returns the headers with the user's credentials for a URL.
        """
        self._concurrency = Concurrency(connections, clock=time.monotonic)
        self._connections = Connections(network)
        self._authorization = authorization
        self._states = FileStates()
        pause = network.cancellation.wait
        self._rate = RateLimiter(bytes_per_second, pause=pause, clock=time.monotonic) if bytes_per_second else None
        self._use(network)

    def _use(self, network: Network, rank: int = 0) -> None:
        self._network = network
        self.flow = flow = Flow(self._concurrency, rank, retry=network.retry)
        """Determines how many requests at once are worthwhile."""
        self._requester = Requester(network, self._connections, flow, self._authorization)
        self._bodies = BodyReader(network.cancellation, self._rate)

    def for_flow(self, rank: int, cancellation: Cancellation) -> HttpClient:
        """Return a client for the requests of one data set, which shares the connections and limits of this one.

        Args:
            rank: among waiting requests, those of the flow with the lowest rank are sent first.
            cancellation: ends these requests.
        """
        client = copy(self)
        client._use(self._network.for_flow(cancellation), rank)  # noqa: SLF001 - of the same class
        return client

    def with_retry(self, retry: Retry) -> HttpClient:
        """Return a client that shares the connections and limits of this one, with another policy for retries."""
        client = copy(self)
        client._use(replace(self._network, retry=retry))  # noqa: SLF001 - of the same class
        return client

    @property
    def retry(self) -> Retry:
        """The policy that decides how often and how long a request is tried."""
        return self._network.retry

    @property
    def is_offline(self) -> bool:
        """Whether every request is refused."""
        return self._network.offline

    def check_cancelled(self) -> None:
        """Raise the reason if the run must end."""
        self._network.cancellation.raise_if_requested()

    def rewritten(self, url: str) -> str:
        """Return the URL that is requested in place of ``url`` (``URL_REWRITE``)."""
        return self._network.rewrite(url)

    # --- files --------------------------------------------------------------------------------------------------------

    def fetch(
        self,
        url: str,
        sink: Sink,
        *,
        size: int | None,
        verifiable: bool,
        form: FileForm | None = None,
        authorized: bool = False,
        advance: Callable[[int], None] = lambda _count: None,
    ) -> None:
        """Fetch the rest of a file into a sink.

        Args:
            url: ``http``, ``https`` or ``file``.
            sink: receives the bytes.
            size: exact number of bytes; ``None`` means unknown.
            verifiable: whether a digest is known. Without one, bytes that have arrived are kept only if they came from
                ``url``.
            form: chooses between the bytes as sent and their decoded form; ``None`` means by the name in the URL.
            authorized: whether to send the user's credentials, only to the origin of ``url``.
            advance: called with each number of bytes that arrived; negative if some were dropped.

        Raises:
            ProvisionerError: depends on the server's response; see ``docs/troubleshooting.md``.
        """
        form = form or FileForm(url.partition("?")[0], size=size, verifiable=verifiable)
        FileFetch(self, url, sink, size=size, form=form, verifiable=verifiable, authorized=authorized, advance=advance).run()

    def get(self, url: str, *, size: int, form: FileForm | None = None, authorized: bool = False) -> bytes:
        """Return a whole small file.

        Args:
            url: ``http``, ``https`` or ``file``.
            size: exact number of bytes.
            form: see :meth:`fetch`.
            authorized: see :meth:`fetch`.

        Raises:
            SizeMismatchError: the server offers or sends a different number of bytes.
            ProvisionerError: depends on the server's response.
        """
        requested = self.rewritten(url)
        if is_local(requested):
            local_size(requested, size)
            return b"".join(read_local(requested, self.check_cancelled))
        form = form or FileForm(url.partition("?")[0], size=size, verifiable=False)
        return self._call(requested, lambda: self._get(requested, size, form, authorized=authorized))

    def _call(self, requested: str, action: Callable[[], T]) -> T:
        """Return the result of an action, after as many attempts as the policy allows."""
        return self.retry.call(lambda: show_url(requested), action, host=host_of(requested))

    def _get(self, requested: str, size: int, form: FileForm, *, authorized: bool) -> bytes:
        response = self.open(requested, {}, authorized=authorized).response
        try:
            length = declared_length(response)
            decoder = form.decoder(response.headers, length, requested) if response.status == HTTPStatus.OK else None
            if decoder is not None:
                return self._get_decoded(response, requested, size, decoder)
            if response.status != HTTPStatus.OK or length not in {None, size}:
                raise other_size(requested, size, length, response)
            data = self._bodies.at_most(response, requested, size)
        finally:
            response.close()
        if len(data) > size:
            raise too_many_bytes(requested, size, data)
        if len(data) < size:
            raise Transient(f"the connection ended after {len(data):,} of {size:,} bytes")
        return data

    def _get_decoded(self, response: Response, requested: str, size: int, decoder: Decoder) -> bytes:
        """Return a whole small file that is sent with a content coding."""
        data = bytearray()
        try:
            for part in self._bodies.parts(response, requested):
                for piece in decoder.feed(part):
                    data += piece
                    if len(data) > size:
                        raise too_many_bytes(requested, size)
            decoder.finish()
        except ValueError as error:
            raise Transient(str(error)) from error
        if len(data) < size:
            raise other_size(requested, size, len(data), response)
        return bytes(data)

    def get_range(self, url: str, start: int, end: int, total: int, *, authorized: bool = False) -> bytes:
        """Return one range of a file.

        Args:
            url: ``http`` or ``https``.
            start: position of its first byte.
            end: position after its last byte.
            total: exact number of bytes of the whole file.
            authorized: see :meth:`fetch`.

        Raises:
            RemoteRefusedError: the server sends something else.
            ProvisionerError: depends on the server's response.
        """
        requested = self.rewritten(url)

        def get() -> bytes:
            response = self.open(requested, {"Range": f"bytes={start}-{end - 1}"}, authorized=authorized).response
            try:
                found = range_of(response)
                if found is None or (found.start, found.end, found.total) != (start, end, total):
                    raise RemoteRefusedError(f"{show_url(requested)}: it does not send the range that was asked for")
                data = self._bodies.at_most(response, requested, end - start)
            finally:
                response.close()
            if len(data) != end - start:
                raise Transient(f"the connection brought {len(data):,} of {end - start:,} bytes")
            return data

        return self._call(requested, get)

    def facts(self, url: str, *, authorized: bool = False) -> RemoteFacts:
        """Return what a server says of a file, using a request for its first byte.

        Raises:
            ProvisionerError: depends on the server's response.
        """
        requested = self.rewritten(url)
        if is_local(requested):
            state = local_state(requested)
            return RemoteFacts(without_user(requested), state.size, None, ranges=True, state=state)
        return self._call(requested, lambda: self._facts(requested, authorized=authorized))

    def _facts(self, requested: str, *, authorized: bool) -> RemoteFacts:
        response = self.open(requested, {"Range": "bytes=0-0"}, authorized=authorized).response
        if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            # An empty file has no first byte, and the headers of the refusal do not describe the file.
            response.close()
            response = self.open(requested, {}, authorized=authorized).response
        try:
            name = stated_name(response.headers.get("Content-Disposition"))
            ranges, state = range_of(response) is not None, state_of(requested, response)
            etag = response.headers.get("ETag")
            return RemoteFacts(without_user(requested), state.size, etag, ranges=ranges, name=name, state=state)
        finally:
            response.close()

    def delivered(self, urls: Sequence[str]) -> FileState | None:
        """Return what the server said of a file when it was fetched from one of these URLs; ``None`` if it was not."""
        requested = [self.rewritten(url) for url in urls]
        if requested and is_local(requested[0]):
            return local_state(requested[0])
        return self._states.latest(requested)

    # --- single requests, for transfers in ranges -----------------------------------------------------------------------

    def open(self, url: str, headers: Mapping[str, str], *, authorized: bool, urgent: bool = False) -> Answer:
        """Send one request; see :meth:`provisioner.remote.http.redirects.Requester.open`."""
        answer = self._requester.open(url, headers, authorized=authorized, urgent=urgent)
        if not authorized:
            # Files of a repository are identified by their commit instead.
            self._states.record(url, answer.response)
        return answer

    def parts(self, response: Response, url: str) -> Iterator[memoryview]:
        """Yield the body as it arrives; see :meth:`provisioner.remote.http.bodies.BodyReader.parts`."""
        return self._bodies.parts(response, url)
