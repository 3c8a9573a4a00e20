"""Which requests are answered, and with which headers: the rules that keep other sites away from the page.

A page that is reached by a public name which somebody else controls could be read by that site's scripts (DNS rebinding). So
a request is answered only under names that nobody else can point here.
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
"""A header of every response, by which the page's script tells this server from the app that takes its place."""
_HUB: Final = "https://huggingface.co"
_SPECIAL_USE: Final = (".localhost", ".local", ".internal", ".svc", ".home.arpa")
"""Ends of names that the public DNS does not have (RFC 6761, RFC 6762, RFC 8375), and of Kubernetes' services."""
_HOST: Final = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[^:\[\]/@\s]+)(?::\d{1,5})?")


class Guard:
    """Wraps the application: refuses what must not be answered, and adds the headers of every response."""

    def __init__(self, app: ASGIApp, *, hosts: Collection[str] = (), framed_by_hub: bool = False) -> None:
        """Prepare.

        Args:
            app: answers what is let in.
            hosts: names under which the page is reached, beside those that nobody else can point here.
            framed_by_hub: the Hub may show the page in a frame, as it does with a Space.
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
        """Return the response to a request that must not be answered; ``None``: it may be."""
        host = headers.get("host", "")
        if not self.is_ours(host):
            return _text(
                "This name is not one under which the page is reached; PROGRESS_HOSTS can add it.", HTTPStatus.MISDIRECTED_REQUEST
            )
        origin = headers.get("origin")
        # The scheme may differ: a proxy in between may speak TLS.
        if origin is not None and origin.lower().partition("://")[2] != host.lower():
            return _text("Requests from pages of other sites are refused.", HTTPStatus.FORBIDDEN)
        return None

    def is_ours(self, host: str) -> bool:
        """Return whether nobody else can point the name in a ``Host`` header here, or whether it was set."""
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
