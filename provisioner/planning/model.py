"""The values of planning: what a volume holds, what was asked for, what is allowed, and the plan."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from provisioner.catalog.size import total

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.catalog.file_state import FileState
    from provisioner.catalog.hub_source import Repository
    from provisioner.catalog.license import Policy
    from provisioner.catalog.model import EntryFacts
    from provisioner.catalog.parts import PartRule
    from provisioner.catalog.size import Size
    from provisioner.errors import ProvisionerError
    from provisioner.planning.pinning import Pinned
    from provisioner.planning.recipe import Recipe
    from provisioner.planning.upstream import Newer

Retention = Literal["at_once", "one_by_one", "streamed"]
"""How long archives stay on the volume. ``at_once``: all of them until the data set is published; after a kill little is
fetched again. ``one_by_one``: each until it is unpacked, and only then comes the next. ``streamed``: each is unpacked as it
arrives and never stored; after a kill that archive starts again."""

Action = Literal["keep", "link", "adopt", "fetch", "skip", "refuse"]
"""``keep``: it is there. ``link``: it is there, only the published link is missing or old. ``adopt``: there is a tree without
a receipt, to be hashed. ``fetch``: to be fetched and published. ``skip``: left out by policy or for lack of space. ``refuse``:
asked for by name, but forbidden by policy, space or something else at its path: an error."""

SkipReason = Literal["storage_limit", "license_policy"]


@dataclass(frozen=True, slots=True)
class Receipt:
    """The proof that one version of a data set is on the volume."""

    dataset: str
    version: str
    layout: str
    splits: tuple[str, ...]
    files: int
    size: int
    """Bytes of all files of the tree together."""
    license: str
    source_kind: str
    source_url: str
    """URL or repository; never signed, never with a query."""
    pin: str
    """What the source resolved to: a digest, or a commit."""
    verified_against: str
    published_at: str
    """UTC, ISO 8601."""
    content_ids: Mapping[str, str] = field(default_factory=dict)
    """Content id to key of each artifact (see :class:`provisioner.catalog.artifact.Artifact`)."""
    is_newer: bool = False
    """A newer version of the program wrote it: it is never replaced, and nothing of it is removed."""
    entry: EntryFacts | None = None
    """What the source of a reference said of itself; ``None``: a catalog described the data set."""

    repository: Repository | None = None
    """The repository that was published as it is; ``None``: it is no repository, or something of it was unpacked."""
    recipe: str = ""
    """The version of the recipe that it satisfies, where it is a later state of the same source; empty: its own version."""
    origins: Mapping[str, FileState] = field(default_factory=dict)
    """What the servers said of files behind URLs when they were fetched, by the artifacts' keys, as far as that is known."""
    rule: PartRule | None = None
    """Which examples of the splits it has; ``None``: all."""

    @property
    def asked(self) -> str:
        """The version of the recipe that it satisfies."""
        return self.recipe or self.version

    @property
    def age_key(self) -> tuple[str, bool]:
        """What sorts the versions of a data set from the oldest to the newest; of two of one second a later state follows."""
        return self.published_at, bool(self.recipe)

    @property
    def label(self) -> str:
        """What people call the data set: the reference, or else the id."""
        return self.entry.reference if self.entry else self.dataset


@dataclass(frozen=True, slots=True)
class IndexFacts:
    """The index of a published data set, as it is on the volume."""

    rows: Mapping[str, int]
    """By split."""
    size: int
    """Bytes of its files."""

    def as_record(self, dataset: str) -> dict[str, object]:
        """Return where it is, relative to the volume, and its rows, as JSON values."""
        return {"path": f"index/{dataset}", "rows": dict(self.rows), "bytes": self.size}


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a volume holds, by its receipts; that their trees exist was checked, the contents of the trees were not."""

    receipts: Mapping[tuple[str, str], Receipt] = field(default_factory=dict)
    """By data set and version; only receipts whose tree exists."""
    published: Mapping[str, str] = field(default_factory=dict)
    """Data set to its published version; only where the tree exists."""
    other_form: frozenset[str] = frozenset()
    """Data sets of these that are published in another form than ``PUBLISH`` asks for now."""
    orphans: frozenset[tuple[str, str]] = frozenset()
    """Data set and version of trees that have a manifest and no receipt."""
    newer: frozenset[tuple[str, str]] = frozenset()
    """Data set and version of records that a newer version of the program wrote and that do not prove a tree."""
    foreign: frozenset[str] = frozenset()
    """Data sets at whose published path there is something that the provisioner did not create."""
    indexes: Mapping[str, IndexFacts] = field(default_factory=dict)
    """By data set."""
    staged_bytes: int = 0
    """Bytes that are in staging already: they are part of what a plan needs."""
    free_bytes: int | None = None
    """Free bytes on the device; ``None``: unknown."""
    reserved_bytes: int = 0
    """The last of the free bytes, which no data set gets."""
    is_staging_elsewhere: bool = False
    """Staging is not on the volume (``STAGING_DIR``)."""
    staging_free_bytes: int | None = None
    """Bytes that may be used on the device of ``STAGING_DIR``, those of our staged files included; ``None``: unknown."""

    @property
    def kept_bytes(self) -> int:
        """Bytes of all trees with a receipt, and of all indexes."""
        return sum(receipt.size for receipt in self.receipts.values()) + self.index_bytes

    @property
    def index_bytes(self) -> int:
        """Bytes of all indexes."""
        return sum(index.size for index in self.indexes.values())

    def satisfying(self, dataset: str, recipe: str, pin: str = "") -> Receipt | None:
        """Return the receipt that satisfies a recipe: of the published version if that does, else the one published last.

        Args:
            dataset: its id.
            recipe: the version of the recipe as it was asked for.
            pin: what the source must have been; empty: anything.
        """
        found = [
            receipt
            for (name, _), receipt in self.receipts.items()
            if name == dataset and receipt.asked == recipe and pin in {"", receipt.pin}
        ]
        current = self.published.get(dataset)
        return max(found, key=lambda receipt: (receipt.version == current, receipt.age_key), default=None)

    def previous(self, dataset: str, version: str) -> Receipt | None:
        """Return the receipt of what was published before a version, if it is still there: it can be switched to."""
        others = [receipt for (name, other), receipt in self.receipts.items() if name == dataset and other != version]
        return max(others, key=lambda receipt: receipt.age_key, default=None)


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for: a phase, or data sets by name."""

    phase: str | None = None
    datasets: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Id and splits of each data set asked for by name; if there are any, ``phase`` is ignored."""
    rules: Mapping[str, PartRule] = field(default_factory=dict)
    """By id, which examples are taken of a data set asked for by name."""
    layouts: Mapping[str, str] = field(default_factory=dict)
    """Layouts chosen instead of the data sets' own."""
    newer: Mapping[str, Newer] = field(default_factory=dict)
    """By id, the newer states of published data sets that are to be taken."""
    pinned: Mapping[str, Pinned] = field(default_factory=dict)
    """By id, what pins say of data sets, if there are pins; then every data set is here, and nothing newer is taken."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What decides whether a data set is fetched or left out."""

    license_policy: Policy = "curated"
    accept_licenses: frozenset[str] = frozenset()
    limit_bytes: int | None = None
    """For everything on the volume, staging included; ``None``: no limit."""
    budget_bytes: int | None = None
    """For the examples of all data sets together, each of which gives a part; ``None``: each is taken whole."""
    fail_on_shortfall: bool = False
    side_by_side: int = 4
    """Data sets that may be built at once, at most: each holds its paths in memory, and is incomplete after a kill."""
    priorities: Mapping[str, int] = field(default_factory=dict)
    """Data set to the priority that replaces the catalog's."""


@dataclass(frozen=True, slots=True)
class Step:
    """One data set's part of a plan."""

    recipe: Recipe
    action: Action
    priority: int
    why: str
    """One sentence for the log."""
    reason: SkipReason | None = None
    error: ProvisionerError | None = None
    """Why a ``refuse`` is one."""
    warning: str | None = None
    """About its licence."""
    download: Size | None = None
    """Bytes to fetch if the first source succeeds; ``None``: unknown."""
    unpacked: Size | None = None
    """Bytes of the tree; ``None``: unknown."""
    peak_bytes: int = 0
    """Most bytes that this step adds to the volume at any moment."""
    available_bytes: int | None = None
    """Free bytes that this step may use; sizes that become known only after planning are checked against it. ``None``: no
    bound is known."""
    retention: Retention = "at_once"
    """How long its archives stay on the volume."""
    staged_bytes: int = 0
    """Bytes of the download that an earlier run left in staging."""
    beside: int = 0
    """How many of the steps directly before this one may be unfinished when it begins: there is space for all of them."""
    fallback: Receipt | None = None
    """The published version that a newer state of the same source is to replace: it stays if that cannot be had."""

    @property
    def to_fetch(self) -> Size | None:
        """Bytes of the download that are not in staging; ``None``: unknown."""
        return replace(self.download, value=max(0, self.download.value - self.staged_bytes)) if self.download else None

    @property
    def is_peak_known(self) -> bool:
        """Whether the peak is that of the whole data set: it is a lower bound where sizes are unknown."""
        if self.action not in {"fetch", "skip"} or self.reason == "license_policy":
            return True
        return all(size is not None and not size.at_least for size in (self.download, self.unpacked))

    @property
    def id(self) -> str:
        """The data set's id."""
        return self.recipe.dataset.id

    @property
    def writes(self) -> bool:
        """Whether this step writes to the volume."""
        return self.action in {"link", "adopt", "fetch"}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run does, in the order in which it does it (highest priority first)."""

    phase: str | None
    steps: tuple[Step, ...]
    evict: tuple[tuple[str, str], ...] = ()
    """Data set and version of superseded trees to remove first, because their space is needed."""
    not_in_phase: tuple[str, ...] = ()
    """Published data sets that were not asked for: they stay."""
    shortfall: ProvisionerError | None = None
    """The error because of which nothing at all may be fetched."""
    peak_bytes: int = 0
    """Most bytes that the run adds to what is on the volume now."""

    @property
    def work(self) -> tuple[Step, ...]:
        """The steps that write to the volume."""
        return tuple(step for step in self.steps if step.writes)

    @property
    def download(self) -> Size:
        """Bytes that all steps together fetch, without those in staging; an estimate if any of them is."""
        return total(step.to_fetch for step in self.steps if step.action == "fetch")

    @property
    def staged_bytes(self) -> int:
        """Bytes of the downloads that an earlier run left in staging."""
        return sum(step.staged_bytes for step in self.steps if step.action == "fetch")

    @property
    def unpacked(self) -> Size:
        """Bytes of all trees that are made."""
        return total(step.unpacked for step in self.steps if step.action == "fetch")
