"""The check for upstream changes by a run with ``UPDATE=check`` or ``UPDATE=auto``.

The sources are asked once in a run; even if they change later, the run builds the state that it found. If a source cannot be
asked, or a newer version cannot be fetched, the app still starts: the published version is complete, and is kept.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from provisioner.engine.upstream import described_now, look_at_all
from provisioner.errors import TRY_NEXT_AFTER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.cancellation import Cancellation
    from provisioner.engine.clients import Clients
    from provisioner.planning.model import Inventory, Plan
    from provisioner.planning.upstream import Finding, Newer

_LOGGER = logging.getLogger(__name__)


class Updates:
    """The newer states of published data sets, as far as this run knows of them."""

    def __init__(self, clients: Clients, cancellation: Cancellation, *, takes: bool) -> None:
        """Remember them; no source is asked yet.

        Args:
            clients: ask the sources.
            cancellation: ends the requests.
            takes: whether newer versions are to be fetched, or only reported.
        """
        self._clients = clients
        self._cancellation = cancellation
        self._takes = takes
        self._was_asked = False
        self.newer: dict[str, Newer] = {}
        """By id, what will be fetched."""
        self.reported: dict[str, Mapping[str, Any]] = {}
        """By id, what the status says of data sets that are outdated and are not updated."""

    def ask(self, plan: Plan, inventory: Inventory) -> bool:
        """Ask the sources of the data sets that a plan keeps or links, once; return whether anything was found.

        Raises:
            ProvisionerError: the run must end.
        """
        if self._was_asked:
            return False
        self._was_asked = True
        # A run that died after switching the name and before writing the receipt has left a name that must be made anew.
        kept = [step.recipe for step in plan.steps if step.action in {"keep", "link"}]
        published = [(recipe.dataset, inventory.receipts[recipe.dataset.id, recipe.version]) for recipe in kept]
        if published:
            for finding in look_at_all(published, self._clients.optional_sources, self._cancellation):
                self._take_in(finding)
        return bool(self.newer or self.reported)

    def _take_in(self, finding: Finding) -> None:
        label, news = finding.label, finding.news
        if news.error is not None:
            _LOGGER.warning("%s: whether it has changed upstream is not known: %s; what is here is used", label, news.why)
        elif news.state == "unknown":
            _LOGGER.info("%s: whether it has changed upstream is not known: %s", label, news.why)
        if news.state != "outdated":
            return
        if self._takes and finding.newer is not None and self._describe(finding, finding.newer):
            _LOGGER.info("%s: %s; the newer version is built beside the one that is published", label, news.why)
            return
        hint = "" if self._takes else "; UPDATE=auto fetches it"
        _LOGGER.warning("%s is outdated: %s%s", label, news.why, hint)
        self.reported[finding.dataset] = finding.as_status()

    def _describe(self, finding: Finding, newer: Newer) -> bool:
        """Note a newer state as one to be fetched; return ``False`` if its source cannot be asked to describe it."""
        try:
            self.newer[finding.dataset] = described_now(newer, self._clients.sources)
        except TRY_NEXT_AFTER as error:
            self._cancellation.raise_if_requested()
            _LOGGER.warning("%s: %s", finding.label, error.message)
            return False
        return True
