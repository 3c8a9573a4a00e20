"""What a transport raises, as errors of ours: what may be asked again, what may not, and why, in a few words."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Final

from provisioner.errors import ProvisionerError, RemoteRefusedError
from provisioner.redaction import show_url
from provisioner.remote.retry import Transient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provisioner.cancellation import Cancellation

CONNECT_SECONDS: Final = 10.0
STALL_SECONDS: Final = 30.0
"""A connection that brings nothing for so long is given up and asked again."""


class NoConnectionError(OSError):
    """A connection could not be made; the cause says why."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


@contextlib.contextmanager
def transport_errors(url: str, cancellation: Cancellation) -> Iterator[None]:
    """Turn what the transport raises into ours; a transfer that we closed ourselves gives the reason to stop."""
    try:
        yield
    except ProvisionerError:
        raise
    except Exception as error:
        cancellation.raise_if_requested()
        if (ours := _translated(url, error)) is None:
            raise
        raise ours from error


def _translated(url: str, error: Exception) -> ProvisionerError | None:
    import http.client  # noqa: PLC0415 - a start with nothing to do must not pay for it

    if isinstance(error, http.client.InvalidURL):
        return RemoteRefusedError(f"{show_url(url)}: not a URL that can be asked", hint="Check the catalog.")
    if (tls := _tls_failure(error)) is not None:
        return _tls_error(url, tls)
    if isinstance(error, NoConnectionError):
        if isinstance(error.cause, TimeoutError):
            return Transient(f"no connection within {CONNECT_SECONDS:.0f} s")
        return Transient(f"no connection: {_cause(error.cause)}")
    if isinstance(error, TimeoutError):
        return Transient(f"nothing arrived for {STALL_SECONDS:.0f} s")
    # Only a library that was loaded can have raised its errors.
    if "urllib3" in sys.modules and (ours := _from_urllib3(url, error)) is not None:
        return ours
    # ValueError: something reads from a connection that a request to stop has closed.
    if isinstance(error, (OSError, http.client.HTTPException, ValueError)):
        return Transient(_cause(error))
    return None


def _from_urllib3(url: str, error: Exception) -> ProvisionerError | None:
    from urllib3 import exceptions  # noqa: PLC0415 - loaded already

    if isinstance(error, exceptions.LocationParseError):
        return RemoteRefusedError(f"{show_url(url)}: not a URL that can be asked", hint="Check the catalog.")
    if isinstance(error, exceptions.ProxyError):
        return Transient(f"the proxy failed ({_cause(error)})", hint="Check HTTP_PROXY, HTTPS_PROXY and NO_PROXY.")
    if isinstance(error, exceptions.ReadTimeoutError):
        return Transient(f"nothing arrived for {STALL_SECONDS:.0f} s")
    # A refused connection and an unknown name are, by their classes, timeouts as well.
    if isinstance(error, exceptions.NewConnectionError):
        return Transient(f"no connection: {_cause(error)}")
    if isinstance(error, exceptions.ConnectTimeoutError):
        return Transient(f"no connection within {CONNECT_SECONDS:.0f} s")
    return Transient(_cause(error)) if isinstance(error, exceptions.HTTPError) else None


def _tls_failure(error: BaseException) -> Exception | None:
    """Return the TLS library's own error, if that is what it was."""
    import ssl  # noqa: PLC0415 - as above

    if isinstance(error, NoConnectionError):
        error = error.cause
    if isinstance(error, ssl.SSLError) and not isinstance(error, (TimeoutError, ssl.SSLEOFError)):
        return error
    if "urllib3" in sys.modules:
        from urllib3 import exceptions  # noqa: PLC0415 - loaded already

        if isinstance(error, exceptions.SSLError):
            return error
    return None


def _tls_error(url: str, error: Exception) -> ProvisionerError:
    if "certificate" in str(error).lower():
        return RemoteRefusedError(
            f"{show_url(url)}: its certificate is not trusted ({_cause(error)})",
            hint="For a private certificate authority set SSL_CERT_FILE to its PEM file.",
        )
    return Transient(f"TLS failed ({_cause(error)})")


def _cause(error: BaseException) -> str:
    """Return the innermost reason in a few words."""
    inner: BaseException = error
    while inner.__cause__ is not None or inner.__context__ is not None:
        inner = inner.__cause__ or inner.__context__ or inner
    return (str(inner) or type(inner).__name__).replace("\n", " ")[:200]
