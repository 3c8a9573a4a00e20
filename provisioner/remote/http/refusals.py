"""Errors for responses that do not deliver the file: error statuses, and files of a different size."""

from __future__ import annotations

import contextlib
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from provisioner.catalog.answers import HEAD, hint_for, recognise_answer
from provisioner.errors import AccessDeniedError, NotFoundError, RemoteRefusedError, SizeMismatchError
from provisioner.redaction import redact_line, show_url
from provisioner.remote.retry import describe_status, transient_error
from provisioner.remote.urls import host_of

if TYPE_CHECKING:
    from provisioner.remote.http.connections import Response
    from provisioner.remote.http.flow import CountedResponse

_DELIVERS: Final = frozenset({HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE})
"""Statuses that the caller interprets; the last one states the size of the file."""
_DENIED: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_MISSING: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
_MISSING_CODES: Final = frozenset({"RevisionNotFound", "EntryNotFound"})
_MOVED_HINT: Final = "It was moved or removed: look for its new address."
_HUB_HINT: Final = "Accept the data set's conditions on its page and set HF_TOKEN, or check the token and its permissions."
_OTHER_HOST_HINT: Final = (
    "The host may want a login, or keep automatic downloads out: open the URL in a browser."
    " A mirror of the file can take its place (URL_REWRITE)."
)
_CHANGED_HINT: Final = "The file was changed upstream, or an error page comes in its place."


def check_status(response: CountedResponse, url: str, current: str, *, is_hub: bool) -> None:
    """Raise the error for a response whose status means that no file is sent.

    Args:
        response: the server's response.
        url: the requested URL.
        current: the URL that redirects have led to.
        is_hub: whether a Hub was asked in the user's name, since only there a token helps.

    Raises:
        Transient: a retry may succeed.
        ProvisionerError: the status is final.
    """
    status = response.status
    if status in _DELIVERS:
        return
    transient = transient_error(urlsplit(current).hostname or "the server", status, dict(response.headers), time.time())
    if transient is not None:
        transient.host = host_of(current)
        # One request less is enough, so the others need not wait.
        transient.crowded = response.is_one_too_many
        transient.throttled = transient.throttled and not response.is_one_too_many
        transient.while_waiting = response.while_waiting
        raise transient
    shown = show_url(url)
    code, message = response.headers.get("X-Error-Code", ""), redact_line(response.headers.get("X-Error-Message", ""))
    detail = f"({describe_status(status)})" + (f" ({message})" if message else "")
    if status in _MISSING or code in _MISSING_CODES:
        hint = "It was moved or removed, or the token may not see it." if is_hub else _MOVED_HINT
        raise NotFoundError(f"{shown}: not found {detail}", hint=hint)
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        hint = "Put user name and password into HTTP_PROXY and HTTPS_PROXY."
        raise AccessDeniedError(f"{shown}: the proxy wants a login {detail}", hint=hint)
    if status in _DENIED or (is_hub and code == "GatedRepo"):
        raise AccessDeniedError(f"{shown}: access denied {detail}", hint=_HUB_HINT if is_hub else _OTHER_HOST_HINT)
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        raise RemoteRefusedError(
            f"{shown}: the server sends no file {detail}; this may be a challenge that only a browser passes",
            hint=_OTHER_HOST_HINT,
        )
    raise RemoteRefusedError(f"{shown}: the server refuses {detail}", hint="Look at the message, and try a mirror (URL_REWRITE).")


def other_size(url: str, size: int, offered: int | None, response: Response) -> SizeMismatchError:
    """Return the error for a file whose size differs from that in the catalog or the listing.

    Args:
        url: the requested URL.
        size: bytes that the file must have.
        offered: bytes that the server says it has, or ``None`` if it does not say.
        response: the server's response; its first bytes are read, to say what they look like.
    """
    answer = None
    if response.status == HTTPStatus.OK and offered != 0:
        with contextlib.suppress(Exception):  # any error of the transport: the one to report is about the size
            head = response.read(HEAD)
            answer = recognise_answer(head, offered or len(head))
    shown = "something else" if offered is None else f"{offered:,} bytes"
    looks = f", which look like {answer.words}" if answer else ""
    return SizeMismatchError(
        f"{show_url(url)}: expected {size:,} bytes, the server offers {shown}{looks}; nothing of it was used",
        hint=hint_for(answer) if answer else _CHANGED_HINT,
    )


def too_many_bytes(url: str, size: int, head: bytes = b"") -> SizeMismatchError:
    """Return the error for a body that goes on after the ``size`` bytes that the file must have.

    Args:
        url: the requested URL.
        size: bytes that the file must have.
        head: the first bytes that arrived.
    """
    answer = recognise_answer(head[:HEAD], max(size, len(head))) if head else None
    looks = f"; they look like {answer.words}" if answer else ""
    return SizeMismatchError(f"{show_url(url)}: more than the expected {size:,} bytes arrived{looks}", hint=_CHANGED_HINT)
