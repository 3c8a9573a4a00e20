"""Requests that follow redirects: each URL is rewritten, and credentials are sent only to the first URL's origin."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple

from provisioner._version import __version__
from provisioner.errors import AccessDeniedError, NotFoundError, OfflineError, RemoteRefusedError
from provisioner.redaction import show_url, user_of, with_user, without_user
from provisioner.remote.http.chain_cookies import ChainCookies
from provisioner.remote.http.errors import transport_errors
from provisioner.remote.http.headers import declared_length
from provisioner.remote.http.local_files import is_local
from provisioner.remote.http.locations import redirect_target
from provisioner.remote.http.refusals import check_status
from provisioner.remote.retry import Transient
from provisioner.remote.urls import host_of, login_headers, origin_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from provisioner.errors import ProvisionerError
    from provisioner.remote.http.connections import Connections, Response
    from provisioner.remote.http.flow import CountedResponse, Flow
    from provisioner.remote.network import Network

MAX_REDIRECTS: Final = 10

_SHORT_BODY: Final = 4096
"""The body of a redirect is read up to this many bytes, so that its connection can be used again."""
_HEADERS: Final = {"User-Agent": f"data-volume-provisioner/{__version__}", "Accept-Encoding": "identity"}
REDIRECTS: Final = frozenset(
    {
        HTTPStatus.MOVED_PERMANENTLY,
        HTTPStatus.FOUND,
        HTTPStatus.SEE_OTHER,
        HTTPStatus.TEMPORARY_REDIRECT,
        HTTPStatus.PERMANENT_REDIRECT,
    }
)
"""Statuses whose ``Location`` is followed."""


class Answer(NamedTuple):
    """A response and its origin."""

    response: Response
    url: str
    """The URL that redirects led to."""
    is_repeatable: bool
    """Whether a request for ``url`` alone, without the redirects that led there, would be answered in the same way."""


class Requester:
    """Sends requests over connections of either kind and follows their redirects."""

    def __init__(
        self, network: Network, connections: Connections, flow: Flow, authorization: Callable[[str], Mapping[str, str]]
    ) -> None:
        """Prepare; no request is sent yet.

        Args:
            network: the configuration that all clients share.
            connections: send the requests.
            flow: decides when requests are sent.
            authorization: returns the headers with the user's credentials for a URL.
        """
        self._network = network
        self._connections = connections
        self._flow = flow
        self._authorization = authorization

    def open(self, url: str, headers: Mapping[str, str], *, authorized: bool, urgent: bool = False) -> Answer:
        """Send one request, follow its redirects, and return the response with the file.

        Args:
            url: already rewritten; its user and password are sent only to its origin.
            headers: sent in addition to the usual ones.
            authorized: whether to send the user's credentials, only to the origin of ``url``.
            urgent: do not wait until the host may be sent one more request.

        Raises:
            Transient: it failed in a way that may be temporary.
            ProvisionerError: it was refused, or must not be sent.
        """
        network = self._network
        if network.offline:
            raise OfflineError(show_url(url))
        sent = {**_HEADERS, **headers}
        if authorized:
            sent.update(self._authorization(without_user(url)))
        try:
            return self._follow(url, sent, headers, is_hub=authorized, urgent=urgent)
        except _RedirectedRefusalError:
            # The refusal comes from another host: a node that lost the file, or a signature that expired. The first host's
            # next redirect may lead elsewhere.
            pass
        try:
            return self._follow(url, sent, headers, is_hub=authorized, urgent=urgent)
        except _RedirectedRefusalError as refused:
            raise refused.error from None

    def _follow(self, url: str, sent: Mapping[str, str], headers: Mapping[str, str], *, is_hub: bool, urgent: bool) -> Answer:
        """Send a request, with ``sent`` to the origin of ``url`` and ``headers`` to other origins, and follow its redirects.

        Raises:
            _RedirectedRefusalError: a host that redirects led to refuses.
            ProvisionerError: see :meth:`open`.
        """
        network, cookies = self._network, None
        current = url
        for _ in range(MAX_REDIRECTS + 1):
            network.cancellation.raise_if_requested()
            if cookies is not None:
                sent = _with_cookies(sent, cookies.header(current))
            with transport_errors(current, network.cancellation, network.proxies):
                # The credentials in the URL itself take precedence over those for the whole Hub.
                response = self._connections.request(
                    without_user(current),
                    {**sent, **login_headers(current)},
                    self._flow,
                    network.cancellation,
                    urgent=urgent,
                )
            try:
                target = self._checked_target(response, url, current, is_hub=is_hub)
            except (AccessDeniedError, NotFoundError, RemoteRefusedError) as error:
                if current == url or response.status in REDIRECTS:
                    raise
                raise _RedirectedRefusalError(error) from error
            if target is None:
                return Answer(response, current, is_repeatable="Cookie" not in sent)
            if (set_cookies := response.headers.get("Set-Cookie")) is not None:
                cookies = cookies or ChainCookies()
                cookies.take(current, set_cookies)
            if (length := declared_length(response)) is not None and length <= _SHORT_BODY:
                response.drain()
            response.close()
            if origin_of(target) != origin_of(current):
                sent = {**_HEADERS, **headers}
            current = target
        raise RemoteRefusedError(
            f"{show_url(url)}: more than {MAX_REDIRECTS} redirects", hint="The server is set up wrongly; try a mirror."
        )

    def _checked_target(self, response: CountedResponse, url: str, current: str, *, is_hub: bool) -> str | None:
        """Return the target of a redirect, or ``None`` if the response delivers the file; close the response on an error."""
        try:
            self._network.retry.observe(response.headers, time.time(), host_of(current))
            location = response.headers.get("Location") if response.status in REDIRECTS else None
            # An empty one leads nowhere; as in curl, the response itself then counts.
            if location and location.strip():
                return self._rewritten(current, redirect_target(without_user(current), location))
            check_status(response, url, current, is_hub=is_hub)
        except BaseException as error:
            if isinstance(error, Transient):
                # This must precede the release of its slot to another request to the same host.
                self._network.retry.heed(error)
            response.close()
            raise
        return None

    def _rewritten(self, current: str, target: str) -> str:
        """Return the target of a redirect after rewriting, with the user of ``current`` if the origin is the same."""
        rewritten = self._network.rewrite(target)
        if is_local(rewritten):
            raise RemoteRefusedError(
                f"{show_url(current)}: redirects to {show_url(target)}, which URL_REWRITE replaces by a file; not followed",
                hint=f"Add a rule to URL_REWRITE for {show_url(current)}.",
            )
        user = user_of(current)
        if user is not None and user_of(rewritten) is None and origin_of(rewritten) == origin_of(current):
            return with_user(rewritten, user)
        return rewritten


class _RedirectedRefusalError(Exception):
    """A host that redirects led to refuses for good, which says nothing about where the next redirect leads."""

    def __init__(self, error: ProvisionerError) -> None:
        super().__init__(str(error))
        self.error = error


def _with_cookies(headers: Mapping[str, str], cookies: str) -> dict[str, str]:
    """Return the headers of a request with these cookies and no others."""
    sent = {name: value for name, value in headers.items() if name != "Cookie"}
    return {**sent, "Cookie": cookies} if cookies else sent
