"""`podman kube play` runs the pod of the Job: as its user, with a read-only root, into the claim of the manifest.

It needs podman, which has a store of its own for this test. What is changed of the manifests is the image's name, the settings
that lead to the test's server, and the network, which is the host's. Of `fsGroup` podman takes no notice.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from tests.support.containers import IMAGE
from tests.support.program import CHECKOUT, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.hub_server import HubServer

    Podman = Callable[..., str]

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(shutil.which("podman") is None or os.geteuid() != 0, reason="podman is not installed, or not root"),
]

SLIM: Final = f"{IMAGE}-slim"
KUBERNETES: Final = CHECKOUT / "deploy" / "kubernetes"
CONTAINERS: Final = """\
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
"""


@pytest.fixture
def podman(tmp_path: Path) -> Iterator[Podman]:
    """Return what runs a command of podman, which must succeed, and give the image to podman's store."""
    (tmp_path / "containers.conf").write_text(CONTAINERS, "utf-8")
    store = f'[storage]\ndriver = "overlay"\ngraphroot = "{tmp_path}/store"\nrunroot = "{tmp_path}/run"\n'
    (tmp_path / "storage.conf").write_text(store, "utf-8")
    names = {"CONTAINERS_CONF": "containers.conf", "CONTAINERS_STORAGE_CONF": "storage.conf"}
    environ = {**os.environ, **{name: str(tmp_path / file) for name, file in names.items()}}

    def run(*words: str | Path, **options: Any) -> str:
        command = ["podman", *map(str, words)]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=120, **options)
        assert done.returncode == 0, done.stderr
        return str(done.stdout).strip()

    with subprocess.Popen(["docker", "save", SLIM], stdout=subprocess.PIPE) as saved:
        run("load", stdin=saved.stdout)
    yield run
    run("system", "reset", "--force")


def manifests(image: str, settings: dict[str, str]) -> str:
    """Return the claim, and a pod as the Job would make it."""
    claim = next(yaml.safe_load_all((KUBERNETES / "base" / "provisioned-app.yaml").read_text("utf-8")))
    template = yaml.safe_load((KUBERNETES / "overlays" / "job" / "job.yaml").read_text("utf-8"))["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", **template}
    pod["metadata"]["name"] = "provision"
    pod["spec"]["hostNetwork"] = True
    (container,) = pod["spec"]["containers"]
    container |= {"image": image, "imagePullPolicy": "Never"}
    container["env"] += [{"name": name, "value": value} for name, value in settings.items()]
    container["volumeMounts"].append({"name": "config", "mountPath": "/config", "readOnly": True})
    return yaml.safe_dump_all([claim, pod])


def test_the_pod_of_the_job(podman: Podman, hub: HubServer, settings: dict[str, str], config: Path, tmp_path: Path) -> None:
    """It ends with 0 and has published everything, as uid 1000, without capabilities, on a read-only root."""
    ours = {name: settings[name] for name in ("CATALOG_PATH", "HF_ENDPOINT", "URL_REWRITE")}
    claim, pod = yaml.safe_load_all(manifests(f"docker.io/library/{SLIM}", ours))
    pod["spec"]["volumes"].append({"name": "config", "hostPath": {"path": str(config), "type": "Directory"}})
    (tmp_path / "pod.yaml").write_text(yaml.safe_dump_all([claim, pod]), "utf-8")
    podman("kube", "play", tmp_path / "pod.yaml")

    def state() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(podman("container", "inspect", "provision-provision"))[0]
        return found

    wait_until(lambda: state()["State"]["Status"] in {"exited", "stopped"}, "the container has ended")
    ended = state()
    assert ended["State"]["ExitCode"] == 0, podman("logs", "provision-provision")
    assert (ended["Config"]["User"], ended["HostConfig"]["ReadonlyRootfs"]) == ("1000:0", True)
    assert not ended["EffectiveCaps"]
    (volume,) = (mount["Source"] for mount in ended["Mounts"] if mount["Destination"] == "/data")
    with open(f"{volume}/dataset_status.json", encoding="utf-8") as status:  # noqa: PTH123 - a path of podman's
        document = json.load(status)
    assert document["state"] == "ready"
    assert set(document["datasets"]) >= {"nsynth", "ljspeech"}
    assert hub.log.entries(origin="cdn")
