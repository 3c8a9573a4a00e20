"""Clients of the progress page."""

from __future__ import annotations

import http.client
import json
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.support.program import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from email.message import Message


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@dataclass(frozen=True)
class Answer:
    """What the page's server answered."""

    status: int
    headers: Message
    body: bytes

    @property
    def text(self) -> str:
        """Its body."""
        return self.body.decode()

    @property
    def json(self) -> Any:
        """Its body, which must be JSON."""
        return json.loads(self.body)


class PageClient:
    """Asks the page's server on one port, with a connection for each request."""

    def __init__(self, port: int) -> None:
        """Ask nothing yet."""
        self.port = port

    def get(
        self, path: str, headers: Mapping[str, str] | None = None, *, method: str = "GET", body: bytes | None = None
    ) -> Answer:
        """Send a request, with the path as it stands."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.putrequest(method, path, skip_host="Host" in (headers or {}))
            for name, value in (headers or {}).items():
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def is_up(self) -> bool:
        """Return whether something answers."""
        try:
            return self.get("/healthz").status == 200
        except OSError:
            return False

    def wait_up(self) -> None:
        """Wait until the page answers."""
        wait_until(self.is_up, "the page answers")

    def events(self, path: str = "/events") -> Events:
        """Open a stream of events."""
        return Events(self.port, path)


class Events:
    """A stream of server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

    def __init__(self, port: int, path: str) -> None:
        """Send the request, and read the head of the response."""
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self._connection.request("GET", path)
        self._response = self._connection.getresponse()
        self.status = self._response.status
        self.content_type = self._response.headers["Content-Type"]

    def next(self) -> tuple[str, str] | None:
        """Return the kind and the data of the next event; ``None``: the stream has ended as it should."""
        kind, data = "message", ""
        while line := self._response.readline():
            text = line.decode().rstrip("\n")
            if not text and data:
                return kind, data
            name, _, value = text.partition(": ")
            kind = value if name == "event" else kind
            data = value if name == "data" else data
        self.close()
        return None

    def close(self) -> None:
        """Close the connection."""
        self._response.close()
        self._connection.close()
