"""The examples for Compose and Kubernetes are right for the catalog and the program that they belong to."""

from __future__ import annotations

import re
from typing import Any, Final

import pytest
import yaml

from provisioner.catalog.parse import parse_catalog
from provisioner.planning.plan import phase_peak
from provisioner.settings.settings import SETTINGS
from tests.support.program import CHECKOUT, REAL_CATALOG

KUBERNETES: Final = CHECKOUT / "deploy" / "kubernetes" / "provisioned-app.yaml"
CATALOG: Final = parse_catalog(REAL_CATALOG.read_text("utf-8"), "catalog.yaml")
GIB: Final = 1 << 30
MARGIN: Final = 1.1
"""File systems keep some of their space for themselves."""


def claim_for(phase: str) -> int:
    """Return the size of a claim for a phase, in GiB: its peak and a margin, rounded up to ten."""
    return -int(-phase_peak(CATALOG, phase) * MARGIN // (10 * GIB)) * 10


def documents() -> dict[str, Any]:
    """Return the example's documents by kind."""
    return {document["kind"]: document for document in yaml.safe_load_all(KUBERNETES.read_text("utf-8"))}


def test_the_claim_holds_its_phase() -> None:
    """The claim of the Kubernetes example is as large as its phase needs at its peak, and not much larger."""
    found = documents()
    pod = found["Deployment"]["spec"]["template"]["spec"]
    phase = next(one["value"] for one in pod["initContainers"][0]["env"] if one["name"] == "PHASE")
    assert found["PersistentVolumeClaim"]["spec"]["resources"]["requests"]["storage"] == f"{claim_for(phase)}Gi"


@pytest.mark.parametrize("phase", CATALOG.phases)
def test_the_claims_of_all_phases_are_named(phase: str) -> None:
    """The example names the size of a claim for each phase."""
    (comment,) = re.findall(r"# The peak of the phase below.*", KUBERNETES.read_text("utf-8"))
    assert f"{phase} {claim_for(phase)}Gi" in comment


def test_compose_repeats_nothing() -> None:
    """Compose would repeat a permanent failure as well: what may pass is repeated by the program alone."""
    for path in (CHECKOUT / "compose.yaml", CHECKOUT / "README.md"):
        text = path.read_text("utf-8")
        assert 'restart: "no"' in text
        assert "on-failure" not in text


def test_compose_passes_on_settings_that_exist() -> None:
    """Every variable that compose.yaml passes on is a setting of this program."""
    described = yaml.safe_load((CHECKOUT / "compose.yaml").read_text("utf-8"))
    known = {name for setting in SETTINGS for name in setting.names} | {f"{setting.name}_FILE" for setting in SETTINGS}
    assert set(described["services"]["provision"]["environment"]) <= known
