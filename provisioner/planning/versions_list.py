"""The list of the versions of one data set on a volume, as a document for readers that cannot list its directories.

A recipe's own version is known in advance. Later states of its source, which satisfy it as well, are versions that only the
volume knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.planning.model import Inventory

_SCHEMA: Final = 1


def versions_document(inventory: Inventory, dataset: str) -> dict[str, Any]:
    """Return the versions of a data set: the published one first, then the others from the newest to the oldest."""
    receipts = [receipt for (name, _), receipt in inventory.receipts.items() if name == dataset]
    current = inventory.published.get(dataset)
    receipts.sort(key=lambda receipt: (receipt.version == current, receipt.age_key), reverse=True)
    return {
        "schema_version": _SCHEMA,
        "versions": [{"version": receipt.version, "recipe": receipt.asked, "pin": receipt.pin} for receipt in receipts],
    }


def listed_versions(document: Mapping[str, Any], recipe: str) -> list[tuple[str, str]]:
    """Return the versions in such a document that satisfy a recipe, each with its pin; empty if the document is not valid.

    Args:
        document: the document as received.
        recipe: the version of the requested recipe.
    """
    versions = document.get("versions")
    found = []
    for each in versions if isinstance(versions, list) else ():
        if isinstance(each, dict) and each.get("recipe") == recipe:
            version, pin = each.get("version"), each.get("pin")
            if isinstance(version, str) and isinstance(pin, str):
                found.append((version, pin))
    return found
