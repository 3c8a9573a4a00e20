"""A source as every other module sees it: the same few methods, whatever its kind.

A kind of source is one module here (:mod:`.url_source`, :mod:`.hub_source`, :mod:`.bucket_source`), one in
:mod:`provisioner.remote`, and one line in the registry of each.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from provisioner.catalog.artifact import Artifact
    from provisioner.catalog.digest import Digest
    from provisioner.catalog.document import Value
    from provisioner.catalog.keys import Table
    from provisioner.catalog.size import Size


class Source(Protocol):
    """One place from which a data set can be fetched. All methods are pure."""

    @property
    def kind(self) -> str:
        """The kind's name, as in the catalog's ``kind:``."""
        ...

    @property
    def name(self) -> str:
        """What the source is called in messages."""
        ...

    @property
    def page(self) -> str:
        """Where a person looks at it, as far as the catalog alone says that; empty: nowhere."""
        ...

    @property
    def layout(self) -> str:
        """The layout that it delivers."""
        ...

    @property
    def size(self) -> Size | None:
        """Bytes on the wire of all its files together; ``None``: unknown."""
        ...

    @property
    def artifacts(self) -> tuple[Artifact, ...] | None:
        """The artifacts, where the catalog alone determines them; ``None``: the source must be asked for its listing."""
        ...

    @property
    def split_names(self) -> tuple[str, ...]:
        """The splits that it can deliver separately, in the catalog's order."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """What of it decides which bytes end up at which path, as JSON values: its part of a recipe."""
        ...

    def for_splits(self, splits: Sequence[str]) -> Self | None:
        """Return the source reduced to some of its splits; ``None`` if it cannot deliver them separately."""
        ...

    def is_at(self, url: str) -> bool:
        """Return whether a receipt with this source URL names this source."""
        ...

    def pinned(self, pin: str) -> Self:
        """Return the source at the state that ``pin`` names; itself where it has no other state."""
        ...

    @property
    def stated_pin(self) -> str:
        """What it resolves to, where that is known without asking; empty: it is not."""
        ...

    def held_at(self, pin: str, digests: Mapping[str, Digest] | None = None) -> Self:
        """Return the source at the state that ``pin`` names, with the same identity.

        Args:
            pin: what it resolved to.
            digests: by path, those of files for which the catalog states none.
        """
        ...

    def divided(self, splits: Sequence[tuple[str, str]]) -> Self:
        """Return the source with the splits that its server describes, by globs; itself where it can have none of these."""
        ...

    def as_entry(self) -> dict[str, Any]:
        """Return the source as it is written under ``sources:`` in a catalog."""
        ...

    def sized(self, size: Size) -> Self:
        """Return the source with the size that its server states, which is no part of its identity."""
        ...


@dataclass(frozen=True, slots=True)
class SourceKind:
    """How one kind of source is written in a catalog."""

    name: str
    table: Table
    """The keys of such a source."""
    parse: Callable[[Mapping[str, Value]], Source]
    """Makes a source of the values by key; raises :class:`~provisioner.errors.ConfigurationError`."""
    definitions: Mapping[str, Table] = field(default_factory=dict)
    """Further tables to which ``table`` refers, by their names in the JSON Schema."""
