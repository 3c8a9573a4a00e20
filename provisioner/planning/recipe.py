"""The recipe of a data set: everything that decides which bytes end up at which path, and nothing else.

A recipe's short hash is the *version* under which a tree is kept on the volume. Digests, selection, unpacking and layout are
part of it; URLs, mirrors and texts are not, so that a moved mirror or a corrected description causes no refetch.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from provisioner.catalog.document import nearest
from provisioner.catalog.license import mark_of
from provisioner.errors import ConfigurationError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioner.catalog.artifact import Artifact
    from provisioner.catalog.file_state import FileState
    from provisioner.catalog.model import Commercial, DataSet
    from provisioner.catalog.parts import PartRule
    from provisioner.catalog.pins import DataSetPin
    from provisioner.catalog.source import Source
    from provisioner.planning.upstream import Newer

VERSION_DIGITS: Final = 16
"""Hexadecimal digits of a version; 64 bits exclude accidental collisions among the few versions of a data set."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One requested data set: its layout, its splits, and the sources that deliver exactly that."""

    dataset: DataSet
    layout: str
    splits: tuple[str, ...]
    """Names of the chosen splits; empty means all of the data set."""
    sources: tuple[Source, ...]
    """The sources of that layout, restricted to the splits, in the order in which they are tried."""
    version: str
    base: str = ""
    """The version of the requested recipe, if ``version`` is a different state of its source; empty if both are the same."""
    rule: PartRule | None = None
    """Which examples of these splits are taken; ``None`` means all."""
    pin: DataSetPin | None = None
    """The required state of the sources and the tree; ``None`` means their present state."""

    states: Mapping[str, FileState] = field(default_factory=dict)
    """By the keys of artifacts, what servers said of files behind URLs before fetching them."""

    @property
    def asked(self) -> str:
        """The version of the requested recipe."""
        return self.base or self.version

    def as_version(self, version: str) -> Recipe:
        """Return the recipe for a version on the volume that satisfies this one."""
        return self if version == self.version else replace(self, version=version, base=self.asked)

    def at_state(self, pin: str) -> Recipe:
        """Return the recipe for the sources in the state ``pin``: a separate version, which satisfies this recipe too."""
        version = hashlib.sha256(f"{self.asked}@{pin}".encode()).hexdigest()[:VERSION_DIGITS]
        return replace(self, version=version, base=self.asked)

    def moved(self, newer: Newer) -> Recipe:
        """Return the recipe for a newer state of its source."""
        return replace(self.at_state(newer.pin), dataset=newer.dataset, sources=(newer.source,), states=newer.states)

    @property
    def label(self) -> str:
        """The name by which a user requests it, such as ``nsynth:test``."""
        label = f"{self.dataset.label}:{'+'.join(self.splits)}" if self.splits else self.dataset.label
        return f"{label}{self.rule.text}" if self.rule else label

    @property
    def commercial(self) -> Commercial:
        """Whether the requested data may be used commercially."""
        return self.commercial_part or self.dataset.license.commercial

    @property
    def commercial_part(self) -> Commercial | None:
        """The catalog's statement about commercial use of this part; ``None`` if there is none, or it is no part by rule."""
        return mark_of(self.dataset, self.rule, self.layout, self.splits)

    @property
    def artifacts(self) -> tuple[Artifact, ...] | None:
        """The artifacts of the first source that has them in the catalog, or ``None`` if there is no such source."""
        return next((source.artifacts for source in self.sources if source.artifacts is not None), None)

    @property
    def content_ids(self) -> frozenset[str]:
        """The content ids of all artifacts in the catalog, of any source."""
        return frozenset(artifact.content_id for source in self.sources for artifact in source.artifacts or ())


def make_recipe(
    dataset: DataSet, *, layout: str | None = None, splits: Sequence[str] = (), rule: PartRule | None = None
) -> Recipe:
    """Return the recipe for one layout and some splits of a data set.

    Args:
        dataset: what the catalog says.
        layout: the layout to take; ``None`` means the data set's default.
        splits: names of splits; empty means all of the data set.
        rule: takes some of the examples; ``None`` means the rule of the data set's reference, if it has one.

    Raises:
        NotFoundError: the data set has no such split.
        ConfigurationError: no source delivers that layout.
    """
    layout = layout or dataset.layout
    sources = dataset.sources_of(layout)
    if not sources:
        problem = f"{dataset.label} has no source with the layout {layout!r}"
        raise ConfigurationError(problem, hint=nearest(layout, dataset.layouts))
    known = dataset.splits_of(layout)
    for split in splits:
        if split not in known:
            names = (*known, *dataset.parts)
            raise NotFoundError(
                f"{dataset.label} has no {'split or part' if dataset.parts else 'split'} {split!r}"
                + (f" in the layout {layout!r}" if layout != dataset.layout else ""),
                hint=nearest(split, names) if names else f"{dataset.label} is not divided: ask for '{dataset.label}'.",
            )
    chosen = tuple(split for split in known if split in splits)
    if len(chosen) == len(known):
        chosen = ()  # naming all of them means the whole data set
    if chosen:
        sources = tuple(reduced for source in sources if (reduced := source.for_splits(chosen)) is not None)
    if rule is None and dataset.reference is not None:
        rule = dataset.reference.rule
    return Recipe(dataset, layout, chosen, sources, _version(layout, sources, rule), rule=rule)


def _version(layout: str, sources: Sequence[Source], rule: PartRule | None) -> str:
    """Return the hash of a recipe. Changing this function makes every volume fetch everything again."""
    document = {"recipe": 1, "layout": layout, "sources": [source.identity for source in sources]}
    if rule is not None:
        document["part"] = rule.identity
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:VERSION_DIGITS]
