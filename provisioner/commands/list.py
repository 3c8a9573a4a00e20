"""``list``: show the catalog, and which of its data sets the volume holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provisioner.commands.result import CommandResult
from provisioner.reporting.catalog_report import catalog_document, catalog_text

if TYPE_CHECKING:
    import argparse

    from provisioner.commands.request import CommandRequest

DESCRIPTION: Final = "Show the catalog: data sets, splits, phases, sizes and licences, and what this volume holds of them."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add no options; the common ones are enough."""


def run(request: CommandRequest) -> CommandResult:
    """Compare the catalog with the volume's receipts.

    Raises:
        ProvisionerError: the catalog is not well formed, or the volume cannot be read.
    """
    inventory = request.session().store.reader.inventory()
    catalog = request.described_catalog(inventory)
    return CommandResult(catalog_document(catalog, inventory), catalog_text(catalog, inventory, columns=request.columns))
