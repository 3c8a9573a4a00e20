"""One file over one connection: a rest of unknown size or origin included, from where its sink stands."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from provisioner.redaction import show_url, without_user
from provisioner.remote.http.headers import continues_at, total_size, total_size_of_unsatisfied, validator_of
from provisioner.remote.http.local_files import is_local, local_size, read_local
from provisioner.remote.http.refusals import other_size, too_many_bytes
from provisioner.remote.retry import Transient

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.remote.http.client import HttpClient
    from provisioner.remote.http.connections import Response
    from provisioner.remote.http.targets import Sink


class FileFetch:
    """The transfer of one file from one URL into a sink."""

    def __init__(
        self,
        client: HttpClient,
        url: str,
        sink: Sink,
        *,
        size: int | None,
        verifiable: bool,
        authorized: bool,
        advance: Callable[[int], None],
    ) -> None:
        """Make no request; the arguments are those of :meth:`HttpClient.fetch`."""
        self._client = client
        self._url = without_user(url)  # it is recorded
        self._requested = client.rewritten(url)
        self._sink = sink
        self._size = size
        self._verifiable = verifiable
        self._authorized = authorized
        self._advance = advance
        self._arrived = 0

    def run(self) -> None:
        """Fetch what is missing.

        Raises:
            ProvisionerError: by what the server or the file system answered.
        """
        if self._sink.have and not self._verifiable and not self._has_origin:
            self._start_over()
        if is_local(self._requested):
            self._copy()
            return
        self._client.retry.call(lambda: show_url(self._requested), self._attempt, progress=lambda: self._arrived)

    @property
    def _has_origin(self) -> bool:
        """Whether what has arrived is known to be from this URL."""
        return self._sink.origin is not None and self._sink.origin[0] == self._url

    def _start_over(self) -> None:
        self._advance(-self._sink.have)
        self._sink.restart()

    def _copy(self) -> None:
        """Copy from a local file what is missing."""
        local_size(self._requested, self._size)
        self._sink.record_origin(self._url, None)
        for data in read_local(self._requested, self._client.check_cancelled, start=self._sink.have):
            self._sink.write(data)
            self._advance(len(data))

    def _attempt(self) -> None:
        """Request what is missing once."""
        start, size = self._sink.have, self._size
        if size is not None and start == size and size > 0:
            return
        headers = {}
        if start:
            headers["Range"] = f"bytes={start}-"
            if self._has_origin and self._sink.origin is not None:
                headers["If-Range"] = self._sink.origin[1]
        response, _ = self._client.open(self._requested, headers, authorized=self._authorized)
        try:
            if self._is_complete(response, start):
                return
            self._check(response, start)
            self._sink.record_origin(self._url, validator_of(response))
            self._receive(response, size if size is not None else total_size(response))
        finally:
            response.close()

    def _is_complete(self, response: Response, start: int) -> bool:
        """Return whether a refusal of the range says that nothing is missing.

        Raises:
            SizeMismatchError: it says that the file has another size.
            Transient: it says that the file ends before ``start``.
        """
        if response.status != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return False
        total = total_size_of_unsatisfied(response)
        if total is not None and self._size is None and total == start:
            return True
        if total is not None and self._size is not None and total != self._size:
            raise other_size(self._requested, self._size, total, response)
        self._start_over()
        raise Transient("the file has become shorter than what was fetched of it; it starts anew")

    def _check(self, response: Response, start: int) -> None:
        """Raise for a response that does not continue at ``start``; drop what has arrived where the whole file comes."""
        total = total_size(response)
        # Before anything is dropped: one bad response, or a mirror with another file, must not cost what has arrived.
        if self._size is not None and total is not None and total != self._size:
            raise other_size(self._requested, self._size, total, response)
        is_partial = response.status == HTTPStatus.PARTIAL_CONTENT
        if not is_partial and start:  # the server or its file changed
            self._start_over()
        if is_partial and not continues_at(response, start):
            self._start_over()
            raise Transient("the server sent another range than was asked for; it starts anew")

    def _receive(self, response: Response, total: int | None) -> None:
        for data in self._client.parts(response, self._requested):
            if total is not None and self._sink.have + len(data) > total:
                self._start_over()
                raise too_many_bytes(self._requested, total)
            self._sink.write(data)
            self._arrived += len(data)
            self._advance(len(data))
        if total is not None and self._sink.have < total:
            raise Transient(f"the connection ended after {self._sink.have:,} of {total:,} bytes")
