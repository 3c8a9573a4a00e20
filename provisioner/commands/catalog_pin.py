"""``catalog pin``: write what every source resolves to, in a file that ``PINS`` can name."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioner.catalog.document import nearest
from provisioner.catalog.pins import DataSetPin, pins_text, source_pin
from provisioner.catalog.references import is_reference
from provisioner.commands.result import CommandResult
from provisioner.engine.clients import Clients
from provisioner.engine.pinning import known_digests, load_pins
from provisioner.engine.references import References, ids_of
from provisioner.engine.supervise import deadline, supervise
from provisioner.errors import TRY_NEXT_AFTER, ConfigurationError, ProvisionerError, error_to_report
from provisioner.planning.pinning import pinned_name
from provisioner.planning.recipe import make_recipe
from provisioner.units import format_count
from provisioner.volume.fs.atomic import write_atomic

if TYPE_CHECKING:
    from provisioner.catalog.model import Catalog, DataSet
    from provisioner.catalog.pins import SourcePin
    from provisioner.catalog.source import Source
    from provisioner.commands.request import CommandRequest
    from provisioner.planning.model import Inventory, Receipt
    from provisioner.volume.store.store import Store

_LOGGER = logging.getLogger(__name__)


def run(request: CommandRequest) -> CommandResult:
    """Ask the sources, and write the file.

    Raises:
        ConfigurationError: a data set is not in the catalog, or a reference or the file is not well formed.
        ProvisionerError: no source of a data set can be asked, or the file cannot be written.
    """
    session = request.session()
    inventory = session.store.reader.inventory(measured=False)
    names, file = request.options.references, request.options.output
    # A reference given here need neither be on the volume nor be requested elsewhere.
    asked = tuple((name, None) for name in names if is_reference(name)) or request.settings.datasets
    catalog = References(replace(request.settings, datasets=asked), request.catalog()).catalog(inventory)
    ids = _ids(ids_of(names, session), catalog)
    # If names are given, the file keeps its pins of all other data sets.
    is_there = bool(file) and os.path.exists(file)  # noqa: PTH110 - `Path.exists` raises if access is denied
    kept = load_pins(Path(file)).datasets if names and is_there else {}
    clients = Clients(request.settings, session.layout.root, request.cancellation)
    pinning = _Pinning(request, inventory, session.store, clients)

    def work() -> dict[str, DataSetPin]:
        return {catalog.datasets[name].label: pinning.pin(catalog.datasets[name]) for name in ids}

    try:
        with deadline(request.settings.deadline_seconds, request.cancellation):
            pins = supervise(work, request.cancellation, lambda: None)
    finally:
        clients.close()
    text = pins_text({**kept, **pins})
    document: dict[str, Any] = {"file": file, "pins": text, "datasets": sorted(pins)}
    if not file:
        return CommandResult(document, text.rstrip("\n"))
    write_atomic(Path(file), text.encode())
    others = len(kept.keys() - pins.keys())
    also = f", {others:,} as before" if others else ""
    return CommandResult(
        document, f"{file}: {format_count(len(pins), 'data set')} pinned{also}\nWith PINS={file} nothing else is accepted."
    )


def _ids(names: list[str], catalog: Catalog) -> list[str]:
    """Return the ids for the given names, or for all data sets.

    Raises:
        ConfigurationError: a name is not in the catalog.
    """
    found = [catalog.references.get(name, name) for name in names] or list(catalog.datasets)
    for name in found:
        if name not in catalog.datasets:
            raise ConfigurationError(f"{name!r} is not in the catalog", hint=nearest(name, catalog.datasets))
    return found


class _Pinning:
    """Pins one data set after the other."""

    def __init__(self, request: CommandRequest, inventory: Inventory, store: Store, clients: Clients) -> None:
        self._layouts = request.settings.layouts
        self._cancellation = request.cancellation
        self._inventory = inventory
        self._reader = store.reader
        self._clients = clients

    def pin(self, dataset: DataSet) -> DataSetPin:
        """Return the pin of a data set: a published version is pinned as it is, not to the present state of its branch.

        Raises:
            ProvisionerError: none of its sources can be asked.
        """
        receipt = self._published(dataset)
        layout = receipt.layout if receipt else self._layouts.get(dataset.id)
        known = known_digests(self._reader.manifest(receipt.dataset, receipt.version)) if receipt else {}
        sources: list[SourcePin] = []
        errors: list[ProvisionerError] = []
        for source in make_recipe(dataset, layout=layout).sources:
            self._cancellation.raise_if_requested()
            is_held = receipt is not None and source.kind == receipt.source_kind and source.is_at(receipt.source_url)
            held = source.held_at(receipt.pin, known) if receipt is not None and is_held else source
            try:
                sources.append(self._pin_source(held))
            except (*TRY_NEXT_AFTER, ConfigurationError) as error:
                self._cancellation.raise_if_requested()
                _LOGGER.warning("%s: %s is not pinned, and so not accepted: %s", dataset.label, source.name, error.message)
                errors.append(error)
        if not sources:
            raise error_to_report(errors)
        if receipt is None:
            return DataSetPin(make_recipe(dataset, layout=layout).version, tuple(sources))
        manifest = self._reader.checksums_digest(receipt.dataset, receipt.version)
        return DataSetPin(receipt.asked, tuple(sources), manifest)

    def _pin_source(self, source: Source) -> SourcePin:
        resolved = self._clients.sources.resolve(source)
        return source_pin(source.kind, pinned_name(source), resolved.pin, resolved.artifacts)

    def _published(self, dataset: DataSet) -> Receipt | None:
        """Return the receipt of the published version, if the catalog describes that version."""
        receipt = self._inventory.receipts.get((dataset.id, self._inventory.published.get(dataset.id, "")))
        if receipt is None or receipt.is_newer:
            return None
        try:
            recipe = make_recipe(dataset, layout=receipt.layout, splits=receipt.splits, rule=receipt.rule)
        except ProvisionerError:
            return None
        return receipt if recipe.version == receipt.asked else None
