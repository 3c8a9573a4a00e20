"""Fetch one large file over several connections: each range is retried by itself, and all are of one version of the file.

The first range is requested alone. Once the server has answered with that range, other connections join in; each response
must be of the same version (:mod:`provisioner.remote.http.versions`). If that cannot be known, or the version changes again
and again, the whole file is requested in one response. A connection that keeps failing while others make progress leaves its
range to them, so that a server that allows few connections gets few.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol

from provisioner.errors import (
    AccessDeniedError,
    IntegrityError,
    NotFoundError,
    RemoteRefusedError,
    RemoteUnavailableError,
    SizeMismatchError,
    UpstreamChangedError,
)
from provisioner.redaction import show_url
from provisioner.remote.http.direct_ranges import DirectRanges
from provisioner.remote.http.headers import declared_length, range_of, total_size, total_size_of_unsatisfied
from provisioner.remote.http.parallel_urls import ParallelUrls
from provisioner.remote.http.refusals import other_size, too_many_bytes
from provisioner.remote.http.remembered_redirect import RememberedRedirect
from provisioner.remote.http.versions import Agreement, condition_for, record_key, version_of
from provisioner.remote.retry import Transient
from provisioner.remote.urls import host_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from provisioner.remote.http.client import HttpClient
    from provisioner.remote.http.codings import FileForm
    from provisioner.remote.http.connections import Response
    from provisioner.remote.http.redirects import Answer
    from provisioner.remote.http.targets import RangeClaim, RangeTarget
    from provisioner.remote.http.versions import Version

_LOGGER = logging.getLogger(__name__)

MAX_CHANGES: Final = 3
"""Maximum number of times that a file may change during its transfer before it is requested in one response."""
_LEAVE_RANGE_AFTER: Final = (RemoteUnavailableError, RemoteRefusedError, AccessDeniedError, NotFoundError)
"""Errors after which a connection leaves its range to the others."""


class HelperThreads(Protocol):
    """Threads that can fetch ranges while they have no file of their own."""

    def helping(self, fetch: RangedFetch) -> AbstractContextManager[None]:
        """Let idle threads call ``fetch.help`` while the block runs."""
        ...

    def is_crowded(self) -> bool:
        """Return whether more threads use a connection than is worthwhile now."""
        ...


class RangedFetch:
    """The transfer of one large file from one URL."""

    def __init__(
        self,
        client: HttpClient,
        url: str,
        target: RangeTarget,
        *,
        form: FileForm,
        verifiable: bool,
        authorized: bool,
        advance: Callable[[int], None],
        parallel_urls: Sequence[str] = (),
    ) -> None:
        """Prepare; no request is made yet.

        Args:
            client: sends the requests.
            url: ``http`` or ``https``.
            target: receives the bytes; its size is exact.
            form: chooses between the bytes as sent and their decoded form.
            verifiable: whether a digest is known. Without one, bytes that have arrived are kept only if they came from
                ``url``, and every response must have a validator.
            authorized: whether to send the user's credentials, only to the origin of ``url``.
            advance: called with each number of bytes that arrived; negative if some were dropped.
            parallel_urls: further URLs of the same bytes, which also send ranges if ``verifiable``.
        """
        self._client = client
        self._parallel = ParallelUrls(client, parallel_urls if verifiable else (), target.size)
        self._retry = client.retry
        self._requested = client.rewritten(url)
        self._key = record_key(url, self._requested)
        self._target = target
        self._form = form
        self._verifiable = verifiable
        self._advance = advance
        self._address = RememberedRedirect(client, self._requested, authorized=authorized)
        self._turn = threading.Condition()
        self._ranges = False
        """Whether the server has answered a range request with that range."""
        self._is_begun = False
        """Whether a response has stated its version, or left it out."""
        self._is_whole_only = False
        """Whether ranges have been given up."""
        self._helpers = 0
        self._is_crowded: Callable[[], bool] = lambda: False
        """Returns whether there are more connections than is worthwhile."""
        self._most_helpers: int | None = None
        self._changes = 0
        self._is_over = False
        """Whether the transfer is over, and no helper may begin: the target may already be used for another URL."""

    def run(self, helpers: HelperThreads) -> None:
        """Fetch what is missing, on this thread and on idle threads of ``helpers``.

        Raises:
            ProvisionerError: depends on the server's response.
        """
        target = self._target
        if target.have and not self._verifiable and self._record is None:
            self._drop_all(None)
        target.set_direct_fetch(DirectRanges(self._client, self._requested, self._address, target.size, self._known_record).fetch)
        self._is_crowded = helpers.is_crowded
        try:
            with helpers.helping(self):
                self._lead()
        except BaseException as error:
            target.fail(error)
            raise
        finally:
            # The same target may be used for another URL next.
            with self._turn:
                self._is_over = True
                while self._helpers:
                    self._turn.wait()

    @property
    def _record(self) -> str | None:
        """The version of the bytes that have arrived, if they are known to come from this URL."""
        origin = self._target.origin
        return origin[1] if origin is not None and origin[0] == self._key else None

    def _known_record(self) -> str | None:
        """Return the version of the bytes that arrive as soon as it is known, or ``None`` if the server does not say."""
        with self._turn:
            while not (self._is_begun or self._is_over):
                self._client.check_cancelled()
                self._turn.wait(0.2)
        return self._record

    @property
    def wants_help(self) -> bool:
        """Whether another connection would have something to do."""
        return (
            not self._is_over
            and self._ranges
            and self._target.wants_connection
            and (self._most_helpers is None or self._helpers < self._most_helpers)
        )

    def help(self) -> None:
        """Fetch ranges until none is left to claim, or until this connection is refused while others make progress.

        Raises:
            ProvisionerError: the run must end, or the volume failed, so that the whole transfer has failed. An error of this
                URL alone is raised by :meth:`run` instead.
        """
        with self._turn:
            if not self.wants_help:
                return
            self._helpers += 1
        try:
            while not self._is_whole_only and (claim := self._target.claim(wait=False)) is not None:
                try:
                    self._fetch_range_from_any(claim)
                except (UpstreamChangedError, _NoRangesError):
                    # The leading thread notices it as well.
                    if self._is_whole_only or self._changes > MAX_CHANGES or not self._ranges:
                        return
                except _LEAVE_RANGE_AFTER as error:
                    with self._turn:
                        self._most_helpers = self._helpers - 1
                    _LOGGER.info("%s: one connection fewer: %s", show_url(self._requested), error.message)
                    return
                if self._is_crowded():
                    # Otherwise the connections would take turns, and the range of a waiting one would arrive last.
                    return
        except (*_LEAVE_RANGE_AFTER, IntegrityError) as error:
            # The error is about this URL alone: `run` raises it, and another URL is tried.
            self._target.fail(error)
        except BaseException as error:
            self._target.fail(error)
            raise
        finally:
            with self._turn:
                self._helpers -= 1
                self._turn.notify_all()

    def _lead(self) -> None:
        while (claim := self._target.claim(wait=True)) is not None:
            before = self._target.have
            try:
                self._fetch_range(claim)
            except UpstreamChangedError:
                if self._changes > MAX_CHANGES:
                    self._fetch_whole()
            except _NoRangesError:
                self._fetch_whole()
            except _LEAVE_RANGE_AFTER:
                if not self._left_to_helpers(before):
                    raise

    def _fetch_whole(self) -> None:
        """Fetch the whole file in one response, because ranges are not available or may not belong to one version."""
        self._ranges, self._is_whole_only = False, True
        # Helpers notice this at their next byte.
        self._drop_all(None)
        with self._turn:
            while self._helpers:
                self._turn.wait()
        self._retry.call(lambda: show_url(self._requested), self._attempt_whole, host=host_of(self._requested))

    def _left_to_helpers(self, before: int) -> bool:
        """Wait while helpers make progress; return whether more than ``before`` bytes have arrived.

        Once they have ended, the server may serve this connection: it may allow only a few at once.
        """
        with self._turn:
            while self._helpers and not self._target.is_whole:
                self._turn.wait(0.2)
        return self._target.is_whole or self._target.have > before

    def _attempt_whole(self) -> None:
        """Request the whole file once, without a range."""
        self._drop_all(None)
        claim = self._target.claim_all()
        with self._released_on_error(claim):
            answer = self._address.open({})
            try:
                self._receive_whole(answer, claim)
            except ValueError as error:
                self._drop_all(None)
                raise Transient(f"{error}; it starts anew") from error
            except (SizeMismatchError, Transient):
                # These are as many bytes as the file has, but without an end they may be the beginning of a longer one.
                if claim.position >= claim.end:
                    self._drop_all(None)
                raise
            finally:
                answer.response.close()

    def _fetch_range(self, claim: RangeClaim) -> None:
        with self._released_on_error(claim):
            self._retry.call(
                lambda: show_url(self._requested),
                lambda: self._attempt(claim),
                host=host_of(self._requested),
                progress=lambda: claim.position,
            )

    def _fetch_range_from_any(self, claim: RangeClaim) -> None:
        """Fetch a range from the URL, or from the parallel URL that has least to do."""
        with self._parallel.turn(self._helpers + 1) as url:
            if url is None:
                self._fetch_range(claim)
                return
            with self._released_on_error(claim):
                self._parallel.fetch(url, claim, self._write)
            if claim.position < claim.end and (dropped := claim.give_back()):
                self._advance(-dropped)

    @contextlib.contextmanager
    def _released_on_error(self, claim: RangeClaim) -> Iterator[None]:
        """On an error in the block, release the rest of the range to other connections."""
        try:
            yield
        except BaseException:
            if dropped := claim.give_back():
                self._advance(-dropped)
            raise

    def _attempt(self, claim: RangeClaim) -> None:
        """Request the missing part of a range once."""
        start = claim.position
        if start >= claim.end:
            return
        headers = {"Range": f"bytes={start}-{claim.end - 1}"}
        record = self._record
        if record is not None and self._needs_one_validator:
            headers |= condition_for(record)
        answer = self._address.open(headers)
        try:
            self._receive(answer.response, claim, self._check(answer, claim, record))
        except Transient:
            # The node that redirects led to may be the one that fails.
            self._address.forget()
            raise
        finally:
            answer.response.close()

    def _receive(self, response: Response, claim: RangeClaim, end: int) -> None:
        """Write the bytes that arrive, up to ``end``, and nothing beyond the range.

        Raises:
            Transient: fewer bytes arrive than were requested.
        """
        for data in self._client.parts(response, self._requested):
            rest = min(end, claim.end) - claim.position
            if not rest:
                break  # more than was requested
            self._write(claim, data if len(data) <= rest else data[:rest])
            if claim.position == claim.end < end:
                break  # another connection has taken the rest
        if claim.position < claim.end:
            raise Transient(f"the connection ended after {claim.position:,} of {self._target.size:,} bytes")

    def _receive_whole(self, answer: Answer, claim: RangeClaim) -> None:
        """Write the bytes that arrive, which must be exactly the file.

        Raises:
            SizeMismatchError: more bytes arrive.
            Transient: fewer bytes arrive.
            ValueError: they are not valid in their content coding.
        """
        response, size = answer.response, claim.end
        decoder = self._form.decoder(response.headers, declared_length(response), self._requested)
        if decoder is None:
            self._check_size(response)
        found = range_of(response)
        if response.status != HTTPStatus.OK and (found is None or (found.start, found.end) != (0, size)):
            raise Transient("the server sent a part of the file where the whole was requested")
        # Decoded bytes cannot be resumed by ranges.
        recorded = version_of(answer, self._requested, time.time()).recorded if decoder is None else None
        self._target.record_origin(self._key, recorded, claim.version)
        for data in self._client.parts(response, self._requested):
            for part in decoder.feed(data) if decoder else (data,):
                if len(part) > size - claim.position:
                    self._drop_all(None)
                    raise too_many_bytes(self._requested, size)
                self._write(claim, part)
        if decoder:
            decoder.finish()
        if claim.position < size:
            raise Transient(f"the connection ended after {claim.position:,} of {size:,} bytes")

    def _write(self, claim: RangeClaim, data: bytes | memoryview) -> None:
        before = claim.position
        try:
            claim.write(data)
        finally:
            self._advance(claim.position - before)

    def _check(self, answer: Answer, claim: RangeClaim, record: str | None) -> int:
        """Check that a response has bytes of the requested range and version; return the end of its range.

        Args:
            answer: the response.
            claim: the range.
            record: the version of the bytes that had arrived when it was requested.

        Raises:
            UpstreamChangedError: it is of another version.
            _NoRangesError: ranges that certainly belong together are not available.
            Transient: the next response may be right.
        """
        response, start, size = answer.response, claim.position, self._target.size
        if self._form.decoder(response.headers, total_size(response), self._requested) is not None:
            # The ranges are ranges of another form of the file.
            raise _NoRangesError
        # Checked before anything is dropped: one bad response, or a mirror with another file, must not cost what has arrived.
        self._check_size(response)
        version = version_of(answer, self._requested, time.time())
        if not self._agrees(version, record):
            raise self._changed(claim)
        if response.status != HTTPStatus.PARTIAL_CONTENT:
            if self._ranges:
                raise Transient("the server sent the whole file where a range was asked for")
            if start or claim.end < size:
                raise _NoRangesError
            end = size
        elif (found := range_of(response)) is None or found.start != start:
            raise Transient("the server sent another range than was asked for")
        else:
            end = found.end
            if found.total is None and not self._verifiable:
                # The file may be longer than the size in the catalog.
                raise _NoRangesError
        is_known = self._verifiable or version.recorded is not None or (not start and end == claim.end == size)
        if not is_known and self._record is None:
            # Without a digest and a validator, ranges of two versions could not be told apart.
            raise _NoRangesError
        if not self._is_same_version(claim, version):
            raise self._changed(claim)
        self._ranges = response.status == HTTPStatus.PARTIAL_CONTENT and not self._is_whole_only
        return end

    def _agrees(self, version: Version, record: str | None) -> bool:
        """Return whether a response may be of the recorded version.

        Raises:
            _NoRangesError: that is not stated, and no digest decides in the end.
        """
        if record is None or not self._needs_one_validator:
            return True
        agreement = version.agreement(record)
        if agreement is Agreement.UNKNOWN and not self._verifiable:
            if version.recorded is None:
                raise _NoRangesError
            return False
        return agreement is not Agreement.OTHER

    def _check_size(self, response: Response) -> None:
        size, expected = self._target.size, total_size(response)
        is_unsatisfied = response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
        if is_unsatisfied:
            expected = total_size_of_unsatisfied(response)
        if expected is not None and expected != size:
            raise other_size(self._requested, size, expected, response)
        if is_unsatisfied:
            raise Transient("the server does not have the range that was asked for")

    def _is_same_version(self, claim: RangeClaim, version: Version) -> bool:
        """Record the origin of a response, unless it is of another version than the bytes that have arrived."""
        with self._turn:
            # Another connection may have sent its request at the same time, before the version was known.
            record = self._record
            if not self._agrees(version, record):
                return False
            if record is None or version.agreement(record) is not Agreement.SAME:
                self._target.record_origin(self._key, version.recorded, claim.version)
            self._is_begun = True
            self._turn.notify_all()
        return True

    @property
    def _needs_one_validator(self) -> bool:
        """Whether all responses must be of one version; if each has a different validator, a known digest decides instead."""
        return not (self._verifiable and self._changes >= MAX_CHANGES)

    def _changed(self, claim: RangeClaim) -> UpstreamChangedError:
        # Several connections notice the same change.
        if self._drop_all(claim.version):
            with self._turn:
                self._changes += 1
        return UpstreamChangedError(
            f"{show_url(self._requested)}: it was changed while it was fetched, {MAX_CHANGES} times",
            hint="Start again later, when its maintainers have done.",
        )

    def _drop_all(self, version: int | None) -> bool:
        """Drop what has arrived if it is of this version (``None`` means any); return whether this call did so."""
        dropped = self._target.restart(version)
        if dropped:
            self._advance(-dropped)
        return dropped is not None


class _NoRangesError(Exception):
    """The server always sends the whole file, or sends ranges that do not certainly belong together."""
