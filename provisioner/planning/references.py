"""References among the data sets of a catalog: their ids, according to a volume's receipts, and their entries.

An id is never reassigned: receipts take precedence, so a later request for something else with the same name changes nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from provisioner.catalog.entries import entry_of
from provisioner.catalog.model import EntryFacts
from provisioner.catalog.references import parse_reference
from provisioner.errors import ConfigurationError
from provisioner.planning.recipe import make_recipe

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from provisioner.catalog.model import Catalog, DataSet
    from provisioner.catalog.written_reference import Reference
    from provisioner.errors import ProvisionerError
    from provisioner.planning.model import Inventory, Receipt
    from provisioner.planning.recipe import Recipe

    Learnt = Mapping[str, EntryFacts | ProvisionerError]
    """By the text of a reference, the result of asking its source."""


def with_references(
    catalog: Catalog, asked: Mapping[str, Reference], inventory: Inventory, learnt: Learnt, *, endpoint: str
) -> Catalog:
    """Return the catalog with an entry for each reference that is requested or on the volume.

    Args:
        catalog: the data sets written in it; its phases may name references.
        asked: references by their text as written, those of the request before those of phases.
        inventory: what the volume holds.
        learnt: what the sources have answered in this run.
        endpoint: the Hub's address, for parsing references in receipts.

    Raises:
        ConfigurationError: two references would be published at the same path, or one at the path of something else.
    """
    held = _keys_by_id(inventory)
    ids: dict[str, str] = {}
    """The id of each reference, by its key."""
    entries: dict[str, DataSet] = {}
    # If a data set and a model of the same name are requested, the data set gets the plain name.
    for reference in sorted(asked.values(), key=lambda reference: reference.is_model):
        dataset = ids.get(reference.key)
        if dataset is not None:
            _check_same(reference, entries[dataset])
            continue
        dataset = _id_for(reference, catalog, entries, held)
        ids[reference.key] = dataset
        entries[dataset] = _entry(reference, dataset, inventory, learnt)
    for (dataset, version), receipt in inventory.receipts.items():
        is_current = inventory.published.get(dataset, version) == version
        if receipt.entry is not None and is_current and dataset not in entries and dataset not in catalog.datasets:
            recorded = recorded_entry(receipt.entry, dataset, endpoint)
            entries |= {dataset: recorded} if recorded else {}
    references = {written: ids[reference.key] for written, reference in asked.items()}
    phases = {
        name: replace(
            phase,
            datasets=tuple(dict.fromkeys(references.get(one, one) for one in phase.datasets)),
            own=tuple(dict.fromkeys(references.get(one, one) for one in phase.own)),
        )
        for name, phase in catalog.phases.items()
    }
    return replace(catalog, datasets={**catalog.datasets, **entries}, phases=phases, references=references)


def ids_on_volume(names: Iterable[str], receipts: Collection[Receipt], *, endpoint: str) -> list[str]:
    """Return the ids of data sets on a volume, some of which may be named by references; other names are returned unchanged.

    A reference without revision and files means any version of it that is there.
    """
    entries = [(receipt.entry, receipt.dataset) for receipt in receipts if receipt.entry]
    ids = {name: dataset for entry, dataset in entries for name in (entry.key, entry.reference)}
    found = []
    for name in names:
        if name in ids:
            found.append(ids[name])
            continue
        try:
            reference = parse_reference(name, endpoint)
        except ConfigurationError:
            found.append(name)
        else:
            found.append(ids.get(reference.text) or ids.get(reference.key) or name)
    return found


def _check_same(reference: Reference, other: DataSet) -> None:
    """Refuse a second reference to the same repository or file that names a different version of it."""
    first = other.reference
    if first is not None and first.text != reference.text:
        joined = ""
        if first.parts and reference.parts:
            parts = "+".join(part.partition("#")[0].rpartition(":")[2] for part in (first.text, reference.text))
            joined = f"Name both parts in one reference, such as {first.text.partition('#')[0].rpartition(':')[0]}:{parts}. "
        raise ConfigurationError(
            f"{first.text} and {reference.text} are two versions of one data set, and would be at one path",
            hint=f"{joined}{'Or give' if joined else 'Give'} one of them another name, such as {_renamed(reference)}.",
        )


def _id_for(reference: Reference, catalog: Catalog, entries: Mapping[str, DataSet], held: Mapping[str, Collection[str]]) -> str:
    """Return the id of a reference: the one that it has on the volume, or the first one that is free.

    Raises:
        ConfigurationError: none is free.
    """
    free = [name for name in reference.names if name not in entries and not _is_in_catalog(name, catalog)]
    for name in free:
        if reference.key in held.get(name, ()):
            return name
    for name in free:
        if nested_with(name, held) is None and (name not in held or (reference.is_proven and "" not in held[name])):
            return name
    name = reference.names[0]
    nested = nested_with(name, held)
    others = [entries[name].label] if name in entries else sorted(filter(None, held.get(name, ())))
    holder = f"the catalog's data set {name}" if name in catalog.datasets else others[0] if others else "another data set"
    holder = f"datasets/{nested}" if nested is not None else holder
    raise ConfigurationError(
        f"{reference.text} would be published at datasets/{name}, which is the place of {holder}",
        hint=f"Give it another name, such as {_renamed(reference)}.",
    )


def _renamed(reference: Reference) -> str:
    """Return the reference with a different name, as an example for a hint."""
    name = reference.names[0].rpartition("/")[2]
    address, _, written = reference.text.partition("#")
    options = [option for option in written.split("&") if option and not option.startswith("name=")]
    return f"{address}#{'&'.join([*options, f'name={name}-2'])}"


def _is_in_catalog(name: str, catalog: Catalog) -> bool:
    """Return whether an id belongs to the catalog, or would lie below one of its data sets."""
    return any(taken in catalog.datasets or taken in catalog.excluded for taken in (name, name.partition("/")[0]))


def nested_with(name: str, held: Iterable[str]) -> str | None:
    """Return the id of a data set whose directory would contain that of ``name``, or lie in it; ``None`` if there is none."""
    return next((other for other in sorted(held) if other.startswith(f"{name}/") or name.startswith(f"{other}/")), None)


def is_taken(receipt: Receipt, others: Collection[Receipt], endpoint: str) -> bool:
    """Return whether a version's id stands for something else on another volume, which has the versions ``others`` of it."""
    key = receipt.entry.key if receipt.entry else ""
    keys = {other.entry.key if other.entry else "" for other in others}
    if not others or key in keys or any(other.source_url == receipt.source_url for other in others):
        return False
    if receipt.entry is None or "" in keys:
        return True
    recorded = recorded_entry(receipt.entry, receipt.dataset, endpoint)
    return recorded is None or recorded.reference is None or not recorded.reference.is_proven


def reference_in_place(recipe: Recipe, inventory: Inventory) -> str | None:
    """Return the reference that has taken a catalog data set's id on a volume, or ``None`` if none has."""
    held = [receipt for (name, _), receipt in inventory.receipts.items() if name == recipe.dataset.id]
    if recipe.dataset.reference is not None:
        return None
    if any(receipt.entry is None or any(source.is_at(receipt.source_url) for source in recipe.sources) for receipt in held):
        return None
    return next((receipt.entry.reference for receipt in held if receipt.entry), None)


def _keys_by_id(inventory: Inventory) -> dict[str, set[str]]:
    """Return, for each id on a volume, the keys of its references; the empty key stands for a catalog entry."""
    held: dict[str, set[str]] = {}
    for (dataset, _), receipt in inventory.receipts.items():
        held.setdefault(dataset, set()).add(receipt.entry.key if receipt.entry else "")
    return held


def _entry(reference: Reference, dataset: str, inventory: Inventory, learnt: Learnt) -> DataSet:
    """Return the entry of a reference with what is known of it, from its source or from the receipt of the same version."""
    found = learnt.get(reference.text)
    if isinstance(found, EntryFacts):
        return entry_of(reference, dataset, found)
    plain = entry_of(reference, dataset, problem=found)
    version, state = make_recipe(plain).version, reference.source.stated_pin if reference.source.artifacts is None else ""
    if (receipt := inventory.satisfying(dataset, version, state)) is not None and receipt.entry:
        return entry_of(reference, dataset, receipt.entry, found)
    if (receipt := inventory.satisfying(dataset, version)) is not None and receipt.entry:
        # It is from another state than the pins name: its terms still apply, but its sizes do not.
        return entry_of(reference, dataset, replace(receipt.entry, download=None, taken=None), found)
    return plain


def recorded_entry(facts: EntryFacts, dataset: str, endpoint: str) -> DataSet | None:
    """Return the entry of a reference on a volume, or ``None`` if its receipt does not have a valid one.

    Args:
        facts: the facts in the receipt.
        dataset: the id.
        endpoint: the Hub's address.
    """
    try:
        reference = parse_reference(facts.reference, endpoint)
    except ConfigurationError:
        return None
    return entry_of(reference, dataset, facts)
