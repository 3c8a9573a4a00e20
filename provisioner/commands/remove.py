"""``remove``: remove all versions of data sets from the volume."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from provisioner.commands.arguments import add_dry_run
from provisioner.commands.removal import Item, removal_result, remove_items, version_item
from provisioner.engine.export_records import update_export_records
from provisioner.engine.references import ids_of
from provisioner.engine.verification import known_ids
from provisioner.engine.volume_session import now
from provisioner.errors import VolumeError
from provisioner.reporting.status import SCHEMA_VERSION as STATUS_SCHEMA
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.fs.tree_size import used_bytes
from provisioner.volume.store.json_file import read_json, write_json
from provisioner.volume.store.newer_records import is_newer, newer_record_error

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from provisioner.catalog.model import Catalog
    from provisioner.commands.request import CommandRequest
    from provisioner.commands.result import CommandResult
    from provisioner.engine.volume_session import VolumeSession
    from provisioner.volume.store.store import Store

_LOGGER = logging.getLogger(__name__)

DESCRIPTION: Final = """\
Remove all versions of data sets from the volume. A data set that belongs to a phase is fetched again by the next
'provision' of that phase."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options and arguments."""
    parser.add_argument("ids", nargs="+", metavar="ID|REF", help="these data sets, by id or reference, all versions of them")
    add_dry_run(parser)


def run(request: CommandRequest) -> CommandResult:
    """Remove the data sets.

    Raises:
        NotFoundError: one of them is not on the volume; nothing was removed.
        ProvisionerError: they could not be removed.
    """
    session = request.session()
    catalog = request.described_catalog(session.store.reader.inventory(measured=False))
    ids = ids_of(request.options.ids, session)
    warned: set[str] = set()
    items = remove_items(
        request,
        session,
        find=lambda: _find(session.store, catalog, ids, warned),
        remove=lambda found: _remove(session, tuple(dict.fromkeys(item.dataset for item in found))),
    )
    return removal_result("remove", items, dry_run=request.options.dry_run)


def _find(store: Store, catalog: Catalog, ids: Sequence[str], warned: set[str]) -> list[Item]:
    """Return what is to be removed; ``warned`` are the data sets about which a warning has been logged."""
    present = store.reader.datasets()
    # An interrupted removal may have left files that no longer belong to a version.
    leftovers = {dataset: store.cleaner.leftovers(dataset) for dataset in ids if dataset not in present}
    items = [
        Item(dataset, "", "left by an interrupted run", sum(map(used_bytes, paths)))
        for dataset, paths in leftovers.items()
        if paths
    ]
    rest = [dataset for dataset in ids if not leftovers.get(dataset)]
    for dataset in known_ids(store, rest) if rest else ():
        if store.published.is_not_ours(dataset):
            raise VolumeError(
                f"datasets/{dataset} holds something that the provisioner did not put there; nothing was removed",
                hint="Move it away, then run 'remove' again.",
            )
        for version in store.reader.versions(dataset):
            if (newer := store.reader.newer_record(dataset, version)) is not None:
                raise newer_record_error(dataset, newer)
        items += [version_item(store, dataset, version, "asked for") for version in store.reader.versions(dataset)]
        phases = [phase.name for phase in catalog.phases.values() if dataset in phase.datasets]
        if phases and dataset not in warned:
            warned.add(dataset)
            _LOGGER.warning("%s belongs to %s: the next 'provision' of it fetches it again", dataset, ", ".join(phases))
    return items


def _remove(session: VolumeSession, ids: Sequence[str]) -> None:
    store = session.store
    for dataset in ids:
        store.indexes.remove(dataset)
        store.published.remove(dataset)
        # The versions are removed last: as long as one exists, the same command finds the data set and finishes the removal.
        _remove_from_status(session, dataset)
        store.cleaner.clear_abandoned((dataset,), time.time())
        store.cleaner.remove_lock(dataset)
        with disk_errors(f"removing {dataset}"):
            session.layout.versions_list(dataset).unlink(missing_ok=True)
        for version in store.reader.versions(dataset):
            store.cleaner.remove(dataset, version)
    store.cleaner.clear_leftovers()
    update_export_records(session)


def _remove_from_status(session: VolumeSession, dataset: str) -> None:
    """Remove a data set's record from the status file; a phase that needs the data set is then no longer ready."""
    document = read_json(session.layout.status)
    records = document.get("datasets") if document is not None else None
    if document is None or is_newer(document, STATUS_SCHEMA) or not isinstance(records, dict):
        return
    path = f"datasets/{dataset}"
    found = [name for name, one in records.items() if isinstance(one, dict) and (name == dataset or one.get("path") == path)]
    if not found:
        return
    record = records.pop(found[0])
    if record.get("reason") != "not_in_phase" and document.get("state") == "ready":
        document["state"] = "partial"
    document["updated_at"] = now()
    write_json(session.layout.status, document)
