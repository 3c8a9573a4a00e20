"""The page of a run or a volume: opened on its port, served, and closed again."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.catalog.model import Catalog
    from provisioner.redaction import Redactor
    from provisioner.reporting.observation import Observation
    from provisioner.settings.settings import Settings
    from provisioner.volume.store.store import Store
    from provisioner.web.acting.routes import Acting
    from provisioner.web.server import PageServer

_LOGGER = logging.getLogger(__name__)

_END_SECONDS: Final = 5.0
"""Maximum seconds that the end of a run waits for its page to close, which takes up to two unless the machine is very busy."""


def open_page(
    settings: Settings,
    port: int,
    observe: Callable[[], Observation],
    catalog: Catalog,
    redactor: Redactor,
    *,
    acting: Acting | None = None,
    shared: Store | None = None,
) -> PageServer:
    """Listen on the page's port, and return the server, which answers once it is run.

    Args:
        settings: provide the address to listen on, and the host names.
        port: the port.
        observe: returns the content of the page; called on a separate thread.
        catalog: titles and licences.
        redactor: removes secrets from everything that is shown.
        acting: the object that acts on the volume, or ``None`` if acting is not allowed.
        shared: the volume whose published versions other volumes can fetch, or ``None`` for none.

    Raises:
        ImportError: a package that the page needs is not installed.
        OSError: the port cannot be used.
    """
    from provisioner.web.application import make_application  # noqa: PLC0415 - takes a while, and is done on the page's thread
    from provisioner.web.feed import Feed  # noqa: PLC0415 - the same
    from provisioner.web.server import PageServer, listen  # noqa: PLC0415 - the same

    listener = listen(settings.progress_bind, port)
    feed = Feed(observe, catalog, redactor, acts=acting is not None)
    hosts = [*settings.progress_hosts, *([settings.space_host] if settings.space_host else [])]
    sharing = None
    if shared is not None:
        from provisioner.web.sharing import Sharing  # noqa: PLC0415 - only where it is on

        sharing = Sharing(shared)
    app = make_application(feed, hosts=hosts, framed_by_hub=settings.space_id is not None, acting=acting, sharing=sharing)
    return PageServer(app, listener, feed.close)


class RunPage:
    """The page of a run, on a separate thread; whatever happens to it, the run goes on."""

    def __init__(self, settings: Settings, port: int, catalog: Catalog, redactor: Redactor) -> None:
        """Prepare; nothing listens yet.

        Args:
            settings: see :func:`open_page`.
            port: see :func:`open_page`.
            catalog: see :func:`open_page`.
            redactor: see :func:`open_page`.
        """
        self._settings = settings
        self._port = port
        self._catalog = catalog
        self._redactor = redactor
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._server: PageServer | None = None
        self._has_ended = False

    def begin(self, observe: Callable[[], Observation]) -> None:
        """Open the page soon, without waiting for it; a failure is logged as one warning."""
        with self._lock:
            if self._has_ended:
                return
            self._thread = threading.Thread(target=self._serve, args=(observe,), name="page", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self._thread = None
            self._warn("this system allows no more threads")

    @property
    def is_open(self) -> bool:
        """Whether it is open, or about to be."""
        return self._thread is not None and self._thread.is_alive()

    def end(self, *, wait: bool) -> None:
        """Close the page.

        Args:
            wait: return when the port is free; otherwise, the process is about to end.
        """
        with self._lock:
            self._has_ended = True
            server, thread = self._server, self._thread
        if server is not None:
            server.stop()
        if wait and thread is not None:
            thread.join(_END_SECONDS)
            if thread.is_alive():
                _LOGGER.warning("The progress page does not close; port %s may not be free for the app", self._port)

    def _serve(self, observe: Callable[[], Observation]) -> None:
        try:
            server = open_page(self._settings, self._port, observe, self._catalog, self._redactor)
            with self._lock:
                self._server = server
                if self._has_ended:
                    server.stop()
            _LOGGER.info("The progress page is on port %s", self._port)
            server.run()
        except ImportError as error:
            self._warn(f"the package {error.name} is not installed")
        except OSError as error:
            self._warn(error.strerror or str(error))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, the run goes on
            self._warn(repr(error))

    def _warn(self, problem: str) -> None:
        _LOGGER.warning("PROGRESS_PORT: there is no page on port %s: %s; the run goes on without it", self._port, problem)
