"""``gc``: remove superseded versions and leftovers.

Receipts decide what stays, not the catalog alone: the version that the app sees is never removed, whichever catalog described
it; and of a data set that today's catalog does not describe, nothing is removed that has a receipt.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from provisioner.commands.arguments import add_dry_run
from provisioner.commands.removal import Item, removal_result, remove_items, version_item
from provisioner.errors import ProvisionerError
from provisioner.units import format_count
from provisioner.volume.fs.tree_size import used_bytes

if TYPE_CHECKING:
    import argparse

    from provisioner.catalog.model import Catalog
    from provisioner.commands.request import CommandRequest
    from provisioner.commands.result import CommandResult
    from provisioner.volume.store.store import Store

_LOGGER = logging.getLogger(__name__)

DESCRIPTION: Final = """\
Remove versions of data sets that a newer one has replaced, and what runs that were killed left behind. What the app sees
stays, and so does every data set that the catalog does not describe."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's options."""
    add_dry_run(parser)


def run(request: CommandRequest) -> CommandResult:
    """Remove superseded versions and leftovers.

    Raises:
        ProvisionerError: they could not be removed.
    """
    session, started_at = request.session(), time.time()
    store = session.store

    def find() -> list[Item]:
        return _superseded(store, request.described_catalog(store.reader.inventory(measured=False))) + _leftovers(
            store, started_at
        )

    def remove(items: list[Item]) -> None:
        errors = []
        for item in items:
            request.cancellation.raise_if_requested()
            if item.version:
                try:
                    store.cleaner.remove(item.dataset, item.version)
                except ProvisionerError as error:
                    errors.append(error)
        store.cleaner.clear_leftovers()
        store.cleaner.clear_abandoned((), started_at)
        if errors:
            raise errors[0]

    return removal_result("gc", remove_items(request, session, find, remove), dry_run=request.options.dry_run)


def _superseded(store: Store, catalog: Catalog) -> list[Item]:
    """Return the versions that are not published while another version of the data set is, and trees without any record."""
    items = []
    for dataset in store.reader.datasets():
        current = store.published.version(dataset)
        if current is None or store.reader.receipt(dataset, current) is None:
            continue  # which version is to be published again is not known here
        for version in store.reader.versions(dataset):
            has_receipt = store.reader.receipt(dataset, version) is not None
            if version == current or (has_receipt and dataset not in catalog.datasets):
                continue
            if (newer := store.reader.newer_record(dataset, version)) is not None:
                _LOGGER.info("%s was written by a newer version of this program: it stays, with what belongs to it", newer)
                continue
            items.append(version_item(store, dataset, version, "superseded" if has_receipt else "superseded, without a receipt"))
    items += [
        Item(dataset, version, "it has neither receipt nor manifest", used_bytes(store.layout.tree(dataset, version)))
        for dataset, version in store.reader.untracked_trees()
    ]
    return items


def _leftovers(store: Store, now: float) -> list[Item]:
    size, count = store.cleaner.measure_leftovers(now)
    why = f"{format_count(count, 'name')} that interrupted runs left, or that nobody touched for a week"
    return [Item("", "", why, size)] if count else []
