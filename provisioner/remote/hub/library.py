"""The Hub client library: imported for the first request, given our HTTP client, and restored afterwards."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, ClassVar, Final, TypeVar

from provisioner.errors import OfflineError
from provisioner.remote.hub.errors import translated
from provisioner.remote.retry import Transient
from provisioner.remote.urls import origin_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx2
    from huggingface_hub import HfApi

    from provisioner.remote.hub.access import HubAccess
    from provisioner.remote.network import Network

T = TypeVar("T")

_SENSELESS: Final = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""What the library raises for JSON that it cannot read, or that has values which it does not expect."""


class HubLibrary:
    """The library as one client uses it; safe for several threads.

    The library has one HTTP client for the whole process; before each use, our client is installed.
    """

    _active: ClassVar[HubLibrary | None] = None
    """The instance whose HTTP client the library has now."""
    _telemetry_was_off: ClassVar[bool] = True
    _guard: ClassVar[threading.RLock] = threading.RLock()

    def __init__(self, access: HubAccess, network: Network, *, user_agent: str) -> None:
        """Import nothing yet.

        Args:
            access: the Hub and the user.
            network: the configuration that all clients share.
            user_agent: sent with each request.
        """
        self._access = access
        self._network = network
        self._user_agent = user_agent

    def ask(self, what: str, page: str, question: Callable[[HfApi], T]) -> T:
        """Return the result of ``question``; translate its errors, and repeat it if the answer makes no sense.

        Each single request is retried by the transport; if that gives up, it is not repeated here.

        Args:
            what: names the request in messages.
            page: the page of the requested object for users.
            question: calls the library.

        Raises:
            ProvisionerError: see :func:`provisioner.remote.hub.errors.refusal`; ``RemoteUnavailableError`` if the Hub kept
                failing.
        """
        self._network.cancellation.raise_if_requested()
        api = self._api(what)
        import httpx2  # noqa: PLC0415 - a start with nothing to do must not pay for it
        from huggingface_hub.errors import HFValidationError  # noqa: PLC0415 - as above

        from provisioner.remote.hub.transport import PAGES, SUBJECT  # noqa: PLC0415 - as above

        def attempt() -> T:
            pages = PAGES.set(set())
            try:
                return question(api)
            except (httpx2.HTTPError, httpx2.InvalidURL, OSError, HFValidationError) as error:
                raise translated(error, self._access, what=what, page=page) from error
            except _SENSELESS as error:
                raise Transient(
                    f"the answer of {self._access.host} is not a Hub's ({type(error).__name__})",
                    hint="Is there a login page or a filter between here and the Hub? Look at HF_ENDPOINT.",
                ) from error
            finally:
                PAGES.reset(pages)

        subject = SUBJECT.set(what)
        try:
            return self._network.retry.call(what, attempt, host=self._access.host)
        finally:
            SUBJECT.reset(subject)

    def close(self) -> None:
        """Close connections and restore the library's own HTTP client, since other code in this process may use it."""
        with self._guard:
            if HubLibrary._active is not self:
                return
            from huggingface_hub import constants, set_client_factory  # noqa: PLC0415 - as above
            from huggingface_hub.utils._http import default_client_factory  # noqa: PLC0415 - there is no public way back

            set_client_factory(default_client_factory)
            constants.HF_HUB_DISABLE_TELEMETRY = HubLibrary._telemetry_was_off
            HubLibrary._active = None

    def _api(self, what: str) -> HfApi:
        if self._network.offline:
            raise OfflineError(what)
        token = self._access.checked_token() if self._access.token else None
        from huggingface_hub import HfApi, constants, set_client_factory  # noqa: PLC0415 - as above

        with self._guard:
            if HubLibrary._active is None:
                HubLibrary._telemetry_was_off = constants.HF_HUB_DISABLE_TELEMETRY
            if HubLibrary._active is not self:
                set_client_factory(self._http_client)
                # Otherwise the library asks the public Hub, whatever the endpoint, how to describe this machine in its user
                # agent.
                constants.HF_HUB_DISABLE_TELEMETRY = True
                HubLibrary._active = self
        # `False`, because `None` would mean any login that the library finds on this machine.
        return HfApi(self._access.endpoint, token=token or False, headers={"user-agent": self._user_agent})

    def _http_client(self) -> httpx2.Client:
        import httpx2  # noqa: PLC0415 - as above

        from provisioner.remote.hub.transport import HubTransport  # noqa: PLC0415 - as above

        endpoint = self._access.endpoint
        origins = frozenset(map(origin_of, (endpoint, self._network.rewrite(endpoint))))
        transport = HubTransport(self._network, token=self._access.token, token_origins=origins)
        # Nothing from the environment: only the values given here apply, and a ~/.netrc would add credentials.
        return httpx2.Client(transport=transport, trust_env=False, follow_redirects=True)
