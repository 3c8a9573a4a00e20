"""Translate errors of the Hub and its client library into errors of ours, with hints that fit the token and the page."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple

from provisioner.errors import AccessDeniedError, ConfigurationError, NotFoundError, ProvisionerError, RemoteRefusedError
from provisioner.redaction import redact_line
from provisioner.remote.retry import describe_status, transient_error

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx2

    from provisioner.remote.hub.access import HubAccess

_MESSAGE_LENGTH: Final = 300
"""Characters of a server's own message that are passed on."""


class ConflictError(RemoteRefusedError):
    """Something that was to be created already exists."""

    reference = "conflict"


class NoSuchRevisionError(NotFoundError):
    """The repository exists, but has no such branch, tag or commit."""


_WANTS_TOKEN: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


class _Refusal(NamedTuple):
    kind: type[ProvisionerError]
    problem: str
    hint: str = ""


def translated(error: Exception, access: HubAccess, *, what: str, page: str) -> ProvisionerError:
    """Return our error for one that the library raised.

    Args:
        error: the error of the library.
        access: the Hub that was asked.
        what: names the request in the message.
        page: the page of the requested object for users.
    """
    from httpx2 import HTTPError, InvalidURL  # noqa: PLC0415 - a start with nothing to do must not pay for it
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError  # noqa: PLC0415 - as above

    from provisioner.remote.http.errors import transport_error  # noqa: PLC0415 - as above
    from provisioner.remote.hub.transport import WITHHELD_FROM  # noqa: PLC0415 - as above

    if isinstance(error, ProvisionerError):
        return error
    if isinstance(error, HfHubHTTPError):
        response = error.response
        if response.status_code in _WANTS_TOKEN and (host := response.extensions.get(WITHHELD_FROM)) is not None:
            return AccessDeniedError(
                f"{what}: {access.host} redirects to {host}, which wants a token: {describe_status(response.status_code)};"
                " the token (HF_TOKEN) is for HF_ENDPOINT alone and was not sent there",
                hint=f"If {host} is the Hub that you mean, set HF_ENDPOINT to its address.",
            )
        return refusal(access, response.status_code, response.headers, what=what, page=page, message=_message_in(response))
    text = redact_line(str(error), access.token)
    if isinstance(error, HFValidationError):
        return ConfigurationError(
            f"{what}: {text}",
            hint="A repository is written owner/name: letters, digits, '-', '_' and '.', at most 96 characters.",
        )
    if isinstance(error, LocalTokenNotFoundError):
        return AccessDeniedError(f"{what}: there is no token", hint=access.new_token_hint)
    ours = transport_error(error, access.endpoint, access.token) if isinstance(error, (HTTPError, InvalidURL)) else None
    return ours or RemoteRefusedError(f"{what}: {text}")


def refusal(
    access: HubAccess, status: int, headers: Mapping[str, str], *, what: str, page: str, message: str = ""
) -> ProvisionerError:
    """Return the error for a response with an error status.

    Args:
        access: the Hub that was asked.
        status: status of the response, 400 or more.
        headers: headers of the response, with names in any case.
        what: names the request in the message.
        page: the page of the requested object for users.
        message: the server's own message, from the body.

    Returns:
        ``Transient`` if a retry may succeed, else ``AccessDeniedError``, ``NotFoundError``, ``ConflictError`` or
        ``RemoteRefusedError``. Neither message nor hint contains the token or a signed address.
    """
    transient = transient_error(access.host, status, headers, time.time())
    if transient is not None:
        return transient
    lower = {name.lower(): value for name, value in headers.items()}
    message = redact_line(message or lower.get("x-error-message", ""), access.token)[:_MESSAGE_LENGTH]
    code = lower.get("x-error-code", "")
    found = _by_code(access, status, code, message, page) or _by_status(access, status, page)
    detail = f" ({message})" if message else ""
    return found.kind(f"{what}: {found.problem}: {describe_status(status)}{detail}", hint=found.hint)


def _by_code(access: HubAccess, status: int, code: str, message: str, page: str) -> _Refusal | None:
    """Return the meaning of the Hub's own error code, or ``None`` if it says no more than the status."""
    if code == "GatedRepo":
        hint = f", and let the token read gated repositories ({access.tokens_page})." if access.token else ", and set HF_TOKEN."
        return _Refusal(
            AccessDeniedError,
            "the repository is gated, and access was not granted",
            f"Accept its conditions at {page}{hint}",
        )
    if "Access to this resource is disabled" in message:
        return _Refusal(
            RemoteRefusedError,
            "the Hub has disabled the repository",
            f"{page} may say why. Only its owner or the Hub can change that.",
        )
    if status == HTTPStatus.UNAUTHORIZED and not (code == "RepoNotFound" and access.token):
        # The Hub says "not found" to everybody whom it does not know.
        return None
    if code == "RevisionNotFound":
        return _Refusal(NoSuchRevisionError, "there is no such revision", f"Branches, tags and commits: {page}/tree/main.")
    if code == "EntryNotFound":
        return _Refusal(NotFoundError, "there is no such file", f"Files: {page}/tree/main.")
    return _by_status(access, HTTPStatus.NOT_FOUND, page) if code == "RepoNotFound" else None


def _by_status(access: HubAccess, status: int, page: str) -> _Refusal:
    has_token = access.token is not None
    match status:
        case HTTPStatus.UNAUTHORIZED:
            problem = (
                "the Hub does not accept the token (HF_TOKEN): mistyped, revoked or expired"
                if has_token
                else "the Hub tells this only to those it knows; what is private looks the same as what is not there"
            )
            return _Refusal(AccessDeniedError, problem, access.new_token_hint)
        case HTTPStatus.NOT_FOUND:
            hint = f"check the token's permissions at {access.tokens_page}." if has_token else "set HF_TOKEN."
            private = "What is private looks missing to those who may not read it:"
            return _Refusal(NotFoundError, "not found", f"Look at {page}. {private} {hint}")
        case HTTPStatus.FORBIDDEN:
            permissions = f"Check the token's permissions at {access.tokens_page}."
            return _Refusal(AccessDeniedError, "the Hub forbids it", permissions if has_token else access.new_token_hint)
        case HTTPStatus.CONFLICT:
            return _Refusal(ConflictError, "it is there already")
        case HTTPStatus.PAYMENT_REQUIRED:
            billing = f"See {access.endpoint}/settings/billing, or choose another owner or visibility."
            return _Refusal(RemoteRefusedError, "the Hub wants to be paid for it", billing)
        case HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            credentials = "Put them into HTTP_PROXY and HTTPS_PROXY."
            return _Refusal(RemoteRefusedError, "the proxy wants user name and password", credentials)
        case _:
            return _Refusal(RemoteRefusedError, "the Hub refuses")


def _message_in(response: httpx2.Response) -> str:
    """Return the server's own message about a refusal."""
    if message := response.headers.get("x-error-message"):
        return str(message)
    try:
        document = response.json()
    except (ValueError, RecursionError):
        return ""  # a page for people
    error = document.get("error") if isinstance(document, dict) else None
    return error if isinstance(error, str) else ""
