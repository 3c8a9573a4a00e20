"""Translate errors of transport libraries into errors of ours, in the same way for every client.

There is one classifier for each library, which determines what went wrong, and one function that words it. A classifier runs
only if its library is loaded, since otherwise it cannot have raised the error.
"""

from __future__ import annotations

import contextlib
import sys
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from provisioner.errors import ConfigurationError, ProvisionerError, RemoteRefusedError
from provisioner.redaction import redact_line, show_url
from provisioner.remote.network import CONNECT_SECONDS, STALL_SECONDS
from provisioner.remote.pace import TooSlowError
from provisioner.remote.proxies import NO_PROXIES, Proxies
from provisioner.remote.retry import Transient

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from provisioner.cancellation import Cancellation


class NoConnectionError(OSError):
    """A connection could not be established; ``cause`` is the reason."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


class _Problem(Enum):
    INVALID_URL = auto()
    INVALID_ENDPOINT = auto()
    """An address that comes from the settings and not from the catalog."""
    EXPIRED = auto()
    """A certificate that is not valid at this time."""
    OTHER_NAME = auto()
    """A certificate for a different host."""
    UNTRUSTED = auto()
    TLS = auto()
    NO_CONNECTION = auto()
    CONNECT_TIMEOUT = auto()
    SILENT = auto()
    SLOW = auto()
    """Something arrived, but next to nothing."""
    REDIRECTS = auto()
    PROXY_REFUSED = auto()
    PROXY_FAILED = auto()
    BROKEN = auto()


_WITHOUT_A_CONNECTION: Final = frozenset({_Problem.NO_CONNECTION, _Problem.CONNECT_TIMEOUT})
_BY_VERIFY_CODE: Final = {
    9: _Problem.EXPIRED,  # not yet valid
    10: _Problem.EXPIRED,
    13: _Problem.EXPIRED,  # dates that cannot be read
    14: _Problem.EXPIRED,
    62: _Problem.OTHER_NAME,  # of a host, of an e-mail address, of an IP address
    63: _Problem.OTHER_NAME,
    64: _Problem.OTHER_NAME,
}


class _Failure(NamedTuple):
    problem: _Problem
    reason: str = ""


@contextlib.contextmanager
def transport_errors(url: str, cancellation: Cancellation, proxies: Proxies = NO_PROXIES) -> Iterator[None]:
    """Raise transport errors in the block as ours; if a cancellation closed the transfer, raise its reason instead.

    Args:
        url: the requested URL.
        cancellation: knows whether it closed the transfer.
        proxies: the proxies that may be used for connections in the block.
    """
    try:
        yield
    except ProvisionerError:
        raise
    except Exception as error:
        cancellation.raise_if_requested()
        if (ours := transport_error(error, url, proxy=proxies.for_url(url))) is None:
            raise
        raise ours from error


def transport_error(error: Exception, url: str, *secrets: str | None, proxy: str | None = None) -> ProvisionerError | None:
    """Return our error for one that a transport library raised, or ``None`` if no transport library raises it.

    Args:
        error: the error of the library.
        url: the requested URL.
        secrets: texts that the message must not contain, besides those that are recognised as secrets.
        proxy: the proxy that was connected to, or ``None`` if the host was connected to directly.
    """
    failure = _classified(error)
    if failure is None:
        return None
    reason = redact_line(failure.reason, *secrets)[:200]
    if proxy is not None and failure.problem in _WITHOUT_A_CONNECTION:
        return _proxy_not_reached(failure.problem, reason, proxy)
    return _error_for(failure.problem, reason, url)


def _proxy_not_reached(problem: _Problem, reason: str, proxy: str) -> Transient:
    host = urlsplit(proxy).netloc.rpartition("@")[2]
    what = f"no connection within {CONNECT_SECONDS:.0f} s" if problem is _Problem.CONNECT_TIMEOUT else f"no connection: {reason}"
    return Transient(
        f"the proxy {host}: {what}",
        hint="Check HTTP_PROXY and HTTPS_PROXY, and that the proxy runs; hosts that need no proxy belong in NO_PROXY.",
        cause=problem.name.lower(),
    )


def _error_for(problem: _Problem, reason: str, url: str) -> ProvisionerError:
    host = urlsplit(url).netloc.rpartition("@")[2]
    match problem:
        case _Problem.INVALID_URL:
            return RemoteRefusedError(f"{show_url(url)}: not a URL that can be asked", hint="Check how it is written.")
        case _Problem.INVALID_ENDPOINT:
            return ConfigurationError(
                f"{redact_line(url)} cannot be asked: {reason}",
                hint="Look at HF_ENDPOINT and URL_REWRITE: https://host is what is expected.",
            )
        case _Problem.EXPIRED:
            return RemoteRefusedError(
                f"{show_url(url)}: its certificate is not valid now ({reason})",
                hint="Check this machine's clock; if its date is right, the server's certificate must be renewed: use a mirror.",
            )
        case _Problem.OTHER_NAME:
            return RemoteRefusedError(
                f"{show_url(url)}: its certificate is for another host ({reason})",
                hint="Check the host's name in the URL; behind a proxy or a login page, another server may answer in its place.",
            )
        case _Problem.UNTRUSTED:
            return RemoteRefusedError(
                f"{show_url(url)}: its certificate is not trusted ({reason})",
                hint="The server may not send its intermediate certificate, or a private authority signed it:"
                " set SSL_CERT_FILE to a PEM file with the certificate that is missing from the chain.",
            )
        case _Problem.REDIRECTS:
            return RemoteRefusedError(f"{host}: redirects without end", hint="Look at HF_ENDPOINT and URL_REWRITE.")
        case _Problem.PROXY_REFUSED:
            return RemoteRefusedError(
                f"the proxy does not let us reach {host}: {reason}",
                hint="Look at HTTP_PROXY and HTTPS_PROXY (user name and password included), or add the host to NO_PROXY.",
            )
        case _:
            error = _transient_for(problem, reason, host)
            error.cause = problem.name.lower()
            return error


def _transient_for(problem: _Problem, reason: str, host: str) -> Transient:
    network_hint = "Is the network there, and the address right?"
    match problem:
        case _Problem.PROXY_FAILED:
            return Transient(f"the proxy failed to reach {host} ({reason})", hint="Check HTTP_PROXY, HTTPS_PROXY and NO_PROXY.")
        case _Problem.TLS:
            return Transient(f"{host}: TLS failed ({reason})")
        case _Problem.CONNECT_TIMEOUT:
            return Transient(f"{host}: no connection within {CONNECT_SECONDS:.0f} s", hint=network_hint)
        case _Problem.NO_CONNECTION:
            return Transient(f"{host}: no connection: {reason}", hint=network_hint)
        case _Problem.SILENT:
            return Transient(f"{host}: silent for {STALL_SECONDS:.0f} s")
        case _Problem.SLOW:
            return Transient(
                f"{host}: it sends too slowly to go on: {reason}",
                hint="Start again later, or try a mirror; what has arrived is kept.",
                slow=True,
            )
        case _:
            return Transient(f"{host}: the connection broke: {reason}")


# --- what the libraries raise ----------------------------------------------------------------------------------------


def _classified(error: Exception) -> _Failure | None:
    if (slow := next((each for each in _chain(error) if isinstance(each, TooSlowError)), None)) is not None:
        return _Failure(_Problem.SLOW, str(slow))
    for library, classify in (("urllib3", _of_urllib3), ("httpx2", _of_httpx2)):
        if library in sys.modules and (failure := classify(error)) is not None:
            return failure
    return _of_the_standard_library(error)


def _of_the_standard_library(error: Exception) -> _Failure | None:
    import http.client  # noqa: PLC0415 - a start with nothing to do must not pay for it
    import ssl  # noqa: PLC0415 - as above

    if isinstance(error, http.client.InvalidURL):
        return _Failure(_Problem.INVALID_URL)
    cause = error.cause if isinstance(error, NoConnectionError) else error
    if isinstance(cause, ssl.SSLError) and not isinstance(cause, (TimeoutError, ssl.SSLEOFError)):
        return _tls_failure(cause)
    if isinstance(error, NoConnectionError):
        is_timeout = isinstance(cause, TimeoutError)
        return _Failure(_Problem.CONNECT_TIMEOUT) if is_timeout else _Failure(_Problem.NO_CONNECTION, _innermost(cause))
    if isinstance(error, TimeoutError):
        return _Failure(_Problem.SILENT)
    # ValueError: a read from a connection that a cancellation has closed.
    if isinstance(error, (OSError, http.client.HTTPException, ValueError)):
        return _Failure(_Problem.BROKEN, _innermost(error))
    return None


def _of_urllib3(error: Exception) -> _Failure | None:
    from urllib3 import exceptions  # noqa: PLC0415 - loaded already

    match error:
        case exceptions.LocationParseError():
            return _Failure(_Problem.INVALID_URL)
        case exceptions.SSLError():
            return _tls_failure(error)
        case exceptions.ProxyError():
            return _failed_proxy(error)
        case exceptions.ReadTimeoutError():
            return _Failure(_Problem.SILENT)
        # Checked before timeouts: by its class, a refused connection could count as one.
        case exceptions.NewConnectionError():
            return _Failure(_Problem.NO_CONNECTION, _innermost(error))
        case exceptions.ConnectTimeoutError():
            return _Failure(_Problem.CONNECT_TIMEOUT)
        case exceptions.HTTPError():
            return _Failure(_Problem.BROKEN, _innermost(error))
        case _:
            return None


def _of_httpx2(error: Exception) -> _Failure | None:
    import httpx2  # noqa: PLC0415 - loaded already

    reason = str(error) or type(error).__name__
    if isinstance(error, httpx2.HTTPError) and (untrusted := _certificate_error(error)) is not None:
        return _tls_failure(untrusted)
    match error:
        case httpx2.InvalidURL() | httpx2.UnsupportedProtocol() | httpx2.LocalProtocolError():
            return _Failure(_Problem.INVALID_ENDPOINT, reason)
        case httpx2.TooManyRedirects():
            return _Failure(_Problem.REDIRECTS)
        # The library gives the proxy's status only in the text.
        case httpx2.ProxyError() if reason.startswith("4") and not reason.startswith(("408", "425", "429")):
            return _Failure(_Problem.PROXY_REFUSED, reason)
        case httpx2.ProxyError():
            return _Failure(_Problem.PROXY_FAILED, reason)
        case httpx2.ConnectTimeout():
            return _Failure(_Problem.CONNECT_TIMEOUT)
        case httpx2.TimeoutException():
            return _Failure(_Problem.SILENT)
        case httpx2.ConnectError():
            return _Failure(_Problem.NO_CONNECTION, reason)
        case httpx2.HTTPError():
            return _Failure(_Problem.BROKEN, reason)
        case _:
            return None


def _failed_proxy(error: BaseException) -> _Failure:
    """Return whether the proxy could not be reached, or could not reach the host itself."""
    from urllib3 import exceptions  # noqa: PLC0415 - loaded already

    causes = list(_chain(error))
    if any(
        isinstance(each, exceptions.ConnectTimeoutError) and not isinstance(each, exceptions.NewConnectionError)
        for each in causes
    ):
        return _Failure(_Problem.CONNECT_TIMEOUT)
    if any(isinstance(each, exceptions.NewConnectionError) for each in causes):
        return _Failure(_Problem.NO_CONNECTION, _innermost(error))
    return _Failure(_Problem.PROXY_FAILED, _innermost(error))


def _tls_failure(error: Exception) -> _Failure:
    """Return what is wrong with a TLS connection; for certificates, by OpenSSL's code (``x509_vfy.h``)."""
    found = _certificate_error(error)
    if found is None:
        return _Failure(_Problem.UNTRUSTED if "certificate" in str(error).lower() else _Problem.TLS, _innermost(error))
    problem = _BY_VERIFY_CODE.get(found.verify_code, _Problem.UNTRUSTED)
    return _Failure(problem, found.verify_message or _innermost(error))


def _certificate_error(error: BaseException) -> ssl.SSLCertVerificationError | None:
    import ssl  # noqa: PLC0415 - a start with nothing to do must not pay for it

    return next((each for each in _chain(error) if isinstance(each, ssl.SSLCertVerificationError)), None)


def _innermost(error: BaseException) -> str:
    """Return the text of the original error that caused all others."""
    *_, first = _chain(error)
    return str(first) or type(first).__name__


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes, the latest first; at most ten, since the chain may be circular."""
    following: BaseException | None = error
    for _ in range(10):
        if following is None:
            return
        yield following
        following = following.__cause__ or following.__context__
