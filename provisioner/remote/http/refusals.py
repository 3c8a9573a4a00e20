"""Errors for responses that do not deliver the file: error statuses, and files of another size."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from provisioner.errors import AccessDeniedError, NotFoundError, RemoteRefusedError, SizeMismatchError
from provisioner.redaction import show_url
from provisioner.remote.retry import describe_status, transient_error

if TYPE_CHECKING:
    from provisioner.remote.http.connections import Response

_DELIVERS: Final = frozenset({HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE})
"""Statuses that the caller interprets: the last one says how large the file is."""
_DENIED: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED})
_MISSING: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
_CHANGED_HINT: Final = "The file was changed upstream, or an error page comes in its place."


def check_status(response: Response, url: str) -> None:
    """Raise the error for a response with an error status.

    Args:
        response: what the server sent.
        url: what was requested.

    Raises:
        Transient: a retry may succeed.
        ProvisionerError: the status is final.
    """
    status = response.status
    if status in _DELIVERS:
        return
    transient = transient_error(urlsplit(url).hostname or "the server", status, dict(response.headers), time.time())
    if transient is not None:
        raise transient
    shown = show_url(url)
    message = response.headers.get("X-Error-Message", "")
    detail = f"({describe_status(status)})" + (f" ({message})" if message else "")
    if response.headers.get("X-Error-Code", "") == "GatedRepo" or status in _DENIED:
        raise AccessDeniedError(
            f"{shown}: access denied {detail}",
            hint="Accept the data set's conditions on its page and set HF_TOKEN, or check the token and its permissions.",
        )
    if status in _MISSING:
        raise NotFoundError(f"{shown}: not found {detail}", hint="It was moved or removed; check the catalog.")
    raise RemoteRefusedError(f"{shown}: the server refuses {detail}", hint="Look at the message, and try a mirror (URL_REWRITE).")


def other_size(url: str, size: int, offered: int | None, response: Response) -> SizeMismatchError:
    """Return the error for a file whose size is not that of the catalog or the listing.

    Args:
        url: what was requested.
        size: bytes that the file must have.
        offered: bytes that the server says it has; ``None``: it does not say.
        response: what the server sent.
    """
    is_page = response.headers.get("Content-Type", "").startswith("text/html")
    shown = "something else" if offered is None else f"{offered:,} bytes"
    return SizeMismatchError(
        f"{show_url(url)}: expected {size:,} bytes, the server offers {shown}{' of HTML' if is_page else ''};"
        " nothing of it was used",
        hint=_CHANGED_HINT,
    )


def too_many_bytes(url: str, size: int) -> SizeMismatchError:
    """Return the error for a body that goes on after the ``size`` bytes that the file must have."""
    return SizeMismatchError(f"{show_url(url)}: more than the expected {size:,} bytes arrived", hint=_CHANGED_HINT)
