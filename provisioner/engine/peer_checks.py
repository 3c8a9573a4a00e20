"""Checks of what a peer says of a version: against the recipe, the digests in the catalog, and the rules for trees."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from provisioner.catalog.artifact import Artifact  # noqa: TC001 - for the reader
from provisioner.errors import ConfigurationError, IntegrityError
from provisioner.planning.pinning import checks_manifest
from provisioner.volume.store.entry import find_entry, has_entry_below
from provisioner.volume.tree.links import TreeLink, check_links

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provisioner.catalog.source import Source
    from provisioner.planning.model import Receipt
    from provisioner.planning.recipe import Recipe
    from provisioner.remote.sources import Sources
    from provisioner.volume.store.manifest import Manifest

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_LONGEST_PIN: Final = 200
_LONGEST_PATH: Final = 4095
"""Characters of a path, or of a link's target: no program can open a longer path."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a peer's version must be to satisfy a recipe, as far as its records can tell."""

    recipe: str
    """The version of the requested recipe."""
    version: str
    """The version that this volume would build; another one that satisfies the recipe will do if ``states`` allows it."""
    states: frozenset[str] | None
    """The permitted states of the source; empty if any state will do, ``None`` if only exactly ``version`` will do."""
    likely: frozenset[str]
    """The states that the source of the right version is known to have; versions with one of these are looked at first."""
    checksums: str
    """The digest of the list of checksums that the pins name; empty if they name none."""

    def accepts(self, pin: str) -> bool:
        """Return whether a version of the recipe may be the right one if ``pin`` was the state of its source."""
        return self.states is not None and (not self.states or pin in self.states)


def wanted_of(recipe: Recipe, *, by_manifest: bool) -> Wanted:
    """Return what is wanted of a peer.

    Args:
        recipe: what is to be made.
        by_manifest: whether manifests are compared with a known one, so that versions from any state of the source qualify.
    """
    stated = [_stated_state(source) for source in recipe.sources]
    likely = frozenset(filter(None, stated))
    states: frozenset[str] | None = frozenset()
    if not by_manifest:
        states = likely if all(stated) else None if recipe.base else frozenset()
    checksums = recipe.pin.manifest if recipe.pin is not None and checks_manifest(recipe.pin, recipe.asked) else ""
    return Wanted(recipe.asked, recipe.version, states, likely, checksums)


def _stated_state(source: Source) -> str:
    """Return the commit that the catalog or a pin states for a source; empty if neither does."""
    revision = source.identity.get("revision")
    if isinstance(revision, str) and _COMMIT.fullmatch(revision):
        return revision
    return source.stated_pin if source.artifacts is None else ""


def check_receipt(receipt: Receipt, recipe: Recipe, sources: Sources) -> None:
    """Compare a peer's receipt with the recipe, without any request.

    Raises:
        IntegrityError: it cannot be the receipt of this recipe.
    """
    if receipt.asked != recipe.asked:
        raise IntegrityError(f"its receipt of {receipt.version} is of another recipe")
    if (receipt.layout, receipt.splits) != (recipe.layout, recipe.splits):
        raise IntegrityError(f"its receipt of {receipt.version} has another layout or other splits than that version")
    source = next((each for each in recipe.sources if each.kind == receipt.source_kind and each.is_at(receipt.source_url)), None)
    if source is None:
        raise IntegrityError("its receipt names a source that the data set does not have")
    pin = _known_pin(source, sources)
    if pin not in {None, receipt.pin} or not receipt.pin.isprintable() or len(receipt.pin) > _LONGEST_PIN:
        raise IntegrityError(f"its receipt says {receipt.pin[:_LONGEST_PIN]!r}, and the source is {pin or 'something else'}")


def _known_pin(source: Source, sources: Sources) -> str | None:
    """Return what a source resolves to, if that is known without a request."""
    revision = source.identity.get("revision")
    if isinstance(revision, str) and _COMMIT.fullmatch(revision):
        return revision
    if source.artifacts is None or not all(artifact.is_named for artifact in source.artifacts):
        return None
    if any("unverified" in file for file in source.identity.get("files", ())):
        return None  # it was recorded with or without the digests that pins name
    try:
        return sources.resolve(source).pin
    except ConfigurationError:
        return None


def check_manifest(manifest: Manifest, receipt: Receipt, recipe: Recipe) -> None:
    """Compare a peer's manifest with its receipt, with the digests that the catalog states, and with the rules for trees.

    Raises:
        IntegrityError: it does not match, or describes a tree that must not be built.
    """
    if not manifest.files or (manifest.files, manifest.bytes) != (receipt.files, receipt.size):
        raise IntegrityError("its manifest has another number of files or bytes than its receipt")
    entries = manifest.entries
    for entry, following in itertools.zip_longest(entries, entries[1:]):
        if max(len(entry.path), len(entry.target)) > _LONGEST_PATH:
            raise IntegrityError(f"its manifest has a path of more than {_LONGEST_PATH:,} characters, {entry.path!r:.200}")
        # All paths between a path and those below it begin with it.
        if following is not None and following.path.startswith(entry.path) and has_entry_below(entries, entry.path):
            raise IntegrityError(f"its manifest has something below {entry.path!r:.200}, which is a {entry.kind}")
    check_links({entry.path: TreeLink(entry.target, "its manifest") for entry in entries if entry.kind == "link"})
    for artifact in _stated_files(receipt, recipe):
        index = find_entry(entries, artifact.path)
        if index < 0 and recipe.rule is not None:
            continue  # the part may leave it out
        if index < 0 or artifact.digest is None or entries[index].sha256 != artifact.digest.hex:
            raise IntegrityError(f"its manifest does not have {artifact.path!r:.200} with the digest that the catalog states")


def _stated_files(receipt: Receipt, recipe: Recipe) -> Iterator[Artifact]:
    """Yield the files of the source that are not unpacked and whose SHA-256 the catalog states."""
    for source in recipe.sources:
        if source.kind == receipt.source_kind and source.is_at(receipt.source_url):
            for artifact in source.artifacts or ():
                if artifact.unpack == "none" and artifact.is_named and artifact.digest and artifact.digest.algorithm == "sha256":
                    yield artifact
            return
