"""Strict detection of the end of a response's body: chunks, and connections that TLS must end (RFC 9112, section 6.3).

The library accepts any Python number as the length of a chunk, and skips whatever follows a chunk. A file without a known
size and digest could then be truncated without notice.
"""

from __future__ import annotations

import http.client
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import socket

_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\n]*)?\r?\n")
_MAX_LINE: Final = 65_536
_MAX_TRAILERS: Final = 100


class FramedResponse(http.client.HTTPResponse):
    """The library's response, with a body that either ends as the protocol requires or raises an error."""

    def __init__(self, sock: socket.socket, *arguments: Any, **keywords: Any) -> None:  # noqa: ANN401 - as the base class
        super().__init__(sock, *arguments, **keywords)
        self._of_socket = sock

    def begin(self) -> None:
        """Read the status line and the header fields.

        Raises:
            http.client.HTTPException: this is not an HTTP response.
            OSError: the connection failed.
        """
        super().begin()
        self.expect_end()

    def expect_end(self) -> None:
        """Require TLS to confirm the end of a body that ends with the connection, since anybody can cut a connection."""
        if self.length is None and not self.chunked and hasattr(self._of_socket, "suppress_ragged_eofs"):
            self._of_socket.suppress_ragged_eofs = False

    # The library calls the following three methods; there is no public way to replace them.

    def _get_chunk_left(self) -> int | None:
        if self.chunk_left:
            return self.chunk_left
        if self.chunk_left is not None and (line := self.fp.readline(3)) not in {b"\r\n", b"\n"}:
            raise http.client.HTTPException(f"a chunk of the body is followed by {line!r}")
        self.chunk_left = self._read_next_chunk_size() or None
        if self.chunk_left is None:
            self._read_and_discard_trailer()
            self._close_conn()  # type: ignore[attr-defined]
        return self.chunk_left

    def _read_next_chunk_size(self) -> int:
        line = self.fp.readline(_MAX_LINE + 1)
        found = _CHUNK.fullmatch(line)
        if found is None:
            problem = f"the length of a chunk of the body is {line[:40]!r}" if line else "the connection ended within the body"
            raise http.client.HTTPException(problem)
        return int(found[1], 16)

    def _read_and_discard_trailer(self) -> None:
        for _ in range(_MAX_TRAILERS):
            line = self.fp.readline(_MAX_LINE + 1)
            if len(line) > _MAX_LINE:
                raise http.client.LineTooLong("trailer line")
            # Some servers close the connection here, directly after the last chunk.
            if line in {b"\r\n", b"\n", b""}:
                return
        raise http.client.HTTPException(f"more than {_MAX_TRAILERS} trailer fields")
