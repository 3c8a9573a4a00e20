"""A proxy on loopback that makes a server seem far away: a round trip, a rate for each connection, a limit of connections.

    python -m benchmarks.distance --round-trip 0.08 --rate 20000000 LISTEN:TARGET ...

Each pair of ports on 127.0.0.1 is one way through. What one side sends reaches the other half a round trip later, in order. A
new connection costs one round trip more, as the handshake of TCP does; congestion control is not imitated. With ``--most N`` a
connection beyond the Nth to one target is answered with 429 and closed, as busy hosts do.

A line on standard output for each refused connection says so.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import deque
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MOST_QUEUED: Final = 4 << 20
"""Bytes on their way in one direction of a connection, at most: more than 20 MB/s times 80 ms."""
REFUSAL: Final = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"


class Way:
    """One direction of a connection: what is put in comes out later, in order."""

    def __init__(self, delay: float, rate: float | None) -> None:
        """Start empty.

        Args:
            delay: seconds that everything is on its way.
            rate: bytes a second; ``None``: as many as come.
        """
        self.delay = delay
        self._rate = rate
        self._free_at = 0.0
        self._queue: deque[tuple[float, bytes]] = deque()
        self.queued = 0
        """Bytes on their way."""

    def put(self, data: bytes, now: float, extra: float = 0.0) -> float:
        """Send data off at ``now``, and return when it arrives; no bytes are the end of all."""
        due = now + self.delay + extra
        if self._rate is not None:
            self._free_at = max(self._free_at, now) + len(data) / self._rate
            due = max(due, self._free_at + self.delay + extra)
        if self._queue:
            due = max(due, self._queue[-1][0])
        self._queue.append((due, data))
        self.queued += len(data)
        return due

    def take(self, now: float) -> list[bytes]:
        """Return what has arrived."""
        arrived = []
        while self._queue and self._queue[0][0] <= now:
            _, data = self._queue.popleft()
            self.queued -= len(data)
            arrived.append(data)
        return arrived

    @property
    def next_at(self) -> float | None:
        """When the next of it arrives; ``None``: nothing is on its way."""
        return self._queue[0][0] if self._queue else None


class End(asyncio.Protocol):
    """One end of a connection through the proxy; what it receives goes to the other end."""

    def __init__(self, way: Way, ended: Callable[[], None]) -> None:
        """Prepare: ``way`` leads away from this end, and ``ended`` is called when the connection is lost."""
        self._way = way
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._is_paused = False
        self.is_blocked = False
        self.extra = 0.0
        """Seconds that the first bytes take longer."""
        self.transport: asyncio.Transport | None = None
        self.other: End | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Send it off to the other end."""
        self._way.put(data, self._loop.time(), self.extra)
        self.extra = 0.0
        if self._way.queued > MOST_QUEUED and self.transport is not None and not self._is_paused:
            self._is_paused = True
            self.transport.pause_reading()
        self.deliver()

    def eof_received(self) -> bool:
        """Let the other end know, in its turn."""
        self._way.put(b"", self._loop.time())
        self.deliver()
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """End the other end as well, after what is on its way."""
        self._ended()
        self._way.put(b"", self._loop.time())
        self.deliver()

    def pause_writing(self) -> None:
        """Hold back what the other end sends: this end does not read it."""
        if self.other is not None:
            self.other.is_blocked = True

    def resume_writing(self) -> None:
        """Go on."""
        if self.other is not None:
            self.other.is_blocked = False
            self.other.deliver()

    def deliver(self) -> None:
        """Hand the other end what has arrived, and come again when more has."""
        other = self.other
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if other is None or other.transport is None or self.is_blocked:
            return
        for data in self._way.take(self._loop.time()):
            if data:
                other.transport.write(data)
            else:
                other.transport.close()
        if self._is_paused and self._way.queued < MOST_QUEUED // 2 and self.transport is not None:
            self._is_paused = False
            self.transport.resume_reading()
        if (due := self._way.next_at) is not None:
            self._timer = self._loop.call_at(due, self.deliver)


class Refusing(asyncio.Protocol):
    """A connection too many: its first request is answered with 429."""

    def __init__(self, delay: float) -> None:
        """Prepare; the answer comes ``delay`` seconds after the request."""
        self._delay = delay
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:  # noqa: ARG002
        """Refuse."""
        transport = self._transport
        if transport is not None:
            self._transport = None
            print("refused", flush=True)
            asyncio.get_running_loop().call_later(self._delay, _refuse, transport)


def _refuse(transport: asyncio.Transport) -> None:
    transport.write(REFUSAL)
    transport.close()


class Distance:
    """The proxy for one target."""

    def __init__(self, target: int, *, round_trip: float, rate: float | None, most: int | None) -> None:
        """Prepare.

        Args:
            target: the port on loopback that everything is for.
            round_trip: seconds.
            rate: bytes a second of one connection, towards the client; ``None``: no limit.
            most: connections at once; ``None``: any number.
        """
        self._target = target
        self._round_trip = round_trip
        self._rate = rate
        self._most = most
        self._open = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def accept(self) -> asyncio.Protocol:
        """Return what serves a new connection."""
        if self._most is not None and self._open >= self._most:
            return Refusing(2 * self._round_trip)
        self._open += 1
        half = self._round_trip / 2
        near = End(Way(half, None), self._ended)
        near.extra = self._round_trip
        task = asyncio.get_running_loop().create_task(self._connect(near, Way(half, self._rate)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return near

    def _ended(self) -> None:
        self._open -= 1

    async def _connect(self, near: End, back: Way) -> None:
        loop = asyncio.get_running_loop()
        far = End(back, lambda: None)
        far.other = near
        await loop.create_connection(lambda: far, "127.0.0.1", self._target)
        near.other = far
        near.deliver()


async def serve(pairs: Sequence[tuple[int, int]], *, round_trip: float, rate: float | None, most: int | None) -> None:
    """Serve until this is cancelled; a line says when everything listens."""
    loop = asyncio.get_running_loop()
    for port, target in pairs:
        distance = Distance(target, round_trip=round_trip, rate=rate, most=most)
        await loop.create_server(distance.accept, "127.0.0.1", port, backlog=1024)
    print("listening", flush=True)
    await asyncio.Event().wait()


def main(arguments: Sequence[str]) -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.distance", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pairs", nargs="+", metavar="LISTEN:TARGET", help="ports on 127.0.0.1")
    parser.add_argument("--round-trip", type=float, required=True, help="seconds")
    parser.add_argument("--rate", type=float, help="bytes a second of one connection")
    parser.add_argument("--most", type=int, help="connections at once; 429 beyond")
    options = parser.parse_args(arguments)
    pairs = [(int(port), int(target)) for port, _, target in (pair.partition(":") for pair in options.pairs)]
    asyncio.run(serve(pairs, round_trip=options.round_trip, rate=options.rate, most=options.most))


if __name__ == "__main__":
    main(sys.argv[1:])
