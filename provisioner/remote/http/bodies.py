"""Bodies of responses, read within the limit of bytes per second and interrupted by a cancellation."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from provisioner.remote.http.bandwidth import CHUNK
from provisioner.remote.http.errors import transport_errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provisioner.cancellation import Cancellation
    from provisioner.remote.http.bandwidth import RateLimiter
    from provisioner.remote.http.connections import Response


class BodyReader:
    """Reads bodies for all transfers of a client; safe for several threads."""

    def __init__(self, cancellation: Cancellation, rate: RateLimiter | None) -> None:
        """Begin without a read.

        Args:
            cancellation: interrupts a read at once.
            rate: the limit for all transfers, or ``None`` if there is none.
        """
        self._cancellation = cancellation
        self.rate = rate
        self._thread = threading.local()

    def parts(self, response: Response, url: str) -> Iterator[memoryview]:
        """Yield the body as it arrives; each part is valid until the next one is requested.

        Raises:
            Transient: the connection failed.
            ProvisionerError: the run must end.
        """
        buffer = self._buffer()[: self.rate.chunk if self.rate else CHUNK]
        with self._cancellation.closing(response.shutdown), transport_errors(url, self._cancellation):
            while count := response.read_into(buffer):
                self._cancellation.raise_if_requested()
                if self.rate:
                    self.rate.spend(count)
                yield buffer[:count]
            self._cancellation.raise_if_requested()

    def at_most(self, response: Response, url: str, size: int) -> bytes:
        """Return the whole body if it has at most ``size`` bytes; of a longer one, return ``size + 1`` bytes.

        Raises:
            Transient: the connection failed.
            ProvisionerError: the run must end.
        """
        with self._cancellation.closing(response.shutdown), transport_errors(url, self._cancellation):
            data = response.read(size + 1)
            if len(data) == size:
                # Reading to the end lets the connection be used again.
                data += response.read(1)
        if self.rate:
            self.rate.spend(len(data))
        return data

    def _buffer(self) -> memoryview:
        """Return this thread's buffer."""
        buffer: memoryview | None = getattr(self._thread, "buffer", None)
        if buffer is None:
            buffer = self._thread.buffer = memoryview(bytearray(CHUNK))
        return buffer
