"""Several workers fill one volume, each its share: the end is that of one run, whatever happens to them."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import yaml

from provisioner.planning.shares import divide
from tests.faults.test_death import MORTAL
from tests.support.damage import flip
from tests.support.media import noise
from tests.support.program import CHECKOUT, Running
from tests.support.shelf import some_files
from tests.support.volume import Volume

if TYPE_CHECKING:
    from tests.support.hub_server import HubServer
    from tests.support.shelf import Miniature, Shelf


def fetched(hub: HubServer) -> Counter[str]:
    """Return how often each file was asked for."""
    return Counter(entry.path for entry in hub.log.entries(origin="cdn") if entry.method == "GET")


@pytest.fixture
def three(shelf: Shelf, volume: Volume) -> Volume:
    """Return a volume for a catalog of three data sets: archives and a plain file of 3 MB."""
    shelf.add("alpha", shelf.file("alpha.tar.gz", some_files("alpha", 40_000)), priority=5)
    shelf.add(
        "beta", shelf.file("beta.tar.gz", some_files("beta", 30_000)), shelf.file("more.tar.gz", some_files("more", 20_000))
    )
    shelf.add("gamma", shelf.raw("gamma.bin", noise("gamma", 3_000_000)))
    volume.settings["CATALOG_PATH"] = str(shelf.path)
    return volume


def check_three(volume: Volume) -> None:
    """Check that all is published, and that nothing is left over."""
    assert volume.published == ["alpha", "beta", "gamma"]
    volume.check("alpha", some_files("alpha", 40_000))
    volume.check("gamma", {"gamma.bin": noise("gamma", 3_000_000)})
    assert volume.staged() == []
    assert volume.status["state"] == "ready"


def test_the_whole_collection_in_shares(mini_volume: Volume, mini: Miniature, hub: HubServer) -> None:
    """Three workers fetch each file once between them; the one that completes the set publishes what one run would have."""
    volume, collection = mini_volume, mini.collection
    settings = {"PHASE": "comprehensive"}
    for index in (0, 2):
        outcome = volume.ready(SHARD=f"{index}/3", **settings)
        assert f"Share {index}/3 is complete" in outcome.out
        assert volume.published == []
    volume.ready(SHARD="1/3", **settings)
    for dataset in collection.datasets:
        volume.check(dataset, collection.expected(dataset))
    assert volume.staged() == []
    assert volume.status["state"] == "ready"
    asked = fetched(hub)
    assert asked
    assert set(asked.values()) == {1}
    # There is nothing to do any more, for any worker.
    before = volume.snapshot()
    volume.ready("provision", "--finish", **settings)
    volume.ready(SHARD="0/5", **settings)
    assert volume.snapshot() == before


def test_finish_waits_for_all(three: Volume) -> None:
    """'--finish' says which shares are missing, and publishes when they are there; any number of times."""
    first = three.run("provision", "--finish")
    assert first.code == 75
    assert "no share of this plan has been begun" in first.err
    three.ready(SHARD="1/2")
    second = three.run("provision", "--finish")
    assert second.code == 75
    assert "these shares are missing: 0/2" in second.err
    assert three.published == []
    three.ready(SHARD="0/2")
    check_three(three)


def test_what_an_earlier_run_left_does_not_cost_a_share(three: Volume, hub: HubServer) -> None:
    """The journals of an interrupted run that fetched the same files in ranges are not applied to what the workers fetched."""
    three.ready(SHARD="0/2")
    blobs = three.private / "staging" / "blobs"
    blobs.mkdir(exist_ok=True)
    catalog = yaml.safe_load(Path(three.settings["CATALOG_PATH"]).read_text("utf-8"))
    files = [file for entry in catalog["datasets"].values() for source in entry["sources"] for file in source["files"]]
    assert len(files) == 4
    for key in (file["digest"].replace(":", "-") for file in files):
        (blobs / f"{key}.part").write_bytes(bytes(100))
        (blobs / f"{key}.journal").write_bytes(b"{}\n")
        (blobs / f"{key}.json").write_bytes(b"{}")
    three.ready(SHARD="1/2")
    check_three(three)
    assert set(fetched(hub).values()) == {1}


def test_another_number_is_an_error(three: Volume) -> None:
    """A worker with another number changes nothing, and says both numbers."""
    three.ready(SHARD="0/2")
    before = three.snapshot()
    outcome = three.run(SHARD="0/3")
    assert outcome.code == 78
    assert "divided by 3 here, and by 2 on the volume" in outcome.err
    assert three.snapshot() == before


# --- what happens to workers ---------------------------------------------------------------------------------------------


def kill_at(volume: Volume, change: int, **settings: str) -> int:
    """Start a worker that kills itself before a change of the volume, and return its exit code."""
    said = volume.root.parent / "said"
    command = [sys.executable, "-c", MORTAL, str(volume.root), str(change), str(said), "", ""]
    return Running(command, volume.environ(**settings)).wait().code


def test_workers_that_are_killed(three: Volume, hub: HubServer) -> None:
    """Workers are killed at many moments, of their fetches and of publishing; the end is right, and costs a kill each."""
    kills = 0
    for shard, moments in (("0/2", (6, 16, 24)), ("1/2", (14, 60))):
        for change in moments:
            code = kill_at(three, change, SHARD=shard)
            assert code in {-signal.SIGKILL, 0}
            kills += code != 0
            assert set(three.published) <= {"alpha", "beta", "gamma"}
        three.ready(SHARD=shard)
    assert kills >= 4
    check_three(three)
    assert max(fetched(hub).values()) <= kills + 1


def share_of_each(volume: Volume, count: int) -> dict[str, int]:
    """Return the share that each file is in, by its name on the server."""
    datasets = yaml.safe_load(Path(volume.settings["CATALOG_PATH"]).read_text("utf-8"))["datasets"].values()
    files = [file for dataset in datasets for source in dataset["sources"] for file in source["files"]]
    keys = {file["digest"].replace(":", "-"): file for file in files}
    shares = divide({key: file["size"] for key, file in keys.items()}, count)
    return {keys[key]["url"].removeprefix("https:/"): index for index, share in enumerate(shares) for key in share}


ROUNDS: Final = int(os.environ.get("SHARE_ROUNDS", "6"))
SEED: Final = int(os.environ.get("SEED", "1"))


@pytest.mark.parametrize("number", range(ROUNDS))
def test_workers_as_an_engine_may_treat_them(three: Volume, hub: HubServer, number: int) -> None:
    """Killed at random, run twice, started late or with another number: the end is right, and each kill costs a fetch at most."""
    source = random.Random(f"{SEED}, shares, {number}")  # noqa: S311 - the same rounds for the same seed
    count = source.choice([2, 3])
    order = source.sample(range(count), count)
    first = source.randrange(1, count + 1)
    kills = Counter[int]()
    for group in filter(None, (order[:first], order[first:])):
        for index in group:
            if not kills or source.random() < 0.6:
                code = kill_at(three, source.randrange(4, 70 if kills else 24), SHARD=f"{index}/{count}")
                assert code in {-signal.SIGKILL, 0}
                kills[index] += code != 0
        begun = list((three.private / "staging" / "shares").glob("plans/*/count.json"))
        if begun and source.random() < 0.5:
            wrong = three.run(SHARD=f"0/{count + source.choice([1, 2])}")
            # Where all shares are there, nothing is divided any more: any worker publishes.
            assert wrong.code == (0 if three.published else 78), wrong.err
            assert three.published == [] or group[-1] == order[-1]
        started = [three.start(SHARD=f"{index}/{count}") for index in group for _ in range(source.choice([1, 1, 2]))]
        for worker in started:
            outcome = worker.wait()
            assert outcome.code == 0, outcome.err
        if group[-1] != order[-1]:
            assert three.published == []
    assert kills.total() >= 1
    three.ready("provision", "--finish")
    check_three(three)
    asked = fetched(hub)
    shares = share_of_each(three, count)
    assert set(asked) == set(shares)
    for name, index in shares.items():
        assert asked[name] <= kills[index] + 1, (name, asked, kills)


@pytest.mark.parametrize("lock", ["flock", "external"])
def test_a_share_that_runs_twice_at_once(three: Volume, lock: str) -> None:
    """The same share twice at the same time, and the one that completes the set too: everything is right, with locks or not."""
    for shard in ("0/2", "1/2"):
        # Only publishing needs a lock: with LOCK=external somebody else says who does it.
        twins = [three.start(SHARD=shard, LOCK=lock if shard == "0/2" else "flock") for _ in range(2)]
        for twin in twins:
            outcome = twin.wait()
            assert outcome.code == 0, outcome.err
    check_three(three)


def test_bytes_that_change_before_they_are_published(three: Volume) -> None:
    """What a worker has brought is hashed again: a changed byte is fetched anew, and never published."""
    three.ready(SHARD="0/2")
    brought = three.private / "staging" / "shares" / "bytes"
    for name in os.listdir(brought):
        flip(brought / name, 2000)
    three.ready(SHARD="1/2")
    check_three(three)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("0.json", '{"schema_version": 1, "share": [0, 2]}'),
        ("0.json", '{"artifacts": {}}'),
        ("0.json", '{"artifacts": ["a"]}'),
        ("0.json", "[]"),
        ("0.json", ""),
        ("count.json", '{"count": "2"}'),
        ("count.json", '{"count": 0}'),
        ("count.json", ""),
        ("count.json", None),
    ],
)
def test_damaged_records(three: Volume, hub: HubServer, name: str, content: str | None) -> None:
    """Every worker ignores a record that does not state the content of its share; a restarted worker rewrites it."""
    three.ready(SHARD="0/2")
    (record,) = (three.private / "staging" / "shares" / "plans").glob(f"*/{name}")
    record.unlink()
    record.mkdir() if content is None else record.write_text(content)
    three.ready(SHARD="1/2")
    if name == "0.json":
        assert three.published == []
        outcome = three.run("provision", "--finish")
        assert outcome.code == 75
        assert "these shares are missing: 0/2" in outcome.err
        three.ready(SHARD="0/2")
    check_three(three)
    assert set(fetched(hub).values()) == {1}


def test_no_app_before_all_is_there(three: Volume) -> None:
    """An app is not started while shares are missing; the last worker starts it."""
    waiting = three.run("--", sys.executable, "-c", "print('app')", SHARD="0/2")
    assert waiting.code == 75
    assert "the app is not started" in waiting.err
    assert "print" not in waiting.out
    started = three.ready("--", sys.executable, "-c", "print('app')", SHARD="1/2")
    assert started.out.endswith("app\n")


def test_what_status_shows(three: Volume) -> None:
    """'status' shows the workers before anything is published, as text and as JSON; nobody is asked."""
    document = json.loads(three.ready("--json", SHARD="1/2").out)
    assert document["missing"] == [0]
    assert document["share"]["count"] == 2
    shown = json.loads(three.ready("status", "--json").out)
    assert [(one["share"], one["state"]) for one in shown["shares"]] == [("0/2", "missing"), ("1/2", "complete")]
    assert (shown["state"], shown["bytes_done"]) == ("provisioning", document["share"]["bytes"])
    assert shown["bytes_total"] > shown["bytes_done"]
    text = three.ready("status").out
    assert "Share 1/2: complete" in text
    assert "no worker has begun: 0/2" in text
    assert three.run("status", "--check").code == 75


def test_staging_elsewhere_cannot_be_shared(three: Volume, tmp_path: Path) -> None:
    """What one machine has in its own STAGING_DIR is of no use to the others."""
    outcome = three.run(SHARD="0/2", STAGING_DIR=str(tmp_path / "elsewhere"))
    assert outcome.code == 78
    assert "SHARD: the workers' files must be on the volume" in outcome.err
    assert not three.private.exists()


def test_all_archives_need_space_at_once(shelf: Shelf, volume: Volume) -> None:
    """One run has space for one archive after the other's tree, shares have not: they say so before the first byte."""
    for name in ("one", "two", "three"):
        shelf.add(name, shelf.file(f"{name}.tar.gz", some_files(name, 40_000)), unpacked_size=40_100)
    volume.settings |= {"CATALOG_PATH": str(shelf.path), "MAX_STORAGE_GB": "0.0002"}
    outcome = volume.run(SHARD="0/2")
    assert outcome.code == 74
    assert "shares keep all archives on the volume until they are published" in outcome.err
    assert not volume.private.exists()


def test_nodes_that_a_prolog_fills(three: Volume, hub: HubServer, tmp_path: Path) -> None:
    """The prolog of two nodes: the shared volume is filled once, and each node's own from it; never a failure for Slurm."""
    config = tmp_path / "node.env"
    command = ["bash", str(CHECKOUT / "deploy" / "slurm" / "prolog.sh")]

    def prolog(node: str, **slurm: str) -> str:
        environ = three.environ(DATA_DIR=None, NODE_CONFIG=str(config), SLURMD_NODENAME=node, PYTHONPATH=str(CHECKOUT), **slurm)
        outcome = Running(command, environ).wait()
        assert outcome.code == 0
        return outcome.err

    assert "cannot be read" in prolog("one")
    config.write_text(
        f"PROVISIONER='{sys.executable} -m provisioner'\nSHARED_DIR={three.root}\nLOG_FILE={tmp_path}/log\n"
        f"LOCAL_DIR={tmp_path}/$SLURMD_NODENAME\nPARTITIONS='gpu large'\n"
    )
    assert prolog("one", SLURM_JOB_PARTITION="other") == ""
    assert not (tmp_path / "one").exists()
    # A job may be an array of its own, which is not one of shares.
    array = {"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_COUNT": "8", "SLURM_JOB_PARTITION": "large"}
    for node in ("one", "two"):
        assert prolog(node, **array) == ""
        local = replace(three, root=tmp_path / node)
        check_three(local)
        assert {one["verified_against"] for one in local.status["datasets"].values()} == {"peer"}
    check_three(three)
    assert set(fetched(hub).values()) == {1}
    config.write_text(config.read_text() + "DATASETS=none\n")
    assert "was not filled (exit code 78)" in prolog("one", **array)


SBATCH: Final = """\
#!/bin/bash
# Runs what is submitted at once, as Slurm would: the tasks of an array one after the other.
count=1
for word in "$@"; do
    case $word in --array=0-*) count=$((${word##*-} + 1)); array=yes ;; esac
    script=$word
done
for ((task = 0; task < count; task++)); do
    [[ ${array:-} ]] && export SLURM_ARRAY_TASK_ID=$task SLURM_ARRAY_TASK_MIN=0 SLURM_ARRAY_TASK_COUNT=$count
    SLURM_JOB_ID=7 bash "$script" >&2 || echo "exit $?" >&2
done
echo 7
"""


def test_the_scripts_for_slurm(three: Volume, tmp_path: Path) -> None:
    """The scripts start each share with its index, and the job that publishes; here another program stands for sbatch."""
    (tmp_path / "sbatch").write_text(SBATCH, "utf-8")
    (tmp_path / "sbatch").chmod(0o755)
    script = str(CHECKOUT / "deploy" / "slurm" / "fill.sh")
    environ = three.environ(PROVISIONER=f"{sys.executable} -m provisioner", PYTHONPATH=str(CHECKOUT))
    environ["PATH"] = f"{tmp_path}:{environ['PATH']}"
    outcome = Running(["bash", script, "2"], environ).wait()
    assert outcome.code == 0, outcome.err
    assert "exit" not in outcome.err
    assert "Shares: job 7, 2 tasks" in outcome.out
    check_three(three)


# --- what peers and the workers' machines have already ---------------------------------------------------------------------


@pytest.fixture
def peer(three: Volume, hub: HubServer, tmp_path: Path) -> Volume:
    """Return another volume, which a web server serves, that has everything but one data set; nobody was asked since."""
    peer = Volume(tmp_path / "sites" / "peer.example.org", three.settings, hub)
    peer.ready(DATASETS="alpha,gamma")
    hub.add_archives(tmp_path / "sites")
    hub.log.clear()
    return peer


@pytest.mark.parametrize("kind", ["directory", "web"])
def test_what_a_peer_has_is_not_divided(three: Volume, peer: Volume, hub: HubServer, kind: str) -> None:
    """Workers fetch what no peer has; whoever publishes takes the rest from the peer, and no source is asked for that."""
    peers = str(peer.root) if kind == "directory" else f"{hub.static_url}/{peer.root.name}"
    assert "Share 0/2 is complete: 1 file" in three.ready(SHARD="0/2", PEERS=peers).out
    waiting = three.run("provision", "--finish", PEERS=peers)
    assert (waiting.code, "these shares are missing: 1/2" in waiting.err) == (75, True)
    three.ready(SHARD="1/2", PEERS=peers)
    check_three(three)
    asked = [entry.path.rpartition("/")[2] for entry in hub.log.entries("*files.example.org*")]
    assert sorted(asked) == ["beta.tar.gz", "more.tar.gz"]
    three.ready("verify", "--deep")


@pytest.mark.parametrize("lock", ["flock", "external"])
def test_a_peer_has_everything(three: Volume, peer: Volume, hub: HubServer, lock: str) -> None:
    """There is nothing to divide: the first worker publishes, the others leave that to it, and no source is asked."""
    peer.ready()
    hub.log.clear()
    settings = {"PEERS": str(peer.root), "HF_HUB_OFFLINE": "1", "LOCK": lock}
    assert "Still missing: 0/2" in three.ready(SHARD="1/2", **settings).out
    assert three.published == []
    three.ready(SHARD="0/2", **settings)
    check_three(three)
    before = three.snapshot()
    three.ready(SHARD="1/2", **settings)
    assert three.snapshot() == before
    assert hub.log.entries() == ()


def test_a_peer_fails_whoever_publishes(three: Volume, peer: Volume, hub: HubServer) -> None:
    """What was left to a peer that has lost it comes from the sources."""
    settings = {"PEERS": str(peer.root)}
    three.ready(SHARD="0/2", **settings)
    flip(peer.tree("gamma") / "gamma.bin")
    shutil.rmtree(peer.tree("alpha").resolve())
    three.ready(SHARD="1/2", **settings)
    check_three(three)
    assert {path.rpartition("/")[2]: count for path, count in fetched(hub).items()} == dict.fromkeys(
        ("alpha.tar.gz", "beta.tar.gz", "more.tar.gz", "gamma.bin"), 1
    )


@pytest.mark.parametrize("name", ["alpha.tar.gz", "gamma.bin"])
def test_files_that_one_worker_has(three: Volume, hub: HubServer, tmp_path: Path, name: str) -> None:
    """What a worker's machine has of its share is not fetched; whoever publishes needs not see that machine's files."""
    found = tmp_path / "downloads" / name
    found.parent.mkdir()
    content = hub.static_files[f"files.example.org/{name}"]
    assert isinstance(content, bytes)
    for index in range(2):
        found.write_bytes(content)
        three.ready(SHARD=f"{index}/2", SEARCH_DIRS=str(found.parent))
        found.unlink()
    check_three(three)
    asked = Counter(path.rpartition("/")[2] for path in fetched(hub).elements())
    assert asked == Counter({"alpha.tar.gz", "beta.tar.gz", "more.tar.gz", "gamma.bin"} - {name})
