"""Where redirects led, for a file of which many ranges are requested: the Hub counts each question."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.errors import AccessDeniedError, NotFoundError, RemoteRefusedError
from provisioner.remote.retry import Transient
from provisioner.remote.urls import origin_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.remote.http.client import HttpClient
    from provisioner.remote.http.redirects import Answer


class RememberedRedirect:
    """The URL to request for a file; safe for several threads."""

    def __init__(self, client: HttpClient, requested: str, *, authorized: bool) -> None:
        """Remember nothing yet.

        Args:
            client: sends the requests.
            requested: the URL whose redirects are followed.
            authorized: send the user's credentials to the origin of ``requested``, and to no other.
        """
        self._client = client
        self._requested = requested
        self._authorized = authorized
        self._there: str | None = None

    def open(self, headers: Mapping[str, str], *, urgent: bool = False) -> Answer:
        """Send one request to where redirects led before, or else to the first URL.

        Args:
            headers: sent beside the usual ones.
            urgent: do not wait until the host may be sent one request more.

        Raises:
            ProvisionerError: as :meth:`provisioner.remote.http.redirects.Requester.open`.
        """
        there = self._there
        if there is not None:
            try:
                same = origin_of(there) == origin_of(self._requested)
                return self._client.open(there, headers, authorized=self._authorized and same, urgent=urgent)
            except (AccessDeniedError, NotFoundError, RemoteRefusedError, Transient) as error:
                # A signed address is good for a while only, and a node may die: the first host says where to go now.
                self._there = None
                if isinstance(error, Transient) and error.throttled:
                    raise
        answer = self._client.open(self._requested, headers, authorized=self._authorized, urgent=urgent)
        self._there = answer.url if answer.is_repeatable and answer.url != self._requested else None
        return answer

    def forget(self) -> None:
        """Ask the first host again: what is there has failed."""
        self._there = None
