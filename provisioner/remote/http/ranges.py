"""One large file over several connections at once: each range is retried by itself, and all are of one version of the file.

The first range is requested alone. When the server has answered it with that range, other connections join in; they send
``If-Range``, so that no byte of another version is taken. A connection that keeps failing while others make progress leaves
its range to them: a server that allows few connections gets few.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol

from provisioner.errors import (
    AccessDeniedError,
    IntegrityError,
    NotFoundError,
    RemoteRefusedError,
    RemoteUnavailableError,
    UpstreamChangedError,
)
from provisioner.redaction import show_url, without_user
from provisioner.remote.http.headers import continues_at, total_size, total_size_of_unsatisfied, validator_of
from provisioner.remote.http.refusals import other_size
from provisioner.remote.retry import Transient
from provisioner.remote.urls import origin_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from provisioner.remote.http.client import HttpClient
    from provisioner.remote.http.connections import Response
    from provisioner.remote.http.targets import RangeClaim, RangeTarget

_LOGGER = logging.getLogger(__name__)

MAX_CHANGES: Final = 3
"""How often a file may change during its transfer before the transfer fails."""
_LEAVE_RANGE_AFTER: Final = (RemoteUnavailableError, RemoteRefusedError, AccessDeniedError, NotFoundError)
"""Errors after which one connection leaves its range to the others."""


class HelperThreads(Protocol):
    """Threads that can fetch ranges while they have no file of their own."""

    def helping(self, fetch: RangedFetch) -> AbstractContextManager[None]:
        """While the block runs, idle threads may call ``fetch.help``."""
        ...


class RangedFetch:
    """The transfer of one large file from one URL."""

    def __init__(
        self,
        client: HttpClient,
        url: str,
        target: RangeTarget,
        *,
        verifiable: bool,
        authorized: bool,
        advance: Callable[[int], None],
    ) -> None:
        """Make no request.

        Args:
            client: sends the requests.
            url: ``http`` or ``https``.
            target: takes the bytes, of an exact size.
            verifiable: a digest is known. Without one, bytes that have arrived are kept only if they are from ``url``, and
                every response must have a validator.
            authorized: send the user's credentials, to the origin of ``url`` alone.
            advance: told each number of bytes that arrived; negative when some were dropped.
        """
        self._client = client
        self._retry = client.retry
        self._url = without_user(url)  # it is recorded
        self._requested = client.rewritten(url)
        self._target = target
        self._verifiable = verifiable
        self._authorized = authorized
        self._advance = advance
        self._redirected: str | None = None
        """Where redirects led; used for the next ranges, since the Hub limits requests."""
        self._turn = threading.Condition()
        self._ranges = False
        """The server has answered a range with that range."""
        self._helpers = 0
        self._most_helpers: int | None = None
        self._changes = 0
        self._is_over = False
        """No helper may begin: the target may be used for another URL already."""

    def run(self, helpers: HelperThreads) -> None:
        """Fetch what is missing, on this thread and on those of ``helpers`` that have nothing else to do.

        Raises:
            UpstreamChangedError: the file changed too often.
            ProvisionerError: by what the server said.
        """
        target = self._target
        if target.have and not self._verifiable and (target.origin is None or target.origin[0] != self._url):
            self._drop_all(None)
        target.set_direct_fetch(self._fetch_directly)
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
    def wants_help(self) -> bool:
        """Whether another connection would have something to do."""
        return (
            not self._is_over
            and self._ranges
            and self._target.unclaimed > 0
            and (self._most_helpers is None or self._helpers < self._most_helpers)
        )

    def help(self) -> None:
        """Fetch ranges until none is left to claim, or until this connection is refused while others make progress.

        Raises:
            ProvisionerError: the run must end, or the volume failed; the whole transfer has failed with it. An error of this
                URL alone is raised by :meth:`run`.
        """
        with self._turn:
            if not self.wants_help:
                return
            self._helpers += 1
        try:
            while (claim := self._target.claim(wait=False)) is not None:
                try:
                    self._fetch_range(claim)
                except UpstreamChangedError:
                    if self._changes > MAX_CHANGES:
                        raise
                except _LEAVE_RANGE_AFTER as error:
                    with self._turn:
                        self._most_helpers = self._helpers - 1
                    _LOGGER.info("%s: one connection fewer: %s", show_url(self._requested), error.message)
                    return
        except (*_LEAVE_RANGE_AFTER, IntegrityError) as error:
            # Of this URL alone: `run` raises it, and another URL is tried.
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
                    raise
            except _NoRangesError:
                self._retry.call(lambda: show_url(self._requested), self._attempt_whole)
            except _LEAVE_RANGE_AFTER:
                if not self._left_to_helpers(before):
                    raise

    def _left_to_helpers(self, before: int) -> bool:
        """Wait while helpers make progress; return whether more than ``before`` bytes have arrived.

        When they have ended, the server may serve this connection: it may allow only a few at once.
        """
        with self._turn:
            while self._helpers and not self._target.is_whole:
                self._turn.wait(0.2)
        return self._target.is_whole or self._target.have > before

    def _attempt_whole(self) -> None:
        """Request the whole file once: the server sends no ranges, or none that certainly belong to one version."""
        self._drop_all(None)
        claim = self._target.claim_all()
        with self._released_on_error(claim):
            self._attempt(claim)

    def _fetch_range(self, claim: RangeClaim) -> None:
        with self._released_on_error(claim):
            self._retry.call(lambda: show_url(self._requested), lambda: self._attempt(claim), progress=lambda: claim.position)

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
        """Request once what is missing of a range."""
        start, size = claim.position, self._target.size
        if start >= claim.end:
            return
        headers = {"Range": f"bytes={start}-{claim.end - 1}"}
        origin = self._target.origin
        if origin is not None and origin[0] == self._url and self._needs_one_validator:
            headers["If-Range"] = origin[1]
        response = self._open(headers)
        try:
            self._check(response, claim, headers.get("If-Range"))
            for data in self._client.parts(response, self._requested):
                rest = claim.end - claim.position
                if not rest:
                    break  # more than was requested
                before = claim.position
                try:
                    claim.write(data if len(data) <= rest else data[:rest])
                finally:
                    self._advance(claim.position - before)
        finally:
            response.close()
        if claim.position < claim.end:
            raise Transient(f"the connection ended after {claim.position:,} of {size:,} bytes")

    def _check(self, response: Response, claim: RangeClaim, if_range: str | None) -> None:
        """Raise for a response that is not the requested range of the requested version."""
        start, size = claim.position, self._target.size
        # Before anything is dropped: one bad response, or a mirror with another file, must not cost what has arrived.
        self._check_size(response)
        validator = validator_of(response)
        if if_range is not None and validator != if_range:
            raise self._changed(claim)
        is_whole = start == 0 and claim.end == size
        if response.status == HTTPStatus.PARTIAL_CONTENT:
            if not continues_at(response, start):
                raise Transient("the server sent another range than was asked for")
        elif self._ranges:
            raise Transient("the server sent the whole file where a range was asked for")
        elif not is_whole:
            raise _NoRangesError
        if not (self._verifiable or validator is not None or is_whole):
            # Without digest and validator, ranges of two versions could not be told apart.
            if self._ranges:
                raise Transient("the server does not say any more which version it sends")
            raise _NoRangesError
        if not self._is_same_version(claim, validator):
            raise self._changed(claim)
        if response.status == HTTPStatus.PARTIAL_CONTENT:
            self._ranges = self._verifiable or validator is not None

    def _check_size(self, response: Response) -> None:
        size, expected = self._target.size, total_size(response)
        is_unsatisfied = response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
        if is_unsatisfied:
            expected = total_size_of_unsatisfied(response)
        if expected is not None and expected != size:
            raise other_size(self._requested, size, expected, response)
        if is_unsatisfied:
            raise Transient("the server does not have the range that was asked for")

    def _is_same_version(self, claim: RangeClaim, validator: str | None) -> bool:
        """Record the origin of a response, unless it is of another version than the bytes that have arrived."""
        with self._turn:
            # Another connection may have sent its request at the same time, before the version was known.
            origin = self._target.origin
            if origin is not None and origin[0] == self._url and origin[1] != validator and self._needs_one_validator:
                return False
            self._target.record_origin(self._url, validator, claim.version)
        return True

    @property
    def _needs_one_validator(self) -> bool:
        """Whether all responses must have one validator; where each has its own, a known digest decides instead."""
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
        """Drop what has arrived if it is of this version (``None``: of any); return whether this call did so."""
        dropped = self._target.restart(version)
        if dropped:
            self._advance(-dropped)
        return dropped is not None

    def _open(self, headers: dict[str, str]) -> Response:
        redirected = self._redirected
        if redirected is not None:
            try:
                same = origin_of(redirected) == origin_of(self._requested)
                return self._client.open(redirected, headers, authorized=self._authorized and same)[0]
            except (AccessDeniedError, NotFoundError, RemoteRefusedError):
                # A signed URL expires: the original one is requested again.
                self._redirected = None
        response, final = self._client.open(self._requested, headers, authorized=self._authorized)
        self._redirected = final if final != self._requested else None
        return response

    def _fetch_directly(self, offset: int, count: int) -> bytes:
        """Return at most ``count`` bytes from ``offset``, by a request of their own."""

        def attempt() -> bytes:
            response = self._open({"Range": f"bytes={offset}-{offset + count - 1}"})
            try:
                if response.status != HTTPStatus.PARTIAL_CONTENT or not continues_at(response, offset):
                    raise RemoteRefusedError(
                        f"{show_url(self._requested)}: the server sends no ranges,"
                        " and there is not enough free space for the whole archive",
                        hint="Enlarge the volume, or try a mirror (URL_REWRITE).",
                    )
                if (found := total_size(response)) not in {None, self._target.size}:
                    raise other_size(self._requested, self._target.size, found, response)
                data = bytearray()
                for part in self._client.parts(response, self._requested):
                    data += part
                    if len(data) >= count:
                        break
            finally:
                response.close()
            if not data:
                raise Transient("the connection ended before its first byte")
            return bytes(data[:count])

        return self._retry.call(lambda: show_url(self._requested), attempt)


class _NoRangesError(Exception):
    """The server sends the whole file whatever range is requested."""
