"""The requests of one data set: a flow that shares hosts with the flows of other data sets, in the order of their ranks."""

from __future__ import annotations

import contextlib
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from provisioner.remote.http.concurrency import MOST_OF_ALL, START

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from provisioner.remote.http.concurrency import Concurrency, HostConcurrency
    from provisioner.remote.http.connections import Response
    from provisioner.remote.retry import Retry

_BUSY: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


class Flow:
    """The requests of one data set to all hosts; safe for several threads."""

    def __init__(self, concurrency: Concurrency, rank: int = 0, *, retry: Retry | None = None) -> None:
        """Begin without requests.

        Args:
            concurrency: the requests of all flows.
            rank: among waiting requests, those of the flow with the lowest rank are sent first.
            retry: knows which hosts have asked us to wait; with ``None``, no host is waited for.
        """
        self._retry = retry
        self._concurrency = concurrency
        self._rank = rank
        self._hosts: dict[str, HostConcurrency] = {}
        """Hosts that this flow has sent requests to, by origin."""

    def enter(self, origin: str, check_cancelled: Callable[[], None], *, waits: bool) -> FlowRequest:
        """Wait until one more request may be sent to a host, and return it, for its end to be recorded.

        Args:
            origin: scheme, host and port.
            check_cancelled: raises when the flow must end.
            waits: whether the limits apply; otherwise they are ignored, because running requests may be waiting for this one.
                A wait that the host has asked for is observed in either case.

        Raises:
            ProvisionerError: the flow must end.
        """
        host = self._hosts.get(origin)
        if host is None:
            host = self._hosts[origin] = self._concurrency.host(origin)
        retry, name = self._retry, origin.partition("://")[2]
        while True:
            if retry is not None:
                retry.wait_while_held(name)
            # First the limit of the host, so that the limit for all hosts is not used up while waiting for a busy host.
            begun = host.enter(check_cancelled, waits=waits, rank=self._rank)
            try:
                self._concurrency.enter(self._rank, check_cancelled, waits=waits)
            except BaseException:
                host.leave(begun, answered=False, rank=self._rank)
                raise
            request = FlowRequest(self._concurrency, host, begun, self._rank)
            if retry is None or not retry.is_held(name):
                return request
            # The host has asked us to wait while this request was waiting for its turn.
            request.end(answered=False)

    @property
    def requests_at_once(self) -> int:
        """The number of concurrent requests that is worth while for this flow now, over all its hosts."""
        fixed = self._concurrency.fixed
        if fixed is not None:
            return fixed
        hosts = self._hosts_in_use()
        # Requests that wait to be sent again leave their places to others.
        at_once = sum(host.limit_for(self._rank) + host.deferred for host in hosts)
        return min(MOST_OF_ALL, at_once) if hosts else START

    @property
    def small_files_at_once(self) -> int:
        """The number of concurrent small files that is worth while now; each host that sends some takes part of the time."""
        fixed = self._concurrency.fixed
        worthwhile = sum(
            min(host.worthwhile_for_small_files, fixed or host.limit_for(self._rank)) + host.deferred
            for host in self._hosts_in_use()
        )
        return min(self.requests_at_once, worthwhile) if worthwhile else self.requests_at_once

    def _hosts_in_use(self) -> list[HostConcurrency]:
        return [host for host in tuple(self._hosts.values()) if host.is_in_use()]


class FlowRequest:
    """One request that was sent, or is about to be sent; its end is recorded once."""

    __slots__ = ("_begun", "_concurrency", "_host", "_is_open", "_is_refused", "_is_served", "_rank")

    def __init__(self, concurrency: Concurrency, host: HostConcurrency, begun: float, rank: int) -> None:
        """Remember the values that :meth:`Flow.enter` has counted."""
        self._concurrency = concurrency
        self._host = host
        self._begun = begun
        self._rank = rank
        self._is_open = True
        self._is_served = False
        self._is_refused = False

    def answered(self, status: int) -> bool:
        """Record that the host has answered with this HTTP status; return whether it refuses only this request."""
        if status in _BUSY:
            self._is_refused = True
            return self._host.refused()
        self._is_served = True
        self._host.served()
        return False

    def add_bytes(self, count: int) -> None:
        """Count bytes that have arrived."""
        self._host.add_bytes(count)

    def refused(self) -> None:
        """Record that the host refused the connection."""
        self._is_refused = True
        self._host.refused()

    def deferred(self) -> AbstractContextManager[None]:
        """Return a context in which this request, refused by the host, waits to be sent again."""
        return self._host.deferring()

    def failed(self) -> None:
        """Record that the connection has failed."""
        self._host.failed()

    def end(self, *, answered: bool) -> None:
        """Record the end; further calls have no effect.

        Args:
            answered: whether the host has sent a response, of any kind.
        """
        if self._is_open:
            self._is_open = False
            self._concurrency.leave()
            self._host.leave(self._begun, answered=answered, served=self._is_served, refused=self._is_refused, rank=self._rank)


class CountedResponse:
    """A response whose bytes and end are recorded for its flow."""

    def __init__(self, inner: Response, request: FlowRequest) -> None:
        """Wrap ``inner``, the response to ``request``."""
        self.status: int = inner.status
        self.headers: Mapping[str, str] = inner.headers
        self._inner = inner
        self._request = request
        self.is_one_too_many = request.answered(inner.status)
        """Whether the host refuses this request because of those that it is serving."""
        self.while_waiting = request.deferred if self.is_one_too_many else contextlib.nullcontext
        """Returns a context in which it waits to be sent again."""

    def read_into(self, view: memoryview) -> int:
        """Read what has arrived into ``view``; see :class:`provisioner.remote.http.connections.Response`."""
        try:
            count = self._inner.read_into(view)
        except Exception:
            self._request.failed()
            raise
        self._request.add_bytes(count)
        return count

    def read(self, count: int) -> bytes:
        """Return ``count`` bytes, or fewer at the end of the body."""
        data = self._inner.read(count)
        self._request.add_bytes(len(data))
        return data

    def drain(self) -> None:
        """Read the rest, so that the connection can be used again."""
        self._inner.drain()

    def shutdown(self) -> None:
        """Interrupt a read in which another thread is waiting."""
        self._inner.shutdown()

    def close(self) -> None:
        """Keep the connection if the body was read to its end, else close it; the request has then ended."""
        self._inner.close()
        self._request.end(answered=True)

    def __del__(self) -> None:
        # A response that was never closed must not block other requests.
        with contextlib.suppress(Exception):
            self.close()
