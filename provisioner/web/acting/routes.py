"""The routes for acting on the volume. Every change is a POST of a form of this server by a signed-in user."""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

from starlette.responses import Response
from starlette.routing import Route

from provisioner.errors import ProvisionerError
from provisioner.web.acting.forms import choice_page, plan_page, problem_page, sign_in_page, work_page
from provisioner.web.acting.orders import BadOrderError, read_order
from provisioner.web.acting.worker import BusyError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.requests import Request

    from provisioner.web.acting.orders import Choices, Form, Order
    from provisioner.web.acting.sign_in import Session, SignIn
    from provisioner.web.acting.worker import Job, Worker

COOKIE: Final = "provisioner"
LARGEST_BODY: Final = 128 << 10
"""Bytes of a form: 50 references of 2,048 characters, percent-encoded where usual."""
BODY_SECONDS: Final = 10.0
_MOST_FIELDS: Final = 2000
_SHOW_ALTHOUGH_WRONG: Final = frozenset({"verify", "repair"})
"""Actions whose plan may find damaged trees, which is their purpose."""
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self';"
    " frame-ancestors 'none'",
    # With 'no-referrer', a browser would not say where a form comes from.
    "Referrer-Policy": "same-origin",
}


class _RefusedError(Exception):
    """The request is refused."""

    def __init__(self, status: HTTPStatus, title: str, problem: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(problem)
        self.status, self.title, self.problem, self.headers = status, title, problem, headers or {}


class Acting:
    """Actions on one volume."""

    def __init__(self, sign_in: SignIn, worker: Worker, choices: Callable[[], Choices]) -> None:
        """Prepare.

        Args:
            sign_in: decides who may act.
            worker: runs the commands.
            choices: returns what there is to choose from; it reads the volume, so it is called on a thread.
        """
        self._sign_in = sign_in
        self._worker = worker
        self._choices = choices
        self._planned: tuple[str, Order, Job] | None = None
        """The plan that is shown: its key, the requested action, and the command that shows it."""

    def routes(self, document: Callable[[], Mapping[str, Any] | None]) -> list[Route]:
        """Return the routes.

        Args:
            document: returns the status of the volume.
        """

        async def act(request: Request) -> Response:
            return await self._act(request, document())

        posts = {
            "/sign-in": self._begin_session,
            "/sign-out": self._end_session,
            "/plan": self._plan,
            "/start": self._start,
            "/cancel": self._cancel,
            "/dismiss": self._dismiss,
        }
        return [
            Route("/act", _answered(act)),
            *(Route(path, _answered(answer), methods=["POST"]) for path, answer in posts.items()),
        ]

    def close(self) -> None:
        """End the running command."""
        self._worker.close()

    # --- looking

    async def _act(self, request: Request, document: Mapping[str, Any] | None) -> Response:
        session = self._session(request)
        if session is None:
            return _html(sign_in_page())
        job = self._worker.job
        if job is not None and job.runs:
            return _html(work_page(session, job, document, time.time()))
        planned = self._planned
        if planned is not None and planned[2] is job:
            key, order, _ = planned
            return _html(plan_page(session, order, job, key, may_confirm=_may_confirm(order, job)))
        return _html(choice_page(session, await self._look(), job))

    async def _look(self) -> Choices:
        try:
            return await asyncio.to_thread(self._choices)
        except ProvisionerError as error:
            raise _RefusedError(
                HTTPStatus.SERVICE_UNAVAILABLE, "The volume cannot be read", f"{error.message}. {error.hint}"
            ) from error

    # --- signing in

    async def _begin_session(self, request: Request) -> Response:
        _check_origin(request)
        form = await _form(request)
        address = request.client.host if request.client else ""
        session = self._sign_in.try_token(address, (form.get("token") or [""])[-1].strip())
        if session is None:
            wait = self._sign_in.wait_of(address)
            if wait > 0:
                seconds = int(wait) + 1
                problem = f"There were too many wrong tries. The next one is possible in {seconds} s."
                return _html(sign_in_page(problem), HTTPStatus.TOO_MANY_REQUESTS, {"Retry-After": str(seconds)})
            return _html(sign_in_page("This is not the token."), HTTPStatus.FORBIDDEN)
        response = _to_act()
        # The scheme that the browser used; a proxy in between may have handled TLS.
        secure = request.headers["origin"].lower().startswith("https://")
        response.set_cookie(COOKIE, session.key, httponly=True, samesite="strict", secure=secure)
        return response

    async def _end_session(self, request: Request) -> Response:
        session, _ = await self._allowed(request)
        self._sign_in.end(session)
        response = _to_act()
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return response

    # --- acting

    async def _plan(self, request: Request) -> Response:
        _, form = await self._allowed(request)
        try:
            order = read_order(form, await self._look())
        except BadOrderError as error:
            raise _RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, "That is not possible", str(error)) from error
        job = await self._begin(f"Plan: {order.title}", order.plan, order)
        self._planned = (secrets.token_urlsafe(16), order, job)
        return _to_act()

    async def _start(self, request: Request) -> Response:
        _, form = await self._allowed(request)
        planned = self._planned
        key = (form.get("plan") or [""])[-1]
        if planned is None or planned[2] is not self._worker.job or not hmac.compare_digest(planned[0].encode(), key.encode()):
            raise _RefusedError(
                HTTPStatus.CONFLICT,
                "Another plan came meanwhile",
                "What you confirmed is not what is shown now; nothing was done.",
            )
        if planned[2].runs or not _may_confirm(planned[1], planned[2]):
            raise _RefusedError(HTTPStatus.CONFLICT, "There is no plan yet", "Wait for the plan, and confirm it then.")
        self._planned = None
        await self._begin(planned[1].title, planned[1].command, planned[1])
        return _to_act()

    async def _cancel(self, request: Request) -> Response:
        await self._allowed(request)
        self._worker.cancel()
        return _to_act()

    async def _dismiss(self, request: Request) -> Response:
        await self._allowed(request)
        if self._planned is not None:
            self._planned = None
            self._worker.forget()
        return _to_act()

    async def _begin(self, title: str, words: tuple[str, ...], order: Order) -> Job:
        try:
            return await asyncio.to_thread(self._worker.start, title, words, order.selection)
        except BusyError as error:
            raise _RefusedError(
                HTTPStatus.CONFLICT,
                "Something else is being done",
                "One thing is done at a time; wait for its end, or cancel it.",
            ) from error
        except OSError as error:
            raise _RefusedError(
                HTTPStatus.SERVICE_UNAVAILABLE, "It could not be started", f"This machine starts no process: {error.strerror}."
            ) from error

    # --- who may

    def _session(self, request: Request) -> Session | None:
        return self._sign_in.session(request.cookies.get(COOKIE, ""))

    async def _allowed(self, request: Request) -> tuple[Session, Form]:
        """Return the session and the form of a request that may change something."""
        _check_origin(request)
        session = self._session(request)
        if session is None:
            raise _RefusedError(HTTPStatus.UNAUTHORIZED, "Sign in first", "The session has ended, or there was none.")
        form = await _form(request)
        given = (form.get("form_token") or [""])[-1]
        if not hmac.compare_digest(session.form_token.encode(), given.encode("utf-8", "surrogatepass")):
            raise _RefusedError(HTTPStatus.FORBIDDEN, "Refused", "This form is not one of your session; load the page again.")
        return session, form


def _may_confirm(order: Order, job: Job) -> bool:
    if job.result is None:
        return False
    return job.code == 0 or (order.action in _SHOW_ALTHOUGH_WRONG and "trees" in job.result)


def _check_origin(request: Request) -> None:
    """Refuse a request that was not sent by a page of this server; the guard has compared the origin with the host."""
    if "origin" not in request.headers:
        raise _RefusedError(HTTPStatus.FORBIDDEN, "Refused", "The browser does not say which page this form comes from.")


async def _form(request: Request) -> Form:
    """Return the fields of a form."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise _RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Refused", "This is not a form of this page.")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.stream():
                body += piece
                if len(body) > LARGEST_BODY:
                    raise _RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Refused", "The form is too large.")
    except TimeoutError as error:
        raise _RefusedError(HTTPStatus.REQUEST_TIMEOUT, "Refused", "The form did not arrive in time.") from error
    try:
        return parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except ValueError as error:
        raise _RefusedError(HTTPStatus.BAD_REQUEST, "Refused", "The form cannot be read.") from error


def _answered(answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Return the same function, with a page for refused requests."""

    async def answered(request: Request) -> Response:
        try:
            return await answer(request)
        except _RefusedError as refused:
            return _html(problem_page(refused.title, refused.problem), refused.status, {"Connection": "close", **refused.headers})

    return answered


def _html(content: str, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Response:
    # A text may contain the name of a file, and that need not be UTF-8.
    data = content.encode("utf-8", "backslashreplace")
    return Response(data, status, {**_HEADERS, **(headers or {})}, media_type="text/html; charset=utf-8")


def _to_act() -> Response:
    """Return a redirect to the page, which is relative and so contains nothing of the request's host."""
    return Response(status_code=HTTPStatus.SEE_OTHER, headers={**_HEADERS, "Location": "act"})
