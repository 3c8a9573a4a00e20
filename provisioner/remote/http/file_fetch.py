"""Fetch one file over one connection, from where its sink stands; the size and the origin of the rest may be unknown."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from provisioner.errors import UpstreamChangedError
from provisioner.redaction import show_url
from provisioner.remote.http.headers import declared_length, range_of, total_size_of_unsatisfied
from provisioner.remote.http.local_files import is_local, local_size, read_local
from provisioner.remote.http.refusals import other_size, too_many_bytes
from provisioner.remote.http.versions import Agreement, condition_for, record_key, version_of
from provisioner.remote.retry import Transient
from provisioner.remote.urls import host_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.remote.http.client import HttpClient
    from provisioner.remote.http.codings import Decoder, FileForm
    from provisioner.remote.http.connections import Response
    from provisioner.remote.http.redirects import Answer
    from provisioner.remote.http.targets import Sink

MAX_CHANGES: Final = 3
"""Maximum number of times that another version may be sent in place of a rest before versions are no longer compared."""


class FileFetch:
    """The transfer of one file from one URL into a sink."""

    def __init__(
        self,
        client: HttpClient,
        url: str,
        sink: Sink,
        *,
        size: int | None,
        form: FileForm,
        verifiable: bool,
        authorized: bool,
        advance: Callable[[int], None],
    ) -> None:
        """Prepare; no request is made yet. The arguments are those of :meth:`HttpClient.fetch`."""
        self._client = client
        self._requested = client.rewritten(url)
        self._key = record_key(url, self._requested)
        self._sink = sink
        self._size = size
        self._form = form
        self._verifiable = verifiable
        self._authorized = authorized
        self._advance = advance
        self._total = size
        """Bytes of the whole file, as far as known."""
        self._changes = 0
        self._most = 0
        """The largest number of bytes that were present at any time: bytes that are fetched again are not progress."""

    def run(self) -> None:
        """Fetch what is missing.

        Raises:
            ProvisionerError: depends on the response of the server or the file system.
        """
        if self._sink.have and not self._verifiable and self._record is None:
            self._start_over()
        if is_local(self._requested):
            self._copy()
            return
        self._client.retry.call(
            lambda: show_url(self._requested), self._attempt, host=host_of(self._requested), progress=lambda: self._most
        )

    @property
    def _record(self) -> str | None:
        """The version of the bytes that have arrived, if they are known to come from this URL."""
        origin = self._sink.origin
        return origin[1] if origin is not None and origin[0] == self._key else None

    def _start_over(self) -> None:
        self._advance(-self._sink.have)
        self._sink.restart()
        self._total = self._size

    def _copy(self) -> None:
        """Copy the missing bytes from a local file."""
        local_size(self._requested, self._size)
        self._sink.record_origin(self._key, None)
        try:
            for data in read_local(self._requested, self._client.check_cancelled, start=self._sink.have):
                self._sink.write(data)
                self._advance(len(data))
        except UpstreamChangedError:
            self._start_over()
            raise

    def _attempt(self) -> None:
        """Request the missing bytes until all have arrived or a request fails."""
        if self._sink.have and not self._verifiable and self._changes >= MAX_CHANGES:
            # The server gives each response a different version, so the whole file must come in a single response.
            self._start_over()
        while self._total is None or self._sink.have < self._total or not self._total:
            if self._request():
                return

    def _request(self) -> bool:
        """Request the missing bytes once; return whether nothing is missing any more.

        Raises:
            Transient: not all that the server offered has arrived.
            ProvisionerError: depends on the server's response.
        """
        start = self._sink.have
        headers = {}
        if start:
            headers = {"Range": f"bytes={start}-", **(condition_for(self._record) if self._record else {})}
        answer = self._client.open(self._requested, headers, authorized=self._authorized)
        response = answer.response
        try:
            if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                return self._is_complete(answer, start)
            decoder = self._form.decoder(response.headers, self._length(response), self._requested)
            if decoder is not None:
                return self._decode(response, start, decoder)
            return self._take(answer, start)
        finally:
            response.close()

    @staticmethod
    def _length(response: Response) -> int | None:
        """Return the size of the whole file as it is sent, or ``None`` if the server does not say."""
        if response.status != HTTPStatus.PARTIAL_CONTENT:
            return declared_length(response)
        found = range_of(response)
        return found.total if found else None

    def _is_complete(self, answer: Answer, start: int) -> bool:
        """Return whether the refusal of a range means that nothing is missing.

        Raises:
            SizeMismatchError: according to it, the file has a different size.
            Transient: according to it, the file ends before ``start``.
        """
        total = total_size_of_unsatisfied(answer.response)
        if total is not None and self._size is not None and total != self._size:
            raise other_size(self._requested, self._size, total, answer.response)
        if total is not None and self._size is None and total == start and self._agreement(answer) is Agreement.SAME:
            return True
        self._start_over()
        raise Transient("the file has become shorter than what was fetched of it; it starts anew")

    def _agreement(self, answer: Answer) -> Agreement:
        """Return whether a response is of the version that has arrived, as far as that matters here."""
        record, version = self._record, version_of(answer, self._requested, time.time())
        agreement = Agreement.UNKNOWN if record is None else version.agreement(record)
        if not self._verifiable:
            return agreement
        # If nothing else can, or if each response has a different validator, the digest of the whole file decides.
        is_other = agreement is Agreement.OTHER and self._changes < MAX_CHANGES
        return Agreement.OTHER if is_other else Agreement.SAME

    def _take(self, answer: Answer, start: int) -> bool:
        """Receive bytes as they arrive; return whether they are the last ones."""
        response = answer.response
        total = self._length(response)
        # Checked before anything is dropped: one bad response, or a mirror with another file, must not cost what has arrived.
        if self._size is not None and total not in {None, self._size}:
            raise other_size(self._requested, self._size, total, response)
        if response.status != HTTPStatus.PARTIAL_CONTENT:
            if start:  # the server or its file changed
                self._start_over()
            self._total = self._size if total is None else total
            self._receive(answer, self._total)
            return True
        found = range_of(response)
        # Without a digest, a file whose total size is not stated may be longer than the size in the catalog.
        known = self._total if total is None and self._verifiable else total
        if found is None or found.start != start or known is None or known < found.end:
            return self._again("the server sent another range than was asked for")
        if start and (self._total not in {None, total or self._total} or self._agreement(answer) is not Agreement.SAME):
            return self._again("the server sent a rest that need not be of the same version")
        self._total = known
        self._receive(answer, found.end)
        return found.end == known

    def _again(self, reason: str) -> bool:
        """Drop what has arrived, and let the whole file be requested at once.

        Raises:
            Transient: that has been done too often, or nothing had arrived.
        """
        had = self._sink.have
        self._start_over()
        self._changes += 1
        if not had or self._changes > MAX_CHANGES:
            raise Transient(f"{reason}; it starts anew")
        return False

    def _receive(self, answer: Answer, end: int | None) -> None:
        """Write the bytes that arrive, up to ``end``.

        Raises:
            SizeMismatchError: more bytes arrive.
            Transient: fewer bytes arrive.
        """
        version = version_of(answer, self._requested, time.time())
        record = self._record
        if record is None or not self._sink.have or version.agreement(record) is not Agreement.SAME:
            self._sink.record_origin(self._key, version.recorded)
        try:
            for data in self._client.parts(answer.response, self._requested):
                if end is not None and self._sink.have + len(data) > end:
                    self._start_over()
                    raise too_many_bytes(self._requested, end)
                self._write(data)
        except Transient:
            # These are as many bytes as the file has, but without an end they may be the beginning of a longer one.
            if self._sink.have == end and not self._verifiable:
                self._start_over()
            raise
        if end is not None and self._sink.have < end:
            raise Transient(f"the connection ended after {self._sink.have:,} of {end:,} bytes")

    def _write(self, data: bytes | memoryview) -> None:
        self._sink.write(data)
        self._most = max(self._most, self._sink.have)
        self._advance(len(data))

    def _decode(self, response: Response, start: int, decoder: Decoder) -> bool:
        """Receive the whole file in a form that was not requested, and write the decoded bytes.

        It cannot be resumed, because ranges are ranges of the encoded form.

        Raises:
            SizeMismatchError: the decoded file is too large.
            Transient: not all of it arrived.
        """
        found = range_of(response)
        if response.status == HTTPStatus.PARTIAL_CONTENT and (found is None or (found.start, found.end) != (0, found.total)):
            return self._again("the server sent a range of a compressed form of the file")
        if start:
            self._start_over()
        self._sink.record_origin(self._key, None)
        try:
            self._write_decoded(response, decoder)
        except ValueError as error:
            self._start_over()
            raise Transient(f"{error}; it starts anew") from error
        except BaseException:
            self._start_over()
            raise
        if self._size is not None and self._sink.have != self._size:
            have = self._sink.have
            self._start_over()
            raise other_size(self._requested, self._size, have, response)
        return True

    def _write_decoded(self, response: Response, decoder: Decoder) -> None:
        length, arrived = declared_length(response), 0
        for data in self._client.parts(response, self._requested):
            arrived += len(data)
            for part in decoder.feed(data):
                if self._size is not None and self._sink.have + len(part) > self._size:
                    raise too_many_bytes(self._requested, self._size)
                self._write(part)
        if length is not None and arrived < length:
            raise Transient(f"the connection ended after {arrived:,} of {length:,} bytes")
        decoder.finish()
