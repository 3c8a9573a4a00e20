"""The values of planning: what a volume holds, what was requested, what is allowed, and the plan."""

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
"""How long archives stay on the volume. ``at_once``: all archives until the data set is published; after a kill, little is
fetched again. ``one_by_one``: each archive until it is unpacked, before the next is fetched. ``streamed``: each archive is
unpacked as it arrives and is never stored; after a kill, that archive is fetched again from the start."""

Action = Literal["keep", "link", "adopt", "fetch", "skip", "refuse"]
"""``keep``: it is here. ``link``: it is here, and only the published link is missing or outdated. ``adopt``: there is a tree
without a receipt, which must be hashed. ``fetch``: it must be fetched and published. ``skip``: it is left out because of a
policy or lack of space. ``refuse``: it was requested by name, but a policy, lack of space or something else at its path
prevents it, which is an error."""

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
    """URL or repository; never signed, and never with a query."""
    pin: str
    """The state that the source resolved to: a digest, or a commit."""
    verified_against: str
    published_at: str
    """UTC, ISO 8601."""
    content_ids: Mapping[str, str] = field(default_factory=dict)
    """From content id to key of each artifact (see :class:`provisioner.catalog.artifact.Artifact`)."""
    is_newer: bool = False
    """Whether a newer version of the program wrote it; it is then never replaced, and nothing of it is removed."""
    entry: EntryFacts | None = None
    """The description that the source of a reference gave; ``None`` if a catalog described the data set."""

    repository: Repository | None = None
    """The repository that was published unchanged; ``None`` if it was not a repository, or part of it was unpacked."""
    recipe: str = ""
    """The version of the recipe that this later state of the same source satisfies; empty if that is its own version."""
    origins: Mapping[str, FileState] = field(default_factory=dict)
    """By the keys of artifacts, what servers said of files behind URLs when they were fetched, as far as known."""
    rule: PartRule | None = None
    """Which examples of the splits it has; ``None`` if all."""

    @property
    def asked(self) -> str:
        """The version of the recipe that it satisfies."""
        return self.recipe or self.version

    @property
    def age_key(self) -> tuple[str, bool]:
        """The key that sorts the versions of a data set by age; of two of the same second, the later state comes last."""
        return self.published_at, bool(self.recipe)

    @property
    def label(self) -> str:
        """The name for people: the reference, or else the id."""
        return self.entry.reference if self.entry else self.dataset


@dataclass(frozen=True, slots=True)
class IndexFacts:
    """The index of a published data set, as it is on the volume."""

    rows: Mapping[str, int]
    """Number of rows by split."""
    size: int
    """Bytes of its files."""

    def as_record(self, dataset: str) -> dict[str, object]:
        """Return its path relative to the volume and its rows, as JSON values."""
        return {"path": f"index/{dataset}", "rows": dict(self.rows), "bytes": self.size}


@dataclass(frozen=True, slots=True)
class Inventory:
    """The content of a volume by its receipts. That their trees exist was checked; the contents of the trees were not."""

    receipts: Mapping[tuple[str, str], Receipt] = field(default_factory=dict)
    """By data set and version; only receipts whose tree exists."""
    published: Mapping[str, str] = field(default_factory=dict)
    """From data set to published version; only if the tree exists."""
    other_form: frozenset[str] = frozenset()
    """Published data sets whose form differs from the one that ``PUBLISH`` requests now."""
    orphans: frozenset[tuple[str, str]] = frozenset()
    """Data set and version of trees that have a manifest but no receipt."""
    newer: frozenset[tuple[str, str]] = frozenset()
    """Data set and version of records of a newer version of the program that do not prove a tree."""
    foreign: frozenset[str] = frozenset()
    """Data sets whose published path is taken by something that the provisioner did not create."""
    indexes: Mapping[str, IndexFacts] = field(default_factory=dict)
    """The indexes by data set."""
    staged_bytes: int = 0
    """Bytes that are already in staging; they are part of what a plan needs."""
    free_bytes: int | None = None
    """Free bytes on the device; ``None`` means unknown."""
    reserved_bytes: int = 0
    """The last of the free bytes, which no data set may use."""
    is_staging_elsewhere: bool = False
    """Whether staging is not on the volume (``STAGING_DIR``)."""
    staging_free_bytes: int | None = None
    """Bytes that may be used on the device of ``STAGING_DIR``, including our staged files; ``None`` if unknown."""

    @property
    def kept_bytes(self) -> int:
        """Bytes of all trees with a receipt, and of all indexes."""
        return sum(receipt.size for receipt in self.receipts.values()) + self.index_bytes

    @property
    def index_bytes(self) -> int:
        """Bytes of all indexes."""
        return sum(index.size for index in self.indexes.values())

    def satisfying(self, dataset: str, recipe: str, pin: str = "") -> Receipt | None:
        """Return the receipt that satisfies a recipe, preferring the published version, and else the one published last.

        Args:
            dataset: its id.
            recipe: the version of the requested recipe.
            pin: the required state of the source; empty means any.
        """
        found = [
            receipt
            for (name, _), receipt in self.receipts.items()
            if name == dataset and receipt.asked == recipe and pin in {"", receipt.pin}
        ]
        current = self.published.get(dataset)
        return max(found, key=lambda receipt: (receipt.version == current, receipt.age_key), default=None)

    def previous(self, dataset: str, version: str) -> Receipt | None:
        """Return the receipt of the version that was published before, if it is still here and can be switched to."""
        others = [receipt for (name, other), receipt in self.receipts.items() if name == dataset and other != version]
        return max(others, key=lambda receipt: receipt.age_key, default=None)


@dataclass(frozen=True, slots=True)
class Request:
    """The requested data: a phase, or data sets by name."""

    phase: str | None = None
    datasets: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Id and splits of each data set requested by name; if there are any, ``phase`` is ignored."""
    rules: Mapping[str, PartRule] = field(default_factory=dict)
    """By id, which examples are taken of a data set requested by name."""
    layouts: Mapping[str, str] = field(default_factory=dict)
    """Layouts chosen in place of the data sets' default layouts."""
    newer: Mapping[str, Newer] = field(default_factory=dict)
    """By id, newer states of published data sets that are to be fetched."""
    pinned: Mapping[str, Pinned] = field(default_factory=dict)
    """By id, what pins say of data sets, if there are pins; every data set is then included, and nothing newer is fetched."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules by which a data set is fetched or left out."""

    license_policy: Policy = "curated"
    accept_licenses: frozenset[str] = frozenset()
    limit_bytes: int | None = None
    """Limit for everything on the volume, including staging; ``None`` means no limit."""
    budget_bytes: int | None = None
    """Limit for the examples of all data sets together, each of which contributes a part; ``None`` means no limit."""
    fail_on_shortfall: bool = False
    side_by_side: int = 4
    """Maximum number of data sets that are built at once: each holds its paths in memory, and is incomplete after a kill."""
    priorities: Mapping[str, int] = field(default_factory=dict)
    """From data set to the priority that replaces the one in the catalog."""


@dataclass(frozen=True, slots=True)
class Step:
    """The part of a plan for one data set."""

    recipe: Recipe
    action: Action
    priority: int
    why: str
    """One sentence for the log."""
    reason: SkipReason | None = None
    error: ProvisionerError | None = None
    """The error, if the action is ``refuse``."""
    warning: str | None = None
    """Warning about its licence."""
    download: Size | None = None
    """Bytes to fetch if the first source succeeds; ``None`` if unknown."""
    unpacked: Size | None = None
    """Bytes of the tree; ``None`` means unknown."""
    peak_bytes: int = 0
    """The most bytes that this step adds to the volume at any moment."""
    available_bytes: int | None = None
    """Free bytes that this step may use; sizes that become known after planning are checked against it. ``None`` if no bound
    is known."""
    retention: Retention = "at_once"
    """How long its archives stay on the volume."""
    staged_bytes: int = 0
    """Bytes of the download that an earlier run left in staging."""
    beside: int = 0
    """How many of the steps directly before this one may be unfinished when it begins, by the space for all of them."""
    fallback: Receipt | None = None
    """The published version that a newer state of the same source is to replace; it stays if that is not available."""

    @property
    def to_fetch(self) -> Size | None:
        """Bytes of the download that are not in staging, or ``None`` if unknown."""
        return replace(self.download, value=max(0, self.download.value - self.staged_bytes)) if self.download else None

    @property
    def is_peak_known(self) -> bool:
        """Whether the peak is that of the whole data set; if sizes are unknown, it is a lower bound."""
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
    """The steps of a run, in this order (highest priority first)."""

    phase: str | None
    steps: tuple[Step, ...]
    evict: tuple[tuple[str, str], ...] = ()
    """Data set and version of superseded trees to remove first, because their space is needed."""
    not_in_phase: tuple[str, ...] = ()
    """Published data sets that were not requested; they stay."""
    shortfall: ProvisionerError | None = None
    """The error that prevents the run from fetching anything, or ``None``."""
    peak_bytes: int = 0
    """The most bytes that the run adds to what is on the volume now."""

    @property
    def work(self) -> tuple[Step, ...]:
        """The steps that write to the volume."""
        return tuple(step for step in self.steps if step.writes)

    @property
    def download(self) -> Size:
        """Bytes that all steps together fetch, without those in staging; an estimate if any of them is one."""
        return total(step.to_fetch for step in self.steps if step.action == "fetch")

    @property
    def staged_bytes(self) -> int:
        """Bytes of the downloads that an earlier run left in staging."""
        return sum(step.staged_bytes for step in self.steps if step.action == "fetch")

    @property
    def unpacked(self) -> Size:
        """Bytes of all trees that are built."""
        return total(step.unpacked for step in self.steps if step.action == "fetch")
