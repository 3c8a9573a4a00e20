"""The number of concurrent requests to each host: as many as increase the throughput, and no more than the host accepts.

The rules are those of congestion control, with requests in place of packets (Chiu and Jain, 1989; RFC 5681, section 3.1; RFC
9438 for the search from below). A host begins with a few requests. As long as each doubling clearly brings more bytes and
responses per second, the limit is doubled (or quadrupled, if responses are short); otherwise, the limit is restored, and a
little more is tried later. If a request is refused while others are served (429, 503, a refused connection), the host accepts
no more: that limit is kept, and one more is tried only after a pause that doubles each time. Failing connections reduce the
limit by a quarter.

Small files need no more requests than by Little's law: the response time of a server, divided by the time that a file costs
us. If servers answer immediately, more threads would only wait for each other.

If several data sets are fetched at once, each is a flow with a rank: among waiting requests, those of the flow with the
lowest rank are sent first, so that a flow gets what those before it leave.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections import Counter, deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_OF_HOST: Final = 64
"""Upper bound of requests to one host at once."""
MOST_OF_ALL: Final = 128
"""Upper bound of requests at once."""
START: Final = 4
"""Requests to a host about which nothing is known yet."""

_GROWTH: Final = 2
_SHORT_GROWTH: Final = 4
"""For short responses: each step takes a round trip to judge, and meanwhile such small files leave the line idle."""
_LATER_GROWTH: Final = 1.25
"""After a pause, because more requests did not help before."""
_GAIN: Final = 0.3
"""The fraction of the possible gain that more requests must achieve."""
_RESPONSE_BYTES: Final = 1 << 14
"""The weight of a response in addition to its bytes: for many small files, their number is the work."""
_ROUND_SECONDS: Final = 0.5
"""The longest duration of a round, if responses are long."""
_SHORTEST_ROUND: Final = 0.02
"""Seconds; a shorter round would measure chance."""
_PAUSE: Final = 3.0
"""Seconds before a few more requests are tried again, after more requests did not help."""
_PAUSE_AFTER_REFUSAL: Final = 60.0
"""Seconds before one request more than a host refused is tried again; doubled each time."""
_SHRINKS_APART: Final = 1.0
"""Seconds in which several failures count as one: what breaks one connection often breaks several."""
_IN_USE_SECONDS: Final = 10.0
"""Seconds after its last request for which a host still counts as being in use."""
_SAMPLES: Final = 64
_OWN_SECONDS: Final = 0.00025
"""Our own time for a small file; one more request is worth while for each such time that we wait for the server."""
_POLL_SECONDS: Final = 0.1
"""Seconds between two checks by a waiting request whether the run must end."""


class Turns:
    """The order of turns: among those that wait, the one with the lowest rank is next; safe for several threads."""

    def __init__(self, changed: threading.Condition) -> None:
        """Begin without waiting requests; ``changed`` is notified when a turn may be free."""
        self._changed = changed
        self._waiting: Counter[int] = Counter()

    def wait(self, rank: int, is_free: Callable[[], bool], check_cancelled: Callable[[], None]) -> None:
        """Wait until a turn is free and no request with a lower rank waits for one; the lock is held.

        Args:
            rank: rank of the flow that waits.
            is_free: returns whether a turn is free.
            check_cancelled: raises when the flow must end.
        """
        if is_free() and not self._is_behind(rank):
            return
        self._waiting[rank] += 1
        try:
            while not is_free() or self._is_behind(rank):
                self._changed.wait(_POLL_SECONDS)
                check_cancelled()
        finally:
            self._waiting[rank] -= 1
            if not self._waiting[rank]:
                del self._waiting[rank]

    def notify(self) -> None:
        """Wake those who may be next; the lock is held."""
        if len(self._waiting) > 1:
            self._changed.notify_all()
        else:
            self._changed.notify()

    def _is_behind(self, rank: int) -> bool:
        return bool(self._waiting) and min(self._waiting) < rank


class HostConcurrency:
    """The requests to one host; safe for several threads."""

    def __init__(self, *, adapts: bool, clock: Callable[[], float]) -> None:
        """Begin with a few requests at once.

        Args:
            adapts: whether the limit is enforced and adapted; otherwise, responses are only measured.
            clock: returns monotonic seconds.
        """
        self._adapts = adapts
        self._clock = clock
        self._changed = threading.Condition()
        self._turns = Turns(self._changed)
        self.limit = START
        """Requests at once that are worth while now."""
        self._most = MOST_OF_HOST
        """Requests at once that the host accepts, as far as known."""
        self.in_flight = 0
        """Requests that have begun and not yet ended."""
        self._in_flight_of: Counter[int] = Counter()
        """The same by rank."""
        self._peak = 0
        """The largest number of requests at once in this round."""
        self._request_seconds = 0.0
        """The total duration of all requests of this round, up to ``_counted_until``."""
        self._counted_until = clock()
        self._used_at = clock()
        """The time at which the last request began or ended."""
        self._latest: deque[float] = deque(maxlen=_SAMPLES)
        self._samples = 0
        self.worthwhile_for_small_files = MOST_OF_HOST
        self._refusals = 0
        self.deferred = 0
        """Requests that it refused while serving others, and that wait to be sent again."""
        self._has_served = True
        """Whether it has served a request since it last refused one."""
        self._serving = 0
        """Requests whose body it is sending."""
        self._refused = 0
        """Refused requests that have not ended yet."""
        self._taken = 0
        """The largest number that it has served at once."""
        self._held_until = -math.inf
        self._shrunk_at = -math.inf
        self._before: tuple[int, float] | None = None
        """The limit before it grew, and the work per second with it; ``None`` if it has not grown."""
        self._has_second_chance = True
        self._begin_round(clock())

    def is_in_use(self) -> bool:
        """Return whether the host is being sent requests, or was until a moment ago."""
        return self.in_flight > 0 or self._clock() - self._used_at < _IN_USE_SECONDS

    @property
    def limit_now(self) -> int:
        """How many requests may be sent at once; a host that has not served any yet is sent only a few at first."""
        return self.limit if self._has_served or self._serving else min(self.limit, START)

    # --- one request

    def limit_for(self, rank: int) -> int:
        """Return how many requests at once are worth while for a flow: what those with lower ranks leave, at least one."""
        if not rank:
            return self.limit
        before = sum(count for other, count in tuple(self._in_flight_of.items()) if other < rank)
        return max(1, self.limit - before)

    def enter(self, check_cancelled: Callable[[], None], *, waits: bool, rank: int = 0) -> float:
        """Wait until one more request may be sent, and return the time at which it is sent.

        Args:
            check_cancelled: raises when the flow must end.
            waits: otherwise it is sent immediately, because running requests may be waiting for it.
            rank: rank of the flow that sends it.

        Raises:
            ProvisionerError: the flow must end.
        """
        with self._changed:
            if waits and self._adapts:
                self._turns.wait(rank, lambda: self.in_flight < self.limit_now, check_cancelled)
            now = self._clock()
            self._count_time(now)
            self.in_flight += 1
            self._in_flight_of[rank] += 1
            self._peak = max(self._peak, self.in_flight)
        return now

    def add_bytes(self, count: int) -> None:
        """Count bytes that have arrived; only nearly exact, since threads count without a lock."""
        self._bytes += count
        if self._adapts and self._clock() - self._begun >= _ROUND_SECONDS:
            with self._changed:
                self._end_round()

    def leave(self, begun: float, *, answered: bool, served: bool = False, refused: bool = False, rank: int = 0) -> None:
        """Record the end of a request.

        Args:
            begun: the value that :meth:`enter` returned.
            answered: whether the host has sent a response, of any kind.
            served: whether :meth:`served` was called for it.
            refused: whether :meth:`refused` was called for it.
            rank: rank of the flow that sent it.
        """
        with self._changed:
            now = self._clock()
            self._count_time(now)
            self.in_flight -= 1
            self._in_flight_of[rank] -= 1
            self._serving -= served
            self._refused -= refused
            if answered:
                self._responses += 1
                self._sample(now - begun)
            if self._adapts:
                self._end_round()
                self._turns.notify()

    def served(self) -> None:
        """Record that the host has begun to answer a request with the requested content."""
        with self._changed:
            if not self._has_served:
                self._changed.notify_all()
            self._has_served = True
            self._serving += 1
            self._taken = max(self._taken, self._serving)

    def refused(self) -> bool:
        """Record that the host refuses a request that is still counted: its limit is the number that it is serving.

        If a host refuses everything, or fewer requests than it has served at once before, it has another reason.

        Returns:
            Whether the host goes on serving the others, as far as known, so that only this request has to wait.
        """
        with self._changed:
            self._refused += 1
            if not (self._adapts and (self._has_served or self._serving)):
                return False
            is_first = self._has_served
            self._has_served = False
            others = self.in_flight - self._refused
            served = max(1, others)
            if served < self._taken:
                self._shrink()
                return False
            is_one_too_many = others > 0 and served < self.limit
            if served < self.limit:
                # If several requests that were sent at the same time are refused, that counts as one refusal.
                self._refusals += is_first
                self.limit = self._most = served
            self._hold(_PAUSE_AFTER_REFUSAL * 2 ** max(0, self._refusals - 1))
            return is_one_too_many

    @contextlib.contextmanager
    def deferring(self) -> Iterator[None]:
        """Count a request that was refused and waits, while the block runs, to be sent again."""
        with self._changed:
            self.deferred += 1
        try:
            yield
        finally:
            with self._changed:
                self.deferred -= 1

    def failed(self) -> None:
        """Record that a connection has failed; with fewer connections, others may not fail."""
        with self._changed:
            if self._adapts:
                self._shrink()

    # --- adapting the limit; the lock is held

    def _shrink(self) -> None:
        now = self._clock()
        if self.in_flight > 1 and now - self._shrunk_at >= _SHRINKS_APART:
            self._shrunk_at = now
            self.limit = max(1, self.limit * 3 // 4)
            self._hold(_PAUSE)

    def _sample(self, seconds: float) -> None:
        self._latest.append(seconds)
        self._samples += 1
        if self._samples % 16 == 0:
            # The fastest of many responses waited only for the server, and not for our other threads.
            self.worthwhile_for_small_files = max(2, 1 + math.ceil(min(self._latest) / _OWN_SECONDS))

    def _count_time(self, now: float) -> None:
        """Add the time that the requests in flight have taken since the last count."""
        self._used_at = now
        self._request_seconds += self.in_flight * (now - self._counted_until)
        self._counted_until = now

    def _begin_round(self, now: float) -> None:
        self._begun = now
        self._bytes = 0
        self._responses = 0
        self._request_seconds = 0.0
        self._counted_until = now
        self._peak = self.in_flight

    def _hold(self, seconds: float) -> None:
        now = self._clock()
        self._held_until = max(self._held_until, now + seconds)
        self._before, self._has_second_chance = None, True
        self._begin_round(now)

    def _end_round(self) -> None:
        """Adapt the limit, if this round has shown its effect."""
        now = self._clock()
        seconds = now - self._begun
        if seconds < _SHORTEST_ROUND or (self._responses < self.limit and seconds < _ROUND_SECONDS):
            return
        self._count_time(now)
        # Computed as if the limit had been used all the time: our own threads may have been busy with other things.
        work = self._bytes + self._responses * _RESPONSE_BYTES
        rate = self.limit * work / self._request_seconds if self._request_seconds else 0.0
        # With fewer requests, there was too little to fetch; with more, those from before the limit shrank have not ended
        # yet.
        was_full = self._peak == self.limit
        self._begin_round(now)
        if not was_full or now < self._held_until:
            return
        if self._before is not None:
            limit, before = self._before
            if rate < before * (1 + _GAIN * (self.limit / limit - 1)):
                if self._has_second_chance:
                    # The new connections were still being established.
                    self._has_second_chance = False
                    return
                self.limit = limit
                self._hold(_PAUSE)
                return
        if self.limit >= MOST_OF_HOST:
            return
        factor: float = _SHORT_GROWTH if seconds < _ROUND_SECONDS else _GROWTH
        if self._held_until > -math.inf:
            factor = _LATER_GROWTH
        grown = max(self.limit + 1, int(self.limit * factor))
        if grown > self._most:
            # After a pause, allow one more than it accepted when it last refused.
            grown = self._most = min(MOST_OF_HOST, self.limit + 1)
        self._before, self._has_second_chance = (self.limit, rate), True
        self.limit = min(grown, MOST_OF_HOST)
        self._changed.notify_all()


class Concurrency:
    """The requests of one client to all hosts; safe for several threads."""

    def __init__(self, connections: int | None, *, clock: Callable[[], float]) -> None:
        """Begin without hosts.

        Args:
            connections: how many requests at once, to all hosts together; ``None`` means as many as increase the throughput.
            clock: returns monotonic seconds.
        """
        self.fixed = connections
        """Fixed number of requests at once, to all hosts together; ``None`` means as many as increase the throughput."""
        self._most = connections or MOST_OF_ALL
        self._clock = clock
        self._lock = threading.Lock()
        self._hosts: dict[str, HostConcurrency] = {}
        self._changed = threading.Condition()
        self._turns = Turns(self._changed)
        self._in_flight = 0
        """Requests that count towards the limit for all hosts."""

    def host(self, origin: str) -> HostConcurrency:
        """Return the requests to one host, given by scheme, host and port."""
        host = self._hosts.get(origin)
        if host is None:
            with self._lock:
                host = self._hosts.setdefault(origin, HostConcurrency(adapts=self.fixed is None, clock=self._clock))
        return host

    def enter(self, rank: int, check_cancelled: Callable[[], None], *, waits: bool) -> None:
        """Wait until one more request may be sent to any host; see :meth:`HostConcurrency.enter`."""
        with self._changed:
            if waits:
                self._turns.wait(rank, lambda: self._in_flight < self._most, check_cancelled)
            self._in_flight += 1

    def leave(self) -> None:
        """Record the end of a request to any host."""
        with self._changed:
            self._in_flight -= 1
            self._turns.notify()
