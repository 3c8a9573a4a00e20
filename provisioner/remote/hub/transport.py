"""The transport below the Hub client library: it adds our time limits, proxies, rewriting, retries and cancellation.

The library has no time limits, retries some requests by its own rules and others never, and sleeps where no signal can wake
it. All its requests go through one HTTP client, whose transport can be replaced by this one. Every request is retried by a
single :class:`~provisioner.remote.retry.Retry`, so that the library never sees an error that it would retry.

This module imports the HTTP library and is itself imported lazily, by :mod:`provisioner.remote.hub.library` alone.
"""

from __future__ import annotations

import contextvars
import queue
import threading
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeVar

import httpx2

from provisioner.errors import ConfigurationError, RemoteRefusedError
from provisioner.redaction import redact_line, without_user
from provisioner.remote.http.chain_cookies import ChainCookies
from provisioner.remote.http.errors import transport_error
from provisioner.remote.http.locations import redirect_target
from provisioner.remote.http.redirects import MAX_REDIRECTS, REDIRECTS
from provisioner.remote.hub.backend import DialedBackend
from provisioner.remote.network import CONNECT_SECONDS, STALL_SECONDS
from provisioner.remote.retry import Transient, transient_error
from provisioner.remote.tally import FAILED
from provisioner.remote.urls import host_of, login_headers, origin_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from provisioner.cancellation import Cancellation
    from provisioner.errors import ProvisionerError
    from provisioner.remote.network import Network

T = TypeVar("T")

ANSWER_SECONDS: Final = 180.0
"""For a whole response, whatever it waits for: a name server, a handshake or a slow line."""

SUBJECT: Final[contextvars.ContextVar[str]] = contextvars.ContextVar("subject", default="")
"""A description of the requested thing, for messages."""

PAGES: Final[contextvars.ContextVar[set[str] | None]] = contextvars.ContextVar("pages", default=None)
"""The URLs of pages requested so far for one answer; without them, pages that lead in a circle would be followed forever."""

WITHHELD_FROM: Final = "provisioner.token_withheld_from"
"""Key in a response's extensions: the host that a redirect led to, which was not sent the token."""

_TIMEOUTS: Final = {"connect": CONNECT_SECONDS, "read": STALL_SECONDS, "write": STALL_SECONDS, "pool": STALL_SECONDS}
_REFUSED: Final = frozenset(
    {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE, HTTPStatus.BAD_REQUEST}
)
_BUSY_CREATING: Final = "another conflicting operation is in progress"
"""A temporary 409: the Hub creates one repository of a user at a time. The library would retry immediately, without end."""


class HubTransport(httpx2.BaseTransport):
    """Sends a request and reads its whole response, with retries; a cancellation ends it immediately."""

    def __init__(self, network: Network, *, token: str | None, token_origins: Collection[tuple[str, str, int | None]]) -> None:
        """Open no connection yet.

        Args:
            network: the configuration that all clients share.
            token: kept out of messages.
            token_origins: the origins that the token may be sent to.
        """
        self._network = network
        self._token = token
        self._token_origins = token_origins
        self._lock = threading.Lock()
        self._routes: dict[str | None, httpx2.HTTPTransport] = {}

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send ``request`` until its response is final, and return that.

        Raises:
            ProvisionerError: see :meth:`provisioner.remote.retry.Retry.call`; never an exception of the HTTP library.
        """
        what = SUBJECT.get() or f"{request.method} {redact_line(str(request.url))}"
        if request.method == "GET" and (pages := PAGES.get()) is not None:
            if str(request.url) in pages:
                raise RemoteRefusedError(
                    f"{what}: its pages lead in a circle; nothing was taken from it", hint="Look at HF_ENDPOINT and URL_REWRITE."
                )
            pages.add(str(request.url))
        return self._network.retry.call(what, lambda: self._try(request), host=host_of(str(request.url)))

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for route in self._routes.values():
                route.close()
            self._routes.clear()

    def _try(self, request: httpx2.Request) -> httpx2.Response:
        response, is_redirected = self._follow(request)
        if is_redirected and response.status_code in _REFUSED:
            # The refusal comes from where a redirect led, not from the requested host; the next redirect may lead elsewhere.
            response, _ = self._follow(request)
        return response

    def _follow(self, request: httpx2.Request) -> tuple[httpx2.Response, bool]:
        """Return the response that redirects lead to, and whether there were any redirects.

        Done here and not in the library, which would keep asking the target of a redirect, and fail if a ``Location`` is not
        encoded.
        """
        current, cookies = request, ChainCookies()
        for hop in range(MAX_REDIRECTS + 1):
            response = self._answer(current)
            target = _target_of(current, response)
            if target is None:
                return response, hop > 0
            if request.method not in {"GET", "HEAD"}:
                response.headers["location"] = target
                return response, False
            cookies.take(str(current.url), "\n".join(response.headers.get_list("set-cookie")))
            headers = httpx2.Headers(request.headers)
            headers.pop("cookie", None)
            if cookie := cookies.header(target):
                headers["cookie"] = cookie
            current = httpx2.Request(request.method, target, headers=headers, extensions=request.extensions)
        raise self._error_for(httpx2.TooManyRedirects("too many", request=request), str(request.url))

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request, and return its response.

        Raises:
            Transient: a retry may succeed.
            ProvisionerError: it must not be sent, or failed for good.
        """
        outgoing = self._outgoing(request)
        response = _interruptible(self._network.cancellation, lambda: self._exchange(outgoing))
        self._network.retry.note_answer()
        host = outgoing.url.netloc.decode("ascii")
        if "authorization" in request.headers and origin_of(str(request.url)) not in self._token_origins:
            response.extensions[WITHHELD_FROM] = host
        if response.status_code == HTTPStatus.CONFLICT and _BUSY_CREATING in response.text:
            raise Transient(f"{host}: {_BUSY_CREATING}")
        busy = transient_error(host, response.status_code, response.headers, time.time())
        if busy is not None:
            raise busy
        return response

    def _outgoing(self, request: httpx2.Request) -> httpx2.Request:
        """Return the request as it is sent: rewritten, with our time limits, and with the token only for the Hub itself."""
        headers = httpx2.Headers(request.headers)
        if origin_of(str(request.url)) not in self._token_origins:
            headers.pop("authorization", None)
        rewritten = self._network.rewrite(str(request.url))
        if rewritten.startswith("file:"):
            raise ConfigurationError(
                f"URL_REWRITE: {redact_line(str(request.url))} is a request to the Hub's API, which no file can answer",
                hint="Replace only what is fetched, .../resolve/..., by files; or ask for the files by their URLs.",
            )
        headers.update(login_headers(rewritten))
        try:
            url = httpx2.URL(without_user(rewritten))
        except httpx2.InvalidURL as error:
            raise self._error_for(error, str(request.url)) from error
        headers["host"] = url.netloc.decode("ascii")
        return httpx2.Request(
            request.method, url, headers=headers, stream=request.stream, extensions={**request.extensions, "timeout": _TIMEOUTS}
        )

    def _exchange(self, request: httpx2.Request) -> httpx2.Response:
        url = str(request.url)
        proxy = self._network.proxies.for_url(url)
        try:
            response = self._route(proxy).handle_request(request)
            try:
                # Read here and not in the client: only what happens in this method is retried.
                response.read()
            finally:
                response.close()
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            self._network.tally.count(request.url.netloc.decode("ascii"), FAILED)
            raise self._error_for(error, url, proxy) from error
        self._network.tally.count(request.url.netloc.decode("ascii"), response.status_code)
        return response

    def _error_for(self, error: Exception, url: str, proxy: str | None = None) -> ProvisionerError:
        ours = transport_error(error, url, self._token, proxy=proxy)
        assert ours is not None, "an error of the HTTP library has a translation"  # noqa: S101
        return ours

    def _route(self, proxy: str | None) -> httpx2.HTTPTransport:
        with self._lock:
            if proxy not in self._routes:
                try:
                    route = httpx2.HTTPTransport(verify=self._network.tls_context(), trust_env=False, proxy=proxy)
                except (ValueError, ImportError, httpx2.InvalidURL) as error:
                    raise ConfigurationError(
                        f"the proxy {redact_line(str(proxy))} cannot be used: {redact_line(str(error))}",
                        hint="Set HTTP_PROXY and HTTPS_PROXY to something like http://proxy.example:3128.",
                    ) from error
                # The library has no public way to set what makes its connections.
                route._pool._network_backend = DialedBackend(self._network.dialer)  # noqa: SLF001
                self._routes[proxy] = route
            return self._routes[proxy]


def _target_of(request: httpx2.Request, response: httpx2.Response) -> str | None:
    """Return where a response redirects to, or ``None`` if it does not.

    Raises:
        RemoteRefusedError: the redirect must not be followed.
    """
    if response.status_code not in REDIRECTS:
        return None
    # Read as bytes, because the library guesses their encoding.
    found = next((value for name, value in response.headers.raw if name.lower() == b"location"), b"")
    return redirect_target(str(request.url), found.decode("latin-1")) if found.strip() else None


def _interruptible(cancellation: Cancellation, action: Callable[[], T]) -> T:
    """Return the result of ``action``, called on a separate thread that is abandoned on a cancellation.

    There is no other way to end a name lookup, a connection attempt or a TLS handshake immediately; the thread ends with its
    time limit or with the process.

    Raises:
        Transient: no result within :data:`ANSWER_SECONDS`.
        ProvisionerError: the run was cancelled, or ``action`` raised it.
    """
    # A simple queue, because its `put` may be called from a signal handler that interrupted this very `get`.
    outcome: queue.SimpleQueue[tuple[T | None, BaseException | None] | None] = queue.SimpleQueue()

    def work() -> None:
        try:
            outcome.put((action(), None))
        except BaseException as error:  # noqa: BLE001 - raised again on the thread that asked
            outcome.put((None, error))

    with cancellation.closing(lambda: outcome.put(None)):
        threading.Thread(target=work, name="hub-request", daemon=True).start()
        try:
            done = outcome.get(timeout=ANSWER_SECONDS)
        except queue.Empty:
            raise Transient(f"no whole answer within {ANSWER_SECONDS:.0f} s") from None
    cancellation.raise_if_requested()
    assert done is not None, "woken without a reason to stop"  # noqa: S101 - the only other sender is above
    result, error = done
    if error is not None:
        raise error
    return result  # type: ignore[return-value]  # None only where T allows it
