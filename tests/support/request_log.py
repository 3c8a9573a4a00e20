"""A log of the requests to the test server and of its answers."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(slots=True)
class Entry:
    """One request. While it is being answered, `done` is false and the rest may still change."""

    number: int
    time: float
    """Time of arrival, as Unix time."""
    origin: str
    """`hub` or `cdn`."""
    method: str
    path: str
    """Decoded, without the query."""
    query: str
    range: str | None
    """The `Range` header."""
    authorization: bool
    """Whether credentials were sent; the credentials themselves are not kept."""
    user_agent: str
    if_range: str | None = None
    """The `If-Range` header."""
    status: int | None = None
    """None if no status line was sent."""
    bytes_sent: int = 0
    """Body bytes that were passed to the network."""
    faults: tuple[str, ...] = ()
    """Kinds of the faults that happened to this request."""
    held: bool = False
    """Whether it is waiting at a gate."""
    refused: bool = False
    """Whether it was refused because too many requests were being answered."""
    done: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the entry as plain values."""
        return {**asdict(self), "faults": list(self.faults)}


class RequestLog:
    """All requests in the order in which they came; safe for use by many threads."""

    def __init__(self) -> None:
        """Begin empty."""
        self._changed = threading.Condition()
        self._entries: list[Entry] = []
        self._numbers = 0

    def begin(
        self,
        *,
        origin: str,
        method: str,
        path: str,
        query: str,
        range_header: str | None,
        authorization: bool,
        user_agent: str,
        if_range: str | None = None,
    ) -> Entry:
        """Record that a request has arrived."""
        with self._changed:
            self._numbers += 1
            entry = Entry(
                self._numbers, time.time(), origin, method, path, query, range_header, authorization, user_agent, if_range
            )
            self._entries.append(entry)
            self._changed.notify_all()
            return entry

    def update(
        self,
        entry: Entry,
        *,
        status: int | None = None,
        sent: int = 0,
        fault: str | None = None,
        held: bool | None = None,
        done: bool = False,
    ) -> None:
        """Update the entry of a request; `sent` is added to the bytes sent before."""
        with self._changed:
            entry.status = status if status is not None else entry.status
            entry.bytes_sent += sent
            entry.faults += (fault,) if fault else ()
            entry.held = entry.held if held is None else held
            entry.done = entry.done or done
            if held is not None or done:
                self._changed.notify_all()

    def is_crowded(self, entry: Entry, path: str, most: int) -> bool:
        """Return whether ``most`` other requests for the path are being answered; if so, mark this one as refused."""
        with self._changed:
            busy = [each for each in self._entries if each is not entry and not each.done and _matches(each, path, "*", "*")]
            crowded = sum(not each.refused for each in busy) >= most
            entry.refused = crowded
            return crowded

    def clear(self) -> None:
        """Forget all requests so far."""
        with self._changed:
            self._entries.clear()

    def entries(self, path: str = "*", *, method: str = "*", origin: str = "*", settle: float = 5.0) -> tuple[Entry, ...]:
        """Return copies of the entries whose path, method and origin match the globs.

        A client may have the last byte before the server has counted it, so this waits (`settle` seconds at most)
        until every request is either answered or held at a gate.
        """
        with self._changed:
            self._changed.wait_for(lambda: all(each.done or each.held for each in self._entries), settle)
            return tuple(replace(each) for each in self._entries if _matches(each, path, method, origin))

    def wait_for(self, condition: Callable[[tuple[Entry, ...]], bool], timeout: float = 30.0) -> bool:
        """Wait until the entries fulfil a condition; return false if `timeout` seconds pass first."""
        with self._changed:
            return self._changed.wait_for(lambda: condition(tuple(self._entries)), timeout)

    def wait_count(self, count: int, path: str = "*", *, method: str = "*", timeout: float = 30.0) -> bool:
        """Wait until `count` requests of that kind have arrived; return false if `timeout` seconds pass first."""
        return self.wait_for(lambda entries: sum(_matches(each, path, method, "*") for each in entries) >= count, timeout)


def _matches(entry: Entry, path: str, method: str, origin: str) -> bool:
    return fnmatchcase(entry.path, path) and fnmatchcase(entry.method, method) and fnmatchcase(entry.origin, origin)
