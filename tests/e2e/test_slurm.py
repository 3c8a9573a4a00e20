"""A real Slurm on this machine, with two nodes, runs the array of shares and the job that publishes.

It needs slurmctld, slurmd and sbatch: Debian's packages, installed, or unpacked below ``SLURM_PREFIX``. Nothing else of Slurm
needs to be set up: the daemons run as this user, on loopback, with their state in a directory of the test.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.program import CHECKOUT
from tests.support.shelf import some_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.support.hub_server import HubServer
    from tests.support.shelf import Shelf
    from tests.support.volume import Volume

PREFIX: Final = Path(os.environ.get("SLURM_PREFIX", "/"))
SEARCHED: Final = f"{PREFIX / 'usr/sbin'}:{PREFIX / 'usr/bin'}"
SECONDS: Final = 120

CONFIG: Final = """\
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
PluginDir={plugins}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
StateSaveLocation={scratch}/state
SlurmdSpoolDir={scratch}/%n
SlurmctldPidFile={scratch}/ctld.pid
SlurmdPidFile={scratch}/%n.pid
SlurmctldPort={ports[0]}
NodeName=one NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[1]} CPUs={cores} RealMemory=2000
NodeName=two NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[2]} CPUs={cores} RealMemory=2000
PartitionName=all Nodes=one,two Default=YES State=UP MaxTime=INFINITE
PartitionName=local Nodes=one,two State=UP MaxTime=INFINITE
Prolog={scratch}/prolog
PrologFlags=Alloc
BatchStartTimeout=120
"""


def program(*names: str) -> str | None:
    """Return the first program of Slurm that is there; Debian's have a suffix."""
    return next((found for name in names if (found := shutil.which(name, path=SEARCHED))), None)


CONTROLLER: Final = program("slurmctld", "slurmctld-wlm")
NODE: Final = program("slurmd", "slurmd-wlm")
pytestmark = pytest.mark.skipif(
    not (CONTROLLER and NODE and program("sbatch")) or (os.cpu_count() or 1) < 2, reason="Slurm is not installed, or one core"
)


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nobody uses now."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[Mapping[str, str]]:
    """Start a controller and two nodes, and return the environment in which they are used."""
    scratch = tmp_path / "slurm"
    (scratch / "state").mkdir(parents=True)
    libraries = PREFIX / "usr" / "lib" / f"{os.uname().machine}-linux-gnu"
    plugins = libraries / "slurm-wlm"
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    config = CONFIG.format(user=user, plugins=plugins, scratch=scratch, ports=free_ports(3), cores=os.cpu_count())
    (scratch / "slurm.conf").write_text(config, "utf-8")
    script = CHECKOUT / "deploy" / "slurm" / "prolog.sh"
    (scratch / "prolog").write_text(f"#!/bin/bash\nNODE_CONFIG={scratch}/node.env exec bash {script}\n", "utf-8")
    (scratch / "prolog").chmod(0o755)
    environ = {"PATH": f"{SEARCHED}:{os.environ['PATH']}", "SLURM_CONF": str(scratch / "slurm.conf")}
    if str(PREFIX) != "/":
        environ["LD_LIBRARY_PATH"] = f"{libraries}:{plugins}"
    step = program("slurmstepd", "slurmstepd-wlm")
    commands = [[CONTROLLER, "-D", "-c"]] + [[NODE, "-D", "-N", name, *(("-d", step) if step else ())] for name in ("one", "two")]
    started = []
    try:
        for number, command in enumerate(commands):
            with (scratch / f"daemon-{number}.log").open("wb") as log:
                started.append(subprocess.Popen([str(word) for word in command], env=environ, stdout=log, stderr=log))
        wait(lambda: asked(environ, "sinfo", "--noheader", "--format=%T") == "idle", scratch)
        yield environ
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait(20)


def asked(environ: Mapping[str, str], *command: str) -> str:
    """Return what a program of Slurm prints; nothing while its controller does not answer."""
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=30)
    return ended.stdout.strip() if ended.returncode == 0 else "?"


def wait(condition: object, scratch: Path) -> None:
    """Wait until a condition holds; the daemons' logs say why it does not."""
    assert callable(condition)
    limit = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < limit, "\n".join(path.read_text("utf-8", "replace") for path in scratch.glob("*.log"))
        time.sleep(0.2)


def fill_nodes(slurm: Mapping[str, str], environ: Mapping[str, str], volume: Volume, scratch: Path) -> list[Volume]:
    """Let a job start on both nodes, whose prolog fills a volume of each; return these."""
    settings = {name: value for name, value in environ.items() if name not in {"DATA_DIR", *slurm}} | {
        "PATH": environ["PATH"],
        "SHARED_DIR": str(volume.root),
        "PARTITIONS": "local",
    }
    lines = [f"{name}={shlex.quote(value)}" for name, value in settings.items()]
    (scratch / "node.env").write_text("\n".join([*lines, f"LOCAL_DIR={scratch}/local-$SLURMD_NODENAME", ""]), "utf-8")
    command = ["sbatch", "--partition=local", "--nodes=2", "--output=/dev/null", "--wrap=true"]
    subprocess.run(command, env=dict(environ), check=True, capture_output=True)
    wait(lambda: asked(slurm, "squeue", "--noheader") == "", scratch)
    return [replace(volume, root=scratch / f"local-{name}") for name in ("one", "two")]


def test_an_array_and_its_end(slurm: Mapping[str, str], hub: HubServer, shelf: Shelf, volume: Volume, tmp_path: Path) -> None:
    """Two tasks fetch a share each, and when both have ended, all is published; then a prolog fills a volume on each node."""
    for name in ("alpha", "beta", "gamma"):
        shelf.add(name, shelf.file(f"{name}.tar.gz", some_files(name, 40_000)))
    environ = {
        **volume.environ(CATALOG_PATH=str(shelf.path), PROVISIONER=f"{sys.executable} -m provisioner", PYTHONPATH=str(CHECKOUT)),
        **slurm,
    }
    environ["PATH"] = f"{slurm['PATH']}:{environ['PATH']}"
    script = CHECKOUT / "deploy" / "slurm" / "fill.sh"
    submitted = subprocess.run(["bash", script, "2"], env=environ, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert submitted.returncode == 0, submitted.stderr
    wait(lambda: asked(slurm, "squeue", "--noheader") == "", tmp_path / "slurm")
    logs = {path.name: path.read_text("utf-8") for path in sorted(tmp_path.glob("provision-*.log"))}
    assert volume.published == ["alpha", "beta", "gamma"], logs
    for name in volume.published:
        volume.check(name, some_files(name, 40_000))
    assert volume.staged() == []
    assert volume.status["state"] == "ready"
    # A volume of each node: from the one that they share, without a request.
    hub.log.clear()
    for local in fill_nodes(slurm, environ, volume, tmp_path / "slurm"):
        assert local.published == ["alpha", "beta", "gamma"]
        assert {record["verified_against"] for record in local.status["datasets"].values()} == {"peer"}
    assert not hub.log.entries()
