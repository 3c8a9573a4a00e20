"""The manifests for Kubernetes against the schemas of its versions, and the claims that 'plan --format pvc' writes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

import kubernetes_validate
import pytest
import yaml

from provisioner.cli.main import main
from provisioner.errors import (
    AccessDeniedError,
    ConfigurationError,
    IntegrityError,
    InterruptedBySignal,
    NotFoundError,
    RemoteRefusedError,
    TryAgainError,
    UsageError,
)
from provisioner.settings.settings import SETTINGS
from provisioner.volume.store.environment_file import environment_lines
from tests.support.program import CHECKOUT, REAL_CATALOG

if TYPE_CHECKING:
    from pathlib import Path

KUBERNETES: Final = CHECKOUT / "deploy" / "kubernetes"
VERSIONS: Final = ("1.31", "1.33", "1.35", "1.37")
NEEDS: Final = {
    "restart-rules": ("1.35", "restartPolicy"),
    "indexed-job": ("1.29", "backoffLimitPerIndex"),
    "env-file": ("1.35", "fileKeyRef"),
}
"""The first version that has what an overlay uses, and what older versions complain of."""
OVERLAYS: Final = ("job", "monitored", "restart-rules", "indexed-job", "finish", "env-file", "node-local")
CUSTOM: Final = {"ServiceMonitor"}
"""Kinds that an operator adds; Kubernetes has no schema of them."""

PERMANENT: Final = sorted(
    error.exit_code
    for error in (UsageError, IntegrityError, NotFoundError, RemoteRefusedError, AccessDeniedError, ConfigurationError)
)
"""Exit codes after which the same run ends in the same way."""

needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")


def rendered(name: str) -> dict[str, Any]:
    """Return what ``kubectl apply -k`` would send for a base or an overlay, by kind."""
    ended = subprocess.run(["kubectl", "kustomize", KUBERNETES / name], capture_output=True, text=True, check=True)
    return {document["kind"]: document for document in yaml.safe_load_all(ended.stdout)}


def check(document: dict[str, Any], version: str) -> None:
    """Check a manifest with the schema of one version, which knows no other field."""
    if document["kind"] not in CUSTOM:
        kubernetes_validate.validate(document, version, strict=True)


@needs_kubectl
@pytest.mark.parametrize("name", ["base", *(f"overlays/{name}" for name in OVERLAYS)])
def test_manifests_are_valid(name: str) -> None:
    """Every version that is named accepts each overlay; rules for restarts and variables from a file need 1.35."""
    documents = rendered(name)
    for version in VERSIONS:
        since, field = NEEDS.get(name.rpartition("/")[2], ("", ""))
        if version < since:
            with pytest.raises(kubernetes_validate.ValidationError, match=field):
                check(documents.get("Job") or documents["Deployment"], version)
            continue
        for document in documents.values():
            check(document, version)


def test_the_job_ends_for_what_a_retry_cannot_repair() -> None:
    """A Job fails at once for permanent exit codes, is not counted as failed when it is drained, and else tries again."""
    job = yaml.safe_load((KUBERNETES / "overlays" / "job" / "job.yaml").read_text("utf-8"))
    check(job, VERSIONS[-1])
    permanent, drained = job["spec"]["podFailurePolicy"]["rules"]
    assert (permanent["action"], permanent["onExitCodes"]["operator"]) == ("FailJob", "In")
    assert permanent["onExitCodes"]["values"] == PERMANENT
    assert (drained["action"], drained["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")
    assert job["spec"]["podReplacementPolicy"] == "Failed"
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"


def test_a_container_is_started_again_for_what_may_pass() -> None:
    """The rules of 1.35 name the codes of what may pass, and of a signal."""
    text = yaml.safe_load((KUBERNETES / "overlays" / "restart-rules" / "kustomization.yaml").read_text("utf-8"))
    (patch,) = text["patches"]
    rules = next(change["value"] for change in yaml.safe_load(patch["patch"]) if change["path"].endswith("Rules"))
    assert rules[0]["action"] == "Restart"
    assert rules[0]["exitCodes"]["values"] == [TryAgainError.exit_code, InterruptedBySignal.exit_code + 15]


def pods() -> list[tuple[str, dict[str, Any]]]:
    """Return each file of manifests with its pods' templates."""
    names = ("base/provisioned-app.yaml", "overlays/job/job.yaml", "overlays/update/cronjob.yaml")
    paths = [KUBERNETES / name for name in names]
    documents = [(path.name, document["spec"]) for path in paths for document in yaml.safe_load_all(path.read_text("utf-8"))]
    jobs = [(name, spec.get("jobTemplate", {"spec": spec})["spec"]) for name, spec in documents]
    return [(name, job["template"]["spec"]) for name, job in jobs if "template" in job]


@pytest.mark.parametrize(("name", "pod"), pods())
def test_pods_are_restricted(name: str, pod: dict[str, Any]) -> None:
    """Each pod fits the restricted standard, changes no file that it need not change, and shows the last error."""
    assert name
    context = pod["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert context["fsGroupChangePolicy"] == "OnRootMismatch"
    known = {variable for setting in SETTINGS for variable in setting.names}
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        if container["name"] == "provision":
            assert {variable["name"] for variable in container["env"]} <= known
            assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"


@needs_kubectl
def test_pods_of_an_indexed_job_are_the_shares() -> None:
    """Each pod knows the number of pods, which share the claim; the job that publishes uses the claim that is there."""
    found = rendered("overlays/indexed-job")
    job, (container,) = found["Job"]["spec"], found["Job"]["spec"]["template"]["spec"]["containers"]
    shares = next(variable["value"] for variable in container["env"] if variable["name"] == "SHARDS")
    assert (job["completionMode"], str(job["completions"]), str(job["parallelism"])) == ("Indexed", shares, shares)
    assert found["PersistentVolumeClaim"]["spec"]["accessModes"] == ["ReadWriteMany"]
    finish = rendered("overlays/finish")
    assert set(finish) == {"Job"}
    assert finish["Job"]["spec"]["template"]["spec"]["containers"][0]["args"] == ["provision", "--finish"]


def test_variables_of_the_app_are_from_a_file(tmp_path: Path) -> None:
    """The app reads keys of the file that the last init container writes, with the values of provision.env in single quotes."""
    text = yaml.safe_load((KUBERNETES / "overlays" / "env-file" / "kustomization.yaml").read_text("utf-8"))
    writing, reading = (yaml.safe_load(patch["patch"]) for patch in text["patches"])
    container = writing[0]["value"]
    place = next(mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly"))
    keys = [change["value"] for change in reading if change["path"].endswith("/env/-")]
    assert {key["name"] for key in keys} == {"DATASETS_DIR", "TRACKIO_DATASET_REPO"}
    for key in keys:
        reference = key["valueFrom"]["fileKeyRef"]
        assert reference["volumeName"] == writing[1]["value"]["name"]
        assert f"{place}/{reference['path']}" in container["command"][-1]
        assert reference["key"] == key["name"]
    values = {"DATASETS_DIR": "/data/datasets", "TRACKIO_DATASET_REPO": "ann/logs_1-2"}
    (tmp_path / "provision.env").write_bytes(b"# a comment\n" + environment_lines(values))
    shell, options, script = container["command"]
    here = script.replace("/data/", f"{tmp_path}/").replace(f"{place}/", f"{tmp_path}/")
    subprocess.run([shell, options, here], check=True)
    written = (tmp_path / "app.env").read_text("utf-8").splitlines()
    assert written == [f"{name}='{value}'" for name, value in values.items()]


def daemon_set() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the DaemonSet for volumes of the nodes, and its Service."""
    text = (KUBERNETES / "overlays" / "node-local" / "datasets.yaml").read_text("utf-8")
    daemons, service = yaml.safe_load_all(text)
    return daemons, service


def test_nodes_fill_each_other() -> None:
    """Peers of a pod are the ready pods behind the Service; only the mode of the node's directory is changed as root."""
    daemons, service = daemon_set()
    template = daemons["spec"]["template"]
    directory, wait, provision = template["spec"]["initContainers"]
    (serve,) = template["spec"]["containers"]
    assert service["spec"]["selector"] == template["metadata"]["labels"] == daemons["spec"]["selector"]["matchLabels"]
    (port,) = service["spec"]["ports"]
    peers = f"http://{service['metadata']['name']}:{port['port']}"
    for container in (wait, provision):
        assert next(variable["value"] for variable in container["env"] if variable["name"] == "PEERS") == peers
    assert (serve["readinessProbe"]["httpGet"]["path"], serve["args"][-1]) == ("/readyz", str(port["targetPort"]))
    assert "publishNotReadyAddresses" not in service["spec"]
    assert daemons["spec"]["updateStrategy"]["rollingUpdate"] == {"maxUnavailable": 1}
    for container in (directory, wait, provision, serve):
        context = container["securityContext"]
        assert (context["capabilities"], context["allowPrivilegeEscalation"]) == ({"drop": ["ALL"]}, False)
        assert context["readOnlyRootFilesystem"] is True
        assert context.get("runAsUser") == (0 if container is directory else None)


@pytest.mark.parametrize("node", ["the source", "another"])
def test_only_the_source_does_not_wait_for_a_peer(node: str, tmp_path: Path) -> None:
    """The script of the init container ends at once on the source's node, and elsewhere when a peer answers."""
    wait = daemon_set()[0]["spec"]["template"]["spec"]["initContainers"][1]
    assert wait["command"][:3] == ["/opt/provisioner/bin/python", "-I", "-c"]
    if node == "another":
        (tmp_path / "readyz").touch()
    environ = {"NODE": node, "SOURCE_NODE": "the source", "PEERS": tmp_path.as_uri()}
    subprocess.run([sys.executable, "-I", "-c", wait["command"][3]], env=environ, check=True, timeout=30)


@needs_kubectl
def test_the_page_is_there_before_the_volume_is_filled() -> None:
    """The sidecar comes first, reads the volume alone, and is what Service and ServiceMonitor select."""
    found = rendered("overlays/monitored")
    template = found["Deployment"]["spec"]["template"]
    page, provision = template["spec"]["initContainers"]
    assert (page["name"], page["restartPolicy"], provision["name"]) == ("page", "Always", "provision")
    assert page["volumeMounts"] == [{"name": "data", "mountPath": "/data", "readOnly": True}]
    service, monitor = found["Service"], found["ServiceMonitor"]
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    assert service["spec"]["publishNotReadyAddresses"] is True
    (port,) = service["spec"]["ports"]
    assert (port["targetPort"], page["args"][-1]) == (8080, "8080")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] == port["name"]


def claim(tmp_path: Path, capsys: pytest.CaptureFixture[str], *words: str, **settings: str) -> str:
    """Return what ``plan --format pvc`` prints."""
    environ = {"DATA_DIR": str(tmp_path / "data"), "CATALOG_PATH": str(REAL_CATALOG), "HOME": str(tmp_path), **settings}
    assert main(["plan", "--format", "pvc", *words], environ) == 0
    return capsys.readouterr().out


def size(text: str) -> int:
    """Return the GiB that a claim asks for."""
    document = yaml.safe_load(text)
    check(document, VERSIONS[-1])
    storage: str = document["spec"]["resources"]["requests"]["storage"]
    return int(storage.removesuffix("Gi"))


def test_a_claim_has_space_for_its_phase(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The claim is valid and grows with the phase; a split needs less; as JSON it is the same."""
    sizes = [size(claim(tmp_path, capsys, "--phase", phase)) for phase in ("minimal", "balanced", "comprehensive")]
    assert sizes == sorted(sizes)
    # nsynth is the largest of the minimal phase and needs 64.4 GB, or 60 GiB.
    assert 60 < sizes[0] < 80
    assert size(claim(tmp_path, capsys, "--dataset", "nsynth:test")) < 10
    assert size(claim(tmp_path, capsys, "--phase", "minimal", "--json")) == sizes[0]
    assert json.loads(claim(tmp_path, capsys, "--json"))["kind"] == "PersistentVolumeClaim"
    assert not (tmp_path / "data").exists()


def test_a_claim_says_what_it_does_not_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a limit, the claim names what is left out; the comments are no part of the manifest."""
    text = claim(tmp_path, capsys, "--phase", "minimal", MAX_STORAGE_GB="10")
    assert size(text) <= 10
    assert "# Left out, and not counted: nsynth" in text


def test_no_claim_for_what_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a run would refuse has no claim, and the exit code is the run's."""
    environ = {"DATA_DIR": str(tmp_path), "CATALOG_PATH": str(REAL_CATALOG), "HOME": str(tmp_path), "MAX_STORAGE_GB": "0.1"}
    assert main(["plan", "--format", "pvc"], environ) == 74
    assert capsys.readouterr().out == ""
