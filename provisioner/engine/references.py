"""The references of one run: which were requested, and what their sources say of them.

A reference whose version is on the volume is described by its receipt, without a request.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from provisioner.catalog.model import EntryFacts
from provisioner.catalog.reference_parts import joined_parts
from provisioner.catalog.references import is_reference, parse_reference
from provisioner.errors import TRY_NEXT_AFTER, ConfigurationError, TryAgainError
from provisioner.log_fields import about
from provisioner.planning.references import ids_on_volume, with_references

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from provisioner.cancellation import Cancellation
    from provisioner.catalog.model import Catalog
    from provisioner.catalog.pins import Pins
    from provisioner.catalog.written_reference import Reference
    from provisioner.engine.clients import Clients
    from provisioner.engine.volume_session import VolumeSession
    from provisioner.errors import ProvisionerError
    from provisioner.planning.model import Inventory, Plan
    from provisioner.settings.settings import Settings

_LOGGER = logging.getLogger(__name__)

_ASKED_AT_ONCE: Final = 8
"""Sources that are asked at the same time: each needs a few small requests, which mostly wait for the network."""


class References:
    """The references that settings and catalog name, and what was learnt of them."""

    def __init__(self, settings: Settings, catalog: Catalog, pins: Pins | None = None) -> None:
        """Parse them; no source is asked.

        Args:
            settings: what the user asked for.
            catalog: its phases may name references.
            pins: the states of sources at which they are described; ``None`` means their present states.

        Raises:
            ConfigurationError: one of them is malformed.
        """
        self._catalog = catalog
        self._pins = pins
        self._endpoint = settings.hf_endpoint
        self._learnt: dict[str, EntryFacts | ProvisionerError] = {}
        self._asked: dict[str, Reference] = {}
        self._add(settings.datasets_label, (name for name, _ in settings.datasets))
        self._asked = joined_parts(self._asked, self._endpoint)
        for phase in catalog.phases.values() if not settings.datasets else ():
            self._add(f"phases.{phase.name}: ", phase.own or phase.datasets)

    def _add(self, label: str, names: Iterable[str]) -> None:
        for name in names:
            if not is_reference(name) or name in self._asked:
                continue
            try:
                self._asked[name] = self._at_pin(parse_reference(name, self._endpoint))
            except ConfigurationError as error:
                raise ConfigurationError(f"{label}{error.message}", hint=error.hint) from None

    def _at_pin(self, reference: Reference) -> Reference:
        """Return a reference to the state of its source that the pins name."""
        pin = self._pins.datasets.get(reference.text) if self._pins is not None else None
        source = reference.source
        found = pin.of(source.kind, source.name) if pin is not None else None
        return replace(reference, source=source.held_at(found.pin)) if found is not None else reference

    @property
    def names(self) -> tuple[str, ...]:
        """Every path below ``datasets/`` at which one of the references may be published."""
        return tuple(name for reference in self._asked.values() for name in reference.names)

    def catalog(self, inventory: Inventory) -> Catalog:
        """Return the catalog with an entry for each reference that was requested or is on the volume.

        Raises:
            ConfigurationError: two of them would be published at the same path.
        """
        return with_references(self._catalog, self._asked, inventory, self._learnt, endpoint=self._endpoint)

    def ask(self, plan: Plan, clients: Clients, cancellation: Cancellation) -> bool:
        """Ask the sources of those references in a plan that are not described yet, and return whether there were any.

        Several are asked at once. A failure is remembered as the reason why the step is refused.

        Raises:
            ProvisionerError: the run must end.
        """
        unknown = [
            reference
            for step in plan.steps
            if (reference := step.recipe.dataset.reference) is not None
            and step.recipe.dataset.facts is None
            and step.action != "keep"
            and reference.text not in self._learnt
        ]
        if not unknown:
            return False
        # Most starts ask no source, and must not pay for importing this.
        from provisioner.volume.parallel import OrderedWork  # noqa: PLC0415

        def describe(reference: Reference, check_cancelled: Callable[[], None]) -> EntryFacts | ProvisionerError:
            check_cancelled()
            with about(reference.text):
                _LOGGER.info("%s: asking for what it holds", reference.text)
                try:
                    return _described(reference, clients)
                except TRY_NEXT_AFTER as error:
                    cancellation.raise_if_requested()
                    return error

        work = OrderedWork(
            describe, unknown, check_cancelled=cancellation.raise_if_requested, name="describe", threads=_ASKED_AT_ONCE
        )
        for reference, facts in zip(unknown, work.results(), strict=True):
            self._learnt[reference.text] = facts
            for note in facts.notes if isinstance(facts, EntryFacts) else ():
                _LOGGER.info("%s: %s", reference.text, note)
        return True


def _described(reference: Reference, clients: Clients) -> EntryFacts:
    """Ask the source of a reference for its description; if it does not answer, use what a peer recorded of it.

    Raises:
        ProvisionerError: neither describes it, or the run must end.
    """
    if clients.peers is None:
        return clients.sources.describe(reference)
    try:
        # Without a network, a peer may answer: do not wait long for a source that cannot.
        return clients.optional_sources.describe(reference)
    except TryAgainError as error:
        facts = clients.peers.facts(reference)
        if facts is None:
            return clients.sources.describe(reference)
        _LOGGER.info("%s: %s; what a peer has recorded of it is used", reference.text, error.message)
        return facts


def ids_of(names: Sequence[str], session: VolumeSession) -> list[str]:
    """Return the ids of data sets given as ids or references, as far as the volume holds them, without a request.

    Raises:
        VolumeError: the volume cannot be read.
    """
    if not any(map(is_reference, names)):
        return list(names)
    receipts = session.store.reader.inventory(measured=False).receipts.values()
    return ids_on_volume(names, receipts, endpoint=session.settings.hf_endpoint)
