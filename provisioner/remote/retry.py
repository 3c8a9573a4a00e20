"""The only retry policy, for whole requests and for ranges of a file.

The type of an error says whether a retry may succeed: an action then raises :class:`Transient`. Every other error is
permanent and is passed on immediately. Attempts and time are both limited, and waits grow, with half of each wait random. A
wait that a server asks for (``Retry-After``, ``RateLimit``) is observed within these limits, and while a host that refuses
everything has asked us to wait, no thread sends it requests.
"""

from __future__ import annotations

import contextlib
import logging
import math
import re
import threading
from copy import copy
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeVar

from provisioner.errors import RemoteUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from provisioner.remote.tally import RequestTally

T = TypeVar("T")

_LOGGER = logging.getLogger(__name__)

_RATE_LIMIT: Final = re.compile(r'"[^"]*"\s*;\s*r\s*=\s*(?P<left>\d{1,12})\s*;\s*t\s*=\s*(?P<seconds>\d{1,12})')
"""One item of the Hub's ``RateLimit`` header: ``"resolvers";r=0;t=2`` means 0 requests left for the next 2 seconds."""


_RETRIED: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_FINAL: Final = frozenset({HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.HTTP_VERSION_NOT_SUPPORTED})


class Transient(RemoteUnavailableError):  # noqa: N818 - it names a kind of failure that is retried, not a final error
    """One attempt failed, but another may succeed; the only error after which :meth:`Retry.call` tries again."""

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        retry_after: float | None = None,
        throttled: bool = False,
        slow: bool = False,
        cause: str = "incomplete",
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after
        """Seconds that the server asked us to wait, or ``None`` if it did not say."""
        self.throttled = throttled
        """Whether the host asked us to wait, so that every thread that asks the same host waits, not only the caller."""
        self.host = ""
        """That host, in the form of :func:`provisioner.remote.urls.host_of`; empty if it is the one that was asked first."""
        self.crowded = False
        """Whether the host refused because of requests that it is serving; this is no failure, and only time limits it."""
        self.while_waiting: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext
        """Context to open while the caller waits, in which others can use the place that it leaves."""
        self.slow = slow
        """Whether next to nothing arrived for a long time, which is not progress and counts as two failures."""
        self.cause = cause
        """One of a few words, for counting."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The number of attempts at an action, and the time limits for them."""

    attempts: int = 6
    """Attempts without progress in between, including the first one."""
    base_seconds: float = 1.0
    """Upper bound of the first wait, which is doubled for each further one."""
    cap_seconds: float = 30.0
    """Upper bound of one wait that the server did not ask for."""
    total_seconds: float = 300.0
    """Limit of one call, including waits, counted from its start or its last progress."""
    least_progress: int = 1
    """Less than this, in the unit of the work, is not progress, since a server may send a single byte each time."""
    silent_seconds: float = 30.0
    """After so long without an answer from any host, nothing is retried, because there is no network."""

    def backoff(self, failures: int) -> float:
        """Return the upper bound in seconds of the wait after ``failures`` failures in a row (1 or more)."""
        # The exponent is bounded because a float is: 2.0 ** 1100 raises.
        return min(self.cap_seconds, self.base_seconds * 2.0 ** min(failures - 1, 64))


class _Remote:
    """The shared knowledge of all threads that talk to a remote."""

    __slots__ = ("answered", "lock", "not_before", "silent_since")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.not_before: dict[str, float] = {}
        """By host that has asked for a wait, the time of the next request."""
        self.answered = False
        """Whether any host has answered, in whatever way."""
        self.silent_since: float | None = None
        """The time at which the first of the unanswered requests began."""


class Retry:
    """Calls actions by a policy; shared by all threads that talk to the same remote."""

    def __init__(
        self,
        policy: RetryPolicy,
        *,
        pause: Callable[[float], None],
        clock: Callable[[], float],
        random: Callable[[], float],
        tally: RequestTally | None = None,
    ) -> None:
        """Begin without a wait.

        Args:
            policy: the bounds.
            pause: waits so many seconds; ``Cancellation.wait``, so that a signal ends the wait immediately.
            clock: returns monotonic seconds (``time.monotonic``).
            random: returns a number in [0, 1) (``random.random``).
            tally: counts the retries.
        """
        self.policy = policy
        self._pause = pause
        self._clock = clock
        self._random = random
        self._tally = tally
        self._remote = _Remote()

    def pausing(self, pause: Callable[[float], None]) -> Retry:
        """Return the same with another pause; both share what they learn of the remote."""
        other = copy(self)
        other._pause = pause  # noqa: SLF001 - of the same class
        return other

    def call(
        self,
        what: str | Callable[[], str],
        action: Callable[[], T],
        *,
        host: str = "",
        progress: Callable[[], int] | None = None,
    ) -> T:
        """Call ``action`` until it succeeds, fails permanently, or a bound is reached, and return its result.

        Args:
            what: names the request in messages, such as ``the listing of acme/songs``; a function is called only if there is
                a message.
            action: makes one attempt; raises :class:`Transient` if another one may succeed.
            host: the first host that is asked, in the form of :func:`provisioner.remote.urls.host_of`; if it has asked us to
                wait, requests to it wait, but not those to other hosts.
            progress: returns a number that grows with the work done (bytes that arrived). If it has grown since the last
                failure, attempts and time are counted anew, since a long transfer over a poor line is not a failing one.

        Raises:
            RemoteUnavailableError: it was still failing at a limit; the message says how often and how long it was tried.
            ProvisionerError: ``action`` or the pause raised it.
        """
        self.wait_while_held(host)
        first = started = self._clock()
        failures = tries = 0
        seen = progress() if progress else 0
        while True:
            try:
                tries += 1
                return action()
            except Transient as error:
                name = what if isinstance(what, str) else what()
                now = self._clock()
                if progress and (grown := progress()) - seen >= self.policy.least_progress:
                    seen = grown
                    if not error.slow:
                        failures, started = 0, now
                failures += 2 if error.slow else 0 if error.crowded else 1
                self._check_silence(name, error, first, now)
                wait = self._wait(max(1, failures), error)
                left = self.policy.total_seconds - (now - started)
                if failures >= self.policy.attempts or wait > left:
                    raise self._gave_up(name, tries, now - first, wait if wait > left else None, error) from error
                _LOGGER.warning("%s: %s; asking again in %.1f s", name, error.message, wait)
                if self._tally is not None:
                    self._tally.count_retry(name, error.cause)
                if error.throttled:
                    self._hold(error.host or host, now + wait)
                waiting = error.while_waiting
            with waiting():
                self._pause(wait)
            self.wait_while_held(host)

    def note_answer(self) -> None:
        """Remember that a host has answered, in whatever way, so there is a network."""
        self._remote.answered = True

    def observe(self, headers: Mapping[str, str], now: float, host: str = "") -> None:
        """Delay the next request of every thread to a host if a response says that its limit is used up.

        Args:
            headers: headers of the response, with names in any case.
            now: seconds since the epoch.
            host: the host that sent the response.
        """
        self.note_answer()
        limit = headers.get("RateLimit")
        if limit is not None and (seconds := parse_retry_after({"RateLimit": limit}, now)):
            self._hold(host, self._clock() + min(seconds, self.policy.total_seconds))

    def heed(self, error: Transient) -> None:
        """Delay the next request of every thread to a host that has asked us to wait, if the time limit permits that."""
        if error.throttled and error.retry_after is not None and error.retry_after <= self.policy.total_seconds:
            self._hold(error.host, self._clock() + error.retry_after)

    def is_held(self, host: str) -> bool:
        """Return whether requests to a host must wait now because it has asked for that."""
        until = self._remote.not_before.get(host)
        return until is not None and self._clock() < until

    def wait_while_held(self, host: str) -> None:
        """Wait until requests may be sent to a host again; another thread may prolong the wait meanwhile."""
        while (until := self._remote.not_before.get(host)) is not None:
            remaining = until - self._clock()
            if remaining <= 0:
                return
            self._pause(remaining + self._random() * self.policy.base_seconds)

    def _hold(self, host: str, until: float) -> None:
        """Send no request to a host before ``until``."""
        with self._remote.lock:
            self._remote.not_before[host] = max(self._remote.not_before.get(host, -math.inf), until)

    def _check_silence(self, what: str, error: Transient, begun: float, now: float) -> None:
        """Raise if no host has answered since the first request, because a retry would only repeat that."""
        if self._remote.answered:
            return
        with self._remote.lock:
            if self._remote.silent_since is None:
                self._remote.silent_since = begun
            silent = now - self._remote.silent_since
        if silent >= self.policy.silent_seconds:
            raise RemoteUnavailableError(
                f"{what}: no host has answered for {silent:.0f} s, at last: {error.message}",
                hint="Check that this machine has a network and a name server, and HTTP_PROXY and HTTPS_PROXY where a proxy is"
                " needed. With all data on the volume, HF_HUB_OFFLINE=1 asks nobody.",
            ) from error

    def _wait(self, failures: int, error: Transient) -> float:
        if error.retry_after is None:
            # Always wait at least half: with many requests, some would otherwise use up their attempts during a short outage.
            return (1 + self._random()) / 2 * self.policy.backoff(failures)
        # Never earlier than the server said, and not all threads at the same instant.
        return error.retry_after + self._random() * self.policy.base_seconds

    @staticmethod
    def _gave_up(what: str, tries: int, seconds: float, too_long: float | None, last: Transient) -> RemoteUnavailableError:
        asked = f"asked {tries} times over {seconds:.0f} s" if tries > 1 else "asked once"
        request = ""
        if too_long is not None and last.retry_after is not None:
            request = f" (the server asks to wait {last.retry_after:.0f} s, which is longer than we may)"
        return RemoteUnavailableError(
            f"{what}: {asked}, at last: {last.message}{request}",
            hint=last.hint or "Start again later; what has arrived is kept and not fetched again.",
        )


def parse_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that a response asks us to wait, by ``RateLimit`` (if nothing is left) and ``Retry-After``.

    Args:
        headers: headers of the response, with names in any case.
        now: seconds since the epoch, for a ``Retry-After`` that is a date. The response's own ``Date`` is preferred, because
            the two clocks may differ.

    Returns:
        Seconds, 0 or more; ``None`` if the response does not say, or is not well formed.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    waits = [float(item["seconds"]) for item in _RATE_LIMIT.finditer(lower.get("ratelimit", "")) if int(item["left"]) == 0]
    text = lower.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,12}(\.\d{1,12})?", text, re.ASCII):
        waits.append(float(text))
    elif (until := parse_date(text)) is not None:
        sent = parse_date(lower.get("date", "").strip())
        waits.append(max(0.0, until - (now if sent is None else sent)))
    return max(waits, default=None)


def transient_error(host: str, status: int, headers: Mapping[str, str], now: float) -> Transient | None:
    """Return the error for an HTTP status after which a retry may succeed, or ``None`` if the status is final.

    Args:
        host: the host that sent the response, for the message.
        status: status of the response.
        headers: headers of the response, with names in any case.
        now: seconds since the epoch; see :func:`parse_retry_after`.
    """
    if status not in _RETRIED and (status < HTTPStatus.INTERNAL_SERVER_ERROR or status in _FINAL):
        return None
    retry_after = parse_retry_after(headers, now)
    asks_to_wait = status == HTTPStatus.SERVICE_UNAVAILABLE and retry_after is not None
    return Transient(
        f"{host} answered {describe_status(status)}",
        retry_after=retry_after,
        throttled=status == HTTPStatus.TOO_MANY_REQUESTS or asks_to_wait,
        cause=f"http_{status}",
    )


def describe_status(status: int) -> str:
    """Return an HTTP status with its name: ``404 Not Found``."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def parse_date(text: str) -> float | None:
    """Return an HTTP date as seconds since the epoch, or ``None`` if it is not well formed."""
    if not text:
        return None
    # Imported here, so that a start with nothing to do does not pay for it.
    from datetime import UTC  # noqa: PLC0415
    from email.utils import parsedate_to_datetime  # noqa: PLC0415

    try:
        moment = parsedate_to_datetime(text)
        # By RFC 9110, a date without a zone is in UTC, never in local time.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):  # numbers that are no date, or too large for one
        return None
