"""The examples for Compose, Kubernetes and monitoring are right for the catalog and the program that they belong to."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from provisioner.catalog.parse import parse_catalog
from provisioner.catalog.references import parse_reference
from provisioner.cli.parser import parse_options, take_apart
from provisioner.planning.plan import phase_peak
from provisioner.reporting.observation import Counters, Observation
from provisioner.settings.settings import SETTINGS
from provisioner.web.metrics import exposition
from tests.support.program import CHECKOUT, REAL_CATALOG

if TYPE_CHECKING:
    from pathlib import Path

KUBERNETES: Final = CHECKOUT / "deploy" / "kubernetes" / "base" / "provisioned-app.yaml"
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


def test_compose_updates_what_it_provisions() -> None:
    """The service that updates is the one that provisions, with another setting, and starts with nothing else."""
    services = yaml.safe_load((CHECKOUT / "compose.yaml").read_text("utf-8"))["services"]
    update = services["update"]
    assert (update["extends"], update["profiles"]) == ({"service": "provision"}, ["update"])
    (name,) = update["environment"]
    parse = {setting.name: setting.parse for setting in SETTINGS}[name]
    assert parse(update["environment"][name]) == "auto"


PRE_START: Final = CHECKOUT / "deploy" / "compose" / "pre-start.yaml"
STEP_KEYS: Final = {"command", "image", "user", "privileged", "working_dir", "environment", "per_replica"}
"""What the Compose specification knows of a step of `pre_start`."""


def test_a_step_before_the_app_fills_its_volume() -> None:
    """The step of `pre_start` is what Compose 5.3 knows, sets settings that exist, and may write to the app's volume."""
    service = yaml.safe_load(PRE_START.read_text("utf-8"))["services"]["app"]
    (step,) = service["pre_start"]
    assert step.keys() <= STEP_KEYS
    assert parse_options(take_apart(step["command"])).command == "provision"
    assert step["environment"].keys() <= {name for setting in SETTINGS for name in setting.names}
    assert "data:/data" in service["volumes"]
    assert "environment" not in service


@pytest.mark.skipif(shutil.which("docker") is None, reason="no Docker command here")
def test_compose_accepts_the_files(tmp_path: Path) -> None:
    """The Compose that is installed accepts compose.yaml; and the file with `pre_start` if it is 5.3, else without that part."""
    version = subprocess.run(["docker", "compose", "version", "--short"], capture_output=True, text=True, check=False).stdout
    if not (match := re.match(r"v?(\d+)\.(\d+)", version)):
        pytest.skip("no Compose here")

    def problem(path: Path) -> str:
        command = ["docker", "compose", "--file", str(path), "config", "--quiet"]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path).stderr

    knows = (int(match[1]), int(match[2])) >= (5, 3)
    assert problem(CHECKOUT / "compose.yaml") == ""
    assert problem(PRE_START) == "" if knows else "pre_start" in problem(PRE_START)
    document = yaml.safe_load(PRE_START.read_text("utf-8"))
    del document["services"]["app"]["pre_start"]
    (tmp_path / "without.yaml").write_text(yaml.safe_dump(document), "utf-8")
    assert problem(tmp_path / "without.yaml") == ""


UPDATE: Final = CHECKOUT / "deploy" / "kubernetes" / "overlays" / "update" / "cronjob.yaml"


def test_the_nightly_job_updates_what_the_application_reads() -> None:
    """The CronJob has claim, phase, image and user of the Deployment, settings that exist, and removes only after a while."""
    found = documents()
    app = found["Deployment"]["spec"]["template"]["spec"]
    (job,) = yaml.safe_load_all(UPDATE.read_text("utf-8"))
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (provision,), (gc,) = pod["initContainers"], pod["containers"]
    (wanted,) = app["initContainers"]
    parsers = {setting.name: setting.parse for setting in SETTINGS}
    for container in (provision, gc):
        assert container["image"] == wanted["image"].partition(":")[0]
        assert container["securityContext"] == wanted["securityContext"]
        assert container["volumeMounts"] == wanted["volumeMounts"]
        for variable in container["env"]:
            if "value" in variable:
                parsers[variable["name"]](variable["value"])
    environ = {one["name"]: one.get("value") for one in provision["env"]}
    assert environ.pop("UPDATE") == "auto"
    assert environ == {one["name"]: one.get("value") for one in wanted["env"]}
    assert pod["volumes"] == [volume for volume in app["volumes"] if volume["name"] == "data"]
    assert pod["securityContext"] == app["securityContext"]
    terms = pod["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert terms[0]["labelSelector"]["matchLabels"] == found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert parse_options(take_apart(gc["args"])).command == "gc"
    assert job["spec"]["concurrencyPolicy"] == "Forbid"


KUBEFLOW: Final = CHECKOUT / "deploy" / "kubernetes" / "kubeflow-runtime.yaml"


def test_kubeflow_asks_for_what_can_be_fetched() -> None:
    """The references of the TrainJob are understood, and both initializers write to the volume that is mounted."""
    runtime, job = yaml.safe_load_all(KUBEFLOW.read_text("utf-8"))
    wanted = job["spec"]["initializer"]
    references = {role: parse_reference(wanted[role]["storageUri"]) for role in ("dataset", "model")}
    assert {role: reference.is_model for role, reference in references.items()} == {"dataset": False, "model": True}
    assert job["spec"]["runtimeRef"]["name"] == runtime["metadata"]["name"]
    jobs = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    names = [one["name"] for one in jobs]
    known = {name for setting in SETTINGS for name in setting.names}
    for one in jobs:
        (container,) = one["template"]["spec"]["template"]["spec"]["containers"]
        assert {before["name"] for before in one.get("dependsOn", ())} <= set(names[: names.index(one["name"])])
        if container["image"].startswith("provisioner:"):
            environ = {variable["name"]: variable["value"] for variable in container["env"]}
            assert set(environ) <= known
            assert environ["DATA_DIR"] == container["volumeMounts"][0]["mountPath"]
    assert "STORAGE_URI" in known


# --- monitoring -----------------------------------------------------------------------------------------------------------

MONITORING: Final = CHECKOUT / "deploy" / "monitoring"
METRIC: Final = re.compile(r"\bprovisioner_[a-z_]+")


def exposed() -> set[str]:
    """Return the names of all metrics that a run can have."""
    record = {"state": "ready", "bytes_done": 1, "bytes_total": 1}
    amounts = {"bytes_done": 1, "bytes_total": 1, "rate_bytes_per_second": 1, "eta_seconds": 1}
    times = dict.fromkeys(("started_at", "updated_at", "finished_at"), "2026-01-01T00:00:00Z")
    volume = {"used_bytes": 1, "free_bytes": 1, "limit_bytes": 1}
    shares = [{"share": "0/1", **amounts}]
    document = {"state": "ready", "datasets": {"a": record}, "volume": volume, "shares": shares, **amounts, **times}
    counters = Counters(1, {"fetching": 1.0}, {("host", "200"): 1}, {"http_503": 1})
    text = exposition(Observation(document, counters=counters), "")[0].decode()
    return {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}


def test_every_metric_is_documented_and_has_a_unit() -> None:
    """docs/operations.md has each metric, and names follow the conventions: base units, `_total` for what only grows."""
    documented = set(METRIC.findall((CHECKOUT / "docs" / "operations.md").read_text("utf-8")))
    assert documented == exposed()
    assert all(re.search(r"_(bytes|seconds|per_second|info|state|datasets|total)$", name) for name in exposed())


def test_dashboard_and_alerts_use_metrics_that_there_are() -> None:
    """The expressions of the dashboard and of the alerts name metrics of the program and no others."""
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text("utf-8"))
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    groups = yaml.safe_load((MONITORING / "alerts.yaml").read_text("utf-8"))["groups"]
    rules = [rule["expr"] for group in groups for rule in group["rules"]]
    assert len(rules) == 3
    for expression in [*expressions, *rules]:
        names = METRIC.findall(expression)
        assert names
        assert set(names) <= exposed(), expression
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool here (Debian's package prometheus)")
def test_alerts_fire_when_they_should() -> None:
    """Prometheus' own tool accepts the rules, and they fire in the cases of their test file alone."""
    for words in (["check", "rules", "alerts.yaml"], ["test", "rules", "alerts.test.yaml"]):
        subprocess.run(["promtool", *words], cwd=MONITORING, check=True, capture_output=True)
