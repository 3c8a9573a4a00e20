"""A forward proxy that records what passed through it.

`CONNECT` opens a tunnel (https), absolute URLs are forwarded (http). `routes` maps names to other addresses, so
that a test can use host names that exist nowhere: connections to them that bypass the proxy fail.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import socket
import socketserver
import sys
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final, Self, cast
from urllib.parse import urlsplit

from tests.support.readable import readable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

_PIECE: Final = 64 * 1024
_SINGLE_HOP: Final = frozenset(
    [
        "connection",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ]
)


@dataclass(frozen=True, slots=True)
class Passed:
    """A request that the proxy received."""

    method: str
    host: str
    port: int
    path: str
    """Empty for a tunnel, whose content the proxy cannot see."""
    authorization: bool
    """Whether credentials for the proxy were sent."""


class ProxyServer:
    """The proxy; a context manager like the test Hub."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        routes: Mapping[str, tuple[str, int]] | None = None,
        credentials: tuple[str, str] | None = None,
    ) -> None:
        """Listen. `routes` maps `HOST` or `HOST:PORT` to an address; `credentials` (user, password) are required."""
        self.routes = dict(routes or {})
        self._wanted = "Basic " + base64.b64encode(":".join(credentials).encode()).decode() if credentials is not None else None
        self._lock = threading.Lock()
        self._passed: list[Passed] = []
        self._server = _Listener(self, host, port)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="proxy", daemon=True)

    @property
    def url(self) -> str:
        """Return the URL for `HTTP_PROXY` and `HTTPS_PROXY`."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    @property
    def passed(self) -> tuple[Passed, ...]:
        """All requests so far, in the order in which they came."""
        with self._lock:
            return tuple(self._passed)

    def start(self) -> Self:
        """Begin to serve."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop, and close every tunnel."""
        self._server.shutdown()
        self._server.server_close()
        self._server.cut()
        self._thread.join()

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop."""
        self.stop()

    def note(self, passed: Passed) -> None:
        """Record a request."""
        with self._lock:
            self._passed.append(passed)

    def allows(self, header: str | None) -> bool:
        """Return whether the credentials are the required ones."""
        return self._wanted is None or header == self._wanted

    def address(self, host: str, port: int) -> tuple[str, int]:
        """Return the address for a name."""
        return self.routes.get(f"{host}:{port}") or self.routes.get(host) or (host, port)


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, proxy: ProxyServer, host: str, port: int) -> None:
        self.proxy = proxy
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__((host, port), _ProxyHandler)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        with self._lock:
            self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        with self._lock:
            self._open.discard(cast("socket.socket", request))
        super().shutdown_request(request)

    def cut(self) -> None:
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _ProxyHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Listener

    def do_CONNECT(self) -> None:
        host, _, port = self.path.rpartition(":")
        if not self._admitted(host.strip("[]"), int(port), ""):
            return
        try:
            upstream = socket.create_connection(self.server.proxy.address(host.strip("[]"), int(port)), timeout=10)
        except OSError as error:
            self.send_error(502, str(error))
            return
        with upstream:
            self.send_response_only(200, "Connection established")
            self.end_headers()
            self.close_connection = True
            upstream.settimeout(None)
            self._tunnel(upstream)

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        host, port = url.hostname or "", url.port or 80
        path = url.path or "/"
        if not self._admitted(host, port, path):
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        address, address_port = self.server.proxy.address(host, port)
        upstream = http.client.HTTPConnection(address, address_port, timeout=60)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _SINGLE_HOP}
            target = f"{path}?{url.query}" if url.query else path
            upstream.request(self.command, target, body or None, headers)
            self._relay(upstream.getresponse())
        except (OSError, http.client.HTTPException):
            self.close_connection = True
        finally:
            upstream.close()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - named by http.server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named by http.server
        """Stay silent."""

    def _admitted(self, host: str, port: int, path: str) -> bool:
        credentials = self.headers.get("Proxy-Authorization")
        self.server.proxy.note(Passed(self.command, host, port, path, authorization=credentials is not None))
        if self.server.proxy.allows(credentials):
            return True
        self.send_response(407)
        self.send_header("Proxy-Authenticate", 'Basic realm="proxy"')
        self.send_header("Content-Length", "0")
        self.end_headers()
        return False

    def _relay(self, response: http.client.HTTPResponse) -> None:
        """Forward an answer as it arrives; if it ends early, the forwarded one does too."""
        self.send_response_only(response.status, response.reason)
        for name, value in response.getheaders():
            if name.lower() not in _SINGLE_HOP:
                self.send_header(name, value)
        if response.getheader("Content-Length") is None:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        left = response.length
        while piece := response.read(_PIECE):
            self.wfile.write(piece)
            left = None if left is None else left - len(piece)
        if left and self.command != "HEAD":
            self.close_connection = True

    def _tunnel(self, upstream: socket.socket) -> None:
        other = {self.connection: upstream, upstream: self.connection}
        while True:
            sides = readable(list(other))
            for side in sides:
                piece = side.recv(_PIECE)
                if not piece:
                    return
                other[side].sendall(piece)
