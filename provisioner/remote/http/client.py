"""Files over HTTP, and from ``file:`` URLs: into a sink, from where it stands, checked as they come.

Bodies are taken as they are sent, never decoded: several archive hosts label a ``.tar.gz`` as ``Content-Encoding: gzip``,
and the bytes that the catalog's digest speaks of are the encoded ones. What is wrong with them is found by the digest.
"""

from __future__ import annotations

import contextlib
import math
import re
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import unquote, urljoin, urlsplit

from provisioner._version import __version__
from provisioner.errors import (
    AccessDeniedError,
    NotFoundError,
    ProvisionerError,
    RemoteRefusedError,
    RemoteUnavailableError,
    SizeMismatchError,
)
from provisioner.redaction import show_url
from provisioner.remote.http.errors import CONNECT_SECONDS, STALL_SECONDS, transport_errors
from provisioner.remote.proxies import tls_context
from provisioner.remote.retry import Transient, describe_status, transient_error

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import urllib3

    from provisioner.cancellation import Cancellation
    from provisioner.remote.http.pool import ConnectionPool
    from provisioner.remote.proxies import Proxies
    from provisioner.remote.retry import Retry

CHUNK: Final = 1 << 20
MAX_REDIRECTS: Final = 10

_SHORT_BODY: Final = 4096
_PACE_SAMPLES: Final = 64
_OWN_SECONDS: Final = 0.00025
"""What a small file costs us; one thread more is worth while for each such time that we wait for an answer."""
_USUAL_HEADERS: Final = {"User-Agent": f"data-volume-provisioner/{__version__}", "Accept-Encoding": "identity"}
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
"""What a host looks like that needs no second look: no credentials, no query."""
_CONTENT_RANGE: Final = re.compile(r"bytes\s+(\d+)-(\d+)/(\d+|\*)\s*", re.IGNORECASE)
UNSATISFIED: Final = re.compile(r"bytes\s+\*/(\d+)\s*", re.IGNORECASE)


class Answer(Protocol):
    """An answer whose body is yet to be read, whichever library brought it."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """By names in any case."""
        ...

    def read1(self, amt: int, *, decode_content: bool) -> bytes:
        """Return what is there, at most ``amt`` bytes; none at the end."""
        ...

    def read(self, amt: int, *, decode_content: bool) -> bytes:
        """Return ``amt`` bytes, fewer at the end."""
        ...

    def drain_conn(self) -> None:
        """Read the rest, so that the connection can be used again."""
        ...

    def shutdown(self) -> None:
        """End a read that another thread is waiting in."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class Sink(Protocol):
    """Where bytes go; knows how far it is and where its bytes came from."""

    @property
    def have(self) -> int:
        """Bytes that are there."""
        ...

    @property
    def origin(self) -> tuple[str, str] | None:
        """URL and validator of what is there, where they are known."""
        ...

    def restart(self) -> None:
        """Drop what is there."""
        ...

    def record_origin(self, url: str, validator: str | None) -> None:
        """Note where the coming bytes are from."""
        ...

    def write(self, data: bytes | memoryview, /) -> None:
        """Append; the bytes are another's after the call."""
        ...

    def seal(self) -> str:
        """Check the whole, and give its SHA-256; wrong bytes are dropped."""
        ...


@dataclass(frozen=True, slots=True)
class RemoteFacts:
    """What a server says of a file without sending it."""

    url: str
    size: int | None
    """Bytes."""
    etag: str | None
    ranges: bool
    """It answers a range with just that range."""


class RateLimiter:
    """One budget of bytes a second for all transfers together."""

    def __init__(self, bytes_per_second: float, *, pause: Callable[[float], None], clock: Callable[[], float]) -> None:
        self._rate = bytes_per_second
        self._pause = pause
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at = clock()

    @property
    def chunk(self) -> int:
        """Bytes to ask for at once, so that a slow budget is spent evenly."""
        return max(1024, min(CHUNK, int(self._rate / 8)))

    def spend(self, count: int) -> None:
        """Take ``count`` bytes from the budget, and wait until they were due."""
        with self._lock:
            now = self._clock()
            self._free_at = max(self._free_at, now) + count / self._rate
            wait = self._free_at - now
        if wait > 0.01:  # noqa: PLR2004 - shorter waits cost more than they shape
            self._pause(wait)


class Pace:
    """How many connections small files are worth: where answers come at once, more threads only wait for each other."""

    def __init__(self, connections: int, *, clock: Callable[[], float]) -> None:
        self._most = connections
        self._clock = clock
        self._latest: deque[float] = deque(maxlen=_PACE_SAMPLES)
        self._count = 0
        self.connections = connections
        """So many at once now."""

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """Take the time of a whole request."""
        begun = self._clock()
        yield
        self._latest.append(self._clock() - begun)
        self._count += 1
        if self._count % 16 == 0:
            # The quickest of many: it waited for the server alone, and not for our other threads.
            self.connections = max(2, min(self._most, 1 + math.ceil(min(self._latest) / _OWN_SECONDS)))


class HttpClient:
    """Fetches files with one policy for retries, proxies, certificates and bandwidth; safe for several threads."""

    retry: Retry
    """The policy; shared with whoever asks in ways of his own."""

    def __init__(
        self,
        *,
        retry: Retry,
        cancellation: Cancellation,
        proxies: Proxies,
        ca_file: Path | None = None,
        rewrite: Callable[[str], str] = lambda url: url,
        connections: int = 8,
        bytes_per_second: float | None = None,
        authorization: Callable[[str], Mapping[str, str]] = lambda _url: {},
        offline: bool = False,
    ) -> None:
        """Prepare; nothing is opened before the first request.

        Args:
            retry: how often to ask.
            cancellation: ends waiting and reading.
            proxies: by scheme.
            ca_file: certificates to trust instead of the system's.
            rewrite: gives the URL that is really asked (``URL_REWRITE``).
            connections: kept alive per host.
            bytes_per_second: budget for all transfers; ``None``: no bound.
            authorization: headers for a URL that is asked on behalf of the user; given that URL.
            offline: refuse every request but those for ``file:`` URLs.
        """
        self.retry = retry
        self._cancellation = cancellation
        self._proxies = proxies
        self._ca_file = ca_file
        self._rewrite = rewrite
        self._connections = connections
        self._pace = Pace(connections, clock=time.monotonic)
        self._authorization = authorization
        self._offline = offline
        self._lock = threading.Lock()
        self._pools: dict[str | None, urllib3.PoolManager] = {}
        self._direct: dict[str, ConnectionPool] = {}
        self._own = threading.local()
        """A buffer for each thread."""
        self._context: ssl.SSLContext | None = None
        self._rate = RateLimiter(bytes_per_second, pause=cancellation.wait, clock=time.monotonic) if bytes_per_second else None

    def fetch(
        self,
        url: str,
        sink: Sink,
        *,
        size: int | None,
        verifiable: bool,
        authorized: bool = False,
        advance: Callable[[int], None] = lambda _count: None,
    ) -> None:
        """Bring the rest of a file into a sink.

        Args:
            url: ``http``, ``https`` or ``file``.
            sink: takes the bytes; what it has is asked for only when it may be another file's beginning.
            size: exact number of bytes, where known.
            verifiable: a digest is known: a wrong beginning will be found out, so it need not be proved first.
            authorized: send the user's credentials to the host of ``url`` (and to no other).
            advance: told of each number of bytes that arrived; negative when some were dropped.

        Raises:
            ProvisionerError: by what the server said; see ``docs/troubleshooting.md``.
        """
        asked = self._rewrite(url)
        shown = show_url(asked)
        if sink.have and not verifiable and (sink.origin is None or sink.origin[0] != url):
            advance(-sink.have)
            sink.restart()
        if urlsplit(asked).scheme == "file":
            self._copy(url, asked, sink, size=size, advance=advance)
            return
        arrived = 0

        def attempt() -> None:
            nonlocal arrived
            for count in self._attempt(url, asked, sink, size=size, authorized=authorized, dropped=lambda n: advance(-n)):
                arrived += count
                advance(count)

        self.retry.call(lambda: shown, attempt, progress=lambda: arrived)

    def get(self, url: str, *, size: int, authorized: bool = False) -> bytes:
        """Return a whole small file.

        Args:
            url: ``http``, ``https`` or ``file``.
            size: exact number of bytes.
            authorized: as for :meth:`fetch`.

        Raises:
            SizeMismatchError: the server offers, or sends, another number of bytes.
            ProvisionerError: by what the server said.
        """
        asked = self._rewrite(url)
        if asked.startswith("file:"):
            return _read_file(asked, size)
        return self.retry.call(lambda: show_url(asked), lambda: self._get(asked, size, authorized=authorized))

    def connections_for_small_files(self) -> int:
        """Return how many threads are worth while for :meth:`get`, by how long the latest answers took."""
        return self._pace.connections

    def _get(self, asked: str, size: int, *, authorized: bool) -> bytes:
        with self._pace.timed(), self._request(asked, {}, authorized=authorized) as response:
            length = _declared_length(response)
            if response.status != 200 or length not in {-1, size}:  # noqa: PLR2004 - OK
                raise other_size(asked, size, length, response)
            with self._cancellation.closing(response.shutdown), transport_errors(asked, self._cancellation):
                data = response.read(size + 1, decode_content=False)
                # The end is looked for, so that the connection can be used again.
                more = len(data) == size and response.read(1, decode_content=False)
        if self._rate:
            self._rate.spend(len(data))
        if more or len(data) > size:
            raise _too_much(asked, size)
        if len(data) < size:
            raise Transient(f"the connection ended after {len(data):,} of {size:,} bytes")
        return data

    def facts(self, url: str, *, authorized: bool = False) -> RemoteFacts:
        """Ask what a server says of a file, by a request for its first byte.

        Raises:
            ProvisionerError: by what the server said.
        """
        asked = self._rewrite(url)
        if urlsplit(asked).scheme == "file":
            path = _file_path(asked)
            try:
                return RemoteFacts(asked, path.stat().st_size, None, ranges=True)
            except OSError as error:
                raise _file_error(asked, error) from error
        return self.retry.call(lambda: show_url(asked), lambda: self._facts(asked, authorized=authorized))

    def _facts(self, asked: str, *, authorized: bool) -> RemoteFacts:
        with self._request(asked, {"Range": "bytes=0-0"}, authorized=authorized) as response:
            etag = response.headers.get("ETag")
            found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if response.status == 206 and found:  # noqa: PLR2004 - Partial Content
                return RemoteFacts(asked, None if found[3] == "*" else int(found[3]), etag, ranges=True)
            length = response.headers.get("Content-Length", "")
            return RemoteFacts(asked, int(length) if length.isdigit() else None, etag, ranges=False)

    def _attempt(
        self, url: str, asked: str, sink: Sink, *, size: int | None, authorized: bool, dropped: Callable[[int], None]
    ) -> Iterator[int]:
        """Ask once for what is missing; gives the number of bytes of each piece that was written."""
        start = sink.have
        if size is not None and start == size and size > 0:
            return
        headers = {}
        if start:
            headers["Range"] = f"bytes={start}-"
            if sink.origin is not None and sink.origin[0] == url:
                headers["If-Range"] = sink.origin[1]

        def start_over() -> None:
            dropped(sink.have)
            sink.restart()

        with self._request(asked, headers, authorized=authorized) as response:
            if response.status == 416:  # noqa: PLR2004 - Range Not Satisfiable
                whole = UNSATISFIED.fullmatch(response.headers.get("Content-Range", ""))
                if whole and size is None and int(whole[1]) == start:
                    return  # what we have is all there is
                if whole and size is not None and int(whole[1]) != size:
                    raise other_size(asked, size, int(whole[1]), response)
                start_over()
                raise Transient("the file has become shorter than what was fetched of it; it starts anew")
            expected = expected_total(response)
            # Before anything is dropped: one bad answer, or a mirror with another file, must not cost what has arrived.
            if size is not None and expected is not None and expected != size:
                raise other_size(asked, size, expected, response)
            if response.status != 206 and start:  # noqa: PLR2004 - the whole file comes: the server or its file changed
                start_over()
                start = 0
            if response.status == 206 and not continues_at(response, start):  # noqa: PLR2004
                start_over()
                raise Transient("the server sent another range than was asked for; it starts anew")
            sink.record_origin(url, validator_of(response))
            total = size if size is not None else expected
            yield from self._receive(response, asked, sink, total, start_over)

    def rewritten(self, url: str) -> str:
        """Return the URL that is really asked (``URL_REWRITE``)."""
        return self._rewrite(url)

    def received(self, response: Answer, asked: str) -> Iterator[memoryview]:
        """Return the body of an answer as it comes, within the budget of bytes a second; each part is good until the next.

        Raises:
            Transient: the connection failed.
        """
        chunk = self._rate.chunk if self._rate else CHUNK
        with self._cancellation.closing(response.shutdown), transport_errors(asked, self._cancellation):
            for data in self._parts(response, chunk):
                self._cancellation.raise_if_requested()
                if self._rate:
                    self._rate.spend(len(data))
                yield data
            self._cancellation.raise_if_requested()

    def _parts(self, response: Answer, chunk: int) -> Iterator[memoryview]:
        read_into: Callable[[memoryview], int] | None = getattr(response, "readinto1", None)
        if read_into is None:
            while data := response.read1(chunk, decode_content=False):
                yield memoryview(data)
            return
        buffer: memoryview | None = getattr(self._own, "buffer", None)
        if buffer is None:
            buffer = self._own.buffer = memoryview(bytearray(CHUNK))
        while count := read_into(buffer[:chunk]):
            yield buffer[:count]

    def _receive(
        self, response: Answer, asked: str, sink: Sink, total: int | None, start_over: Callable[[], None]
    ) -> Iterator[int]:
        for data in self.received(response, asked):
            if total is not None and sink.have + len(data) > total:
                start_over()
                raise _too_much(asked, total)
            sink.write(data)
            yield len(data)
        if total is not None and sink.have < total:
            raise Transient(f"the connection ended after {sink.have:,} of {total:,} bytes")

    @contextlib.contextmanager
    def _request(self, asked: str, headers: Mapping[str, str], *, authorized: bool) -> Iterator[Answer]:
        """As :meth:`open`, closed afterwards."""
        response, _ = self.open(asked, headers, authorized=authorized)
        try:
            yield response
        finally:
            # A body that was read to its end goes back to the pool by itself; any other connection is closed.
            response.close()

    def open(self, asked: str, headers: Mapping[str, str], *, authorized: bool) -> tuple[Answer, str]:
        """Ask once, follow redirects, and give an answer whose body is worth reading, and the URL that gave it.

        Args:
            asked: already rewritten.
            headers: beside the usual ones.
            authorized: send the user's credentials, to the origin of ``asked`` alone.

        Raises:
            Transient: it may be asked again.
            ProvisionerError: the answer is an error.
        """
        if self._offline:
            raise RemoteUnavailableError(
                f"{show_url(asked)}: not asked, since HF_HUB_OFFLINE is set",
                hint="Unset HF_HUB_OFFLINE, or put the data on the volume beforehand.",
            )
        sent = {**_USUAL_HEADERS, **headers}
        if authorized:
            sent.update(self._authorization(asked))
        here = asked
        for _ in range(MAX_REDIRECTS + 1):
            self._cancellation.raise_if_requested()
            with transport_errors(here, self._cancellation):
                response = self._send(here, sent)
            try:
                self.retry.observe(response.headers, time.time())
                location = response.headers.get("Location") if response.status in _REDIRECTS else None
                if location is None:
                    _refuse(response, asked)
                    return response, here
                there = self._rewrite(_redirected(here, location))
            except BaseException:
                response.close()
                raise
            # A short body is read, which lets the connection be used again.
            if 0 <= _declared_length(response) <= _SHORT_BODY:
                response.drain_conn()
            response.close()
            if origin_of(there) != origin_of(here):
                sent = {**_USUAL_HEADERS, **headers}
            here = there
        raise RemoteRefusedError(
            f"{show_url(asked)}: more than {MAX_REDIRECTS} redirects", hint="The server is set up wrongly; try a mirror."
        )

    def _send(self, url: str, headers: Mapping[str, str]) -> Answer:
        """Ask the host of ``url``: straight, or by the proxy that is for it."""
        scheme, _, rest = url.partition("://")
        host, _, path = rest.partition("/")
        origin = f"{scheme}://{host}"
        pool = self._direct.get(origin)
        if pool is None:
            if self._proxies.for_url(url) is not None or not _HOST.fullmatch(host):
                return self._pool(url).request("GET", url, headers=headers, preload_content=False, redirect=False, retries=False)
            pool = self._direct_pool(origin)
        return pool.request(f"/{path.partition('#')[0]}", headers)

    def _direct_pool(self, origin: str) -> ConnectionPool:
        from provisioner.remote.http.pool import ConnectionPool  # noqa: PLC0415 - off the warm path

        with self._lock:
            if self._context is None:
                self._context = tls_context(self._ca_file)
            fresh = ConnectionPool(origin, self._context, connect_seconds=CONNECT_SECONDS, stall_seconds=STALL_SECONDS)
            return self._direct.setdefault(origin, fresh)

    def _pool(self, url: str) -> urllib3.PoolManager:
        import urllib3  # noqa: PLC0415 - off the warm path

        proxy = self._proxies.for_url(url)
        with self._lock:
            if proxy not in self._pools:
                context = tls_context(self._ca_file)
                timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=STALL_SECONDS)
                if proxy is None:
                    self._pools[proxy] = urllib3.PoolManager(maxsize=self._connections, ssl_context=context, timeout=timeout)
                else:
                    auth = urlsplit(proxy)
                    user = f"{unquote(auth.username)}:{unquote(auth.password or '')}" if auth.username else None
                    self._pools[proxy] = urllib3.ProxyManager(
                        proxy,
                        maxsize=self._connections,
                        ssl_context=context,
                        timeout=timeout,
                        proxy_headers=urllib3.make_headers(proxy_basic_auth=user) if user else None,
                    )
            return self._pools[proxy]

    def blocks_of(self, asked: str, size: int) -> Iterator[bytes]:
        """Return the bytes of a ``file:`` URL.

        Raises:
            SizeMismatchError: it does not have ``size`` bytes.
            ProvisionerError: it cannot be read.
        """
        path = _file_path(asked)
        try:
            with path.open("rb", buffering=0) as file:
                if (length := path.stat().st_size) != size:
                    raise SizeMismatchError(
                        f"{path}: expected {size:,} bytes, it has {length:,}; nothing of it was used",
                        hint="Put the right file there, or correct the catalog.",
                    )
                while data := file.read(CHUNK):
                    self._cancellation.raise_if_requested()
                    yield data
        except OSError as error:
            raise _file_error(asked, error) from error

    def _copy(self, url: str, asked: str, sink: Sink, *, size: int | None, advance: Callable[[int], None]) -> None:
        path = _file_path(asked)
        try:
            with path.open("rb", buffering=0) as file:
                length = path.stat().st_size
                if size is not None and length != size:
                    raise SizeMismatchError(
                        f"{path}: expected {size:,} bytes, it has {length:,}; nothing of it was used",
                        hint="Put the right file there, or correct the catalog.",
                    )
                sink.record_origin(url, None)
                file.seek(sink.have)
                while data := file.read(CHUNK):
                    self._cancellation.raise_if_requested()
                    sink.write(data)
                    advance(len(data))
        except ProvisionerError:
            raise
        except OSError as error:
            raise _file_error(asked, error) from error


def origin_of(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port: credentials for one are not for another."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _redirected(here: str, location: str) -> str:
    """Return the URL that a redirect leads to, if it is one to follow."""
    try:
        there = urljoin(here, location)
        scheme, host, _ = origin_of(there)
    except ValueError:  # no such address, or no such port
        scheme = host = ""
    if scheme in {"http", "https"} and not host:
        scheme = ""
    if scheme not in {"http", "https"}:
        raise RemoteRefusedError(
            f"{show_url(here)}: redirects to {f'a {scheme}: URL' if scheme else 'what is no URL'}; not followed",
            hint="Only http and https are followed. The server is set up wrongly; try a mirror.",
        )
    if urlsplit(here).scheme == "https" and scheme == "http":
        raise RemoteRefusedError(
            f"{show_url(here)}: redirects from https to {show_url(there)}; not followed",
            hint="Name the plain URL in the catalog if that is what you want.",
        )
    return there


def _refuse(response: Answer, asked: str) -> None:
    """Raise for an answer that carries no file."""
    status = response.status
    if status in {200, 206, 416}:
        return
    shown = show_url(asked)
    code = response.headers.get("X-Error-Code", "")
    said = response.headers.get("X-Error-Message", "")
    because = f" ({said})" if said else ""
    later = transient_error(urlsplit(asked).hostname or "the server", status, dict(response.headers), time.time())
    if later is not None:
        raise later
    if code == "GatedRepo" or status in {401, 403, 407}:
        raise AccessDeniedError(
            f"{shown}: access denied ({describe_status(status)}){because}",
            hint="Accept the data set's conditions on its page and set HF_TOKEN, or check the token and its permissions.",
        )
    if status in {404, 410}:
        raise NotFoundError(
            f"{shown}: not found ({describe_status(status)}){because}", hint="It was moved or removed; check the catalog."
        )
    raise RemoteRefusedError(
        f"{shown}: the server refuses ({describe_status(status)}){because}",
        hint="Look at the message, and try a mirror (URL_REWRITE).",
    )


def _declared_length(response: Answer) -> int:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else -1


def expected_total(response: Answer) -> int | None:
    """Return the length of the whole file by the answer's headers; ``None``: it does not say."""
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if response.status == 206:  # noqa: PLR2004 - Partial Content
        return int(found[3]) if found and found[3] != "*" else None
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


def continues_at(response: Answer, start: int) -> bool:
    """Return whether a partial answer begins at ``start``."""
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return found is not None and int(found[1]) == start


def validator_of(response: Answer) -> str | None:
    """Return what ``If-Range`` may carry: a strong ETag, else the date (RFC 9110, section 13.1.5)."""
    etag = response.headers.get("ETag")
    if etag and not etag.startswith("W/"):
        return etag
    return response.headers.get("Last-Modified")


def other_size(asked: str, size: int, offered: int, response: Answer) -> SizeMismatchError:
    """Return the error for a server that offers a file of another size than the catalog, or the listing, says."""
    return SizeMismatchError(
        f"{show_url(asked)}: expected {size:,} bytes, the server offers {offered:,}{_looks_like_a_page(response)};"
        " nothing of it was used",
        hint="The file was changed upstream, or an error page comes in its place.",
    )


def _too_much(asked: str, size: int) -> SizeMismatchError:
    return SizeMismatchError(
        f"{show_url(asked)}: more than the expected {size:,} bytes arrived",
        hint="The file was changed upstream, or an error page comes in its place.",
    )


def _looks_like_a_page(response: Answer) -> str:
    return " of HTML" if response.headers.get("Content-Type", "").startswith("text/html") else ""


def _file_path(url: str) -> Path:
    from pathlib import Path  # noqa: PLC0415 - annotations only elsewhere
    from urllib.request import url2pathname  # noqa: PLC0415 - it imports an HTTP client that nobody uses

    return Path(url2pathname(urlsplit(url).path))


def _read_file(url: str, size: int) -> bytes:
    try:
        with _file_path(url).open("rb", buffering=0) as file:
            data = file.read(size + 1)
    except OSError as error:
        raise _file_error(url, error) from error
    if len(data) != size:
        raise SizeMismatchError(
            f"{show_url(url)}: expected {size:,} bytes, it has {'more' if len(data) > size else f'{len(data):,}'};"
            " nothing of it was used",
            hint="Put the right file there, or correct the catalog.",
        )
    return data


def _file_error(url: str, error: OSError) -> ProvisionerError:
    shown = show_url(url)
    if isinstance(error, FileNotFoundError):
        return NotFoundError(f"{shown}: no such file", hint="Check the path, and that it is mounted.")
    if isinstance(error, PermissionError):
        return AccessDeniedError(f"{shown}: permission denied", hint="Make it readable for this user.")
    return RemoteRefusedError(f"{shown}: {error.strerror or error}", hint="Check the path, and that it is mounted.")
