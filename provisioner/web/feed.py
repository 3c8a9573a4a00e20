"""The content for all readers of the page: the latest observation, rendered once for all of them.

No reader has a queue. A slow reader gets the latest version once the previous one has been sent, so memory does not grow.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from provisioner.reporting.history import History
from provisioner.reporting.observation import Observation
from provisioner.web.render import render_main, render_page

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.catalog.model import Catalog
    from provisioner.redaction import Redactor
    from provisioner.reporting.history import Throughput

_LOGGER = logging.getLogger(__name__)

INTERVAL_SECONDS: Final = 1.0
"""The time between two observations of the run."""
_LAST_LOOK_SECONDS: Final = 0.5


class Feed:
    """The latest state of a run; used only on the page's event loop."""

    def __init__(self, observe: Callable[[], Observation], catalog: Catalog, redactor: Redactor, *, acts: bool = False) -> None:
        """Prepare; nothing is observed yet.

        Args:
            observe: returns the state of the run; called on a separate thread, since a volume may not respond.
            catalog: titles and licences of the data sets.
            redactor: removes secrets.
            acts: whether the page links to the one for acting.
        """
        self.latest = Observation(None)
        self._history = History(INTERVAL_SECONDS)
        """For a run in another process."""
        self.version = 0
        """Incremented with every change of the content."""
        self.is_closed = False
        self._observe = observe
        self._catalog = catalog
        self._redactor = redactor
        self._acts = acts
        self._changed = asyncio.Event()
        self._rendered: dict[str, tuple[int, bytes]] = {}

    async def run(self) -> None:
        """Observe the run until the task is cancelled."""
        while True:
            await self.update()
            await asyncio.sleep(INTERVAL_SECONDS)

    async def update(self) -> None:
        """Observe the run now."""
        try:
            seen = await asyncio.to_thread(self._observe)
        except Exception as error:  # noqa: BLE001 - the next look may succeed; what was seen last stays
            _LOGGER.debug("The progress page could not look at the run: %r", error)
            return
        document = self._redactor.redact_value(seen.document) if seen.document is not None else None
        seen = replace(seen, document=document, problem=self._redactor.redact(seen.problem))
        rate = (document or {}).get("rate_bytes_per_second")
        if isinstance(rate, (int, float)):
            self._history.add(rate)
        if rate is not None or seen != self.latest:
            self.latest = seen
            self._wake()

    async def close(self) -> None:
        """Show how the run ended, and tell every reader that nothing follows."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.update(), _LAST_LOOK_SECONDS)
        self.is_closed = True
        self._wake()

    async def changed(self, version: int, seconds: float) -> bool:
        """Wait for a version other than this one, for at most ``seconds``; return whether there is one."""
        deadline = time.monotonic() + seconds
        while self.version == version and not self.is_closed:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except TimeoutError:
                return False
        return True

    def status_json(self) -> bytes:
        """Return the status document, on one line."""
        return self._once("json", lambda: json.dumps(self.latest.document))

    def main_html(self) -> bytes:
        """Return the content of the page, on one line."""

        def render() -> str:
            # A line end would end the data of an event.
            return " ".join(render_main(self.latest, self._throughput, self._catalog, time.time()).splitlines())

        return self._once("main", render)

    def page_html(self) -> bytes:
        """Return the whole page."""
        return self._once("page", lambda: render_page(self.latest, self.main_html().decode(), acts=self._acts))

    @property
    def _throughput(self) -> Throughput:
        return self.latest.throughput or self._history.throughput()

    def _once(self, name: str, render: Callable[[], str]) -> bytes:
        """Return the rendered text of this version, which all readers share."""
        version, text = self._rendered.get(name, (-1, b""))
        if version != self.version:
            # A text may contain the name of a file, and that need not be UTF-8.
            text = render().encode("utf-8", "backslashreplace")
            self._rendered[name] = (self.version, text)
        return text

    def _wake(self) -> None:
        self.version += 1
        self._changed.set()
        self._changed = asyncio.Event()
