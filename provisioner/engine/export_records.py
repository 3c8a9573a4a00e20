"""The records that an export carries beside its versions: their catalog entries, and pins.

With both, the other side needs no catalog of its own, and can require exactly the bytes that were exported. No source
is asked.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from provisioner.catalog.model import Phase
from provisioner.catalog.parse import NO_CATALOG, parse_catalog
from provisioner.catalog.pins import DataSetPin, SourcePin, listing_digest, pins_text, source_pin
from provisioner.catalog.written_catalog import catalog_text, phase_part
from provisioner.engine.pinning import known_digests, load_pins
from provisioner.errors import ConfigurationError, ProvisionerError
from provisioner.planning.pinning import pinned_name
from provisioner.planning.recipe import make_recipe
from provisioner.planning.references import recorded_entry
from provisioner.volume.fs.atomic import write_atomic
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.fs.files import LARGEST_RECORD, read_named_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from provisioner.catalog.model import Catalog, DataSet
    from provisioner.engine.volume_session import VolumeSession
    from provisioner.planning.model import Receipt
    from provisioner.planning.recipe import Recipe
    from provisioner.volume.store.manifest import Manifest

_LOGGER = logging.getLogger(__name__)

_EVERYTHING: Final = "exported"
"""The phase that names everything in an export."""


def write_export_records(catalog: Catalog, target: VolumeSession) -> None:
    """Write the entries and the pins of everything in an export; for data sets not in the catalog, earlier ones are kept.

    Args:
        catalog: describes the data sets, those of references too.
        target: the export; its lock is held.

    Raises:
        VolumeError: the volume failed.
    """
    layout, reader = target.layout, target.store.reader
    before, pins_before = _entries_in(layout.exported_catalog), _pins_in(layout.exported_pins)
    inventory = reader.inventory(measured=False)
    entries: dict[str, DataSet] = {}
    pins: dict[str, DataSetPin] = {}
    whole: set[str] = set()
    for name, version in sorted(inventory.published.items()):
        receipt = inventory.receipts[name, version]
        found = _described(receipt, catalog) or _described(receipt, before) or _recorded(receipt, target.settings.hf_endpoint)
        if found is None:
            _LOGGER.warning("%s: the catalog does not describe what was exported: the export has no entry of it", receipt.label)
        else:
            entries[name] = found.dataset
            # A phase names the whole data set, or what a reference itself states.
            is_part = bool(receipt.splits) or (receipt.rule is not None and found.dataset.reference is None)
            if not is_part and receipt.layout == found.dataset.layout:
                whole.add(name)
        label = found.dataset.label if found is not None else receipt.label
        digest = reader.checksums_digest(name, version)
        pin = _pin(found, receipt, reader.manifest(name, version), digest) if found is not None and digest else None
        known = pins_before.get(label)
        if pin is None and known is not None and known.manifest == digest:
            pin = known  # from an earlier export with another catalog; the pin of another version would be wrong
        if pin is not None:
            pins[label] = pin
    _write(layout.exported_pins, pins_text(pins) if pins else "")
    _write(layout.exported_catalog, _text(entries, whole, before, catalog))


def update_export_records(session: VolumeSession) -> None:
    """Rewrite the records of an export after data sets were removed from it; do nothing if the volume is not an export.

    Args:
        session: the volume; its lock is held.

    Raises:
        VolumeError: the volume failed.
    """
    if session.layout.exported_catalog.exists() or session.layout.exported_pins.exists():
        write_export_records(NO_CATALOG, session)


def _described(receipt: Receipt, catalog: Catalog) -> Recipe | None:
    """Return the recipe of a version as a catalog has it, or ``None`` if it does not describe that one."""
    return _recipe_of(receipt, catalog.datasets.get(receipt.dataset))


def _recorded(receipt: Receipt, endpoint: str) -> Recipe | None:
    """Return the recipe of a reference's version from its receipt alone, since another volume may have exported it."""
    return _recipe_of(receipt, recorded_entry(receipt.entry, receipt.dataset, endpoint) if receipt.entry else None)


def _recipe_of(receipt: Receipt, dataset: DataSet | None) -> Recipe | None:
    if dataset is None or receipt.is_newer:
        return None
    try:
        recipe = make_recipe(dataset, layout=receipt.layout, splits=receipt.splits, rule=receipt.rule)
    except ProvisionerError:
        return None
    return recipe if recipe.version == receipt.asked else None


def _pin(recipe: Recipe, receipt: Receipt, manifest: Manifest | None, digest: str) -> DataSetPin | None:
    """Return the pin of a version: the digest of its list of checksums decides; of its source, the state is named."""
    for source in recipe.sources:
        if source.kind == receipt.source_kind and source.is_at(receipt.source_url):
            held = source.held_at(receipt.pin, known_digests(manifest))
            name, pin, artifacts = pinned_name(source), held.stated_pin or receipt.pin, held.artifacts
            # The repository's listing is not known here, and is not needed: its commit is.
            pinned = (
                source_pin(source.kind, name, pin, artifacts)
                if artifacts is not None and all(artifact.is_named for artifact in artifacts)
                else SourcePin(source.kind, name, pin, 0, listing_digest(()))
            )
            return DataSetPin(receipt.asked, (pinned,), digest)
    return None


def _text(entries: Mapping[str, DataSet], whole: set[str], before: Catalog, catalog: Catalog) -> str:
    """Return the catalog of an export; empty if it describes nothing."""
    written = [entry for entry in entries.values() if entry.reference is None]
    names = {name: entry.label for name, entry in entries.items()}
    known = {**before.phases, **catalog.phases}
    everything = Phase(_EVERYTHING, "all of this export", tuple(sorted(whole)))
    known = {name: phase for name, phase in known.items() if name != _EVERYTHING} | {_EVERYTHING: everything}
    parts = [part for phase in known.values() if (part := phase_part(phase, names, entries)) is not None]
    return catalog_text(written, parts) if written or parts else ""


def _entries_in(path: Path) -> Catalog:
    """Return the catalog that an earlier export wrote, or an empty one if there is none."""
    try:
        return parse_catalog(read_named_text(path, LARGEST_RECORD), str(path))
    except FileNotFoundError:
        return NO_CATALOG
    except (OSError, ValueError, ConfigurationError) as error:
        _LOGGER.warning("%s is written anew: %s", path, error)
        return NO_CATALOG


def _pins_in(path: Path) -> Mapping[str, DataSetPin]:
    """Return the pins that an earlier export wrote."""
    try:
        return load_pins(path).datasets if path.exists() else {}
    except ConfigurationError as error:
        _LOGGER.warning("%s is written anew: %s", path, error.message)
        return {}


def _write(path: Path, text: str) -> None:
    """Write a record unless it is already there; remove it if ``text`` is empty."""
    if not text:
        with disk_errors(f"removing {path}", path):
            path.unlink(missing_ok=True)
        return
    try:
        is_there = path.read_bytes() == text.encode()
    except OSError:
        is_there = False
    if not is_there:
        write_atomic(path, text.encode())
