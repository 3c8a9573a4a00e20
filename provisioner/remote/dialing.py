"""Connections to hosts by name, for every client: which of a name's addresses answers is determined once.

The sockets themselves are in :mod:`provisioner.remote.sockets`, which is imported with the first connection.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from provisioner.remote.pace import Pace

if TYPE_CHECKING:
    import socket


class Dialer:
    """Makes connections, and remembers which address of a host answered; safe for several threads."""

    def __init__(self) -> None:
        """Begin without known addresses."""
        self.pace = Pace()
        self._lock = threading.Lock()
        self._good: dict[tuple[str, int], object] = {}
        """By host and port: the address that last answered."""
        self._bad: dict[tuple[str, int], set[object]] = {}
        """By host and port: addresses that accepted a connection but sent no response."""

    def dial(self, host: str, port: int, seconds: float) -> socket.socket:
        """Return a connection to one of a host's addresses, whose reads raise :class:`~provisioner.remote.pace.TooSlowError`.

        The address that answered before is tried first. If an address does not answer immediately, the next one is tried as
        well, and the first connection wins (RFC 8305).

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
        """Prefer the host's other addresses from now on, because the last connection was made but brought no response."""
        with self._lock:
            address = self._good.pop((host, port), None)
            if address is not None:
                self._bad.setdefault((host, port), set()).add(address)
