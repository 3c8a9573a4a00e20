"""How many requests each host is sent at once: as many as bring more, and no more than it takes.

The law is that of congestion control, with requests in place of packets (Chiu and Jain, 1989; RFC 5681, section 3.1; RFC 9438
for the search from below). A host begins with a few requests. While each doubling brings clearly more bytes and responses a
second, the limit doubles (where responses are short, it becomes four times as large); where it does not, the limit goes back and
a little more is tried again later. A request that is
refused while others are served (429, 503, a refused connection) says how many the host takes: that is kept, and one more is
tried only after a pause that doubles each time. Connections that fail shrink the limit by a quarter.

Small files are worth no more requests than Little's law says: the time in which a server answers, divided by what a file costs
us. Where servers answer at once, more threads would only wait for each other.

Where several data sets are fetched at once, each is a flow with a rank: of the requests that wait, those of the flow with the
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
"""Requests to one host at once, at most."""
MOST_OF_ALL: Final = 128
"""Requests at once, at most."""
START: Final = 4
"""Requests to a host of which nothing is known yet."""

_GROWTH: Final = 2
_SHORT_GROWTH: Final = 4
"""Where responses are short: each growth takes a round trip to judge, and files that small leave the line empty meanwhile."""
_LATER_GROWTH: Final = 1.25
"""After a pause, since more has brought nothing before."""
_GAIN: Final = 0.3
"""The part of what more requests could bring that they must bring."""
_RESPONSE_BYTES: Final = 1 << 14
"""What a response counts beside its bytes: of many small files, the number is the work."""
_ROUND_SECONDS: Final = 0.5
"""How long a round takes at most where responses are long."""
_SHORTEST_ROUND: Final = 0.02
"""Seconds; less than that measures chance."""
_PAUSE: Final = 3.0
"""Seconds before a little more is tried again where more has brought nothing."""
_PAUSE_AFTER_REFUSAL: Final = 60.0
"""Seconds before one request more is tried again than a host has refused; doubled each time."""
_SHRINKS_APART: Final = 1.0
"""Seconds in which failures count once: what breaks one connection often breaks several."""
_IN_USE_SECONDS: Final = 10.0
"""How long after its last request a host still counts among those that requests are made to."""
_SAMPLES: Final = 64
_OWN_SECONDS: Final = 0.00025
"""What a small file costs us; one request more is worth while for each such time that we wait for the server."""
_POLL_SECONDS: Final = 0.1
"""How often a request that waits sees whether the run must end."""


class Turns:
    """Who is next: of those that wait for their turn, the one with the lowest rank; safe for several threads."""

    def __init__(self, changed: threading.Condition) -> None:
        """Begin with nobody; ``changed`` is notified when there may be a turn."""
        self._changed = changed
        self._waiting: Counter[int] = Counter()

    def wait(self, rank: int, is_free: Callable[[], bool], check_cancelled: Callable[[], None]) -> None:
        """Wait until there is a turn and nobody with a lower rank waits for one; the lock is held.

        Args:
            rank: of the flow that waits.
            is_free: returns whether there is a turn.
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
        """Wake who may be next; the lock is held."""
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
            adapts: the limit holds and changes; otherwise responses are only measured.
            clock: seconds that never go back.
        """
        self._adapts = adapts
        self._clock = clock
        self._changed = threading.Condition()
        self._turns = Turns(self._changed)
        self.limit = START
        """Requests at once that are worth while now."""
        self._most = MOST_OF_HOST
        """Requests at once that the host takes, as far as it is known."""
        self.in_flight = 0
        """Requests that have begun and have not ended."""
        self._in_flight_of: Counter[int] = Counter()
        """The same for each rank."""
        self._peak = 0
        """The most requests at once in this round."""
        self._request_seconds = 0.0
        """What all requests of this round have taken together, up to ``_counted_until``."""
        self._counted_until = clock()
        self._used_at = clock()
        """When the last request began or ended."""
        self._latest: deque[float] = deque(maxlen=_SAMPLES)
        self._samples = 0
        self.worthwhile_for_small_files = MOST_OF_HOST
        self._refusals = 0
        self.deferred = 0
        """Requests that it has refused beside others, and that wait to be sent again."""
        self._has_served = True
        """It has served a request since it refused one."""
        self._serving = 0
        """Requests of which it is sending the body."""
        self._refused = 0
        """Requests that it has refused and that have not ended yet."""
        self._taken = 0
        """The most that it has served at once."""
        self._held_until = -math.inf
        self._shrunk_at = -math.inf
        self._before: tuple[int, float] | None = None
        """The limit before it grew, and the work a second that it brought; ``None``: it has not grown."""
        self._has_second_chance = True
        self._begin_round(clock())

    def is_in_use(self) -> bool:
        """Return whether the host is being sent requests, or was a moment ago."""
        return self.in_flight > 0 or self._clock() - self._used_at < _IN_USE_SECONDS

    # --- one request

    def limit_for(self, rank: int) -> int:
        """Return how many requests at once are worth while for a flow: what those with lower ranks leave, at least one."""
        if not rank:
            return self.limit
        before = sum(count for other, count in tuple(self._in_flight_of.items()) if other < rank)
        return max(1, self.limit - before)

    def enter(self, check_cancelled: Callable[[], None], *, waits: bool, rank: int = 0) -> float:
        """Wait until one request more may be sent, and return the time at which it is.

        Args:
            check_cancelled: raises when the flow must end.
            waits: otherwise it is sent at once, since those that are being answered may wait for it.
            rank: of the flow that sends it.

        Raises:
            ProvisionerError: the flow must end.
        """
        with self._changed:
            if waits and self._adapts:
                self._turns.wait(rank, lambda: self.in_flight < self.limit, check_cancelled)
            now = self._clock()
            self._count_time(now)
            self.in_flight += 1
            self._in_flight_of[rank] += 1
            self._peak = max(self._peak, self.in_flight)
        return now

    def add_bytes(self, count: int) -> None:
        """Count bytes that have arrived; nearly exact, since threads count without a lock."""
        self._bytes += count
        if self._adapts and self._clock() - self._begun >= _ROUND_SECONDS:
            with self._changed:
                self._end_round()

    def leave(self, begun: float, *, answered: bool, served: bool = False, refused: bool = False, rank: int = 0) -> None:
        """Record the end of a request.

        Args:
            begun: what :meth:`enter` returned.
            answered: the host has sent a response, whatever it said.
            served: :meth:`served` was called for it.
            refused: :meth:`refused` was called for it.
            rank: of the flow that sent it.
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
        """Record that the host has begun to answer a request with what was asked for."""
        with self._changed:
            self._has_served = True
            self._serving += 1
            self._taken = max(self._taken, self._serving)

    def refused(self) -> bool:
        """Record that the host refuses a request that is still counted: it takes as many as it serves beside it.

        A host that refuses everything, or fewer requests than it has served at once before, has another reason.

        Returns:
            Whether the host goes on serving the others, as far as is known: then only this request has to wait.
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
                # Of requests that were sent at the same time, several may be refused: that is one refusal.
                self._refusals += is_first
                self.limit = self._most = served
            self._hold(_PAUSE_AFTER_REFUSAL * 2 ** max(0, self._refusals - 1))
            return is_one_too_many

    @contextlib.contextmanager
    def deferring(self) -> Iterator[None]:
        """Count a request that was refused, and waits in the block to be sent again."""
        with self._changed:
            self.deferred += 1
        try:
            yield
        finally:
            with self._changed:
                self.deferred -= 1

    def failed(self) -> None:
        """Record that a connection has failed: with fewer, others may not."""
        with self._changed:
            if self._adapts:
                self._shrink()

    # --- the law; the lock is held

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
            # The quickest of many: it waited for the server alone, and not for our other threads.
            self.worthwhile_for_small_files = max(2, 1 + math.ceil(min(self._latest) / _OWN_SECONDS))

    def _count_time(self, now: float) -> None:
        """Count what the requests in flight have taken since it was counted last."""
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
        """Change the limit, if this round has shown what it brings."""
        now = self._clock()
        seconds = now - self._begun
        if seconds < _SHORTEST_ROUND or (self._responses < self.limit and seconds < _ROUND_SECONDS):
            return
        self._count_time(now)
        # As if the limit had been used all the time: our own threads may have had other things to do.
        work = self._bytes + self._responses * _RESPONSE_BYTES
        rate = self.limit * work / self._request_seconds if self._request_seconds else 0.0
        # With fewer there was too little to ask for; with more, those from before the limit shrank have not ended yet.
        was_full = self._peak == self.limit
        self._begin_round(now)
        if not was_full or now < self._held_until:
            return
        if self._before is not None:
            limit, before = self._before
            if rate < before * (1 + _GAIN * (self.limit / limit - 1)):
                if self._has_second_chance:
                    # The connections that are new were being made.
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
            # One more than it took when it last refused, after a pause.
            grown = self._most = min(MOST_OF_HOST, self.limit + 1)
        self._before, self._has_second_chance = (self.limit, rate), True
        self.limit = min(grown, MOST_OF_HOST)
        self._changed.notify_all()


class Concurrency:
    """The requests of one client to all hosts; safe for several threads."""

    def __init__(self, connections: int | None, *, clock: Callable[[], float]) -> None:
        """Begin without a host.

        Args:
            connections: how many requests at once, to whatever hosts; ``None``: as many as bring more.
            clock: seconds that never go back.
        """
        self.fixed = connections
        """How many requests at once, to whatever hosts; ``None``: as many as bring more."""
        self._most = connections or MOST_OF_ALL
        self._clock = clock
        self._lock = threading.Lock()
        self._hosts: dict[str, HostConcurrency] = {}
        self._changed = threading.Condition()
        self._turns = Turns(self._changed)
        self._in_flight = 0
        """Requests that hold one of the places of all hosts."""

    def host(self, origin: str) -> HostConcurrency:
        """Return the requests to one host, named by scheme, host and port."""
        host = self._hosts.get(origin)
        if host is None:
            with self._lock:
                host = self._hosts.setdefault(origin, HostConcurrency(adapts=self.fixed is None, clock=self._clock))
        return host

    def enter(self, rank: int, check_cancelled: Callable[[], None], *, waits: bool) -> None:
        """Wait until one request more may be sent, to whatever host: see :meth:`HostConcurrency.enter`."""
        with self._changed:
            if waits:
                self._turns.wait(rank, lambda: self._in_flight < self._most, check_cancelled)
            self._in_flight += 1

    def leave(self) -> None:
        """Record the end of a request, to whatever host."""
        with self._changed:
            self._in_flight -= 1
            self._turns.notify()
