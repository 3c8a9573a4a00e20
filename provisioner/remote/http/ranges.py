"""One large file by several connections at once: ranges into a target, each retried by itself, the whole from one version.

The first range is asked for alone. Only when the server has answered it as a range do others join in, and they ask with
``If-Range``, so that no byte of another version is taken. A connection that keeps failing while others get on leaves its
range to them: a server that allows few connections gets few.
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
from provisioner.redaction import show_url
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
"""How often a file may become another one under our hands before it is left alone."""
_LEAVING: Final = (RemoteUnavailableError, RemoteRefusedError, AccessDeniedError, NotFoundError)
"""Errors after which one connection leaves its range to the others."""


class Crew(Protocol):
    """Threads that have nothing to do at the moment."""

    def helping(self, fetch: RangedFetch) -> AbstractContextManager[None]:
        """While the block runs, idle threads may call ``fetch.help``."""
        ...


class RangedFetch:
    """One large file on its way from one URL."""

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
        """Prepare.

        Args:
            client: asks, as often as its policy allows.
            url: ``http`` or ``https``.
            target: takes the bytes; knows how many there must be.
            verifiable: a digest is known: a wrong beginning will be found out, so it need not be proved first.
            authorized: send the user's credentials to the host of ``url`` (and to no other).
            advance: told of each number of bytes that arrived; negative when some were dropped.
        """
        self._client = client
        self._retry = client.retry
        self._url = url
        self._requested = client.rewritten(url)
        self._target = target
        self._verifiable = verifiable
        self._authorized = authorized
        self._advance = advance
        self._there: str | None = None
        """Where redirects led: the Hub counts each question, and a large file has many ranges."""
        self._turn = threading.Condition()
        self._ranges = False
        """The server has shown that it answers a range with that range."""
        self._helpers = 0
        self._most_helpers: int | None = None
        self._changes = 0
        self._over = False
        """Whoever comes to help now is too late: the target may be another address's already."""

    def run(self, crew: Crew) -> None:
        """Bring what is missing; the thread that calls this does its part, those of the crew may help.

        Raises:
            UpstreamChangedError: the file became another one too often.
            ProvisionerError: by what the server said.
        """
        target = self._target
        if target.have and not self._verifiable and (target.origin is None or target.origin[0] != self._url):
            self._drop_all(None)
        target.set_direct_fetch(self._fetch_directly)
        try:
            with crew.helping(self):
                self._lead()
        except BaseException as error:
            target.fail(error)
            raise
        finally:
            # Another URL may be asked for the same target next.
            with self._turn:
                self._over = True
                while self._helpers:
                    self._turn.wait()

    @property
    def wants_help(self) -> bool:
        """Whether another connection would have something to do."""
        return (
            not self._over
            and self._ranges
            and self._target.unclaimed > 0
            and (self._most_helpers is None or self._helpers < self._most_helpers)
        )

    def help(self) -> None:
        """Bring ranges until there are none left to claim, or this connection turns out to be one too many.

        Raises:
            ProvisionerError: the run must end, or the volume failed; the transfer has failed with it. What is wrong with the
                address alone is raised where the transfer is led.
        """
        with self._turn:
            if not self.wants_help:
                return
            self._helpers += 1
        try:
            while (claim := self._target.claim(wait=False)) is not None:
                try:
                    self._bring(claim)
                except UpstreamChangedError:
                    if self._changes > MAX_CHANGES:
                        raise
                except _LEAVING as error:
                    with self._turn:
                        self._most_helpers = self._helpers - 1
                    _LOGGER.info("%s: one connection fewer: %s", show_url(self._requested), error.message)
                    return
        except (*_LEAVING, IntegrityError) as error:
            # Of this address alone: whoever leads is told, and asks another one.
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
                self._bring(claim)
            except UpstreamChangedError:
                if self._changes > MAX_CHANGES:
                    raise
            except _NoRangesError:
                self._retry.call(lambda: show_url(self._requested), self._attempt_whole)
            except _LEAVING:
                if not self._left_to_helpers(before):
                    raise

    def _left_to_helpers(self, before: int) -> bool:
        """Wait while helpers get on; whether they have brought anything beyond ``before``.

        When they are gone it may be this connection that is served: a server that allows few never serves the one too many.
        """
        with self._turn:
            while self._helpers and not self._target.is_whole:
                self._turn.wait(0.2)
        return self._target.is_whole or self._target.have > before

    def _attempt_whole(self) -> None:
        """Ask once for everything, from the first byte: the server gives no ranges, or none that belong together for sure."""
        self._drop_all(None)
        claim = self._target.claim_all()
        with self._given_back(claim):
            self._attempt(claim)

    def _bring(self, claim: RangeClaim) -> None:
        with self._given_back(claim):
            self._retry.call(lambda: show_url(self._requested), lambda: self._attempt(claim), progress=lambda: claim.position)

    @contextlib.contextmanager
    def _given_back(self, claim: RangeClaim) -> Iterator[None]:
        """Let others bring what this connection did not."""
        try:
            yield
        except BaseException:
            if dropped := claim.give_back():
                self._advance(-dropped)
            raise

    def _attempt(self, claim: RangeClaim) -> None:
        """Ask once for what is missing of a range."""
        start, size = claim.position, self._target.size
        if start >= claim.end:
            return
        headers = {"Range": f"bytes={start}-{claim.end - 1}"}
        origin = self._target.origin
        if origin is not None and origin[0] == self._url and self._must_agree:
            headers["If-Range"] = origin[1]
        response = self._open(headers)
        try:
            self._check(response, claim, headers.get("If-Range"))
            for data in self._client.parts(response, self._requested):
                rest = claim.end - claim.position
                if not rest:
                    break  # more than was asked for: not ours
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
        """See that an answer is what was asked for, of the version that was asked for."""
        start, size = claim.position, self._target.size
        # Before anything is dropped: one bad answer, or a mirror with another file, must not cost what has arrived.
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
            # Nothing would tell that two ranges are of two versions.
            if self._ranges:
                raise Transient("the server does not say any more which version it sends")
            raise _NoRangesError
        if not self._begun(claim, validator):
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

    def _begun(self, claim: RangeClaim, validator: str | None) -> bool:
        """Note where the coming bytes are from; whether they are of one version with those before them."""
        with self._turn:
            # Another connection may have asked at the same time, before anything was known of the version.
            origin = self._target.origin
            if origin is not None and origin[0] == self._url and origin[1] != validator and self._must_agree:
                return False
            self._target.record_origin(self._url, validator, claim.version)
        return True

    @property
    def _must_agree(self) -> bool:
        """Whether all answers must have one validator; where each has its own and a digest is known, that decides."""
        return not (self._verifiable and self._changes >= MAX_CHANGES)

    def _changed(self, claim: RangeClaim) -> UpstreamChangedError:
        # Several connections find out about one change.
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
        there = self._there
        if there is not None:
            try:
                same = origin_of(there) == origin_of(self._requested)
                return self._client.open(there, headers, authorized=self._authorized and same)[0]
            except (AccessDeniedError, NotFoundError, RemoteRefusedError):
                # A signed address is good for a while only: it is asked for anew.
                self._there = None
        response, here = self._client.open(self._requested, headers, authorized=self._authorized)
        self._there = here if here != self._requested else None
        return response

    def _fetch_directly(self, offset: int, count: int) -> bytes:
        """Return some bytes by a request of their own; at most ``count``."""

        def attempt() -> bytes:
            response = self._open({"Range": f"bytes={offset}-{offset + count - 1}"})
            try:
                if response.status != HTTPStatus.PARTIAL_CONTENT or not continues_at(response, offset):
                    raise RemoteRefusedError(
                        f"{show_url(self._requested)}: the server gives no ranges, and there is no room for the whole archive",
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
    """The server sends the whole file whatever is asked for."""
