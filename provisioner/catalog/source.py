"""A source as every other module sees it: the same few methods, whatever its kind.

A kind of source consists of one module here (:mod:`.url_source`, :mod:`.hub_source`, :mod:`.bucket_source`), one in
:mod:`provisioner.remote`, and one line in the registry of each package.
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
        """The name of the source in messages."""
        ...

    @property
    def page(self) -> str:
        """Its page for users, if the catalog alone determines that; empty if not."""
        ...

    @property
    def layout(self) -> str:
        """The layout that it delivers."""
        ...

    @property
    def size(self) -> Size | None:
        """Bytes to transfer for all its files together, or ``None`` if unknown."""
        ...

    @property
    def artifacts(self) -> tuple[Artifact, ...] | None:
        """The artifacts, if the catalog alone determines them; ``None`` if the source must be asked for its listing."""
        ...

    @property
    def split_names(self) -> tuple[str, ...]:
        """The splits that it can deliver separately, in the catalog's order."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """Its part of a recipe, as JSON values: what decides which bytes end up at which path."""
        ...

    def for_splits(self, splits: Sequence[str]) -> Self | None:
        """Return the source restricted to some of its splits; ``None`` if it cannot deliver them separately."""
        ...

    def is_at(self, url: str) -> bool:
        """Return whether the source URL in a receipt means this source."""
        ...

    def pinned(self, pin: str) -> Self:
        """Return the source in the state ``pin``; unchanged if it has no other state."""
        ...

    @property
    def stated_pin(self) -> str:
        """The pin that the source resolves to, if that is known without a request; empty if not."""
        ...

    def held_at(self, pin: str, digests: Mapping[str, Digest] | None = None) -> Self:
        """Return the source in the state ``pin``, with the same identity.

        Args:
            pin: what it resolved to.
            digests: by path, digests of files for which the catalog states none.
        """
        ...

    def divided(self, splits: Sequence[tuple[str, str]]) -> Self:
        """Return the source with the splits that its server describes, by globs; unchanged if that is not possible."""
        ...

    def as_entry(self) -> dict[str, Any]:
        """Return the source as written under ``sources:`` in a catalog."""
        ...

    def sized(self, size: Size) -> Self:
        """Return the source with the size that its server states, which is not part of its identity."""
        ...


@dataclass(frozen=True, slots=True)
class SourceKind:
    """The parser and the syntax of one kind of source in a catalog."""

    name: str
    table: Table
    """The keys of such a source."""
    parse: Callable[[Mapping[str, Value]], Source]
    """Creates a source from values by key; raises :class:`~provisioner.errors.ConfigurationError`."""
    definitions: Mapping[str, Table] = field(default_factory=dict)
    """Further tables that ``table`` refers to, by their names in the JSON Schema."""
