"""``gc``: remove superseded versions and leftovers.

Receipts decide what stays, not only the catalog: the version that the app sees is never removed, whichever catalog described
it, and if today's catalog does not describe a data set, nothing with a receipt is removed.
"""

from __future__ import annotations

import itertools
import logging
import time
from datetime import datetime
from typing import TYPE_CHECKING, Final

from provisioner.commands.arguments import add_dry_run
from provisioner.commands.removal import Item, removal_result, remove_items, version_item
from provisioner.engine.volume_session import now
from provisioner.errors import ProvisionerError, UsageError
from provisioner.reporting.status import SCHEMA_VERSION as STATUS_SCHEMA
from provisioner.settings import parsers
from provisioner.units import format_count
from provisioner.volume.fs.tree_size import used_bytes
from provisioner.volume.store.json_file import read_json, write_json
from provisioner.volume.store.newer_records import is_newer

if TYPE_CHECKING:
    import argparse
    from collections.abc import Collection

    from provisioner.catalog.model import Catalog
    from provisioner.commands.request import CommandRequest
    from provisioner.commands.result import CommandResult
    from provisioner.engine.volume_session import VolumeSession
    from provisioner.volume.store.store import Store

_LOGGER = logging.getLogger(__name__)

DESCRIPTION: Final = """\
Remove versions of data sets that another version has replaced, and leftovers of runs that were killed. The published
versions stay, and so does every data set that the catalog does not describe. A version that was replaced within the
last 7 days (GC_GRACE, or --older-than) stays, for apps that still read it, and so that you can go back to it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_dry_run(parser)
    words = "remove versions that were replaced longer ago than this, such as 0, 12h or 30d, whatever GC_GRACE says"
    parser.add_argument("--older-than", metavar="DURATION", help=words)


def run(request: CommandRequest) -> CommandResult:
    """Remove superseded versions and leftovers.

    Raises:
        UsageError: the time is not valid.
        ProvisionerError: they could not be removed.
    """
    session, started_at = request.session(), time.time()
    store = session.store
    written = request.options.older_than
    before = started_at - (request.settings.gc_grace_seconds if written is None else _duration(written))

    def find() -> list[Item]:
        catalog = request.described_catalog(store.reader.inventory(measured=False))
        return _superseded(store, catalog, before) + _leftovers(store, started_at)

    def remove(items: list[Item]) -> None:
        errors = []
        for item in items:
            request.cancellation.raise_if_requested()
            if item.version:
                try:
                    store.cleaner.remove(item.dataset, item.version)
                except ProvisionerError as error:
                    errors.append(error)
        _forget(session, {item.version for item in items if item.version})
        store.cleaner.clear_leftovers()
        store.cleaner.clear_abandoned((), started_at)
        if errors:
            raise errors[0]

    return removal_result("gc", remove_items(request, session, find, remove), dry_run=request.options.dry_run)


def _duration(text: str) -> float:
    """Return the duration in a text, in seconds.

    Raises:
        UsageError: it is not a valid duration.
    """
    try:
        return parsers.duration(zero=True)(text)
    except parsers.BadTextError as error:
        raise UsageError(f"--older-than: {error.problem}", hint=error.hint) from None


def _forget(session: VolumeSession, versions: Collection[str]) -> None:
    """Remove versions that can no longer be switched back to from the status file."""
    document = read_json(session.layout.status)
    records = document.get("datasets") if document is not None else None
    if document is None or is_newer(document, STATUS_SCHEMA) or not isinstance(records, dict):
        return
    gone = [
        record
        for record in records.values()
        if isinstance(record, dict) and isinstance(record.get("previous"), dict) and record["previous"].get("version") in versions
    ]
    for record in gone:
        del record["previous"]
    if gone:
        write_json(session.layout.status, {**document, "updated_at": now()})


def _superseded(store: Store, catalog: Catalog, before: float) -> list[Item]:
    """Return the versions that another published version has replaced, and trees without any record.

    Args:
        store: the volume's trees.
        catalog: describes the data sets.
        before: a version with a receipt stays if it was replaced after this time, in seconds since the epoch.
    """
    items = []
    for dataset in store.reader.datasets():
        current = store.published.version(dataset)
        if current is None or store.reader.receipt(dataset, current) is None:
            continue  # which version should be published again is not known here
        replaced_at = _times_of_replacement(store, dataset, current)
        for version in store.reader.versions(dataset):
            has_receipt = store.reader.receipt(dataset, version) is not None
            if version == current or (has_receipt and dataset not in catalog.datasets):
                continue
            if has_receipt and replaced_at.get(version, 0.0) > before:
                _LOGGER.info("%s %s stays: it was replaced too recently, see GC_GRACE and --older-than", dataset, version)
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


def _times_of_replacement(store: Store, dataset: str, current: str) -> dict[str, float]:
    """Return when each version with a receipt was replaced by another one, in seconds since the epoch.

    That is when the next one was published. For the newest of them, it is when the name was last switched, since it may have
    been switched back and forth between the two.
    """
    receipts = [receipt for version in store.reader.versions(dataset) if (receipt := store.reader.receipt(dataset, version))]
    others = sorted((one for one in receipts if one.version != current), key=lambda one: one.age_key)
    times = {one.version: _seconds(after.published_at) for one, after in itertools.pairwise(others)}
    if others:
        times[others[-1].version] = store.published.switched_at(dataset) or 0.0
    return times


def _seconds(time_text: str) -> float:
    """Return a receipt's time in seconds since the epoch; an invalid one counts as long ago."""
    try:
        return datetime.fromisoformat(time_text).timestamp()
    except ValueError:
        return 0.0


def _leftovers(store: Store, now: float) -> list[Item]:
    size, count = store.cleaner.measure_leftovers(now)
    why = f"{format_count(count, 'name')} that interrupted runs left, or that nobody touched for a week"
    return [Item("", "", why, size)] if count else []
