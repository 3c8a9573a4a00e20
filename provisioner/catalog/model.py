"""The catalog as values: what should exist, where it comes from, and under which terms.

Nothing here uses a network, a disk, a clock or the environment. Instances are created by :mod:`provisioner.catalog.parse`,
which refuses anything that is not well formed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.catalog.parts import PartRule
    from provisioner.catalog.size import Size
    from provisioner.catalog.source import Source
    from provisioner.catalog.written_reference import Reference
    from provisioner.errors import ProvisionerError

Commercial = Literal["allowed", "forbidden", "mixed", "verify"]
USUAL_PHASE: Final = "minimal"
"""The default phase of every catalog that has it."""
COMMERCIAL: Final[tuple[Commercial, ...]] = ("allowed", "forbidden", "mixed", "verify")


@dataclass(frozen=True, slots=True)
class License:
    """The terms of a data set, with the evidence for them."""

    spdx: str
    name: str
    url: str
    commercial: Commercial
    evidence: str
    attribution: str


@dataclass(frozen=True, slots=True)
class EntryFacts:
    """The facts that the source of a reference states: everything in a catalog entry that is not in the reference.

    None of it decides which bytes end up at which path.
    """

    reference: str
    """See :attr:`provisioner.catalog.references.Reference.text`."""
    key: str
    """See :attr:`provisioner.catalog.references.Reference.key`."""
    title: str
    homepage: str
    license: License
    description: str = ""
    download: int | None = None
    """Bytes to transfer for all files together, or ``None`` if unknown."""
    notes: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    """Names of the parts that can be requested, if the source describes any."""
    taken: int | None = None
    """Bytes of the files that the reference's rule takes; ``None`` if it has no rule, or the listing is not enough to tell."""


@dataclass(frozen=True, slots=True)
class DataSet:
    """One data set: what it is, what it may be used for, and where its bytes are."""

    id: str
    title: str
    homepage: str
    description: str
    purpose: str
    priority: int
    """From 1 to 5; higher is fetched first and left out last."""
    license: License
    sources: tuple[Source, ...]
    """The sources in the order in which they are tried."""
    unpacked_size: Size | None = None
    optional: bool = False
    """Whether its failure makes the run partial instead of failed."""
    layout: str = "raw"
    notes: tuple[str, ...] = ()
    """Notes for users of the data, one sentence each."""
    parts: Mapping[str, PartRule] = field(default_factory=dict)
    """Parts by rule that can be requested, by name."""
    reference: Reference | None = None
    """The reference from which the entry was made, or ``None`` if it is written in a catalog."""
    facts: EntryFacts | None = None
    """The facts that the source of a reference states, or ``None`` if they are not known, or if there is no reference."""
    problem: ProvisionerError | None = None
    """The reason why the source of a reference cannot be used, or ``None`` if no problem is known."""

    @property
    def label(self) -> str:
        """The name for people: the reference, or else the id."""
        return self.reference.text if self.reference else self.id

    @property
    def accepted_as(self) -> tuple[str, ...]:
        """The names by which its licence can be accepted, the preferred one first."""
        return (self.reference.key, self.reference.text, self.id) if self.reference else (self.id,)

    def sources_of(self, layout: str) -> tuple[Source, ...]:
        """Return the sources that deliver ``layout``, in order."""
        return tuple(source for source in self.sources if source.layout == layout)

    @property
    def layouts(self) -> tuple[str, ...]:
        """All layouts that some source delivers, the data set's own first."""
        return tuple(dict.fromkeys((self.layout, *(source.layout for source in self.sources))))

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits that can be requested in its default layout, in the catalog's order."""
        return self.splits_of(self.layout)

    def splits_of(self, layout: str) -> tuple[str, ...]:
        """Return the names of the splits that can be requested in ``layout``."""
        return tuple(dict.fromkeys(name for source in self.sources_of(layout) for name in source.split_names))


@dataclass(frozen=True, slots=True)
class Phase:
    """A named set of data sets."""

    name: str
    description: str
    datasets: tuple[str, ...]
    """Ids, beginning with those of the extended phases."""
    extends: str | None = None
    own: tuple[str, ...] = ()
    """Ids that this phase itself adds."""


@dataclass(frozen=True, slots=True)
class Excluded:
    """A data set that the catalog excludes deliberately."""

    id: str
    title: str
    license: str
    reason: str


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything that can be provisioned."""

    datasets: Mapping[str, DataSet]
    phases: Mapping[str, Phase]
    excluded: Mapping[str, Excluded] = field(default_factory=dict)
    references: Mapping[str, str] = field(default_factory=dict)
    """The id of each reference, by the reference as written."""

    @property
    def default_phase(self) -> str:
        """The phase that is provisioned if the user does not choose one."""
        return USUAL_PHASE if USUAL_PHASE in self.phases else next(iter(self.phases))
