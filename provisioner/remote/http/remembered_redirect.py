"""A cache of redirect targets for files that are requested in many ranges, because the Hub limits requests to itself."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from provisioner.errors import AccessDeniedError, NotFoundError, RemoteRefusedError
from provisioner.remote.retry import Transient
from provisioner.remote.urls import origin_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.remote.http.client import HttpClient
    from provisioner.remote.http.redirects import Answer

_TOO_MANY: Final = f"http_{HTTPStatus.TOO_MANY_REQUESTS.value}"


class RememberedRedirect:
    """The URL to request for a file; safe for several threads."""

    def __init__(self, client: HttpClient, requested: str, *, authorized: bool) -> None:
        """Begin without a remembered URL.

        Args:
            client: sends the requests.
            requested: the URL whose redirects are followed.
            authorized: whether to send the user's credentials, only to the origin of ``requested``.
        """
        self._client = client
        self._requested = requested
        self._authorized = authorized
        self._there: str | None = None

    def open(self, headers: Mapping[str, str], *, urgent: bool = False) -> Answer:
        """Send one request to where redirects led before, or else to the first URL.

        Args:
            headers: sent in addition to the usual ones.
            urgent: do not wait until the host may be sent one more request.

        Raises:
            ProvisionerError: see :meth:`provisioner.remote.http.redirects.Requester.open`.
        """
        there = self._there
        if there is not None:
            try:
                same = origin_of(there) == origin_of(self._requested)
                return self._client.open(there, headers, authorized=self._authorized and same, urgent=urgent)
            except (AccessDeniedError, NotFoundError, RemoteRefusedError, Transient) as error:
                # A signed address expires, and a node may fail: the first host says where to go now.
                self._there = None
                if isinstance(error, Transient) and error.cause == _TOO_MANY:
                    raise
        answer = self._client.open(self._requested, headers, authorized=self._authorized, urgent=urgent)
        self._there = answer.url if answer.is_repeatable and answer.url != self._requested else None
        return answer

    def forget(self) -> None:
        """Ask the first host again next time, because the remembered URL has failed."""
        self._there = None
