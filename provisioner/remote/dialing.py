"""Connections to hosts by name, for every client: which of a name's addresses answers is found out once.

The sockets themselves are in :mod:`provisioner.remote.sockets`, which is imported with the first connection.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import socket

SLOW_SECONDS: Final = 30.0
"""So long a connection may be waited for in all before what it brought is counted."""
SLOW_BYTES: Final = 30_000
"""A line that brings fewer bytes than this in :data:`SLOW_SECONDS` of waiting, over all connections of a run, has failed.

That is 1,000 bytes a second, the limit that package managers and ``git`` use as well: a poor line brings more, and a
server that sends a byte now and then does not. Only waiting counts, not what we do with the bytes, and bytes of other
connections count as well, so that many connections may share a slow line.
"""


class TooSlowError(TimeoutError):
    """A connection brought next to nothing for a long time."""


@dataclass(slots=True)
class Pace:
    """What the connections of a run bring, together."""

    seconds: float = SLOW_SECONDS
    least: int = SLOW_BYTES
    total: int = 0
    """Bytes that all connections have brought; nearly exact, since threads count without a lock."""


class Dialer:
    """Makes connections, and remembers which address of a name answered; safe for several threads."""

    def __init__(self) -> None:
        """Know no address yet."""
        self.pace = Pace()
        self._lock = threading.Lock()
        self._good: dict[tuple[str, int], object] = {}
        """By host and port: the address that answered last."""
        self._bad: dict[tuple[str, int], set[object]] = {}
        """By host and port: addresses that were connected and gave no answer."""

    def dial(self, host: str, port: int, seconds: float) -> socket.socket:
        """Return a connection to one of a host's addresses, for reads that raise :class:`TooSlowError`.

        The address that answered before comes first. If an address does not answer at once, the next one is asked as well,
        and the first connection wins (RFC 8305).

        Raises:
            OSError: the name has no address, or no address answers within ``seconds``.
        """
        from provisioner.remote import sockets  # noqa: PLC0415 - a start with nothing to do must not pay for it

        addresses = sockets.addresses_of(host, port)
        key = (host, port)
        if len(addresses) > 1:
            with self._lock:
                good, bad = self._good.get(key), set(self._bad.get(key, ()))
            addresses.sort(key=lambda address: (address.address != good, address.address in bad))
        sock, address = sockets.connect_any(addresses, seconds, self.pace)
        if len(addresses) > 1:
            with self._lock:
                self._good[key] = address.address
        return sock

    def avoid(self, host: str, port: int) -> None:
        """Ask the host's other addresses first from now on: a connection to the latest one was made and gave no answer."""
        with self._lock:
            address = self._good.pop((host, port), None)
            if address is not None:
                self._bad.setdefault((host, port), set()).add(address)
