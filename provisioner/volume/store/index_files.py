"""The files of each data set's index, and the record of what it was made from.

An index appears in one step and is complete, or it is absent: it is written elsewhere, made durable, and renamed. The record
is written after that, so that a death in between only makes the next run repeat the work. Nothing here counts as proof of
anything: receipts do not mention indexes.
"""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING, Any, Final

from provisioner.planning.model import IndexFacts
from provisioner.volume.fs.directories import make_plain_directory
from provisioner.volume.fs.durable import fsync_directory, sync_tree
from provisioner.volume.fs.errors import disk_errors
from provisioner.volume.fs.files import read_file
from provisioner.volume.fs.modes import DIRECTORY_MODE, FILE_MODE
from provisioner.volume.fs.remove import remove_leftover
from provisioner.volume.fs.tree_size import content_bytes
from provisioner.volume.store.json_file import read_json, write_json
from provisioner.volume.store.layout import dataset_of
from provisioner.volume.store.listing import is_directory, json_names_in
from provisioner.volume.store.tree_moves import swap_trees

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from provisioner.volume.store.layout import VolumeLayout

_LOGGER = logging.getLogger(__name__)
_CARD: Final = "README.md"


class IndexFiles:
    """The indexes on one volume."""

    def __init__(self, layout: VolumeLayout) -> None:
        """Remember the paths; nothing is read yet."""
        self._layout = layout

    def recorded(self) -> tuple[str, ...]:
        """Return the ids of all data sets with a record.

        Raises:
            VolumeError: the volume cannot be read.
        """
        return tuple(map(dataset_of, json_names_in(self._layout.index_records)))

    def all(self) -> dict[str, IndexFacts]:
        """Return the facts about each data set's index.

        Raises:
            VolumeError: the volume cannot be read.
        """
        found = {}
        for dataset in self.recorded():
            record = self.record(dataset)
            if _says_made(record) and self.is_there(dataset):
                rows = (record or {}).get("rows")
                counts = rows.items() if isinstance(rows, dict) else ()
                by_split = {str(split): count for split, count in counts if isinstance(count, int)}
                found[dataset] = IndexFacts(by_split, content_bytes(self._layout.index(dataset)))
        return found

    def record(self, dataset: str) -> dict[str, Any] | None:
        """Return what an index was made from, or ``None`` if there is no record, or it is damaged."""
        return read_json(self._layout.index_record(dataset))

    def was_made(self, dataset: str) -> bool:
        """Return whether this program put an index at its path; a record may also say why there is none."""
        return _says_made(self.record(dataset))

    def is_there(self, dataset: str) -> bool:
        """Return whether a data set has an index."""
        return (self._layout.index(dataset) / _CARD).is_file()

    def is_foreign(self, dataset: str, mark: str) -> bool:
        """Return whether something that is not an index has its name: it is not recorded, and has no card with ``mark``."""
        path = self._layout.index(dataset)
        if not os.path.lexists(path) or self.was_made(dataset):
            return False
        try:
            return mark.encode() not in read_file(path / _CARD)
        except OSError:
            return not is_directory(path) or any(path.iterdir())

    def begin(self) -> Path:
        """Return a new directory to write an index to.

        Raises:
            VolumeError: it cannot be made.
        """
        make_plain_directory(self._layout.index_records)
        directory = self._layout.incoming_index()
        make_plain_directory(directory)
        return directory

    def publish(self, dataset: str, written: Path, record: Mapping[str, Any]) -> None:
        """Replace the index of a data set, and record what the new one was made from.

        Raises:
            VolumeError: the volume failed; the old index is where it was.
        """
        for directory, _, names in os.walk(written):
            os.chmod(directory, DIRECTORY_MODE)  # noqa: PTH101 - the umask may have taken something away
            for name in names:
                os.chmod(os.path.join(directory, name), FILE_MODE)  # noqa: PTH101, PTH118 - the same
        sync_tree(written)
        place = self._layout.index(dataset)
        for parent in reversed(place.relative_to(self._layout.root).parents[:-1]):
            make_plain_directory(self._layout.root / parent)
        with disk_errors(f"moving an index to {place}"):
            if os.path.lexists(place):
                remove_leftover(swap_trees(written, place, self._layout.incoming_index()))
            else:
                os.rename(written, place)
        fsync_directory(place.parent)
        self.write_record(dataset, record)

    def write_record(self, dataset: str, record: Mapping[str, Any]) -> None:
        """Record what an index was made from, or why there is none.

        Raises:
            VolumeError: the volume failed.
        """
        make_plain_directory(self._layout.index_records)
        write_json(self._layout.index_record(dataset), record)

    def remove(self, dataset: str) -> None:
        """Remove an index and its record; an index is removed only if the record says that this program made it.

        Raises:
            VolumeError: the volume failed.
        """
        if self.was_made(dataset):
            self.remove_index(dataset)
        with disk_errors(f"removing the index of {dataset}"):
            if is_directory(self._layout.index_records):
                self._layout.index_record(dataset).unlink(missing_ok=True)

    def remove_other(self, dataset: str, version: str) -> None:
        """Remove an index that was made from another version, since its files are no longer those that the app reads.

        Raises:
            VolumeError: the volume failed.
        """
        record = self.record(dataset)
        if record is not None and record.get("version") != version:
            self.remove(dataset)

    def remove_index(self, dataset: str) -> None:
        """Remove an index in one step; its record stays.

        Raises:
            VolumeError: the volume failed.
        """
        place = self._layout.index(dataset)
        parents = [self._layout.root / parent for parent in place.relative_to(self._layout.root).parents[:-1]]
        if (link := next((parent for parent in parents if parent.is_symlink()), None)) is not None:
            _LOGGER.warning("%s is a link, and what it leads to is not the provisioner's: nothing was removed there", link)
            return
        if not os.path.lexists(place):
            return
        with disk_errors(f"removing the index of {dataset}"):
            discarded = self._layout.incoming_index()
            os.rename(place, discarded)
        remove_leftover(discarded)
        for parent in parents:
            with contextlib.suppress(OSError):
                parent.rmdir()  # only if it is empty


def _says_made(record: Mapping[str, Any] | None) -> bool:
    return record is not None and record.get("reader") is not None and not record.get("problem")
