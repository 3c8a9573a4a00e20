"""The one retry policy, for whole requests and for ranges of a file.

Whether a retry may succeed is known by an error's type: an action raises :class:`Transient`. Every other error is permanent
and passes through at once. Attempts and time are both bounded, the waits grow with full jitter, the wait that a server asks
for (``Retry-After``, ``RateLimit``) is kept within these bounds, and a server that says "too many requests" slows down every
thread that asks the same host.
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
"""One item of the Hub's ``RateLimit`` header: ``"resolvers";r=0;t=2`` has 0 requests left for the next 2 seconds."""


_RETRIED: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_FINAL: Final = frozenset({HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.HTTP_VERSION_NOT_SUPPORTED})


class Transient(RemoteUnavailableError):  # noqa: N818 - it names a kind of failure that is retried, not a final error
    """One attempt failed, and another one may succeed; the only error after which :meth:`Retry.call` tries again."""

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
        """Seconds that the server asked us to wait; ``None``: it did not say."""
        self.throttled = throttled
        """The server said "too many requests": every thread that asks the same host waits, not only the caller."""
        self.crowded = False
        """The host refused this request because of those that it is answering: that is no failure, and only time bounds it."""
        self.while_waiting: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext
        """Open while the caller waits: what it leaves unused meanwhile can be used by others."""
        self.slow = slow
        """Next to nothing arrived for a long time: that is no progress, and counts as two failures."""
        self.cause = cause
        """One of a few words, to count by."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long an action is tried."""

    attempts: int = 6
    """Attempts without any progress between them, the first one included."""
    base_seconds: float = 1.0
    """Upper bound of the first wait; each further one doubles it."""
    cap_seconds: float = 30.0
    """Upper bound of one wait that the server did not ask for."""
    total_seconds: float = 300.0
    """Bound of one call, waits included, counted from its start or its last progress."""
    least_progress: int = 1
    """What is less, in the unit of the work, is no progress: a server may send a byte each time."""
    silent_seconds: float = 30.0
    """Nothing is retried any more when no host has answered at all for so long: then there is no network."""

    def backoff(self, failures: int) -> float:
        """Return the upper bound in seconds of the wait after the ``failures``-th failure in a row (counted from 1)."""
        # The exponent is bounded because a float is: 2.0 ** 1100 raises.
        return min(self.cap_seconds, self.base_seconds * 2.0 ** min(failures - 1, 64))


class _Remote:
    """What is known of a remote by all that talk to it."""

    __slots__ = ("answered", "lock", "not_before", "silent_since")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.not_before: dict[str, float] = {}
        """When the next request may be sent to each host that has asked to wait."""
        self.answered = False
        """A host has answered, whatever it said."""
        self.silent_since: float | None = None
        """When the first of the requests began that nothing answered."""


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
        """Start without a wait.

        Args:
            policy: the bounds.
            pause: waits that many seconds; ``Cancellation.wait``, so that a signal ends the wait at once.
            clock: seconds that never go back (``time.monotonic``).
            random: a number in [0, 1) (``random.random``).
            tally: counts the retries.
        """
        self.policy = policy
        self._pause = pause
        self._clock = clock
        self._random = random
        self._tally = tally
        self._remote = _Remote()

    def pausing(self, pause: Callable[[float], None]) -> Retry:
        """Return the same with other waits: what is learnt of the remote by one of them holds for the other."""
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
            what: names the request in messages, such as ``the listing of acme/songs``; a function is called when there is a
                message.
            action: one attempt; raises :class:`Transient` if another one may succeed.
            host: which is asked first, as :func:`provisioner.remote.urls.host_of` names it; requests to one that has said
                "too many requests" wait, and those to others do not.
            progress: returns a number that grows with the work done (bytes that arrived). When it grew since the last
                failure, attempts and time are counted anew: a long transfer over a poor line is not a failing one.

        Raises:
            RemoteUnavailableError: still failing at a bound; says how often and how long it was tried.
            ProvisionerError: what else ``action`` or the pause raises.
        """
        self._wait_for_throttling(host)
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
                    self._hold(host, now + wait)
                waiting = error.while_waiting
            with waiting():
                self._pause(wait)
            self._wait_for_throttling(host)

    def note_answer(self) -> None:
        """Remember that a host has answered, whatever it said: there is a network."""
        self._remote.answered = True

    def observe(self, headers: Mapping[str, str], now: float, host: str = "") -> None:
        """Delay the next request of every thread to a host if a response says that nothing is left of its limit.

        Args:
            headers: of the response; names in any case.
            now: seconds since the epoch.
            host: which was asked first.
        """
        self.note_answer()
        limit = headers.get("RateLimit")
        if limit is not None and (seconds := parse_retry_after({"RateLimit": limit}, now)):
            self._hold(host, self._clock() + min(seconds, self.policy.total_seconds))

    def _hold(self, host: str, until: float) -> None:
        """Send a host no request before ``until``."""
        with self._remote.lock:
            self._remote.not_before[host] = max(self._remote.not_before.get(host, -math.inf), until)

    def _check_silence(self, what: str, error: Transient, begun: float, now: float) -> None:
        """Raise if no host has answered since the first request: asking on would only repeat that."""
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
            return self._random() * self.policy.backoff(failures)
        # Never earlier than the server said, and not all threads in the same instant.
        return error.retry_after + self._random() * self.policy.base_seconds

    def _wait_for_throttling(self, host: str) -> None:
        """Wait until a host may be sent requests again; another thread may prolong it in the meantime."""
        while (until := self._remote.not_before.get(host)) is not None:
            remaining = until - self._clock()
            if remaining <= 0:
                return
            self._pause(remaining + self._random() * self.policy.base_seconds)

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
    """Return the seconds that a response asks to wait, from ``RateLimit`` (when nothing is left) and ``Retry-After``.

    Args:
        headers: of the response; names in any case.
        now: seconds since the epoch, for a ``Retry-After`` that is a date. The response's own ``Date`` is preferred,
            because the two clocks may differ.

    Returns:
        Seconds, 0 or more; ``None``: the response does not say, or is not well formed.
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
    """Return the error for an HTTP status after which a retry may succeed; ``None``: this status is final.

    Args:
        host: where the response came from, for the message.
        status: of the response.
        headers: of the response; names in any case.
        now: seconds since the epoch, as :func:`parse_retry_after` wants them.
    """
    if status not in _RETRIED and (status < HTTPStatus.INTERNAL_SERVER_ERROR or status in _FINAL):
        return None
    return Transient(
        f"{host} answered {describe_status(status)}",
        retry_after=parse_retry_after(headers, now),
        throttled=status == HTTPStatus.TOO_MANY_REQUESTS,
        cause=f"http_{status}",
    )


def describe_status(status: int) -> str:
    """Return an HTTP status with its name: ``404 Not Found``."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def parse_date(text: str) -> float | None:
    """Return an HTTP date as seconds since the epoch; ``None``: it is not well formed."""
    if not text:
        return None
    # Here and not above: a start with nothing to do must not pay for it.
    from datetime import UTC  # noqa: PLC0415
    from email.utils import parsedate_to_datetime  # noqa: PLC0415

    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    # A date without a zone is in UTC by RFC 9110, never in ours.
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
