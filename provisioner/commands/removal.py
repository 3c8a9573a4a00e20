"""Common parts of ``gc`` and ``remove``: everything is named, with its size, before it is removed."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provisioner.commands.result import CommandResult
from provisioner.engine.supervise import deadline, supervise
from provisioner.units import format_bytes, format_count
from provisioner.volume.fs.tree_size import used_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provisioner.commands.request import CommandRequest
    from provisioner.engine.volume_session import VolumeSession
    from provisioner.volume.store.store import Store

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Item:
    """Something to remove from the volume."""

    dataset: str
    """Empty for leftovers that belong to no data set."""
    version: str
    """Empty for leftovers."""
    why: str
    size: int
    """Bytes on the device; blocks that versions share by hard links are freed only with the last of them."""
    reference: str = ""
    """The name of the data set for people, if that is not its id."""

    def as_record(self) -> dict[str, Any]:
        """Return the form in which ``--json`` carries it."""
        return {
            "dataset": self.reference or self.dataset or None,
            "version": self.version or None,
            "why": self.why,
            "bytes": self.size,
        }

    def __str__(self) -> str:
        named = " ".join(filter(None, (self.reference or self.dataset, self.version))) or "leftovers"
        return f"{named}: {self.why}, {format_bytes(self.size)}"


def version_item(store: Store, dataset: str, version: str, why: str) -> Item:
    """Return the item for one version, with the size of its tree."""
    tree = store.reader.tree_of(dataset, version)
    receipt = store.reader.receipt(dataset, version)
    return Item(dataset, version, why, used_bytes(tree) if tree else 0, receipt.label if receipt else "")


def remove_items(
    request: CommandRequest,
    session: VolumeSession,
    find: Callable[[], list[Item]],
    remove: Callable[[list[Item]], None],
) -> list[Item]:
    """Find what is to be removed, and remove it unless this is a dry run.

    Args:
        request: its option ``dry_run`` says whether to remove.
        session: the volume.
        find: examines the volume; called again under the lock before anything is removed.
        remove: removes the items; called while the lock is held.

    Returns:
        The items that were removed, or would be.

    Raises:
        ProvisionerError: it could not be removed.
    """

    def work() -> list[Item]:
        items = find()
        if request.options.dry_run or not items:
            return items
        session.prepare()
        with session.lock():
            items = find()
            for item in items:
                _LOGGER.info("Removing %s", item)
            remove(items)
        return items

    with deadline(request.settings.deadline_seconds, request.cancellation):
        return supervise(work, request.cancellation, lambda: None)


def removal_result(command: str, items: Sequence[Item], *, dry_run: bool) -> CommandResult:
    """Return the result of ``command`` for items that were removed, or would be."""
    total = sum(item.size for item in items)
    lines = [f"{'would remove' if dry_run else 'removed'} {item}" for item in items]
    lines.append(
        f"{command}: {format_count(len(items), 'item')}, {format_bytes(total)}" if items else f"{command}: nothing to remove"
    )
    document = {"dry_run": dry_run, "items": [item.as_record() for item in items], "bytes": total}
    return CommandResult(document, "\n".join(lines))
