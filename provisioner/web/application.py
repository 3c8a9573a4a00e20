"""The routes of the page's server. They answer GET and HEAD, and none changes anything; acting has its own routes."""

from __future__ import annotations

import asyncio
import contextlib
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from provisioner.reporting.status import SUCCESSFUL_STATES
from provisioner.web.guard import Guard
from provisioner.web.metrics import exposition

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from provisioner.web.acting.routes import Acting
    from provisioner.web.feed import Feed
    from provisioner.web.sharing import Sharing

MOST_STREAMS: Final = 64
"""Readers of ``/events`` at the same time; with more of them, the page's script polls instead."""
_KEEP_ALIVE_SECONDS: Final = 15.0
"""After so long without an event, a comment is sent, so that proxies keep the connection open."""
_ASSETS: Final = Path(__file__).parent / "assets"
_HTML: Final = "text/html; charset=utf-8"


def make_application(
    feed: Feed,
    *,
    hosts: Collection[str] = (),
    framed_by_hub: bool = False,
    acting: Acting | None = None,
    sharing: Sharing | None = None,
) -> ASGIApp:
    """Return the application.

    Args:
        feed: provides the content.
        hosts: see :class:`provisioner.web.guard.Guard`.
        framed_by_hub: see :class:`provisioner.web.guard.Guard`.
        acting: the object that acts on the volume, or ``None`` if acting is not allowed.
        sharing: what other volumes can fetch, or ``None`` for nothing.
    """
    pages = _Pages(feed)

    @contextlib.asynccontextmanager
    async def observing(_app: Starlette) -> AsyncIterator[None]:
        await feed.update()  # the first reader sees a state
        looking = asyncio.create_task(feed.run())
        yield
        looking.cancel()

    routes = [
        Route("/", pages.page),
        Route("/status.json", pages.status),
        Route("/events", pages.events),
        Route("/metrics", pages.metrics),
        Route("/healthz", pages.healthz),
        Route("/readyz", pages.readyz),
        Route("/provisioner.css", _asset("page.css", "text/css; charset=utf-8")),
        Route("/provisioner.svg", _asset("icon.svg", "image/svg+xml")),
        Route("/provisioner.js", _asset("page.js", "text/javascript; charset=utf-8")),
        *(acting.routes(lambda: feed.latest.document) if acting else ()),
        *(sharing.routes() if sharing else ()),
    ]
    app = Starlette(routes=routes, lifespan=observing)
    # It would redirect to a URL built from the request's Host.
    app.router.redirect_slashes = False
    return Guard(app, hosts=hosts, framed_by_hub=framed_by_hub)


class _Pages:
    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._streams = 0

    async def page(self, _request: Request) -> Response:
        return Response(self._feed.page_html(), media_type=_HTML)

    async def status(self, _request: Request) -> Response:
        if self._feed.latest.document is None:
            return PlainTextResponse("nothing is known of a run yet\n", HTTPStatus.NOT_FOUND)
        return Response(self._feed.status_json() + b"\n", media_type="application/json")

    async def metrics(self, request: Request) -> Response:
        body, content_type = exposition(self._feed.latest, request.headers.get("accept", ""))
        return Response(body, headers={"Content-Type": content_type})

    async def healthz(self, _request: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def readyz(self, _request: Request) -> Response:
        state = str((self._feed.latest.document or {}).get("state", "unknown"))
        is_ready = state in SUCCESSFUL_STATES
        return PlainTextResponse(f"{state}\n", HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE)

    async def events(self, request: Request) -> Response:
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        if self._streams >= MOST_STREAMS:
            return PlainTextResponse("too many readers\n", HTTPStatus.SERVICE_UNAVAILABLE, headers={"Retry-After": "5"})
        as_page = request.query_params.get("as") == "page"
        # Proxies that buffer responses (nginx) let this one through.
        return StreamingResponse(
            self._events(as_page=as_page), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
        )

    async def _events(self, *, as_page: bool) -> AsyncIterator[bytes]:
        """Yield an event for each change: the status document, or the content of the page."""
        feed, version = self._feed, -1
        self._streams += 1
        try:
            yield b"retry: 2000\n\n"
            while not feed.is_closed or feed.version != version:
                if not await feed.changed(version, _KEEP_ALIVE_SECONDS):
                    yield b": still here\n\n"
                    continue
                version = feed.version
                data = feed.main_html() if as_page else feed.status_json()
                yield b"event: %s\nid: %d\ndata: %s\n\n" % (b"page" if as_page else b"status", version, data)
            yield b"event: end\ndata: {}\n\n"
        finally:
            self._streams -= 1


def _asset(name: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    """Return a function that answers with a file of the page."""
    content = (_ASSETS / name).read_bytes()

    async def answer(_request: Request) -> Response:
        return Response(content, media_type=media_type)

    return answer
