"""``gc`` and ``remove``: what goes off the volume is said, with its size, before it goes.

Receipts decide what stays, not the catalog alone: a version that the app sees is never collected, whichever catalog it came
with; and of a data set that today's catalog does not have, nothing is collected that has a receipt.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provisioner.commands.result import CommandResult
from provisioner.engine.supervise import deadline, supervise
from provisioner.engine.verification import known_ids
from provisioner.engine.volume_session import VolumeSession, now
from provisioner.errors import VolumeError
from provisioner.reporting.units import format_bytes
from provisioner.volume.fs.space import used_bytes
from provisioner.volume.store.json_file import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provisioner.cancellation import Cancellation
    from provisioner.catalog.model import Catalog
    from provisioner.settings.model import Settings
    from provisioner.volume.store.store import Store

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to be taken off the volume."""

    dataset: str
    version: str
    """Empty: leftovers of no data set."""
    why: str
    size: int
    """Bytes on the device; what other versions share by hard links is freed only with the last of them."""

    def as_record(self) -> dict[str, Any]:
        """Return the form in which ``--json`` carries it."""
        return {"dataset": self.dataset or None, "version": self.version or None, "why": self.why, "bytes": self.size}

    def __str__(self) -> str:
        return f"{' '.join(filter(None, (self.dataset, self.version))) or 'leftovers'}: {self.why}, {format_bytes(self.size)}"


def superseded(store: Store, catalog: Catalog) -> list[Item]:
    """Find the versions that nobody sees, of data sets of which another one is seen, and trees that can be nobody's."""
    items = []
    for dataset in store.datasets():
        current = store.shown(dataset)
        if current is None or store.receipt(dataset, current) is None:
            continue  # which of them is to be shown again, nobody knows here
        for version in store.versions(dataset):
            believed = store.receipt(dataset, version) is not None
            if version == current or (believed and dataset not in catalog.datasets):
                continue
            tree = store.tree_of(dataset, version)
            why = "superseded" if believed else "superseded, and not believed"
            items.append(Item(dataset, version, why, used_bytes(tree) if tree else 0))
    items += [
        Item(dataset, version, "neither receipt nor manifest speaks of it", used_bytes(store.layout.tree(dataset, version)))
        for dataset, version in store.strays()
    ]
    return items


def _leftovers(store: Store, at: float) -> list[Item]:
    size, count = store.measure_leftovers(at)
    return [Item("", "", f"{count} names that runs left which died, or that nobody touched for a week", size)] if count else []


def run_gc(settings: Settings, catalog: Catalog, *, dry_run: bool, cancellation: Cancellation) -> CommandResult:
    """Do what the command ``gc`` does.

    Raises:
        ProvisionerError: it could not be done.
    """
    holding, at = VolumeSession(settings, cancellation), time.time()
    store = holding.store

    def look() -> list[Item]:
        return superseded(store, catalog) + _leftovers(store, at)

    def take(items: list[Item]) -> None:
        for item in items:
            cancellation.raise_if_requested()
            if item.version:
                store.remove(item.dataset, item.version)
        store.clear_leftovers()
        store.clear_abandoned((), at)

    items = _act(holding, look, take, dry_run=dry_run, cancellation=cancellation)
    return _answer("gc", items, dry_run=dry_run)


def run_remove(
    settings: Settings, catalog: Catalog, ids: Sequence[str], *, dry_run: bool, cancellation: Cancellation
) -> CommandResult:
    """Do what the command ``remove`` does.

    Raises:
        NotFoundError: one of the data sets is not on the volume; nothing was done.
        ProvisionerError: it could not be done.
    """
    holding = VolumeSession(settings, cancellation)
    store = holding.store

    def look() -> list[Item]:
        # A removal that died may have left what no version names any more.
        there = store.datasets()
        rest = {dataset: store.leftovers(dataset) for dataset in ids if dataset not in there}
        items = [
            Item(dataset, "", "left by a run that died", sum(map(used_bytes, paths))) for dataset, paths in rest.items() if paths
        ]
        known = [dataset for dataset in ids if not rest.get(dataset)]
        for dataset in known_ids(store, known) if known else ():
            if store.is_foreign(dataset):
                raise VolumeError(
                    f"datasets/{dataset} holds something that the provisioner did not put there; nothing was removed",
                    hint="Move it away, then run 'remove' again.",
                )
            for version in store.versions(dataset):
                tree = store.tree_of(dataset, version)
                items.append(Item(dataset, version, "asked for", used_bytes(tree) if tree else 0))
            phases = [phase.name for phase in catalog.phases.values() if dataset in phase.datasets]
            if phases:
                _LOGGER.warning("%s belongs to %s: the next 'provision' of it fetches it again", dataset, ", ".join(phases))
        return items

    def take(items: list[Item]) -> None:
        for dataset in dict.fromkeys(item.dataset for item in items):
            store.hide(dataset)
            # While there is a version left the same command finds it, and ends what this one may not live to end.
            _forget(holding, dataset)
            store.clear_abandoned((dataset,), time.time())
            for version in store.versions(dataset):
                store.remove(dataset, version)
        store.clear_leftovers()

    items = _act(holding, look, take, dry_run=dry_run, cancellation=cancellation)
    return _answer("remove", items, dry_run=dry_run)


def _act(
    holding: VolumeSession,
    look: Callable[[], list[Item]],
    take: Callable[[list[Item]], None],
    *,
    dry_run: bool,
    cancellation: Cancellation,
) -> list[Item]:
    """Look; with something to take away, look again under the lock, say what goes, and take it away."""

    def work() -> list[Item]:
        items = look()
        if dry_run or not items:
            return items
        holding.prepare()
        with holding.lock():
            items = look()
            for item in items:
                _LOGGER.info("Removing %s", item)
            take(items)
        return items

    with deadline(holding.settings.deadline_seconds, cancellation):
        return supervise(work, cancellation, lambda: None)


def _forget(holding: VolumeSession, dataset: str) -> None:
    """Let the status no longer say that a data set is there: what needs it is not ready without it."""
    document = read_json(holding.layout.status)
    records = document.get("datasets") if document is not None else None
    if document is None or not isinstance(records, dict) or not isinstance(records.get(dataset), dict):
        return
    record = records.pop(dataset)
    if record.get("reason") != "not_in_phase" and document.get("state") == "ready":
        document["state"] = "partial"
    document["updated_at"] = now()
    write_json(holding.layout.status, document)


def _answer(command: str, items: Sequence[Item], *, dry_run: bool) -> CommandResult:
    total = sum(item.size for item in items)
    lines = [f"{'would remove' if dry_run else 'removed'} {item}" for item in items]
    lines.append(f"{command}: {len(items)} items, {total:,} bytes" if items else f"{command}: nothing to remove")
    document = {"dry_run": dry_run, "items": [item.as_record() for item in items], "bytes": total}
    return CommandResult(document, "\n".join(lines))
