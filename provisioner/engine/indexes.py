"""The indexes of the published data sets: which are missing or outdated, and how they are made.

An index is derived data: a problem with it is a warning, and the data set is ready without it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from provisioner.errors import ProvisionerError, VolumeError
from provisioner.indexing.registry import FORMAT, VERSIONS
from provisioner.log_fields import about
from provisioner.units import format_bytes, format_count
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.fs.remove import remove_leftover
from provisioner.volume.fs.tree_size import content_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from provisioner.indexing.build import Summary
    from provisioner.indexing.registry import Choice
    from provisioner.planning.model import Inventory, Receipt
    from provisioner.volume.store.store import Store

_LOGGER = logging.getLogger(__name__)

_SCHEMA: Final = 1


class Indexes:
    """The indexes on one volume."""

    def __init__(self, store: Store, *, is_on: bool, limit: int | None, check_cancelled: Callable[[], None]) -> None:
        """Prepare; nothing is read yet.

        Args:
            store: the volume.
            is_on: whether indexes are wanted.
            limit: bytes that may be kept on the volume, trees and indexes (``MAX_STORAGE_GB``); ``None`` means no
                limit.
            check_cancelled: ends the work by raising.
        """
        self._store = store
        self._files = store.indexes
        self._is_on = is_on
        self._limit = limit
        self._check_cancelled = check_cancelled

    def outdated(self, inventory: Inventory) -> tuple[str, ...]:
        """Return the data sets whose index is missing, outdated, or not wanted; no tree is looked at.

        Raises:
            VolumeError: the volume cannot be read.
        """
        published = self._wanted(inventory)
        surplus = (dataset for dataset in self._files.recorded() if dataset not in published)
        left = self._left(inventory)
        return (*surplus, *(dataset for dataset, receipt in published.items() if not self._is_right(receipt, left)))

    def update(self, inventory: Inventory) -> None:
        """Make the indexes that are missing, and remove those that are not wanted; the lock is held.

        Raises:
            ProvisionerError: the run must end.
        """
        published = self._wanted(inventory)
        left = self._left(inventory)
        for dataset in self.outdated(inventory):
            self._check_cancelled()
            receipt = published.get(dataset)
            if left is not None and dataset in inventory.indexes:
                left += inventory.indexes[dataset].size  # it will be removed or replaced in any case
            with about(receipt.label if receipt else dataset):
                try:
                    if receipt is None:
                        self._files.remove(dataset)
                    else:
                        self._make(receipt, left)
                except ProvisionerError as error:
                    self._check_cancelled()
                    _LOGGER.warning("%s: no index: %s", receipt.label if receipt else dataset, error.message)
            if left is not None and self._files.was_made(dataset):
                left -= content_bytes(self._store.layout.index(dataset))

    def _wanted(self, inventory: Inventory) -> dict[str, Receipt]:
        """Return the receipts of the data sets that should have an index, by id."""
        if not self._is_on:
            return {}
        receipts = ((dataset, inventory.receipts[dataset, version]) for dataset, version in inventory.published.items())
        return {dataset: receipt for dataset, receipt in receipts if not receipt.is_newer}

    def _left(self, inventory: Inventory) -> int | None:
        """Return how many bytes the limit leaves for indexes; ``None`` means no limit."""
        return None if self._limit is None else self._limit - inventory.kept_bytes

    def _is_right(self, receipt: Receipt, left: int | None) -> bool:
        record = self._files.record(receipt.dataset)
        if record is None or any(record.get(key) != value for key, value in self._source(receipt).items()):
            return False
        reader = record.get("reader")
        if reader is None:
            return True
        if VERSIONS.get(reader) != record.get("reader_version"):
            return False
        if record.get("problem"):
            # If the limit left too little space before, there may be more now.
            before = record.get("left")
            return before is None or (left is not None and left <= before)
        # The paths in an index are absolute.
        return record.get("root") == str(self._store.layout.root) and self._files.is_there(receipt.dataset)

    def _source(self, receipt: Receipt) -> dict[str, Any]:
        """Return what an index depends on: if any of these values changes, it is made anew."""
        return {
            "schema_version": _SCHEMA,
            "format": FORMAT,
            "version": receipt.version,
            "pin": receipt.pin,
            "published_at": receipt.published_at,
            "files": receipt.files,
            "bytes": receipt.size,
        }

    def _make(self, receipt: Receipt, left: int | None) -> None:
        # Imported here, so that a start with nothing to do does not pay for it.
        from provisioner.indexing.model import IndexTooLargeError  # noqa: PLC0415
        from provisioner.indexing.registry import reader_of  # noqa: PLC0415

        dataset = receipt.dataset
        tree = self._store.layout.published(dataset)
        record = self._source(receipt) | {"reader": None}
        choice = reader_of(tree)
        if choice is None:
            self._files.remove(dataset)
            self._files.write_record(dataset, record)
            return
        record |= {"reader": choice.name, "reader_version": VERSIONS[choice.name], "root": str(self._store.layout.root)}
        try:
            summary, problem = self._build(receipt, choice, tree, record, left)
        except IndexTooLargeError:
            shown = format_bytes(max(0, left or 0))
            summary, problem = None, f"it needs more than the {shown} that MAX_STORAGE_GB leaves"
            record |= {"left": left}
        if problem:
            self._files.remove(dataset)
            self._files.write_record(dataset, record | {"problem": problem})
            _LOGGER.warning("%s: no index: %s; the files are there all the same", receipt.label, problem)
        elif summary is not None:
            _log(receipt, summary)

    def _build(
        self, receipt: Receipt, choice: Choice, tree: Path, record: dict[str, Any], most: int | None
    ) -> tuple[Summary | None, str]:
        """Write an index of at most ``most`` bytes and publish it; return its summary, or why there is none."""
        from provisioner.indexing.build import IndexBuilder  # noqa: PLC0415 - as above
        from provisioner.indexing.card import MARK  # noqa: PLC0415 - as above
        from provisioner.indexing.model import IndexTooLargeError, ReaderError  # noqa: PLC0415 - as above
        from provisioner.indexing.workers import WorkerLostError  # noqa: PLC0415 - as above
        from provisioner.volume.parallel import usable_cores  # noqa: PLC0415 - as above

        dataset = receipt.dataset
        if self._files.is_foreign(dataset, MARK):
            raise VolumeError(f"index/{dataset} holds something that the provisioner did not put there; it is left alone")
        target = self._files.begin()
        try:
            builder = IndexBuilder(
                dataset,
                choice,
                tree,
                target,
                tree,
                workers=usable_cores(),
                most_bytes=most,
                check_cancelled=self._check_cancelled,
                is_part=receipt.rule is not None,
            )
            facts = {"version of the files": receipt.version, "reader": f"{choice.name} {VERSIONS[choice.name]}"}
            facts |= {"part": f"`{receipt.rule.words}`"} if receipt.rule else {}
            try:
                with disk_errors(f"writing the index of {dataset}", target):
                    summary = builder.build(facts)
            except WorkerLostError as error:
                raise VolumeError(str(error), hint="The next run tries again.") from error
            except ReaderError as error:
                return None, str(error)
            except (ProvisionerError, IndexTooLargeError):
                raise
            except Exception as error:
                # Tables may hold anything: a reader that fails must not fail the run.
                _LOGGER.debug("the reader %s failed", choice.name, exc_info=True)
                return None, f"its reader failed, which is a bug of this program: {type(error).__name__}: {error}"
            if not summary.total and not summary.tables:
                return None, f"it has no example that can be used; {_counted(summary)}"
            self._files.publish(dataset, target, record | {"rows": summary.rows, "problems": summary.problems})
        finally:
            remove_leftover(target)
        return summary, ""


def _log(receipt: Receipt, summary: Summary) -> None:
    splits = ", ".join(f"{split} {count:,}" for split, count in summary.rows.items())
    dataset = receipt.dataset
    if summary.tables:
        _LOGGER.info("%s: index/%s names %s", receipt.label, dataset, format_count(len(summary.tables), "table"))
        return
    _LOGGER.info("%s: index/%s has %s (%s)", receipt.label, dataset, format_count(summary.total, "example"), splits)
    if summary.problems:
        _LOGGER.info(
            "%s: the index leaves out, or has null for, what cannot be used (%s): see index/%s/problems.jsonl",
            receipt.label,
            _counted(summary),
            dataset,
        )


def _counted(summary: Summary) -> str:
    return ", ".join(f"{reason}: {count:,}" for reason, count in sorted(summary.problems.items())) or "nothing is in it"
