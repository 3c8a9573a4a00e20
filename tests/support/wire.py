"""HTTP/1.1 for the test server: requests, answers, ranges, and bodies that can go wrong.

Built on :mod:`http.server`, which parses the requests; the answers are written by this module, because an answer must be
able to break at an exact byte.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import socketserver
import struct
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol, cast
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.faults import BODY_KINDS, HOLDING_KINDS, REQUEST_KINDS, FaultBook, Kind, Quota, Rule, Span
from tests.support.hub_model import Refusal

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping

    from tests.support.request_log import Entry, RequestLog

CONTROL: Final = "/_test/"
"""Prefix of the paths that control the server; they are not logged and have no faults."""

_SLICE: Final = 256 * 1024
_INVERTED: Final = bytes(byte ^ 0x55 for byte in range(256))
_RESET: Final = struct.pack("ii", 1, 0)
_DRAIN_SECONDS: Final = 2.0


class HangUp(Exception):  # noqa: N818 - not an error of ours
    """The connection ends here, in an orderly way or with a reset."""

    def __init__(self, *, reset: bool) -> None:
        """End the connection; `reset` sends RST instead of FIN."""
        super().__init__("reset" if reset else "close")
        self.reset = reset


@dataclass(slots=True)
class Request:
    """A parsed request."""

    origin: str
    method: str
    raw_path: str
    path: str
    """Decoded, without the query."""
    query: dict[str, list[str]]
    raw_query: str
    headers: Mapping[str, str]
    body: bytes
    base_url: str
    """Scheme, host and port with which the client reached this origin."""

    @property
    def segments(self) -> list[str]:
        """Return the path's segments, each decoded separately (so that `%2F` within one is preserved)."""
        return [unquote(part) for part in self.raw_path.strip("/").split("/")]

    def flag(self, name: str) -> bool:
        """Return whether a query parameter is present and true."""
        return self.query.get(name, ["false"])[-1].lower() in {"true", "1", ""}

    def json(self) -> dict[str, Any]:
        """Return the body as a JSON object; anything else is an error."""
        try:
            document = json.loads(self.body or b"{}")
        except ValueError as error:
            raise Refusal(400, None, f"not JSON: {error}") from error
        if not isinstance(document, dict):
            raise Refusal(400, None, "a JSON object is expected")
        return document


@dataclass(slots=True)
class Body:
    """Part of a file (or of some bytes), read only when it is sent."""

    content: bytes | Path
    start: int
    length: int
    changed: bool = False
    """Send other bytes than the file's, as for a file that changed upstream."""

    def pieces(self, start: int, stop: int, size: int) -> Iterator[bytes]:
        """Yield the bytes from `start` to `stop` (counted from the beginning of this part) in pieces of `size`."""
        if isinstance(self.content, bytes):
            for position in range(start, stop, size):
                piece = self.content[self.start + position : self.start + min(position + size, stop)]
                yield piece.translate(_INVERTED) if self.changed else piece
            return
        with self.content.open("rb") as stream:
            stream.seek(self.start + start)
            position = start
            while position < stop and (piece := stream.read(min(size, stop - position))):
                position += len(piece)
                yield piece.translate(_INVERTED) if self.changed else piece


@dataclass(slots=True)
class Answer:
    """A status, headers and a body."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: Body = field(default_factory=lambda: Body(b"", 0, 0))

    @classmethod
    def of_bytes(cls, status: int, content: bytes, content_type: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Answer with bytes."""
        return cls(status, {"Content-Type": content_type, **(headers or {})}, Body(content, 0, len(content)))

    @classmethod
    def of_json(cls, document: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
        """Answer with JSON."""
        content = json.dumps(document, ensure_ascii=False).encode()
        return cls.of_bytes(status, content, "application/json; charset=utf-8", headers)

    @classmethod
    def of_refusal(cls, refusal: Refusal) -> Answer:
        """Make an answer from an error, in the Hub's wording."""
        headers = {"X-Error-Message": refusal.message, **refusal.headers}
        if refusal.code:
            headers["X-Error-Code"] = refusal.code
        return cls.of_json({"error": refusal.message}, refusal.status, headers)


@dataclass(frozen=True, slots=True)
class Resource:
    """A file with its HTTP attributes."""

    content: bytes | Path
    size: int
    etag: str
    modified: float
    content_type: str = "application/octet-stream"
    headers: Mapping[str, str] = field(default_factory=dict)


def serve_resource(request: Request, resource: Resource, *, ignore_range: bool, changed: bool) -> Answer:
    """Answer a GET or HEAD for a file: conditions, ranges, validators."""
    if changed:
        resource = replace(resource, etag=f"changed-{resource.etag}", modified=resource.modified + 86400)
    etag = f'"{resource.etag}"'
    date = formatdate(resource.modified, usegmt=True)
    headers = {
        "Content-Type": resource.content_type,
        **({"ETag": etag, "Last-Modified": date} if resource.etag else {}),
        "Accept-Ranges": "none" if ignore_range else "bytes",
        **resource.headers,
    }
    expected = request.headers.get("If-Match")
    if expected is not None and expected != "*" and etag not in _listed(expected):
        return Answer(HTTPStatus.PRECONDITION_FAILED, headers)
    unwanted = request.headers.get("If-None-Match")
    if unwanted is not None and (unwanted == "*" or etag in _listed(unwanted)):
        return Answer(HTTPStatus.NOT_MODIFIED, headers)
    whole = Answer(HTTPStatus.OK, headers, Body(resource.content, 0, resource.size, changed))
    wanted = request.headers.get("Range")
    condition = request.headers.get("If-Range")
    if wanted is None or ignore_range or (condition is not None and condition not in {etag, date}):
        return whole
    span = parse_range(wanted, resource.size)
    if span is None:
        return whole
    if span.length <= 0:
        headers["Content-Range"] = f"bytes */{resource.size}"
        return Answer(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers)
    headers["Content-Range"] = f"bytes {span.start}-{span.start + span.length - 1}/{resource.size}"
    return Answer(HTTPStatus.PARTIAL_CONTENT, headers, Body(resource.content, span.start, span.length, changed))


def parse_range(header: str, size: int) -> Span | None:
    """Read a `Range` header with one range.

    None if it is to be ignored (not bytes, several ranges, malformed); length 0 if it cannot be satisfied.
    """
    unit, _, spec = header.partition("=")
    first, dash, last = spec.strip().partition("-")
    if unit.strip().lower() != "bytes" or not dash or not (first + last).isdigit():
        return None
    if not first:
        length = min(int(last), size)
        return Span(size - length, length)
    start = int(first)
    stop = min(int(last) + 1, size) if last else size
    if last and int(last) < start:
        return None
    return Span(start, max(0, stop - start))


def _listed(header: str) -> list[str]:
    return [each.strip() for each in header.split(",")]


class Application(Protocol):
    """The object that answers the requests."""

    log: RequestLog
    faults: FaultBook
    quota: Quota
    stopping: threading.Event

    def answer(self, request: Request, fault: FaultProbe) -> Answer:
        """Answer a request; raise :class:`Refusal` for an error."""

    def control(self, request: Request) -> Answer:
        """Answer a request that controls the server."""


@dataclass(slots=True)
class FaultProbe:
    """Queries the fault book for one request, and counts the faults that happened to it."""

    book: FaultBook
    log: RequestLog
    request: Request
    entry: Entry

    def due(self, *kinds: Kind, span: Span | None = None, silent: bool = False) -> list[Rule]:
        """Return the rules of some kinds that apply to this request now."""
        request = self.request
        return self.book.due(kinds, request.origin, request.method, request.path, span, silent=silent)

    def take(self, kind: Kind) -> Rule | None:
        """Return the first applicable rule of a kind, and count it as having happened."""
        rules = self.due(kind)
        for rule in rules[:1]:
            self.fired(rule)
            return rule
        return None

    def fired(self, rule: Rule) -> None:
        """Count that a fault happened."""
        self.book.fired(rule)
        self.log.update(self.entry, fault=rule.kind)

    def hold(self, rule: Rule) -> None:
        """Make the request wait at the rule's gate."""
        self.fired(rule)
        self.log.update(self.entry, held=True)
        self.book.gate(rule.gate).hold()
        self.log.update(self.entry, held=False)


class Origin(ThreadingHTTPServer):
    """An address on which the server answers: the Hub itself, or its CDN."""

    request_queue_size = 128
    daemon_threads = True

    def __init__(self, application: Application, name: str, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        """Listen on an address; port 0 stands for any free port."""
        self.application = application
        self.name = name
        self.tls = tls
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__((host, port), Handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), name=f"{name}-origin", daemon=True)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self.server_address[1]

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering and close every connection."""
        if self._thread.is_alive():
            self.shutdown()
            self._thread.join()
        self.server_close()
        with self._open_lock:
            connections = list(self._open)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def server_bind(self) -> None:
        """Bind without a reverse DNS lookup of this machine's name."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; its own thread does the TLS handshake."""
        connection, address = super().get_request()
        if self.tls is not None:
            connection = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with self._open_lock:
            self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        """Close a connection with FIN, or with RST if that was requested."""
        connection = cast("socket.socket", request)
        with self._open_lock:
            self._open.discard(connection)
        with contextlib.suppress(OSError):
            if connection.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, len(_RESET)) != _RESET:
                connection.shutdown(socket.SHUT_WR)
        connection.close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that went away; print any other error."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class Handler(BaseHTTPRequestHandler):
    """Reads the requests of one connection and sends the answers."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Origin

    def do_GET(self) -> None:
        """Answer a request of any method."""
        request = self._request()
        if request.path.startswith(CONTROL):
            self._send_plain(request, self._guarded(request, None))
            return
        application = self.server.application
        entry = application.log.begin(
            origin=request.origin,
            method=request.method,
            path=request.path,
            query=request.raw_query,
            range_header=request.headers.get("Range"),
            authorization="Authorization" in request.headers,
            user_agent=request.headers.get("User-Agent", ""),
            if_range=request.headers.get("If-Range"),
        )
        probe = FaultProbe(application.faults, application.log, request, entry)
        try:
            self._answer(request, probe)
        except HangUp as end:
            self.close_connection = True
            if end.reset:
                self._drain()
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        except OSError:
            self.close_connection = True
        finally:
            application.log.update(entry, done=True)

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - named by http.server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named by http.server
        """Write nothing: requests are logged in the request log."""

    def version_string(self) -> str:
        """Return the name of the server."""
        return "test-hub"

    # Reading

    def _request(self) -> Request:
        url = urlsplit(self.path)
        scheme = "https" if self.server.tls is not None else "http"
        host = self.headers.get("Host") or f"127.0.0.1:{self.server.port}"
        return Request(
            origin=self.server.name,
            method=self.command,
            raw_path=url.path,
            path=unquote(url.path),
            query=parse_qs(url.query, keep_blank_values=True),
            raw_query=url.query,
            headers=cast("Mapping[str, str]", self.headers),
            body=b"".join(self._body()),
            base_url=f"{scheme}://{host}",
        )

    def _body(self) -> Iterator[bytes]:
        reader: BinaryIO = cast("BinaryIO", self.rfile)
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            while size := int(reader.readline().partition(b";")[0], 16):
                yield reader.read(size)
                reader.readline()
            while reader.readline().strip():
                pass
            return
        yield reader.read(int(self.headers.get("Content-Length") or 0))

    # Answering

    def _answer(self, request: Request, probe: FaultProbe) -> None:
        for rule in probe.due(*BODY_KINDS, silent=True):
            self._act(rule, probe)
        early = self._early_fault(probe)
        self._send(request, early or self._guarded(request, probe), probe, sound=early is None)

    def _early_fault(self, probe: FaultProbe) -> Answer | None:
        answer: Answer | None = None
        for rule in probe.due(*REQUEST_KINDS):
            if rule.kind == "crowd":
                if not probe.log.is_crowded(probe.entry, rule.path, rule.most):
                    continue
                probe.fired(rule)
                if not rule.status:
                    raise HangUp(reset=False)
                answer = answer or _faulty_answer(rule)
            elif rule.kind in HOLDING_KINDS:
                self._act(rule, probe)
            elif rule.kind == "delay":
                probe.fired(rule)
                self.server.application.stopping.wait(rule.seconds)
            elif answer is None:
                probe.fired(rule)
                answer = _faulty_answer(rule)
        return answer

    def _guarded(self, request: Request, probe: FaultProbe | None) -> Answer:
        application = self.server.application
        try:
            return application.control(request) if probe is None else application.answer(request, probe)
        except Refusal as refusal:
            return Answer.of_refusal(refusal)

    def _send_plain(self, request: Request, answer: Answer) -> None:
        body = b"".join(answer.body.pieces(0, answer.body.length, _SLICE))
        self.connection.sendall(
            self._head(answer, {"Content-Length": str(len(body))}) + (b"" if request.method == "HEAD" else body)
        )

    def _send(self, request: Request, answer: Answer, probe: FaultProbe, *, sound: bool) -> None:
        """Send an answer; body faults apply only if it is `sound`."""
        log, entry = probe.log, probe.entry
        length = 0 if answer.status == HTTPStatus.NOT_MODIFIED else answer.body.length
        headers = {"Content-Length": str(length)}
        succeeded = sound and answer.status in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}
        if succeeded and (rule := probe.take("content_length")):
            headers["Content-Length"] = str(max(0, length + rule.offset))
        if succeeded and answer.status == HTTPStatus.PARTIAL_CONTENT and (rule := probe.take("content_range")):
            body = answer.body
            whole = answer.headers["Content-Range"].rpartition("/")[2]
            start = body.start + rule.offset
            headers["Content-Range"] = f"bytes {start}-{start + body.length - 1}/{whole}"
        if succeeded and answer.status == HTTPStatus.OK and request.method == "GET" and probe.take("gzip"):
            squeezed = gzip.compress(b"".join(answer.body.pieces(0, length, _SLICE)), mtime=0)
            answer = replace(answer, body=Body(squeezed, 0, len(squeezed)))
            length = len(squeezed)
            headers |= {"Content-Encoding": "gzip", "Content-Length": str(length)}
        if int(headers["Content-Length"]) != length:
            headers["Connection"] = "close"
            self.close_connection = True
        head = self._head(answer, headers)
        log.update(entry, status=answer.status)
        if request.method == "HEAD" or not length:
            self.connection.sendall(head)
            return
        faults = probe.due(*BODY_KINDS, span=Span(answer.body.start, length)) if succeeded else []
        hurried = not (faults or answer.body.changed or self.server.application.quota.active)
        if hurried and isinstance(answer.body.content, bytes):
            start = answer.body.start
            self.connection.sendall(head + answer.body.content[start : start + length])
            log.update(entry, sent=length)
            return
        self.connection.sendall(head)
        _Sender(self, answer.body, probe, faults).send()

    def _head(self, answer: Answer, headers: Mapping[str, str]) -> bytes:
        try:
            phrase = HTTPStatus(answer.status).phrase
        except ValueError:
            phrase = "Unknown"
        lines = [f"HTTP/1.1 {answer.status} {phrase}", f"Date: {formatdate(time.time(), usegmt=True)}"]
        lines += [f"{name}: {value}" for name, value in {**answer.headers, **headers}.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")

    def _act(self, rule: Rule, probe: FaultProbe) -> None:
        if rule.kind in HOLDING_KINDS:
            probe.hold(rule)
            if self.server.application.stopping.is_set():
                raise HangUp(reset=True)
        elif rule.kind in {"reset", "close"}:
            probe.fired(rule)
            raise HangUp(reset=rule.kind == "reset")

    def _drain(self) -> None:
        """Wait until everything sent has arrived: a reset discards what is still in transit."""
        if sys.platform != "linux":
            return
        import fcntl  # noqa: PLC0415 - not there on other systems
        import termios  # noqa: PLC0415 - likewise

        deadline = time.monotonic() + _DRAIN_SECONDS
        waiting = bytearray(4)
        with contextlib.suppress(OSError):
            while time.monotonic() < deadline:
                fcntl.ioctl(self.connection.fileno(), termios.TIOCOUTQ, waiting)
                if not any(waiting):
                    return
                self.server.application.stopping.wait(0.001)


class _Sender:
    """Sends one body, stopping at the bytes where a fault is to happen."""

    def __init__(self, handler: Handler, body: Body, probe: FaultProbe, faults: list[Rule]) -> None:
        self._handler = handler
        self._body = body
        self._probe = probe
        self._stops = sorted((rule for rule in faults if rule.kind not in {"flip", "throttle"}), key=lambda rule: rule.after or 0)
        self._flips = {rule.offset - body.start: rule for rule in faults if rule.kind == "flip"}
        throttles = [rule for rule in faults if rule.kind == "throttle"]
        for rule in throttles:
            probe.fired(rule)
        self._rate = min((rule.rate for rule in throttles), default=0)
        self._quota = handler.server.application.quota

    def send(self) -> None:
        position = 0
        for rule in self._stops:
            self._copy(position, rule.after or 0)
            position = rule.after or 0
            self._handler._act(rule, self._probe)
        self._copy(position, self._body.length)

    def _copy(self, start: int, stop: int) -> None:
        if start >= stop:
            return
        plain = not (self._flips or self._rate or self._body.changed)
        if plain and isinstance(self._body.content, Path) and self._handler.server.tls is None:
            self._copy_file(self._body.content, start, stop)
            return
        size = max(1, min(_SLICE, self._rate // 20)) if self._rate else _SLICE
        position = start
        while position < stop:
            count = self._quota.take(min(size, stop - position))
            for piece in self._body.pieces(position, position + count, count):
                self._handler.connection.sendall(self._flipped(piece, position))
                self._count(len(piece))
                position += len(piece)
            if self._rate:
                self._handler.server.application.stopping.wait(count / self._rate)

    def _copy_file(self, path: Path, start: int, stop: int) -> None:
        with path.open("rb") as stream:
            position = start
            while position < stop:
                allowed = self._quota.take(min(_SLICE, stop - position))
                end = position + allowed
                while position < end:
                    sent = self._handler.connection.sendfile(stream, self._body.start + position, end - position)
                    if not sent:
                        raise HangUp(reset=True)
                    self._count(sent)
                    position += sent

    def _flipped(self, piece: bytes, position: int) -> bytes:
        for offset, rule in self._flips.items():
            if position <= offset < position + len(piece):
                changed = bytearray(piece)
                changed[offset - position] ^= 1
                piece = bytes(changed)
                self._probe.fired(rule)
        return piece

    def _count(self, sent: int) -> None:
        self._probe.log.update(self._probe.entry, sent=sent)


def _faulty_answer(rule: Rule) -> Answer:
    if rule.kind == "redirect":
        return Answer(rule.status if rule.status // 100 == 3 else 302, {"Location": rule.location, **rule.headers})
    if rule.kind == "html":
        page = rule.body or "<!DOCTYPE html><html><body><h1>Sign in to the network</h1></body></html>"
        return Answer.of_bytes(HTTPStatus.OK, page.encode(), "text/html; charset=utf-8", rule.headers)
    text = rule.body or json.dumps({"error": f"fault on demand: {rule.status}"})
    return Answer.of_bytes(rule.status, text.encode(), "application/json; charset=utf-8", rule.headers)
