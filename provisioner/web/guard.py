"""Which requests are answered, and with which headers: the rules that protect the page from other sites.

If the page were answered under a public name that somebody else controls, that site's scripts could read it (DNS rebinding).
So a request is answered only under names that nobody else can point here.
"""

from __future__ import annotations

import logging
import re
from http import HTTPStatus
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LOGGER = logging.getLogger(__name__)

OURS: Final = "X-Provisioner"
"""A header of every response, by which the page's script distinguishes this server from the app that replaces it."""
_HUB: Final = "https://huggingface.co"
_SPECIAL_USE: Final = (".localhost", ".local", ".internal", ".svc", ".home.arpa")
"""Suffixes of names that are not in the public DNS (RFC 6761, RFC 6762, RFC 8375), and of Kubernetes' services."""
_HOST: Final = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[^:\[\]/@\s]+)(?::\d{1,5})?")


class Guard:
    """Wraps the application: refuses requests that must not be answered, and adds headers to every response."""

    def __init__(self, app: ASGIApp, *, hosts: Collection[str] = (), framed_by_hub: bool = False) -> None:
        """Prepare.

        Args:
            app: answers the requests that are accepted.
            hosts: names under which the page is reached, besides those that nobody else can point here.
            framed_by_hub: whether the Hub may show the page in a frame, as it does for a Space.
        """
        self._app = app
        self._hosts = frozenset(name.lower().rstrip(".") for name in hosts)
        frames = _HUB if framed_by_hub else "'none'"
        self._headers = {
            OURS: "page",
            "Cache-Control": "no-store",
            "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self';"
            f" img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors {frames}",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "same-origin",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def send_with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(Headers(scope=scope))
        try:
            await (refusal or self._app)(scope, receive, send_with_headers)
        except Exception as error:  # noqa: BLE001 - a page that fails must not end what it shows
            _LOGGER.warning("The progress page failed to answer %s: %r", scope["path"], error)
            if not begun:
                await _text("The page failed; the run goes on.", HTTPStatus.INTERNAL_SERVER_ERROR)(
                    scope, receive, send_with_headers
                )

    def _refusal(self, headers: Headers) -> PlainTextResponse | None:
        """Return the response to a request that must be refused, or ``None`` if it may be answered."""
        host = headers.get("host", "")
        if not self.is_ours(host):
            return _text(
                "This name is not one under which the page is reached; PROGRESS_HOSTS can add it.", HTTPStatus.MISDIRECTED_REQUEST
            )
        origin = headers.get("origin")
        # The scheme may differ, since a proxy in between may handle TLS.
        if origin is not None and origin.lower().partition("://")[2] != host.lower():
            return _text("Requests from pages of other sites are refused.", HTTPStatus.FORBIDDEN)
        return None

    def is_ours(self, host: str) -> bool:
        """Return whether the name in a ``Host`` header was configured, or cannot be pointed here by anybody else."""
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = match["name"].lower().rstrip(".")
        if name in self._hosts or "." not in name.strip("[]") or name.endswith(_SPECIAL_USE):
            return True
        try:
            ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True


def _text(text: str, status: HTTPStatus) -> PlainTextResponse:
    return PlainTextResponse(f"{text}\n", status)
