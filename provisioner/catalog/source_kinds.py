"""The kinds of sources that a catalog may use, and the choice between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provisioner.catalog import bucket_source, hub_source, url_source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.catalog.document import Value
    from provisioner.catalog.source import Source, SourceKind

SOURCE_KINDS: Final[Mapping[str, SourceKind]] = {
    kind.name: kind for kind in (hub_source.KIND, url_source.KIND, bucket_source.KIND)
}


def parse_source(value: Value) -> Source:
    """Return the source that an entry under ``sources:`` describes.

    Raises:
        ConfigurationError: its kind is unknown, or the entry is not well formed.
    """
    keys = value.mapping(required=("kind",))
    kind = SOURCE_KINDS[keys["kind"].choice(tuple(SOURCE_KINDS))]
    elsewhere = {name for other in SOURCE_KINDS.values() for name in other.table.names} - set(kind.table.names)
    misplaced = [key for key in keys if key in elsewhere]
    for key in misplaced:
        known = ", ".join(kind.table.names)
        keys[key].report(f"the key {key!r} does not belong to a source of this kind", f"Here stand: {known}.")
    return kind.parse(value.mapping((*kind.table.names, *misplaced), kind.table.required))
