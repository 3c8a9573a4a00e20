"""Recipes with pins: nothing is accepted except what the pins name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from provisioner.errors import ConfigurationError, DigestMismatchError
from provisioner.redaction import show_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from provisioner.catalog.pins import DataSetPin, SourcePin
    from provisioner.catalog.source import Source
    from provisioner.planning.model import Inventory, Receipt
    from provisioner.planning.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Pinned:
    """The pinned states of one data set."""

    file: str
    """The file of the pins, for messages."""
    pin: DataSetPin | None
    """``None`` if the pins do not include the data set."""
    accepted: frozenset[str] = frozenset()
    """The versions on the volume whose list of checksums matches the pins."""


def pinned_name(source: Source) -> str:
    """Return the name of a source in pins, without anything that may be secret."""
    return show_url(source.name) if "://" in source.name else source.name


def pin_of_source(pin: DataSetPin, source: Source) -> SourcePin | None:
    """Return the pin of a source, or ``None`` if there is none.

    Files behind URLs may also be some of the pinned files, as for a split, or have moved: their digests identify them.
    """
    named = pin.of(source.kind, pinned_name(source))
    if named is not None or source.artifacts is None:
        return named
    paths = {artifact.path for artifact in source.artifacts}
    return next((one for one in pin.sources if one.kind == source.kind and paths <= one.files.keys()), None)


def checks_manifest(pin: DataSetPin, recipe: str) -> bool:
    """Return whether a pin names the list of checksums for a recipe; that alone then decides."""
    return bool(pin.manifest) and pin.recipe == recipe


def at_pins(recipe: Recipe, inventory: Inventory, pinned: Pinned) -> Recipe:
    """Return the recipe for what the pins name: a version that is on the volume, or else one to be built.

    A different version that is on the volume stays there; the one to be built is another version.
    """
    dataset, pin = recipe.dataset.id, pinned.pin
    held = _best(recipe, inventory, lambda receipt: receipt.version in pinned.accepted)
    if held is not None:
        return recipe.as_version(held)
    try:
        pin, sources = _sources(recipe, pinned)
    except (ConfigurationError, DigestMismatchError) as error:
        refused = replace(recipe.dataset, problem=error)
        return replace(recipe.at_state(f"not {pinned.file}"), dataset=refused)
    if not checks_manifest(pin, recipe.version):
        stated = {source.stated_pin for source in sources if _is_provable(source)}
        held = _best(recipe, inventory, lambda receipt: receipt.pin in stated)
        if held is not None:
            return recipe.as_version(held)
    wanted = replace(recipe, sources=sources, pin=pin)
    is_taken = (dataset, recipe.version) in inventory.receipts or (dataset, recipe.version) in inventory.orphans
    return wanted.at_state(pin.text) if is_taken else wanted


def _best(recipe: Recipe, inventory: Inventory, is_pinned: Callable[[Receipt], bool]) -> str | None:
    """Return the version that satisfies a recipe and its pins, the published one first, then the newest; ``None`` if none."""
    dataset = recipe.dataset.id
    current = inventory.published.get(dataset)
    held = [
        receipt
        for (name, _), receipt in inventory.receipts.items()
        if name == dataset and receipt.asked == recipe.version and is_pinned(receipt)
    ]
    best = max(held, key=lambda receipt: (receipt.version == current, receipt.age_key), default=None)
    return best.version if best else None


def _sources(recipe: Recipe, pinned: Pinned) -> tuple[DataSetPin, tuple[Source, ...]]:
    """Return the pin of a data set, and its sources as pinned.

    Raises:
        ConfigurationError: there is no pin that could be enforced.
        DigestMismatchError: catalog and pins disagree.
    """
    label, file = recipe.dataset.label, pinned.file
    hint = f"To pin what is there now: provisioner catalog pin {label} --output {file}"
    if (pin := pinned.pin) is None:
        raise ConfigurationError(f"{label} has no pin in {file}; nothing of it is accepted", hint=hint)
    found = [(source, one) for source in recipe.sources if (one := pin_of_source(pin, source)) is not None]
    if not found:
        ours = ", ".join(pinned_name(source) for source in recipe.sources)
        theirs = ", ".join(source.name for source in pin.sources)
        raise DigestMismatchError(
            f"{label}: the catalog names {ours}, and {file} names {theirs}; nothing was fetched",
            hint=f"Use the catalog that was pinned. {hint}",
        )
    sources = tuple(_fixed(source, one, label, file) for source, one in found)
    if not checks_manifest(pin, recipe.version) and not any(map(_is_provable, sources)):
        raise ConfigurationError(
            f"{label}: nobody states a digest of its files, and {file} has none either; nothing of it is accepted",
            hint=f"Provision it without PINS. {hint}",
        )
    return pin, sources


def _is_provable(source: Source) -> bool:
    """Return whether each file of a source can be proven to be the right one."""
    return source.artifacts is None or all(artifact.digest is not None for artifact in source.artifacts)


def _fixed(source: Source, pin: SourcePin, label: str, file: str) -> Source:
    """Return a source in the state that a pin names.

    Raises:
        DigestMismatchError: the catalog states a different digest.
    """
    for artifact in source.artifacts or ():
        wanted = pin.files.get(artifact.path)
        if wanted is not None and wanted.digest and artifact.digest and wanted.digest != artifact.digest:
            raise DigestMismatchError(
                f"{label}: the catalog states {artifact.digest} for {artifact.path}, and {file} names {wanted.digest};"
                " nothing was fetched",
                hint="Use the catalog that was pinned, or pin anew.",
            )
    digests = {path: one.digest for path, one in pin.files.items() if one.digest is not None}
    return source.held_at(pin.pin, digests)
