"""Clients of the progress page, and a paused run for them to watch."""

from __future__ import annotations

import http.client
import json
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from prometheus_client.parser import text_string_to_metric_families

from tests.support.media import noise
from tests.support.program import PATIENCE, wait_until
from tests.support.shelf import some_files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from email.message import Message

    from tests.support.hub_server import HubServer
    from tests.support.program import Running
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume

MB: Final = 10**6
OTHERS: Final = ("small", "gone", "closed")
"""The data sets of :func:`offer_four`, except the large one."""


def free_port() -> int:
    """Return a port on which nothing listens now."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@dataclass(frozen=True)
class Answer:
    """A response of the page's server."""

    status: int
    headers: Message
    body: bytes

    @property
    def text(self) -> str:
        """Return its body as text."""
        return self.body.decode()

    @property
    def json(self) -> Any:
        """Return its body, which must be JSON."""
        return json.loads(self.body)


class PageClient:
    """Sends requests to the page's server on one port, each on a connection of its own."""

    def __init__(self, port: int) -> None:
        """Remember the port; no connection is opened yet."""
        self.port = port

    def get(
        self, path: str, headers: Mapping[str, str] | None = None, *, method: str = "GET", body: bytes | None = None
    ) -> Answer:
        """Send a request with the path unchanged."""
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
        """Return the kind and the data of the next event, or ``None`` if the stream has ended properly."""
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


def offer_four(shelf: Shelf) -> None:
    """Fill a catalog with a small data set, a large one, a missing one, and one whose licence is not accepted."""
    shelf.add("small", shelf.file("small.tar.gz", some_files("small")), priority=5)
    shelf.add("big", shelf.raw("big.bin", noise("big", 4 * MB)), priority=2, title="Big <i>& bold</i>", commercial="verify")
    gone = shelf.raw("gone.bin", b"gone") | {"url": "https://files.example.org/nowhere.bin"}
    shelf.add("gone", gone, priority=4, optional=True)
    shelf.add("closed", shelf.raw("closed.bin", b"closed"), commercial="forbidden")


class Held:
    """A run that is stopped halfway through a file until it is told to go on."""

    def __init__(self, volume: Volume, hub: HubServer, *app: str, **settings: str) -> None:
        """Start the run, and wait until it has reached that point and its page answers."""
        self.gate = hub.faults.gate(hub.faults.add("gate", path="*big.bin", after=2 * MB, gate="half").gate)
        settings = {"PROGRESS_PORT": str(free_port()), "CONNECTIONS": "4", **settings}
        self.page = PageClient(int(settings["PROGRESS_PORT"]))
        self.run: Running = volume.start(*app, **settings)
        assert self.gate.wait_reached()
        self.page.wait_up()
        wait_until(lambda: self.status()["datasets"]["big"]["bytes_done"] == 2 * MB, "half of it is here")
        others = ["ready", "failed", "skipped"]
        wait_until(lambda: [self.status()["datasets"][name]["state"] for name in OTHERS] == others, "the others are done")

    def status(self) -> Any:
        """Return the status document that the page shows."""
        return self.page.get("/status.json").json

    def metrics(self) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
        """Return the metrics as the official parser reads them: by name, then by labels."""
        found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
        for family in text_string_to_metric_families(self.page.get("/metrics").text):
            for sample in family.samples:
                found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
        return found
