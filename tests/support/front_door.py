"""A reverse proxy that demands a user name and password, as in front of a site's own mirrors."""

from __future__ import annotations

import base64
import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

_DROPPED: Final = {"transfer-encoding", "connection"}


class FrontDoor:
    """Demands Basic authentication and forwards requests; ``/moved/…`` redirects to itself, ``/away/…`` to the upstream."""

    def __init__(self, upstream: str, user: str, password: str) -> None:
        """Listen on a free port.

        Args:
            upstream: scheme, host and port of the upstream server.
            user: the accepted user name.
            password: the user's password.
        """
        self.user, self.password = user, password
        self.basic = base64.b64encode(f"{user}:{password}".encode()).decode()
        self.refused: list[str] = []
        """Paths that were requested without the right password."""
        self.passed: list[str] = []
        self.bytes_left: int | None = None
        """How many more bytes are forwarded before every connection is broken, or ``None`` for no limit."""
        self.cut = 0
        """Number of connections that were broken."""
        door = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                door._answer(self, upstream)

            do_HEAD = do_POST = do_GET  # noqa: N815 - the library's names

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def address(self) -> str:
        """Its URL without credentials."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def with_login(self) -> str:
        """Its URL with user and password."""
        return f"http://{quote(self.user, safe='')}:{quote(self.password, safe='')}@127.0.0.1:{self._server.server_port}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return the strings that must not appear in any output."""
        return self.password, quote(self.password, safe=""), self.basic

    def _answer(self, asked: BaseHTTPRequestHandler, upstream: str) -> None:
        body = asked.rfile.read(int(asked.headers.get("Content-Length") or 0))
        if asked.headers.get("Authorization") != f"Basic {self.basic}":
            self.refused.append(asked.path)
            self._say(asked, 401, {"WWW-Authenticate": 'Basic realm="door"'}, b"")
            return
        self.passed.append(asked.path)
        for prefix, target in (("/moved/", self.address), ("/away/", upstream)):
            if asked.path.startswith(prefix):
                self._say(asked, 302, {"Location": f"{target}/{asked.path.removeprefix(prefix)}"}, b"")
                return
        behind = http.client.HTTPConnection(urlsplit(upstream).netloc, timeout=30)
        headers = {name: value for name, value in asked.headers.items() if name.lower() not in {"authorization", "host"}}
        behind.request(asked.command, asked.path, body, headers)
        answer = behind.getresponse()
        self._say(asked, answer.status, {k: v for k, v in answer.getheaders() if k.lower() not in _DROPPED}, answer.read())
        behind.close()

    def _say(self, asked: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes) -> None:
        asked.send_response_only(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            asked.send_header(name, value)
        asked.end_headers()
        if asked.command == "HEAD":
            return
        if self.bytes_left is not None:
            body, whole = body[: self.bytes_left], len(body)
            self.bytes_left -= len(body)
            asked.close_connection = len(body) < whole
            self.cut += len(body) < whole
        asked.wfile.write(body)
