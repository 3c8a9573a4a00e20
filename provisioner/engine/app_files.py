"""The files for the app beside the data: ``provision.env``, and ``ATTRIBUTION.md`` with licences and citations."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from provisioner.catalog.license import attribution_section, attribution_text, mark_of
from provisioner.remote.hub.repository.values import environment
from provisioner.volume.fs.atomic import write_atomic
from provisioner.volume.fs.directories import make_directory
from provisioner.volume.fs.files import read_file
from provisioner.volume.store.environment_file import ambiguous_names, environment_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from provisioner.catalog.model import Catalog
    from provisioner.planning.model import Inventory, Receipt
    from provisioner.remote.hub.repository.values import RepositoryOutcome
    from provisioner.volume.store.layout import VolumeLayout

_LOGGER = logging.getLogger(__name__)

EXPORTED: Final = ("DATASETS_DIR", "HF_HUB_CACHE", "TRACKIO_DATASET_REPO", "TRACKIO_DATASET_ID")
"""The app's variables that are exported. A value that the user set is kept."""


class AppFiles:
    """Writes the two files, and makes the environment of an app that this process becomes."""

    def __init__(
        self, layout: VolumeLayout, catalog: Catalog, given: Mapping[str, str], *, hub_cache: Path | None = None
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            layout: the volume's directories.
            catalog: licences and citations.
            given: the environment of this process.
            hub_cache: the Hub client's cache in which repositories are shown; ``None`` means in no cache.
        """
        self._hub_cache = hub_cache
        self._layout = layout
        self._catalog = catalog
        self._given = {name: value for name, value in given.items() if value}

    def environment(self, repository: RepositoryOutcome | None, inventory: Inventory) -> dict[str, str]:
        """Return the app's variables.

        Args:
            repository: the app's data-set repository, or ``None`` if nothing is known of it yet.
            inventory: what the volume holds.
        """
        values = {"DATASETS_DIR": str(self._layout.datasets)}
        if self._hub_cache is not None and any(receipt.repository for receipt in inventory.receipts.values()):
            values["HF_HUB_CACHE"] = str(self._hub_cache)
        if repository is not None:
            values |= environment(repository)
        return values | {name: self._given[name] for name in (*EXPORTED, *values) if name in self._given}

    def outdated(self, inventory: Inventory, values: Mapping[str, str]) -> list[str]:
        """Return the names of the files that are missing or do not say what they should."""
        return [path.name for path, data in self._contents(inventory, values).items() if _read(path) != data]

    def write(self, inventory: Inventory, values: Mapping[str, str]) -> None:
        """Write the files that :meth:`outdated` would name.

        Raises:
            VolumeError: the volume failed.
        """
        # The file names this directory even if no data set could be fetched.
        make_directory(self._layout.datasets)
        for path, data in self._contents(inventory, values).items():
            if _read(path) != data:
                write_atomic(path, data)
                if path == self._layout.environment and (sentence := left_out_of_file(values)):
                    _LOGGER.warning("%s", sentence)

    def _contents(self, inventory: Inventory, values: Mapping[str, str]) -> dict[Path, bytes]:
        return {
            self._layout.environment: environment_file(values),
            self._layout.attribution: self._attribution(inventory),
        }

    def _attribution(self, inventory: Inventory) -> bytes:
        ids = [name for name in self._catalog.datasets if name in inventory.published]
        others = [
            _section(inventory.receipts[name, version])
            for name, version in sorted(inventory.published.items())
            if name not in self._catalog.datasets
        ]
        receipts = {name: inventory.receipts[name, version] for name, version in inventory.published.items()}
        rules = {name: receipt.rule for name, receipt in receipts.items() if receipt.rule is not None}
        each = {name: self._credits(name, inventory.published[name]) for name in rules}
        marks = {
            name: mark_of(self._catalog.datasets[name], rule, receipts[name].layout, receipts[name].splits)
            for name, rule in rules.items()
            if name in self._catalog.datasets
        }
        return attribution_text((self._catalog.datasets[name] for name in ids), others, rules, marks, each).encode()

    def _credits(self, dataset: str, version: str) -> str:
        data = _read(self._layout.credits(dataset, version))
        return data.decode("utf-8", "replace") if data else ""


def _section(receipt: Receipt) -> str:
    """Return the section of ``ATTRIBUTION.md`` about a data set that today's catalog does not describe."""
    if receipt.entry is not None:
        return attribution_section(receipt.dataset, receipt.entry, receipt.rule)
    return (
        f"## {receipt.dataset}\n\n- Folder: `datasets/{receipt.dataset}`\n- Source: <{receipt.source_url}>\n"
        f"- Licence: SPDX `{receipt.license}`, by the catalog that it came with; today's does not list it\n"
    )


def left_out_of_file(values: Mapping[str, str]) -> str:
    """Return a sentence about the values that ``provision.env`` cannot hold; empty if it can hold all of them."""
    if not (names := ambiguous_names(values)):
        return ""
    shown = ", ".join(f"{name}={values[name]!r}" for name in names)
    return (
        f"provision.env does not hold {shown}, which a shell and Docker's --env-file would understand differently."
        " An app that this program starts gets it; give it to others yourself"
    )


def _read(path: Path) -> bytes | None:
    try:
        return read_file(path)
    except OSError:
        return None
