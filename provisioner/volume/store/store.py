"""The data sets on one volume, with one object for each kind of operation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.volume.store.cleanup import StoreCleaner
from provisioner.volume.store.hub_cache import HubCache
from provisioner.volume.store.index_files import IndexFiles
from provisioner.volume.store.inventory import StoreReader
from provisioner.volume.store.publish import Publisher
from provisioner.volume.store.published_names import PublishedNames

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from provisioner.volume.store.layout import VolumeLayout
    from provisioner.volume.store.published_names import PublishMode


class Store:
    """All operations on the trees and records of one volume."""

    def __init__(
        self,
        layout: VolumeLayout,
        mode: PublishMode,
        *,
        program_version: str,
        check_cancelled: Callable[[], None],
        measures_space: bool = True,
        hub_cache: Path | None = None,
    ) -> None:
        """Connect the parts; nothing is read yet.

        Args:
            layout: where everything is.
            mode: whether the app gets a link or the tree itself.
            program_version: noted in receipts.
            check_cancelled: called between pieces of work; raises to end it.
            measures_space: whether the free space that the volume's file system states can be believed.
            hub_cache: the Hub client's cache in which repositories are shown as well; ``None`` if there is none.
        """
        self.layout = layout
        self.indexes = IndexFiles(layout)
        """The indexes of published data sets."""
        self.published = PublishedNames(layout, mode, self.indexes)
        """The names that the app reads."""
        self.reader = StoreReader(layout, self.published, self.indexes, measures_space=measures_space)
        """Reads what the volume holds."""
        self.hub_cache = HubCache(layout, self.reader, hub_cache)
        """Shows published repositories in the Hub client's cache."""
        self.cleaner = StoreCleaner(layout, self.reader, self.hub_cache)
        """Removes versions, leftovers and staged files."""
        self.publisher = Publisher(
            layout,
            self.published,
            self.reader,
            self.cleaner,
            self.hub_cache,
            program_version=program_version,
            check_cancelled=check_cancelled,
        )
        """Publishes new versions and writes their records."""
