"""The file of pins: how it is read, and compared with the volume and with what a build fetches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provisioner.catalog.digest import Digest
from provisioner.catalog.pins import parse_pins
from provisioner.errors import ConfigurationError, DigestMismatchError
from provisioner.planning.pinning import Pinned, checks_manifest, pin_of_source, pinned_name
from provisioner.volume.fs.files import read_named_text

if TYPE_CHECKING:
    from pathlib import Path

    from provisioner.catalog.model import Catalog
    from provisioner.catalog.pins import Pins
    from provisioner.catalog.source import Source
    from provisioner.planning.model import Inventory
    from provisioner.planning.recipe import Recipe
    from provisioner.remote.resolved import Resolved
    from provisioner.volume.store.inventory import StoreReader
    from provisioner.volume.store.manifest import Manifest

_LARGEST: Final = 16 << 20
"""Bytes of a file of pins."""


def load_pins(path: Path) -> Pins:
    """Read a file of pins.

    Raises:
        ConfigurationError: it does not exist, or is not well formed.
    """
    try:
        text = read_named_text(path, _LARGEST)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        hint = "Name a file that 'provisioner catalog pin --output FILE' has written."
        raise ConfigurationError(f"PINS: {path} cannot be read: {reason}", hint=hint) from None
    return parse_pins(text, str(path))


def pinned_data_sets(pins: Pins, catalog: Catalog, inventory: Inventory, reader: StoreReader) -> dict[str, Pinned]:
    """Return by id what pins say of each data set of a catalog, with the versions whose list of checksums they name.

    Raises:
        VolumeError: the volume cannot be read.
    """
    found = {}
    for dataset in catalog.datasets.values():
        pin = pins.datasets.get(dataset.label)
        accepted = [
            version
            for (name, version), receipt in inventory.receipts.items()
            if name == dataset.id
            and pin is not None
            and checks_manifest(pin, receipt.asked)
            and reader.checksums_digest(name, version) == pin.manifest
        ]
        found[dataset.id] = Pinned(pins.file, pin, frozenset(accepted))
    return found


def known_digests(manifest: Manifest | None) -> dict[str, Digest]:
    """Return the digests of published files by path: files that did not come from an archive are as their source has them."""
    entries = manifest.entries if manifest is not None else ()
    return {entry.path: Digest("sha256", entry.sha256) for entry in entries if entry.kind == "file" and entry.sha256}


def check_source(recipe: Recipe, source: Source, resolved: Resolved) -> None:
    """Raise an error if there are pins and a source differs from them.

    Raises:
        DigestMismatchError: it differs; nothing was fetched.
    """
    pin = pin_of_source(recipe.pin, source) if recipe.pin is not None else None
    if pin is not None and (difference := pin.difference(resolved.pin, resolved.artifacts)):
        raise DigestMismatchError(
            f"{recipe.label}: {pinned_name(source)}: {difference}; nothing of it was fetched",
            hint="Use a server that has what was pinned, or pin anew: 'provisioner catalog pin'.",
        )


def check_manifest(recipe: Recipe, manifest: Manifest) -> None:
    """Raise an error if the pins name a manifest for this recipe and a tree differs from it.

    Raises:
        DigestMismatchError: it differs.
    """
    pin = recipe.pin
    if pin is None or not checks_manifest(pin, recipe.asked):
        return
    if (found := manifest.checksums_digest()) != pin.manifest:
        raise DigestMismatchError(
            f"{recipe.label}: its manifest is {found}, and the pins name {pin.manifest}; it was not published",
            hint="The source, or what this version of the program makes of it, is not what was pinned. Pin anew if it is right.",
        )
