"""The references of one run: which were asked for, and what their sources say of themselves.

A reference whose version is on the volume is described by its receipt, and nobody is asked.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from provisioner.catalog.references import is_reference, parse_reference
from provisioner.errors import TRY_NEXT_AFTER, ConfigurationError
from provisioner.planning.references import ids_on_volume, with_references

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from provisioner.cancellation import Cancellation
    from provisioner.catalog.model import Catalog, EntryFacts
    from provisioner.catalog.references import Reference
    from provisioner.engine.clients import Clients
    from provisioner.engine.volume_session import VolumeSession
    from provisioner.errors import ProvisionerError
    from provisioner.planning.model import Inventory, Plan
    from provisioner.settings.settings import Settings

_LOGGER = logging.getLogger(__name__)


class References:
    """The references that settings and catalog name, with what was learnt of them."""

    def __init__(self, settings: Settings, catalog: Catalog) -> None:
        """Parse them; nobody is asked.

        Args:
            settings: what the user asked for.
            catalog: its phases may name references.

        Raises:
            ConfigurationError: one of them is malformed.
        """
        self._catalog = catalog
        self._endpoint = settings.hf_endpoint
        self._learnt: dict[str, EntryFacts | ProvisionerError] = {}
        self._asked: dict[str, Reference] = {}
        self._add("DATASETS", (name for name, _ in settings.datasets))
        for phase in catalog.phases.values() if not settings.datasets else ():
            self._add(f"phases.{phase.name}", phase.own or phase.datasets)

    def _add(self, where: str, names: Iterable[str]) -> None:
        for name in names:
            if not is_reference(name) or name in self._asked:
                continue
            try:
                self._asked[name] = parse_reference(name, self._endpoint)
            except ConfigurationError as error:
                raise ConfigurationError(f"{where}: {error.message}", hint=error.hint) from None

    @property
    def names(self) -> tuple[str, ...]:
        """Every path below ``datasets/`` at which one of them may be published."""
        return tuple(name for reference in self._asked.values() for name in reference.names)

    def catalog(self, inventory: Inventory) -> Catalog:
        """Return the catalog, with an entry for each reference that was asked for or that the volume holds.

        Raises:
            ConfigurationError: two would be published at one path.
        """
        return with_references(self._catalog, self._asked, inventory, self._learnt, endpoint=self._endpoint)

    def ask(self, plan: Plan, clients: Clients, cancellation: Cancellation) -> bool:
        """Ask the sources of the references in a plan of which nothing is known, and return whether there were any.

        What cannot be had is remembered as the reason why its step is refused.

        Raises:
            ProvisionerError: the run must end.
        """
        found = False
        for step in plan.steps:
            dataset = step.recipe.dataset
            reference = dataset.reference
            if reference is None or dataset.facts is not None or reference.text in self._learnt or step.action == "keep":
                continue
            found = True
            cancellation.raise_if_requested()
            _LOGGER.info("%s: asking for what it holds", reference.text)
            try:
                facts = clients.sources.describe(reference)
            except TRY_NEXT_AFTER as error:
                cancellation.raise_if_requested()
                self._learnt[reference.text] = error
                continue
            self._learnt[reference.text] = facts
            for note in facts.notes:
                _LOGGER.info("%s: %s", reference.text, note)
        return found


def ids_of(names: Sequence[str], session: VolumeSession) -> list[str]:
    """Return the ids of data sets that are named by ids or by references, as far as the volume holds them; nobody is asked.

    Raises:
        VolumeError: the volume cannot be read.
    """
    if not any(map(is_reference, names)):
        return list(names)
    receipts = session.store.reader.inventory(measured=False).receipts.values()
    return ids_on_volume(names, receipts, endpoint=session.settings.hf_endpoint)
