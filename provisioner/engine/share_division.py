"""The artifacts of all data sets that a plan fetches, divided among workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioner.engine.part_choice import first_artifacts
from provisioner.engine.table_choice import fetched_by_members
from provisioner.errors import TRY_NEXT_AFTER, ConfigurationError, ProvisionerError, error_to_report
from provisioner.planning.shares import divide, plan_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from provisioner.catalog.artifact import Artifact
    from provisioner.planning.model import Inventory, Plan, Step
    from provisioner.remote.sources import Sources


@dataclass(frozen=True, slots=True)
class Division:
    """The artifacts of a plan, and how they are divided."""

    artifacts: Mapping[str, tuple[Step, Artifact]]
    """Each artifact with its step, by key."""
    sizes: Mapping[str, int]
    """Bytes of each artifact; 0 if not known."""
    plan: str
    """Identifier of the plan."""

    def share(self, index: int, count: int) -> frozenset[str]:
        """Return the keys of one share."""
        return self.shares(count)[index]

    def shares(self, count: int) -> Sequence[frozenset[str]]:
        """Return the keys of each of ``count`` shares."""
        return divide(self.sizes, count)

    def bytes_of_shares(self, count: int) -> list[int]:
        """Return the bytes of each share."""
        return [sum(self.sizes[key] for key in share) for share in self.shares(count)]

    def by_step(self, keys: frozenset[str]) -> list[tuple[Step, list[Artifact]]]:
        """Return some of the artifacts, grouped by step."""
        found: dict[str, tuple[Step, list[Artifact]]] = {}
        for key in sorted(keys):
            step, artifact = self.artifacts[key]
            found.setdefault(step.id, (step, []))[1].append(artifact)
        return list(found.values())


def steps_to_fetch(plan: Plan) -> list[Step]:
    """Return the steps of a plan that fetch something."""
    return [step for step in plan.steps if step.action == "fetch"]


def make_division(
    steps: Sequence[Step], inventory: Inventory, sources: Sources, check_cancelled: Callable[[], None]
) -> Division | None:
    """Return what some steps must fetch, from the first source of each that answers, or ``None`` if that is nothing.

    Files without a known digest are left out: they could not be identified later, so whichever worker publishes fetches them.

    Raises:
        ProvisionerError: no source of a data set answers, or the run must end.
    """
    if not steps:
        return None
    present = {content_id for receipt in inventory.receipts.values() for content_id in receipt.content_ids}
    found: dict[str, tuple[Step, Artifact]] = {}
    for step in steps:
        for artifact in _artifacts_of(step, sources, check_cancelled):
            if artifact.digest is not None and artifact.content_id not in present:
                found.setdefault(artifact.key, (step, artifact))
    sizes = {key: artifact.exact_size or 0 for key, (_, artifact) in found.items()}
    return Division(found, sizes, plan_id(sizes))


def _artifacts_of(step: Step, sources: Sources, check_cancelled: Callable[[], None]) -> Sequence[Artifact]:
    errors: list[ProvisionerError] = []
    for source in step.recipe.sources:
        check_cancelled()
        try:
            rule, artifacts = step.recipe.rule, sources.resolve(source).artifacts
            # The worker that publishes fetches single members of these, so nobody fetches the whole archive.
            in_part = fetched_by_members(rule, artifacts)
            return [one for one in first_artifacts(rule, artifacts) if one.content_id not in in_part]
        except (*TRY_NEXT_AFTER, ConfigurationError) as error:
            errors.append(error)
    raise error_to_report(errors)
