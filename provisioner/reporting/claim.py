"""A plan as a PersistentVolumeClaim for Kubernetes, with the size of the plan's peak plus a tenth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from provisioner.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.planning.model import Plan

NAME: Final = "datasets"
"""The name of the claim that the examples in ``deploy/kubernetes`` mount."""

_HEADROOM: Final = 10
"""The inverse of the fraction that is added, because file systems keep some of their space for themselves."""
_GIB: Final = 1 << 30


def claim_document(plan: Plan) -> dict[str, Any]:
    """Return a claim with enough space for a plan, in whole GiB.

    Args:
        plan: a plan for an empty volume.
    """
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": NAME},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": f"{claim_gib(plan)}Gi"}}},
    }


def claim_text(plan: Plan, roomy: Plan) -> str:
    """Return the claim as YAML, with comments for the person who applies it.

    Args:
        plan: a plan for an empty volume, with data sets built one after the other.
        roomy: the same with as many data sets side by side as a run builds.
    """
    what = f"the phase {plan.phase}" if plan.phase else ", ".join(step.recipe.label for step in plan.steps)
    lines = [f"# For {what}: {format_bytes(plan.peak_bytes)} at the peak, and a tenth for the file system."]
    lines += [f"# {note}" for note in claim_notes(plan)]
    if claim_gib(roomy) > claim_gib(plan):
        lines.append(f"# With {claim_gib(roomy)}Gi, data sets are also fetched side by side, which is faster.")
    return "\n".join((*lines, *_yaml(claim_document(plan))))


def claim_notes(plan: Plan) -> list[str]:
    """Return notes for people about what the size does not include."""
    unknown = [step.recipe.label for step in plan.steps if not step.is_peak_known]
    left_out = [step.recipe.label for step in plan.steps if step.action == "skip"]
    notes = [f"Not known before it is fetched, and not counted in full: {', '.join(unknown)}."] if unknown else []
    notes += [f"Left out, and not counted: {', '.join(left_out)}."] if left_out else []
    return notes


def claim_gib(plan: Plan) -> int:
    """Return the size of a claim in GiB."""
    return max(1, -(-(plan.peak_bytes + plan.peak_bytes // _HEADROOM) // _GIB))


def _yaml(document: Mapping[str, Any], indent: str = "") -> list[str]:
    """Return a mapping of plain words, lists and mappings as lines of YAML."""
    lines: list[str] = []
    for key, value in document.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}:", *_yaml(value, f"{indent}  ")]
        else:
            shown = f"[{', '.join(value)}]" if isinstance(value, list) else value
            lines.append(f"{indent}{key}: {shown}")
    return lines
